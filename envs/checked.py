"""The one door for environments: what they give is of the right type and shape, or one line says
what is wrong; and what they raise is theirs.
"""

import os
import sysconfig
import traceback
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NoReturn

import gymnasium as gym
import numpy as np
from gymnasium import spaces

from spikepropamine.common import UsageError, one_line, shown

ROOT = Path(__file__).resolve().parents[1]
OURS = {
    ROOT / name
    for name in ("agents", "envs", "evaluation", "spikepropamine", "training")
}
INSTALLED = tuple(
    {sysconfig.get_path(name) for name in ("purelib", "platlib", "stdlib")}
)
FLAT = (spaces.Box, spaces.Discrete, spaces.MultiDiscrete, spaces.MultiBinary)


class EnvironmentFailed(UsageError):
    """An environment raised something, or gave something else than an environment gives."""


class Checked(gym.Wrapper):
    """What an environment gives, checked in type and shape; rewards are floats and ends are bools.

    Whether numbers are finite is looked at where they come in by the batch: by
    `training.callbacks`, by a deployed policy, and by `evaluation.run.episodes`. `reset` and `step`
    raise EnvironmentFailed, with the file and the line of the environment.
    """

    def __init__(self, env: gym.Env) -> None:
        super().__init__(env)
        space = env.observation_space
        parts = space.spaces if isinstance(space, spaces.Dict) else {"": space}
        self._parts = {
            key: part.shape for key, part in parts.items() if isinstance(part, FLAT)
        }
        self._keys = parts.keys() if isinstance(space, spaces.Dict) else None
        self._shape = space.shape if type(space) is spaces.Box else None  # of most

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> Any:
        """Begins an episode."""
        try:
            observation, info = self.env.reset(seed=seed, options=options)
            self._check(observation, info)
        except (Exception, SystemExit) as error:
            self._fail("reset", error)
        return observation, info

    def step(self, action: Any) -> Any:
        """One step."""
        try:
            observation, reward, terminated, truncated, info = self.env.step(action)
            if (
                type(observation) is not np.ndarray
                or observation.shape != self._shape
                or observation.dtype.char not in "fd"
                or type(info) is not dict
            ):  # asked first, since the whole check takes as long as a step of a small task
                self._check(observation, info)
            if terminated is None or truncated is None:
                raise TypeError(
                    "terminated and truncated are true or false, and not None"
                )
            return observation, float(reward), bool(terminated), bool(truncated), info
        except (Exception, SystemExit) as error:
            self._fail("step", error)

    def _check(self, observation: Any, info: Any) -> None:
        if not isinstance(info, Mapping):
            raise TypeError(f"its info is {shown(info)}, and should be a dict")
        if self._keys is None:
            observation = {"": observation}
        elif not isinstance(observation, Mapping) or observation.keys() != self._keys:
            raise TypeError(
                f"its observation should be a dict of {', '.join(self._keys)}"
            )
        for key, shape in self._parts.items():
            what = f"its observation {key!r}" if key else "its observation"
            array = np.asarray(observation[key])
            if array.shape != shape:
                raise ValueError(
                    f"{what} has the shape {array.shape}, and should have {shape}"
                )
            if array.dtype.kind not in "biuf":
                raise TypeError(
                    f"{what} is {shown(observation[key])}, and should be of numbers"
                )

    def _fail(self, where: str, error: BaseException) -> NoReturn:
        name = self.env.spec.id if self.env.spec else type(self.env.unwrapped).__name__
        raise EnvironmentFailed(f"{name} failed in {where}: {told(error)}") from error


def told(error: BaseException) -> str:
    """An error of someone else's code in a line, with the file and the line that it comes from."""
    said = f"{type(error).__name__}: {one_line(error)}".rstrip(": ")
    for frame in reversed(traceback.extract_tb(error.__traceback__)):
        file = os.path.realpath(frame.filename)
        if not file.startswith(INSTALLED) and OURS.isdisjoint(Path(file).parents):
            return f"{said} ({frame.filename}, line {frame.lineno}, in {frame.name})"
    return said
