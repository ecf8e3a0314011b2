"""Environments stepped side by side in this process, with little Python around a step."""

import time
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor, wait
from typing import Any, ClassVar

import gymnasium as gym
import numpy as np
from stable_baselines3.common.vec_env import DummyVecEnv
from stable_baselines3.common.vec_env.base_vec_env import VecEnvObs, VecEnvStepReturn
from stable_baselines3.common.vec_env.util import dict_to_obs


class SideBySide(DummyVecEnv):
    """SB3's `DummyVecEnv` with what its `Monitor` measures, and without deep copies.

    All that it returns is what `DummyVecEnv` returns of the same environments in `Monitor`, to the
    last bit, but for the clock. Where an episode ends, `info["episode"]` has its return "r", its
    length "l" in steps, and "t", the seconds since these environments were made.

    Observations, rewards and dones are new arrays at every step, an info is a new dict. The values
    in it are the environment's own: who keeps them for longer than a step copies them.

    Args:
        makers: make one environment each.
        seed: of environment `i` it is `seed + i`.
        threads: how many step environments at the same time, each its own; what comes of it is the
            same. MuJoCo lets go of the interpreter's lock in a step, and the rest of an environment
            does not, so that threads pay where physics take long. Environments must share nothing
            that changes.
    """

    not_state: ClassVar[tuple[str, ...]] = ("_parts", "_pool")  # for `training.snapshot`

    def __init__(
        self, makers: Sequence[Callable[[], gym.Env]], seed: int, threads: int = 1
    ) -> None:
        super().__init__(list(makers))
        self.seed(seed)
        for index, env in enumerate(self.envs):
            env.action_space.seed(seed + index)
        # this thread steps the first part, the pool the others
        parts = np.array_split(np.arange(self.num_envs), min(threads, self.num_envs))
        self._parts = [part.tolist() for part in parts]
        self._pool = ThreadPoolExecutor(len(parts) - 1) if len(parts) > 1 else None
        self._made = time.time()
        self._begin()

    def _begin(self) -> None:
        self._returns, self._lengths = [0.0] * self.num_envs, [0] * self.num_envs

    def reset(self) -> VecEnvObs:
        """Starts an episode in every environment."""
        self._begin()
        return super().reset()

    def step_wait(self) -> VecEnvStepReturn:
        """One step of every environment; where an episode ends, the next one begins."""
        if self._pool is None:
            infos = self._step(self._parts[0])
        else:
            others = [self._pool.submit(self._step, part) for part in self._parts[1:]]
            try:
                infos = self._step(self._parts[0])
            finally:
                wait(others)
            for other in others:
                infos += other.result()
        return self._obs_from_buf(), self.buf_rews.copy(), self.buf_dones.copy(), infos

    def _step(self, indices: Iterable[int]) -> list[dict[str, Any]]:
        """One step of some of the environments; their infos."""
        infos = []
        for index in indices:
            env = self.envs[index]
            observation, reward, terminated, truncated, info = env.step(self.actions[index])
            info = {**info, "TimeLimit.truncated": truncated and not terminated}
            self.buf_rews[index] = reward
            self._returns[index] += float(reward)
            self._lengths[index] += 1
            done = self.buf_dones[index] = terminated or truncated
            if done:
                info["episode"] = {
                    "r": round(self._returns[index], 6),
                    "l": self._lengths[index],
                    "t": round(time.time() - self._made, 6),
                }
                info["terminal_observation"] = observation
                self._returns[index], self._lengths[index] = 0.0, 0
                observation, self.reset_infos[index] = env.reset()
            self._save_obs(index, observation)
            infos.append(info)
        return infos

    def close(self) -> None:
        """Closes the environments, and ends the threads."""
        if self._pool is not None:
            self._pool.shutdown()
        super().close()

    def _obs_from_buf(self) -> VecEnvObs:
        copies = {key: buffer.copy() for key, buffer in self.buf_obs.items()}
        return dict_to_obs(self.observation_space, copies)
