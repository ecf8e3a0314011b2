"""Has several cores run the jobs of an evaluation, and keeps what came of each on disk,
so that what was interrupted goes on.
"""

import multiprocessing
import sys
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool

import torch

from spikepropamine.common import (
    UsageError,
    become_worker,
    cores,
    progress_bar,
    reason,
)
from spikepropamine.evaluation.run import cache, code, work
from spikepropamine.evaluation.run.work import Job, Outcome
from spikepropamine.versions import import_modules, imported

SHORT = 300_000  # steps; starting other processes takes longer than these


def run_jobs(
    jobs: Sequence[Job], workers: int | None, versions: Mapping[str, str]
) -> list[Outcome]:
    """The outcome of each job, read from its file where that is there, or run and
    written to it. After Ctrl-C what was finished is in its files.

    Args:
        jobs: what is to be run.
        workers: how many processes run it; None: as many as there are cores, or one
            where the work is short.
        versions: of the packages that the numbers depend on.

    Returns:
        The outcomes, in the order of the jobs.

    Raises:
        UsageError: a worker was killed.
    """
    environments = {job.task.environment for job in jobs}
    digests = {name: code.digest_of_code(name) for name in environments}
    files = [
        cache.folder() / cache.name_of(job, digests[job.task.environment], versions)
        for job in jobs
    ]
    kept = [cache.read_outcome(file) for file in files]
    outcomes = {i: outcome for i, outcome in enumerate(kept) if outcome is not None}
    left = [index for index in range(len(jobs)) if index not in outcomes]
    # in one place one after the other, so that their environments are made once
    places = list(dict.fromkeys(jobs[index].place for index in left))
    left.sort(key=lambda index: places.index(jobs[index].place))
    if workers is None:
        steps = sum(jobs[index].episodes * jobs[index].task.horizon for index in left)
        workers = 1 if steps < SHORT else cores()
    workers = min(workers, len(left))
    done = _run(jobs, left, workers)
    writes = True
    with progress_bar(sum(jobs[index].episodes for index in left), "episodes") as bar:
        if outcomes:
            said = f"{len(outcomes)} of {len(jobs)} parts are in the cache"
            bar.write(said, file=sys.stderr)
        for index, outcome in done:
            outcomes[index] = outcome
            bar.update(jobs[index].episodes)
            try:  # here, so that a worker that is stopped leaves no half file
                if writes:
                    cache.write_outcome(files[index], outcome)
            except OSError as error:  # it can do without
                said = (
                    f"nothing is kept, {reason(error)}: {cache.folder()}; the variable "
                    f"{cache.VARIABLE} names another folder"
                )
                bar.write(said, file=sys.stderr)
                writes = False
    return [outcomes[index] for index in range(len(jobs))]


def _run(
    jobs: Sequence[Job], order: Sequence[int], workers: int
) -> Iterator[tuple[int, Outcome]]:
    if workers <= 1:
        return _run_here(jobs, order)
    return _run_side_by_side(jobs, order, workers)


def _run_here(
    jobs: Sequence[Job], order: Sequence[int]
) -> Iterator[tuple[int, Outcome]]:
    try:
        for index in order:
            yield index, work.run_job(jobs[index])
    finally:
        work.close_environments()
        work.loaded.cache_clear()  # their folders may have others the next time


def _run_side_by_side(
    jobs: Sequence[Job], order: Sequence[int], workers: int
) -> Iterator[tuple[int, Outcome]]:
    # not forked: PyTorch's and MuJoCo's threads do not survive a fork
    context = multiprocessing.get_context("spawn")
    pool = ProcessPoolExecutor(workers, context, _start_worker, (imported,))
    try:
        task = jobs[order[0]].task
        there = pool.submit(
            code.digests_after_making, task.environment, task.arguments
        ).result()
        here = code.digests_of_modules(task.environment)
        if any(here.get(name, digest) != digest for name, digest in there.items()):
            # what was changed in this process alone, the others do not have
            pool.shutdown()
            yield from _run_here(jobs, order)
            return
        running = {pool.submit(work.run_job, jobs[index]): index for index in order}
        for future in as_completed(running):
            yield running[future], future.result()
        pool.shutdown()
    except BaseException as error:
        pool.shutdown(wait=False, cancel_futures=True)
        for child in multiprocessing.active_children():
            child.terminate()
        if isinstance(error, BrokenProcessPool):
            raise UsageError(
                "a worker was killed, as where memory runs out (the same command goes "
                "on, with a smaller --workers in less), or where a script lacks "
                '`if __name__ == "__main__":`'
            ) from error
        raise


def _start_worker(modules: Sequence[str]) -> None:
    import_modules(modules)  # a process of its own knows nothing of the user's
    torch.set_num_threads(1)
    become_worker()
