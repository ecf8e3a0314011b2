"""The notation of perturbations: texts such as "mass:torso=1.5 + obs_noise=0.2@500";
and suites of them: conditions by severity, split into those that training may use and
those held out.
"""

import math
import re
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np

from spikepropamine.common import check_known, one_line, shown, unknown
from spikepropamine.envs.perturbations.catalogue import CATALOGUE, Family
from spikepropamine.envs.perturbations.contexts import SETS, codes_of
from spikepropamine.reading import read_yaml
from spikepropamine.versions import unless_imported

NUMBER = r"[-+]?(?:\d+\.?\d*|\.\d+)(?:[eE][-+]?\d+)?"
TERM = re.compile(
    rf"(?P<name>\w+)(?::(?P<target>[\w.\-]+))?\s*(?P<kind>[=~])"
    rf"\s*(?:(?P<set>{'|'.join(SETS)})|(?P<low>{NUMBER}))"
    rf"(?:\s*\.\.\s*(?P<high>{NUMBER}))?"
    r"(?:\s*@\s*(?P<schedule>.+))?"
)
EXAMPLE = "mass:torso=1.5 + obs_noise=0.2@500"
FORMS = {"ramp": "ramp(200, 800)", "change": "change(100) or change(40..160)"}
MOST = 2**31  # steps, more than any episode has
RANGE = re.compile(r"(\d+)(?:\s*\.\.\s*(\d+))?")
SUITES = Path(__file__).parents[2] / "configs" / "suites"
SPLITS = ("train", "held-out")
PERCENT = re.compile(r"\{([\d.]+)%\}")
KEYS = ("severities", "onset", *SPLITS)


@dataclass(frozen=True)
class Schedule:
    """Strength over the steps of an episode."""

    start: int = 0  # the first step at which it acts
    end: int | None = (
        None  # the first of full strength, until which it grows; None: at once
    )
    # of contexts, each time that another one takes over: between which steps an episode
    # draws it
    changes: tuple[tuple[int, int], ...] = ()

    @property
    def onset(self) -> int:
        """The first step at which anything can be other than it was at the first."""
        return self.changes[0][0] if self.changes else self.start

    def strength(self, step: int) -> float:
        """Strength in [0, 1] at a step of the episode, counted from 0.

        It holds for the observation that is seen at the step (the one of `reset` is 0)
        and for the action and the dynamics that follow it.
        """
        if step < self.start:
            return 0.0
        if self.end is None or step >= self.end:
            return 1.0
        return (step - self.start) / (self.end - self.start)

    def next_change(self, step: int) -> float:
        """The first step after this one at which the strength may be another; `inf`
        where there is none.
        """
        if step < self.start:
            return self.start
        return step + 1 if self.end is not None and step < self.end else math.inf

    @classmethod
    def parse(cls, text: str) -> "Schedule":
        """Read what follows the @: "500", "ramp(200, 800)", "change(100)", or
        "change(40..160, 300)" with several changes. Raises ValueError where the text is
        none of these.
        """
        text = text.strip()
        if text.isdecimal():
            return cls(int(text))
        match = re.fullmatch(r"(\w+)\s*\(([^()]*)\)", text)
        if not match:
            forms = ", ".join(FORMS.values())
            raise ValueError(f"a schedule is a step such as 500, {forms}, got {text!r}")
        name = match[1]
        parts = [RANGE.fullmatch(part.strip()) for part in match[2].split(",")]
        check_known("schedule", name, FORMS, error=ValueError)
        ranges = [(int(one[1]), int(one[2] or one[1])) for one in parts if one]
        apart = all(one[1] < other[0] for one, other in pairwise([(-1, -1), *ranges]))
        rising = apart and all(low <= high < MOST for low, high in ranges)
        if len(ranges) == len(parts) and rising:
            if name == "change" and ranges[0][0] > 0:
                return cls(changes=tuple(ranges))
            if name == "ramp" and len(ranges) == 2 and ".." not in text:
                return cls(ranges[0][0], ranges[1][0])
        rules = {
            "ramp": "two rising steps",
            "change": "rising steps from 1 on, or ranges of them",
        }
        raise ValueError(
            f"{name} takes {rules[name]}, such as {FORMS[name]}, got {text!r}"
        )


