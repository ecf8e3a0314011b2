"""Robots that cues tell where to run, by a mapping that is new in every episode."""

from typing import Any, NamedTuple

import gymnasium as gym
import numpy as np
from gymnasium.utils import EzPickle

from spikepropamine.envs import pictures
from spikepropamine.envs.robot_task import RobotTask
from spikepropamine.envs.task import (
    ResetResult,
    StepResult,
    check_choice,
    check_integer,
    check_number,
)

MOST_BITS = 62  # of a pattern, whose code is an int64


class Trial(NamedTuple):
    """What the present trial is about."""

    cue: int
    direction: int
    """1 forward, -1 backward."""
    tells: bool
    """Whether it tells the direction while the cue is shown."""


class CueRobot(RobotTask):
    """A robot that runs where a cue says; it has to find out what a cue means, or is
    told.

    Every episode draws new binary patterns and a new mapping from cue to direction. A
    trial shows a cue for `cue_length` steps, in which the robot should run; then, for
    `feedback_length` steps, it shows how that went. A robot without memory runs the
    right way in half of the trials.

    With a `lesson`, an episode begins with a trial for each cue that tells its
    direction, and asks from then on: one showing has to be enough. So it does again
    when the directions are reversed.

    Time: an episode has `trials * (cue_length + feedback_length)` steps and ends with
    terminated=True; or earlier, where the robot falls and its plain task would end.

    Observation: Box, float64, in this order:
        n     the robot's observation, 17 channels for HalfCheetah
        bits  the cue, 0 or 1, while it is shown; else 0
        1     the outcome, always the last channel: mean speed along the right
              direction while the cue was shown (and the robot had settled), in m/s,
              clipped to [-1, 1], during feedback; in a trial that tells the
              direction, 1 (forward) or -1 while the cue is shown; else 0
    Speed and reward alone do not tell the right direction, since the reward is not
    observed.

    Action: that of the robot.

    Reward, at every step: that of the robot, with its speed along the right direction
    of the trial, up to the speed limit, for its velocity.

    Info of the step that ends a cue, and of no other: `target` (1 forward, 0 backward),
    `correct` (bool: the robot moved in the right direction while the cue was shown; not
    in a lesson, where nothing is asked), `trial` (int, from 0), `cue` (int), `told`
    (bool: the trial told the direction). Info of every step: `feedback` (the last
    channel), `context` (a list with the direction of the trial, 1 or -1, for a policy
    that is told) and `context_began` (the step since when the mapping holds).

    Randomness: drawn by `reset` after the robot's posture, the same amount whatever
    noise, reversal and told are. So the posture of the first episode is the one that
    the robot's plain task has with the same seed.

    Args:
        cues: number of cues, at least 2 and at most 2**bits; half of them mean forward.
        bits: bits of a pattern, at least 1.
        trials: at least 1.
        cue_length: steps that a cue is shown, at least 1.
        feedback_length: steps of feedback, at least 1; with a lesson at least 0.
        settle_length: steps at the beginning of a cue in which the robot may still run
            the wrong way, from 0 to cue_length - 1: they do not count for outcome and
            `correct`.
        noise: probability in [0, 1] that a bit of the cue is flipped, anew at each step
            and bit.
        told: probability in [0, 1] that a trial tells the direction while its cue is
            shown. For training: a robot that knows no direction is paid for none, so it
            does not learn to run.
        lesson: whether the first trials, and those from a reversal on, show each cue
            once, in random order, and tell its direction.
        reversal: trial, in [1, trials - 1], from which on all directions are reversed;
            with a lesson so that each is followed by at least one other trial.
            "random": any of these, drawn by `reset`. None: never.
        speed_limit: in m/s; what is faster is paid no more, so that a robot learns to
            turn soon and not to fall over. None: all speed is paid.
        robot: arguments of the robot's class.

    Raises:
        ValueError: an argument is out of range.

    Attributes, drawn by `reset`:
        patterns: int8 [cues, bits].
        mapping: 1 or 0 for each cue before a reversal, int64 [cues].
        order: the cue of each trial, int64 [trials].
        targets: 1 or 0 for each trial, int64 [trials].
        answers: of the trials so far, whether the robot ran as it should; None in a
            lesson.
        context_began: the step since when the mapping holds.
    """

    summary = "runs where a cue says; it has to find out what a cue means, or is told."

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
        **robot: Any,
    ) -> None:
        self.bits = check_integer("bits", bits, 1, MOST_BITS)
        self.cues = check_integer("cues", cues, 2, 2**self.bits)
        self.actions = 2  # forward, backward
        self.trials = check_integer("trials", trials, 1)
        self.cue_length = check_integer("cue_length", cue_length, 1)
        self.lesson = check_choice("lesson", lesson, (False, True))
        shortest_feedback = 0 if lesson else 1
        self.feedback_length = check_integer(
            "feedback_length", feedback_length, shortest_feedback
        )
        self.settle_length = check_integer(
            "settle_length", settle_length, 0, self.cue_length - 1
        )
        self.noise = check_number("noise", noise, 0, 1)
        self.told = check_number("told", told, 0, 1)
        self._reversals = self._possible_reversals()
        self.reversal = self._checked_reversal(reversal)
        limit = np.inf if speed_limit is None else speed_limit
        self.speed_limit = check_number("speed_limit", limit, 0, np.inf)
        self.trial_steps = self.cue_length + self.feedback_length
        self.episode_steps = self.trials * self.trial_steps
        self._step = self.episode_steps  # no episode has begun
        self.targets = np.ones(self.trials, dtype=np.int64)
        super().__init__(**robot)
        # copies are made from the arguments; the robot has noted its part of them alone
        EzPickle.__init__(
            self,
            cues=cues,
            bits=bits,
            trials=trials,
            cue_length=cue_length,
            feedback_length=feedback_length,
            settle_length=settle_length,
            noise=noise,
            told=told,
            lesson=lesson,
            reversal=reversal,
            speed_limit=speed_limit,
            **robot,
        )
        self._widen_observations(self.bits + 1)

    def _possible_reversals(self) -> range:
        """The trials that a reversal may begin with. Raises ValueError: too few
        trials.
        """
        if not self.lesson:
            return range(1, self.trials)
        lessons = self.cues
        if self.trials <= lessons:
            raise ValueError(
                f"trials must be more than the {lessons} of the lesson, got "
                f"{self.trials}"
            )
        return range(lessons + 1, self.trials - lessons)

    def _checked_reversal(self, reversal: int | str | None) -> int | str | None:
        """The argument of the constructor. Raises ValueError: it is out of range."""
        if reversal is None:
            return None
        if not self._reversals:
            raise ValueError(
                f"reversal must be None if trials is {self.trials}, got {reversal!r}"
            )
        if reversal == "random":
            return reversal
        first = self._reversals[0]
        last = self._reversals[-1]
        trial: Any = reversal
        return check_integer("reversal", trial, first, last)

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> ResetResult:
        """Starts an episode with new cues and a new mapping.

        Args:
            seed: of everything that is drawn, now and in later episodes.
            options: none are used.
        """
        observation, info = super().reset(seed=seed)
        self._draw()
        self.context_began = 0
        self._step = 0
        self._distance = 0.0
        self._outcome = 0.0
        self.answers: list[bool | None] = []
        self.speed = 0.0
        return self._observed(observation, info)

    def _draw(self) -> None:
        """Draws the cues, what they mean and when, always with as many random
        numbers.
        """
        random = self.np_random
        # codes and not bits, so that no two patterns are the same
        codes = random.choice(2**self.bits, self.cues, replace=False)
        self.patterns = (codes[:, None] >> np.arange(self.bits) & 1).astype(np.int8)
        self.order = random.integers(self.cues, size=self.trials)
        # the inner permutation decides which direction an odd cue gets
        directions = np.resize(random.permutation(2), self.cues)
        self.mapping = random.permutation(directions)
        self._flips = random.random((self.episode_steps, self.bits)) < self.noise
        tells = random.random(self.trials) < self.told
        reversal = self._draw_reversal()

        self._lessons = np.zeros(self.trials, dtype=bool)
        for first in (0, reversal):
            cues = random.permutation(self.cues)
            if self.lesson and first < self.trials:
                self.order[first : first + self.cues] = cues
                self._lessons[first : first + self.cues] = True
        self._tells = tells | self._lessons
        self.targets = self.mapping[self.order]
        self.targets[reversal:] = 1 - self.targets[reversal:]
        self._reversed_at = reversal * self.trial_steps

    def _draw_reversal(self) -> int:
        """The trial from which on directions are reversed; `trials` where none is."""
        drawn = self.trials
        if self._reversals:
            drawn = self._reversals[self.np_random.integers(len(self._reversals))]
        if self.reversal is None:
            return self.trials
        if self.reversal == "random":
            return drawn
        return int(self.reversal)

    @property
    def context(self) -> list[int]:
        """The direction of the present trial, 1 or -1, for a policy that is told."""
        return [self._direction(self._trial)]

    @property
    def present_trial(self) -> Trial:
        """The present trial; after the end of an episode, its last one."""
        trial = self._trial
        return Trial(
            cue=int(self.order[trial]),
            direction=self._direction(trial),
            tells=bool(self._tells[trial]),
        )

    def overlay(self, picture: np.ndarray) -> np.ndarray:
        """A picture of the robot with the trial drawn over it.

        Args:
            picture: uint8 [height, width, 3].

        Returns:
            A picture of the same shape.
        """
        return pictures.run_by_cue(self, picture)

    @property
    def _trial(self) -> int:
        return min(self._step // self.trial_steps, self.trials - 1)

    def _direction(self, trial: int) -> int:
        return 2 * int(self.targets[trial]) - 1

    def paid_speed(self, x_velocity: float) -> float:
        """The speed along the right direction of the trial, up to the limit, in m/s."""
        speed = self._direction(self._step // self.trial_steps) * x_velocity
        return min(speed, self.speed_limit)

    def step(self, action: np.ndarray) -> StepResult:
        """Takes one step; see the class.

        Raises:
            gymnasium.error.ResetNeeded: before the first `reset`, and after the end of
            an
                episode.
        """
        if self._step >= self.episode_steps:
            raise gym.error.ResetNeeded(
                "no episode is under way: call reset() before step()"
            )
        trial, phase = divmod(self._step, self.trial_steps)
        observation, reward, fallen, truncated, info = super().step(action)
        self.speed = float(info["x_velocity"])
        if phase == 0:
            self._distance = 0.0
            self._outcome = 0.0
        if self.settle_length <= phase < self.cue_length:
            self._distance += self._direction(trial) * info["x_velocity"]
        if phase == self.cue_length - 1:
            info |= self._answered(trial)
        self._step += 1
        is_last = self._step == self.episode_steps
        if self._step == self._reversed_at and not is_last:
            self.context_began = self._step
        observation, info = self._observed(observation, info)
        terminated = is_last or fallen
        return observation, np.float64(reward), terminated, truncated, info

    def _answered(self, trial: int) -> dict[str, Any]:
        """Notes how the robot ran while a cue was shown; what the info says of it."""
        counted = self.cue_length - self.settle_length
        self._outcome = float(np.clip(self._distance / counted, -1, 1))
        right: bool | None = None
        answer: dict[str, Any] = {}
        if not self._lessons[trial]:
            right = bool(self._distance > 0)
            answer["correct"] = right
        self.answers.append(right)
        return answer | {
            "target": int(self.targets[trial]),
            "trial": trial,
            "cue": int(self.order[trial]),
            "told": bool(self._tells[trial]),
        }

    def observe_again(
        self, observation: np.ndarray, info: dict[str, Any]
    ) -> np.ndarray:
        """The observation after something else than `step` changed the targets.

        Args:
            observation: float64 [channels], which stays as it is.
            info: of the same step; its `feedback` changes with the observation.
        """
        changed = observation.copy()
        last_channel = self._last_channel()
        changed[-1] = last_channel
        info["feedback"] = last_channel
        return changed

    def _last_channel(self) -> float:
        trial, phase = divmod(self._step, self.trial_steps)
        if trial == self.trials:
            return 0.0
        if phase >= self.cue_length:
            return self._outcome
        return float(self._direction(trial)) if self._tells[trial] else 0.0

    def _observed(self, observation: np.ndarray, info: dict[str, Any]) -> ResetResult:
        """The robot's observation and info, with what this task adds."""
        trial, phase = divmod(self._step, self.trial_steps)
        cue = np.zeros(self.bits)
        if trial < self.trials and phase < self.cue_length:
            cue = self.patterns[self.order[trial]] ^ self._flips[self._step]
        last_channel = self._last_channel()
        added = {
            "feedback": last_channel,
            "context": self.context,
            "context_began": self.context_began,
        }
        return np.concatenate([observation, cue, [last_channel]]), info | added
