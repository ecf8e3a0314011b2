"""What every task adds to a robot of Gymnasium: another paid speed, and more to
observe.
"""

from abc import ABC, abstractmethod
from typing import Any, ClassVar

import gymnasium as gym
import numpy as np
from gymnasium.envs.mujoco import MujocoEnv
from gymnasium.utils import EzPickle


class RobotTask(MujocoEnv, EzPickle, ABC):
    """A task for any of Gymnasium's robots that are paid for a forward velocity.

    A task is mixed into a robot, before it: `class AntCue(CueRobot, AntEnv)`. The robot
    moves, falls and pays for control as it always does. Its reward for moving forward
    is for `paid_speed` instead of its velocity.

    Args:
        robot: arguments of the robot's class.

    Raises:
        TypeError: the robot has no method `_get_rew(x_velocity, action)`, which
            Gymnasium's robots compute their reward with.
    """

    summary: ClassVar[str]
    """What it is, after the name of a robot and "that"."""

    def __init__(self, **robot: Any) -> None:
        if not hasattr(super(), "_get_rew"):
            raise TypeError(
                f"{type(self).__name__}: the robot has no method _get_rew(x_velocity, "
                "action), so nothing would pay for its speed"
            )
        super().__init__(**robot)

    @abstractmethod
    def paid_speed(self, x_velocity: float) -> float:
        """The speed that the reward is for, at this step.

        Args:
            x_velocity: of the robot, in m/s.

        Returns:
            What stands in for the velocity in the robot's reward, in m/s.
        """

    def _widen_observations(self, channels: int) -> None:
        """Adds unbounded channels to the space of observations, float64."""
        (robot_channels,) = self.observation_space.shape or ()
        self.observation_space = gym.spaces.Box(
            -np.inf, np.inf, (robot_channels + channels,), np.float64
        )

    def _get_rew(
        self, x_velocity: float, action: np.ndarray
    ) -> tuple[float, dict[str, Any]]:
        robot: Any = super()
        return robot._get_rew(self.paid_speed(x_velocity), action)
