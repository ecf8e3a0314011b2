"""A vectorised environment of Gymnasium whose physics is stepped in one call."""

import logging
from collections.abc import Callable, Sequence
from typing import Any

import gymnasium as gym
import numpy as np
from gymnasium.vector import AutoresetMode, SyncVectorEnv

from spikepropamine.envs.physics.owner import Owner
from spikepropamine.envs.physics.robots import Infos

VectorStep = tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray, dict[str, Any]]
"""Observations, rewards, terminated, truncated, infos."""


class PhysicsVectorEnv(Owner, SyncVectorEnv):
    """Gymnasium's `SyncVectorEnv`, with its v5 MuJoCo tasks stepped in one call.

    What it returns is the same, to the last bit, with any number of threads.

    Args:
        env_fns: makers of one environment each.
        threads: which step environments at the same time.
        autoreset_mode: when the next episode begins, see Gymnasium.
        level: of the log line about environments that are stepped one by one.
    """

    def __init__(
        self,
        env_fns: Sequence[Callable[[], gym.Env]],
        threads: int = 1,
        autoreset_mode: str | AutoresetMode = AutoresetMode.NEXT_STEP,
        level: int = logging.INFO,
    ) -> None:
        super().__init__(env_fns, autoreset_mode=autoreset_mode)
        self._last: np.ndarray | None = None  # observations
        self._simulate(threads, level)

    def reset(
        self,
        *,
        seed: int | list[int | None] | None = None,
        options: dict[str, Any] | None = None,
    ) -> tuple[np.ndarray, dict[str, Any]]:
        """Starts an episode in every environment, or where `reset_mask` is True.

        Args:
            seed: of the first environment, the next have the next numbers; or one for
                each.
            options: may have "reset_mask", bool [environments].

        Returns:
            Observations [environments, channels], and the infos.
        """
        mask = np.ones(self.num_envs, dtype=bool)
        if options is not None and "reset_mask" in options:
            mask = options["reset_mask"]
        simulations = self._simulations
        self._simulations = None
        if simulations is not None and self._last is not None:
            self._env_obs = list(self._last)  # of those that are not reset
        try:
            observations, infos = super().reset(seed=seed, options=options)
        finally:
            self._simulations = simulations
        if simulations is not None:
            for index in np.flatnonzero(mask).tolist():
                simulations.began(index)
        return observations, infos

    def step(self, actions: np.ndarray) -> VectorStep:
        """One step of every environment."""
        simulations = self._simulations
        if simulations is None:
            return super().step(actions)
        ended = self._autoreset_envs
        ids = None
        if ended.any():
            if self.autoreset_mode == AutoresetMode.DISABLED:
                raise ValueError("an episode is over: reset its environment first")
            if self.autoreset_mode == AutoresetMode.NEXT_STEP:
                ids = np.flatnonzero(~ended)
        stepped = simulations.step(actions, ids)
        observations = stepped.observations
        rewards = stepped.rewards
        terminated = stepped.terminated
        truncated = stepped.truncated
        if ids is not None:
            rewards[ended] = 0.0
            terminated[ended] = truncated[ended] = False
        done = terminated | truncated
        same_step = self.autoreset_mode == AutoresetMode.SAME_STEP
        begins = np.zeros(self.num_envs, dtype=bool)
        if same_step:
            begins = done
        elif ids is not None:
            begins = ended
        dicts = stepped.dicts
        infos: dict[str, Any] = {}
        rows: Sequence[int] = range(self.num_envs)
        if dicts is None:
            rows = np.flatnonzero(begins).tolist() if begins.any() else ()
            infos = _columns(stepped.infos, ~begins, complete=not rows)
        # in the order of the environments: the first one settles an entry's type
        for index in rows:
            if not begins[index]:
                assert dicts is not None
                infos = self._add_info(infos, dicts[index], index)
                continue
            if same_step:
                final = {
                    "final_obs": observations[index].copy(),
                    "final_info": stepped.each_info()[index],
                }
                infos = self._add_info(infos, final, index)
            observations[index], info = simulations.reset(index)
            infos = self._add_info(infos, info, index)
        self._autoreset_envs = done
        self._last = observations.copy()
        return observations, rewards, terminated, truncated, infos

    def call(self, name: str, *args: Any, **kwargs: Any) -> tuple[Any, ...]:
        """Calls a method of every environment, or gets an attribute."""
        everywhere = range(self.num_envs)
        self._update(everywhere)
        functions = [env.get_wrapper_attr(name) for env in self._environments]
        if not callable(functions[0]):
            self._shown(name, functions)
            return tuple(functions)
        results = tuple(function(*args, **kwargs) for function in functions)
        self._called(name, everywhere)
        return results

    def set_attr(self, name: str, values: list[Any] | tuple[Any, ...] | Any) -> None:
        """Sets an attribute of every environment; from here they step one by one.

        Args:
            name: of the attribute.
            values: one for each environment, or one for all.
        """
        self._hand_over(f"{name!r} was set")
        super().set_attr(name, values)

    def render(self) -> tuple[Any, ...]:
        """A picture of every environment."""
        self._update(range(self.num_envs))
        return tuple(env.render() for env in self._environments)

    def close_extras(self, **kwargs: Any) -> None:
        """Closes the environments, and ends the threads."""
        self._end()
        super().close_extras(**kwargs)


def _columns(infos: Infos, rows: np.ndarray, complete: bool) -> dict[str, Any]:
    """Infos as Gymnasium has them of several environments.

    Args:
        infos: of all.
        rows: bool [environments], of which they are wanted; others have zeros.
        complete: whether they are wanted of all.
    """
    found: dict[str, Any] = {}
    if not complete and not rows.any():
        return found
    for name, values in infos.items():
        array = np.asarray(values)
        if not complete:
            array = array.copy()
            array[~rows] = 0
        found[name] = array
        found[f"_{name}"] = rows.copy()
    return found
