"""Environments stepped one after the other in this process, with little Python around a step."""

import time
from collections.abc import Callable, Sequence

import gymnasium as gym
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
    """

    def __init__(self, makers: Sequence[Callable[[], gym.Env]], seed: int) -> None:
        super().__init__(list(makers))
        self.seed(seed)
        for index, env in enumerate(self.envs):
            env.action_space.seed(seed + index)
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
        infos = []
        for index, (env, action) in enumerate(zip(self.envs, self.actions)):
            observation, reward, terminated, truncated, info = env.step(action)
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
        return self._obs_from_buf(), self.buf_rews.copy(), self.buf_dones.copy(), infos

    def _obs_from_buf(self) -> VecEnvObs:
        copies = {key: buffer.copy() for key, buffer in self.buf_obs.items()}
        return dict_to_obs(self.observation_space, copies)
