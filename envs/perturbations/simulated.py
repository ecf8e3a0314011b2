"""Perturbations of what MuJoCo simulates: the robot's body, and the world around it."""

import copy
from collections.abc import Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np

from spikepropamine.envs.perturbations.catalogue import Bound, Family, Need, register
from spikepropamine.envs.perturbations.signals import (
    actuators,
    joint_of_actuator,
    with_all,
)
from spikepropamine.envs.rendering import is_mujoco

if TYPE_CHECKING:
    import mujoco

AIR_DENSITY = 1.2  # kg/m^3
AIR_VISCOSITY = 1.8e-5  # Pa s
LIQUID_DENSITY = 100.0  # kg/m^3, above which a medium is no gas
PUSH_RATE = 1.0  # pushes that begin in a second in which there is none
PUSH_SECONDS = 0.2
BUMPS = 0.15  # m, height of the highest at severity 1
TERRAIN = "rough_ground"
TERRAIN_CELL = 0.25  # m
TERRAIN_CELLS = 64  # of one period
TERRAIN_DEPTH = 0.15  # m that the lowest parts lie below the floor
# feet sink centimetres into the floor: mild bumps come up from where no foot gets
TERRAIN_SUNK = 0.08  # m
TERRAIN_RISEN = 0.15  # severity from which on none of that is left
TERRAIN_AWAY = -5.0  # m, where it touches nothing
TERRAIN_FLAT = 0.4  # m around the robot's first place; as far again the bumps grow
STRENGTH = ["actuator_gainprm", "actuator_biasprm"]
AXES = {
    "x": np.array([1.0, 0, 0]),
    "y": np.array([0, 1.0, 0]),
    "z": np.array([0, 0, 1.0]),
}


def each_body(task: Any) -> dict[str, np.ndarray]:
    """Every body but the world by its name; the first is the root."""
    return {
        body_name(task.model, body): np.array([body])
        for body in range(1, task.model.nbody)
    }


def body_name(model: "mujoco.MjModel", body: int) -> str:
    """The name of a body, or else of its joint or geom: Ant's lower legs have no names.

    Args:
        model: of the robot.
        body: index of the body, at least 1.
    """
    if model.body(body).name:
        return model.body(body).name
    joint = int(model.body_jntadr[body])
    geom = int(model.body_geomadr[body])
    names = [model.joint(joint).name] if joint >= 0 else []
    names += [model.geom(geom).name] if geom >= 0 else []
    return next((name for name in names if name), f"body_{body}")


def driven_joints(task: Any) -> dict[str, np.ndarray]:
    """The joints with an actuator, each by its name."""
    model = task.model
    driven = {joint_of_actuator(model, actuator) for actuator in range(model.nu)}
    return {
        joint_name(model, j): np.array([j]) for j in range(model.njnt) if j in driven
    }


def joint_name(model: "mujoco.MjModel", joint: int) -> str:
    """The name of a joint, or its number where it has none.

    Args:
        model: of the robot.
        joint: index of the joint.
    """
    return model.joint(joint).name or f"joint_{joint}"


def limbs(task: Any) -> dict[str, np.ndarray]:
    """The actuators of each limb, by the name of the limb's first body.

    A limb is a chain of bodies, below the root, that does not branch and has an
    actuator.
    """
    model = task.model
    parents = task.model.body_parentid
    children = [np.flatnonzero(parents[1:] == body) + 1 for body in range(model.nbody)]
    targets = {}
    for body in range(1, model.nbody):
        parent = parents[body]
        if not parent or (parents[parent] and len(children[parent]) == 1):
            continue  # a root, or further along a chain
        chain = [body]
        while len(children[chain[-1]]) == 1:
            chain.append(children[chain[-1]][0])
        joints = [
            joint for joint in range(model.njnt) if model.jnt_bodyid[joint] in chain
        ]
        driven = [a for a in range(model.nu) if joint_of_actuator(model, a) in joints]
        if driven and not len(children[chain[-1]]):
            targets[body_name(model, body)] = np.array(driven)
    return targets