@dataclass(frozen=True)
class Term:
    """One perturbation of a text."""

    text: str  # as it was written
    family: Family
    target: str | None  # None: the family's default
    low: float  # each episode draws its own value between this one and the next
    high: float
    severities: bool  # whether these are severities, not values (or codes of contexts)
    schedule: Schedule
    context_set: str | None = (
        None  # "seen" or "held_out", of contexts, in the place of numbers
    )

    @property
    def label(self) -> str:
        """Family and target."""
        return self.family.name + (f":{self.target}" if self.target else "")

    def draw(self, random: np.random.Generator) -> float:
        """The value of an episode; takes one number from the generator, whatever the
        range is.
        """
        fraction = random.random()
        if self.family.whole and not self.severities:
            return self.low + int(fraction * (self.high - self.low + 1))
        number = self.low + fraction * (self.high - self.low)
        return self.family.value(number) if self.severities else number

    def codes(self, contexts: int) -> np.ndarray:
        """The codes, rising, that an episode may draw from, where so many contexts have
        one. Raises ValueError where there are none, one that does not exist, or no
        other one to change to.
        """
        where = f"in {self.text!r}: "
        if self.context_set is not None:
            codes = codes_of(contexts, self.context_set)
        elif self.high < contexts:
            codes = np.arange(int(self.low), int(self.high) + 1)
        else:
            raise ValueError(
                f"{where}there are {contexts} contexts, from 0 to {contexts - 1}"
            )
        if not len(codes):
            raise ValueError(f"{where}of {contexts} contexts none is held out")
        if self.schedule.changes and len(codes) < 2:
            raise ValueError(f"{where}there is no other context to change to")
        return codes


def parse(text: str) -> tuple[tuple[Term, ...], ...]:
    """Read a text.

    Its grammar, by example:
        mass=1.5                       the value, in the family's unit
        mass~0.5                       the severity, from 0 to 1
        mass:torso=1.5                 of one target, or by number: crippled_leg:-1=0
        mass=1.5@500                   from step 500 of an episode
        mass=1.5@ramp(200, 800)        growing from step 200 to step 800
        mass=0.5..2                    drawn each episode
        motor_signs=37                 the context with this code
        motor_signs=seen               one that training may use, drawn each episode
        motor_signs=held_out           one that it may not
        motor_signs=seen@change(40..160)
                                       another one from some step between these on
        mass=1.5 + obs_noise=0.2       both
        mass=1.5 | obs_noise=0.2       one of them, drawn each episode
        none                           nothing

    Returns the alternatives, each a tuple of terms. Raises ValueError where the text is
    malformed, or has an unknown name or a value out of range.
    """
    return tuple(_alternative(part) for part in text.split("|"))


def _alternative(text: str) -> tuple[Term, ...]:
    if text.strip() == "none":
        return ()
    # a plus that begins a number follows one of these; all others join terms
    parts = re.split(r"(?<![=~.eE])\s*\+\s*", text.strip())
    terms = tuple(_term(part.strip()) for part in parts)
    for label, count in Counter(term.label for term in terms).items():
        if count > 1:
            raise ValueError(f"in {shown(text.strip())}: {shown(label)} is there twice")
    return terms


def _term(text: str) -> Term:
    match = TERM.fullmatch(text)
    if not match:
        name = re.split(r"[^\w-]", text, maxsplit=1)[0]
        what = f"cannot read {shown(text)}"
        if not name:
            raise ValueError(f"{what}; a perturbation is written as in {EXAMPLE!r}")
        family = _family(name, text)
        low, high = sorted((family.nominal, family.hardest))
        forms = [f"{family.hardest:g}", f"{low:g}..{high:g}", f"{family.hardest:g}@500"]
        forms = ["seen", "held_out", "37"] if family.contexts else forms
        written = " or ".join(repr(f"{name}={form}") for form in forms)
        raise ValueError(f"{what}; {name} is written as in {written}")
    family = _family(match["name"], text)
    try:
        return _checked(text, match, family)
    except ValueError as error:
        raise ValueError(f"in {shown(text)}: {error}") from error


def _family(name: str, text: str) -> Family:
    if name not in CATALOGUE:
        known = unknown("perturbation", name, CATALOGUE) + unless_imported()
        raise ValueError(f"in {text!r}: {known}")
    return CATALOGUE[name]


def _checked(text: str, match: re.Match[str], family: Family) -> Term:
    schedule = Schedule.parse(match["schedule"]) if match["schedule"] else Schedule()
    severities = match["kind"] == "~"
    if match["set"]:
        if not family.contexts or severities or match["high"]:
            raise ValueError(
                f"{match['set']} is a set of contexts, as in 'motor_signs=seen'"
            )
        low = high = 0.0
    else:
        low = float(match["low"])
        high = low if match["high"] is None else float(match["high"])
    if low > high:
        raise ValueError(f"a range rises, got {low:g}..{high:g}")
    for number in (low, high):
        if severities and not 0 <= number <= 1:
            raise ValueError(f"a severity is in [0, 1], got {number:g}")
        if not severities and not family.contexts:
            family.severity(number)
        if (
            not severities
            and family.contexts
            and (number < 0 or not number.is_integer())
        ):
            raise ValueError(
                f"the code of a context is a whole number from 0 on, got {number:g}; a "
                f"{family.unit} is written {family.name}~{number:g}"
            )
    if schedule.changes and (not family.contexts or severities):
        raise ValueError(
            "what changes is a context of several, as in motor_signs=seen@change(100)"
        )
    if schedule.end is not None and family.contexts:
        raise ValueError(
            f"{family.name} cannot grow along a ramp; give the step that it begins at"
        )
    return Term(
        text, family, match["target"], low, high, severities, schedule, match["set"]
    )


