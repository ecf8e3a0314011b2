"""The task that policies are evaluated in: that of their training, without noise and help."""

import inspect
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import gymnasium as gym

from spikepropamine.envs.making import horizon_of, make
from spikepropamine.envs.rendering import is_mujoco
from spikepropamine.envs.task import said

ENDLESS = 1000  # steps after which an episode is cut, of a task that has no time limit


@dataclass(frozen=True)
class Task:
    """A task, and what its environment says of itself.

    Attributes:
        environment: Gymnasium id.
        arguments: of the environment's constructor.
        horizon: steps of an episode at most.
        own_limit: whether the horizon is the task's own, not `ENDLESS`.
        chance: accuracy of guessing; None where there are no trials.
        window: steps over which reward rates are averaged: a trial, or else a twentieth of the
            horizon.
        simulated: whether MuJoCo runs it, which takes more time than most policies.
        can_stand_still: whether an action of zeros means that nothing is done.
        return_range: the least and the most that an episode can return, where it says so.
    """

    environment: str
    arguments: Mapping[str, Any]
    horizon: int
    own_limit: bool
    chance: float | None
    window: int
    simulated: bool
    can_stand_still: bool
    return_range: tuple[float, float] | None = None


def task_of(environment: str, arguments: Mapping[str, Any], horizon_factor: int = 1) -> Task:
    """The task without perturbations, noise and help, with episodes `horizon_factor` times as long.

    Raises:
        ValueError: the environment cannot be made, or its episodes cannot be made longer.
    """
    arguments = dict(arguments) | ({"noise": 0.0} if has_noise(environment) else {})
    env = make(environment, arguments)
    if said(env, "told") is not None:
        arguments["told"] = 0.0
    limit = env.spec.max_episode_steps if env.spec else None
    own_limit, simulated = horizon_of(env), is_mujoco(env)
    names = ("episode_steps", "trials", "trial_steps", "actions", "return_range")
    own_steps, trials, trial_steps, answers, earned = (said(env, name) for name in names)
    env.close()
    horizon = (ENDLESS if own_limit is None else own_limit) * horizon_factor
    if own_steps is None and horizon != limit:
        arguments["max_episode_steps"] = horizon
    elif horizon_factor > 1 and trials is None:
        raise ValueError(
            f"{environment} has neither a time limit nor trials that --horizon-factor could "
            "multiply; leave it out"
        )
    elif horizon_factor > 1:
        arguments["trials"] = trials * horizon_factor
        if limit is not None:
            arguments["max_episode_steps"] = limit * horizon_factor
    if not isinstance(answers, int):  # other people's tasks call other things so
        answers = getattr(env.action_space, "n", None)
    return Task(
        environment,
        arguments,
        horizon,
        own_limit is not None,
        None if answers is None or own_steps is None else 1 / int(answers),
        trial_steps or max(1, horizon // 20),
        simulated,
        isinstance(env.action_space, gym.spaces.Box),
        earned and (horizon_factor * earned[0], horizon_factor * earned[1]),
    )


def has_noise(environment: str) -> bool:
    """Whether the environment has a noise of its own: a number, as an argument `noise`."""
    try:
        entry: Any = gym.spec(environment).entry_point
        create = gym.envs.registration.load_env_creator(entry) if isinstance(entry, str) else entry
    except (gym.error.Error, ImportError):
        return False  # making it tells what is wrong
    parameter = inspect.signature(create).parameters.get("noise")
    return parameter is not None and isinstance(parameter.default, int | float)
