"""What a task may say of itself besides what Gymnasium asks for, what our cue tasks
share, and checks of constructor arguments, with messages that name the argument and its
valid range.
"""

import sys
from abc import ABC, abstractmethod
from collections.abc import Sequence
from numbers import Integral, Real
from typing import Any, Protocol, TypeVar

import gymnasium as gym
import numpy as np

Choice = TypeVar("Choice")
ResetResult = tuple[Any, dict[str, Any]]
"""What `reset` returns: observation, info."""
StepResult = tuple[Any, Any, bool, bool, dict[str, Any]]
"""What `step` returns: observation, reward, terminated, truncated, info."""


class TaskAttributes(Protocol):
    """Attributes of an unwrapped environment that training, evaluation and
    perturbations look for. All are optional: a task that lacks one is as if it had the
    value below.
    """

    episode_steps: int | None = None
    """Steps of an episode that ends by itself."""
    trials: int | None = None
    """Trials of an episode; the info of a response has `trial` (from 0) and `correct`.
    """
    trial_steps: int | None = None
    """Steps of a trial."""
    actions: int | None = None
    """Answers to choose among; None: those of a Discrete space."""
    return_range: tuple[float, float] | None = None
    """The least and the largest return of an episode; None where one has no limit."""
    told: float | None = None
    """Share of episodes or trials in which training tells what is hidden; evaluation
    tells none.
    """
    context: Sequence[int] = ()
    """Numbers of the present context, which a policy that is told observes."""
    context_began: int = 0
    """The step of the episode at which the present context began."""

    def observe_again(
        self, observation: np.ndarray, info: dict[str, Any]
    ) -> np.ndarray:
        """The observation after a perturbation changed what the task asks for.

        Args:
            observation: before the change.
            info: changes, too.
        """

    def overlay(self, picture: np.ndarray) -> np.ndarray:
        """A picture of the robot, uint8 [height, width, 3], with what is asked for
        drawn over it.
        """


def task_attribute(env: gym.Env, name: str) -> Any:
    """An attribute that `TaskAttributes` names; its default where the task has none.

    Args:
        env: wrapped or not.
        name: of the attribute.
    """
    return getattr(env.unwrapped, name, getattr(TaskAttributes, name))


class DrawnTask(gym.Env[np.ndarray, Any], ABC):
    """A task whose observations `reset` draws: actions are answers, read at some of the
    steps.

    It ends with terminated=True after `episode_steps`, and observes all zeros then.
    """

    # as Gymnasium has it
    metadata = {"render_modes": ["rgb_array"], "render_fps": 2}  # noqa: RUF012
    render_mode: str | None = None
    action_space: Any  # Discrete; of `MotorMap` Box
    episode_steps: int
    parts: dict[str, int]
    """Channels of each part of the observation, by name, for `render`."""
    steps: int = sys.maxsize
    """Steps taken in this episode; before the first one, more than any has."""
    answers: list[tuple[int, bool]]
    """The steps that were answered, and whether that was rewarded."""
    _observations: np.ndarray  # float32 [episode_steps + 1, channels]

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> ResetResult:
        """Starts an episode.

        Args:
            seed: of everything that is drawn, now and in later episodes.
            options: must be empty.

        Returns:
            The first observation, float32 [channels], and an empty info.

        Raises:
            ValueError: there are options.
        """
        if options:
            raise ValueError(
                f"reset options {sorted(options)} are unknown; there are none"
            )
        super().reset(seed=seed)
        self._draw()
        self.steps = 0
        self.answers = []
        return self._observations[0].copy(), {}

    def step(self, action: Any) -> StepResult:
        """Takes one action.

        Returns:
            The observation, float32 [channels], reward, end and info; no episode is
            truncated.

        Raises:
            ValueError: the action is not in the action space.
            gymnasium.error.ResetNeeded: before the first `reset`, and after the end of
            an
                episode.
        """
        if self.steps >= self.episode_steps:
            raise gym.error.ResetNeeded(
                "no episode is under way: call reset() before step()"
            )
        reward, info = self._answered(self._checked(action))
        if "target" in info:
            self.answers.append((self.steps, self._is_right(reward)))
        self.steps += 1
        # a copy, so that keeping one observation does not keep the whole episode in
        # memory
        observation = self._observations[self.steps].copy()
        terminated = self.steps == self.episode_steps
        return observation, reward, terminated, False, info

    @property
    def observed(self) -> np.ndarray:
        """All observations so far, float32 [steps + 1, channels]."""
        return self._observations[: self.steps + 1]

    def render(self) -> np.ndarray | None:
        """The task as it is now, uint8 [420, 560, 3]; None without a render mode."""
        from spikepropamine.envs.pictures import drawn_task

        return None if self.render_mode is None else drawn_task(self)

    @abstractmethod
    def _draw(self) -> None:
        """Draw an episode: all of `_observations`, by `np_random`."""

    def _checked(self, action: Any) -> Any:
        """The action, where it is in the action space."""
        answer = int(action)
        answers = int(self.action_space.n)
        if not 0 <= answer < answers:
            raise ValueError(
                f"action must be an integer in [0, {answers - 1}], got {answer}"
            )
        return answer

    def _is_right(self, reward: float) -> bool:
        """Whether an answer with this reward is drawn as a right one."""
        return reward > 0

    @abstractmethod
    def _answered(self, action: Any) -> tuple[float, dict[str, Any]]:
        """The reward and the info of an action at the present step."""


def check_integer(name: str, value: int, low: int, high: int | None = None) -> int:
    """The value as an int.

    Args:
        name: of the argument.
        value: to be checked; a bool is no integer.
        low: the least that is valid.
        high: the largest that is valid; None: there is none.

    Raises:
        ValueError: the value is no integer, or out of range.
    """
    valid = f">= {low}" if high is None else f"in [{low}, {high}]"
    is_integer = isinstance(value, Integral) and not isinstance(value, bool)
    if not is_integer or value < low or (high is not None and value > high):
        raise ValueError(f"{name} must be an integer {valid}, got {value!r}")
    return int(value)


def check_number(name: str, value: float, low: float, high: float) -> float:
    """The value as a float.

    Args:
        name: of the argument.
        value: to be checked; neither a bool nor NaN is valid.
        low: the least that is valid.
        high: the largest that is valid.

    Raises:
        ValueError: the value is no number, or out of range.
    """
    is_number = isinstance(value, Real) and not isinstance(value, bool)
    if not is_number or not low <= value <= high:  # a NaN fails the comparison, too
        raise ValueError(
            f"{name} must be a number in [{low:g}, {high:g}], got {value!r}"
        )
    return float(value)


def check_choice(name: str, value: Choice, choices: Sequence[Choice]) -> Choice:
    """The value itself.

    Args:
        name: of the argument.
        value: to be checked.
        choices: all that is valid.

    Raises:
        ValueError: the value is none of the choices.
    """
    if value not in choices:
        valid = ", ".join(map(repr, choices))
        raise ValueError(f"{name} must be one of {valid}, got {value!r}")
    return value
