"""Robots that are not told where, or how fast, they should run: a latent that holds an episode.

These tasks show feedback in the last channel of the observation, and nothing else of the latent.
Where feedback comes at every step (`dense`), a policy without memory can read the latent off
velocity and feedback together. Where it comes now and then (`sparse`), or only at first
(`opening`), the latent has to be found out and kept in mind.
"""

from typing import Any

import gymnasium as gym
import numpy as np
from gymnasium.envs.mujoco.ant_v5 import AntEnv
from gymnasium.envs.mujoco.half_cheetah_v5 import HalfCheetahEnv

from envs.validation import check_integer, check_number

FEEDBACK = ("dense", "sparse", "opening")


class Feedback:
    """Decides at which steps feedback is shown.

    Args:
        kind: "dense": at every step; "sparse": at every `every`-th step, the mean since the last
            time; "opening": at the first `opening` steps of an episode. Elsewhere it is 0.
        every: at least 1.
        opening: at least 1.

    Raises:
        ValueError: another kind, or a number out of range.
    """

    def __init__(self, kind: str, every: int, opening: int) -> None:
        if kind not in FEEDBACK:
            raise ValueError(f"feedback must be one of {', '.join(FEEDBACK)}, got {kind!r}")
        self.kind = kind
        self.every = check_integer("feedback_every", every, 1)
        self.opening = check_integer("feedback_opening", opening, 1)
        self.begin()

    def begin(self) -> None:
        """Start an episode."""
        self._step, self._sum = 0, 0.0

    def __call__(self, value: float) -> float:
        """What is shown of this step's value."""
        self._step += 1
        if self.kind == "opening":
            return value if self._step <= self.opening else 0.0
        if self.kind == "dense":
            return value
        self._sum += value
        if self._step % self.every:
            return 0.0
        mean, self._sum = self._sum / self.every, 0.0
        return mean


def with_feedback(observation: np.ndarray, feedback: float) -> np.ndarray:
    """The observation, float64 [channels], with feedback as one more channel at its end."""
    return np.append(observation, feedback)


def one_more_channel(space: gym.spaces.Space) -> gym.spaces.Box:
    """The space of what `with_feedback` returns."""
    assert isinstance(space, gym.spaces.Box)
    return gym.spaces.Box(-np.inf, np.inf, (space.shape[0] + 1,), np.float64)


def forced(options: dict[str, Any] | None, name: str, drawn: float) -> float:
    """What `options` of a reset force the latent to be, or else what was drawn.

    Raises:
        ValueError: options has another key.
    """
    options = options or {}
    if unknown := options.keys() - {name}:
        raise ValueError(f"options may have {name!r} only, got {', '.join(sorted(unknown))}")
    return float(options.get(name, drawn))


class HalfCheetahDirection(HalfCheetahEnv):
    """HalfCheetah-v5 that is paid for running forward or backward; which one is not shown.

    Observation: Box, float64, shape (18,): that of HalfCheetah-v5, then the feedback: speed along
    the target direction in m/s, at the steps that `feedback` says, else 0.

    Action: that of HalfCheetah-v5. Reward, at every step: speed along the target direction in m/s
    (times the forward reward weight) minus the cost of control.

    Info has "direction" (1.0 forward, -1.0 backward) and "feedback" (the last channel).

    Randomness: the direction is drawn by `reset` after the robot's posture, which so is the one
    that HalfCheetah-v5 has with the same seed. `reset(options={"direction": -1})` forces it.

    Args:
        feedback, feedback_every, feedback_opening: see `Feedback`.
        arguments: of HalfCheetah-v5.

    Raises:
        ValueError: an argument is out of range.
    """

    def __init__(
        self,
        feedback: str = "dense",
        feedback_every: int = 50,
        feedback_opening: int = 200,
        **arguments: Any,
    ) -> None:
        self.feedback = Feedback(feedback, feedback_every, feedback_opening)
        self.direction = 1.0
        super().__init__(**arguments)
        self.observation_space = one_more_channel(self.observation_space)

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[np.ndarray, dict[str, Any]]:
        """Start an episode with a new direction."""
        observation, info = super().reset(seed=seed)
        drawn = 1.0 if self.np_random.random() < 0.5 else -1.0
        self.direction = forced(options, "direction", drawn)
        if self.direction not in (-1, 1):
            raise ValueError(f"direction must be 1 or -1, got {self.direction:g}")
        self.feedback.begin()
        info |= {"direction": self.direction, "feedback": 0.0}
        return with_feedback(observation, 0.0), info

    def step(self, action: np.ndarray) -> tuple[np.ndarray, np.float64, bool, bool, dict[str, Any]]:
        """Take one step; see the class."""
        observation, reward, terminated, truncated, info = super().step(action)
        shown = self.feedback(info["reward_forward"])
        info |= {"direction": self.direction, "feedback": shown}
        return with_feedback(observation, shown), np.float64(reward), terminated, truncated, info

    def _get_rew(self, x_velocity: float, action: np.ndarray) -> tuple[float, dict[str, Any]]:
        return super()._get_rew(self.direction * x_velocity, action)


