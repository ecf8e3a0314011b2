"""Lesions: what takes a part of a policy's plasticity away, by its state, its weights untouched.
A policy without the part that a lesion takes away (a static network) does exactly what it did
before.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:  # PyTorch takes its time to load, and a report only needs the words
    from spikepropamine.policies.state import StateLayout

Infos = Mapping[int, Mapping[str, Any]]


class Hook:
    """Told of every step of a wave of episodes, which are the rows of one batch.

    `state` is what `predict` takes and returns; `starts`, bool [width], tells it which rows start
    an episode. The methods of this class do nothing.
    """

    def before(self, step: int, state: Any, starts: np.ndarray, infos: Infos) -> None:
        """Before the policy acts at a step (from 0); may change state and starts in place.

        `infos` has what the environments of the running rows said last.
        """

    def after(self, step: int, state: Any, running: Sequence[int], over: Sequence[int]) -> None:
        """After a step of the rows `running`, of which those of `over` ended their episode."""


ByRow = Mapping[int, Mapping[str, np.ndarray]]  # and field of the state
# Seeds of the episodes before: far from all others, and a multiple of any width of a batch
EPISODE_BEFORE = 100_000_000


@dataclass(frozen=True)
class Wave:
    """The episodes of one batch, which a lesion is made for.

    Attributes:
        layout: of the policy's state.
        seeds: of the episodes; an episode has row `seed % width`.
        width: of the batch.
        freeze_at: the step from which on "frozen" leaves fast weights as they are.
        run_intact: runs the intact policy in the same condition, with seeds, a hook, and options
            for the reset.
        has_contexts: whether the condition has contexts.
    """

    layout: "StateLayout"
    seeds: Sequence[int]
    width: int
    freeze_at: int = 0
    run_intact: Callable[..., Any] | None = None
    has_contexts: bool = False


@dataclass(frozen=True)
class Lesion:
    """One way of taking plasticity away.

    Attributes:
        name: of the lesion.
        words: what a reader is told instead of the name.
        sentence: what it does.
        hook: makes it for a wave of episodes.
        cost: episodes that are run for each one that is lesioned.
        filmed: whether a video can show it: it needs the layout and `freeze_at` alone.
    """

    name: str
    words: str
    sentence: str
    hook: Callable[[Wave], Hook]
    cost: int = 1
    filmed: bool = False


def layout_of(policy: Any) -> "StateLayout | None":
    """The layout of the policy's state; None where it has no plasticity that could be taken away.

    A static spiking network has one, too.
    """
    layout = getattr(getattr(policy, "policy", policy), "layout", None)
    return layout if layout is not None and "plasticity_off" in layout.shapes else None


def fields_of(layout: "StateLayout", kind: str) -> list[str]:
    """Names of the fields of a kind, one for each layer that has it."""
    return [name for name in layout.shapes if name.endswith(f".{kind}")]


class PlasticityOff(Hook):
    """From a step on fast weights do not change: from the first one on, they stay zero.

    With `at_change`, a row whose context changes before that step is frozen where it does.
    """

    def __init__(self, layout: "StateLayout", step: int, at_change: bool = False) -> None:
        self.layout, self.step, self.at_change = layout, step, at_change

    def before(self, step: int, state: Any, starts: np.ndarray, infos: Infos) -> None:
        """Set the flag, which stays."""
        flag = self.layout.get(state[0], "plasticity_off")
        if step == self.step:
            flag[...] = 1.0
        if self.at_change:
            for row, info in infos.items():
                if 0 < info.get("context_began", 0) <= step:
                    flag[0, row] = 1.0


class ModulatorReplayed(Hook):
    """Neuromodulators follow given sequences, by row and field [steps, ticks, neurons].

    An episode that is longer than its sequence starts it again.
    """

    def __init__(self, layout: "StateLayout", sequences: ByRow) -> None:
        self.layout, self.sequences = layout, sequences

    def before(self, step: int, state: Any, starts: np.ndarray, infos: Infos) -> None:
        """Set the values of the step."""
        self.layout.get(state[0], "modulator_held")[...] = 1.0
        for row, fields in self.sequences.items():
            for name, sequence in fields.items():
                self.layout.get(state[0], name)[0, row] = sequence[step % len(sequence)]


class ModulationRecord(Hook):
    """Keeps what the neuromodulators of each episode were, step by step."""

    def __init__(self, layout: "StateLayout") -> None:
        self.layout, self.names = layout, fields_of(layout, "modulation")
        self.kept: dict[int, list[list[np.ndarray]]] = {}

    def after(self, step: int, state: Any, running: Sequence[int], over: Sequence[int]) -> None:
        """Keep the step of the rows that were running."""
        now = [self.layout.get(state[0], name)[0] for name in self.names]
        for row in running:
            self.kept.setdefault(row, []).append([field[row].copy() for field in now])

    def shuffled(self, seeds: Mapping[int, int]) -> ByRow:
        """For each row its sequences in another order of steps, chosen by the row's seed."""
        sequences = {}
        for row, steps in self.kept.items():
            order = np.random.default_rng(seeds[row]).permutation(len(steps))
            fields = zip(*(steps[step] for step in order))
            sequences[row] = {name: np.stack(field) for name, field in zip(self.names, fields)}
        return sequences