@dataclass(frozen=True)
class SuiteCondition:
    """One condition of a suite."""

    name: str  # unique in its suite together with the severity
    text: str  # for `Perturbed`
    severity: float | None  # in [0, 1]; None where the text has a value of its own
    split: str  # "train" or "held-out"


def suite_names() -> list[str]:
    """The suites in `configs/suites/`."""
    return sorted(file.stem for file in SUITES.glob("*.yaml"))


def is_suite(text: str) -> bool:
    """Whether a text is a suite: a name in `configs/suites/`, or the path of a YAML
    file.
    """
    return text in suite_names() or text.endswith(".yaml")


def load_suite(
    suite: str | Path, task: str, horizon: int | None = None
) -> tuple[SuiteCondition, ...]:
    """The conditions of a suite for a task.

    A file has `severities` (a list), `train` and `held-out` (each from a condition's
    name to its text, in which {severity} stands for each severity in turn, {onset} for
    the suite's onset, and {50%} for the step half-way through an episode), `severities`
    and `onset` (a step, or 50%) where they are used, and `tasks`: from a task's id to
    what it has in place of these.

    Args:
        suite: name of a suite of this project, or path of a YAML file.
        task: Gymnasium id.
        horizon: steps of an episode; None where it has no limit.

    Raises:
        ValueError: there is no such suite, it needs a limit, or its file is wrong; the
            message says where.
    """
    is_file = str(suite).endswith(".yaml")
    file = Path(suite) if is_file else SUITES / f"{suite}.yaml"
    if not is_file:
        check_known("suite", str(suite), suite_names(), error=ValueError)
    content = read_yaml(file)
    try:
        content = _mapping(content, "", (*KEYS, "tasks"))
        tasks = _mapping(content.pop("tasks", {}), "tasks")
        for name, changes in tasks.items():
            _mapping(changes, f"tasks: {name}", KEYS)
        return _conditions(content | tasks.get(task, {}), horizon)
    except ValueError as error:
        raise ValueError(f"{file.name}, for {task}: {one_line(error)}") from error


def _conditions(
    content: Mapping[str, Any], horizon: int | None
) -> tuple[SuiteCondition, ...]:
    severities = content.get("severities", [])
    numbers = isinstance(severities, list) and {type(x) for x in severities} <= {
        int,
        float,
    }
    if not numbers:
        raise ValueError(
            f"severities must be a list of numbers in [0, 1], got {severities!r}"
        )
    if any(after <= before for before, after in pairwise([0.0, *severities])):
        raise ValueError(f"severities must rise, and begin above 0, got {severities}")
    onset = content.get("onset")
    if isinstance(onset, str) and PERCENT.fullmatch(f"{{{onset}}}"):
        onset = int(_in_steps(f"{{{onset}}}", horizon))
    if onset is not None and (not isinstance(onset, int) or onset < 0):
        raise ValueError(
            f"onset must be a step, at least 0, or a percentage, got {onset!r}"
        )
    conditions = []
    for split in SPLITS:
        for name, text in _mapping(content.get(split), split).items():
            if not name or not isinstance(text, str):
                wrong = (
                    f"a condition has a name, and a text that perturbs, got {text!r}"
                )
                raise ValueError(f"{split}: {name}: {wrong}")
            for severity in (severities if "{severity}" in text else []) or [None]:
                filled = text.replace("{severity}", f"{severity}").replace(
                    "{onset}", f"{onset}"
                )
                try:
                    filled = _in_steps(filled, horizon)
                    parse(filled)
                except ValueError as error:
                    raise ValueError(f"{split}: {name}: {error}") from error
                conditions.append(SuiteCondition(name, filled, severity, split))
    for what, entries in (
        ("name", [f"{c.name} {c.severity}" for c in conditions]),
        ("text", [c.text for c in conditions]),
    ):
        entry, count = Counter(entries).most_common(1)[0] if entries else ("", 0)
        if count > 1:
            raise ValueError(f"two conditions have the same {what}: {entry}")
    return tuple(conditions)


def _in_steps(text: str, horizon: int | None) -> str:
    """The text with steps of an episode in the place of percents, as {50%}."""
    if not PERCENT.search(text):
        return text
    if horizon is None:
        raise ValueError("steps in percent need a task whose episodes have a limit")
    return PERCENT.sub(lambda match: str(round(float(match[1]) / 100 * horizon)), text)


def _mapping(content: object, where: str, keys: tuple[str, ...] = ()) -> dict[str, Any]:
    """The content, once it is a mapping with no other keys.

    Args:
        content: as it was read.
        where: it stands in the file; empty: it is all of the file.
        keys: that it may have; empty: any.
    """
    if not isinstance(content, dict):
        name = where or "it"
        raise ValueError(f"{name} must be a mapping, {{}} for none, got {content!r}")
    prefix = f"{where}: " if where else ""
    if keys:
        for key in content:
            check_known("key", str(key), keys, prefix, ValueError)
    return content
