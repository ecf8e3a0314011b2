"""`spikepropamine train`, a training run: environments, algorithm, logging, checkpoints, and the
policy it leaves.
"""

import ctypes
import errno
import shutil
import sys
import time
from collections.abc import Sequence
from contextlib import closing, nullcontext
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any, TextIO, cast

import torch
import yaml
from stable_baselines3.common.base_class import BaseAlgorithm
from stable_baselines3.common.callbacks import BaseCallback, CallbackList
from stable_baselines3.common.logger import HumanOutputFormat, Logger
from stable_baselines3.common.vec_env import unwrap_vec_wrapper
from tqdm.contrib import DummyTqdmFile

from spikepropamine.agents.helped import Taught, deployed, shown
from spikepropamine.agents.zoo import actor_parameters, agents, build, match_hidden
from spikepropamine.common import (
    UsageError,
    bad_input,
    command_words,
    run_command,
    write_text,
)
from spikepropamine.folder import RunFolder, check_writable
from spikepropamine.policies import NetworkConfig
from spikepropamine.policies.export import load_policy, save_policy, widen
from spikepropamine.policies.fast import way
from spikepropamine.policies.fast.ppo import FastPPO
from spikepropamine.policies.off_policy import Squashed, actor_of
from spikepropamine.tracking import check_credentials
from spikepropamine.training import callbacks as measures
from spikepropamine.training import checkpoints
from spikepropamine.training import settings as training
from spikepropamine.training.checkpoints import Checkpoint, Checkpoints
from spikepropamine.training.environments import Evaluations, films, make_envs
from spikepropamine.training.logs import ProgressCSV, ResumableTensorBoard, WandbWriter
from spikepropamine.training.settings import Settings
from spikepropamine.versions import code_of, digests_of, versions

DECISIVE = ("n_envs", "backend", "device", "checkpoint_every")
"""Settings that may change, but not without changing every number from there on."""
TRIM_THRESHOLD, MMAP_THRESHOLD = -1, -3  # parameters of glibc's mallopt
FULL = (errno.ENOSPC, errno.EDQUOT)  # a disk, or what of it a user may have
FINISHED = "{} is already trained for {} steps; raise --steps to go on"


def main(arguments: Sequence[str], program: str = "spikepropamine train") -> int:
    """Runs the command line; returns its exit code."""
    settings: Settings | None = None
    began = time.time()

    def run() -> None:
        nonlocal settings
        settings = training.parse(arguments, program)
        if idle := training.without_effect(settings, arguments):
            said = "does" if len(idle) == 1 else "do"
            whom = settings.policy + " with --from" * (settings.start_from is not None)
            print(f"{', '.join(idle)} {said} not concern {whom}", file=sys.stderr)
        try:
            train(settings)
        except OSError as error:
            if error.errno in FULL:
                later = "once there is, go on with the same command and --resume"
                error.strerror = f"{error.strerror}; {later}"
                error.filename = str(settings.folder.path)
            raise

    def told() -> str:
        kept = (
            [] if settings is None else checkpoints.listed(settings.folder.checkpoints)
        )
        if (
            settings is not None and not settings.resume
        ):  # what it has not replaced is not its own
            kept = [path for path in kept if path.stat().st_mtime >= began]
        if settings is None or not kept:
            return "interrupted before there was a checkpoint; nothing of this training is kept"
        how = "--resume in place of --overwrite" if settings.overwrite else "--resume"
        steps = checkpoints.steps_of(kept[0])
        return f"interrupted; go on from step {steps:,} with the same command and {how}"

    return run_command(program, run, told)