class FastWeightsAtEnd(Hook):
    """Keeps the fast weights that each episode ended with."""

    def __init__(self, layout: "StateLayout") -> None:
        self.layout = layout
        self.kept: dict[int, dict[str, np.ndarray]] = {}

    def after(self, step: int, state: Any, running: Sequence[int], over: Sequence[int]) -> None:
        """Keep those of the rows whose episode is over."""
        for row in over:
            self.kept[row] = {
                name: self.layout.get(state[0], name)[0, row].copy()
                for name in fields_of(self.layout, "fast_weights")
            }


class FastWeightsCarried(Hook):
    """Episodes start with given fast weights, by row and field; all else is as ever.

    They change from there, or are `held`.
    """

    def __init__(self, layout: "StateLayout", values: ByRow, held: bool = False) -> None:
        self.layout, self.values, self.held = layout, values, held

    def before(self, step: int, state: Any, starts: np.ndarray, infos: Infos) -> None:
        """Set them before the first step, which then is no start: a start would zero them."""
        if step == 0:
            starts[...] = False
            self.layout.get(state[0], "plasticity_off")[...] = float(self.held)
            for row, fields in self.values.items():
                for name, value in fields.items():
                    self.layout.get(state[0], name)[0, row] = value


def _off(wave: Wave) -> Hook:
    return PlasticityOff(wave.layout, 0)


def _frozen(wave: Wave) -> Hook:
    return PlasticityOff(wave.layout, wave.freeze_at, at_change=True)


def _modulator_shuffled(wave: Wave) -> Hook:
    assert wave.run_intact is not None
    record = ModulationRecord(wave.layout)
    wave.run_intact(wave.seeds, record)
    rows = {seed % wave.width: seed for seed in wave.seeds}
    return ModulatorReplayed(wave.layout, record.shuffled(rows))


def _carry_over(wave: Wave, held: bool = False) -> Hook:
    assert wave.run_intact is not None
    ends = FastWeightsAtEnd(wave.layout)
    if wave.has_contexts:
        wave.run_intact(wave.seeds, ends, options={"context": "opposite"})
    else:
        wave.run_intact([seed + EPISODE_BEFORE for seed in wave.seeds], ends)
    return FastWeightsCarried(wave.layout, ends.kept, held)


OF_ANOTHER = "where there are contexts, of the same episode in the opposite context"
LESIONS = {
    lesion.name: lesion
    for lesion in (
        Lesion("off", "plasticity off", "fast weights are held at zero", _off, filmed=True),
        Lesion(
            "frozen",
            "fast weights frozen",
            "fast weights stay as they are from the onset of the perturbation on, or from the "
            "first change of the context; half-way through the episode where neither comes before",
            _frozen,
            filmed=True,
        ),
        Lesion(
            "modulator-shuffled",
            "neuromodulator shuffled in time",
            "the neuromodulators of the same episode, in a random order of steps",
            _modulator_shuffled,
            cost=2,
        ),
        Lesion(
            "carry-over",
            "fast weights of another episode",
            f"fast weights start from the end of another episode instead of zero; {OF_ANOTHER}",
            _carry_over,
            cost=2,
        ),
        Lesion(
            "carry-over-frozen",
            "fast weights of another episode, frozen",
            f"fast weights are held at what another episode ended with; {OF_ANOTHER}",
            partial(_carry_over, held=True),
            cost=2,
        ),
    )
}
