"""The notation of perturbations: texts such as "mass:torso=1.5 + obs_noise=0.2@500"."""

import re
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from spikepropamine.envs.perturbations.family import Family, nearest
from spikepropamine.envs.perturbations.schedule import Schedule

NUMBER = r"[-+]?(?:\d+\.?\d*|\.\d+)(?:[eE][-+]?\d+)?"
TERM = re.compile(
    rf"(?P<name>\w+)(?::(?P<target>[\w.\-]+))?\s*(?P<kind>[=~])\s*(?P<low>{NUMBER})"
    rf"(?:\s*\.\.\s*(?P<high>{NUMBER}))?"
    rf"(?:\s+except\s+(?P<except_low>{NUMBER})\s*\.\.\s*(?P<except_high>{NUMBER}))?"
    r"(?:\s*@\s*(?P<schedule>.+))?"
)
EXAMPLE = "mass:torso=1.5 + obs_noise=0.2@500"


@dataclass(frozen=True)
class Term:
    """One perturbation of a text.

    Attributes:
        text: as it was written.
        family: what changes.
        target: of what; None for the family's default.
        low, high: the values between which each episode draws its own; equal for a fixed one.
        excluded: values between these two, themselves included, are not drawn.
        severities: whether the numbers above are severities, not values.
        schedule: when.
    """

    text: str
    family: Family
    target: str | None
    low: float
    high: float
    excluded: tuple[float, float] | None
    severities: bool
    schedule: Schedule

    @property
    def label(self) -> str:
        """Family and target."""
        return self.family.name + (f":{self.target}" if self.target else "")

    def draw(self, random: np.random.Generator) -> float:
        """The value of an episode; takes one number from the generator, whatever the range is."""
        fraction = random.random()
        if self.family.whole and not self.severities:
            choices = [
                value
                for value in range(int(self.low), int(self.high) + 1)
                if self.excluded is None or not self.excluded[0] <= value <= self.excluded[1]
            ]
            return float(choices[int(fraction * len(choices))])
        # `fraction` of the way through what is left and right of the excluded values
        hole_low, hole_high = self.excluded or (self.high, self.high)
        way = fraction * (hole_low - self.low + self.high - hole_high)
        number = self.low + way
        if self.excluded and number >= hole_low:
            number += hole_high - hole_low
        return self.family.value(number) if self.severities else number


def parse(text: str, catalogue: Mapping[str, Family]) -> tuple[tuple[Term, ...], ...]:
    """Read a text.

    Its grammar, by example:
        mass=1.5                       the value, in the family's unit
        mass~0.5                       the severity, from 0 to 1
        mass:torso=1.5                 of one target; also by number, `crippled_leg:-1=0`
        mass=1.5@500                   from step 500 of an episode
        mass=1.5@ramp(200, 800)        growing from step 200 to step 800
        mass=1.5@periodic(100)         50 steps without, 50 steps with
        mass=0.5..2                    drawn anew in every episode
        mass=0.5..2 except 1.2..1.5    with values held out
        mass=1.5 + obs_noise=0.2       both
        mass=1.5 | obs_noise=0.2       one of them, drawn anew in every episode
        none                           nothing

    Args:
        text: what to read.
        catalogue: families by name.

    Returns:
        The alternatives, each a tuple of terms.

    Raises:
        ValueError: the text is malformed, or has an unknown name or a value out of range.
    """
    return tuple(_alternative(part, catalogue) for part in text.split("|"))


def _alternative(text: str, catalogue: Mapping[str, Family]) -> tuple[Term, ...]:
    if text.strip() == "none":
        return ()
    # a plus that begins a number follows one of these; all others join terms
    parts = re.split(r"(?<![=~.eE])\s*\+\s*", text.strip())
    return tuple(_term(part, catalogue) for part in parts)


def _term(text: str, catalogue: Mapping[str, Family]) -> Term:
    match = TERM.fullmatch(text)
    if not match:
        name = re.match(r"\w*", text)
        if name and name[0] and name[0] not in catalogue:
            raise ValueError(f"in {text!r}: " + nearest(name[0], catalogue, "perturbation"))
        raise ValueError(f"cannot read {text!r}; a perturbation is written as in {EXAMPLE!r}")
    if match["name"] not in catalogue:
        raise ValueError(f"in {text!r}: " + nearest(match["name"], catalogue, "perturbation"))
    family = catalogue[match["name"]]
    try:
        return _checked(text, match, family)
    except ValueError as error:
        raise ValueError(f"in {text!r}: {error}") from error


def _checked(text: str, match: re.Match[str], family: Family) -> Term:
    low = float(match["low"])
    high = low if match["high"] is None else float(match["high"])
    severities = match["kind"] == "~"
    if low > high:
        raise ValueError(f"a range rises, got {low:g}..{high:g}")
    for number in (low, high):
        if severities and not 0 <= number <= 1:
            raise ValueError(f"a severity is in [0, 1], got {number:g}")
        if not severities:
            family.severity(number)
    excluded = None
    if match["except_low"] is not None:
        excluded = float(match["except_low"]), float(match["except_high"])
        if not low <= excluded[0] <= excluded[1] <= high or excluded == (low, high):
            raise ValueError(
                f"excluded values have to be a part of {low:g}..{high:g}, "
                f"got {excluded[0]:g}..{excluded[1]:g}"
            )
    schedule = Schedule.parse(match["schedule"]) if match["schedule"] else Schedule()
    return Term(text, family, match["target"], low, high, excluded, severities, schedule)
