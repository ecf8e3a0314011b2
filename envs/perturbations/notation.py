"""The notation of perturbations: texts such as "mass:torso=1.5 + obs_noise=0.2@500"."""

import re
from dataclasses import dataclass

import numpy as np

from spikepropamine.common import shown, unknown
from spikepropamine.envs.perturbations.catalogue import CATALOGUE
from spikepropamine.envs.perturbations.contexts import SETS, codes_of
from spikepropamine.envs.perturbations.family import Family
from spikepropamine.envs.perturbations.schedule import Schedule
from spikepropamine.own_modules import unless_imported

NUMBER = r"[-+]?(?:\d+\.?\d*|\.\d+)(?:[eE][-+]?\d+)?"
TERM = re.compile(
    rf"(?P<name>\w+)(?::(?P<target>[\w.\-]+))?\s*(?P<kind>[=~])"
    rf"\s*(?:(?P<set>{'|'.join(SETS)})|(?P<low>{NUMBER}))"
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
        severities: whether the numbers above are severities, not values (or codes of contexts).
        schedule: when.
        context_set: "seen" or "held_out", for contexts, in the place of numbers.
    """

    text: str
    family: Family
    target: str | None
    low: float
    high: float
    excluded: tuple[float, float] | None
    severities: bool
    schedule: Schedule
    context_set: str | None = None

    @property
    def label(self) -> str:
        """Family and target."""
        return self.family.name + (f":{self.target}" if self.target else "")

    def draw(self, random: np.random.Generator) -> float:
        """The value of an episode; takes one number from the generator, whatever the range is."""
        fraction = random.random()
        if self.family.whole and not self.severities:
            choices = self._whole_numbers()
            return float(choices[int(fraction * len(choices))])
        # `fraction` of the way through what is left and right of the excluded values
        hole_low, hole_high = self.excluded or (self.high, self.high)
        way = fraction * (hole_low - self.low + self.high - hole_high)
        number = self.low + way
        if self.excluded and number >= hole_low:
            number += hole_high - hole_low
        return self.family.value(number) if self.severities else number

    def codes(self, contexts: int) -> np.ndarray:
        """The codes, rising, that an episode may draw from, where so many contexts have one.

        Raises:
            ValueError: there are none, or one that does not exist.
        """
        if self.context_set is None:
            if self.high >= contexts:
                raise ValueError(f"there are {contexts} contexts, from 0 to {contexts - 1}")
            return np.array(self._whole_numbers())
        codes = codes_of(contexts, self.context_set)
        if not len(codes):
            raise ValueError(f"of {contexts} contexts none is held out")
        return codes

    def _whole_numbers(self) -> list[int]:
        return [
            value
            for value in range(int(self.low), int(self.high) + 1)
            if self.excluded is None or not self.excluded[0] <= value <= self.excluded[1]
        ]


def parse(text: str) -> tuple[tuple[Term, ...], ...]:
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
        motor_signs=37                 the context with this code
        motor_signs=seen               one that training may use, drawn anew in every episode
        motor_signs=held_out           one that it may not
        motor_signs=seen@change(40..160)   another one from some step between these on
        mass=1.5 + obs_noise=0.2       both
        mass=1.5 | obs_noise=0.2       one of them, drawn anew in every episode
        none                           nothing

    Returns the alternatives, each a tuple of terms.

    Raises:
        ValueError: the text is malformed, or has an unknown name or a value out of range.
    """
    return tuple(_alternative(part) for part in text.split("|"))


def _alternative(text: str) -> tuple[Term, ...]:
    if text.strip() == "none":
        return ()
    # a plus that begins a number follows one of these; all others join terms
    parts = re.split(r"(?<![=~.eE])\s*\+\s*", text.strip())
    terms = tuple(_term(part.strip()) for part in parts)
    labels = [term.label for term in terms]
    for label in labels:
        if labels.count(label) > 1:
            raise ValueError(f"in {shown(text.strip())}: {shown(label)} is there twice")
    return terms


def _term(text: str) -> Term:
    match = TERM.fullmatch(text)
    if not match:
        name = re.split(r"[^\w-]", text, maxsplit=1)[0]
        if not name:
            raise ValueError(
                f"cannot read {shown(text)}; a perturbation is written as in {EXAMPLE!r}"
            )
        family = _family(name, text)
        low, high = sorted((family.nominal, family.hardest))
        forms = [f"{family.hardest:g}", f"{low:g}..{high:g}", f"{family.hardest:g}@500"]
        forms = ["seen", "held_out", "37"] if family.contexts else forms
        written = " or ".join(repr(f"{name}={form}") for form in forms)
        raise ValueError(f"cannot read {shown(text)}; {name} is written as in {written}")
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
        if not family.contexts or severities or match["high"] or match["except_low"]:
            raise ValueError(f"{match['set']} is a set of contexts, as in 'motor_signs=seen'")
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
        if not severities and family.contexts and (number < 0 or not number.is_integer()):
            raise ValueError(
                f"the code of a context is a whole number from 0 on, got {number:g}; a "
                f"{family.unit} is written {family.name}~{number:g}"
            )
    excluded = None
    if match["except_low"] is not None:
        excluded = float(match["except_low"]), float(match["except_high"])
        if not low <= excluded[0] <= excluded[1] <= high or excluded == (low, high):
            raise ValueError(
                f"excluded values have to be a part of {low:g}..{high:g}, "
                f"got {excluded[0]:g}..{excluded[1]:g}"
            )
    if schedule.changes and (not family.contexts or severities):
        raise ValueError("what changes is a context of several, as in motor_signs=seen@change(100)")
    if schedule.end is not None and family.contexts:
        raise ValueError(f"{family.name} cannot grow along a ramp; give the step that it begins at")
    return Term(
        text, family, match["target"], low, high, excluded, severities, schedule, match["set"]
    )
