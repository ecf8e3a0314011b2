"""Robots with a hidden number that holds for an episode: a direction, or a velocity.

The last channel of the observation shows feedback, and nothing else shows the latent.
Where feedback comes at every step (`dense`), a policy without memory can read the
latent off velocity and feedback together. Where it comes now and then (`sparse`), or
only at first (`opening`), the latent has to be found out and remembered.

A latent is a class with its name, how it is drawn and checked, and what it is paid for.
`envs.robots` has each of them for each robot.
"""

from abc import abstractmethod
from typing import Any, ClassVar

import numpy as np
from gymnasium.utils import EzPickle

from spikepropamine.envs.robot_task import RobotTask
from spikepropamine.envs.task import (
    ResetResult,
    StepResult,
    check_choice,
    check_integer,
    check_number,
)

FEEDBACK = ("dense", "sparse", "opening")


class HiddenLatent(RobotTask):
    """A robot that is paid by a latent that it does not observe.

    `reset` draws the latent after the robot's posture, so the posture is the one that
    the robot's plain task has with the same seed.

    Observation: that of the robot, then the feedback: the info's "reward_forward", or 0
    where none is shown.

    Info has the latent by its name, "hidden" (a list with the latent, for a policy that
    is told) and "feedback" (the last channel).

    Args:
        feedback: when it is shown. "dense": at every step; "sparse": at every
            `feedback_every`-th step, the mean since the last time; "opening": at the
            first `feedback_opening` steps of an episode.
        feedback_every: steps, at least 1.
        feedback_opening: steps, at least 1.
        told: probability in [0, 1] that the feedback of an episode comes at an interval
            drawn for it, from 1 to `feedback_every` steps, short more often than long.
            For training: a robot that seldom hears what it should do is paid for
            nothing, and does not learn to run.
        robot: arguments of the robot's class.

    Raises:
        ValueError: an argument is out of range.

    Attributes:
        latent: name of the attribute, of the entry of `info` and of the option of
            `reset` that hold the latent.
    """

    latent: ClassVar[str]

    def __init__(
        self,
        feedback: str = "dense",
        feedback_every: int = 50,
        feedback_opening: int = 200,
        told: float = 0.0,
        **robot: Any,
    ) -> None:
        self.feedback = check_choice("feedback", feedback, FEEDBACK)
        self.feedback_every = check_integer("feedback_every", feedback_every, 1)
        self.feedback_opening = check_integer("feedback_opening", feedback_opening, 1)
        self.told = check_number("told", told, 0, 1)
        self._step = 0
        self._interval = 0
        self._sum_since_feedback = 0.0
        super().__init__(**robot)
        # copies are made from the arguments; the robot has noted its part of them alone
        EzPickle.__init__(
            self,
            feedback=feedback,
            feedback_every=feedback_every,
            feedback_opening=feedback_opening,
            told=told,
            **robot,
        )
        self._widen_observations(1)

    @abstractmethod
    def _draw(self) -> float:
        """A new latent, by `np_random`."""

    @abstractmethod
    def _check(self, value: Any) -> float:
        """A latent that an option of `reset` forces. Raises ValueError: it cannot
        be.
        """

    @property
    def hidden(self) -> list[float]:
        """The latent as a policy that is told observes it."""
        return [getattr(self, self.latent)]

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> ResetResult:
        """Starts an episode with a new latent.

        Args:
            seed: of everything that is drawn, now and in later episodes.
            options: may have the name of the latent, with the value that it is to have.

        Raises:
            ValueError: the options have another key, or a latent that cannot be.
        """
        observation, info = super().reset(seed=seed)
        forced = dict(options or {})
        value = (
            self._draw()
        )  # also where it is forced, so that later draws are the same
        if self.latent in forced:
            given = forced.pop(self.latent)
            value = value if given is None else self._check(given)
        if forced:
            names = ", ".join(sorted(forced))
            raise ValueError(f"options may have {self.latent!r} only, got {names}")
        setattr(self, self.latent, value)
        self._step = 0
        self._sum_since_feedback = 0.0
        self._interval = self._draw_interval()
        return self._observed(observation, info, 0.0)

    def step(self, action: np.ndarray) -> StepResult:
        """Takes one step; see the class."""
        observation, reward, terminated, truncated, info = super().step(action)
        feedback = self._feedback_of_step(info["reward_forward"])
        observation, info = self._observed(observation, info, feedback)
        return observation, np.float64(reward), terminated, truncated, info

    def _draw_interval(self) -> int:
        """Steps between two feedbacks of this episode; 0: the opening alone has any."""
        drawn = self.np_random.random()
        if drawn < self.told:
            share = drawn / self.told  # uniform in [0, 1), given that drawn < told
            return 1 + round((self.feedback_every - 1) * share**2)
        if self.feedback == "dense":
            return 1
        if self.feedback == "sparse":
            return self.feedback_every
        return 0

    def _feedback_of_step(self, value: float) -> float:
        """What is shown after this step, of which `value` is the reward for speed."""
        self._step += 1
        if not self._interval:
            return value if self._step <= self.feedback_opening else 0.0
        self._sum_since_feedback += value
        if self._step % self._interval:
            return 0.0
        mean = self._sum_since_feedback / self._interval
        self._sum_since_feedback = 0.0
        return mean

    def _observed(
        self, observation: np.ndarray, info: dict[str, Any], feedback: float
    ) -> ResetResult:
        """The robot's observation and info, with what this task adds."""
        added = {
            self.latent: getattr(self, self.latent),
            "hidden": self.hidden,
            "feedback": feedback,
        }
        return np.append(observation, feedback), info | added


