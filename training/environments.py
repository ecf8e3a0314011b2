"""The environments of a training run, made as its settings say, seeded and
normalised.
"""

import sys
from functools import partial
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
from gymnasium import spaces
from stable_baselines3.common.vec_env import VecEnv

from spikepropamine.agents.algorithms import ALGORITHMS
from spikepropamine.agents.cue import Shown
from spikepropamine.agents.teacher import Taught
from spikepropamine.common import UsageError, bad_input
from spikepropamine.envs import making
from spikepropamine.envs.perturbations.notation import is_suite
from spikepropamine.envs.shown import hidden_numbers
from spikepropamine.folder import RunFolder
from spikepropamine.policies.export import load_policy
from spikepropamine.policies.fast.environments import Normalised
from spikepropamine.policies.spaces import is_normalised, is_partly_normalised
from spikepropamine.training.obstacles import obstacle
from spikepropamine.training.settings import Settings
from spikepropamine.training.simulated import Simulated

LONGEST_LOOK = 10_000
"""Steps in which a task has to report a right action, unless its episodes are
shorter."""


def env_maker(settings: Settings) -> partial[gym.Env]:
    """Makes one training environment; takes other `arguments` for its constructor.
    Raises UsageError: perturbations that do not work.
    """
    text = None
    if settings.perturb is not None:
        with bad_input():
            text = making.training_text(
                settings.perturb, settings.env, settings.env_kwargs
            )
    return partial(
        making.make,
        settings.env,
        arguments=settings.env_kwargs,
        perturb=text,
        previous=settings.previous,
        reveal=(text or "") if settings.reveal else None,
    )


def make_envs(settings: Settings) -> VecEnv:
    """The training environments, seeded and normalised. Raises UsageError: arguments or
    spaces that do not work.
    """
    make_one = env_maker(settings)
    if settings.env_kwargs.get("render_mode") == "human":
        raise UsageError(
            "--env-kwargs render_mode human: watch with `spikepropamine enjoy RUN`"
        )
    with bad_input():
        env = make_one()
    _check_task(env, settings)
    _say_what_is_left_out(settings)
    _say_what_is_flattened(env, settings)
    venv: VecEnv = Simulated(
        [make_one] * settings.n_envs, settings.seed, settings.threads
    )
    if settings.teacher is not None:
        venv = _taught(venv, settings, settings.teacher)
    if settings.cue is not None or settings.critic_told:
        hidden = _hidden(make_one.keywords["perturb"] or "", one_hot=True)
        _, info = env.reset(seed=0)
        venv = _shown(venv, settings, hidden, numbers=len(hidden(info)))
    env.close()
    return _normalised(venv, settings)


def _check_task(env: gym.Env, settings: Settings) -> None:
    """Raises UsageError where the algorithm cannot learn in the environment."""
    needs = ALGORITHMS[settings.trainer.kind].needs
    problem = obstacle(env.observation_space, env.action_space)
    if problem is not None:
        raise UsageError(f"{settings.env}: {problem}")
    if needs.whole_episodes and making.horizon_of(env) is None:
        raise UsageError(
            f"{settings.trainer.kind} runs whole episodes, and {settings.env} has no "
            "time limit; give it one by --env-kwargs max_episode_steps STEPS"
        )
    env.reset(seed=0)  # some arguments turn out to be wrong only here
    env.step(env.action_space.sample())
    has_targets = settings.teacher is not None or not needs.targets
    if not has_targets and not _reports_targets(env):
        raise UsageError(
            f"{settings.env} reports no action in info['target'] to learn from; use "
            "--trainer.kind ppo, a cue task, or a --teacher"
        )


def _reports_targets(env: gym.Env) -> bool:
    """Whether one episode (or its first steps) of random actions reports a right
    action.
    """
    env.reset(seed=0)
    for _ in range(LONGEST_LOOK):
        *_, terminated, truncated, info = env.step(env.action_space.sample())
        if info.get("target") is not None:
            return np.shape(info["target"]) == env.action_space.shape
        if terminated or truncated:
            break
    return False


def _say_what_is_left_out(settings: Settings) -> None:
    """Says which conditions of a suite the task cannot have."""
    if settings.perturb is None or not is_suite(settings.perturb):
        return
    conditions = making.training_conditions(
        settings.perturb, settings.env, settings.env_kwargs
    )
    reasons = [reason for reason in conditions.values() if reason]
    for reason in dict.fromkeys(reasons):
        print(f"left out of {settings.perturb}: {reason}", file=sys.stderr)


def _say_what_is_flattened(env: gym.Env, settings: Settings) -> None:
    """Says where observations look like pictures, and are none to SB3."""
    space = env.observation_space
    shape = space.shape or ()
    if len(shape) == 3 and is_normalised(space):
        print(
            f"{settings.env}: observations of the shape {shape} are flattened; a CNN "
            "gets pictures of uint8 from 0 to 255",
            file=sys.stderr,
        )


