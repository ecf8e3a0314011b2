"""Gymnasium's v5 MuJoCo tasks, one record each: observations, rewards and ends.

Every expression keeps the order of operations, the types and the roundings of
Gymnasium's own code, so that all numbers are equal to the last bit. How an episode
begins is left to Gymnasium.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np


class NotKnown(Exception):
    """Why Gymnasium has to step environments, in a few words."""


Infos = dict[str, np.ndarray | list[Any]]
"""Entries of `info` by name, of all simulations.

An array where Gymnasium has NumPy's numbers (or arrays), a list where it has Python's.
"""


@dataclass
class Readings:
    """What the simulations of one task say.

    Attributes:
        task: one of the environments, unwrapped; its constants are those of all.
        models: of each simulation.
        fields: of MjData by name, float64 [simulations, ...].
        actions: as they were given [simulations, channels], in their own dtype.
        velocity: of `Robot.place`, float64 [simulations] or [simulations, 2].
        forward_weight: weight of the forward reward, one number or one for each
            simulation.
    """

    task: Any
    models: list[Any]
    fields: Mapping[str, np.ndarray]
    actions: np.ndarray = field(default_factory=lambda: np.zeros((0, 0)))
    velocity: np.ndarray = field(default_factory=lambda: np.zeros(0))
    forward_weight: Any = None

    @property
    def qpos(self) -> np.ndarray:
        """Positions, float64 [simulations, nq]."""
        return self.fields["qpos"]

    @property
    def qvel(self) -> np.ndarray:
        """Velocities, float64 [simulations, nv]."""
        return self.fields["qvel"]


@dataclass(frozen=True)
class Outcome:
    """What follows from a step, by simulation.

    Attributes:
        rewards: float64 [simulations].
        terminated: bool [simulations].
        infos: the entries of `info`, in Gymnasium's order.
    """

    rewards: np.ndarray
    terminated: np.ndarray
    infos: Infos


@dataclass(frozen=True)
class Robot:
    """One of Gymnasium's tasks.

    Attributes:
        entry: its class, as in Gymnasium's registry.
        digests: of versions of its source that this record is equal to, see
            `known.digest`.
        observe: the observations, float64 [simulations, channels].
        judge: rewards, ends and infos.
        fields: of MjData that it reads besides positions, velocities and controls.
        place: what a step's velocity is measured of; None: nothing.
    """

    entry: str
    digests: tuple[str, ...]
    observe: Callable[[Readings], np.ndarray]
    judge: Callable[[Readings], Outcome]
    fields: tuple[str, ...] = ()
    place: Callable[[Readings], np.ndarray] | None = None

    @property
    def feels(self) -> bool:
        """Whether it reads contact forces, which MuJoCo computes on demand alone."""
        return "cfrc_ext" in self.fields


def _flat(values: np.ndarray) -> np.ndarray:
    """All numbers of each simulation in a row."""
    return values.reshape(len(values), -1)


def _sum_of_squares(values: np.ndarray) -> np.ndarray:
    """Of each simulation's numbers, in the order in which `np.sum` adds those of
    one.
    """
    return np.add.reduce(np.square(_flat(values)), axis=1)


def _length(vectors: np.ndarray) -> np.ndarray:
    """`np.linalg.norm` of each row; both leave the sum of squares to BLAS."""
    return np.sqrt(np.vecdot(vectors, vectors))


def _within(values: np.ndarray, bounds: tuple[float, float]) -> np.ndarray:
    """Whether values lie between the bounds, and not on them."""
    low, high = bounds
    return (low < values) & (values < high)


def _never(readings: Readings) -> np.ndarray:
    return np.zeros(len(readings.qpos), dtype=bool)


def _unhealthy(readings: Readings, healthy: np.ndarray) -> np.ndarray:
    if readings.task._terminate_when_unhealthy:
        return ~healthy
    return _never(readings)


def _shown_positions(readings: Readings, hidden: int) -> np.ndarray:
    """The positions that are observed.

    The first ones say where the robot is, and are left out unless the task shows them.
    """
    if readings.task._exclude_current_positions_from_observation:
        return readings.qpos[:, hidden:]
    return readings.qpos


def _root(readings: Readings) -> np.ndarray:
    return readings.qpos[:, 0].copy()


def _root_xy(readings: Readings) -> np.ndarray:
    return readings.qpos[:, :2].copy()


def _main_body(readings: Readings) -> np.ndarray:
    body = readings.task.model.body(readings.task._main_body).id
    return readings.fields["xpos"][:, body, :2].copy()


def _mass_centre(readings: Readings) -> np.ndarray:
    # one call for each robot: a sum over all of them would add up in another order
    centres = []
    for model, places in zip(readings.models, readings.fields["xipos"]):
        total = np.einsum("b,bj->j", model.body_mass, places)
        centres.append((total / model.body_mass.sum())[0:2])
    return np.array(centres)


def _positions_and_velocities(readings: Readings) -> np.ndarray:
    return np.concatenate([_shown_positions(readings, 1), readings.qvel], axis=1)


def _swimmer_observation(readings: Readings) -> np.ndarray:
    return np.concatenate([_shown_positions(readings, 2), readings.qvel], axis=1)


def _clipped_velocities(readings: Readings) -> np.ndarray:
    velocities = readings.qvel.clip(-10, 10)
    return np.concatenate([_shown_positions(readings, 1), velocities], axis=1)


def _half_cheetah(readings: Readings) -> Outcome:
    forward = readings.forward_weight * readings.velocity
    control = readings.task._ctrl_cost_weight * _sum_of_squares(readings.actions)
    infos: Infos = {
        "x_position": readings.qpos[:, 0].copy(),
        "x_velocity": readings.velocity,
        "reward_forward": forward,
        "reward_ctrl": -control,
    }
    return Outcome(forward - control, _never(readings), infos)


def _swimmer(readings: Readings) -> Outcome:
    velocity = readings.velocity
    forward = readings.forward_weight * velocity[:, 0]
    control = readings.task._ctrl_cost_weight * _sum_of_squares(readings.actions)
    xy = readings.qpos[:, :2].copy()
    infos: Infos = {
        "x_position": xy[:, 0],
        "y_position": xy[:, 1],
        "distance_from_origin": _length(xy),
        "x_velocity": velocity[:, 0],
        "y_velocity": velocity[:, 1],
        "reward_forward": forward,
        "reward_ctrl": -control,
    }
    return Outcome(forward - control, _never(readings), infos)


def _upright(
    readings: Readings, healthy: np.ndarray, survive: np.ndarray | list[Any]
) -> Outcome:
    """Of Hopper and Walker2d: rewards for running and for every step without a fall."""
    forward = readings.forward_weight * readings.velocity
    control = readings.task._ctrl_cost_weight * _sum_of_squares(readings.actions)
    infos: Infos = {
        "x_position": readings.qpos[:, 0].copy(),
        "z_distance_from_origin": readings.qpos[:, 1] - readings.task.init_qpos[1],
        "x_velocity": readings.velocity,
        "reward_forward": forward,
        "reward_ctrl": -control,
        "reward_survive": survive,
    }
    rewards = (forward + survive) - control
    return Outcome(rewards, _unhealthy(readings, healthy), infos)


def _walker(readings: Readings) -> Outcome:
    task = readings.task
    healthy = _within(readings.qpos[:, 1], task._healthy_z_range)
    healthy &= _within(readings.qpos[:, 2], task._healthy_angle_range)
    return _upright(readings, healthy, healthy * task._healthy_reward)


def _hopper(readings: Readings) -> Outcome:
    task = readings.task
    state = np.concatenate([readings.qpos, readings.qvel], axis=1)[:, 2:]
    healthy = _within(state, task._healthy_state_range).all(axis=1)
    healthy &= _within(readings.qpos[:, 1], task._healthy_z_range)
    healthy &= _within(readings.qpos[:, 2], task._healthy_angle_range)
    # Gymnasium's `all` gives Python's truth values, and these give Python's numbers
    survive = [well * task._healthy_reward for well in healthy.tolist()]
    return _upright(readings, healthy, survive)


def _ant_forces(readings: Readings) -> np.ndarray:
    low, high = readings.task._contact_force_range
    return readings.fields["cfrc_ext"].clip(low, high)


def _ant_observation(readings: Readings) -> np.ndarray:
    parts = [_shown_positions(readings, 2), readings.qvel]
    if readings.task._include_cfrc_ext_in_observation:
        parts.append(_flat(_ant_forces(readings)[:, 1:]))
    return np.concatenate(parts, axis=1)


def _ant(readings: Readings) -> Outcome:
    task = readings.task
    velocity = readings.velocity
    xy = readings.qpos[:, :2].copy()
    height = readings.qpos[:, 2]
    low, high = task._healthy_z_range
    finite = np.isfinite(readings.qpos).all(axis=1)
    finite &= np.isfinite(readings.qvel).all(axis=1)
    healthy = finite & (low <= height) & (height <= high)
    forward = velocity[:, 0] * readings.forward_weight
    survive = healthy * task._healthy_reward
    control = task._ctrl_cost_weight * _sum_of_squares(readings.actions)
    contact = task._contact_cost_weight * _sum_of_squares(_ant_forces(readings))
    infos: Infos = {
        "x_position": xy[:, 0],
        "y_position": xy[:, 1],
        "distance_from_origin": _length(xy),
        "x_velocity": velocity[:, 0],
        "y_velocity": velocity[:, 1],
        "reward_forward": forward,
        "reward_ctrl": -control,
        "reward_contact": -contact,
        "reward_survive": survive,
    }
    rewards = (forward + survive) - (control + contact)
    return Outcome(rewards, _unhealthy(readings, healthy), infos)


def _humanoid_observation(readings: Readings) -> np.ndarray:
    task = readings.task
    fields = readings.fields
    parts = [_shown_positions(readings, 2), readings.qvel]
    if task._include_cinert_in_observation is True:
        parts.append(_flat(fields["cinert"][:, 1:]))
    if task._include_cvel_in_observation is True:
        parts.append(_flat(fields["cvel"][:, 1:]))
    if task._include_qfrc_actuator_in_observation is True:
        parts.append(fields["qfrc_actuator"][:, 6:])
    if task._include_cfrc_ext_in_observation is True:
        parts.append(_flat(fields["cfrc_ext"][:, 1:]))
    return np.concatenate(parts, axis=1)


def _humanoid(readings: Readings) -> Outcome:
    task = readings.task
    fields = readings.fields
    velocity = readings.velocity
    xy = readings.qpos[:, :2].copy()
    healthy = _within(readings.qpos[:, 2], task._healthy_z_range)
    forward = readings.forward_weight * velocity[:, 0]
    survive = healthy * task._healthy_reward
    control = task._ctrl_cost_weight * _sum_of_squares(fields["ctrl"])
    contact = task._contact_cost_weight * _sum_of_squares(fields["cfrc_ext"])
    low, high = task._contact_cost_range
    contact = contact.clip(low, high)
    infos: Infos = {
        "x_position": xy[:, 0],
        "y_position": xy[:, 1],
        "tendon_length": fields["ten_length"].copy(),
        "tendon_velocity": fields["ten_velocity"].copy(),
        "distance_from_origin": _length(xy),
        "x_velocity": velocity[:, 0],
        "y_velocity": velocity[:, 1],
        "reward_survive": survive,
        "reward_forward": forward,
        "reward_ctrl": -control,
        "reward_contact": -contact,
    }
    rewards = (forward + survive) - (control + contact)
    return Outcome(rewards, _unhealthy(readings, healthy), infos)


def _standup(readings: Readings) -> Outcome:
    task = readings.task
    fields = readings.fields
    qpos = readings.qpos
    rise = (qpos[:, 2] - 0) / task.model.opt.timestep
    control = task._ctrl_cost_weight * _sum_of_squares(fields["ctrl"])
    impact = task._impact_cost_weight * _sum_of_squares(fields["cfrc_ext"])
    low, high = task._impact_cost_range
    impact = impact.clip(low, high)
    infos: Infos = {
        "x_position": qpos[:, 0].copy(),
        "y_position": qpos[:, 1].copy(),
        "z_distance_from_origin": qpos[:, 2] - task.init_qpos[2],
        "tendon_length": fields["ten_length"].copy(),
        "tendon_velocity": fields["ten_velocity"].copy(),
        "reward_linup": rise,
        "reward_quadctrl": -control,
        "reward_impact": -impact,
    }
    return Outcome(rise - control - impact + 1, _never(readings), infos)


def _pendulum_observation(readings: Readings) -> np.ndarray:
    return np.concatenate([readings.qpos, readings.qvel], axis=1)


def _pendulum(readings: Readings) -> Outcome:
    finite = np.isfinite(_pendulum_observation(readings)).all(axis=1)
    terminated = ~finite | (np.abs(readings.qpos[:, 1]) > 0.2)
    rewards = [int(not fallen) for fallen in terminated.tolist()]
    return Outcome(np.array(rewards, float), terminated, {"reward_survive": rewards})


def _double_pendulum_observation(readings: Readings) -> np.ndarray:
    angles = readings.qpos[:, 1:].copy()
    parts = [
        readings.qpos[:, :1],
        np.sin(angles),
        np.cos(angles),
        readings.qvel.clip(-10, 10),
        readings.fields["qfrc_constraint"].clip(-10, 10)[:, :1],
    ]
    return np.concatenate(parts, axis=1)


def _squares(values: np.ndarray) -> np.ndarray:
    """Squares as `**` makes them of single numbers; of arrays it rounds differently."""
    return np.array([value**2 for value in values])


def _double_pendulum(readings: Readings) -> Outcome:
    tip = readings.fields["site_xpos"][:, 0]
    x = tip[:, 0]
    y = tip[:, 2]
    terminated = y <= 1
    distance = 0.01 * _squares(x) + _squares(y - 2)
    velocity = 1e-3 * _squares(readings.qvel[:, 1])
    velocity = velocity + 5e-3 * _squares(readings.qvel[:, 2])
    weight = readings.task._healthy_reward
    alive = [weight * int(not fallen) for fallen in terminated.tolist()]
    infos: Infos = {
        "reward_survive": alive,
        "distance_penalty": -distance,
        "velocity_penalty": -velocity,
    }
    return Outcome(np.array(alive) - distance - velocity, terminated, infos)


def _between(readings: Readings, one: str, other: str) -> np.ndarray:
    """From one body to another, float64 [simulations, 3]."""
    model = readings.task.model
    places = readings.fields["xpos"]
    return places[:, model.body(one).id] - places[:, model.body(other).id]


def _reacher_observation(readings: Readings) -> np.ndarray:
    angles = readings.qpos[:, :2].copy()
    parts = [
        np.cos(angles),
        np.sin(angles),
        readings.qpos[:, 2:],
        readings.qvel[:, :2],
        _between(readings, "fingertip", "target")[:, :2],
    ]
    return np.concatenate(parts, axis=1)


def _reacher(readings: Readings) -> Outcome:
    task = readings.task
    distance = _length(_between(readings, "fingertip", "target"))
    near = -distance * task._reward_dist_weight
    control = -_sum_of_squares(readings.actions) * task._reward_control_weight
    infos: Infos = {"reward_dist": near, "reward_ctrl": control}
    return Outcome(near + control, _never(readings), infos)


def _pusher_observation(readings: Readings) -> np.ndarray:
    model = readings.task.model
    places = readings.fields["xpos"]
    parts = [readings.qpos[:, :7], readings.qvel[:, :7]]
    for body in ("tips_arm", "object", "goal"):
        parts.append(places[:, model.body(body).id])
    return np.concatenate(parts, axis=1)


def _pusher(readings: Readings) -> Outcome:
    task = readings.task
    near = -_length(_between(readings, "object", "tips_arm")) * task._reward_near_weight
    there = -_length(_between(readings, "object", "goal")) * task._reward_dist_weight
    control = -_sum_of_squares(readings.actions) * task._reward_control_weight
    infos: Infos = {"reward_dist": there, "reward_ctrl": control, "reward_near": near}
    return Outcome(there + control + near, _never(readings), infos)


HOME = "gymnasium.envs.mujoco"
BODIES = ("cinert", "cvel", "qfrc_actuator", "cfrc_ext", "ten_length", "ten_velocity")
ROBOTS = (
    Robot(
        f"{HOME}.ant_v5:AntEnv",
        ("a74b27e35766111e",),
        _ant_observation,
        _ant,
        ("xpos", "cfrc_ext"),
        _main_body,
    ),
    Robot(
        f"{HOME}.half_cheetah_v5:HalfCheetahEnv",
        ("fa32102d25d1aba8",),
        _positions_and_velocities,
        _half_cheetah,
        place=_root,
    ),
    Robot(
        f"{HOME}.hopper_v5:HopperEnv",
        ("e0ee7a4bc4281b4d",),
        _clipped_velocities,
        _hopper,
        place=_root,
    ),
    Robot(
        f"{HOME}.humanoid_v5:HumanoidEnv",
        ("872147bf8397cc92",),
        _humanoid_observation,
        _humanoid,
        ("xipos", *BODIES),
        _mass_centre,
    ),
    Robot(
        f"{HOME}.humanoidstandup_v5:HumanoidStandupEnv",
        ("e61deddf3f1e5e8a",),
        _humanoid_observation,
        _standup,
        BODIES,
    ),
    Robot(
        f"{HOME}.inverted_double_pendulum_v5:InvertedDoublePendulumEnv",
        ("3988f1450a29a377",),
        _double_pendulum_observation,
        _double_pendulum,
        ("site_xpos", "qfrc_constraint"),
    ),
    Robot(
        f"{HOME}.inverted_pendulum_v5:InvertedPendulumEnv",
        ("b6d420648464bd65",),
        _pendulum_observation,
        _pendulum,
    ),
    Robot(
        f"{HOME}.pusher_v5:PusherEnv",
        ("18b6621a8a34d5d8",),
        _pusher_observation,
        _pusher,
        ("xpos",),
    ),
    Robot(
        f"{HOME}.reacher_v5:ReacherEnv",
        ("f658773a45bb0406",),
        _reacher_observation,
        _reacher,
        ("xpos",),
    ),
    Robot(
        f"{HOME}.swimmer_v5:SwimmerEnv",
        ("f0ab2d18a2cc2cf6",),
        _swimmer_observation,
        _swimmer,
        place=_root_xy,
    ),
    Robot(
        f"{HOME}.walker2d_v5:Walker2dEnv",
        ("7f2f5d11183955a6",),
        _clipped_velocities,
        _walker,
        place=_root,
    ),
)
"""All eleven."""


def record_of(task: Any) -> Robot:
    """The record of an unwrapped environment, by the name of its class.

    Raises:
        NotKnown: there is none.
    """
    kind = type(task)
    for robot in ROBOTS:
        if robot.entry == f"{kind.__module__}:{kind.__qualname__}":
            return robot
    raise NotKnown(f"{kind.__name__} is none of Gymnasium's v5 MuJoCo tasks")
