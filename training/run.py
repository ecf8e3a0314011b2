"""`spikepropamine train`, a training run: environments, algorithm, logging,
checkpoints, and the policy it leaves.
"""

import ctypes
import errno
import shutil
import sys
import time
from collections.abc import Sequence
from contextlib import closing, nullcontext
from dataclasses import replace
from pathlib import Path
from typing import Any, TextIO, cast

import torch
import yaml
from stable_baselines3.common.base_class import BaseAlgorithm
from stable_baselines3.common.callbacks import BaseCallback, CallbackList
from stable_baselines3.common.logger import HumanOutputFormat, Logger
from stable_baselines3.common.vec_env import VecEnv, unwrap_vec_wrapper
from tqdm.contrib import DummyTqdmFile

from spikepropamine.agents.algorithms import ALGORITHMS
from spikepropamine.agents.cue import deployed, shown
from spikepropamine.agents.teacher import Taught
from spikepropamine.agents.zoo import actor_parameters, build, match_hidden
from spikepropamine.common import (
    UsageError,
    bad_input,
    command_words,
    run_command,
    write_text,
)
from spikepropamine.folder import RETURN, check_writable, read_curve
from spikepropamine.policies import NetworkConfig
from spikepropamine.policies.export import load_policy, save_policy
from spikepropamine.policies.fast import way
from spikepropamine.policies.fast.ppo import FastPPO
from spikepropamine.tracking import check_credentials
from spikepropamine.training import callbacks as small
from spikepropamine.training import checkpoints, own_task, sections
from spikepropamine.training.advice import advice, facts_of, has_not_risen
from spikepropamine.training.checkpoints import Checkpoint, Checkpoints
from spikepropamine.training.command_line import parse, without_effect
from spikepropamine.training.diagnostics import Diagnostics
from spikepropamine.training.environments import env_maker, make_envs
from spikepropamine.training.evaluations import Evaluations, films
from spikepropamine.training.guard import Guard
from spikepropamine.training.logs import ProgressCSV, ResumableTensorBoard, WandbWriter
from spikepropamine.training.resuming import contents_of, resume, start_from
from spikepropamine.training.settings import Settings, with_network_of_policy
from spikepropamine.versions import versions
from spikepropamine.words import number

TRIM_THRESHOLD = -1
MMAP_THRESHOLD = -3
"""Parameters of glibc's mallopt."""
FULL = (errno.ENOSPC, errno.EDQUOT)
"""A disk, or what of it a user may have."""


def main(arguments: Sequence[str], program: str = "spikepropamine train") -> int:
    """Runs the command line.

    Args:
        arguments: as they were typed.
        program: how the name of the command was typed.

    Returns:
        The exit code.
    """
    settings: Settings | None = None
    began = time.time()

    def run() -> None:
        nonlocal settings
        settings = parse(arguments, program)
        _say_what_is_idle(settings, arguments)
        try:
            train(settings)
        except OSError as error:
            if error.errno in FULL:
                error.filename = str(settings.folder.path)
                error.strerror = (
                    f"{error.strerror}; once there is, go on with the same command and "
                    "--resume"
                )
            raise

    def interrupted() -> str:
        kept = None if settings is None else _kept_since(settings, began)
        if settings is None or kept is None:
            return (
                "interrupted before there was a checkpoint; nothing of this training "
                "is kept"
            )
        option = "--resume"
        if settings.overwrite:
            option = "--resume in place of --overwrite"
        return (
            f"interrupted; go on from step {kept:,} with the same command and {option}"
        )

    return run_command(program, run, interrupted)


def _say_what_is_idle(settings: Settings, arguments: Sequence[str]) -> None:
    """Says which options of the command line change nothing."""
    idle = without_effect(settings, arguments)
    if not idle:
        return
    verb = "does" if len(idle) == 1 else "do"
    policy = settings.policy
    if settings.start_from is not None:
        policy += " with --from"
    print(f"{', '.join(idle)} {verb} not concern {policy}", file=sys.stderr)