def segments(task: Any) -> dict[str, np.ndarray]:
    """The bodies below the root, each by its name, and all of them."""
    parents = task.model.body_parentid
    named = each_body(task).items()
    return with_all({name: body for name, body in named if parents[body[0]] > 0})


def damped_joints(task: Any) -> dict[str, np.ndarray]:
    """The degrees of freedom of each joint that has damping, by its name, and all of
    them.
    """
    model = task.model
    dofs = {
        joint_name(model, j): np.flatnonzero(model.dof_jntid == j)
        for j in range(model.njnt)
    }
    return with_all(
        {name: some for name, some in dofs.items() if model.dof_damping[some].any()}
    )


def feels(model: "mujoco.MjModel", direction: np.ndarray) -> bool:
    """Whether a uniform pull moves any joint, in a few random postures.

    Args:
        model: of the robot, which stays as it is.
        direction: of the pull, float [3], in the axes of the world.
    """
    import mujoco

    twin = copy.copy(model)
    twin.opt.gravity[:] = direction
    twin.dof_damping[:] = 0
    data = mujoco.MjData(twin)
    random = np.random.default_rng(0)
    for _ in range(3):
        data.qpos[:] = twin.qpos0 + 0.3 * random.standard_normal(twin.nq)
        mujoco.mj_forward(twin, data)
        if np.abs(data.qfrc_bias).max() > 1e-9:
            return True
    return False


def has_contacts(model: "mujoco.MjModel", dimensions: int = 1) -> bool:
    """Whether any two geoms of different bodies may collide.

    Args:
        model: of the robot.
        dimensions: the fewest that a contact has to have to count; with 1 it has no
            friction.
    """
    may = (model.geom_contype[:, None] & model.geom_conaffinity[None, :]) != 0
    apart = model.geom_bodyid[:, None] != model.geom_bodyid[None, :]
    # MuJoCo takes the larger number of the two that touch
    enough = np.maximum.outer(model.geom_condim, model.geom_condim) >= dimensions
    return bool(
        ((may | may.T) & apart & enough).any() or (model.pair_dim >= dimensions).any()
    )


def floor_of(model: "mujoco.MjModel") -> int | None:
    """The plane that the robot stands on; None where there is none."""
    plane = 0  # mjGEOM_PLANE
    for geom in np.flatnonzero((model.geom_type == plane) & (model.geom_bodyid == 0)):
        if model.geom_contype[geom] or model.geom_conaffinity[geom]:
            return int(geom)
    return None


def wind_directions(task: Any) -> dict[str, np.ndarray]:
    """Where wind may blow to: against the robot, or from its side if it can move
    sideways.
    """
    return {"head": -AXES["x"]} | (
        {"side": AXES["y"]} if feels(task.model, AXES["y"]) else {}
    )


MODEL: Need = is_mujoco, "it has no MuJoCo model"
WEIGHT: Need = lambda task: task.model.opt.gravity.any(), "it has no gravity"
CONTACTS: Need = lambda task: has_contacts(task.model), "it has no contacts"
FRICTION: Need = (
    lambda task: has_contacts(task.model, dimensions=3),
    "its contacts have no friction",
)
FLOOR: Need = lambda task: floor_of(task.model) is not None, "it has no floor"
GAS: Need = (
    lambda task: task.model.opt.density <= LIQUID_DENSITY,
    "it swims in a liquid, where no wind blows",
)
LIMBS: Need = limbs, "it has no limb with actuators"
OTHER_MOTORS: Need = (
    lambda task: task.model.nu not in map(len, limbs(task).values()),
    "its only limb has all its motors",
)


def _moved_along(axis: str, name: str) -> Need:
    """A pull along an axis, called so, has to move the robot."""
    return lambda task: feels(
        task.model, AXES[axis]
    ), f"{name} moves none of its joints"


def _scale(
    arrays: Sequence[str], model: "mujoco.MjModel", value: float, bound: Bound
) -> None:
    """Multiply arrays of the model, which older versions of MuJoCo may lack, at the
    target or all over: mass with inertia, as if of another density; of friction that of
    all geoms, since MuJoCo takes the larger one of the two that touch.
    """
    for name in arrays:
        if hasattr(model, name):
            getattr(model, name)[... if bound.target is None else bound.target] *= value


