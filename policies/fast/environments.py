"""Vectorised environments as Stable-Baselines3's, with fewer copies around a step."""

import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor, wait
from typing import Any

import gymnasium as gym
import numpy as np
from gymnasium import spaces
from stable_baselines3.common.running_mean_std import RunningMeanStd
from stable_baselines3.common.vec_env import DummyVecEnv, VecNormalize
from stable_baselines3.common.vec_env.base_vec_env import VecEnvObs, VecEnvStepReturn
from stable_baselines3.common.vec_env.util import dict_to_obs


class SideBySide(DummyVecEnv):
    """SB3's `DummyVecEnv` with what its `Monitor` measures, and without deep copies.

    All that it returns is what `DummyVecEnv` returns of the same environments in
    `Monitor`, to the last bit, but for the clock. Where an episode ends,
    `info["episode"]` has its return "r", its length "l" in steps, and "t", the seconds
    since these environments were made.

    Observations, rewards and dones are new arrays at every step, an info is a new dict.
    The values in it are the environment's own: who keeps them for longer than a step
    copies them.

    `makers` make one environment each, which has a stream of its own, that no other
    seed's environments have. So many `threads` step environments at the same time, each
    its own; what comes of it is the same. MuJoCo lets go of the interpreter's lock in a
    step, and the rest of an environment does not, so that threads pay where physics
    take long. Environments must share nothing that changes.
    """

    def __init__(
        self,
        makers: Sequence[Callable[[], gym.Env]],
        seed: int | None,
        threads: int = 1,
    ) -> None:
        self.makers = list(makers)
        super().__init__(self.makers)
        self.seed(seed)
        # this thread steps the first part, the pool the others
        parts = np.array_split(np.arange(self.num_envs), min(threads, self.num_envs))
        self._parts = [part.tolist() for part in parts]
        self._pool = ThreadPoolExecutor(len(parts) - 1) if len(parts) > 1 else None
        self._made = time.time()

    def seed(self, seed: int | None = None) -> Sequence[int | None]:
        """Seeds the environments for the next `reset`, and their action spaces now;
        returns the seeds, which are far above those of evaluations.
        """
        streams = np.random.SeedSequence(seed).spawn(self.num_envs)
        self._seeds = [
            2**31 + int(stream.generate_state(1)[0] >> 1) for stream in streams
        ]
        for env, seed_of_env in zip(self._get_target_envs(None), self._seeds):
            env.action_space.seed(seed_of_env)
        return self._seeds

    def reset(self) -> VecEnvObs:
        """Starts an episode in every environment."""
        self._returns = [0.0] * self.num_envs
        self._lengths = [0] * self.num_envs
        return super().reset()

    def step_wait(self) -> VecEnvStepReturn:
        """One step of every environment; where an episode ends, the next one begins."""
        others = []
        if self._pool is not None:
            others = [self._pool.submit(self._step, part) for part in self._parts[1:]]
        try:
            infos = self._step(self._parts[0])
        finally:
            wait(others)
        for other in others:
            infos += other.result()
        copies = {key: buffer.copy() for key, buffer in self.buf_obs.items()}
        observations = dict_to_obs(self.observation_space, copies)
        return observations, self.buf_rews.copy(), self.buf_dones.copy(), infos

    def _step(self, indices: list[int]) -> list[dict[str, Any]]:
        """One step of some environments, into the buffers; returns their infos."""
        infos = []
        buffers: dict[Any, np.ndarray] = self.buf_obs
        # of observations that are no dict
        alone = buffers[None] if self.keys == [None] else None
        for index in indices:
            env = self.envs[index]
            observation, reward, terminated, truncated, given = env.step(
                self.actions[index]
            )
            info = {**given, "TimeLimit.truncated": truncated and not terminated}
            self.buf_rews[index] = reward
            done = self.buf_dones[index] = terminated or truncated
            self._returns[index] += float(reward)
            self._lengths[index] += 1
            if done:
                info["episode"] = self._ended(index)
                info["terminal_observation"] = observation
                observation, self.reset_infos[index] = env.reset()
            if alone is None:
                self._save_obs(index, observation)
            else:
                alone[index] = observation
            infos.append(info)
        return infos

    def _ended(self, index: int) -> dict[str, float]:
        """What `Monitor` measures of an environment's episode, which is over."""
        measured = {
            "r": round(self._returns[index], 6),
            "l": self._lengths[index],
            "t": round(time.time() - self._made, 6),
        }
        self._returns[index] = 0.0
        self._lengths[index] = 0
        return measured

    def close(self) -> None:
        """Closes the environments, and ends the threads."""
        if self._pool is not None:
            self._pool.shutdown()
        super().close()


