"""Gaussian noise on the observations of any environment, drawn anew at each step."""

from typing import Any

import gymnasium as gym
import numpy as np


class ObservationNoise(gym.ObservationWrapper, gym.utils.RecordConstructorArgs):
    """Adds N(0, (level * spread)^2) to each dimension of the observation, independently.

    Randomness: a generator of its own, seeded by `reset(seed)`. The environment's draws are
    those that it makes without the wrapper, so equal seeds give equal tasks at every level, and
    the same noise up to its scale.

    The observation space becomes unbounded, since noise respects no bounds.

    Args:
        env: environment whose observations are a Box of floats.
        level: standard deviation of the noise as a fraction of `spread`, at least 0.
        spread: natural standard deviation of each dimension, at least 0: an array that broadcasts
            to the observation's shape, or one number for all.

    Raises:
        ValueError: another observation space, or an argument that does not fit.
    """

    def __init__(self, env: gym.Env, level: float, spread: np.ndarray | float = 1.0) -> None:
        gym.utils.RecordConstructorArgs.__init__(self, level=level, spread=spread)
        gym.ObservationWrapper.__init__(self, env)
        space = env.observation_space
        if not isinstance(space, gym.spaces.Box) or not np.issubdtype(space.dtype, np.floating):
            raise ValueError(
                f"observation noise needs a Box of floats as observation space, got {space}"
            )
        if not (np.isfinite(level) and level >= 0):
            raise ValueError(f"level must be a number of at least 0, got {level!r}")
        array = np.asarray(spread, dtype=np.float64)
        if not (np.isfinite(array).all() and (array >= 0).all()):
            raise ValueError("spread must be finite and at least 0 in every dimension")
        try:
            self._scale = level * np.broadcast_to(array, space.shape)
        except ValueError as error:
            raise ValueError(
                f"spread has shape {array.shape}, but observations have shape {space.shape}"
            ) from error
        self.observation_space = gym.spaces.Box(-np.inf, np.inf, space.shape, space.dtype.type)
        self._random = np.random.default_rng()

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[np.ndarray, dict[str, Any]]:
        """Start an episode; a seed seeds the environment and the noise."""
        if seed is not None:
            # a child of the seed, which shares nothing with the stream that the task draws from
            self._random = np.random.default_rng(np.random.SeedSequence(seed).spawn(1)[0])
        return super().reset(seed=seed, options=options)

    def observation(self, observation: np.ndarray) -> np.ndarray:
        """The observation plus noise, of the same shape and dtype."""
        noise = self._scale * self._random.standard_normal(self._scale.shape)
        return (observation + noise).astype(observation.dtype)
