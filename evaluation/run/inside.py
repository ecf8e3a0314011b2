"""What goes on inside a spiking policy during an episode, read off its state at some steps."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from spikepropamine.evaluation.ask.lesions import fields_of
from spikepropamine.evaluation.hook import Hook
from spikepropamine.policies.neurons import THRESHOLD
from spikepropamine.policies.state import StateLayout


class InsideSums(Hook):
    """Sums over episodes, so that waves add up.

    Attributes:
        sums: for each series, by sample, its sum over the episodes that were running.
        counts: how many those were.
    """

    def __init__(self, layout: StateLayout, every: int) -> None:
        self.layout, self.every = layout, every
        self.fast, self.modulation, self.potential = (
            fields_of(layout, kind) for kind in ("fast_weights", "modulation", "potential")
        )
        self.sums: dict[str, list[float]] = {}
        self.counts: list[int] = []

    def after(self, step: int, state: Any, running: Sequence[int], over: Sequence[int]) -> None:
        """Add up the rows that were running, at every so many steps."""
        if step % self.every:
            return
        self.counts.append(len(running))
        flat = state[0][0, running]
        fired = self._joined(flat, self.potential) > THRESHOLD
        self._add("firing_rate", fired.mean(axis=1))
        if self.fast:
            squares = np.square(self._joined(flat, self.fast), dtype=np.float64)
            self._add("fast_weight_norm", np.sqrt(squares.mean(axis=1)))
        if self.modulation:
            modulation = self._joined(flat, self.modulation).astype(np.float64)
            self._add("modulator_mean", modulation.mean(axis=1))
            self._add("modulator_spread", modulation.std(axis=1))

    def _joined(self, flat: np.ndarray, names: list[str]) -> np.ndarray:
        fields = [self.layout.get(flat, name).reshape(len(flat), -1) for name in names]
        return fields[0] if len(fields) == 1 else np.concatenate(fields, axis=1)

    def _add(self, name: str, values: np.ndarray) -> None:
        self.sums.setdefault(name, []).append(float(values.sum()))
