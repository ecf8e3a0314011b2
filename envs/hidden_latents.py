"""Robots that are not told where, or how fast, they should run: a latent that holds an episode.

These tasks show feedback in the last channel of the observation, and nothing else of the latent.
Where feedback comes at every step (`dense`), a policy without memory can read the latent off
velocity and feedback together. Where it comes now and then (`sparse`), or only at first
(`opening`), the latent has to be found out and kept in mind.
"""

from abc import ABC, abstractmethod
from typing import Any

import gymnasium as gym
import numpy as np
from gymnasium.envs.mujoco.half_cheetah_v5 import HalfCheetahEnv

from spikepropamine.envs.task import Start, Step, check_choice, check_integer, check_number


class HiddenLatent(HalfCheetahEnv, ABC):
    """What the tasks below share.

    The latent is drawn by `reset` after the robot's posture, which so is the one that the robot's
    own task has with the same seed. What is shown of it is made of the info's "reward_forward".

    Args:
        feedback: when it is shown. "dense": at every step; "sparse": at every `feedback_every`-th
            step, the mean since the last time; "opening": at the first `feedback_opening` steps of
            an episode. Elsewhere it is 0.
        feedback_every, feedback_opening: steps, at least 1.
        told: probability in [0, 1] that an episode has feedback at every step. For training: a
            robot that seldom hears what it should do is paid for nothing, and learns no running.
        arguments: of the robot's own class.

    Raises:
        ValueError: an argument is out of range.

    Attributes:
        latent: name of the attribute and of the entry of `info` that hold the latent.
    """

    latent: str

    def __init__(
        self,
        feedback: str = "dense",
        feedback_every: int = 50,
        feedback_opening: int = 200,
        told: float = 0.0,
        **arguments: Any,
    ) -> None:
        given = {k: v for k, v in locals().items() if k not in ("self", "arguments", "__class__")}
        self.feedback = check_choice("feedback", feedback, ("dense", "sparse", "opening"))
        self.feedback_every = check_integer("feedback_every", feedback_every, 1)
        self.feedback_opening = check_integer("feedback_opening", feedback_opening, 1)
        self._step, self._sum, self._always = 0, 0.0, False
        self.told = check_number("told", told, 0, 1)
        super().__init__(**arguments)
        # a copy is made anew of these; the robot's own class knows of its own arguments only
        gym.utils.EzPickle.__init__(self, **given, **arguments)
        channels = gym.spaces.flatdim(self.observation_space) + 1
        self.observation_space = gym.spaces.Box(-np.inf, np.inf, (channels,), np.float64)

    @abstractmethod
    def _draw(self) -> float:
        """A latent, by `np_random`."""

    @abstractmethod
    def _checked(self, latent: float) -> float:
        """The latent. Raises ValueError where it cannot be."""

    @property
    def hidden(self) -> list[float]:
        """The latent as a policy that is told observes it."""
        return [getattr(self, self.latent)]

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> Start:
        """Start an episode with a new latent, or with that of `options`. Raises ValueError where
        these have another key, or a latent that cannot be.
        """
        observation, info = super().reset(seed=seed)
        forced, drawn = dict(options or {}), self._draw()
        setattr(self, self.latent, self._checked(float(forced.pop(self.latent, drawn))))
        if forced:
            names = ", ".join(sorted(forced))
            raise ValueError(f"options may have {self.latent!r} only, got {names}")
        told = self.np_random.random() < self.told
        self._step, self._sum, self._always = 0, 0.0, told or self.feedback == "dense"
        return np.append(observation, 0.0), info | self._said(0.0)

    def step(self, action: np.ndarray) -> Step:
        """Take one step; see the class."""
        observation, reward, terminated, truncated, info = super().step(action)
        shown = self._shown(info["reward_forward"])
        told = {**info, **self._said(shown)}
        return np.append(observation, shown), np.float64(reward), terminated, truncated, told

    def _shown(self, value: float) -> float:
        """What is shown of this step's value."""
        self._step += 1
        if self._always:
            return value
        if self.feedback == "opening":
            return value if self._step <= self.feedback_opening else 0.0
        self._sum += value
        if self._step % self.feedback_every:
            return 0.0
        mean, self._sum = self._sum / self.feedback_every, 0.0
        return mean

    def _said(self, feedback: float) -> dict[str, Any]:
        """What infos say of the latent."""
        latent = getattr(self, self.latent)
        return {self.latent: latent, "feedback": feedback, "hidden": self.hidden}


class HalfCheetahDirection(HiddenLatent):
    """HalfCheetah-v5 that is paid for running forward or backward; which one is not shown.

    Observation: Box, float64, shape (18,): that of HalfCheetah-v5, then the feedback: speed along
    the target direction in m/s (times the forward reward weight). Reward, at every step: that speed
    minus the cost of control. Action: that of HalfCheetah-v5.

    Info has "direction" (1.0 forward, -1.0 backward) and "feedback" (the last channel).
    `reset(options={"direction": -1})` forces the direction. Arguments: those of `HiddenLatent` and
    of HalfCheetah-v5.
    """

    latent = "direction"

    def __init__(self, **arguments: Any) -> None:
        self.direction = 1.0
        super().__init__(**arguments)

    def _draw(self) -> float:
        return 1.0 if self.np_random.random() < 0.5 else -1.0

    def _checked(self, latent: float) -> float:
        if latent not in (-1, 1):
            raise ValueError(f"direction must be 1 or -1, got {latent:g}")
        return latent

    def _get_rew(self, x_velocity: float, action: np.ndarray) -> tuple[float, dict[str, Any]]:
        return super()._get_rew(self.direction * x_velocity, action)


class HalfCheetahVelocity(HiddenLatent):
    """HalfCheetah-v5 that is paid for running at a target velocity, which is not shown.

    Observation: Box, float64, shape (18,): that of HalfCheetah-v5, then the feedback: minus the
    distance between velocity and target in m/s (times the forward reward weight). Reward, at every
    step: that number minus the cost of control. Action: that of HalfCheetah-v5.

    Info has "target_velocity" (m/s), uniform between the two velocities, and "feedback" (the last
    channel). `reset(options={"target_velocity": 1.5})` forces the velocity.

    Args:
        slowest, fastest: of the target velocities, in m/s, slowest <= fastest, in [-10, 10].
        arguments: of `HiddenLatent` and of HalfCheetah-v5.
    """

    latent = "target_velocity"

    def __init__(self, slowest: float = 0.0, fastest: float = 3.0, **arguments: Any) -> None:
        self.slowest = check_number("slowest", slowest, -10, 10)
        self.fastest = check_number("fastest", fastest, self.slowest, 10)
        self.target_velocity = self.slowest
        super().__init__(**arguments)
        self._ezpickle_kwargs |= {"slowest": slowest, "fastest": fastest}

    def _draw(self) -> float:
        return self.np_random.uniform(self.slowest, self.fastest)

    def _checked(self, latent: float) -> float:
        return check_number("target_velocity", latent, -10, 10)

    def _get_rew(self, x_velocity: float, action: np.ndarray) -> tuple[float, dict[str, Any]]:
        return super()._get_rew(-abs(x_velocity - self.target_velocity), action)
