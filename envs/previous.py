"""Previous action and reward as parts of the observation."""

from typing import Any

import gymnasium as gym
import numpy as np

from spikepropamine.envs.task import Start, Step


class PreviousActionAndReward(gym.Wrapper, gym.utils.RecordConstructorArgs):
    """Appends the last action and the last reward to the observation.

    Observation: Box of the same dtype (floats, where it is of integers), shape (channels + action
    channels + 1,): the observation, the action (one-hot where actions are discrete), and the
    reward, always the last channel. After `reset` action and reward are 0.

    A task that limits what may be known of the reward says so by `info["feedback"]`, which then
    stands in for the reward: else this wrapper would give the task's secret away.

    Args:
        env: environment with a Box [channels] as observations and a Box or Discrete as actions.

    Raises:
        ValueError: other spaces.
    """

    def __init__(self, env: gym.Env) -> None:
        gym.utils.RecordConstructorArgs.__init__(self)
        gym.Wrapper.__init__(self, env)
        space, actions = env.observation_space, env.action_space
        if not isinstance(space, gym.spaces.Box) or len(space.shape) != 1:
            raise ValueError(f"observations must be a Box of one dimension, got {space}")
        if not isinstance(actions, gym.spaces.Box | gym.spaces.Discrete):
            raise ValueError(f"actions must be a Box or Discrete, got {actions}")
        self._first = None if isinstance(actions, gym.spaces.Box) else int(actions.start)
        if isinstance(actions, gym.spaces.Box):
            low, high = actions.low.ravel(), actions.high.ravel()
            low, high = np.minimum(low, 0), np.maximum(high, 0)  # 0 after `reset`
        else:
            low, high = np.zeros(actions.n), np.ones(actions.n)
        self._channels = low.size
        dtype = np.result_type(space.dtype, np.float32)
        self.observation_space = gym.spaces.Box(
            np.concatenate([space.low, low, [-np.inf]]).astype(dtype),
            np.concatenate([space.high, high, [np.inf]]).astype(dtype),
            dtype=dtype.type,
        )

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> Start:
        """Start an episode."""
        observation, info = self.env.reset(seed=seed, options=options)
        return self._extended(observation, np.zeros(self._channels), 0.0), info

    def step(self, action: Any) -> Step:
        """Take one step."""
        observation, reward, terminated, truncated, info = self.env.step(action)
        if self._first is None:
            taken = np.asarray(action).ravel()
        else:
            taken = np.zeros(self._channels)
            taken[int(action) - self._first] = 1.0
        known = info.get("feedback", reward)
        return self._extended(observation, taken, known), reward, terminated, truncated, info

    def _extended(self, observation: np.ndarray, action: np.ndarray, reward: float) -> np.ndarray:
        size = observation.size + self._channels + 1
        extended = np.empty(size, np.result_type(observation.dtype, np.float32))
        extended[: observation.size] = observation
        extended[observation.size : -1] = action
        extended[-1] = reward
        return extended
