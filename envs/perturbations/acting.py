"""Perturbations of what is done: they change the action on its way to the task.

The task sees the action that arrives, so a cost of control is charged for that one.
"""

from typing import Any

import gymnasium as gym
import numpy as np

from spikepropamine.envs.perturbations.contexts import Order, Signs, in_context
from spikepropamine.envs.perturbations.family import Bound, Family
from spikepropamine.envs.rendering import is_mujoco


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


def joint_of_actuator(model: Any, actuator: int) -> int | None:
    """The joint that an actuator drives; None where it drives something else."""
    joint, in_parent = 0, 1  # mjtTrn
    if model.actuator_trntype[actuator] in (joint, in_parent):
        return int(model.actuator_trnid[actuator, 0])
    return None


def actuators(task: Any) -> dict[str, np.ndarray]:
    """Indices of actions: all, and each by the name of its actuator or joint; by number where
    actions are not those of the actuators.
    """
    size = int(np.prod(task.action_space.shape))
    targets = {}
    model = task.unwrapped.model if is_mujoco(task) else None
    if model is not None and model.nu != size:
        model = None
    for index in range(size):
        name = f"action_{index}"
        if model is not None:
            joint = joint_of_actuator(model, index)
            name = model.actuator(index).name or (
                model.joint(joint).name if joint is not None else name
            )
        targets[name] = np.array([index])
    return targets | {"all": np.arange(size)}


def _signs(task: Any) -> dict[str, Signs]:
    every = actuators(task)
    found = {"each": Signs(every["all"]), "all": Signs(every["all"], one=True)}
    return found | {name: Signs(index) for name, index in every.items() if name != "all"}


def _orders(task: Any) -> dict[str, Order]:
    return {"each": Order(actuators(task)["all"])}


def _add_noise(action: np.ndarray, value: float, bound: Bound) -> np.ndarray:
    noise = bound.random.standard_normal(action.shape)
    return action + value * (bound.space.high - bound.space.low) / 2 * noise


def _delay(action: np.ndarray, value: float, bound: Bound) -> np.ndarray:
    """Before the first action arrives there is none: zero."""
    steps = int(DELAY.hardest) + 1
    history = bound.kept.setdefault("history", [np.zeros_like(action)] * steps)
    history.append(action.copy())
    history.pop(0)
    return history[-1 - int(value)]


def _scale(action: np.ndarray, value: float, bound: Bound) -> np.ndarray:
    scaled = action.flatten()
    scaled[bound.target] *= value
    return scaled.reshape(action.shape)


def _drop(action: np.ndarray, value: float, bound: Bound) -> np.ndarray:
    return np.zeros_like(action) if bound.random.random() < value else action


NOISE = Family(
    "action_noise", "acting",
    "Gaussian noise on every dimension of the action, anew at every step.",
    "standard deviation / half the range", nominal=0, hardest=1, reason_against=_bounded,
    act=_add_noise,
)  # fmt: skip
DELAY = Family(
    "action_delay", "acting", "The action that arrives is that of some steps ago.",
    "steps", nominal=0, hardest=8, whole=True, reason_against=_box, act=_delay,
)  # fmt: skip
GAIN = Family(
    "action_gain", "acting",
    "Actions arrive weaker (or stronger, up to the bounds of the action space).",
    "x nominal", nominal=1, hardest=0.25, other=2, targets=actuators, default="all",
    reason_against=_box, act=_scale,
)  # fmt: skip
FLIP = Family(
    "action_flip", "acting",
    "The action of one joint arrives with its sign flipped (halfway there: as nothing).",
    "x nominal", nominal=1, hardest=-1, targets=actuators, reason_against=_box, act=_scale,
)  # fmt: skip
DROP = Family(
    "action_drop", "acting", "Whole actions get lost at some steps: zero arrives.",
    "probability", nominal=0, hardest=0.5, reason_against=_box, act=_drop,
)  # fmt: skip
SIGNS = Family(
    "motor_signs", "acting",
    "Each motor has a hidden sign: its action arrives as it is or flipped.",
    "share of the motors", nominal=0, hardest=1, contexts=True, targets=_signs,
    reason_against=_symmetric, act=in_context,
)  # fmt: skip
ORDER = Family(
    "motor_order", "acting", "The motors have a hidden order: each gets the action of another.",
    "share of the motors", nominal=0, hardest=1, contexts=True, targets=_orders,
    reason_against=_alike, act=in_context,
)  # fmt: skip

FAMILIES = (NOISE, DELAY, GAIN, FLIP, DROP, SIGNS, ORDER)
