"""`spikepropamine train`: trains a policy."""

import errno
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import gymnasium as gym

from spikepropamine.common import UNSEEN_SEED, UsageError, run_command
from spikepropamine.envs.rendering import CannotDraw, choose_backend
from spikepropamine.policies.deployed import DeployedPolicy
from spikepropamine.training.checkpoints import listed, steps_of
from spikepropamine.training.environments import env_maker
from spikepropamine.training.filming import Film
from spikepropamine.training.guard import Diverged
from spikepropamine.training.run import train
from spikepropamine.training.settings import Settings, parse, without_effect

FULL = (errno.ENOSPC, errno.EDQUOT)  # a disk, or what of it a user may have
FILMED_STEPS = 400  # always of the same episode


def filming(settings: Settings) -> Film | None:
    """What makes the videos of a training; None where there are to be none, or cannot be any."""
    if not settings.video_every:
        return None
    # the encoder and the rest take a moment to load, which only those wait for who want videos
    from spikepropamine.evaluation.film.video import Take, check_drawing, film

    choose_backend()  # before MuJoCo is imported
    make_one = env_maker(settings)

    def make(arguments: dict[str, Any]) -> gym.Env:
        return make_one(arguments=settings.env_kwargs | arguments)

    try:
        check_drawing(make)
    except CannotDraw as error:
        print(f"no videos: {error}", file=sys.stderr)
        return None
    except ValueError as error:
        raise UsageError(str(error)) from error

    def film_now(policy: DeployedPolicy, steps: int) -> Path:
        folder = settings.folder.videos
        folder.mkdir(parents=True, exist_ok=True)
        path = folder / f"{settings.policy}-seed{settings.seed}-step{steps:09d}.mp4"
        title = f"{settings.policy} on {settings.env}, {steps:,} steps of training"
        film(path, policy, [Take(make)], UNSEEN_SEED, title, max_steps=FILMED_STEPS, progress=False)
        return path

    return film_now


def main(arguments: Sequence[str], program: str = "spikepropamine train") -> int:
    """Runs the command line; returns its exit code."""
    settings: Settings | None = None

    def run() -> int:
        nonlocal settings
        settings = parse(arguments, program)
        if idle := without_effect(settings, arguments):
            said = "does" if len(idle) == 1 else "do"
            print(f"{', '.join(idle)} {said} not concern {settings.policy}", file=sys.stderr)
        try:
            train(settings, filming(settings))
        except Diverged as error:
            print(f"{program}: error: {error}", file=sys.stderr)
            return 1
        except OSError as error:
            if error.errno not in FULL:
                raise
            reason = f"{error.strerror}; once there is, go on with the same command and --resume"
            raise OSError(error.errno, reason, str(settings.folder.path)) from error
        return 0

    def told() -> str:
        kept = [] if settings is None else listed(settings.folder.checkpoints)
        if not kept:
            return "interrupted before there was a checkpoint; nothing of this training is kept"
        steps = steps_of(kept[0])
        return f"interrupted; go on from step {steps:,} with the same command and --resume"

    return run_command(program, run, told)
