"""Perturbations of the robot's body: edits of the MuJoCo model."""

from typing import Any

import numpy as np

from spikepropamine.envs.perturbations.family import Bound, Family
from spikepropamine.envs.perturbations.signals import actuators, joint_of_actuator
from spikepropamine.envs.rendering import is_mujoco


def bodies(task: Any) -> dict[str, np.ndarray]:
    """All bodies but the world, and each by its name or, where it has none, its joint's."""
    return each_body(task) | {"all": np.arange(1, task.model.nbody)}


def each_body(task: Any) -> dict[str, np.ndarray]:
    """Every body but the world by its name; the first is the root."""
    return {body_name(task.model, body): np.array([body]) for body in range(1, task.model.nbody)}


def body_name(model: Any, body: int) -> str:
    """The name of a body, or else that of its joint or geom (Ant's lower legs have no names)."""
    if model.body(body).name:
        return model.body(body).name
    joint, geom = int(model.body_jntadr[body]), int(model.body_geomadr[body])
    names = [model.joint(joint).name] if joint >= 0 else []
    names += [model.geom(geom).name] if geom >= 0 else []
    return next((name for name in names if name), f"body_{body}")


def driven_joints(task: Any) -> dict[str, np.ndarray]:
    """The joints with an actuator, each by its name."""
    model = task.model
    joints = {joint_of_actuator(model, actuator) for actuator in range(model.nu)} - {None}
    return {model.joint(joint).name or f"joint_{joint}": np.array([joint]) for joint in joints}


def limbs(task: Any) -> dict[str, np.ndarray]:
    """The actuators of each limb, by the name of the limb's first body.

    A limb is a chain of bodies, below the root, that does not branch and has an actuator.
    """
    model = task.model
    children: dict[int, list[int]] = {body: [] for body in range(model.nbody)}
    for body in range(1, model.nbody):
        children[int(model.body_parentid[body])].append(body)
    targets = {}
    todo = [grandchild for root in children[0] for grandchild in children[root]]
    while todo:
        body = todo.pop(0)
        chain = [body]
        while len(children[chain[-1]]) == 1:
            chain.append(children[chain[-1]][0])
        joints = [joint for joint in range(model.njnt) if model.jnt_bodyid[joint] in chain]
        driven = [a for a in range(model.nu) if joint_of_actuator(model, a) in joints]
        if children[chain[-1]]:
            todo = children[chain[-1]] + todo
        elif driven:
            targets[body_name(model, body)] = np.array(driven)
    return targets


def segments(task: Any) -> dict[str, np.ndarray]:
    """The bodies below the root, each by its name, and all of them."""
    parents = task.model.body_parentid
    below = {name: body for name, body in each_body(task).items() if parents[body[0]] > 0}
    return below | {"all": np.concatenate([*below.values()])} if below else {}


def damped_joints(task: Any) -> dict[str, np.ndarray]:
    """The degrees of freedom of each joint that has damping, by its name, and all of them."""
    model = task.model
    targets = {}
    for joint in range(model.njnt):
        dofs = np.flatnonzero(model.dof_jntid == joint)
        if model.dof_damping[dofs].any():
            targets[model.joint(joint).name or f"joint_{joint}"] = dofs
    return targets | {"all": np.concatenate(list(targets.values()))} if targets else {}


def needs_model(task: Any) -> str | None:
    """A reason against tasks that MuJoCo does not simulate."""
    return None if is_mujoco(task) else "it has no MuJoCo model"


def _needs_limbs(task: Any) -> str | None:
    if reason := needs_model(task):
        return reason
    sizes = [len(motors) for motors in limbs(task).values()]
    whole = "its only limb has all its motors" if task.model.nu in sizes else None
    return whole if sizes else "it has no limb with actuators"


def _needs_segments(task: Any) -> str | None:
    return needs_model(task) or (None if segments(task) else "it has one body only")


def _needs_damping(task: Any) -> str | None:
    return needs_model(task) or (None if damped_joints(task) else "no joint of it has damping")


def _scale_mass(model: Any, value: float, bound: Bound) -> None:
    """As if of another density: mass and inertia together."""
    model.body_mass[bound.target] *= value
    model.body_inertia[bound.target] *= value


def _scale_length(spec: Any, value: float, bound: Bound) -> None:
    """Radius and density stay, so a shorter limb is lighter; what hangs on it moves with it."""
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


def _joint_position(body: Any) -> np.ndarray:
    """Where a body's joint is, relative to the body, in the axes of its parent."""
    import mujoco

    position = np.zeros(3)
    if body.joints:
        mujoco.mju_rotVecQuat(position, body.joints[0].pos, body.quat)
    return position


def _scale_strength(model: Any, value: float, bound: Bound) -> None:
    model.actuator_gainprm[bound.target] *= value
    model.actuator_biasprm[bound.target] *= value


def _scale_damping(model: Any, value: float, bound: Bound) -> None:
    model.dof_damping[bound.target] *= value
    if hasattr(model, "dof_dampingpoly"):
        model.dof_dampingpoly[bound.target] *= value


def _lock(model: Any, value: float, bound: Bound) -> None:
    """Narrow the joint's range, half a turn to each side where it has none, around the angle that
    it has at the onset.
    """
    joint = bound.target[0]
    assert bound.posture is not None
    angle = bound.posture[model.jnt_qposadr[joint]]
    low, high = angle - np.pi, angle + np.pi
    if model.jnt_limited[joint]:
        low, high = model.jnt_range[joint]
        angle = np.clip(angle, low, high)
    model.jnt_range[joint] = [angle + (1 - value) * (end - angle) for end in (low, high)]
    model.jnt_limited[joint] = True


MASS = Family(
    "mass", "body", "Mass and inertia of one body, or of all.",
    "x nominal", nominal=1, hardest=3, other=0.3, constants=True, targets=bodies, default="all",
    reason_against=needs_model, edit_model=_scale_mass,
)  # fmt: skip
LIMB_LENGTH = Family(
    "limb_length", "body",
    "Length of one limb segment, or of all, at the same radius and density. The height below "
    "which a task counts its robot as fallen stays: at 0.5 Walker2d and Humanoid are below.",
    "x nominal", nominal=1, hardest=0.5, targets=segments, default="all",
    reason_against=_needs_segments, edit_spec=_scale_length,
)  # fmt: skip
CRIPPLED_LEG = Family(
    "crippled_leg", "body", "The motors of one limb lose their strength.",
    "x nominal strength", nominal=1, hardest=0, constants=True, targets=limbs,
    reason_against=_needs_limbs, edit_model=_scale_strength,
)  # fmt: skip
JOINT_LOCK = Family(
    "joint_lock", "body",
    "One joint loses its range of motion, around the angle that it has at the onset (from the "
    "first step on: at rest).",
    "fraction of the range", nominal=0, hardest=1, targets=driven_joints,
    reason_against=needs_model, edit_model=_lock,
)  # fmt: skip
DAMPING = Family(
    "damping", "body", "Damping of one joint, or of all.",
    "x nominal", nominal=1, hardest=3, other=0.25, targets=damped_joints, default="all",
    reason_against=_needs_damping, edit_model=_scale_damping,
)  # fmt: skip
STRENGTH = Family(
    "strength", "body", "Strength of one motor, or of all.",
    "x nominal", nominal=1, hardest=0.25, other=2, constants=True, targets=actuators,
    default="all", reason_against=needs_model, edit_model=_scale_strength,
)  # fmt: skip

FAMILIES = (MASS, LIMB_LENGTH, CRIPPLED_LEG, JOINT_LOCK, DAMPING, STRENGTH)
