"""What is shown beside an observation: the previous action and reward, or what is
hidden; and what is hidden undone, in what is seen and done.
"""

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from typing import Any

import gymnasium as gym
import numpy as np
from gymnasium.wrappers import FlattenObservation, TransformAction, TransformObservation

from spikepropamine.envs.checked import numbers_in
from spikepropamine.envs.task import ResetResult, StepResult


class _Wider(gym.Wrapper, gym.utils.RecordConstructorArgs, ABC):
    """Appends numbers to the observation, in its own dtype (floats, where it is of
    integers). An observation of choices is one-hot.
    """

    def __init__(self, env: gym.Env, **arguments: Any) -> None:
        gym.utils.RecordConstructorArgs.__init__(self, **arguments)
        choices = (
            gym.spaces.Discrete | gym.spaces.MultiDiscrete | gym.spaces.MultiBinary
        )
        if isinstance(env.observation_space, choices):  # as one-hot numbers
            env = FlattenObservation(env)
        gym.Wrapper.__init__(self, env)
        space = env.observation_space
        if not isinstance(space, gym.spaces.Box) or len(space.shape) != 1:
            raise ValueError(
                f"observations must be a Box of one dimension, got {space}"
            )

    def _widen(self, low: Any, high: Any) -> None:
        """The space of observations with numbers between these bounds."""
        space: Any = self.env.observation_space
        dtype = np.result_type(space.dtype, np.float32)
        low = np.concatenate([space.low, low]).astype(dtype)
        high = np.concatenate([space.high, high]).astype(dtype)
        self.observation_space = gym.spaces.Box(low, high, dtype=dtype.type)

    @abstractmethod
    def _appended(
        self, info: Mapping[str, Any], action: Any, reward: Any
    ) -> tuple[Any, ...]:
        """Sequences of numbers to append after a step; after `reset` the action is
        None.
        """

    def extended(
        self, observation: np.ndarray, info: Mapping[str, Any], action: Any, reward: Any
    ) -> np.ndarray:
        """The observation with the numbers of a step.

        Args:
            observation: of the environment, [channels].
            info: of the step.
            action: that led here; None after `reset`.
            reward: for that action; 0 after `reset`.

        Returns:
            [channels + numbers], float32, or float64 where the observation has it.
        """
        dtype = observation.dtype
        if dtype != np.float64:
            dtype = np.result_type(dtype, np.float32)
        appended = self._appended(info, action, reward)
        return np.concatenate([observation, *appended], dtype=dtype)

    def extended_rows(
        self,
        observations: np.ndarray,
        infos: Sequence[Mapping[str, Any]],
        actions: np.ndarray,
        rewards: np.ndarray,
    ) -> np.ndarray:
        """`extended`, of a step of several environments.

        Args:
            observations: [environments, channels].
            infos: of each.
            actions: [environments, ...].
            rewards: [environments].

        Returns:
            [environments, channels + numbers].
        """
        rows = zip(observations, infos, actions, rewards.tolist(), strict=True)
        return np.array([self.extended(*row) for row in rows])

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> ResetResult:
        """Starts an episode."""
        observation, info = self.env.reset(seed=seed, options=options)
        return self.extended(observation, info, None, 0.0), info

    def step(self, action: Any) -> StepResult:
        """Takes one step."""
        observation, reward, terminated, truncated, info = self.env.step(action)
        observation = self.extended(observation, info, action, reward)
        return observation, reward, terminated, truncated, info


