"""Trains a policy: `python train.py --env CueAssociation-v0 --policy ndp-oja --seed 0`."""

import signal
import sys
from pathlib import Path
from typing import Any

if {"offline", "online"} & set(sys.argv):
    # wandb takes half the time to load where PyTorch and the rest, which it looks through, are not
    import wandb.apis.public  # noqa: F401

import gymnasium as gym

import spikepropamine  # noqa: F401  registers the environments
from spikepropamine.envs.rendering import CannotDraw, choose_backend
from spikepropamine.policies.export import DeployedPolicy
from spikepropamine.training.checkpoints import Diverged
from spikepropamine.training.environments import env_maker
from spikepropamine.training.filming import Film
from spikepropamine.training.run import train
from spikepropamine.training.settings import Settings, UsageError, parse

FILMED_SEED, FILMED_STEPS = 1_000_000, 400  # always the same episode, which training never sees


def filming(settings: Settings) -> Film | None:
    """What makes the videos of a training; None where there are to be none, or cannot be any."""
    if not settings.video_every:
        return None
    # the encoder and the rest take a moment to load, which only those wait for who want videos
    from spikepropamine.evaluation.video import Take, check_drawing, film

    choose_backend()  # before MuJoCo is imported
    make_one = env_maker(settings)

    def make(arguments: dict[str, Any]) -> gym.Env:
        return make_one(arguments=settings.env_kwargs | arguments)

    try:
        check_drawing(make)
    except CannotDraw as error:
        print(f"train.py: no videos: {error}", file=sys.stderr)
        return None
    except ValueError as error:
        raise UsageError(str(error)) from error

    def film_now(policy: DeployedPolicy, steps: int) -> Path:
        folder = settings.folder / "videos"
        folder.mkdir(parents=True, exist_ok=True)
        path = folder / f"{settings.policy}-seed{settings.seed}-step{steps:09d}.mp4"
        title = f"{settings.policy} on {settings.env}, {steps:,} steps of training"
        film(path, policy, [Take(make)], FILMED_SEED, title, max_steps=FILMED_STEPS, progress=False)
        return path

    return film_now


def main() -> int:
    """Runs the command line; returns its exit code."""
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # a stop, as from the keyboard
    try:
        settings = parse(sys.argv[1:])
        train(settings, filming(settings))
    except UsageError as error:
        print(f"train.py: error: {error}", file=sys.stderr)
        return 2
    except Diverged as error:
        print(f"train.py: error: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("interrupted; go on with the same command and --resume", file=sys.stderr)
        return 130
    return 0


if __name__ == "__main__":
    sys.exit(main())
