"""Perturbations of the world around the robot: edits of the MuJoCo model, and forces."""

import copy
from functools import partial
from typing import Any

import numpy as np

from spikepropamine.envs.perturbations.body import each_body, needs_model
from spikepropamine.envs.perturbations.family import Bound, Family

AIR_DENSITY = 1.2  # kg/m^3
AIR_VISCOSITY = 1.8e-5  # Pa s
LIQUID_DENSITY = 100.0  # kg/m^3, above which a medium is no gas
PUSH_RATE = 1.0  # pushes that begin in a second in which there is none
PUSH_SECONDS = 0.2
TERRAIN = "rough_ground"
TERRAIN_CELL = 0.25  # m
TERRAIN_CELLS = 64  # of one period
TERRAIN_DEPTH = 0.15  # m that the lowest parts lie below the floor
# feet sink centimetres into the floor: mild bumps come up from where no foot gets
TERRAIN_SUNK = 0.08  # m
TERRAIN_RISEN = 0.15  # severity from which on none of that is left
TERRAIN_AWAY = -5.0  # m, where it touches nothing
TERRAIN_FLAT = 0.4  # m around the robot's first place; as far again the bumps grow
AXES = {"x": np.array([1.0, 0, 0]), "y": np.array([0, 1.0, 0]), "z": np.array([0, 0, 1.0])}


def feels(model: Any, direction: np.ndarray) -> bool:
    """Whether a uniform pull in a direction moves any joint, in a few random postures."""
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


def has_contacts(model: Any, dimensions: int = 1) -> bool:
    """Whether any two geoms of different bodies may collide, in contacts of so many dimensions at
    least (of one they have no friction).
    """
    may = (model.geom_contype[:, None] & model.geom_conaffinity[None, :]) != 0
    apart = model.geom_bodyid[:, None] != model.geom_bodyid[None, :]
    # MuJoCo takes the larger number of the two that touch
    enough = np.maximum.outer(model.geom_condim, model.geom_condim) >= dimensions
    return bool(((may | may.T) & apart & enough).any() or (model.pair_dim >= dimensions).any())


def floor_of(model: Any) -> int | None:
    """The plane that the robot stands on; None where there is none."""
    plane = 0  # mjGEOM_PLANE
    for geom in np.flatnonzero((model.geom_type == plane) & (model.geom_bodyid == 0)):
        if model.geom_contype[geom] or model.geom_conaffinity[geom]:
            return int(geom)
    return None


def wind_directions(task: Any) -> dict[str, np.ndarray]:
    """Where wind may blow to: against the robot, or from its side if it can move sideways."""
    sideways = {"side": AXES["y"]} if feels(task.model, AXES["y"]) else {}
    return {"head": -AXES["x"]} | sideways


def _needs_weight(task: Any) -> str | None:
    return needs_model(task) or (None if task.model.opt.gravity.any() else "it has no gravity")


def _needs_pull(axis: str, name: str, task: Any) -> str | None:
    if reason := _needs_weight(task):
        return reason
    return None if feels(task.model, AXES[axis]) else f"{name} moves none of its joints"


def _needs_contacts(task: Any) -> str | None:
    return needs_model(task) or (None if has_contacts(task.model) else "it has no contacts")


def _needs_friction(task: Any) -> str | None:
    if reason := _needs_contacts(task):
        return reason
    return None if has_contacts(task.model, dimensions=3) else "its contacts have no friction"


def _needs_floor(task: Any) -> str | None:
    if reason := _needs_contacts(task):
        return reason
    return "it has no floor" if floor_of(task.model) is None else None


def _needs_gas(task: Any) -> str | None:
    if reason := needs_model(task):
        return reason
    liquid = task.model.opt.density > LIQUID_DENSITY
    return "it swims in a liquid, where no wind blows" if liquid else None


def _scale_gravity(model: Any, value: float, bound: Bound) -> None:
    model.opt.gravity *= value


