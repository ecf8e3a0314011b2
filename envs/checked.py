"""The one door for environments: what they return is sound, or one line says what is
wrong; and what they raise is theirs.
"""

import math
import os
import sysconfig
import traceback
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NoReturn

import gymnasium as gym
import numpy as np
from gymnasium import spaces

from spikepropamine.common import UsageError, message_of, one_line, shown

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
    """An environment raised something, or returned what no environment should."""


class Checked(gym.Wrapper):
    """An environment whose returns are checked, whoever steps it.

    Observations have the shape of their space, and their numbers are finite. Rewards
    are finite numbers, which become floats. Ends are true or false. An info is a
    mapping, and what is read from it (`INFO`) has the right type. `reset` and `step`
    raise EnvironmentFailed, with the file and the line of the environment.

    An entry "episode" of the info in mid-episode is left out: Stable-Baselines3 would
    count it as the end of an episode.
    """

    def __init__(self, env: gym.Env) -> None:
        super().__init__(env)
        space = env.observation_space
        self._keys = space.spaces.keys() if isinstance(space, spaces.Dict) else None
        parts = space.spaces if isinstance(space, spaces.Dict) else {"": space}
        self._shapes = {
            key: part.shape for key, part in parts.items() if isinstance(part, FLAT)
        }
        is_vector = type(space) is spaces.Box and len(space.shape) == 1
        self._vector_shape = space.shape if is_vector else None

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> Any:
        """Begins an episode."""
        try:
            observation, info = self.env.reset(seed=seed, options=options)
            self._check_observation(observation)
            check_info(info)
        except (Exception, SystemExit) as error:
            self._fail("reset", error)
        return observation, info

    def step(self, action: Any) -> Any:
        """Takes one step."""
        try:
            observation, reward, terminated, truncated, info = self.env.step(action)
            if not self._is_sound_vector(observation):
                self._check_observation(observation)
            check_info(info)
            if type(terminated) is not bool:
                terminated = end_of("terminated", terminated)
            if type(truncated) is not bool:
                truncated = end_of("truncated", truncated)
            if "episode" in info and not (terminated or truncated):
                info = {name: info[name] for name in info if name != "episode"}
            return observation, reward_of(reward), terminated, truncated, info
        except (Exception, SystemExit) as error:
            self._fail("step", error)

    def _is_sound_vector(self, observation: Any) -> bool:
        """Whether it is the usual sound observation. The whole check takes as long as a
        step of a small task.
        """
        return (
            type(observation) is np.ndarray
            and observation.shape == self._vector_shape
            and observation.dtype.char in "fd"
            # the sum of squares is finite where each number is, unless they are huge
            and math.isfinite(observation.dot(observation))
        )

    def _check_observation(self, observation: Any) -> None:
        """Raises TypeError or ValueError unless the observation is one of its space."""
        parts = observation
        if self._keys is None:
            parts = {"": observation}
        elif not isinstance(parts, Mapping) or parts.keys() != self._keys:
            keys = ", ".join(self._keys)
            raise TypeError(f"its observation should be a dict of {keys}")
        for key, shape in self._shapes.items():
            name = f"its observation {key!r}" if key else "its observation"
            array = np.asarray(parts[key])
            if array.shape != shape:
                raise ValueError(
                    f"{name} has the shape {array.shape}, and should have {shape}"
                )
            if array.dtype.kind not in "biuf":
                raise TypeError(f"{name} is {shown(parts[key])}, and should be numbers")
            finite = np.isfinite(array)
            if not finite.all():
                place = tuple(int(index) for index in np.argwhere(~finite)[0])
                where = f"{name}{list(place)}" if place else name
                raise ValueError(
                    f"{where} is {array[place]}, and should be a finite number"
                )

    def _fail(self, where: str, error: BaseException) -> NoReturn:
        name = self.env.spec.id if self.env.spec else type(self.env.unwrapped).__name__
        line = error_line(error)
        raise EnvironmentFailed(f"{name} failed in {where}: {line}") from error


