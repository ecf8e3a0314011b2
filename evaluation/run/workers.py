"""Runs jobs on several cores, keeps what they measured, and shows progress."""

import multiprocessing
import signal
import sys
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from typing import Any

import torch

import spikepropamine  # noqa: F401  registers the environments
from spikepropamine.common import UsageError, cores, end_with_parent_process, reason
from spikepropamine.evaluation.run import store
from spikepropamine.evaluation.run.jobs import Job, Outcome, environments, loaded, run_job
from spikepropamine.progress import progress_bar
from spikepropamine.versions import import_modules, imported

SHORT = 300_000  # steps; starting other processes takes longer than these


def run_jobs(
    jobs: Sequence[Job], workers: int | None, versions: Mapping[str, str]
) -> list[Outcome]:
    """The outcome of each job, read from its file where that is there, or run and written to it, by
    so many processes; None: as many as there are cores, or one where the work is short.

    Raises:
        KeyboardInterrupt: what was finished is in its files.
        UsageError: a worker was killed.
    """
    files = [store.folder() / store.name_of(job, versions) for job in jobs]
    outcomes: list[Any] = [store.read(file) for file in files]
    left = [index for index, outcome in enumerate(outcomes) if outcome is None]
    if workers is None:
        steps = sum(jobs[index].episodes * jobs[index].task.horizon for index in left)
        workers = 1 if steps < SHORT else cores()
    # in the same place one after the other, so that their environments are made once
    first: dict[Any, int] = {}
    for index in left:
        first.setdefault(jobs[index].place, index)
    left.sort(key=lambda index: first[jobs[index].place])
    workers = min(workers, len(left))
    done = _run_here(jobs, left) if workers <= 1 else _run_side_by_side(jobs, left, workers)
    place: str | None = f"{store.folder()}; the variable {store.FOLDER} names another folder"
    with progress_bar(sum(jobs[index].episodes for index in left), "episodes") as bar:
        if len(left) < len(jobs):
            bar.write(f"{len(jobs) - len(left)} of {len(jobs)} parts are there", file=sys.stderr)
        for index, outcome in done:
            outcomes[index] = outcome
            bar.update(jobs[index].episodes)
            try:  # here, so that a worker that is stopped leaves no half file
                if place is not None:
                    store.write(files[index], outcome)
            except OSError as error:  # it can do without
                bar.write(f"nothing is kept, {reason(error)}: {place}", file=sys.stderr)
                place = None
    return outcomes


def _run_here(jobs: Sequence[Job], order: Sequence[int]) -> Iterator[tuple[int, Outcome]]:
    try:
        for index in order:
            yield index, run_job(jobs[index])
    finally:
        environments.close()
        loaded.cache_clear()  # their folders may have others the next time


def _run_side_by_side(
    jobs: Sequence[Job], order: Sequence[int], workers: int
) -> Iterator[tuple[int, Outcome]]:
    # not forked: PyTorch's and MuJoCo's threads do not survive a fork
    context = multiprocessing.get_context("spawn")
    pool = ProcessPoolExecutor(workers, context, _start_worker, (imported,))
    try:
        running = {pool.submit(run_job, jobs[index]): index for index in order}
        for future in as_completed(running):
            yield running[future], future.result()
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
