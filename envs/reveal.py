"""Being told what is hidden: shown beside the observation, or undone in what is seen and done."""

from collections.abc import Mapping, Sequence
from typing import Any

import gymnasium as gym
import numpy as np

from spikepropamine.envs.task import Start, Step


def hidden_numbers(
    info: Mapping[str, Any],
    labels: Sequence[str],
    values: Mapping[str, float],
    one_hot: bool = False,
) -> list[float]:
    """What an info, of a perturbed environment or a task with a context of its own, tells that no
    observation does: the task's own latent and context, the contexts with these labels, and the
    present value of each perturbation (where it does not act, that in `values`). With `one_hot`
    each place of an order is told as one number for each place there is.
    """
    contexts = info.get("contexts", {"task": info.get("context", [])})
    numbers = list(info.get("hidden", []))
    for label in ("task", *labels):
        context = contexts[label]
        if one_hot and label.partition(":")[0].endswith("_order"):
            context = np.eye(len(context))[context].ravel().tolist()
        numbers += context
    acting = info.get("perturbations", {})
    return numbers + [acting.get(label, {"value": x})["value"] for label, x in values.items()]


class Revealed(gym.Wrapper, gym.utils.RecordConstructorArgs):
    """Appends what is hidden to the observation, for policies that are told (`hidden_numbers`).

    Observation: Box of the same dtype (floats, where it is of integers), shape (channels +
    numbers,).

    Args:
        env: environment with a Box [channels] as observations.
        labels: of the contexts that are told, besides the task's own.
        values: of perturbations by label, where they do not act.

    Raises:
        ValueError: other observations, or there is nothing to tell.
    """

    def __init__(self, env: gym.Env, labels: Sequence[str], values: Mapping[str, float]) -> None:
        gym.utils.RecordConstructorArgs.__init__(self, labels=labels, values=values)
        gym.Wrapper.__init__(self, env)
        self.labels, self.values = tuple(labels), dict(values)
        space = env.observation_space
        if not isinstance(space, gym.spaces.Box) or len(space.shape) != 1:
            raise ValueError(f"observations must be a Box of one dimension, got {space}")
        known = [name for name in ("contexts", "context", "hidden") if env.has_wrapper_attr(name)]
        before = {name: env.get_wrapper_attr(name) for name in known}
        numbers = len(hidden_numbers(before, self.labels, self.values))
        if not numbers:
            raise ValueError("nothing is hidden; perturb it, as by motor_signs=seen or mass=0.5..2")
        bound, dtype = np.full(numbers, np.inf), np.result_type(space.dtype, np.float32)
        self.observation_space = gym.spaces.Box(
            np.concatenate([space.low, -bound]).astype(dtype),
            np.concatenate([space.high, bound]).astype(dtype),
            dtype=dtype.type,
        )

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> Start:
        """Start an episode."""
        observation, info = self.env.reset(seed=seed, options=options)
        return self._extended(observation, info), info

    def step(self, action: Any) -> Step:
        """Take one step."""
        observation, reward, terminated, truncated, info = self.env.step(action)
        return self._extended(observation, info), reward, terminated, truncated, info

    def _extended(self, observation: np.ndarray, info: dict[str, Any]) -> np.ndarray:
        told = hidden_numbers(info, self.labels, self.values)
        dtype = np.result_type(observation.dtype, np.float32)
        return np.concatenate([observation, told]).astype(dtype)


class Told(gym.Wrapper):
    """Undoes the contexts of a perturbed environment, in what is seen and in what is done."""

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> Start:
        """Start an episode."""
        observation, info = self.env.reset(seed=seed, options=options)
        return self.env.get_wrapper_attr("out_of_context")(observation), info

    def step(self, action: Any) -> Step:
        """Take the action that has the effect of this one in the plain task."""
        action = self.env.get_wrapper_attr("in_context")(action)
        observation, reward, terminated, truncated, info = self.env.step(action)
        observation = self.env.get_wrapper_attr("out_of_context")(observation)
        return observation, reward, terminated, truncated, info
