"""Robots that are not told where, or how fast, they should run.

HalfCheetahDirection and HalfCheetahVelocity hide a latent that holds for an episode: they show
feedback in the last channel of the observation, and nothing else of it. Where feedback comes at
every step (`dense`), a policy without memory can read the latent off velocity and feedback
together. Where it comes now and then (`sparse`), or only at first (`opening`), the latent has to be
found out and kept in mind. In HalfCheetahCue cues tell where to run, by a mapping that is new in
every episode. HalfCheetahNoVelocity is the robot itself, which does not see its velocities.
"""

from abc import ABC, abstractmethod
from typing import Any

import gymnasium as gym
import numpy as np
from gymnasium.envs.mujoco.half_cheetah_v5 import HalfCheetahEnv

from spikepropamine.envs import pictures
from spikepropamine.envs.no_velocity import NoVelocity
from spikepropamine.envs.task import (
    Start,
    Step,
    check_choice,
    check_integer,
    check_number,
)


class _Robot(HalfCheetahEnv):
    """HalfCheetah-v5 with arguments and channels of a task's own."""

    def _make(
        self, own: dict[str, Any], arguments: dict[str, Any], channels: int
    ) -> None:
        """Constructs the robot, to the observation of which these channels are added."""
        HalfCheetahEnv.__init__(self, **arguments)
        # a copy is made anew of these; the robot's own class knows of its own arguments only
        gym.utils.EzPickle.__init__(self, **own, **arguments)
        channels += gym.spaces.flatdim(self.observation_space)
        self.observation_space = gym.spaces.Box(
            -np.inf, np.inf, (channels,), np.float64
        )


class HiddenLatent(_Robot, ABC):
    """What the tasks below share.

    The latent is drawn by `reset` after the robot's posture, which so is the one that the robot's
    own task has with the same seed. What is shown of it is made of the info's "reward_forward".

    Args:
        feedback: when it is shown. "dense": at every step; "sparse": at every `feedback_every`-th
            step, the mean since the last time; "opening": at the first `feedback_opening` steps of
            an episode. Elsewhere it is 0.
        feedback_every, feedback_opening: steps, at least 1.
        told: probability in [0, 1] that the feedback of an episode comes at an interval of its own
            instead, from 1 to `feedback_every` steps, which is short more often than long. For
            training: a robot that seldom hears what it should do is paid for nothing, and learns no
            running.
        arguments: of the robot's own class.

    Raises ValueError where an argument is out of range.

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
        given = {
            k: v
            for k, v in locals().items()
            if k not in ("self", "arguments", "__class__")
        }
        self.feedback = check_choice(
            "feedback", feedback, ("dense", "sparse", "opening")
        )
        self.feedback_every = check_integer("feedback_every", feedback_every, 1)
        self.feedback_opening = check_integer("feedback_opening", feedback_opening, 1)
        self._step, self._sum, self._interval = 0, 0.0, 0
        self.told = check_number("told", told, 0, 1)
        self._make(given, arguments, channels=1)

    @abstractmethod
    def _new(self, given: Any) -> float:
        """A latent by `np_random`, which always draws one; or the one that is given, if it is not
        None. Raises ValueError where that cannot be.
        """

    @property
    def hidden(self) -> list[float]:
        """The latent as a policy that is told observes it."""
        return [getattr(self, self.latent)]

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> Start:
        """Start an episode with a new latent, or with that of `options`. Raises ValueError where
        these have another key, or a latent that cannot be.
        """
        observation, info = super().reset(seed=seed)
        forced = dict(options or {})
        setattr(self, self.latent, self._new(forced.pop(self.latent, None)))
        if forced:
            names = ", ".join(sorted(forced))
            raise ValueError(f"options may have {self.latent!r} only, got {names}")
        drawn = self.np_random.random()
        self._step, self._sum = 0, 0.0
        # 0: none, but for the opening
        self._interval = {"dense": 1, "sparse": self.feedback_every, "opening": 0}[
            self.feedback
        ]
        if drawn < self.told:  # given that, drawn / told is even between 0 and 1
            self._interval = 1 + round(
                (self.feedback_every - 1) * (drawn / self.told) ** 2
            )
        return self._seen(observation, info, 0.0)

    def step(self, action: np.ndarray) -> Step:
        """Take one step; see the class."""
        observation, reward, terminated, truncated, info = super().step(action)
        observation, info = self._seen(
            observation, info, self._shown(info["reward_forward"])
        )
        return observation, np.float64(reward), terminated, truncated, info

    def _shown(self, value: float) -> float:
        """What is shown of this step's value."""
        self._step += 1
        if not self._interval:
            return value if self._step <= self.feedback_opening else 0.0
        self._sum += value
        if self._step % self._interval:
            return 0.0
        mean, self._sum = self._sum / self._interval, 0.0
        return mean

    def _seen(
        self, observation: np.ndarray, info: dict[str, Any], feedback: float
    ) -> Start:
        """The observation and the info of a step, with this feedback."""
        said = {self.latent: getattr(self, self.latent), "hidden": self.hidden}
        return np.append(observation, feedback), info | said | {"feedback": feedback}


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
    direction = 1.0

    def _new(self, given: Any) -> float:
        drawn = 1.0 if self.np_random.random() < 0.5 else -1.0
        return (
            drawn if given is None else float(check_choice("direction", given, (1, -1)))
        )

    def _get_rew(
        self, x_velocity: float, action: np.ndarray
    ) -> tuple[float, dict[str, Any]]:
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

    def __init__(
        self, slowest: float = 0.0, fastest: float = 3.0, **arguments: Any
    ) -> None:
        self.slowest = check_number("slowest", slowest, -10, 10)
        self.fastest = check_number("fastest", fastest, self.slowest, 10)
        self.target_velocity = self.slowest
        super().__init__(**arguments)
        self._ezpickle_kwargs |= {"slowest": slowest, "fastest": fastest}

    def _new(self, given: Any) -> float:
        drawn = self.np_random.uniform(self.slowest, self.fastest)
        return (
            drawn if given is None else check_number("target_velocity", given, -10, 10)
        )

    def _get_rew(
        self, x_velocity: float, action: np.ndarray
    ) -> tuple[float, dict[str, Any]]:
        return super()._get_rew(-abs(x_velocity - self.target_velocity), action)


