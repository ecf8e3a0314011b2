"""The environments of a training run, made as its settings say, seeded and normalised; and others
for evaluations and videos of the policy while it trains. Training is the same with and without.
"""

import sys
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager, suppress
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any, cast

import gymnasium as gym
import numpy as np
import torch
from gymnasium import spaces
from stable_baselines3.common.base_class import BaseAlgorithm
from stable_baselines3.common.evaluation import evaluate_policy
from stable_baselines3.common.logger import Logger
from stable_baselines3.common.preprocessing import is_image_space
from stable_baselines3.common.vec_env import VecEnv
from tqdm import tqdm

from spikepropamine.agents.helped import Shown, Taught, deployed
from spikepropamine.common import UNSEEN_SEED, UsageError, bad_input, reason
from spikepropamine.envs import making
from spikepropamine.envs.perturbations.notation import is_suite
from spikepropamine.envs.rendering import CannotDraw, choose_backend
from spikepropamine.envs.shown import hidden_numbers
from spikepropamine.folder import RunFolder
from spikepropamine.policies.deployed import DeployedPolicy
from spikepropamine.policies.export import load_policy
from spikepropamine.policies.fast.environments import Normalised, SideBySide
from spikepropamine.policies.spaces import is_normalised
from spikepropamine.training.callbacks import Periodic
from spikepropamine.training.settings import Settings

KNOWN = (spaces.Box, spaces.Discrete, spaces.MultiDiscrete, spaces.MultiBinary)
SUPPORTED = "supported are Box, Discrete, MultiDiscrete, MultiBinary"
MOST = 2**16  # numbers, of choices one for each; with more a rollout takes gigabytes
SMALLEST_PICTURE = 36  # pixels, of SB3's CNN
EPISODES = 10
"""Of each evaluation; one in each of as many environments, the same ones each time."""
SEED = 2**30
"""Of these environments: neither training nor `evaluate` has their episodes."""
FILMED_STEPS = 400  # always of the same episode
CANNOT_SHOW = (
    "stdout",
    "log",
    "json",
    "csv",
    "tensorboard",
)  # formats of the logger, of videos