def _scale_length(spec: "mujoco.MjSpec", value: float, bound: Bound) -> None:
    """Radius and density stay, so a shorter limb is lighter; what hangs on it moves
    with it.
    """
    import mujoco

    capsule_like = (mujoco.mjtGeom.mjGEOM_CAPSULE, mujoco.mjtGeom.mjGEOM_CYLINDER)
    every = spec.bodies
    for index in bound.target:
        body = every[index]
        # the joint stays where it is on the parent
        body.pos += (1 - value) * _joint_position(body)
        for child in body.bodies:
            joint = _joint_position(child)
            child.pos = value * (child.pos + joint) - joint
        for part in [*body.joints, *body.geoms, *body.sites]:
            part.pos *= value
        for geom in body.geoms:
            if np.isfinite(geom.fromto).all():
                geom.fromto *= value
            elif geom.type in capsule_like:
                geom.size[1] *= value


def _joint_position(body: "mujoco.MjsBody") -> np.ndarray:
    """Where a body's joint is, relative to the body, in the axes of its parent."""
    import mujoco

    position = np.zeros(3)
    if body.joints:
        mujoco.mju_rotVecQuat(position, body.joints[0].pos, body.quat)
    return position


def _lock(model: "mujoco.MjModel", value: float, bound: Bound) -> None:
    """Narrow the joint's range, half a turn to each side where it has none, around the
    angle that it has at the onset.
    """
    joint = bound.target[0]
    assert bound.posture is not None
    angle = bound.posture[model.jnt_qposadr[joint]]
    low = angle - np.pi
    high = angle + np.pi
    if model.jnt_limited[joint]:
        low, high = model.jnt_range[joint]
        angle = np.clip(angle, low, high)
    model.jnt_range[joint] = [
        angle + (1 - value) * (end - angle) for end in (low, high)
    ]
    model.jnt_limited[joint] = True


def _scale_gravity(model: "mujoco.MjModel", value: float, bound: Bound) -> None:
    model.opt.gravity *= value


def _tilt(
    direction: np.ndarray, model: "mujoco.MjModel", degrees: float, bound: Bound
) -> None:
    """Turn gravity by an angle, in the plane and sense from downwards to a level
    direction, by Rodrigues' formula; what is turned already is turned further.
    """
    gravity = model.opt.gravity.copy()
    angle = np.deg2rad(degrees)
    axis = np.cross(-AXES["z"], direction)
    model.opt.gravity += (gravity - axis * (axis @ gravity)) * (np.cos(angle) - 1)
    model.opt.gravity += np.cross(axis, gravity) * np.sin(angle)


def _add_viscosity(model: "mujoco.MjModel", value: float, bound: Bound) -> None:
    model.opt.viscosity += value


def _blow(model: "mujoco.MjModel", value: float, bound: Bound) -> None:
    """Wind acts through the medium, and the tasks on land have none: it comes with
    air.
    """
    model.opt.wind += value * bound.target
    model.opt.density = max(model.opt.density, AIR_DENSITY)
    model.opt.viscosity = max(model.opt.viscosity, AIR_VISCOSITY)


def _push(task: Any, value: float, bound: Bound) -> None:
    """The times and directions of pushes do not depend on their force."""
    kept = bound.kept
    model = task.model
    seconds = getattr(task, "dt", model.opt.timestep)
    if "sideways" not in kept:
        kept["sideways"] = feels(model, AXES["y"])
        kept["weight"] = float(
            model.body_subtreemass[0] * np.linalg.norm(model.opt.gravity)
        )
        kept["left"] = 0
    begins = bound.random.random() < PUSH_RATE * seconds
    angle = 2 * np.pi * bound.random.random()
    if begins and not kept["left"]:
        kept["left"] = max(1, round(PUSH_SECONDS / seconds))
        direction = np.array([np.cos(angle), np.sin(angle), 0])
        kept["direction"] = (
            direction if kept["sideways"] else np.sign(direction) * AXES["x"]
        )
    if kept["left"]:
        kept["left"] -= 1
        force = value * kept["weight"] * kept["direction"]
        task.data.xfrc_applied[bound.target[0], :3] += force


