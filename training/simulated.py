"""Vectorised environments of Stable-Baselines3 whose physics is stepped in one call."""

import logging
from collections.abc import Callable, Sequence
from typing import Any

import gymnasium as gym
import numpy as np
from stable_baselines3.common.monitor import Monitor
from stable_baselines3.common.vec_env import VecEnv
from stable_baselines3.common.vec_env.base_vec_env import (
    VecEnvIndices,
    VecEnvObs,
    VecEnvStepReturn,
)

from spikepropamine.envs.making import horizon_of
from spikepropamine.envs.physics.owner import Owner
from spikepropamine.envs.physics.rows import Rows
from spikepropamine.policies.fast.environments import SideBySide


class Simulated(Owner, SideBySide):
    """`SideBySide`, with Gymnasium's v5 MuJoCo tasks stepped in one call.

    What it returns is the same, to the last bit, with any number of threads. Other
    environments are stepped one by one, as `SideBySide` does, and so are these from the
    moment on at which somebody gets hold of one of them, by `envs` or by `get_attr`, or
    changes it by `env_method` or `set_attr`. A line of the logger
    "spikepropamine.physics" says so.

    Args:
        makers: of one environment each.
        seed: of all that they draw.
        threads: which step environments at the same time.
        level: of that line, as in `logging`.

    Attributes:
        step_rows: steps such environments in whole episodes, for evolution.
    """

    step_rows = Rows

    def __init__(
        self,
        makers: Sequence[Callable[[], gym.Env]],
        seed: int | None,
        threads: int = 1,
        level: int = logging.INFO,
    ) -> None:
        super().__init__(makers, seed, threads)
        self._simulate(threads, level)

    def horizons(self) -> list[int | None]:
        """The most steps of an episode in each environment; None: without a limit."""
        return [horizon_of(env) for env in self._environments]

    def reset(self) -> VecEnvObs:
        """Starts an episode in every environment."""
        if self._simulations is None:
            return super().reset()
        self._returns = [0.0] * self.num_envs
        self._lengths = [0] * self.num_envs
        observations = []
        for index in range(self.num_envs):
            options = self._options[index] or None
            seed = self._seeds[index]
            first, info = self._simulations.reset(index, seed, options)
            observations.append(first)
            self.reset_infos[index] = info
        self._reset_seeds()
        self._reset_options()
        return np.array(observations)

    def step_wait(self) -> VecEnvStepReturn:
        """One step of every environment; where an episode ends, the next one begins."""
        if self._simulations is None:
            return super().step_wait()
        stepped = self._simulations.step(self.actions)
        observations = stepped.observations
        dones = stepped.terminated | stepped.truncated
        limited = (stepped.truncated & ~stepped.terminated).tolist()
        infos = stepped.each_info()
        for index, reward in enumerate(stepped.rewards.tolist()):
            infos[index]["TimeLimit.truncated"] = limited[index]
            self._returns[index] += reward
            self._lengths[index] += 1
        for index in np.flatnonzero(dones).tolist():
            infos[index]["episode"] = self._ended(index)
            infos[index]["terminal_observation"] = observations[index].copy()
            first, self.reset_infos[index] = self._simulations.reset(index)
            observations[index] = first
        return observations, stepped.rewards.astype(np.float32), dones, infos

    def get_attr(self, attr_name: str, indices: VecEnvIndices = None) -> list[Any]:
        """An attribute of some environments, or of all."""
        self._update(self._get_indices(indices))
        values = super().get_attr(attr_name, indices)
        self._shown(attr_name, values)
        return values

    def set_attr(
        self, attr_name: str, value: Any, indices: VecEnvIndices = None
    ) -> None:
        """Sets an attribute of some environments, or of all."""
        self._update(self._get_indices(indices))
        super().set_attr(attr_name, value, indices)
        self._called(attr_name, self._get_indices(indices))

    def env_method(
        self,
        method_name: str,
        *method_args: Any,
        indices: VecEnvIndices = None,
        **method_kwargs: Any,
    ) -> list[Any]:
        """Calls a method of some environments, or of all."""
        self._update(self._get_indices(indices))
        results = super().env_method(
            method_name, *method_args, indices=indices, **method_kwargs
        )
        self._called(method_name, self._get_indices(indices))
        self._shown(method_name, results)
        return results

    def get_images(self) -> Sequence[np.ndarray | None]:
        """A picture of each environment; None where they are not made for it."""
        self._update(range(self.num_envs))
        if self.render_mode != "rgb_array":
            return [None for _ in self._environments]
        pictures: list[Any] = [env.render() for env in self._environments]
        return pictures

    def close(self) -> None:
        """Closes the environments, and ends the threads."""
        self._end()
        super().close()

    def _get_target_envs(self, indices: VecEnvIndices) -> list[gym.Env]:
        return [self._environments[index] for index in self._get_indices(indices)]


class Stock(Simulated):
    """`Simulated` environments that are seeded as Stable-Baselines3's `make_vec_env`
    does: the first by the seed, the next by the next number. They say that they are
    monitored.
    """

    def seed(self, seed: int | None = None) -> Sequence[int | None]:
        """Seeds the environments for the next `reset`; returns their seeds."""
        seeds = VecEnv.seed(self, seed)
        if seed is not None:
            for env, seed_of_env in zip(self._environments, seeds):
                env.action_space.seed(seed_of_env)
        return seeds

    def env_is_wrapped(
        self, wrapper_class: type[gym.Wrapper], indices: VecEnvIndices = None
    ) -> list[bool]:
        """Whether environments are in a wrapper; all of them do what `Monitor` does."""
        if wrapper_class is Monitor:
            return [True for _ in self._get_indices(indices)]
        return super().env_is_wrapped(wrapper_class, indices)
