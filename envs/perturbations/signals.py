"""Perturbations of what is observed, and of what is done: of the action on its way to the task.

The task sees the action that arrives, so a cost of control is charged for that one.
"""

import math
from collections.abc import Callable
from functools import partial
from typing import Any

import gymnasium as gym
import numpy as np

from spikepropamine.envs.perturbations.contexts import Order, Signs, in_context
from spikepropamine.envs.perturbations.family import Bound, Family
from spikepropamine.envs.rendering import is_mujoco

LATEST = 8  # steps


def _floats(task: Any) -> str | None:
    dtype = getattr(getattr(task, "observation_space", None), "dtype", None)
    # discrete codes have no scale on which a sensor could be slightly wrong
    scaled = dtype is not None and np.issubdtype(dtype, np.floating)
    return None if scaled else "its observations are no array of floats"


def _zeros(task: Any) -> str | None:
    if reason := _floats(task):
        return reason
    inside = (task.observation_space.low <= 0).all() and (task.observation_space.high >= 0).all()
    return None if inside else "0 is none of its observations"


def _several_floats(task: Any) -> str | None:
    return _floats(task) or (None if len(sensors(task)["all"]) > 1 else "it has one sensor only")


def _box(task: Any) -> str | None:
    return None if isinstance(task.action_space, gym.spaces.Box) else "its actions are no Box"


def _bounded(task: Any) -> str | None:
    return _box(task) or (None if task.action_space.is_bounded() else "its actions have no bounds")


def _symmetric(task: Any) -> str | None:
    if reason := _box(task):
        return reason
    mirrored = (task.action_space.low == -task.action_space.high).all()
    return None if mirrored else "its actions are not symmetric about 0"


def _alike(task: Any) -> str | None:
    space = task.action_space
    if reason := _box(task):
        return reason
    if int(np.prod(space.shape)) < 2:
        return "it has one motor only"
    alike = (space.low == space.low.min()).all() and (space.high == space.high.max()).all()
    return None if alike else "its actions have different bounds"


def sensors(task: Any) -> dict[str, np.ndarray]:
    """Indices of observations: each by its number, and all."""
    size = int(np.prod(task.observation_space.shape))
    named = {f"sensor_{index}": np.array([index]) for index in range(size)}
    return named | {"all": np.arange(size)}


def joint_of_actuator(model: Any, actuator: int) -> int | None:
    """The joint that an actuator drives; None where it drives something else."""
    joint, in_parent = 0, 1  # mjtTrn
    if model.actuator_trntype[actuator] in (joint, in_parent):
        return int(model.actuator_trnid[actuator, 0])
    return None


def actuators(task: Any) -> dict[str, np.ndarray]:
    """Indices of actions: each by the name of its actuator or joint, and all; by number where
    actions are not those of the actuators.
    """
    size = int(np.prod(task.action_space.shape))
    model = task.unwrapped.model if is_mujoco(task) else None
    targets = {}
    for index in range(size):
        name = ""
        if model is not None and model.nu == size:
            joint = joint_of_actuator(model, index)
            name = model.actuator(index).name or ("" if joint is None else model.joint(joint).name)
        targets[name or f"action_{index}"] = np.array([index])
    return targets | {"all": np.arange(size)}


Channels = Callable[[Any], dict[str, np.ndarray]]


def _signs(channels: Channels, task: Any) -> dict[str, Signs]:
    named = channels(task)
    every = named.pop("all")
    found = {"each": Signs(every), "all": Signs(every, one=True)}
    return found | {name: Signs(index) for name, index in named.items()}


def _orders(channels: Channels, task: Any) -> dict[str, Order]:
    return {"each": Order(channels(task)["all"])}


def _observe_noise(observation: np.ndarray, value: float, bound: Bound) -> np.ndarray:
    noise = bound.random.standard_normal(observation.shape)
    return (observation + value * bound.spread * noise).astype(observation.dtype)


def _observe_bias(observation: np.ndarray, value: float, bound: Bound) -> np.ndarray:
    if "bias" not in bound.kept:
        bound.kept["bias"] = bound.spread * bound.random.standard_normal(observation.shape)
    return (observation + value * bound.kept["bias"]).astype(observation.dtype)


def _drop_sensors(observation: np.ndarray, value: float, bound: Bound) -> np.ndarray:
    lost = bound.random.random(observation.shape) < value
    return np.where(lost, np.zeros_like(observation), observation)


def _stick(observation: np.ndarray, value: float, bound: Bound) -> np.ndarray:
    """The sensors that stick at a higher severity include those that stick at a lower one."""
    if "rank" not in bound.kept:
        ranks = bound.random.permutation(observation.size)
        bound.kept["rank"] = ranks.reshape(observation.shape)
        bound.kept["stuck"] = np.zeros(observation.shape, dtype=bool)
        bound.kept["reading"] = observation.copy()
    stuck = bound.kept["rank"] < math.ceil(value * observation.size)
    newly = stuck & ~bound.kept["stuck"]
    bound.kept["reading"][newly] = observation[newly]
    bound.kept["stuck"] = stuck
    return np.where(stuck, bound.kept["reading"], observation)