def _add_terrain(spec: "mujoco.MjSpec", value: float, bound: Bound) -> None:
    """Add a field of bumps, once, far below.

    It is two periods wide and moves with the robot, by whole periods, so that it has no
    end.
    """
    import mujoco

    if any(field.name == TERRAIN for field in spec.hfields):
        return
    size = TERRAIN_CELLS * TERRAIN_CELL
    floor = next(
        geom
        for geom in spec.worldbody.geoms
        if geom.type == mujoco.mjtGeom.mjGEOM_PLANE
    )
    cells = 2 * TERRAIN_CELLS + 1
    heights = [size, size, BUMPS + TERRAIN_DEPTH, 0.1]
    flat = np.zeros(cells * cells)
    spec.add_hfield(name=TERRAIN, size=heights, nrow=cells, ncol=cells, userdata=flat)
    like = (
        "contype",
        "conaffinity",
        "condim",
        "friction",
        "solref",
        "solimp",
        "margin",
    )
    spec.worldbody.add_geom(
        name=TERRAIN,
        type=mujoco.mjtGeom.mjGEOM_HFIELD,
        hfieldname=TERRAIN,
        pos=[0, 0, TERRAIN_AWAY],
        rgba=[0.45, 0.5, 0.45, 1],
        **{name: getattr(floor, name) for name in like},
    )


def _raise_terrain(model: "mujoco.MjModel", value: float, bound: Bound) -> None:
    """Bumps rise out of the floor like islands out of a sea, which stays where it
    is.
    """
    import mujoco

    kept = bound.kept
    geom = model.geom(TERRAIN).id
    if "bumps" not in kept:
        cells = np.arange(2 * TERRAIN_CELLS + 1) % TERRAIN_CELLS
        bumps = bound.random.random((TERRAIN_CELLS, TERRAIN_CELLS))[
            np.ix_(cells, cells)
        ]
        metres = TERRAIN_CELL * np.minimum(cells, TERRAIN_CELLS - cells)
        distance = np.hypot(metres[:, None], metres[None, :])
        kept["bumps"] = bumps, np.clip(distance / TERRAIN_FLAT - 1, 0, 1)
        kept["height"] = model.geom_pos[floor_of(model), 2] - TERRAIN_DEPTH
        kept["origin"] = kept.get("robot", np.zeros(2))
    bumps, grown = kept["bumps"]  # both in [0, 1], over two periods in both directions
    sunk = TERRAIN_SUNK * max(0.0, 1 - value / BUMPS / TERRAIN_RISEN)
    heights = np.maximum(grown * (TERRAIN_DEPTH + value) * bumps - sunk, 0)
    model.hfield_data[:] = heights.ravel() / (BUMPS + TERRAIN_DEPTH)
    # it moves: its frame is not the world's, and bounding volumes made for one place
    # are void
    model.geom_sameframe[geom] = 0
    model.opt.disableflags |= int(mujoco.mjtDisableBit.mjDSBL_MIDPHASE)
    _place_terrain(model, kept)


def _place_terrain(model: "mujoco.MjModel", kept: dict[str, Any]) -> None:
    """The field's middle is whole periods from where it was first, next to the
    robot.
    """
    period = TERRAIN_CELLS * TERRAIN_CELL
    origin = kept["origin"]
    away = kept.get("robot", origin) - origin
    place = np.append(origin + period * np.round(away / period), kept["height"])
    model.geom_pos[model.geom(TERRAIN).id] = place


def _move_terrain(task: Any, value: float, bound: Bound) -> None:
    bound.kept["robot"] = task.data.xpos[1, :2].copy()
    if value:
        _place_terrain(task.model, bound.kept)