class Normalised(VecNormalize):
    """`VecNormalize` with fewer copies of what is never changed: the same numbers, to
    the last bit.

    Arguments and attributes are those of `VecNormalize`, but that the space of a
    normalised observation has a float dtype, in which SB3's buffers then keep it: in
    that of whole numbers, the update would see other observations than the policy acted
    on. The last `raw` channels of an observation stay as they are.
    """

    def __init__(self, *args: Any, raw: int = 0, **kwargs: Any) -> None:
        self.raw = raw
        super().__init__(*args, **kwargs)
        self.old_last: dict[int, Any] = {}
        if self.norm_obs:
            self.observation_space = _as_floats(
                self.observation_space, self.norm_obs_keys
            )

    def step_wait(self) -> VecEnvStepReturn:
        """The environments' answers, normalised; in training the statistics take them
        in.
        """
        obs, rewards, dones, infos = self.venv.step_wait()
        self.old_obs = obs
        self.old_reward = rewards
        ended = np.flatnonzero(dones).tolist()
        self.old_last = {
            index: infos[index].get("terminal_observation") for index in ended
        }
        if self.training and self.norm_obs:
            if isinstance(self.obs_rms, dict):
                for key, statistics in self.obs_rms.items():
                    _take_in(statistics, obs[key])
            else:
                _take_in(self.obs_rms, obs)
        if self.training:
            self.returns = self.returns * self.gamma + rewards
            _take_in(self.ret_rms, self.returns)
        for index in ended:
            if "terminal_observation" in infos[index]:
                last = self.normalize_obs(infos[index]["terminal_observation"])
                infos[index]["terminal_observation"] = last
        self.returns[dones] = 0
        return self.normalize_obs(obs), self.normalize_reward(rewards), dones, infos

    def normalize_obs(self, obs: Any) -> Any:
        """Normalised observations, float32, new arrays; what is not normalised is as it
        was.
        """
        if not self.norm_obs:
            return obs
        if not isinstance(self.obs_rms, dict):
            return self._scaled(obs, self.obs_rms)
        normalised = dict(obs)
        for key, statistics in self.obs_rms.items():
            normalised[key] = self._scaled(obs[key], statistics)
        return normalised

    def _scaled(self, x: Any, statistics: RunningMeanStd) -> np.ndarray:
        mean = statistics.mean
        var = statistics.var
        numbers = scaled(x, mean, var, self.epsilon, self.clip_obs)
        if self.raw:
            numbers[..., -self.raw :] = x[..., -self.raw :]
        return numbers.astype(np.float32)


def scaled(
    x: Any, mean: np.ndarray, var: np.ndarray, epsilon: float, clip: float
) -> np.ndarray:
    """What `VecNormalize` makes of observations, before it rounds.

    Args:
        x: observations [batch, ...].
        mean: of observations, [...].
        var: variance, [...].
        epsilon: is added to the variance.
        clip: bound of what is returned.
    """
    numbers = (x - mean) / np.sqrt(var + epsilon)
    clipped: np.ndarray = np.minimum(np.maximum(numbers, -clip), clip)
    return clipped


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


def _as_floats(
    space: spaces.Space[Any], keys: Sequence[str] | None
) -> spaces.Space[Any]:
    """The space with its normalised parts, of a Dict those of the keys, as floats."""
    if isinstance(space, spaces.Dict):
        parts = []
        for key, part in space.items():
            is_normalised = keys is not None and key in keys
            parts.append((key, _as_floats(part, None) if is_normalised else part))
        return spaces.Dict(parts)  # pairs keep their order
    if space.dtype in (np.float32, np.float64):
        return space
    return spaces.Box(-np.inf, np.inf, space.shape, np.float32)