def reward_of(reward: Any) -> float:
    """A reward as a float.

    Args:
        reward: a number, or an array that holds one.

    Raises:
        TypeError: it is no number.
        ValueError: it is not finite.
    """
    if not isinstance(reward, float):  # which NumPy's float64 is, too
        array = np.asarray(reward)
        if array.dtype.kind not in "biuf" or array.size != 1:
            raise TypeError(f"its reward is {shown(reward)}, and should be a number")
        reward = array.item()
    if not math.isfinite(reward):
        raise ValueError(f"its reward is {reward}, and should be a finite number")
    return float(reward)


def end_of(name: str, value: object) -> bool:
    """An end, `terminated` or `truncated`, as a bool.

    Args:
        name: of the end.
        value: true or false, also as NumPy's, or as the integers 0 and 1.

    Raises:
        TypeError: it is neither true nor false.
    """
    array = np.asarray(value)
    if array.dtype.kind in "biu" and array.size == 1 and array.item() in (0, 1):
        return bool(array.item())
    raise TypeError(f"its {name} is {shown(value)}, and should be true or false")


def _is_number(value: object) -> bool:
    if isinstance(value, int | float):  # as most are
        return math.isfinite(value)
    array = np.asarray(value)
    return array.dtype.kind in "biuf" and array.size == 1 and bool(np.isfinite(array))


def _is_count(value: Any) -> bool:
    return _is_number(value) and value >= 0 and int(value) == value


def _is_truth(value: object) -> bool:
    return _is_number(value) and value in (0, 1)


INFO: dict[str, tuple[Callable[[Any], bool], str]] = {
    "correct": (_is_truth, "true or false"),
    "trial": (_is_count, "a whole number from 0 on"),
    "context_began": (_is_count, "a whole number from 0 on"),
    "feedback": (_is_number, "a finite number"),
    "is_success": (_is_number, "true, false or a finite number"),
}
"""Entries of an info that training and evaluation read: what is right, and how it is
called.
"""
_READ = frozenset(INFO)


def check_info(info: Any) -> None:
    """Raises TypeError unless an info is a mapping whose entries are as `INFO` has
    them.
    """
    if type(info) is not dict and not isinstance(info, Mapping):
        raise TypeError(f"its info is {shown(info)}, and should be a dict")
    if _READ.isdisjoint(info):  # as most are
        return
    for name in INFO:
        if name in info:
            is_right, expected = INFO[name]
            if not is_right(info[name]):
                raise TypeError(_wrong_entry(info, name, expected))


def numbers_in(info: Mapping[str, Any], name: str) -> list[Any]:
    """The numbers that an info has by a name; none where it does not have the name.

    Args:
        info: of a step of an environment.
        name: of its entry.

    Raises:
        EnvironmentFailed: they are no list of finite numbers.
    """
    values = info.get(name, [])
    array = np.asarray(values)
    if (
        array.ndim != 1
        or array.dtype.kind not in "biuf"
        or not np.isfinite(array).all()
    ):
        raise EnvironmentFailed(_wrong_entry(info, name, "a list of finite numbers"))
    return list(values)


def _wrong_entry(info: Mapping[str, Any], name: str, expected: str) -> str:
    given = shown(info[name])
    return f"its info has {name} {given}, which should be {expected}"


def error_line(error: BaseException) -> str:
    """An error of someone else's code in a line, with the file and the line that it is
    from.
    """
    kind = type(error).__name__
    message = one_line(message_of(error))
    line = f"{kind}: {message}" if message else kind
    for frame in reversed(traceback.extract_tb(error.__traceback__)):
        file = os.path.realpath(frame.filename)
        is_ours = not OURS.isdisjoint(Path(file).parents)
        if not is_ours and not file.startswith(INSTALLED):
            return f"{line} ({frame.filename}, line {frame.lineno}, in {frame.name})"
    return line
