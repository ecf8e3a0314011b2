"""A training run: environments, algorithm, logging, checkpoints, and the policy it leaves."""

import shutil
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TextIO, cast

import torch
import yaml
from stable_baselines3.common.callbacks import BaseCallback, CallbackList
from stable_baselines3.common.logger import HumanOutputFormat, Logger
from stable_baselines3.common.on_policy_algorithm import OnPolicyAlgorithm
from stable_baselines3.common.vec_env import VecEnv, VecNormalize

from spikepropamine.agents.zoo import actor_parameters, build, match_hidden, network_of
from spikepropamine.common import UsageError, versions, write_text
from spikepropamine.folder import RunFolder
from spikepropamine.policies import NetworkConfig
from spikepropamine.policies.export import load_policy, save_policy
from spikepropamine.tracking import check_credentials
from spikepropamine.training.allocator import keep_freed_memory
from spikepropamine.training.callbacks import CueAccuracy, Progress
from spikepropamine.training.checkpoints import Checkpoints
from spikepropamine.training.diagnostics import Diagnostics
from spikepropamine.training.environments import make_envs
from spikepropamine.training.filming import Film, Films
from spikepropamine.training.logs import BarFriendly, ResumableCSV, ResumableTensorBoard
from spikepropamine.training.settings import Settings, defaults
from spikepropamine.training.tracking import tracked


def train(
    settings: Settings, film: Film | None = None, callbacks: Sequence[BaseCallback] = ()
) -> None:
    """Trains, or with `settings.resume` goes on training, and writes the run folder.

    Args:
        settings: what to train, and how.
        film: makes the videos that `settings.video_every` asks for; None: there are none.
        callbacks: more of SB3's callbacks.

    Raises:
        UsageError: input that cannot work; nothing has been written then.
        KeyboardInterrupt: after the checkpoint of an interrupted run has been written.
        Diverged: training broke down.
    """
    torch.set_num_threads(settings.threads)
    keep_freed_memory()
    folder = settings.folder
    checkpoint = _check_folder(settings)
    check_credentials(settings.track)
    venv = make_envs(settings)
    network = network_of(settings.policy, settings.network)  # what the policy's name stands for
    settings = replace(settings, network=network)
    try:
        if settings.match_parameters and checkpoint is None:
            network = _matched(settings, settings.match_parameters, venv)
            settings = replace(settings, network=network)
        algorithm = build(
            settings.policy,
            venv,
            settings.network,
            settings.trainer,
            settings.seed,
            settings.device,
            settings.backend,
        )
    except (ValueError, AssertionError) as error:
        raise UsageError(str(error)) from error
    done = 0
    if settings.start_from is not None and checkpoint is None:
        _start_from(algorithm, settings.start_from)
    if checkpoint is not None:
        algorithm, venv = _restore(algorithm, venv, checkpoint, settings)
        done = algorithm.num_timesteps
    elif folder.path.exists():
        shutil.rmtree(folder.path)
    if done >= settings.steps:
        print(f"{folder.path} is already trained for {done} steps; raise --steps to go on")
        return
    folder.path.mkdir(parents=True, exist_ok=True)
    config = {"settings": settings.as_dict(), "versions": versions(), "command": sys.argv}
    write_text(folder.config, yaml.safe_dump(config, sort_keys=False))
    print(
        f"{settings.policy} on {settings.env}, seed {settings.seed}: "
        f"{actor_parameters(algorithm.policy):,} parameters in the actor, "
        f"{sum(p.numel() for p in algorithm.policy.parameters()):,} with the critic"
    )
    with tracked(settings, config) as writers:
        csv = ResumableCSV(folder.progress, done)
        console = HumanOutputFormat(cast(TextIO, BarFriendly()))
        if settings.tensorboard:
            writers.append(ResumableTensorBoard(folder.tensorboard, done))
        algorithm.set_logger(Logger(str(folder.path), [console, csv, *writers]))
        saver = Checkpoints(folder.checkpoints, settings.checkpoint_every)
        diagnostics, progress = Diagnostics(settings.log_every), Progress(settings.steps)
        called: list[BaseCallback] = [CueAccuracy(), diagnostics, saver, progress, *callbacks]
        if film is not None:
            called.append(Films(film, settings.video_every))
        interrupted = False
        try:
            algorithm.learn(
                settings.steps - done,
                callback=CallbackList(called),
                log_interval=settings.log_every,
                reset_num_timesteps=not done,
            )
            if csv.last_step != algorithm.num_timesteps:  # rollouts short of a whole `log_every`
                algorithm.dump_logs(algorithm._n_updates // settings.trainer.n_epochs)
        except KeyboardInterrupt:
            interrupted = True
        except ValueError:  # PyTorch's distributions refuse what is no number
            saver.check()
            raise
        saver.save()
        metadata = config | {"steps": algorithm.num_timesteps}
        normalisation = algorithm.get_vec_normalize_env()
        save_policy(folder.policy, algorithm.policy, normalisation, metadata)
        algorithm.logger.close()
        venv.close()
        if interrupted:
            raise KeyboardInterrupt
    print(f"trained for {algorithm.num_timesteps:,} steps; the policy is in {folder.policy}")


def _check_folder(settings: Settings) -> Path | None:
    """The checkpoint to resume from, if any; refuses to mix a new run with an old one."""
    folder = settings.folder
    folder.check_writable()
    last = folder.checkpoints / "last"
    if settings.resume:
        if not last.exists():
            raise UsageError(f"nothing to resume: there is no checkpoint in {last.parent}")
        return last
    if folder.path.exists() and not settings.overwrite:
        raise UsageError(
            f"{folder.path} exists; go on with --resume, or replace it with --overwrite"
        )
    return None


def _start_from(algorithm: OnPolicyAlgorithm, folder: Path) -> None:
    """Gives a new algorithm the weights and the normalisation of a trained policy."""
    try:
        trained = load_policy(RunFolder(folder).policy)
        algorithm.policy.load_state_dict(trained.policy.state_dict())
        normalisation, venv = trained.normalisation, algorithm.get_vec_normalize_env()
        if normalisation is not None and venv is not None:
            normalisation.give(venv)
    except (FileNotFoundError, ValueError, RuntimeError) as error:
        raise UsageError(f"--from {folder}: {str(error).splitlines()[0]}") from error


def _matched(settings: Settings, policy: str, venv: VecEnv) -> NetworkConfig:
    """The network that makes the actor as large as that of `policy` with its own defaults."""
    other = defaults(settings.env, policy)
    target = actor_parameters(build(policy, venv, other.network, other.trainer).policy)
    return match_hidden(settings.policy, target, venv, settings.network, settings.trainer)


def _restore(
    algorithm: OnPolicyAlgorithm, venv: VecEnv, checkpoint: Path, settings: Settings
) -> tuple[OnPolicyAlgorithm, VecEnv]:
    if isinstance(venv, VecNormalize):
        venv = VecNormalize.load(str(checkpoint / "normalisation.pkl"), venv.venv)
    algorithm = type(algorithm).load(checkpoint / "model.zip", env=venv, device=settings.device)
    # a new stream of randomness: the old one would repeat the first episodes
    algorithm.set_random_seed(settings.seed + algorithm.num_timesteps)
    return algorithm, venv
