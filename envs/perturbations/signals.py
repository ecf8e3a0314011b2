"""Perturbations of what is observed, of what is done, and of what the task asks for.

The task sees the action that arrives, so a cost of control is charged for that one.
"""

import math
from collections.abc import Callable, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

import gymnasium as gym
import numpy as np

from spikepropamine.envs.perturbations.catalogue import (
    Bound,
    Family,
    Need,
    OfRows,
    register,
)
from spikepropamine.envs.perturbations.contexts import Contexts, in_context
from spikepropamine.envs.rendering import is_mujoco

if TYPE_CHECKING:
    import mujoco

LATEST = 8  # steps


# discrete codes have no scale on which a sensor could be slightly wrong
FLOATS: Need = (
    lambda env: (
        isinstance(env.observation_space, gym.spaces.Box)
        and np.issubdtype(env.observation_space.dtype, np.floating)
    ),
    "its observations are no array of floats",
)
ZEROS: Need = (
    lambda env: (
        (env.observation_space.low <= 0).all()
        and (env.observation_space.high >= 0).all()
    ),
    "0 is none of its observations",
)
SENSORS: Need = (
    lambda env: np.prod(env.observation_space.shape) > 1,
    "it has one sensor only",
)
BOX: Need = (
    lambda env: isinstance(env.action_space, gym.spaces.Box),
    "its actions are no Box",
)
BOUNDED: Need = lambda env: env.action_space.is_bounded(), "its actions have no bounds"
SYMMETRIC: Need = (
    lambda env: (env.action_space.low == -env.action_space.high).all(),
    "its actions are not symmetric about 0",
)
MOTORS: Need = lambda env: np.prod(env.action_space.shape) > 1, "it has one motor only"
ALIKE: Need = (
    lambda env: all(
        len(np.unique(x)) == 1 for x in (env.action_space.low, env.action_space.high)
    ),
    "its actions have different bounds",
)
# Gymnasium's locomotion tasks and those of this project all name their weight so
WEIGHT = "_forward_reward_weight"
DIRECTION: tuple[Need, ...] = (
    (
        lambda task: not hasattr(task, "target_velocity"),
        "its reward asks for a velocity, whatever the direction",
    ),
    (
        lambda task: getattr(task, WEIGHT, 0),
        "its reward has no part for moving forward",
    ),
    (
        lambda task: not hasattr(task, "trial_steps"),
        "its cues tell the direction; cue_reversal reverses them",
    ),
)
CUES: Need = (  # the attributes of an episode come with its first reset
    lambda task: {"cues", "actions", "trial_steps"} <= vars(task).keys(),
    "it has no cues",
)