def _tilt(direction: np.ndarray, model: Any, degrees: float, bound: Bound) -> None:
    """Turn gravity by an angle, in the plane and sense from downwards to a level direction, by
    Rodrigues' formula; what is turned already is turned further.
    """
    gravity = model.opt.gravity.copy()
    angle, axis = np.deg2rad(degrees), np.cross(-AXES["z"], direction)
    model.opt.gravity += (gravity - axis * (axis @ gravity)) * (np.cos(angle) - 1)
    model.opt.gravity += np.cross(axis, gravity) * np.sin(angle)


def _scale_friction(model: Any, value: float, bound: Bound) -> None:
    """All geoms: MuJoCo takes the larger friction of the two that touch."""
    model.geom_friction *= value
    model.pair_friction *= value


def _add_viscosity(model: Any, value: float, bound: Bound) -> None:
    model.opt.viscosity += value


def _blow(model: Any, value: float, bound: Bound) -> None:
    """Wind acts through the medium, and the tasks on land have none: it comes with air."""
    model.opt.wind += value * bound.target
    model.opt.density = max(model.opt.density, AIR_DENSITY)
    model.opt.viscosity = max(model.opt.viscosity, AIR_VISCOSITY)


def _push(task: Any, value: float, bound: Bound) -> None:
    """The times and directions of pushes do not depend on their force."""
    kept, model = bound.kept, task.model
    seconds = getattr(task, "dt", model.opt.timestep)
    if "sideways" not in kept:
        kept["sideways"] = feels(model, AXES["y"])
        kept["weight"] = float(model.body_subtreemass[0] * np.linalg.norm(model.opt.gravity))
        kept["left"] = 0
    begins, angle = bound.random.random() < PUSH_RATE * seconds, 2 * np.pi * bound.random.random()
    if begins and not kept["left"]:
        kept["left"] = max(1, round(PUSH_SECONDS / seconds))
        direction = np.array([np.cos(angle), np.sin(angle), 0])
        kept["direction"] = direction if kept["sideways"] else np.sign(direction) * AXES["x"]
    if kept["left"]:
        kept["left"] -= 1
        force = value * kept["weight"] * kept["direction"]
        task.data.xfrc_applied[bound.target[0], :3] += force


def _add_terrain(spec: Any, bound: Bound) -> None:
    """Add a field of bumps, once, far below.

    It is two periods wide and moves with the robot, by whole periods, so that it has no end.
    """
    import mujoco

    if any(field.name == TERRAIN for field in spec.hfields):
        return
    size = TERRAIN_CELLS * TERRAIN_CELL
    floor = next(geom for geom in spec.worldbody.geoms if geom.type == mujoco.mjtGeom.mjGEOM_PLANE)
    cells, heights = 2 * TERRAIN_CELLS + 1, [size, size, ROUGH.hardest + TERRAIN_DEPTH, 0.1]
    flat = np.zeros(cells * cells)
    spec.add_hfield(name=TERRAIN, size=heights, nrow=cells, ncol=cells, userdata=flat)
    like = ("contype", "conaffinity", "condim", "friction", "solref", "solimp", "margin")
    spec.worldbody.add_geom(
        name=TERRAIN,
        type=mujoco.mjtGeom.mjGEOM_HFIELD,
        hfieldname=TERRAIN,
        pos=[0, 0, TERRAIN_AWAY],
        rgba=[0.45, 0.5, 0.45, 1],
        **{name: getattr(floor, name) for name in like},
    )


def _raise_terrain(model: Any, value: float, bound: Bound) -> None:
    """Bumps rise out of the floor like islands out of a sea, which stays where it is."""
    import mujoco

    geom = model.geom(TERRAIN).id
    bumps, mask = _bumps(bound)
    sunk = TERRAIN_SUNK * max(0.0, 1 - ROUGH.severity(value) / TERRAIN_RISEN)
    heights = np.maximum(mask * (TERRAIN_DEPTH + value) * bumps - sunk, 0)
    heights = heights.ravel() / (ROUGH.hardest + TERRAIN_DEPTH)
    model.hfield_data[:] = np.maximum(model.hfield_data, heights)  # two may do it
    # it moves: its frame is not the world's, and bounding volumes made for one place are void
    model.geom_sameframe[geom] = 0
    model.opt.disableflags |= int(mujoco.mjtDisableBit.mjDSBL_MIDPHASE)
    bound.kept.setdefault("origin", bound.kept.get("robot", np.zeros(2)))
    model.geom_pos[geom] = _terrain_place(model, bound)