def _kept_since(settings: Settings, began: float) -> int | None:
    """The steps of the last checkpoint of this command, which began at that time; None:
    there is none.
    """
    files = checkpoints.listed(settings.folder.checkpoints)
    if not settings.resume:  # what it has not replaced is of an earlier run
        files = [path for path in files if path.stat().st_mtime >= began]
    return checkpoints.steps_of(files[0]) if files else None


def train(settings: Settings, callbacks: Sequence[BaseCallback] = ()) -> None:
    """Trains, or with `settings.resume` goes on training, and writes the run folder.

    Args:
        settings: of the training.
        callbacks: more of SB3's.

    Raises:
        UsageError: input that cannot work; but for a task in which no response was due,
            nothing has been written then.
        KeyboardInterrupt: it was interrupted; the last checkpoint is kept.
        Diverged: training broke down.
    """
    torch.set_num_threads(1)  # fastest for networks of this size
    keep_freed_memory()

    has_checkpoint = _check_folder(settings)
    if settings.resume and not has_checkpoint and _is_finished(settings):
        return
    check_credentials(settings.track)

    # films first: they choose how to draw before MuJoCo is imported
    more_callbacks = [*callbacks, *films(settings)]
    venv = make_envs(settings)
    with bad_input("", AssertionError, MemoryError):
        settings = _with_final_network(settings)
        algorithm = _make_algorithm(settings, venv)
    if settings.start_from is not None and not has_checkpoint:
        start_from(algorithm, settings.start_from)

    folder = settings.folder.path
    folder.mkdir(parents=True, exist_ok=True)
    with checkpoints.lock(folder):
        checkpoint = None
        if has_checkpoint:
            checkpoint = resume(algorithm, settings)
        else:
            _empty(folder)
        if algorithm.num_timesteps >= settings.steps:
            _complete(algorithm, settings)
        else:
            _learn(algorithm, settings, more_callbacks, checkpoint)
    venv.close()


