"""Lesions: what takes a part of a policy's plasticity away, by its state, its weights untouched.

Each is a hook of `evaluation.episodes.run_episodes`. A policy without the part that a lesion takes
away (a static network) does exactly what it did before.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from spikepropamine.evaluation.episodes import Hook, Policy
from spikepropamine.policies.state import StateLayout

LESIONS = {
    "off": "fast weights are held at zero",
    "frozen": "fast weights keep the value that they have at the onset of the perturbation; "
    "half-way through the time limit where there is no onset",
    "modulator-mean": "each neuromodulator is held at its mean over the nominal episodes",
    "modulator-shuffled": "the neuromodulators of the same episode, in a random order of steps",
    "carry-over": "fast weights start from the end of another episode instead of zero",
}
# Seeds of the episodes before: far from all others, and a multiple of any width of a batch
EPISODE_BEFORE = 100_000_000


def layout_of(policy: Policy) -> StateLayout | None:
    """The layout of the policy's state; None where it has no plasticity that could be taken away.

    A static spiking network has one, too.
    """
    layout = getattr(getattr(policy, "policy", policy), "layout", None)
    return layout if layout is not None and "plasticity_off" in layout.shapes else None


def lesion_hook(
    name: str,
    layout: StateLayout,
    seeds: Sequence[int],
    width: int,
    freeze_at: int | None,
    modulation: Mapping[str, np.ndarray] | None,
    run_intact: Callable[[Sequence[int], Hook], Any],
) -> Hook:
    """The hook that lesions the episodes of one wave.

    Args:
        name: a key of `LESIONS`.
        layout: of the policy's state.
        seeds: of the wave.
        width: of its batch; an episode has row `seed % width`.
        freeze_at: for "frozen", the step from which on fast weights stay as they are.
        modulation: for "modulator-mean", for each field `layerN.modulation` its mean.
        run_intact: runs the intact policy in the same condition, with seeds and a hook.
    """
    if name == "off":
        return PlasticityOff(layout, 0)
    if name == "frozen":
        assert freeze_at is not None
        return PlasticityOff(layout, freeze_at)
    if name == "modulator-mean":
        assert modulation is not None
        return ModulatorHeld(layout, modulation)
    if name == "modulator-shuffled":
        record = ModulationRecord(layout)
        run_intact(seeds, record)
        return ModulatorReplayed(layout, record.shuffled({seed % width: seed for seed in seeds}))
    assert name == "carry-over"
    ends = FastWeightsAtEnd(layout)
    run_intact([seed + EPISODE_BEFORE for seed in seeds], ends)
    return FastWeightsCarried(layout, ends.kept)


class PlasticityOff(Hook):
    """From a step on fast weights do not change: from the first one on, they stay zero."""

    def __init__(self, layout: StateLayout, step: int) -> None:
        self.layout, self.step = layout, step

    def before(self, step: int, state: Any, starts: np.ndarray) -> None:
        """Set the flag, which stays."""
        if step == self.step:
            self.layout.get(state[0], "plasticity_off")[...] = 1.0


class ModulatorHeld(Hook):
    """Neuromodulators are held at given values, [ticks, neurons] by field."""

    def __init__(self, layout: StateLayout, values: Mapping[str, np.ndarray]) -> None:
        self.layout, self.values = layout, values

    def before(self, step: int, state: Any, starts: np.ndarray) -> None:
        """Set values and flag, which stay."""
        if step == 0:
            self.layout.get(state[0], "modulator_held")[...] = 1.0
            for name, value in self.values.items():
                self.layout.get(state[0], name)[...] = value


class ModulatorReplayed(Hook):
    """Neuromodulators follow given sequences, by row and field [steps, ticks, neurons].

    An episode that is longer than its sequence starts it again.
    """

    def __init__(
        self, layout: StateLayout, sequences: Mapping[int, Mapping[str, np.ndarray]]
    ) -> None:
        self.layout, self.sequences = layout, sequences

    def before(self, step: int, state: Any, starts: np.ndarray) -> None:
        """Set the values of the step."""
        self.layout.get(state[0], "modulator_held")[...] = 1.0
        for row, fields in self.sequences.items():
            for name, sequence in fields.items():
                self.layout.get(state[0], name)[0, row] = sequence[step % len(sequence)]


class ModulationRecord(Hook):
    """Keeps what the neuromodulators of each episode were, step by step."""

    def __init__(self, layout: StateLayout) -> None:
        self.layout = layout
        self.names = fields_of(layout, "modulation")
        self.kept: dict[int, list[list[np.ndarray]]] = {}

    def after(self, step: int, state: Any, running: Sequence[int], over: Sequence[int]) -> None:
        """Keep the step of the rows that were running."""
        now = [self.layout.get(state[0], name)[0] for name in self.names]
        for row in running:
            self.kept.setdefault(row, []).append([field[row].copy() for field in now])

    def shuffled(self, seeds: Mapping[int, int]) -> dict[int, dict[str, np.ndarray]]:
        """For each row its sequences in another order of steps, drawn by the row's seed."""
        sequences = {}
        for row, steps in self.kept.items():
            order = np.random.default_rng(seeds[row]).permutation(len(steps))
            sequences[row] = {
                name: np.stack([steps[step][index] for step in order])
                for index, name in enumerate(self.names)
            }
        return sequences


class FastWeightsAtEnd(Hook):
    """Keeps the fast weights that each episode ended with."""

    def __init__(self, layout: StateLayout) -> None:
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
    """Episodes start with given fast weights, by row and field; all else is as ever."""

    def __init__(self, layout: StateLayout, values: Mapping[int, Mapping[str, np.ndarray]]) -> None:
        self.layout, self.values = layout, values

    def before(self, step: int, state: Any, starts: np.ndarray) -> None:
        """Set them before the first step, which then is no start: a start would zero them."""
        if step == 0:
            starts[...] = False
            for row, fields in self.values.items():
                for name, value in fields.items():
                    self.layout.get(state[0], name)[0, row] = value


def fields_of(layout: StateLayout, kind: str) -> list[str]:
    """Names of the fields of a kind, one for each layer that has it."""
    return [name for name in layout.shapes if name.endswith(f".{kind}")]