class DirectionRobot(HiddenLatent):
    """A robot that is paid for running forward or backward; which one is not shown.

    Reward, at every step: that of the robot, with its speed along the direction for its
    velocity. The direction is forward (1.0) or backward (-1.0) with equal probability;
    `reset(options={"direction": -1})` forces it. Arguments: those of `HiddenLatent`.
    """

    summary = "is paid for running forward or backward; which one is not shown."
    latent = "direction"
    direction = 1.0

    def _draw(self) -> float:
        return 1.0 if self.np_random.random() < 0.5 else -1.0

    def _check(self, value: Any) -> float:
        return float(check_choice("direction", value, (1, -1)))

    def paid_speed(self, x_velocity: float) -> float:
        """The speed along the direction, in m/s."""
        return self.direction * x_velocity


class VelocityRobot(HiddenLatent):
    """A robot that is paid for running at a target velocity, which is not shown.

    Reward, at every step: that of the robot, with minus the distance between its
    velocity and the target for its velocity. The target is uniform between the slowest
    and the fastest; `reset(options={"target_velocity": 1.5})` forces it, in [-10, 10]
    m/s.

    Args:
        slowest: of the target velocities, in m/s, in [-10, 10].
        fastest: of the target velocities, in m/s, in [slowest, 10].
        arguments: of `HiddenLatent` and of the robot.

    Raises:
        ValueError: an argument is out of range.
    """

    summary = "is paid for running at a target velocity, which is not shown."
    latent = "target_velocity"

    def __init__(
        self, slowest: float = 0.0, fastest: float = 3.0, **arguments: Any
    ) -> None:
        self.slowest = check_number("slowest", slowest, -10, 10)
        self.fastest = check_number("fastest", fastest, self.slowest, 10)
        self.target_velocity = self.slowest
        super().__init__(**arguments)
        EzPickle.__init__(self, slowest=slowest, fastest=fastest, **arguments)

    def _draw(self) -> float:
        return self.np_random.uniform(self.slowest, self.fastest)

    def _check(self, value: Any) -> float:
        return check_number("target_velocity", value, -10, 10)

    def paid_speed(self, x_velocity: float) -> float:
        """Minus the distance to the target velocity, in m/s."""
        return -abs(x_velocity - self.target_velocity)
