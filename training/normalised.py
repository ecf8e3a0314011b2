"""Observations and rewards normalised as SB3 does it, with little around the arithmetic."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from gymnasium import spaces
from stable_baselines3.common.running_mean_std import RunningMeanStd
from stable_baselines3.common.vec_env import VecNormalize
from stable_baselines3.common.vec_env.base_vec_env import VecEnvStepReturn


class Normalised(VecNormalize):
    """`VecNormalize` with fewer copies of what is never changed: the same numbers, to the last bit.

    Arguments and attributes are those of `VecNormalize`, but that the space of a normalised
    observation has a float dtype, in which SB3's buffers then keep it: in that of whole numbers,
    the update would see other observations than the policy acted on. The last `raw` channels of an
    observation stay as they are.
    """

    def __init__(self, *args: Any, raw: int = 0, **kwargs: Any) -> None:
        self.raw = raw
        super().__init__(*args, **kwargs)
        self.old_last: dict[int, Any] = {}
        if self.norm_obs:
            self.observation_space = _as_floats(self.observation_space, self.norm_obs_keys)

    def step_wait(self) -> VecEnvStepReturn:
        """The environments' answers, normalised; in training the statistics take them in."""
        obs: Any
        obs, rewards, dones, infos = self.venv.step_wait()
        self.old_obs, self.old_reward = obs, rewards
        if self.training and self.norm_obs:
            if isinstance(self.obs_rms, dict):
                for key, statistics in self.obs_rms.items():
                    _take_in(statistics, obs[key])
            else:
                _take_in(self.obs_rms, obs)
        if self.training:
            self.returns = self.returns * self.gamma + rewards
            _take_in(self.ret_rms, self.returns)
        self.old_last = {}
        for index in np.flatnonzero(dones):
            if "terminal_observation" in infos[index]:
                last = self.old_last[int(index)] = infos[index]["terminal_observation"]
                infos[index]["terminal_observation"] = self.normalize_obs(last)
        self.returns[dones] = 0
        return self.normalize_obs(obs), self.normalize_reward(rewards), dones, infos

    def normalize_obs(self, obs: Any) -> Any:
        """Normalised observations, float32, new arrays; what is not normalised is as it was."""
        if not self.norm_obs:
            return obs
        if not isinstance(self.obs_rms, dict):
            return self._normalize_obs(obs, self.obs_rms).astype(np.float32)
        return {
            key: self._normalize_obs(x, self.obs_rms[key]).astype(np.float32)
            if key in self.obs_rms
            else x
            for key, x in obs.items()
        }

    def _normalize_obs(self, obs: np.ndarray, obs_rms: RunningMeanStd) -> np.ndarray:
        scaled = (obs - obs_rms.mean) / np.sqrt(obs_rms.var + self.epsilon)
        scaled = np.minimum(np.maximum(scaled, -self.clip_obs), self.clip_obs)
        if self.raw:
            scaled[..., -self.raw :] = obs[..., -self.raw :]
        return scaled


def _as_floats(space: spaces.Space, keys: Sequence[str] | None) -> spaces.Space:
    """The space with its normalised parts, of a Dict those of the keys, as floats."""
    if isinstance(space, spaces.Dict):
        parts = [(k, _as_floats(x, None) if k in (keys or ()) else x) for k, x in space.items()]
        return spaces.Dict(parts)  # pairs keep their order
    if space.dtype in (np.float32, np.float64):
        return space
    return spaces.Box(-np.inf, np.inf, space.shape, np.float32)


def _take_in(statistics: RunningMeanStd, x: np.ndarray) -> None:
    """`RunningMeanStd.update`, with NumPy's mean and variance written out."""
    if x.dtype == np.float16:  # whose sums NumPy's mean has in another type
        statistics.update(x)
        return
    count = len(x)
    mean = np.add.reduce(x, axis=0) / count
    centred = x - mean
    variance = np.add.reduce(centred * centred, axis=0) / count
    statistics.update_from_moments(mean, variance, count)
