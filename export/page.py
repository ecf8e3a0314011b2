"""A trained policy as data of the page on which a visitor pulls the plug of plasticity.

The page steps tasks by itself that are in `ROBOTS`, and our two cue tasks; `card_of`
writes down all that it has to know about one of them. Python steps everything else
(`export.live`).
`python -m spikepropamine.export.page FOLDER` writes the policies of the documentation.
"""

import json
import sys
from collections.abc import Mapping
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
from gymnasium import spaces
from gymnasium.envs.mujoco.ant_v5 import AntEnv
from gymnasium.envs.mujoco.half_cheetah_v5 import HalfCheetahEnv
from gymnasium.envs.mujoco.hopper_v5 import HopperEnv
from gymnasium.envs.mujoco.swimmer_v5 import SwimmerEnv
from gymnasium.envs.mujoco.walker2d_v5 import Walker2dEnv
from gymnasium.wrappers import OrderEnforcing, PassiveEnvChecker, TimeLimit

from spikepropamine.common import UsageError, bad_input, require, whole_file
from spikepropamine.envs.checked import Checked
from spikepropamine.envs.cue_association import CueAssociation
from spikepropamine.envs.cue_robot import CueRobot
from spikepropamine.envs.making import spread
from spikepropamine.envs.perturbations.catalogue import CATALOGUE
from spikepropamine.envs.perturbations.signals import actuators, joint_of_actuator
from spikepropamine.envs.perturbations.wrapper import reason_against
from spikepropamine.envs.robots import CLASSES
from spikepropamine.envs.shown import PreviousActionAndReward
from spikepropamine.evaluation.ask.conditions import CLEAN, Task, make_env
from spikepropamine.evaluation.ask.runs import Run, load_runs
from spikepropamine.evaluation.run.watched import recorded_layer
from spikepropamine.export.built import INDEX
from spikepropamine.folder import RunFolder, find, name_of, plain_name
from spikepropamine.policies.policy import PlasticSpikingPolicy
from spikepropamine.reading import Unreadable, read_text

CARD = "card.json"
POLICY = "policy.onnx"
MODEL = "model.xml"
"""In the folder of a policy: what the page has to know, its network, and its robot."""


@dataclass(frozen=True)
class Robot:
    """What the page has to know of a robot's class that its attributes do not say."""

    place: (
        str  # what its speed is taken from: "qpos", or "body", the main body's position
    )
    height: int | None = None  # which of qpos a fall is told by; None: it cannot fall
    angle: int | None = None  # the same for how far it leans
    ends_included: bool = False  # whether the ends of its healthy range are healthy
    velocity_limit: float | None = None  # to which observed velocities are clipped
    velocity_noise: str = "normal"  # of the velocities that an episode starts with


HalfCheetahCue = CLASSES["HalfCheetahCue"]
ROBOTS: Mapping[type, Robot] = {
    HalfCheetahEnv: Robot("qpos"),
    HalfCheetahCue: Robot("qpos"),
    AntEnv: Robot("body", height=2, ends_included=True),
    SwimmerEnv: Robot("qpos", velocity_noise="uniform"),
    HopperEnv: Robot(
        "qpos", height=1, angle=2, velocity_limit=10, velocity_noise="uniform"
    ),
    Walker2dEnv: Robot(
        "qpos", height=1, angle=2, velocity_limit=10, velocity_noise="uniform"
    ),
}
"""The robots that the page steps by itself."""

IN_PAGE = (
    "motor_signs", "motor_order", "strength", "joint_lock",
    "mass", "slope", "gravity_tilt",
    "gravity", "wind", "friction", "viscosity", "obs_noise", "action_noise",
)  # fmt: skip
"""The perturbations that the page has, a record of each in `web/src/perturbations.ts`.
"""
OF_A_MOTOR = ("strength", "joint_lock")
"""Those of them of which each motor may have its own value."""

SHOWN: Mapping[str, str] = {
    "cue-lesson/HalfCheetahCueLesson-v0/ndp-hebb/seed-3": "HalfCheetah, told once",
    "motor-signs-alone/HalfCheetah-v5/ndp-hebb/seed-1": "HalfCheetah, hidden signs",
    "motor-order-long/HalfCheetah-v5/ndp-hebb/seed-0": "HalfCheetah, hidden orders",
    "motor-signs/Ant-v5/ndp-hebb/seed-3": "Ant, hidden signs",
    "robots/HalfCheetah-v5/ndp-oja/seed-3": "HalfCheetah, nothing hidden",
    "robots/Ant-v5/ndp-oja/seed-2": "Ant, nothing hidden",
    "robots/Swimmer-v5/ndp-oja/seed-1": "Swimmer, nothing hidden",
    "cue-ppo/CueAssociation-v0/ndp-oja/seed-23": "New cues, on a board",
}
"""The policies of the documentation, by name, with what the page calls each."""


