"""What vectorised environments of any interface share: stepping in one call, for as
long as nobody else has a hand on the environments.
"""

import logging
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

import gymnasium as gym
import numpy as np

from spikepropamine.envs.physics.robots import NotKnown, record_of

if TYPE_CHECKING:
    from spikepropamine.envs.physics.simulations import Simulations

LOG = logging.getLogger("spikepropamine.physics")
PLAIN = int | float | str | np.generic | gym.Space | gym.envs.registration.EnvSpec
"""Attributes of these types say something of an environment, and change nothing in it.
"""
HARMLESS = frozenset({"metadata", "in_context", "out_of_context"})
"""Attributes of other types that change nothing: the last two ask perturbations."""


class Owner:
    """Owns environments, and steps them in one call where `simulate` can.

    Somebody who gets hold of an environment may change what the simulations do not see.
    From there on its class steps the environments one by one, and a line of the logger
    "spikepropamine.physics" says so.
    """

    _environments: list[gym.Env]
    _simulations: "Simulations | None" = None
    _level: int = logging.INFO

    @property
    def envs(self) -> list[gym.Env]:
        """The environments; from here on they are stepped one by one."""
        self._hand_over("somebody got hold of the environments")
        return self._environments

    @envs.setter
    def envs(self, envs: list[gym.Env]) -> None:
        self._environments = envs

    @property
    def in_one_call(self) -> bool:
        """Whether all environments are stepped in one call."""
        return self._simulations is not None

    def _simulate(self, threads: int, level: int = logging.INFO) -> None:
        """Begins to step the environments in one call, if they are known."""
        self._level = level
        try:
            record_of(self._environments[0].unwrapped)
            # imports MuJoCo, which chooses how it draws when it is imported
            from spikepropamine.envs.physics.simulations import simulate

            self._simulations = simulate(self._environments, threads)
        except NotKnown as reason:
            self._say(str(reason))

    def _update(self, indices: Iterable[int]) -> None:
        """Brings environments up to date, which somebody will look at."""
        if self._simulations is not None:
            for index in indices:
                self._simulations.update(index)

    def _shown(self, name: str, values: Sequence[Any]) -> None:
        """After somebody got values out of environments."""
        if name not in HARMLESS and not all(map(_is_plain, values)):
            self._hand_over(f"somebody got hold of {name!r}")

    def _called(self, name: str, indices: Iterable[int]) -> None:
        """After somebody called environments: takes in what has changed."""
        for index in indices:
            if self._simulations is None:
                return
            if self._simulations.changed(index):
                self._hand_over(f"{name!r} has changed one of them")
            else:
                self._simulations.take_in(index)

    def _hand_over(self, reason: str) -> None:
        """Goes on one by one."""
        if self._simulations is None:
            return
        self._update(range(len(self._environments)))
        self._end()
        self._say(reason)

    def _end(self) -> None:
        """Ends the threads of the simulations."""
        if self._simulations is not None:
            self._simulations.close()
            self._simulations = None

    def _say(self, reason: str) -> None:
        env = self._environments[0]
        name = env.spec.id if env.spec else type(env.unwrapped).__name__
        LOG.log(self._level, "%s: Gymnasium steps one by one, since %s", name, reason)


def _is_plain(value: object) -> bool:
    if isinstance(value, tuple | list):
        return all(map(_is_plain, value))
    if isinstance(value, np.ndarray):
        return value.base is None  # else it shows the memory of something else
    return value is None or isinstance(value, PLAIN)