class PreviousActionAndReward(_Wider):
    """Appends the last action and the last reward to the observation.

    Observation: Box of the same dtype (floats, where it is of integers), shape
    (channels + action channels + 1,): the observation and the action (one-hot where
    they are discrete), and the reward, always the last channel. After `reset` action
    and reward are 0.

    A task that limits what may be known of the reward says so by `info["feedback"]`,
    which then stands in for the reward: else this wrapper would give the task's secret
    away.

    Raises ValueError unless observations are a Box [channels] or discrete, and actions
    a Box or Discrete.
    """

    def __init__(self, env: gym.Env) -> None:
        super().__init__(env)
        actions = env.action_space
        if not isinstance(actions, gym.spaces.Box | gym.spaces.Discrete):
            raise ValueError(f"actions must be a Box or Discrete, got {actions}")
        self._first = (
            None if isinstance(actions, gym.spaces.Box) else int(actions.start)
        )
        if isinstance(actions, gym.spaces.Box):
            low = np.minimum(actions.low.ravel(), 0)
            high = np.maximum(actions.high.ravel(), 0)
        else:
            low = np.zeros(actions.n)
            high = np.ones(actions.n)
        self._channels = low.size
        self._widen([*low, -np.inf], [*high, np.inf])

    def extended_rows(
        self,
        observations: np.ndarray,
        infos: Sequence[Mapping[str, Any]],
        actions: np.ndarray,
        rewards: np.ndarray,
    ) -> np.ndarray:
        """See `_Wider`."""
        if self._first is not None or any("feedback" in info for info in infos):
            return super().extended_rows(observations, infos, actions, rewards)
        parts = [observations, actions.reshape(len(actions), -1), rewards[:, None]]
        return np.concatenate(parts, axis=1, dtype=observations.dtype)

    def _appended(
        self, info: Mapping[str, Any], action: Any, reward: Any
    ) -> tuple[Any, ...]:
        if action is None:
            return (np.zeros(self._channels + 1),)
        if self._first is None:
            return np.asarray(action).ravel(), (info.get("feedback", reward),)
        taken = np.zeros(self._channels)
        taken[int(action) - self._first] = 1.0
        return taken, (info.get("feedback", reward),)


def hidden_numbers(
    info: Mapping[str, Any],
    labels: Sequence[str],
    values: Mapping[str, float],
    one_hot: bool = False,
) -> list[float]:
    """What an info tells that no observation does.

    Args:
        info: of a perturbed environment, or of a task that hides something itself.
        labels: of the contexts that are told, besides the task's own latent and
            context.
        values: of the perturbations that are told, by label: the value that each has
            where it does not act.
        one_hot: tells each place of an order as one number for each place there is.

    Returns:
        The task's latent, its context, the contexts in the order of their labels, and
        the present values.

    Raises:
        EnvironmentFailed: the task's latent or context is no list of numbers.
    """
    numbers = numbers_in(info, "hidden")
    contexts = info.get("contexts")
    if contexts is None:  # nothing perturbs the task
        contexts = {"task": numbers_in(info, "context")}
    for label in ("task", *labels):
        context = contexts[label]
        is_order = label.partition(":")[0].endswith("_order")
        if one_hot and is_order:
            context = np.eye(len(context))[context].ravel().tolist()
        numbers += context
    acting = info.get("perturbations", {})
    for label, value in values.items():
        numbers.append(acting[label]["value"] if label in acting else value)
    return numbers


class Revealed(_Wider):
    """Appends what is hidden to the observation, for policies that are told
    (`hidden_numbers`).

    Observation: Box of the same dtype (floats, where it is of integers), shape
    (channels + numbers,). Raises ValueError unless observations are a Box [channels] or
    discrete, and something is hidden.
    """

    def __init__(
        self, env: gym.Env, labels: Sequence[str], values: Mapping[str, float]
    ) -> None:
        super().__init__(env, labels=labels, values=values)
        self.labels = tuple(labels)
        self.values = dict(values)
        known = [
            name
            for name in ("contexts", "context", "hidden")
            if env.has_wrapper_attr(name)
        ]
        (numbers,) = self._appended(
            {name: env.get_wrapper_attr(name) for name in known}
        )
        if not numbers:
            raise ValueError(
                "nothing is hidden; perturb it, as by motor_signs=seen or mass=0.5..2"
            )
        bound = np.full(len(numbers), np.inf)
        self._widen(-bound, bound)

    def _appended(self, info: Mapping[str, Any], *_: Any) -> tuple[Any, ...]:
        return (hidden_numbers(info, self.labels, self.values),)


def translated(env: gym.Env) -> gym.Env:
    """A perturbed environment without its contexts: they are undone in what is seen,
    and actions have the effect that they have in the plain task.
    """
    into = env.get_wrapper_attr("in_context")
    out_of = env.get_wrapper_attr("out_of_context")
    # functions, since Gymnasium copies its wrappers' arguments, and no perturbed
    # environment
    env = TransformAction(env, lambda action: into(action), None)
    return TransformObservation(env, lambda observation: out_of(observation), None)