AS_IT_IS = (
    PassiveEnvChecker,
    OrderEnforcing,
    TimeLimit,
    Checked,
    PreviousActionAndReward,
)
"""Wrappers that leave the task as it is; the page shows previous actions itself."""


def stepped_by_page(run: Run, env: gym.Env) -> bool:
    """Whether the page can step the task of a run by itself.

    Args:
        run: whose policy the page shows.
        env: an environment of the run's task.
    """
    if run.revealed is not None or not isinstance(env.observation_space, spaces.Box):
        return False
    while isinstance(env, gym.Wrapper):
        if type(env) not in AS_IT_IS:
            return False
        env = env.env
    task: Any = env
    if type(task) is CueAssociation:
        return True
    if type(task) not in ROBOTS:
        return False
    whole = getattr(task, "_exclude_current_positions_from_observation", True)
    return bool(whole) and "file=" not in read_text(Path(task.fullpath))


def write_policy(folder: Path, run: Run, task: Task, title: str) -> bool:
    """Writes a policy, its card and the model of its robot into a new folder.

    Args:
        folder: to be made.
        run: whose policy.
        task: of the run.
        title: of the policy on the page.

    Returns:
        False, and nothing is written, where the page cannot step the task by itself.

    Raises:
        UsageError: the extra `export` is missing.
    """
    with (
        bad_input(),
        closing(make_env(task, CLEAN, run.previous, run.revealed)) as env,
    ):
        if not stepped_by_page(run, env):
            return False
        require("onnx", "export", "the page")
        from spikepropamine.export import onnx_file

        contents = onnx_file.to_onnx(
            run.policy, {}, env.observation_space, watched=True
        )
        card = card_of(run, env, title)
    unwrapped: Any = env.unwrapped
    if type(unwrapped) in ROBOTS:
        with whole_file(folder / MODEL) as part:
            part.write_text(read_text(Path(unwrapped.fullpath)))
    with whole_file(folder / POLICY) as part:
        part.write_bytes(contents)
    with whole_file(folder / CARD) as part:
        part.write_text(json.dumps(card))
    return True


def card_of(run: Run, env: gym.Env, title: str) -> dict[str, Any]:
    """All that the page has to know about a policy and its task, as JSON has it.

    Args:
        run: whose policy.
        env: of its task.
        title: of the policy on the page.
    """
    from spikepropamine.export.onnx_file import state_layout

    space: Any = env.observation_space
    layout = state_layout(run.policy.policy, watched=True)
    return {
        "name": name_of(run.folder),
        "title": title,
        "policy": run.name,
        "environment": run.environment,
        "previous": run.previous,
        "float": str(space.dtype),
        "state": None if layout is None else dict(layout.shapes),
        "layer": _layer(run),
        "scores": scores_of(run.folder),
        "task": _task(env.unwrapped),
        "families": _families(env),
        "spread": np.broadcast_to(
            np.asarray(spread(run.environment, run.arguments)),
            env.unwrapped.observation_space.shape or (),
        ).tolist(),
    }


def _families(env: gym.Env) -> list[str]:
    """The names of the perturbations that can change a task."""
    names = [name for name in IN_PAGE if not reason_against(env, f"{name}~1")]
    task: Any = env.unwrapped
    if type(task) in ROBOTS and not task.model.jnt_limited[_driven(task)].all():
        names.remove("joint_lock")  # the page narrows the range that a joint has
    return names


def _driven(task: Any) -> list[int]:
    """The joints that motors drive."""
    return [motor["joint"] for motor in _motors(task) if motor["joint"] is not None]


def _layer(run: Run) -> dict[str, Any] | None:
    """The layer that is drawn; None where the network does not spike."""
    policy: Any = run.policy.policy
    if not isinstance(policy, PlasticSpikingPolicy):
        return None
    index, spec = recorded_layer(run.policy)
    config = policy.network.config
    return {
        "name": f"layer{index}",
        "spikes": config.units == "spiking",
        "plastic": spec.plastic,
        "modulated": spec.modulation != "none",
        "ticks": config.ticks,
        "neurons": spec.neurons,
        "inputs": spec.plastic_inputs,
    }