class HalfCheetahVelocity(HalfCheetahEnv):
    """HalfCheetah-v5 that is paid for running at a target velocity, which is not shown.

    Observation: Box, float64, shape (18,): that of HalfCheetah-v5, then the feedback: minus the
    distance between velocity and target in m/s, at the steps that `feedback` says, else 0.

    Action: that of HalfCheetah-v5. Reward, at every step: minus that distance (times the forward
    reward weight) minus the cost of control.

    Info has "target_velocity" (m/s) and "feedback" (the last channel).

    Randomness: as in `HalfCheetahDirection`; the target is uniform between the two velocities.
    `reset(options={"target_velocity": 1.5})` forces it.

    Args:
        feedback, feedback_every, feedback_opening: see `Feedback`.
        slowest, fastest: of the target velocities, in m/s, slowest <= fastest, in [-10, 10].
        arguments: of HalfCheetah-v5.

    Raises:
        ValueError: an argument is out of range.
    """

    def __init__(
        self,
        feedback: str = "dense",
        feedback_every: int = 50,
        feedback_opening: int = 200,
        slowest: float = 0.0,
        fastest: float = 3.0,
        **arguments: Any,
    ) -> None:
        self.feedback = Feedback(feedback, feedback_every, feedback_opening)
        self.slowest = check_number("slowest", slowest, -10, 10)
        self.fastest = check_number("fastest", fastest, self.slowest, 10)
        self.target_velocity = self.slowest
        super().__init__(**arguments)
        self.observation_space = one_more_channel(self.observation_space)

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[np.ndarray, dict[str, Any]]:
        """Start an episode with a new target velocity."""
        observation, info = super().reset(seed=seed)
        drawn = self.np_random.uniform(self.slowest, self.fastest)
        velocity = forced(options, "target_velocity", drawn)
        self.target_velocity = check_number("target_velocity", velocity, -10, 10)
        self.feedback.begin()
        info |= {"target_velocity": self.target_velocity, "feedback": 0.0}
        return with_feedback(observation, 0.0), info

    def step(self, action: np.ndarray) -> tuple[np.ndarray, np.float64, bool, bool, dict[str, Any]]:
        """Take one step; see the class."""
        observation, reward, terminated, truncated, info = super().step(action)
        shown = self.feedback(info["reward_forward"])
        info |= {"target_velocity": self.target_velocity, "feedback": shown}
        return with_feedback(observation, shown), np.float64(reward), terminated, truncated, info

    def _get_rew(self, x_velocity: float, action: np.ndarray) -> tuple[float, dict[str, Any]]:
        return super()._get_rew(-abs(x_velocity - self.target_velocity), action)


class AntDirection(AntEnv):
    """Ant-v5 that is paid for running in a direction of the plane that is not shown.

    Observation: Box, float64, shape (28,): that of Ant-v5 without contact forces, then the
    feedback: speed along the target direction in m/s, at the steps that `feedback` says, else 0.

    Action: that of Ant-v5. Reward, at every step: that of Ant-v5, with the speed along the target
    direction in the place of that along x.

    Info has "direction" (angle in radians, from the x axis) and "feedback" (the last channel).

    Randomness: as in `HalfCheetahDirection`. `reset(options={"direction": 3.14})` forces it.

    Args:
        feedback, feedback_every, feedback_opening: see `Feedback`.
        directions: number of directions, equally spaced, the first along x: at least 1; 0 for all
            angles.
        arguments: of Ant-v5; contact forces are not observed unless these say so.

    Raises:
        ValueError: an argument is out of range.
    """

    def __init__(
        self,
        feedback: str = "dense",
        feedback_every: int = 50,
        feedback_opening: int = 200,
        directions: int = 4,
        **arguments: Any,
    ) -> None:
        self.feedback = Feedback(feedback, feedback_every, feedback_opening)
        self.directions = check_integer("directions", directions, 0)
        self.direction = 0.0
        super().__init__(**({"include_cfrc_ext_in_observation": False} | arguments))
        self.observation_space = one_more_channel(self.observation_space)

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[np.ndarray, dict[str, Any]]:
        """Start an episode with a new direction."""
        observation, info = super().reset(seed=seed)
        turn = self.np_random.random()
        if self.directions:
            turn = int(turn * self.directions) / self.directions
        angle = forced(options, "direction", 2 * np.pi * turn)
        self.direction = check_number("direction", angle, -2 * np.pi, 2 * np.pi)
        self.feedback.begin()
        info |= {"direction": self.direction, "feedback": 0.0}
        return with_feedback(observation, 0.0), info

    def step(self, action: np.ndarray) -> tuple[np.ndarray, np.float64, bool, bool, dict[str, Any]]:
        """Take one step; see the class."""
        # the reward is asked for with the speed along x only: the other one is found here
        self._before = self.data.body(self._main_body).xpos[:2].copy()
        observation, reward, terminated, truncated, info = super().step(action)
        shown = self.feedback(info["reward_forward"])
        info |= {"direction": self.direction, "feedback": shown}
        return with_feedback(observation, shown), np.float64(reward), terminated, truncated, info

    def _get_rew(self, x_velocity: float, action: np.ndarray) -> tuple[float, dict[str, Any]]:
        velocity = (self.data.body(self._main_body).xpos[:2] - self._before) / self.dt
        towards = np.array([np.cos(self.direction), np.sin(self.direction)])
        return super()._get_rew(float(velocity @ towards), action)
