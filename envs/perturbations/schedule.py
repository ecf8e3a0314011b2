"""When a perturbation acts: from the start, from a step on, ramped, or on and off."""

import re
from dataclasses import dataclass

from spikepropamine.envs.perturbations.family import nearest

FORMS = {"ramp": "ramp(200, 800)", "periodic": "periodic(100)"}


@dataclass(frozen=True)
class Schedule:
    """Strength over the steps of an episode.

    Attributes:
        start: first step at which it acts, at least 0.
        end: first step of full strength; in between it grows linearly. None: at once.
        period: the first half of each period is free of it, the second half has it in full.
            None: not periodic.
    """

    start: int = 0
    end: int | None = None
    period: int | None = None

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
        """Read what follows the @: "500", "ramp(200, 800)" or "periodic(100)".

        Raises:
            ValueError: the text is none of these.
        """
        text = text.strip()
        if text.isdecimal():
            return cls(int(text))
        match = re.fullmatch(r"(\w+)\s*\(([^()]*)\)", text)
        if not match:
            raise ValueError(
                f"a schedule is a step such as 500, {FORMS['ramp']} or {FORMS['periodic']}, "
                f"got {text!r}"
            )
        name, arguments = match[1], [part.strip() for part in match[2].split(",")]
        if name not in FORMS:
            raise ValueError(nearest(name, FORMS, "schedule"))
        steps = [int(part) for part in arguments if part.isdecimal()]
        if name == "ramp" and len(steps) == len(arguments) == 2 and steps[0] < steps[1]:
            return cls(*steps)
        if name == "periodic" and len(steps) == len(arguments) == 1 and steps[0] >= 2:
            return cls(period=steps[0])
        rule = "two rising steps" if name == "ramp" else "a period of at least 2 steps"
        raise ValueError(f"{name} takes {rule}, such as {FORMS[name]}, got {text!r}")
