"""The hidden context as a part of the observation."""

from typing import Any

import gymnasium as gym
import numpy as np


class Revealed(gym.Wrapper, gym.utils.RecordConstructorArgs):
    """Appends the present context's numbers to the observation, for policies that are told.

    Observation: Box of the same dtype, shape (channels + numbers,).

    Args:
        env: environment with a Box [channels] as observations, perturbed by contexts.

    Raises:
        ValueError: other observations, or no contexts.
    """

    def __init__(self, env: gym.Env) -> None:
        gym.utils.RecordConstructorArgs.__init__(self)
        gym.Wrapper.__init__(self, env)
        space = env.observation_space
        if not isinstance(space, gym.spaces.Box) or len(space.shape) != 1:
            raise ValueError(f"observations must be a Box of one dimension, got {space}")
        context = env.get_wrapper_attr("context") if env.has_wrapper_attr("context") else []
        if not len(context):
            raise ValueError("there is no context to reveal; perturb it, as by motor_signs=seen")
        bound = np.full(len(context), np.inf)
        self.observation_space = gym.spaces.Box(
            np.concatenate([space.low, -bound]).astype(space.dtype),
            np.concatenate([space.high, bound]).astype(space.dtype),
            dtype=space.dtype.type,
        )

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[np.ndarray, dict[str, Any]]:
        """Start an episode."""
        observation, info = self.env.reset(seed=seed, options=options)
        return self._extended(observation, info), info

    def step(self, action: Any) -> tuple[np.ndarray, Any, bool, bool, dict[str, Any]]:
        """Take one step."""
        observation, reward, terminated, truncated, info = self.env.step(action)
        return self._extended(observation, info), reward, terminated, truncated, info

    def _extended(self, observation: np.ndarray, info: dict[str, Any]) -> np.ndarray:
        return np.concatenate([observation, info["context"]]).astype(observation.dtype)