def env_maker(settings: Settings) -> partial[gym.Env]:
    """Makes one training environment; takes other `arguments` for its constructor. Raises
    UsageError: perturbations that do not work.
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
    """The training environments, seeded and normalised. Raises UsageError: arguments or spaces that
    do not work.
    """
    make_one = env_maker(settings)
    if settings.env_kwargs.get("render_mode") == "human":
        raise UsageError(
            "--env-kwargs render_mode human: watch with `spikepropamine enjoy RUN`"
        )
    with bad_input():
        env = make_one()
    if why := obstacle(env.observation_space, env.action_space):
        raise UsageError(f"{settings.env}: {why}")
    if settings.trainer.kind == "evolution" and making.horizon_of(env) is None:
        why = f"evolution runs whole episodes, and {settings.env} has no time limit"
        raise UsageError(f"{why}; give it one by --env-kwargs max_episode_steps STEPS")
    env.reset(seed=0)  # some arguments are found to be wrong only here
    env.step(env.action_space.sample())
    if settings.perturb is not None and is_suite(settings.perturb):
        found = making.training_conditions(
            settings.perturb, settings.env, settings.env_kwargs
        )
        for why in dict.fromkeys(filter(None, found.values())):
            print(f"left out of {settings.perturb}: {why}", file=sys.stderr)
    shape = env.observation_space.shape or ()
    if len(shape) == 3 and is_normalised(env.observation_space):
        flat = f"{settings.env}: observations of the shape {shape} are flattened"
        print(f"{flat}; a CNN gets pictures of uint8 from 0 to 255", file=sys.stderr)
    taught = settings.teacher is not None
    if (
        settings.trainer.kind == "supervised"
        and not taught
        and not _reports_targets(env)
    ):
        none = f"{settings.env} reports no action in info['target'] to learn from"
        raise UsageError(f"{none}; use --trainer.kind ppo, a cue task, or a --teacher")
    venv: VecEnv = SideBySide(
        [make_one] * settings.n_envs, settings.seed, settings.threads
    )
    if settings.teacher is not None:
        venv = _taught(venv, settings, settings.teacher)
    if settings.cue is not None or settings.critic_told:
        hidden = _hidden(make_one.keywords["perturb"] or "", one_hot=True)
        numbers = len(hidden(env.reset(seed=0)[1]))
        cue = None if settings.cue is None else (settings.cue[0], settings.cue[1])
        with bad_input(
            f"{'--critic-told' if cue is None else '--cue'}: {settings.env}"
        ):
            venv = Shown(
                venv, hidden, numbers, cue, settings.critic_told, settings.seed
            )
    env.close()
    space, keys = venv.observation_space, None
    if isinstance(space, spaces.Dict):
        keys = [key for key, part in space.items() if is_normalised(part)]
    normalize = settings.normalize_observations and (bool(keys) or is_normalised(space))
    normalize_rewards = (
        settings.normalize_rewards and settings.trainer.kind != "evolution"
    )
    if normalize or normalize_rewards:
        venv = Normalised(
            venv,
            norm_obs=normalize,
            norm_reward=normalize_rewards,
            gamma=settings.trainer.gamma,
            raw=venv.columns if isinstance(venv, Shown) else 0,
            norm_obs_keys=keys if normalize else None,
        )
    return venv


def _taught(venv: VecEnv, settings: Settings, teacher: Path) -> Taught:
    """The environments with a teacher in them."""
    trainer = settings.trainer
    with bad_input(f"--teacher {teacher}", FileNotFoundError):
        policy = load_policy(RunFolder(teacher).policy)
        learned = policy.metadata.get("settings", {})
        if not isinstance(learned, dict):
            raise ValueError("its settings are no mapping")
        _check_task(learned, settings)
        shown = making.revealed_text(learned)
        if shown is not None:
            _check_contexts(shown, settings)
        hidden = None if shown is None else _hidden(shown)
        return Taught(
            venv, policy, trainer.guided_steps, trainer.opening, settings.seed, hidden
        )


def _hidden(text: str, one_hot: bool = False) -> partial[list[float]]:
    """From an info to what a text for `Perturbed`, and the task itself, hide."""
    labels, values = making.contexts_of(text), making.nominal_values(text)
    return partial(hidden_numbers, labels=labels, values=values, one_hot=one_hot)


def _check_task(learned: dict[str, Any], settings: Settings) -> None:
    """Raises ValueError where a teacher of these settings learned what cannot be translated."""
    env = learned.get("env", settings.env)
    if (
        env not in gym.registry
        or gym.spec(env).entry_point != gym.spec(settings.env).entry_point
    ):
        raise ValueError(f"it learned {env}, which is another task than {settings.env}")
    if learned.get("previous", False):
        own = "would see the learner's previous action as its own"
        raise ValueError(f"it was trained with --previous, and {own}")
    # what the task shows has to begin with what the teacher's task showed
    theirs = making.make(env, learned.get("env_kwargs", {}))
    ours = making.make(settings.env, settings.env_kwargs)
    both = theirs.observation_space, ours.observation_space
    if all(isinstance(s, spaces.Box) and len(s.shape) == 1 for s in both):
        (channels,), (there,) = (cast(tuple[int], space.shape) for space in both)
        if channels != there and not all(
            np.array_equal(
                theirs.reset(seed=seed)[0], ours.reset(seed=seed)[0][:channels]
            )
            for seed in range(3)
        ):
            raise ValueError(
                f"it observed {channels} channels of the task, which are not the first of the "
                f"{there} here; give the task the teacher's --env-kwargs"
            )
    theirs.close()
    ours.close()


def _check_contexts(shown: str, settings: Settings) -> None:
    """Raises ValueError where the teacher was shown other contexts than the task has."""
    task = settings.env, settings.env_kwargs
    text = making.training_text(settings.perturb, *task) if settings.perturb else ""
    known, hidden = (sorted(making.contexts_of(one)) for one in (shown, text))
    if known != hidden:
        theirs = f"it was shown the contexts {', '.join(known) or 'of its task alone'}"
        raise ValueError(
            f"{theirs}, those here are {', '.join(hidden) or 'of the task alone'}"
        )


def _reports_targets(env: gym.Env) -> bool:
    """Whether one episode (or its first 10 000 steps) of random actions reports a right action."""
    env.reset(seed=0)
    for _ in range(10_000):
        *_, terminated, truncated, info = env.step(env.action_space.sample())
        if info.get("target") is not None:
            return np.shape(info["target"]) == env.action_space.shape
        if terminated or truncated:
            break
    return False


def obstacle(observation: spaces.Space, action: spaces.Space) -> str | None:
    """What is wrong with the spaces of an environment, and what would be right; None: nothing."""
    seen = {"the observation space": observation}
    if isinstance(observation, spaces.Dict):
        if not observation.spaces:
            return "the observation space is an empty Dict"
        parts, seen = torch.nn.ModuleDict(), {}
        for key, part in observation.items():
            if "." in key or hasattr(parts, key):
                return f"observation {key!r} has a name that PyTorch uses itself or cannot use"
            seen[f"observation {key!r}"] = part
    for name, space in seen.items():
        if why := _of_observation(space):
            return f"{name} {why}"
    why = _of_action(action)
    return f"the action space {why}" if why else None


def _of_observation(space: spaces.Space) -> str | None:
    if not isinstance(space, KNOWN):
        nested = "nested " if isinstance(space, spaces.Dict) else ""
        return f"is a {nested}{type(space).__name__}; {SUPPORTED} or a Dict of them"
    if not is_image_space(space):
        if (width := spaces.flatdim(space)) > MOST:
            return f"has {width:,} numbers for a network to see, and may have {MOST:,}"
        return _of_shape(space)
    shape = space.shape or ()
    channels = int(np.argmin(shape))
    if channels == 1:
        return f"is a picture of the shape {shape}; let its channels come first or last"
    sides = np.delete(shape, channels)
    if sides.min() >= SMALLEST_PICTURE:
        return None
    least = f"SB3's CNN needs {SMALLEST_PICTURE} x {SMALLEST_PICTURE}"
    wrap = "wrap the environment in ResizeObservation or FlattenObservation"
    return f"is a picture of {sides[0]} x {sides[1]}, and {least}; {wrap}"


def _of_action(space: spaces.Space) -> str | None:
    if not isinstance(space, KNOWN):
        return f"is a {type(space).__name__}; {SUPPORTED}"
    if isinstance(space, spaces.Box) and not space.is_bounded():
        return "is unbounded; give it bounds, for instance in an ActionWrapper"
    if isinstance(space, spaces.Box) and not np.issubdtype(space.dtype, np.floating):
        return f"is a Box of {space.dtype}; give it a float dtype, or use MultiDiscrete"
    if isinstance(space, spaces.MultiBinary) and len(space.shape) != 1:
        return f"has the shape {space.shape}; flatten it to one dimension"
    return _of_shape(space)


def _of_shape(space: spaces.Space) -> str | None:
    if isinstance(space, spaces.Box) and space.shape == ():
        return "is a Box without dimensions; give it the shape (1,)"
    if isinstance(space, spaces.Box) and 0 in space.shape:
        return f"is a Box of the shape {space.shape}, which holds no number"
    if isinstance(space, spaces.Discrete) and space.start != 0:
        return f"is a Discrete that starts at {space.start}; let it start at 0"
    if isinstance(space, spaces.MultiDiscrete):
        if space.nvec.ndim != 1:
            return f"has the shape {space.shape}; flatten it to one dimension"
        if space.start.any():
            return f"is a MultiDiscrete that starts at {space.start.tolist()}; let it start at 0"
    return None


def evaluation_envs(settings: Settings) -> VecEnv:
    """Environments to evaluate in while a policy trains, which nothing normalises; without noise
    and help of their own, and with a time limit where the task has none.
    """
    arguments = making.unhelped(settings.env, settings.env_kwargs)
    with closing(env_maker(settings)(arguments=arguments)) as env:
        if making.horizon_of(env) is None:
            arguments["max_episode_steps"] = making.ENDLESS
    return SideBySide(
        [env_maker(replace(settings, env_kwargs=arguments))] * EPISODES, SEED
    )


@contextmanager
def _deployed(model: BaseAlgorithm) -> Iterator[DeployedPolicy]:
    """The policy as it would be deployed now, of whose use the training sees nothing."""
    was_training = model.policy.training
    try:
        with torch.random.fork_rng():
            yield DeployedPolicy(*deployed(model), {})
    finally:
        model.policy.set_training_mode(was_training)


class Evaluations(Periodic):
    """As SB3's `EvalCallback`: the return of deterministic actions, in environments of their own,
    and the policy with the highest mean return kept. Each is a row of the logs. `save` saves the
    present policy in a folder, with metadata.
    """

    def __init__(
        self, settings: Settings, save: Callable[[Path, dict[str, Any]], None]
    ) -> None:
        super().__init__(settings.eval_every)
        self.best = RunFolder(settings.folder.best).policy
        self.venv, self.save = evaluation_envs(settings), save
        self.highest = -np.inf

    def _on_training_start(self) -> None:
        super()._on_training_start()
        with suppress(FileNotFoundError, ValueError, KeyError, TypeError):
            self.highest = float(
                load_policy(self.best).metadata["evaluation"]["mean_reward"]
            )

    def _on_training_end(self) -> None:
        super()._on_training_end()
        self.venv.close()

    def act(self) -> None:
        """Evaluates the policy."""
        self.venv.seed(SEED)
        how: dict[str, Any] = {"return_episode_rewards": True, "warn": False}
        with _deployed(self.model) as policy:
            torch.manual_seed(SEED)
            returns, lengths = evaluate_policy(policy, self.venv, EPISODES, **how)  # type: ignore[arg-type]
        found = {
            "mean_reward": float(np.mean(returns)),
            "mean_ep_length": float(np.mean(lengths)),
        }
        row = Logger(
            None, self.logger.output_formats
        )  # without what waits for the next row
        for name, value in found.items():
            row.record(f"eval/{name}", value)
        row.record("time/total_timesteps", self.num_timesteps, exclude="tensorboard")
        row.dump(self.num_timesteps)
        line = f"evaluation at step {self.num_timesteps:,}: return {found['mean_reward']:.1f}"
        if found["mean_reward"] > self.highest:
            self.highest = found["mean_reward"]
            self.save(self.best, {"evaluation": found})
            line += ", the best so far"
        tqdm.write(line, file=sys.stderr)


class Films(Periodic):
    """Videos of the policy. Where one fails, a line says so, and there are no more of them. Raises
    CannotDraw: nothing here can draw the task; UsageError: the task cannot be made.
    """

    def __init__(self, settings: Settings) -> None:
        super().__init__(settings.video_every)
        # the encoder and the rest take a moment to load, which only those wait for who want videos
        from spikepropamine.evaluation.film.video import check_drawing

        choose_backend()  # before MuJoCo is imported
        self.settings, self.make_one = settings, env_maker(settings)
        self.failed = False
        with bad_input():
            check_drawing(self.make)

    def make(self, arguments: dict[str, Any]) -> gym.Env:
        """The task, with further arguments."""
        return self.make_one(arguments=self.settings.env_kwargs | arguments)

    def act(self) -> None:
        """Makes a video."""
        if self.failed:
            return
        from spikepropamine.evaluation.film.video import Take, film

        settings, steps = self.settings, self.num_timesteps
        path = (
            settings.folder.videos
            / f"{settings.policy}-seed{settings.seed}-step{steps:09d}.mp4"
        )
        title = f"{settings.policy} on {settings.env}, {steps:,} steps of training"
        take, most = [Take(self.make)], FILMED_STEPS
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            with _deployed(self.model) as policy:
                film(
                    path,
                    policy,
                    take,
                    UNSEEN_SEED,
                    title,
                    max_steps=most,
                    progress=False,
                )
            self.logger.record("adaptation/videos", path, exclude=CANNOT_SHOW)
        except Exception as error:  # a video is never worth a training
            self.failed = True
            tqdm.write(f"no videos from here on: {reason(error)}", file=sys.stderr)


def films(settings: Settings) -> list[Films]:
    """What makes the videos that the settings ask for; a line says why none can be made."""
    if not settings.video_every:
        return []
    try:
        return [Films(settings)]
    except CannotDraw as error:
        print(f"no videos: {error}", file=sys.stderr)
        return []
