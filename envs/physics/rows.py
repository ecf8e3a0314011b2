"""Episodes that begin together and end one by one: `Rows` of environments."""

from collections.abc import Mapping, Sequence
from typing import Any

import gymnasium as gym
import numpy as np

from spikepropamine.envs.physics.owner import Owner
from spikepropamine.envs.task import ResetResult, StepResult


class Rows(Owner):
    """Environments by the number of their row, stepped in one call where they are
    known.

    Args:
        envs: at least one, by row.
    """

    def __init__(self, envs: Mapping[int, gym.Env]) -> None:
        self._rows = sorted(envs)
        self._environments = [envs[row] for row in self._rows]
        self._simulate(threads=1)

    def reset(self, row: int, seed: int, options: dict[str, Any] | None) -> ResetResult:
        """Begins an episode in one environment.

        Args:
            row: its number, as in `step`.
            seed: of the episode; None: the next that the environment draws.
            options: of the environment.
        """
        index = self._rows.index(row)
        if self._simulations is None:
            return self._environments[index].reset(seed=seed, options=options)
        return self._simulations.reset(index, seed, options)

    def step(self, rows: Sequence[int], actions: Any) -> dict[int, StepResult]:
        """One step of some environments.

        Args:
            rows: of the environments, rising.
            actions: by row.
        """
        indices = [self._rows.index(row) for row in rows]
        first = np.asarray(actions[rows[0]])
        if first.dtype != self._environments[0].action_space.dtype:
            self._hand_over(f"actions are {first.dtype}")
        if self._simulations is None:
            return {
                row: self._environments[index].step(actions[row])
                for row, index in zip(rows, indices)
            }
        given = np.zeros((len(self._rows), *first.shape), first.dtype)
        for row, index in zip(rows, indices):
            given[index] = actions[row]
        every = len(indices) == len(self._rows)
        stepped = self._simulations.step(given, None if every else np.array(indices))
        infos = stepped.each_info()
        return {
            row: (
                stepped.observations[index],
                float(stepped.rewards[index]),
                bool(stepped.terminated[index]),
                bool(stepped.truncated[index]),
                infos[index],
            )
            for row, index in zip(rows, indices)
        }