def train(settings: Settings, callbacks: Sequence[BaseCallback] = ()) -> None:
    """Trains, or with `settings.resume` goes on training, and writes the run folder. `callbacks`
    are more of SB3's.

    Raises:
        UsageError: input that cannot work; but for a task in which nothing was asked, nothing has
            been written then.
        KeyboardInterrupt: it was interrupted; the last checkpoint is kept.
        Diverged: training broke down.
    """
    torch.set_num_threads(1)  # fastest for networks of this size
    keep_freed_memory()
    folder = settings.folder
    begun = _check_folder(settings)
    if settings.resume and not begun and _is_finished(settings):
        return
    check_credentials(settings.track)
    called = [*callbacks, *films(settings)]  # the second before MuJoCo is imported
    venv = make_envs(settings)
    # what the policy's name stands for
    settings = replace(
        settings, network=agents()[settings.policy].network(settings.network)
    )
    with bad_input("", AssertionError, MemoryError):
        if settings.match_parameters and not (
            settings.resume and folder.config.is_file()
        ):
            settings = replace(settings, network=_matched(settings))
        network, helped = settings.network, shown(venv)
        if helped is not None and network.exogenous is not None:
            # where channels are appended, those that are counted from the end
            more = helped.channels
            named = (
                x + more if isinstance(x, int) and x < 0 else x
                for x in network.exogenous
            )
            network = replace(network, exogenous=tuple(named))
        made = settings.trainer, settings.seed, settings.device, settings.backend
        algorithm = build(settings.policy, venv, network, *made)
    if settings.start_from is not None and not begun:
        start_from(algorithm, settings.start_from)
    folder.path.mkdir(parents=True, exist_ok=True)
    with checkpoints.lock(folder.path):
        checkpoint = resume(algorithm, settings) if begun else None
        if checkpoint is None:  # what an earlier run has left is removed
            for path in folder.path.iterdir():
                if path.is_dir():
                    shutil.rmtree(path)
                elif path.name != checkpoints.LOCK:
                    path.unlink()
        _learn(algorithm, settings, called, checkpoint)
    venv.close()


def keep_freed_memory() -> None:
    """Asks glibc to keep up to 1 GiB of freed memory: it gives blocks of a few hundred kB back as
    soon as they are freed, and a training step spends up to a third of its time to get them again.
    """
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (AttributeError, OSError, TypeError):  # not glibc
        return
    for size in (2**30, 2**25):  # the second where the first is more than it accepts
        if mallopt(MMAP_THRESHOLD, size):
            break
    mallopt(TRIM_THRESHOLD, 2**30)


def _check_folder(settings: Settings) -> bool:
    """Whether there is a checkpoint to resume from; refuses to mix a new run with an old one."""
    folder = settings.folder
    check_writable(folder.path, "--runs")
    folder.check_links()
    if not settings.resume:
        if folder.path.exists() and not settings.overwrite:
            how = "go on with --resume, or replace it with --overwrite"
            raise UsageError(f"{folder.path} exists; {how}")
        return False
    if not folder.path.is_dir():
        raise UsageError(f"nothing to resume: there is no {folder.path}")
    return bool(checkpoints.listed(folder.checkpoints))


def _is_finished(settings: Settings) -> bool:
    """Of a run without a checkpoint: whether its policy is trained; else it starts again."""
    folder = settings.folder
    done = _steps_of_policy(folder.policy)
    if done is None:
        again = (
            f"{folder.path} was stopped before its first checkpoint, and starts again"
        )
        print(again, file=sys.stderr)
    elif done < settings.steps:
        there = f"{folder.path} has a policy of {done} steps and no checkpoint to go on from"
        raise UsageError(
            f"{there}; train anew with --overwrite, or elsewhere with --from"
        )
    else:
        print(FINISHED.format(folder.path, done))
    return done is not None