def _task(task: Any) -> dict[str, Any]:
    """The numbers of a task, as its own class has them."""
    if type(task) is CueAssociation:
        return {
            "kind": "board",
            "cues": task.cues,
            "bits": task.bits,
            "actions": task.actions,
            "cue_length": task.cue_length,
            "feedback_length": task.feedback_length,
            "delay_length": task.delay_length,
        }
    robot = ROBOTS[type(task)]
    numbers: dict[str, Any] = {
        "kind": "robot",
        "frame_skip": task.frame_skip,
        "initial_positions": task.init_qpos.tolist(),
        "initial_velocities": task.init_qvel.tolist(),
        "reset_noise": task._reset_noise_scale,
        "velocity_noise": robot.velocity_noise,
        "place": robot.place,
        "main_body": getattr(task, "_main_body", 1),
        "skipped": task.observation_structure["skipped_qpos"],
        "velocity_limit": robot.velocity_limit,
        "observes_forces": getattr(task, "_include_cfrc_ext_in_observation", False),
        "force_range": getattr(task, "_contact_force_range", None),
        "forward_weight": task._forward_reward_weight,
        "control_cost": task._ctrl_cost_weight,
        "contact_cost": getattr(task, "_contact_cost_weight", 0.0),
        "healthy_reward": getattr(task, "_healthy_reward", 0.0),
        "ends_unhealthy": getattr(task, "_terminate_when_unhealthy", False),
        "height": robot.height,
        "height_range": _ends(getattr(task, "_healthy_z_range", None)),
        "ends_included": robot.ends_included,
        "angle": robot.angle,
        "angle_range": _ends(getattr(task, "_healthy_angle_range", None)),
        "state_range": _ends(getattr(task, "_healthy_state_range", None)),
        "motors": _motors(task),
    }
    if isinstance(task, CueRobot) and type(task) is HalfCheetahCue:
        numbers |= {
            "kind": "lesson",
            "cues": task.cues,
            "bits": task.bits,
            "trial_steps": task.trial_steps,
            "cue_length": task.cue_length,
            "settle_length": task.settle_length,
            "speed_limit": None if np.isinf(task.speed_limit) else task.speed_limit,
        }
    return numbers


def _ends(range_: Any) -> list[float | None] | None:
    """Both ends of a range, None for one that is infinite, which JSON has not."""
    if range_ is None:
        return None
    return [float(end) if np.isfinite(end) else None for end in range_]


def _motors(task: Any) -> list[dict[str, Any]]:
    """The motors in the order of the actions, by the names that perturbations have for
    them.
    """
    named = actuators(task)
    named.pop("all", None)
    return [
        {"name": name, "joint": joint_of_actuator(task.model, int(index[0]))}
        for name, index in named.items()
    ]


def scores_of(folder: Path) -> list[dict[str, str]]:
    """The rows of the results in a run's card, by column; none where it has no card."""
    card = RunFolder(folder).card
    try:
        text = read_text(card, inside=folder)
    except Unreadable:
        return []
    section = text.partition("\n## Results\n")[2].partition("\n## ")[0]
    lines = [line for line in section.splitlines() if line.startswith("|")]
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]
    if len(rows) < 3:
        return []
    return [dict(zip(rows[0], row)) for row in rows[2:]]


def catalogue() -> dict[str, Any]:
    """The families of perturbations, by name; the page draws its controls from them."""
    return {
        family.name: {
            "group": family.group,
            "summary": family.summary,
            "unit": family.unit,
            "nominal": family.nominal,
            "hardest": family.hardest,
            "other": family.other,
            "whole": family.whole,
        }
        for family in map(CATALOGUE.__getitem__, IN_PAGE)
    }


def index_of(policies: list[str], **others: Any) -> bytes:
    """What the page reads first (`INDEX`): its policies' folders, and the catalogue.

    Args:
        policies: folders of policies, relative to that of the page.
        **others: further entries of the file, in forms that JSON knows.
    """
    index = {"policies": policies, "catalogue": catalogue(), **others}
    return json.dumps(index).encode()


def main(arguments: list[str]) -> int:
    """Writes the data of the documentation's page; returns the exit code."""
    if len(arguments) != 1:
        raise UsageError("usage: python -m spikepropamine.export.page FOLDER")
    folder = Path(arguments[0])
    written = []
    folder.mkdir(parents=True, exist_ok=True)
    for name, title in SHOWN.items():
        (run,), task = load_runs([find(name)])
        place = plain_name(name)
        if not write_policy(folder / place, run, task, title):
            raise UsageError(f"the page cannot step the task of {name} by itself")
        written.append(place)
    with whole_file(folder / INDEX) as part:
        part.write_bytes(index_of(written))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