def _shown(
    venv: VecEnv, settings: Settings, hidden: partial[list[float]], numbers: int
) -> Shown:
    """The environments with columns of what is hidden, so many numbers."""
    cue = None
    option = "--critic-told"
    if settings.cue is not None:
        first, steps = settings.cue
        cue = (first, steps)
        option = "--cue"
    with bad_input(f"{option}: {settings.env}"):
        return Shown(venv, hidden, numbers, cue, settings.critic_told, settings.seed)


def _normalised(venv: VecEnv, settings: Settings) -> VecEnv:
    """The environments with normalised observations and rewards, as far as the settings
    want it.
    """
    space = venv.observation_space
    observations = settings.normalize_observations and is_partly_normalised(space)
    raw_rewards = ALGORITHMS[settings.trainer.kind].raw_rewards
    rewards = settings.normalize_rewards and not raw_rewards
    if not observations and not rewards:
        return venv
    keys = None  # all of them, of a space that is no Dict
    if observations and isinstance(space, spaces.Dict):
        keys = [key for key, part in space.items() if is_normalised(part)]
    return Normalised(
        venv,
        norm_obs=observations,
        norm_reward=rewards,
        gamma=settings.trainer.gamma,
        raw=venv.columns if isinstance(venv, Shown) else 0,
        norm_obs_keys=keys,
    )


def _taught(venv: VecEnv, settings: Settings, folder: Path) -> Taught:
    """The environments with a teacher in them."""
    trainer = settings.trainer
    with bad_input(f"--teacher {folder}", FileNotFoundError):
        teacher = load_policy(RunFolder(folder).policy)
        learned = teacher.metadata.get("settings", {})
        if not isinstance(learned, dict):
            raise ValueError("its settings are no mapping")
        _check_task_of_teacher(learned, settings)
        revealed = making.revealed_text(learned)
        hidden = None
        if revealed is not None:
            _check_contexts(revealed, settings)
            hidden = _hidden(revealed)
        return Taught(
            venv,
            teacher,
            trainer.guided_steps,
            trainer.opening,
            settings.seed,
            trainer.guided_noise,
            hidden,
        )


def _hidden(text: str, one_hot: bool = False) -> partial[list[float]]:
    """From an info to what a text for `Perturbed`, and the task itself, hide."""
    return partial(
        hidden_numbers,
        labels=making.contexts_of(text),
        values=making.nominal_values(text),
        one_hot=one_hot,
    )


def _check_task_of_teacher(learned: dict[str, Any], settings: Settings) -> None:
    """Raises ValueError where a teacher of these settings learned what cannot be
    translated.
    """
    env = learned.get("env", settings.env)
    is_known = env in gym.registry
    entry_point = gym.spec(settings.env).entry_point
    if not is_known or gym.spec(env).entry_point != entry_point:
        raise ValueError(f"it learned {env}, which is another task than {settings.env}")
    if learned.get("previous", False):
        raise ValueError(
            "it was trained with --previous, and would take the learner's previous "
            "action for its own"
        )
    theirs = making.make(env, learned.get("env_kwargs", {}))
    ours = making.make(settings.env, settings.env_kwargs)
    _check_channels(theirs, ours)
    theirs.close()
    ours.close()


def _check_channels(theirs: gym.Env, ours: gym.Env) -> None:
    """Raises ValueError unless what the task shows begins with what the teacher's task
    showed.
    """
    channels = _channels(theirs.observation_space)
    there = _channels(ours.observation_space)
    if channels is None or there is None or channels == there:
        return
    for seed in range(3):
        seen, _ = theirs.reset(seed=seed)
        shown, _ = ours.reset(seed=seed)
        if not np.array_equal(seen, shown[:channels]):
            raise ValueError(
                f"it observed {channels} channels of the task, which are not the first "
                f"of the {there} here; give the task the teacher's --env-kwargs"
            )


def _channels(space: spaces.Space) -> int | None:
    """The number of channels of a flat Box; None of any other space."""
    if isinstance(space, spaces.Box) and len(space.shape) == 1:
        return space.shape[0]
    return None


def _check_contexts(revealed: str, settings: Settings) -> None:
    """Raises ValueError where the teacher was shown other contexts than the task
    has.
    """
    text = ""
    if settings.perturb is not None:
        text = making.training_text(settings.perturb, settings.env, settings.env_kwargs)
    known = sorted(making.contexts_of(revealed))
    hidden = sorted(making.contexts_of(text))
    if known != hidden:
        raise ValueError(
            f"it was shown the contexts {', '.join(known) or 'of its task alone'}, "
            f"those here are {', '.join(hidden) or 'of the task alone'}"
        )