def with_all(named: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Indices by name, and all of them; nothing where there are none."""
    return named | {"all": np.concatenate([*named.values()])} if named else {}


def sensors(task: Any) -> dict[str, np.ndarray]:
    """Indices of observations: each by its number, and all."""
    size = int(np.prod(task.observation_space.shape))
    return with_all({f"sensor_{index}": np.array([index]) for index in range(size)})


def joint_of_actuator(model: "mujoco.MjModel", actuator: int) -> int | None:
    """The joint that an actuator drives; None where it drives something else.

    Args:
        model: of the robot.
        actuator: index of the actuator.
    """
    joint, in_parent = 0, 1  # mjtTrn
    if model.actuator_trntype[actuator] in (joint, in_parent):
        return int(model.actuator_trnid[actuator, 0])
    return None


def actuators(task: Any) -> dict[str, np.ndarray]:
    """Indices of actions: each by the name of its actuator or joint, and all; by number
    where actions are not those of the actuators.
    """
    size = int(np.prod(task.action_space.shape))
    model = task.unwrapped.model if is_mujoco(task) else None
    targets = {}
    for index in range(size):
        name = ""
        if model is not None and model.nu == size:
            joint = joint_of_actuator(model, index)
            name = model.actuator(index).name or (
                "" if joint is None else model.joint(joint).name
            )
        targets[name or f"action_{index}"] = np.array([index])
    return with_all(targets)


def _signs(named: dict[str, np.ndarray]) -> dict[str, Contexts]:
    every = named.pop("all")
    contexts = {"each": Contexts(every, "signs"), "all": Contexts(every, "sign")}
    return contexts | {name: Contexts(index, "signs") for name, index in named.items()}


def _orders(named: dict[str, np.ndarray]) -> dict[str, Contexts]:
    return {"each": Contexts(named["all"], "order")}


def _signed_orders(named: dict[str, np.ndarray]) -> dict[str, Contexts]:
    return {"each": Contexts(named["all"], "signed_order")}


@OfRows
def _observe_noise(
    observations: np.ndarray, values: np.ndarray, bounds: Sequence[Bound]
) -> np.ndarray:
    shape = observations.shape[1:]
    noise = np.array([bound.random.standard_normal(shape) for bound in bounds])
    return (observations + values * bounds[0].spread * noise).astype(observations.dtype)


@OfRows
def _observe_bias(
    observations: np.ndarray, values: np.ndarray, bounds: Sequence[Bound]
) -> np.ndarray:
    for bound in bounds:
        if "bias" not in bound.kept:
            noise = bound.random.standard_normal(observations.shape[1:])
            bound.kept["bias"] = bound.spread * noise
    bias = np.array([bound.kept["bias"] for bound in bounds])
    return (observations + values * bias).astype(observations.dtype)


@OfRows
def _drop_sensors(
    observations: np.ndarray, values: np.ndarray, bounds: Sequence[Bound]
) -> np.ndarray:
    shape = observations.shape[1:]
    lost = np.array([bound.random.random(shape) for bound in bounds]) < values
    return np.where(lost, np.zeros_like(observations), observations)


@OfRows
def _stick(
    observations: np.ndarray, values: np.ndarray, bounds: Sequence[Bound]
) -> np.ndarray:
    """The sensors that stick at a higher severity include those that stick at a lower
    one.
    """
    first = observations[0]
    for bound, observation in zip(bounds, observations):
        if "rank" not in bound.kept:
            rank = bound.random.permutation(first.size)
            bound.kept["rank"] = rank.reshape(first.shape)
            bound.kept["stuck"] = np.zeros(first.shape, dtype=bool)
            bound.kept["reading"] = observation.copy()
    rank, before, reading = (
        np.array([bound.kept[name] for bound in bounds])
        for name in ("rank", "stuck", "reading")
    )
    stuck = rank < np.ceil(values * first.size)
    reading = np.where(stuck & ~before, observations, reading)
    for bound, now, kept in zip(bounds, stuck, reading):
        bound.kept["stuck"] = now
        bound.kept["reading"] = kept
    return np.where(stuck, reading, observations)


def _delay(
    first: Callable[[Any], Any],
    sent: np.ndarray,
    values: np.ndarray,
    bounds: Sequence[Bound],
) -> np.ndarray:
    """What comes is that of some steps ago; `first` makes what is there before an
    episode's first.

    Of observations that is the first itself, unlike in Gymnasium's DelayObservation:
    zeros would be a perturbation of another kind. Before the first action arrives there
    is none: zero.
    """
    come = []
    steps = values.reshape(-1).astype(int).tolist()
    for row, delay, bound in zip(sent, steps, bounds):
        history = bound.kept.setdefault("history", [first(row)] * (LATEST + 1))
        history.append(row.copy())
        history.pop(0)
        come.append(history[-1 - delay])
    return np.array(come)


@OfRows
def _act_noise(
    actions: np.ndarray, values: np.ndarray, bounds: Sequence[Bound]
) -> np.ndarray:
    space = bounds[0].space
    width = _like(values, space.high) * (space.high - space.low) / 2
    shape = actions.shape[1:]
    noise = np.array([bound.random.standard_normal(shape) for bound in bounds])
    return actions + width * noise


@OfRows
def _scale(
    actions: np.ndarray, values: np.ndarray, bounds: Sequence[Bound]
) -> np.ndarray:
    scaled = actions.reshape(len(actions), -1).copy()
    factors = _like(values.reshape(len(actions), 1), scaled)
    scaled[:, bounds[0].target] *= factors
    return scaled.reshape(actions.shape)


@OfRows
def _drop_action(
    actions: np.ndarray, values: np.ndarray, bounds: Sequence[Bound]
) -> np.ndarray:
    chances = [bound.random.random() for bound in bounds]
    lost = np.array(chances).reshape(values.shape) < values
    return np.where(lost, np.zeros_like(actions), actions)


def _like(values: np.ndarray, numbers: np.ndarray) -> np.ndarray:
    """Values that meet numbers as Python's floats do: in the numbers' own precision."""
    return values.astype(np.result_type(numbers, 0.0))


def _turn(task: Any, value: float, bound: Bound) -> None:
    setattr(
        task, WEIGHT, bound.kept.setdefault("weight", getattr(task, WEIGHT)) * value
    )
    if value == 1:
        bound.kept.clear()


def _remap(task: Any, value: float, bound: Bound) -> None:
    """From the present trial on; the cues changed at a higher value include those at a
    lower.
    """
    original = bound.kept.setdefault("targets", task.targets.copy())
    changed = np.where(
        task.order < math.ceil(value * task.cues),
        (original + 1) % task.actions,
        original,
    )
    trial = bound.time // task.trial_steps
    if (
        hasattr(task, "context_began")
        and (task.targets[trial:] != changed[trial:]).any()
    ):
        task.context_began = bound.time
    task.targets[trial:] = changed[trial:]
    if value == 0:
        bound.kept.clear()


for family in (
    Family(
        "obs_noise",
        "sensing",
        "Gaussian noise on every dimension of the observation, anew at every step.",
        "standard deviation / spread",
        nominal=0,
        hardest=1,
        unbounded=True,
        scaled_by_spread=True,
        needs=(FLOATS,),
        observe=_observe_noise,
    ),
    Family(
        "obs_bias",
        "sensing",
        "A constant Gaussian offset on every dimension of the observation.",
        "standard deviation / spread",
        nominal=0,
        hardest=1,
        unbounded=True,
        scaled_by_spread=True,
        needs=(FLOATS,),
        observe=_observe_bias,
    ),
    Family(
        "obs_dropout",
        "sensing",
        "Each dimension of the observation reads 0 at some steps, independently.",
        "probability",
        nominal=0,
        hardest=0.5,
        needs=(FLOATS, ZEROS),
        observe=_drop_sensors,
    ),
    Family(
        "obs_stuck",
        "sensing",
        "Some dimensions of the observation keep the reading that they had at the "
        "onset.",
        "fraction of the dimensions",
        nominal=0,
        hardest=0.5,
        needs=(FLOATS,),
        observe=_stick,
    ),
    Family(
        "obs_delay",
        "sensing",
        "The observation is that of some steps ago.",
        "steps",
        nominal=0,
        hardest=LATEST,
        whole=True,
        needs=(FLOATS,),
        observe=OfRows(partial(_delay, np.copy)),
    ),
    Family(
        "sensor_signs",
        "sensing",
        "Each dimension of the observation has a hidden sign: it reads as it is or "
        "flipped.",
        "share of the dimensions",
        nominal=0,
        hardest=1,
        unbounded=True,
        contexts=True,
        targets=lambda env: _signs(sensors(env)),
        needs=(FLOATS,),
        observe=in_context,
    ),
    Family(
        "sensor_order",
        "sensing",
        "The dimensions of the observation have a hidden order.",
        "share of the dimensions",
        nominal=0,
        hardest=1,
        unbounded=True,
        contexts=True,
        targets=lambda env: _orders(sensors(env)),
        needs=(FLOATS, SENSORS),
        observe=in_context,
    ),
    Family(
        "action_noise",
        "acting",
        "Gaussian noise on every dimension of the action, anew at every step.",
        "standard deviation / half the range",
        nominal=0,
        hardest=1,
        needs=(BOX, BOUNDED),
        act=_act_noise,
    ),
    Family(
        "action_delay",
        "acting",
        "The action that arrives is that of some steps ago.",
        "steps",
        nominal=0,
        hardest=LATEST,
        whole=True,
        needs=(BOX,),
        act=OfRows(partial(_delay, np.zeros_like)),
    ),
    Family(
        "action_gain",
        "acting",
        "Actions arrive weaker (or stronger, up to the bounds of the action space).",
        "x nominal",
        nominal=1,
        hardest=0.25,
        other=2,
        targets=actuators,
        default="all",
        needs=(BOX,),
        act=_scale,
    ),
    Family(
        "action_flip",
        "acting",
        "The action of one joint arrives with its sign flipped (halfway there: as "
        "nothing).",
        "x nominal",
        nominal=1,
        hardest=-1,
        targets=actuators,
        needs=(BOX,),
        act=_scale,
    ),
    Family(
        "action_drop",
        "acting",
        "Whole actions get lost at some steps: zero arrives.",
        "probability",
        nominal=0,
        hardest=0.5,
        needs=(BOX,),
        act=_drop_action,
    ),
    Family(
        "motor_signs",
        "acting",
        "Each motor has a hidden sign: its action arrives as it is or flipped.",
        "share of the motors",
        nominal=0,
        hardest=1,
        contexts=True,
        targets=lambda env: _signs(actuators(env)),
        needs=(BOX, SYMMETRIC),
        act=in_context,
    ),
    Family(
        "motor_order",
        "acting",
        "The motors have a hidden order: each gets the action of another.",
        "share of the motors",
        nominal=0,
        hardest=1,
        contexts=True,
        targets=lambda env: _orders(actuators(env)),
        needs=(BOX, MOTORS, ALIKE),
        act=in_context,
    ),
    Family(
        "motor_map",
        "acting",
        "The motors have a hidden order and hidden signs: each gets another's action, "
        "or minus it.",
        "share of the motors",
        nominal=0,
        hardest=1,
        contexts=True,
        targets=lambda env: _signed_orders(actuators(env)),
        needs=(BOX, MOTORS, ALIKE, SYMMETRIC),
        act=in_context,
    ),
    Family(
        "direction",
        "task",
        "Weight of the reward for moving forward: at -1 the robot is paid for going "
        "back.",
        "x nominal",
        nominal=1,
        hardest=-1,
        needs=DIRECTION,
        edit_task=_turn,
    ),
    Family(
        "cue_reversal",
        "task",
        "Some cues ask for the next action instead of their own.",
        "fraction of the cues",
        nominal=0,
        hardest=1,
        needs=(CUES,),
        edit_task=_remap,
    ),
):
    register(family)