def _bumps(bound: Bound) -> tuple[np.ndarray, np.ndarray]:
    """Heights in [0, 1] of two periods in both directions; and how far they have grown, in [0, 1],
    which is not at all where the robot is at first.
    """
    if "bumps" not in bound.kept:
        cells = np.arange(2 * TERRAIN_CELLS + 1) % TERRAIN_CELLS
        metres = TERRAIN_CELL * np.minimum(cells, TERRAIN_CELLS - cells)
        distance = np.hypot(metres[:, None], metres[None, :])
        heights = bound.random.random((TERRAIN_CELLS, TERRAIN_CELLS))[np.ix_(cells, cells)]
        bound.kept["bumps"] = heights, np.clip(distance / TERRAIN_FLAT - 1, 0, 1)
    return bound.kept["bumps"]


def _terrain_place(model: Any, bound: Bound) -> np.ndarray:
    """Position of the field's middle: whole periods from where it was first, next to the robot."""
    period = TERRAIN_CELLS * TERRAIN_CELL
    if "height" not in bound.kept:
        bound.kept["height"] = model.geom_pos[floor_of(model), 2] - TERRAIN_DEPTH
    origin = bound.kept["origin"]
    away = bound.kept.get("robot", origin) - origin
    return np.append(origin + period * np.round(away / period), bound.kept["height"])


def _move_terrain(task: Any, value: float, bound: Bound) -> None:
    bound.kept["robot"] = task.data.xpos[1, :2].copy()
    if value:
        task.model.geom_pos[task.model.geom(TERRAIN).id] = _terrain_place(task.model, bound)


GRAVITY = Family(
    "gravity", "world", "Size of gravity.",
    "x nominal", nominal=1, hardest=2, other=0.25,
    reason_against=partial(_needs_pull, "z", "gravity"), edit_model=_scale_gravity,
)  # fmt: skip
TILT = Family(
    "gravity_tilt", "world", "Gravity turned to the side.",
    "degrees", nominal=0, hardest=20, other=-20,
    reason_against=partial(_needs_pull, "y", "a pull to the side"),
    edit_model=partial(_tilt, AXES["y"]),
)  # fmt: skip
SLOPE = Family(
    "slope", "world", "An endless slope, uphill; as the robot sees it, gravity turned backwards.",
    "degrees", nominal=0, hardest=15, other=-15,
    reason_against=partial(_needs_pull, "x", "a pull backwards"),
    edit_model=partial(_tilt, -AXES["x"]),
)  # fmt: skip
FRICTION = Family(
    "friction", "world", "Friction of all geoms.",
    "x nominal", nominal=1, hardest=0.1, other=3, reason_against=_needs_friction,
    edit_model=_scale_friction,
)  # fmt: skip
VISCOSITY = Family(
    "viscosity", "world", "Viscosity added to the medium.",
    "Pa s", nominal=0, hardest=0.2, reason_against=needs_model, edit_model=_add_viscosity,
)  # fmt: skip
WIND = Family(
    "wind", "world", "Wind against the robot, or from its side.",
    "m/s", nominal=0, hardest=20, other=-20, targets=wind_directions, reason_against=_needs_gas,
    edit_model=_blow,
)  # fmt: skip
PUSH = Family(
    "push", "world", "Pushes against a body at random times, from random directions, 0.2 s long.",
    "weights of the robot", nominal=0, hardest=2, targets=each_body, reason_against=_needs_weight,
    each_step=_push,
)  # fmt: skip
ROUGH = Family(
    "rough_ground", "world", "Bumps all over the ground, at other places in every episode.",
    "m, height of the highest", nominal=0, hardest=0.15, reason_against=_needs_floor,
    add_to_spec=_add_terrain, edit_model=_raise_terrain, each_step=_move_terrain,
)  # fmt: skip

FAMILIES = (GRAVITY, TILT, SLOPE, FRICTION, VISCOSITY, WIND, PUSH, ROUGH)
