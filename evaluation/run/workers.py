"""Runs jobs on several cores, keeps each result as soon as it is there, and shows progress."""

import multiprocessing
import signal
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from pathlib import Path
from typing import Any

import numpy as np
import torch

import spikepropamine  # noqa: F401  registers the environments
from spikepropamine.common import UsageError, cores, end_with_parent_process, reason
from spikepropamine.evaluation.run.jobs import Job, Outcome, environments, run_job
from spikepropamine.evaluation.run.progress import ProgressBar
from spikepropamine.evaluation.run.store import FOLDER, read, write
from spikepropamine.own_modules import import_modules, imported

Jobs = Sequence[tuple[Job, Path]]
SHORT = 300_000  # steps; starting other processes takes longer than these


def run_jobs(jobs: Jobs, workers: int | None, progress: ProgressBar) -> list[Outcome]:
    """The outcome of each job, read from its file where that is there, or run and written to it, by
    so many processes; None: as many as there are cores, or one where the work is short.

    Raises:
        KeyboardInterrupt: what was finished is in its files.
        UsageError: a worker was killed.
    """
    outcomes: list[Any] = [read(path) for _, path in jobs]
    left = [index for index, outcome in enumerate(outcomes) if outcome is None]
    if len(left) < len(jobs):
        progress.say(f"{len(jobs) - len(left)} of {len(jobs)} parts are there from before")
    # in the same place one after the other, so that their environments are made once
    first: dict[Any, int] = {}
    for index in left:
        first.setdefault(jobs[index][0].place, index)
    left.sort(key=lambda index: first[jobs[index][0].place])
    progress.more(sum(jobs[index][0].episodes for index in left))
    if workers is None:
        steps = sum(jobs[i][0].episodes * jobs[i][0].task.horizon for i in left)
        workers = 1 if steps < SHORT else cores()
    if min(workers, len(left)) <= 1:
        try:
            for index in left:
                job, path = jobs[index]
                outcomes[index] = run_job(job, progress)
                _keep(path, outcomes[index], progress)
        finally:
            environments.close()
    else:
        _run_side_by_side(jobs, left, outcomes, min(workers, len(left)), progress)
    return outcomes


def _keep(path: Path, outcome: Outcome, progress: ProgressBar) -> None:
    """Writes an outcome, where there is a place for it: the evaluation does without, if need be."""
    try:
        write(path, outcome)
    except OSError as error:
        progress.say_once(
            f"nothing is kept for the next time in {path.parent}, {reason(error)}; the environment "
            f"variable {FOLDER} names another folder"
        )


def _run_side_by_side(
    jobs: Jobs, left: Sequence[int], outcomes: list[Any], workers: int, progress: ProgressBar
) -> None:
    # not forked: PyTorch's and MuJoCo's threads do not survive a fork
    context = multiprocessing.get_context("spawn")
    pool = ProcessPoolExecutor(workers, context, _start_worker, (imported,))
    try:
        running = {pool.submit(run_job, jobs[index][0]): index for index in left}
        for future in as_completed(running):
            index = running[future]
            (job, path), outcome = jobs[index], future.result()
            outcomes[index] = outcome
            # written here, so that a worker that is stopped leaves no half file
            _keep(path, outcome, progress)
            for length in np.repeat(outcome["length"], job.episodes // len(job.seeds)).tolist():
                progress.stepped(length)
                progress.ended(length)
        pool.shutdown()
    except BaseException as error:
        pool.shutdown(wait=False, cancel_futures=True)
        for child in multiprocessing.active_children():
            child.terminate()
        if isinstance(error, BrokenProcessPool):
            raise UsageError(
                "a worker was killed, as where memory runs out; the same command goes on from what "
                "was measured, with a smaller --workers in less memory"
            ) from error
        raise


def _start_worker(modules: Sequence[str]) -> None:
    import_modules(modules)  # a process of its own knows nothing of the user's
    torch.set_num_threads(1)
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the main process hears of it, and stops this one
    signal.signal(signal.SIGTERM, signal.SIG_DFL)  # by this, without a word
    end_with_parent_process()
