"""When a perturbation acts: from the start, from a step on, ramped, on and off, or anew."""

import re
from dataclasses import dataclass
from itertools import pairwise

from spikepropamine.common import unknown

FORMS = {
    "ramp": "ramp(200, 800)",
    "periodic": "periodic(100)",
    "change": "change(100) or change(40..160)",
}
MOST = 2**31  # steps, more than any episode has
RANGE = re.compile(r"(\d+)(?:\s*\.\.\s*(\d+))?")


@dataclass(frozen=True)
class Schedule:
    """Strength over the steps of an episode.

    Attributes:
        start: first step at which it acts, at least 0.
        end: first step of full strength; in between it grows linearly. None: at once.
        period: the first half of each period is free of it, the second half has it in full.
            None: not periodic.
        changes: for contexts, when another one takes over: for each change the first and the last
            step between which an episode draws its own.
    """

    start: int = 0
    end: int | None = None
    period: int | None = None
    changes: tuple[tuple[int, int], ...] = ()

    @property
    def onset(self) -> int:
        """The first step at which anything can be other than it was at the first."""
        if self.changes:
            return self.changes[0][0]
        return self.start if self.period is None else self.period // 2

    @property
    def steady(self) -> bool:
        """Whether every step is as the first."""
        return self == Schedule()

    def strength(self, step: int) -> float:
        """Strength in [0, 1] at a step of the episode, counted from 0.

        It holds for the observation that is seen at the step (the one of `reset` is 0) and for the
        action and the dynamics that follow it.
        """
        if self.period is not None:
            return float(step % self.period >= self.period // 2)
        if step < self.start:
            return 0.0
        if self.end is None or step >= self.end:
            return 1.0
        return (step - self.start) / (self.end - self.start)

    @classmethod
    def parse(cls, text: str) -> "Schedule":
        """Read what follows the @: "500", "ramp(200, 800)", "periodic(100)",
        "change(100)", or "change(40..160, 300)" with several changes.

        Raises:
            ValueError: the text is none of these.
        """
        text = text.strip()
        if text.isdecimal():
            return cls(int(text))
        match = re.fullmatch(r"(\w+)\s*\(([^()]*)\)", text)
        if not match:
            raise ValueError(
                f"a schedule is a step such as 500, {', '.join(FORMS.values())}, got {text!r}"
            )
        name, arguments = match[1], [part.strip() for part in match[2].split(",")]
        if name not in FORMS:
            raise ValueError(unknown("schedule", name, FORMS))
        if name == "change":
            changes = [_range(part) for part in arguments]
            if all(one[1] < other[0] for one, other in pairwise([(0, 0), *changes])):
                return cls(changes=tuple(changes))
        steps = [int(part) for part in arguments if part.isdecimal()]
        if name == "ramp" and len(steps) == len(arguments) == 2 and steps[0] < steps[1]:
            return cls(steps[0], steps[1])
        if name == "periodic" and len(steps) == len(arguments) == 1 and steps[0] >= 2:
            return cls(period=steps[0])
        rule = {
            "ramp": "two rising steps",
            "periodic": "a period of at least 2 steps",
            "change": "rising steps from 1 on, or ranges of them",
        }[name]
        raise ValueError(f"{name} takes {rule}, such as {FORMS[name]}, got {text!r}")


def _range(text: str) -> tuple[int, int]:
    """A step, or a range of them; (0, 0), which no change can have, for anything else."""
    match = RANGE.fullmatch(text)
    if not match:
        return 0, 0
    low, high = int(match[1]), int(match[2] or match[1])
    return (low, high) if low <= high < MOST else (0, 0)
