"""The robots of Gymnasium that run forward, each with each task for them.

The classes are named by robot and task, as `AntCue` and `HopperDirection`; `ROBOTS` and
`TASKS` of `envs.ids` have the names. A robot of your own takes a task in the same way:
`class MineCue(CueRobot, MyRobot)`.
"""

from typing import Any

import gymnasium as gym
from gymnasium.envs.mujoco.half_cheetah_v5 import HalfCheetahEnv
from gymnasium.envs.registration import load_env_creator

from spikepropamine.envs.cue_robot import CueRobot
from spikepropamine.envs.ids import ROBOTS
from spikepropamine.envs.latent import DirectionRobot, VelocityRobot
from spikepropamine.envs.no_velocity import NoVelocity
from spikepropamine.envs.robot_task import RobotTask

TASKS: dict[str, type[RobotTask]] = {
    "Direction": DirectionRobot,
    "Velocity": VelocityRobot,
    "Cue": CueRobot,
}


def robot_with(task: str, robot: str) -> type[RobotTask]:
    """The class of a robot with a task, as `class AntCue(CueRobot, AntEnv)` would make
    it.

    Args:
        task: one of `TASKS`.
        robot: one of `ROBOTS`.
    """
    plain = f"{robot}-v5"
    entry_point = gym.spec(plain).entry_point
    assert isinstance(entry_point, str), f"{plain} is not Gymnasium's"
    plain_class: Any = load_env_creator(entry_point)
    attributes = {
        "__doc__": f"{plain} that {TASKS[task].summary}",
        "__module__": __name__,  # where copies and other processes look for the class
    }
    return type(robot + task, (TASKS[task], plain_class), attributes)


CLASSES: dict[str, type[RobotTask]] = {
    robot + task: robot_with(task, robot) for robot in ROBOTS for task in TASKS
}
"""All of them by name; each is also an attribute of this module, for its id."""
globals().update(CLASSES)


class HalfCheetahNoVelocity(NoVelocity, HalfCheetahEnv):
    """HalfCheetah-v5 without velocities.

    Observation: Box, float64, shape (8,): height of the trunk in m, its angle and those
    of the joints in rad.
    """

    positions = slice(0, 8)
