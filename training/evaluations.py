"""Evaluations and videos of a policy while it trains, in environments of their own.
Training is the same with and without them.
"""

import sys
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager, suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
import torch
from stable_baselines3.common.base_class import BaseAlgorithm
from stable_baselines3.common.evaluation import evaluate_policy
from stable_baselines3.common.logger import Logger
from stable_baselines3.common.vec_env import VecEnv
from tqdm import tqdm

from spikepropamine.agents.cue import deployed
from spikepropamine.common import UNSEEN_SEED, bad_input, reason
from spikepropamine.envs import making
from spikepropamine.envs.rendering import CannotDraw, choose_backend
from spikepropamine.folder import RunFolder
from spikepropamine.policies.deployed import DeployedPolicy
from spikepropamine.policies.export import load_policy
from spikepropamine.training.callbacks import Periodic
from spikepropamine.training.environments import env_maker
from spikepropamine.training.settings import Settings
from spikepropamine.training.simulated import Simulated

EPISODES = 10
"""Of each evaluation; one in each of as many environments, the same ones each time."""
SEED = 2**30
"""Of these environments: neither training nor `evaluate` has their episodes."""
FILMED_STEPS = 400
"""Of a video, always of the same episode."""
CANNOT_SHOW = ("stdout", "log", "json", "csv", "tensorboard")
"""Formats of the logger that take no videos."""

Save = Callable[[Path, dict[str, Any]], None]
"""Saves the present policy in a folder, with metadata."""


def evaluation_envs(settings: Settings) -> VecEnv:
    """Environments to evaluate in while a policy trains, which nothing normalises;
    without noise and help of their own, and with a time limit where the task has none.
    """
    arguments = making.plain_arguments(settings.env, settings.env_kwargs)
    with closing(env_maker(settings)(arguments=arguments)) as env:
        if making.horizon_of(env) is None:
            arguments["max_episode_steps"] = making.ENDLESS
    make_one = env_maker(replace(settings, env_kwargs=arguments))
    return Simulated([make_one] * EPISODES, SEED)


@contextmanager
def _deployed(model: BaseAlgorithm) -> Iterator[DeployedPolicy]:
    """The policy as it would be deployed now, of whose use the training sees
    nothing.
    """
    was_training = model.policy.training
    try:
        with torch.random.fork_rng():
            yield DeployedPolicy(*deployed(model), {})
    finally:
        model.policy.set_training_mode(was_training)


class Evaluations(Periodic):
    """Evaluates the policy during training, as SB3's `EvalCallback` does: the return of
    deterministic actions, in environments that training does not use. It keeps the
    policy with the highest mean return. Each evaluation is a row of the logs.

    Args:
        settings: of the training.
        save: saves the present policy.
    """

    def __init__(self, settings: Settings, save: Save) -> None:
        super().__init__(settings.eval_every)
        self.best = RunFolder(settings.folder.best).policy
        self.venv = evaluation_envs(settings)
        self.save = save
        self.is_told = settings.console != "none"
        self.highest = -np.inf

    def _on_training_start(self) -> None:
        super()._on_training_start()
        with suppress(FileNotFoundError, ValueError, KeyError, TypeError):
            evaluation = load_policy(self.best).metadata["evaluation"]
            self.highest = float(evaluation["mean_reward"])

    def _on_training_end(self) -> None:
        super()._on_training_end()
        self.venv.close()

    def act(self) -> None:
        """Evaluates the policy."""
        results = self._evaluate()
        self._write_row(results)
        mean = results["mean_reward"]
        line = f"evaluation at step {self.num_timesteps:,}: return {mean:.1f}"
        if mean > self.highest:
            self.highest = mean
            self.save(self.best, {"evaluation": results})
            line += ", the best so far"
        if self.is_told:
            tqdm.write(line, file=sys.stderr)

    def _evaluate(self) -> dict[str, float]:
        """Mean return and length of the episodes."""
        self.venv.seed(SEED)
        with _deployed(self.model) as policy:
            torch.manual_seed(SEED)
            returns, lengths = evaluate_policy(
                policy,  # type: ignore[arg-type]
                self.venv,
                EPISODES,
                return_episode_rewards=True,
                warn=False,
            )
        return {
            "mean_reward": float(np.mean(returns)),
            "mean_ep_length": float(np.mean(lengths)),
        }

    def _write_row(self, results: dict[str, float]) -> None:
        """Writes a row of the logs, without what waits for the next row."""
        row = Logger(None, self.logger.output_formats)
        for name, value in results.items():
            row.record(f"eval/{name}", value)
        row.record("time/total_timesteps", self.num_timesteps, exclude="tensorboard")
        row.dump(self.num_timesteps)


class Films(Periodic):
    """Videos of the policy. Where one fails, a line says so, and there are no more of
    them.

    Args:
        settings: of the training.

    Raises:
        CannotDraw: nothing here can draw the task.
        UsageError: the task cannot be made.
    """

    def __init__(self, settings: Settings) -> None:
        super().__init__(settings.video_every)
        # the encoder and the rest take a moment to load, which only those wait for who
        # want videos
        from spikepropamine.evaluation.film.video import check_drawing

        choose_backend()  # before MuJoCo is imported
        self.settings = settings
        self.make_one = env_maker(settings)
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
        try:
            path = self._film()
            self.logger.record("adaptation/videos", path, exclude=CANNOT_SHOW)
        except Exception as error:  # a video is never worth a training
            self.failed = True
            tqdm.write(f"no videos from here on: {reason(error)}", file=sys.stderr)

    def _film(self) -> Path:
        """Makes a video, and returns its file."""
        from spikepropamine.evaluation.film.video import Take, film

        settings = self.settings
        steps = self.num_timesteps
        name = f"{settings.policy}-seed{settings.seed}-step{steps:09d}.mp4"
        path = settings.folder.videos / name
        path.parent.mkdir(parents=True, exist_ok=True)
        title = f"{settings.policy} on {settings.env}, {steps:,} steps of training"
        with _deployed(self.model) as policy:
            film(
                path,
                policy,
                [Take(self.make)],
                UNSEEN_SEED,
                title,
                max_steps=FILMED_STEPS,
                progress=False,
            )
        return path


def films(settings: Settings) -> list[Films]:
    """What makes the videos that the settings ask for; a line says why none can be
    made.
    """
    if not settings.video_every:
        return []
    try:
        return [Films(settings)]
    except CannotDraw as error:
        print(f"no videos: {error}", file=sys.stderr)
        return []