def _learn(
    algorithm: BaseAlgorithm,
    settings: Settings,
    more: list[BaseCallback],
    checkpoint: Checkpoint | None,
) -> None:
    """Trains an algorithm, new or of a checkpoint, and writes all of the run folder."""
    folder, done = settings.folder, algorithm.num_timesteps
    config: dict[str, Any] = {"settings": settings.as_dict(), "versions": versions()}
    config["command"] = command_words()

    def save(to: Path, about: dict[str, Any]) -> None:
        save_policy(
            to, *deployed(algorithm), about | {"steps": algorithm.num_timesteps}
        )

    if done >= settings.steps:
        if (
            _steps_of_policy(folder.policy) != done
        ):  # the end came before it was written
            save(folder.policy, config)
        print(FINISHED.format(folder.path, done))
        return
    write_text(folder.config, yaml.safe_dump(config, sort_keys=False))
    print(
        f"{settings.policy} on {settings.env}, seed {settings.seed}: "
        f"{actor_parameters(algorithm.policy):,} parameters in the actor, "
        f"{sum(p.numel() for p in algorithm.policy.parameters() if p.requires_grad):,} "
        "with the critic"
    )
    if isinstance(algorithm, FastPPO):
        print(f"rollouts and updates: {way(algorithm.policy)}")
    with (
        nullcontext()
        if settings.track == "off"
        else WandbWriter(settings, config) as tracking
    ):
        writers: list[Any] = [] if tracking is None else [tracking]
        rows = ProgressCSV(folder.progress, done)
        console = HumanOutputFormat(
            cast(TextIO, DummyTqdmFile(sys.stdout))
        )  # above the bar
        if settings.tensorboard:
            writers.append(ResumableTensorBoard(folder.tensorboard, done))
        algorithm.set_logger(Logger(str(folder.path), [console, rows, *writers]))
        if checkpoint is not None:
            checkpoints.log_on(algorithm, checkpoint.state)
        depends = config["versions"] | contents_of(settings)
        policy = partial(save, folder.policy, config)
        resumed = checkpoint is not None
        last: list[BaseCallback] = [
            Checkpoints(settings, depends, rows.sync, policy, resumed)
        ]
        if settings.eval_every:
            last.insert(
                0, Evaluations(settings, lambda to, found: save(to, config | found))
            )
        try:
            _train(algorithm, settings, more, last, resumed)
        finally:
            algorithm.logger.close()
    print(
        f"trained for {algorithm.num_timesteps:,} steps; the policy is in {folder.policy}"
    )
    taught = (
        unwrap_vec_wrapper(algorithm.env, Taught) if algorithm.env is not None else None
    )
    if taught is not None and taught.share:
        acted = f"the teacher still acted in {taught.share:.0%} of the episodes"
        what = "what the policy earns, `spikepropamine evaluate` says"
        print(f"{acted}, whose returns are its own; {what}")


def _train(
    algorithm: BaseAlgorithm,
    settings: Settings,
    more: Sequence[BaseCallback],
    last: Sequence[BaseCallback],
    resumed: bool,
) -> None:
    """Trains for what is left of the steps, with callbacks before the logs' rows are written and
    after.
    """
    guard, progress = measures.Guard(), measures.Progress(settings.steps)
    rollout = measures.rollout_steps(algorithm)
    every = measures.rows_every(settings.log_every, settings.steps, rollout)
    called = [
        guard, measures.CueAccuracy(), measures.Shares(),
        measures.CriticFirst(settings.critic_first), progress,
        *more, measures.Diagnostics(every), *last,
    ]  # fmt: skip
    try:
        algorithm.learn(
            settings.steps - algorithm.num_timesteps,
            callback=CallbackList(called),
            log_interval=None,  # type: ignore[arg-type]  # `Diagnostics` do it
            reset_num_timesteps=not resumed,
        )
    except ValueError as error:
        guard.explain(error)
        raise
    finally:
        progress.close()


def _steps_of_policy(folder: Path) -> int | None:
    try:
        return load_policy(folder).metadata["steps"]
    except (FileNotFoundError, ValueError):
        return None


def resume(algorithm: BaseAlgorithm, settings: Settings) -> Checkpoint:
    """Makes a new algorithm the one that was interrupted, and says what would make its numbers
    others than those of a run that was not; returns the checkpoint that it goes on from. Raises
    UsageError: it cannot be the same.
    """
    checkpoint = checkpoints.latest(settings.folder.checkpoints)
    training.check_unchanged(
        training.completed(checkpoint.settings), settings.as_dict()
    )
    assert algorithm.env is not None
    # `learn` would reset, and statistics would take in what it shows; `Checkpoints` does it
    algorithm._last_obs = algorithm.env.reset()  # type: ignore[assignment]
    with bad_input(f"cannot resume {settings.folder.path}"):
        checkpoints.restore(algorithm, checkpoint.state)
    if checkpoint.steps < settings.steps:  # otherwise nothing is left that could differ
        for line in _changes(checkpoint, settings, algorithm):
            print(
                f"from here on the numbers are not those of one run: {line}",
                file=sys.stderr,
            )
    return checkpoint