class HalfCheetahCue(_Robot):
    """HalfCheetah-v5 that runs where a cue says; it has to find out what a cue means, or is told.

    Every episode draws new binary patterns and a new mapping from cue to direction. A trial shows
    a cue for `cue_length` steps, in which the robot should run; then, for `feedback_length` steps,
    it shows how that went. A robot without memory runs the right way in half of the trials.

    With a `lesson`, an episode begins with a trial for each cue that tells its direction, and asks
    from then on: one showing has to be enough. So it does again when the directions are reversed.

    Time: an episode has `trials * (cue_length + feedback_length)` steps and ends with
    terminated=True.

    Observation: Box, float64, shape (17 + bits + 1,), in this order:
        17    the observation of HalfCheetah-v5
        bits  the cue, 0 or 1, while it is shown; else 0
        1     the outcome, always the last channel: mean speed along the right direction while the
              cue was shown (and the robot had settled), in m/s, clipped to [-1, 1], during
              feedback; in a trial that tells the direction, 1 (forward) or -1 while the cue is
              shown; else 0
    Speed and reward alone do not tell the right direction, since the reward is not observed.

    Action: that of HalfCheetah-v5.

    Reward, at every step: speed along the right direction of the trial in m/s, up to the speed
    limit (and times the forward reward weight), minus the cost of control.

    Info of the step that ends a cue, and of no other: `target` (1 forward, 0 backward), `correct`
    (bool: the robot moved in the right direction while the cue was shown; not in a lesson, where
    nothing is asked), `trial` (int, from 0), `cue` (int), `told` (bool: the trial told the
    direction). Info of every step: `feedback` (the last channel), `context` (a list with the
    direction of the trial, 1 or -1, for a policy that is told) and `context_began` (the step since
    when the mapping holds).

    Randomness: drawn by `reset` after the robot's posture, the same amount whatever noise,
    reversal and told are. So the posture of the first episode is the one that HalfCheetah-v5 has
    with the same seed.

    Args:
        cues: number of cues, at least 2 and at most 2**bits; half of them mean forward.
        bits: bits of a pattern, at least 1.
        trials: at least 1.
        cue_length: steps that a cue is shown, at least 1.
        feedback_length: steps of feedback, at least 1; with a lesson at least 0.
        settle_length: steps at the beginning of a cue in which the robot may still run the wrong
            way, from 0 to cue_length - 1: they do not count for outcome and `correct`.
        noise: probability in [0, 1] that a bit of the cue is flipped, anew at each step and bit.
        told: probability in [0, 1] that a trial tells the direction while its cue is shown. For
            training: a robot that knows no direction is paid for none, so it does not learn to run.
        lesson: whether the first trials, and those from a reversal on, show each cue once, in
            random order, and tell its direction.
        reversal: trial, in [1, trials - 1], from which on all directions are reversed; with a
            lesson so that each is followed by at least one other trial. "random": any of these,
            drawn by `reset`. None: never.
        speed_limit: in m/s; what is faster is paid no more, so that a robot learns to turn soon and
            not to fall over. None: all speed is paid.
        arguments: of HalfCheetah-v5.

    Raises ValueError where an argument is out of range.

    Attributes, drawn by `reset`:
        patterns: int8 [cues, bits].
        mapping: 1 or 0 for each cue before a reversal, int64 [cues].
        order: the cue of each trial, int64 [trials].
        targets: 1 or 0 for each trial, int64 [trials].
        answers: of the trials so far, whether the robot ran as asked; None in a lesson.
        context_began: the step since when the mapping holds.
    """

    def __init__(
        self,
        cues: int = 2,
        bits: int = 8,
        trials: int = 10,
        cue_length: int = 90,
        feedback_length: int = 10,
        settle_length: int = 0,
        noise: float = 0.0,
        told: float = 0.0,
        lesson: bool = False,
        reversal: int | str | None = None,
        speed_limit: float | None = None,
        **arguments: Any,
    ) -> None:
        given = {
            k: v
            for k, v in locals().items()
            if k not in ("self", "arguments", "__class__")
        }
        self.bits = check_integer("bits", bits, 1, 62)
        self.cues = check_integer("cues", cues, 2, 2**self.bits)
        self.actions = 2  # forward, backward
        self.trials = check_integer("trials", trials, 1)
        self.cue_length = check_integer("cue_length", cue_length, 1)
        self.lesson = check_choice("lesson", lesson, (False, True))
        self.feedback_length = check_integer(
            "feedback_length", feedback_length, 0 if lesson else 1
        )
        self.settle_length = check_integer(
            "settle_length", settle_length, 0, self.cue_length - 1
        )
        self.noise = check_number("noise", noise, 0, 1)
        self.told = check_number("told", told, 0, 1)
        taught = self.cues if lesson else 0  # trials of a lesson
        if self.trials <= taught:
            raise ValueError(
                f"trials must be more than the {taught} of the lesson, got {trials}"
            )
        self._reversals = range(taught + 1 if lesson else 1, self.trials - taught)
        if reversal is not None and not self._reversals:
            raise ValueError(
                f"reversal must be None if trials is {trials}, got {reversal!r}"
            )
        if reversal not in (None, "random"):
            first, last = self._reversals[0], self._reversals[-1]
            reversal = check_integer("reversal", reversal, first, last)  # type: ignore[arg-type]
        self.reversal = reversal
        limit = np.inf if speed_limit is None else speed_limit
        self.speed_limit = check_number("speed_limit", limit, 0, np.inf)
        self.trial_steps = self.cue_length + self.feedback_length
        self.episode_steps = self.trials * self.trial_steps
        self._step = self.episode_steps
        self.targets = np.ones(self.trials, dtype=np.int64)
        self._make(given, arguments, channels=self.bits + 1)

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> Start:
        """Start an episode with new cues and a new mapping; options are not used."""
        observation, info = super().reset(seed=seed)
        random = self.np_random
        codes = random.choice(
            2**self.bits, self.cues, replace=False
        )  # so all patterns differ
        self.patterns = (codes[:, None] >> np.arange(self.bits) & 1).astype(np.int8)
        self.order = random.integers(self.cues, size=self.trials)
        self.mapping = random.permutation(np.resize(random.permutation(2), self.cues))
        self._flips = random.random((self.episode_steps, self.bits)) < self.noise
        self._tells = random.random(self.trials) < self.told
        drawn = (
            self._reversals[random.integers(len(self._reversals))]
            if self._reversals
            else 0
        )
        reversal = self.trials if self.reversal is None else self.reversal
        reversal = drawn if self.reversal == "random" else int(reversal)
        self._lessons = np.zeros(self.trials, dtype=bool)
        for first in (0, reversal):
            cues = random.permutation(self.cues)
            if self.lesson and first < self.trials:
                self.order[first : first + self.cues] = cues
                self._lessons[first : first + self.cues] = True
        self._tells |= self._lessons
        self.targets = self.mapping[self.order]
        self.targets[reversal:] = 1 - self.targets[reversal:]
        self._reversed_at = reversal * self.trial_steps
        self.context_began = 0
        self._step, self._distance, self._outcome = 0, 0.0, 0.0
        self.answers: list[bool | None] = []
        self.speed = 0.0
        return self._seen(observation, info)

    @property
    def context(self) -> list[int]:
        """The direction of the present trial, 1 or -1, for a policy that is told."""
        return [self._direction(self._trial)]

    def overlay(self, picture: np.ndarray) -> np.ndarray:
        """A picture of the robot, uint8 [height, width, 3], with what is asked and done over it."""
        return pictures.run_as_asked(self, picture)

    @property
    def asked(self) -> tuple[int, int, bool]:
        """Of the present trial: its cue, its direction (1 or -1), and whether it is told now."""
        trial = self._trial
        return int(self.order[trial]), self._direction(trial), bool(self._tells[trial])

    @property
    def _trial(self) -> int:
        """The present one; after the end, the last one."""
        return min(self._step // self.trial_steps, self.trials - 1)

    def _direction(self, trial: int) -> int:
        return 2 * int(self.targets[trial]) - 1

    def step(self, action: np.ndarray) -> Step:
        """Take one step; see the class. Raises gymnasium.error.ResetNeeded before the first `reset`
        and after the end of an episode.
        """
        if self._step >= self.episode_steps:
            raise gym.error.ResetNeeded(
                "no episode is under way: call reset() before step()"
            )
        trial, phase = divmod(self._step, self.trial_steps)
        observation, reward, _, truncated, info = super().step(action)
        self.speed = float(info["x_velocity"])
        if phase == 0:
            self._distance, self._outcome = 0.0, 0.0
        if self.settle_length <= phase < self.cue_length:
            self._distance += self._direction(trial) * info["x_velocity"]
        if phase == self.cue_length - 1:
            counted = self.cue_length - self.settle_length
            self._outcome = float(np.clip(self._distance / counted, -1, 1))
            self.answers.append(
                None if self._lessons[trial] else bool(self._distance > 0)
            )
            if not self._lessons[trial]:
                info["correct"] = self.answers[-1]
            info |= {"target": int(self.targets[trial]), "trial": trial}
            info |= {"cue": int(self.order[trial]), "told": bool(self._tells[trial])}
        self._step += 1
        terminated = self._step == self.episode_steps
        if self._step == self._reversed_at and not terminated:
            self.context_began = self._step
        observation, info = self._seen(observation, info)
        return observation, np.float64(reward), terminated, truncated, info

    def told_again(self, observation: np.ndarray, info: dict[str, Any]) -> np.ndarray:
        """The observation after something else than `step` changed the targets; the info's
        `feedback` changes with it.
        """
        observation = observation.copy()
        info["feedback"] = observation[-1] = self._last_channel()
        return observation

    def _last_channel(self) -> float:
        trial, phase = divmod(self._step, self.trial_steps)
        if trial == self.trials:
            return 0.0
        if phase >= self.cue_length:
            return self._outcome
        return float(self._direction(trial)) if self._tells[trial] else 0.0

    def _seen(self, observation: np.ndarray, info: dict[str, Any]) -> Start:
        """The observation and the info of the present step."""
        trial, phase = divmod(self._step, self.trial_steps)
        cue, last = np.zeros(self.bits), self._last_channel()
        if trial < self.trials and phase < self.cue_length:
            cue = self.patterns[self.order[trial]] ^ self._flips[self._step]
        said = {
            "feedback": last,
            "context": self.context,
            "context_began": self.context_began,
        }
        return np.concatenate([observation, cue, [last]]), info | said

    def _get_rew(
        self, x_velocity: float, action: np.ndarray
    ) -> tuple[float, dict[str, Any]]:
        speed = self._direction(self._step // self.trial_steps) * x_velocity
        return super()._get_rew(min(speed, self.speed_limit), action)


class HalfCheetahNoVelocity(NoVelocity, HalfCheetahEnv):
    """HalfCheetah-v5 without velocities.

    Observation: Box, float64, shape (8,): height of the trunk in m, its angle and those of the
    joints in rad.
    """

    positions = slice(0, 8)
