"""Evaluations and videos of the policy while it trains. Training is the same with and without."""

import sys
from abc import abstractmethod
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
import torch
from stable_baselines3.common.evaluation import evaluate_policy
from stable_baselines3.common.vec_env import VecEnv
from tqdm import tqdm

from spikepropamine.agents.helped import deployed
from spikepropamine.common import UNSEEN_SEED, UsageError, reason
from spikepropamine.envs.rendering import CannotDraw, choose_backend
from spikepropamine.policies.deployed import DeployedPolicy
from spikepropamine.policies.export import load_policy
from spikepropamine.policies.fast.environments import SideBySide
from spikepropamine.training.callbacks import Periodic
from spikepropamine.training.environments import env_maker
from spikepropamine.training.settings import Settings

EPISODES = 10
"""Of each evaluation; one in each of as many environments, the same ones each time."""
SEED = 2**30
"""Of these environments: neither training nor `evaluate` has their episodes."""
FILMED_STEPS = 400  # always of the same episode
CANNOT_SHOW = ("stdout", "log", "json", "csv", "tensorboard")  # formats of the logger, of videos


def evaluation_envs(settings: Settings) -> VecEnv:
    """Environments to evaluate in while a policy trains, which nothing normalises."""
    return SideBySide([env_maker(settings)] * EPISODES, SEED)


class _Uses(Periodic):
    """Every so many steps does something with the policy as it would be deployed now."""

    def act(self) -> None:
        """Does it."""
        policy = self.model.policy
        was_training = policy.training
        try:
            with torch.random.fork_rng():
                self.use(DeployedPolicy(*deployed(self.model), {}))
        finally:
            policy.set_training_mode(was_training)

    @abstractmethod
    def use(self, policy: DeployedPolicy) -> None:
        """What is done."""


class Evaluations(_Uses):
    """As SB3's `EvalCallback`: the return of deterministic actions, in environments of their own,
    and the policy with the highest mean return kept; one more evaluation follows the last update.
    `save` saves the present policy in a folder, with metadata.
    """

    def __init__(self, settings: Settings, save: Callable[[Path, dict[str, Any]], None]) -> None:
        super().__init__(settings.eval_every)
        self.venv, self.best, self.save = evaluation_envs(settings), settings.folder.best, save
        self.highest = -np.inf

    def _on_training_start(self) -> None:
        super()._on_training_start()
        with suppress(FileNotFoundError, ValueError, KeyError, TypeError):
            self.highest = float(load_policy(self.best).metadata["evaluation"]["mean_reward"])

    def _on_training_end(self) -> None:
        if self.num_timesteps > self.acted_at:
            self.act()
        self.venv.close()

    def use(self, policy: DeployedPolicy) -> None:
        """Evaluates it."""
        self.venv.seed(SEED)
        torch.manual_seed(SEED)
        returns, lengths = evaluate_policy(
            policy,  # type: ignore[arg-type]
            self.venv,
            EPISODES,
            return_episode_rewards=True,
            warn=False,
        )
        means = map(float, (np.mean(returns), np.mean(lengths)))
        found = dict(zip(("mean_reward", "mean_ep_length"), means))
        for name, value in found.items():
            self.logger.record(f"eval/{name}", value)
        line = f"evaluation at step {self.num_timesteps:,}: return {found['mean_reward']:.1f}"
        if found["mean_reward"] > self.highest:
            self.highest = found["mean_reward"]
            self.save(self.best, {"evaluation": found})
            line += ", the best so far"
        tqdm.write(line, file=sys.stderr)


class Films(_Uses):
    """Videos of the policy. Where one fails, a line says so, and there are no more of them.

    Raises:
        CannotDraw: nothing here can draw the task.
        UsageError: the task cannot be made.
    """

    def __init__(self, settings: Settings) -> None:
        super().__init__(settings.video_every)
        # the encoder and the rest take a moment to load, which only those wait for who want videos
        from spikepropamine.evaluation.film.video import check_drawing

        choose_backend()  # before MuJoCo is imported
        self.settings, self.make_one = settings, env_maker(settings)
        self.failed = False
        try:
            check_drawing(self.make)
        except ValueError as error:
            raise UsageError(str(error)) from error

    def make(self, arguments: dict[str, Any]) -> gym.Env:
        """The task, with further arguments."""
        return self.make_one(arguments=self.settings.env_kwargs | arguments)

    def use(self, policy: DeployedPolicy) -> None:
        """Makes a video."""
        if self.failed:
            return
        from spikepropamine.evaluation.film.video import Take, film

        settings, steps = self.settings, self.num_timesteps
        path = settings.folder.videos / f"{settings.policy}-seed{settings.seed}-step{steps:09d}.mp4"
        title = f"{settings.policy} on {settings.env}, {steps:,} steps of training"
        take, most = [Take(self.make)], FILMED_STEPS
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            film(path, policy, take, UNSEEN_SEED, title, max_steps=most, progress=False)
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