def contents_of(settings: Settings) -> dict[str, str]:
    """Digests of the files, policies and own modules that a training depends on, by what is said
    of them.
    """
    texts = [settings.perturb, settings.teacher, *settings.env_kwargs.values()]
    digests = digests_of(str(text) for text in texts if text is not None)
    contents = {f"the content of {text}": digest for text, digest in digests.items()}
    contents |= {
        f"the code of {name}": of for name, of in code_of(settings.imports).items()
    }
    return {name: digest[:12] for name, digest in contents.items()}


def _changes(
    checkpoint: Checkpoint, settings: Settings, algorithm: BaseAlgorithm
) -> list[str]:
    """What makes the numbers others than those of a run that was never interrupted."""
    now, lines = versions() | contents_of(settings), []
    for name, version in checkpoint.versions.items():
        if name != "revision" and now.get(name) != version:
            lines.append(f"{name} was {version}, and is {now.get(name)} now")
    for name in DECISIVE:
        then = checkpoint.settings.get(name)
        if then != getattr(settings, name):
            lines.append(f"{name} was {then}, and is {getattr(settings, name)} now")
    then = checkpoint.settings["steps"]
    ended, before = (
        checkpoint.steps,
        checkpoint.steps - measures.rollout_steps(algorithm),
    )
    every = checkpoints.interval(settings, algorithm.env)
    if (
        ended >= then and ended // every == before // every
    ):  # no episodes would begin here
        lines.append(
            f"the training had ended at step {ended:,}, and new episodes begin there"
        )
    if then != settings.steps and settings.trainer.learning_rate_schedule == "linear":
        fell = f"the learning rate fell to zero over {then:,} steps"
        lines.append(f"{fell}, and does over {settings.steps:,} now")
    return lines


def start_from(algorithm: BaseAlgorithm, folder: Path) -> None:
    """Gives a new algorithm the weights and the normalisation of a trained policy. Raises
    UsageError where it is of another network, or observes otherwise.
    """
    try:
        trained = load_policy(RunFolder(folder).policy)
        learned, helped = trained.policy.state_dict(), shown(algorithm.env)
        actor = actor_of(algorithm.policy)
        if isinstance(actor, Squashed) != isinstance(trained.policy, Squashed):
            why = "actors of SAC and TQC have other outputs than those of the other algorithms"
            raise ValueError(f"{why}, so neither can start from the other")
        if helped is None:
            actor.load_state_dict(learned)
        else:
            widen(actor, helped.channels, learned)
        normalisation, venv = trained.normalisation, algorithm.get_vec_normalize_env()
        if (normalisation is None) != (venv is None or not venv.norm_obs):
            raise ValueError(
                f"it observes {'raw' if normalisation is None else 'normalised'} numbers, and what "
                "it has learned means nothing otherwise; leave out --[no-]normalize-observations"
            )
        if normalisation is not None and venv is not None:
            normalisation.give(venv, 0 if helped is None else helped.columns)
    except (FileNotFoundError, ValueError) as error:
        raise UsageError(f"--from {folder}: {error}") from error
    except RuntimeError as error:
        theirs = trained.metadata["settings"]
        raise UsageError(
            f"--from {folder} is of another network: of {theirs['policy']} on {theirs['env']}, "
            "which differs from this one in its layers, its observations or its actions"
        ) from error


def _matched(settings: Settings) -> NetworkConfig:
    """The network that makes the actor as large as that of `match_parameters` by default, without
    the inputs that no deployed policy has.
    """
    other = training.matched(settings)
    with closing(
        make_envs(replace(settings, cue=None, critic_told=False, n_envs=1))
    ) as venv:
        target = actor_parameters(
            build(other.policy, venv, other.network, other.trainer).policy
        )
        return match_hidden(
            settings.policy, target, venv, settings.network, settings.trainer
        )