def keep_freed_memory() -> None:
    """Asks glibc to keep up to 1 GiB of freed memory: it gives blocks of a few hundred
    kB back as soon as they are freed, and a training step spends up to a third of its
    time to get them again.
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
    """Checks the run folder; returns whether there is a checkpoint to resume from."""
    folder = settings.folder
    check_writable(folder.path, "--runs")
    folder.check_links()
    if not settings.resume:
        if folder.path.exists() and not settings.overwrite:
            raise UsageError(
                f"{folder.path} exists; go on with --resume, or replace it with "
                "--overwrite"
            )
        return False
    if not folder.path.is_dir():
        raise UsageError(f"nothing to resume: there is no {folder.path}")
    return bool(checkpoints.listed(folder.checkpoints))


def _is_finished(settings: Settings) -> bool:
    """Whether a run that has no checkpoint is trained to its end, so that nothing is
    left.
    """
    path = settings.folder.path
    steps = _steps_of_policy(settings.folder.policy)
    if steps is None:
        print(
            f"{path} was stopped before its first checkpoint, and starts again",
            file=sys.stderr,
        )
        return False
    if steps < settings.steps:
        raise UsageError(
            f"{path} has a policy of {steps} steps and no checkpoint to go on from; "
            "train anew with --overwrite, or elsewhere with --from"
        )
    _say_finished(settings, steps)
    return True


def _say_finished(settings: Settings, steps: int) -> None:
    print(
        f"{settings.folder.path} is already trained for {steps} steps; raise --steps "
        "to go on"
    )


def _steps_of_policy(folder: Path) -> int | None:
    """Environment steps that the policy in a folder was trained for; None: there is
    none.
    """
    try:
        return load_policy(folder).metadata["steps"]
    except (FileNotFoundError, ValueError):
        return None


def _with_final_network(settings: Settings) -> Settings:
    """The settings with the network that the policy's name and `match_parameters` stand
    for.
    """
    settings = with_network_of_policy(settings)
    # the configuration of a run that is resumed has the scaled widths
    has_scaled_widths = settings.resume and settings.folder.config.is_file()
    if settings.match_parameters is not None and not has_scaled_widths:
        return replace(settings, network=_matched(settings))
    return settings


def _matched(settings: Settings) -> NetworkConfig:
    """The network that makes the actor as large as that of `match_parameters` by
    default, without the inputs that no deployed policy has.
    """
    other = sections.matched(settings)
    alone = replace(settings, cue=None, critic_told=False, n_envs=1)
    with closing(make_envs(alone)) as venv:
        model = build(other.policy, venv, other.network, other.trainer)
        target = actor_parameters(model.policy)
        return match_hidden(
            settings.policy, target, venv, settings.network, settings.trainer
        )


def _make_algorithm(settings: Settings, venv: VecEnv) -> BaseAlgorithm:
    """The algorithm, which has learned nothing."""
    return build(
        settings.policy,
        venv,
        _counted_without_columns(settings.network, venv),
        settings.trainer,
        settings.seed,
        settings.device,
        settings.backend,
    )


def _counted_without_columns(network: NetworkConfig, venv: VecEnv) -> NetworkConfig:
    """The network with exogenous channels that are counted from the end of the task's
    observations, where columns are appended to these.
    """
    wrapper = shown(venv)
    if wrapper is None or network.exogenous is None:
        return network
    channels: list[int | str] = []
    for channel in network.exogenous:
        if isinstance(channel, int) and channel < 0:
            channel += wrapper.task_channels
        channels.append(channel)
    return replace(network, exogenous=tuple(channels))


def _empty(folder: Path) -> None:
    """Removes what an earlier run has left."""
    for path in folder.iterdir():
        if path.is_dir():
            shutil.rmtree(path)
        elif path.name != checkpoints.LOCK:
            path.unlink()


def _complete(algorithm: BaseAlgorithm, settings: Settings) -> None:
    """Writes the policy of a training that ended before it was written."""
    folder = settings.folder
    steps = algorithm.num_timesteps
    if _steps_of_policy(folder.policy) != steps:
        _save(algorithm, folder.policy, _config(settings))
    _say_finished(settings, steps)


def _config(settings: Settings) -> dict[str, Any]:
    """The content of config.yaml."""
    return {
        "settings": settings.as_dict(),
        "versions": versions(),
        "command": command_words(),
    }


def _save(algorithm: BaseAlgorithm, folder: Path, metadata: dict[str, Any]) -> None:
    """Saves the policy as it is now."""
    policy, normalisation = deployed(algorithm)
    metadata = metadata | {"steps": algorithm.num_timesteps}
    save_policy(folder, policy, normalisation, metadata)


def _learn(
    algorithm: BaseAlgorithm,
    settings: Settings,
    callbacks: Sequence[BaseCallback],
    checkpoint: Checkpoint | None,
) -> None:
    """Trains an algorithm, new or of a checkpoint, and writes all of the run folder."""
    folder = settings.folder
    config = _config(settings)
    write_text(folder.config, yaml.safe_dump(config, sort_keys=False))
    if settings.console != "none":
        _say_what_learns(algorithm, settings)
    tracking: Any = nullcontext()
    if settings.track != "off":
        tracking = WandbWriter(settings, config)
    with tracking as wandb_writer:
        rows = ProgressCSV(folder.progress, algorithm.num_timesteps)
        algorithm.set_logger(_logger(algorithm, settings, rows, wandb_writer))
        if checkpoint is not None:
            checkpoints.log_on(algorithm, checkpoint.state)

        def save(to: Path, more: dict[str, Any]) -> None:
            _save(algorithm, to, config | more)

        keeping: list[BaseCallback] = []
        if settings.eval_every:
            keeping.append(Evaluations(settings, save))
        keeping.append(
            Checkpoints(
                settings,
                versions=config["versions"] | contents_of(settings),
                before=rows.sync,
                after=lambda: save(folder.policy, {}),
                resumed=checkpoint is not None,
            )
        )
        try:
            _train(algorithm, settings, callbacks, keeping, checkpoint is not None)
        finally:
            algorithm.logger.close()
    if settings.console != "none":
        _say_what_came(algorithm, settings)


def _say_what_learns(algorithm: BaseAlgorithm, settings: Settings) -> None:
    """Prints how many parameters are trained, and which way rollouts and updates
    take.
    """
    policy = algorithm.policy
    trained = [x.numel() for x in policy.parameters() if x.requires_grad]
    print(
        f"{settings.policy} on {settings.env}, seed {settings.seed}: "
        f"{actor_parameters(policy):,} parameters in the actor, {sum(trained):,} with "
        "the critic"
    )
    if isinstance(algorithm, FastPPO):
        print(f"rollouts and updates: {way(policy)}")
    if not sections.is_configured(settings.env):
        with closing(env_maker(settings)()) as env:
            print(own_task.decided_by(settings, env))


def _say_what_came(algorithm: BaseAlgorithm, settings: Settings) -> None:
    """Prints where the policy is, and in which share of episodes a teacher still
    acts.
    """
    print(
        f"trained for {algorithm.num_timesteps:,} steps; the policy is in "
        f"{settings.folder.policy}"
    )
    assert algorithm.env is not None
    taught = unwrap_vec_wrapper(algorithm.env, Taught)
    if taught is not None and taught.share:
        print(
            f"the teacher still acted in {taught.share:.0%} of the episodes, whose "
            "returns are its own; what the policy earns, `spikepropamine evaluate` says"
        )
        return
    if settings.start_from is None:
        _say_what_to_try(algorithm, settings)


def _say_what_to_try(algorithm: BaseAlgorithm, settings: Settings) -> None:
    """Prints advice where the return has not risen in training."""
    at, returns = read_curve(settings.folder.progress, RETURN)
    if not has_not_risen(returns):
        return
    facts = facts_of(settings.folder.path, settings.as_dict(), algorithm.num_timesteps)
    assert algorithm.env is not None
    horizon = small.longest_episode(algorithm.env, unknown=0) or None
    sentences = advice(replace(facts, horizon=horizon))
    print(
        f"the return of training episodes has not risen since step {at[0]:,.0f}: "
        f"{number(returns[0])} then, {number(returns[-1])} now"
    )
    if sentences:
        print("unless it was good from the start, what to try:")
    for sentence in sentences:
        print(f"- {sentence}")


def _logger(
    algorithm: BaseAlgorithm,
    settings: Settings,
    rows: ProgressCSV,
    wandb_writer: WandbWriter | None,
) -> Logger:
    """Writes to all places that the settings name."""
    folder = settings.folder
    above_the_bar = cast(TextIO, DummyTqdmFile(sys.stdout))
    formats: list[Any] = [rows]
    if settings.console == "tables":
        formats.insert(0, HumanOutputFormat(above_the_bar))
    if wandb_writer is not None:
        formats.append(wandb_writer)
    if settings.tensorboard:
        steps = algorithm.num_timesteps
        formats.append(ResumableTensorBoard(folder.tensorboard, steps))
    return Logger(str(folder.path), formats)


def _train(
    algorithm: BaseAlgorithm,
    settings: Settings,
    callbacks: Sequence[BaseCallback],
    keeping: Sequence[BaseCallback],
    resumed: bool,
) -> None:
    """Trains for what is left of the steps, with callbacks before the logs' rows are
    written and with those that keep something afterwards.
    """
    guard = Guard()
    progress = small.Progress(settings.steps, shown=settings.console != "none")
    in_order = [
        guard,
        small.CueAccuracy(),
        small.Shares(),
        small.CriticFirst(settings.critic_first),
        progress,
        *callbacks,
        _diagnostics(algorithm, settings),
        *keeping,
    ]
    try:
        algorithm.learn(
            settings.steps - algorithm.num_timesteps,
            callback=CallbackList(in_order),
            log_interval=None,  # type: ignore[arg-type]  # `Diagnostics` do it
            reset_num_timesteps=not resumed,
        )
    except ValueError as error:
        guard.explain(error)
        raise
    finally:
        progress.close()


def _diagnostics(algorithm: BaseAlgorithm, settings: Settings) -> Diagnostics:
    """The callback that writes rows of the logs, as often as the settings say."""
    record = ALGORITHMS[settings.trainer.kind]
    assert algorithm.env is not None
    longest = small.longest_episode(algorithm.env)
    rollout = record.rollout_steps(algorithm, longest)
    every = small.rows_every(settings.log_every, settings.steps, rollout)
    return Diagnostics(every, record.rollouts)
