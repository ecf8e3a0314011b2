"""The conditions that a policy is judged in: each a change to the task or to the policy's state."""

import difflib
import inspect
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import gymnasium as gym
import numpy as np

from envs import quiet_mujoco
from envs.observation_noise import ObservationNoise
from evaluation.episodes import WIDTH, Episode, Policy, Progress, run_episodes


@dataclass(frozen=True)
class Condition:
    """One condition.

    Attributes:
        name: as on the command line.
        noise: of the observations. Where the environment has a `noise` argument, its value; else
            the standard deviation of Gaussian noise, relative to that of each dimension.
        plasticity: off holds the fast weights at zero; everything learned in training stays.
    """

    name: str
    noise: float = 0.0
    plasticity: bool = True


CONDITIONS = {
    condition.name: condition
    for condition in (
        Condition("clean"),
        Condition("noise-0.1", noise=0.1),
        Condition("noise-0.2", noise=0.2),
        Condition("plasticity-off", plasticity=False),
    )
}


def find_conditions(names: Sequence[str]) -> list[Condition]:
    """Conditions by name, each once.

    Raises:
        ValueError: an unknown name; the message has the nearest one.
    """
    for name in names:
        if name not in CONDITIONS:
            near = difflib.get_close_matches(name, CONDITIONS, n=1)
            hint = f"did you mean {near[0]!r}? " if near else ""
            choices = ", ".join(CONDITIONS)
            raise ValueError(f"unknown condition {name!r}; {hint}choose from {choices}")
    return [CONDITIONS[name] for name in dict.fromkeys(names)]


def applicable(policy: Policy, conditions: Sequence[Condition]) -> list[Condition]:
    """Those of the conditions that mean something for the policy.

    A static spiking network can be told to switch plasticity off like any other, and nothing
    changes; an MLP or LSTM cannot.
    """
    has_switch = _initial_state_of(policy) is not None
    return [condition for condition in conditions if condition.plasticity or has_switch]


def _initial_state_of(policy: Policy) -> Any:
    # a deployed policy and an SB3 algorithm have it one level down
    return getattr(getattr(policy, "policy", policy), "initial_state", None)


def initial_state(
    policy: Policy, condition: Condition, n_envs: int
) -> tuple[np.ndarray, ...] | None:
    """The state before an episode for `predict`; None where the policy makes its own."""
    of = _initial_state_of(policy)
    return None if of is None else of(n_envs, plasticity=condition.plasticity)


def spread_of(policy: Policy) -> np.ndarray | float:
    """Standard deviation of each observation dimension in training, as the policy knows it."""
    normalisation = getattr(policy, "normalisation", None)
    if normalisation is None or isinstance(normalisation.var, dict):
        return 1.0
    return np.sqrt(normalisation.var)


def task_arguments(
    environment: str, arguments: Mapping[str, Any], condition: Condition
) -> dict[str, Any]:
    """Arguments of the environment in a condition.

    Where it has a `noise` argument, the condition decides its value, so that `clean` is free of
    noise for a policy that was trained with some.
    """
    noise = {"noise": condition.noise} if _has_noise(environment) else {}
    return dict(arguments) | noise


def _has_noise(environment: str) -> bool:
    entry: Any = gym.spec(environment).entry_point
    make = gym.envs.registration.load_env_creator(entry) if isinstance(entry, str) else entry
    parameter = inspect.signature(make).parameters.get("noise")
    # a number, as opposed to whatever else another project may call noise
    return parameter is not None and isinstance(parameter.default, int | float)


def make_env(
    environment: str,
    arguments: Mapping[str, Any],
    condition: Condition,
    spread: np.ndarray | float = 1.0,
) -> gym.Env:
    """The environment in a condition.

    Args:
        environment: Gymnasium id.
        arguments: of the environment's constructor, as in training.
        condition: the condition.
        spread: scale of the noise in each dimension of the observation, where the environment
            has no noise of its own.

    Raises:
        ValueError: the environment cannot be made so; the message says why.
    """
    try:
        if "mujoco" in str(gym.spec(environment).entry_point):
            quiet_mujoco()
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # Gymnasium's advice about older versions of a task
            env = gym.make(environment, **task_arguments(environment, arguments, condition))
    except (TypeError, ValueError, ImportError, gym.error.Error) as error:
        raise ValueError(f"{environment} with {dict(arguments)}: {error}") from error
    if condition.noise and not _has_noise(environment):
        try:
            return ObservationNoise(env, condition.noise, spread)
        except ValueError as error:
            env.close()
            raise ValueError(f"{environment}, condition {condition.name}: {error}") from error
    return env


def run_condition(
    policy: Policy,
    environment: str,
    arguments: Mapping[str, Any],
    condition: Condition,
    seeds: Sequence[int],
    *,
    width: int = WIDTH,
    deterministic: bool = True,
    progress: Progress | None = None,
) -> list[Episode]:
    """Episodes in a condition. Equal seeds are the same task in every condition: paired.

    Args and errors: those of `make_env` and `run_episodes`.
    """
    spread = spread_of(policy)
    return run_episodes(
        policy,
        lambda: make_env(environment, arguments, condition, spread),
        seeds,
        width=width,
        deterministic=deterministic,
        initial_state=initial_state(policy, condition, width),
        progress=progress,
    )