for family in (
    Family(
        "mass",
        "body",
        "Mass and inertia of one body, or of all.",
        "x nominal",
        nominal=1,
        hardest=3,
        other=0.3,
        constants=True,
        targets=lambda task: with_all(each_body(task)),
        default="all",
        needs=(MODEL,),
        edit_model=partial(_scale, ["body_mass", "body_inertia"]),
    ),
    Family(
        "limb_length",
        "body",
        "Length of one limb segment, or of all, at the same radius and density. The "
        "height below which a task counts its robot as fallen stays: at 0.5 Walker2d "
        "and Humanoid are below.",
        "x nominal",
        nominal=1,
        hardest=0.5,
        targets=segments,
        default="all",
        needs=(MODEL, (segments, "it has one body only")),
        edit_spec=_scale_length,
    ),
    Family(
        "crippled_leg",
        "body",
        "The motors of one limb lose their strength.",
        "x nominal strength",
        nominal=1,
        hardest=0,
        constants=True,
        targets=limbs,
        needs=(MODEL, LIMBS, OTHER_MOTORS),
        edit_model=partial(_scale, STRENGTH),
    ),
    Family(
        "joint_lock",
        "body",
        "One joint loses its range of motion, around the angle that it has at the "
        "onset (from the first step on: at rest).",
        "fraction of the range",
        nominal=0,
        hardest=1,
        targets=driven_joints,
        needs=(MODEL,),
        edit_model=_lock,
    ),
    Family(
        "damping",
        "body",
        "Damping of one joint, or of all.",
        "x nominal",
        nominal=1,
        hardest=3,
        other=0.25,
        targets=damped_joints,
        default="all",
        needs=(MODEL, (damped_joints, "no joint of it has damping")),
        edit_model=partial(_scale, ["dof_damping", "dof_dampingpoly"]),
    ),
    Family(
        "strength",
        "body",
        "Strength of one motor, or of all.",
        "x nominal",
        nominal=1,
        hardest=0.25,
        other=2,
        constants=True,
        targets=actuators,
        default="all",
        needs=(MODEL,),
        edit_model=partial(_scale, STRENGTH),
    ),
    Family(
        "gravity",
        "world",
        "Size of gravity.",
        "x nominal",
        nominal=1,
        hardest=2,
        other=0.25,
        needs=(MODEL, WEIGHT, _moved_along("z", "gravity")),
        edit_model=_scale_gravity,
    ),
    Family(
        "gravity_tilt",
        "world",
        "Gravity turned to the side.",
        "degrees",
        nominal=0,
        hardest=20,
        other=-20,
        needs=(MODEL, WEIGHT, _moved_along("y", "a pull to the side")),
        edit_model=partial(_tilt, AXES["y"]),
    ),
    Family(
        "slope",
        "world",
        "An endless slope, uphill; as the robot sees it, gravity turned backwards.",
        "degrees",
        nominal=0,
        hardest=15,
        other=-15,
        needs=(MODEL, WEIGHT, _moved_along("x", "a pull backwards")),
        edit_model=partial(_tilt, -AXES["x"]),
    ),
    Family(
        "friction",
        "world",
        "Friction of all geoms.",
        "x nominal",
        nominal=1,
        hardest=0.1,
        other=3,
        needs=(MODEL, CONTACTS, FRICTION),
        edit_model=partial(_scale, ["geom_friction", "pair_friction"]),
    ),
    Family(
        "viscosity",
        "world",
        "Viscosity added to the medium.",
        "Pa s",
        nominal=0,
        hardest=0.2,
        needs=(MODEL,),
        edit_model=_add_viscosity,
    ),
    Family(
        "wind",
        "world",
        "Wind against the robot, or from its side.",
        "m/s",
        nominal=0,
        hardest=20,
        other=-20,
        targets=wind_directions,
        needs=(MODEL, GAS),
        edit_model=_blow,
    ),
    Family(
        "push",
        "world",
        "Pushes against a body at random times, from random directions, 0.2 s long.",
        "weights of the robot",
        nominal=0,
        hardest=2,
        targets=each_body,
        needs=(MODEL, WEIGHT),
        each_step=_push,
    ),
    Family(
        "rough_ground",
        "world",
        "Bumps all over the ground, at other places in every episode.",
        "m, height of the highest",
        nominal=0,
        hardest=BUMPS,
        needs=(MODEL, CONTACTS, FLOOR),
        add_to_spec=_add_terrain,
        edit_model=_raise_terrain,
        each_step=_move_terrain,
    ),
):
    register(family)
