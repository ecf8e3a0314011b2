"""Environments in which something is done in a falling share of the episodes."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from stable_baselines3.common.vec_env import VecEnv, VecEnvWrapper


class FallingShare(VecEnvWrapper):
    """Does something in a share of the episodes that falls linearly to none.

    Args:
        venv: the environments.
        first: the share to begin with; above 1 it is 1 until it has fallen below.
        steps: of all environments together, over which the share falls to none. With 0
            steps it is none.
        seed: of the choice of episodes.
        entropy: further seeds, so that two of these wrappers choose differently.
        wrapped: further arguments of `VecEnvWrapper`.
    """

    def __init__(
        self,
        venv: VecEnv,
        first: float,
        steps: float,
        seed: int,
        entropy: tuple[int, ...] = (),
        **wrapped: Any,
    ) -> None:
        super().__init__(venv, **wrapped)
        self.first = first
        self.over = steps
        self.entropy = entropy
        self.random = np.random.default_rng([seed, *entropy])
        self.steps_taken = 0

    @property
    def share(self) -> float:
        """The share, in [0, 1], of the episodes that begin now in which it is done."""
        if not self.over:
            return 0.0
        left = 1.0 - self.steps_taken / self.over
        return min(1.0, max(0.0, self.first * left))

    def seed(self, seed: int | None = None) -> Sequence[int | None]:
        """Seeds the choice of episodes, and the environments for the next `reset`."""
        entropy = None if seed is None else [seed, *self.entropy]
        self.random = np.random.default_rng(entropy)
        return self.venv.seed(seed)

    def _draw(self) -> np.ndarray:
        """In which of the environments it is done in episodes that begin now."""
        return self.random.random(self.num_envs) < self.share
