"""Making a task as training and evaluation both need it: perturbed, and with a longer memory."""

import sys
import warnings
from collections.abc import Mapping
from typing import Any

import gymnasium as gym
import numpy as np

from spikepropamine.envs import quiet_mujoco
from spikepropamine.envs.perturbations import CATALOGUE, Perturbed, parse
from spikepropamine.envs.perturbations.suites import load_suite, suite_names
from spikepropamine.envs.previous import PreviousActionAndReward
from spikepropamine.envs.reveal import Revealed

SPREAD_STEPS = 2000


def make(
    environment: str,
    arguments: Mapping[str, Any] | None = None,
    perturb: str | None = None,
    spread: np.ndarray | float = 1.0,
    previous: bool = False,
    reveal: bool = False,
) -> gym.Env:
    """An environment, perhaps perturbed, perhaps with its previous action and reward observed.

    Args:
        environment: Gymnasium id.
        arguments: of the environment's constructor.
        perturb: text for `Perturbed`; None: the task as it is.
        spread: natural standard deviation of each dimension of the task's own observation, which
            is what noise of the sensors is scaled by.
        previous: wrapped, outermost, in `PreviousActionAndReward`, which shows what the policy did
            and not what became of it.
        reveal: wrapped in `Revealed`, which shows the context of the perturbations.

    Raises:
        ValueError: the environment cannot be made so; the message says why.
    """
    try:
        entry = gym.spec(environment).entry_point
        if isinstance(entry, str):
            gym.envs.registration.load_env_creator(entry)  # imports MuJoCo, if it is needed
        if "mujoco" in sys.modules:
            quiet_mujoco()
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # Gymnasium's advice about older versions of a task
            env = gym.make(environment, **dict(arguments or {}))
    except (TypeError, ValueError, ImportError, gym.error.Error) as error:
        raise ValueError(f"{environment} with {dict(arguments or {})}: {error}") from error
    try:
        if perturb is not None:
            env = Perturbed(env, perturb, spread)
        if reveal:
            env = Revealed(env)
        return PreviousActionAndReward(env) if previous else env
    except ValueError as error:
        env.close()
        raise ValueError(f"{environment}: {error}") from error


def horizon_of(env: gym.Env) -> int | None:
    """Steps of an episode at most; None where there is no limit."""
    limit = env.spec.max_episode_steps if env.spec else None
    return getattr(env.unwrapped, "episode_steps", limit)


def training_text(
    perturb: str, environment: str, arguments: Mapping[str, Any] | None = None
) -> str:
    """What training under `perturb` means: a text for `Perturbed`.

    Args:
        perturb: such a text already, or the name of a suite: then each episode draws one of the
            suite's conditions that training may use, or none (but contexts include the plain one).
        environment: Gymnasium id.
        arguments: of the environment's constructor.

    Raises:
        ValueError: the environment cannot be made, or the suite has no conditions for it.
    """
    if perturb not in suite_names():
        return perturb
    env = make(environment, arguments)
    conditions = load_suite(perturb, environment, horizon_of(env))
    env.close()
    texts = [c.text for c in conditions if c.split == "train"]
    return " | ".join(texts if all(map(_contexts, texts)) else ["none", *texts])


def with_contexts(text: str, trained: str) -> str:
    """The text, with all contexts of another one there: as in the plain task where it has none.

    So a policy to which contexts were revealed in training is shown as many under any text.
    """
    plain = [f"{label}=0" for label in _contexts(trained) if label not in _contexts(text)]
    alternatives = [] if not text else text.split("|")
    if not alternatives:
        return " + ".join(plain)
    return " | ".join(" + ".join([one.strip(), *plain]) for one in alternatives)


def _contexts(text: str) -> list[str]:
    """The labels of the contexts of a text."""
    terms = [] if not text else [term for one in parse(text, CATALOGUE) for term in one]
    return list(dict.fromkeys(term.label for term in terms if term.family.contexts))


def measured_spread(
    environment: str, arguments: Mapping[str, Any] | None = None, seed: int = 0
) -> np.ndarray:
    """Standard deviation of each dimension of the observation under 2000 random actions.

    float64, in the shape of the observation; 1 where a dimension does not vary.

    Raises:
        ValueError: the environment cannot be made.
    """
    env = make(environment, arguments)
    env.action_space.seed(seed)
    observation, _ = env.reset(seed=seed)
    seen = [observation]
    while len(seen) < SPREAD_STEPS:
        observation, _, terminated, truncated, _ = env.step(env.action_space.sample())
        seen.append(observation)
        if terminated or truncated:
            seen.append(env.reset()[0])
    env.close()
    spread = np.std(np.asarray(seen, dtype=np.float64), axis=0)
    return np.where(spread > 0, spread, 1.0)