def _delay(first: Callable[[Any], Any], x: np.ndarray, value: float, bound: Bound) -> np.ndarray:
    """What comes is that of some steps ago; `first` makes what is there before an episode's first.

    Of observations that is the first itself, unlike in Gymnasium's DelayObservation: zeros would be
    a perturbation of another kind. Before the first action arrives there is none: zero.
    """
    history = bound.kept.setdefault("history", [first(x)] * (LATEST + 1))
    history.append(x.copy())
    history.pop(0)
    return history[-1 - int(value)].copy()


def _act_noise(action: np.ndarray, value: float, bound: Bound) -> np.ndarray:
    noise = bound.random.standard_normal(action.shape)
    return action + value * (bound.space.high - bound.space.low) / 2 * noise


def _scale(action: np.ndarray, value: float, bound: Bound) -> np.ndarray:
    scaled = action.flatten()
    scaled[bound.target] *= value
    return scaled.reshape(action.shape)


def _drop_action(action: np.ndarray, value: float, bound: Bound) -> np.ndarray:
    return np.zeros_like(action) if bound.random.random() < value else action


FAMILIES = (
    Family(
        "obs_noise", "sensing",
        "Gaussian noise on every dimension of the observation, anew at every step.",
        "standard deviation / spread", nominal=0, hardest=1, unbounded=True, scaled_by_spread=True,
        reason_against=_floats, observe=_observe_noise,
    ),
    Family(
        "obs_bias", "sensing", "A constant Gaussian offset on every dimension of the observation.",
        "standard deviation / spread", nominal=0, hardest=1, unbounded=True, scaled_by_spread=True,
        reason_against=_floats, observe=_observe_bias,
    ),
    Family(
        "obs_dropout", "sensing",
        "Each dimension of the observation reads 0 at some steps, independently.",
        "probability", nominal=0, hardest=0.5, reason_against=_zeros, observe=_drop_sensors,
    ),
    Family(
        "obs_stuck", "sensing",
        "Some dimensions of the observation keep the reading that they had at the onset.",
        "fraction of the dimensions", nominal=0, hardest=0.5, reason_against=_floats,
        observe=_stick,
    ),
    Family(
        "obs_delay", "sensing", "The observation is that of some steps ago.",
        "steps", nominal=0, hardest=LATEST, whole=True, reason_against=_floats,
        observe=partial(_delay, np.copy),
    ),
    Family(
        "sensor_signs", "sensing",
        "Each dimension of the observation has a hidden sign: it reads as it is or flipped.",
        "share of the dimensions", nominal=0, hardest=1, unbounded=True, contexts=True,
        targets=partial(_signs, sensors), reason_against=_floats, observe=in_context,
    ),
    Family(
        "sensor_order", "sensing", "The dimensions of the observation have a hidden order.",
        "share of the dimensions", nominal=0, hardest=1, unbounded=True, contexts=True,
        targets=partial(_orders, sensors), reason_against=_several_floats, observe=in_context,
    ),
    Family(
        "action_noise", "acting",
        "Gaussian noise on every dimension of the action, anew at every step.",
        "standard deviation / half the range", nominal=0, hardest=1, reason_against=_bounded,
        act=_act_noise,
    ),
    Family(
        "action_delay", "acting", "The action that arrives is that of some steps ago.",
        "steps", nominal=0, hardest=LATEST, whole=True, reason_against=_box,
        act=partial(_delay, np.zeros_like),
    ),
    Family(
        "action_gain", "acting",
        "Actions arrive weaker (or stronger, up to the bounds of the action space).",
        "x nominal", nominal=1, hardest=0.25, other=2, targets=actuators, default="all",
        reason_against=_box, act=_scale,
    ),
    Family(
        "action_flip", "acting",
        "The action of one joint arrives with its sign flipped (halfway there: as nothing).",
        "x nominal", nominal=1, hardest=-1, targets=actuators, reason_against=_box, act=_scale,
    ),
    Family(
        "action_drop", "acting", "Whole actions get lost at some steps: zero arrives.",
        "probability", nominal=0, hardest=0.5, reason_against=_box, act=_drop_action,
    ),
    Family(
        "motor_signs", "acting",
        "Each motor has a hidden sign: its action arrives as it is or flipped.",
        "share of the motors", nominal=0, hardest=1, contexts=True,
        targets=partial(_signs, actuators), reason_against=_symmetric, act=in_context,
    ),
    Family(
        "motor_order", "acting",
        "The motors have a hidden order: each gets the action of another.",
        "share of the motors", nominal=0, hardest=1, contexts=True,
        targets=partial(_orders, actuators), reason_against=_alike, act=in_context,
    ),
)  # fmt: skip
