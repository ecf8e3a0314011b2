"""Members of a population, evaluated in several processes or on a Ray cluster; what
comes of it is the same as in one process.
"""

import multiprocessing
import os
import pickle
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from functools import lru_cache
from typing import Any

import cloudpickle
import numpy as np
import torch

import spikepropamine  # noqa: F401  registers the environments
from spikepropamine.agents.members import (
    Episodes,
    Job,
    Result,
    StepRows,
    Worker,
    jobs_of,
)
from spikepropamine.common import UsageError, become_worker, require
from spikepropamine.versions import import_modules, imported

DEATHS = 10
"""Workers in a row that may die without a result of any before the training gives
up."""


def pack(
    policy: Any,
    names: Sequence[str],
    makers: Sequence[Any],
    step_rows: StepRows,
) -> bytes:
    """What another process makes a `Worker` of.

    Args:
        policy: as for `Worker`.
        names: as for `Worker`.
        makers: make its environments.
        step_rows: as for `Worker`.
    """
    parts = cloudpickle.dumps((policy, tuple(names), makers, step_rows))
    return pickle.dumps((tuple(imported), parts))


@lru_cache(1)
def _unpacked(packed: bytes) -> Worker:
    """A worker, in a new process, of what `pack` made."""
    modules, parts = pickle.loads(packed)
    import_modules(modules)  # a new process knows nothing of the user's
    torch.set_num_threads(1)
    policy, names, makers, step_rows = pickle.loads(parts)
    envs = [make() for make in makers]
    return Worker(policy, names, envs, makers, step_rows)


_packed = b""
"""Of this process, where it is one of several."""


def _start(packed: bytes) -> None:
    global _packed
    _packed = packed
    become_worker()


def _evaluate_here(episodes: Episodes, job: Job) -> list[Result]:
    """In one of several processes."""
    return _unpacked(_packed)(episodes, job)


def _evaluate_packed(packed: bytes, episodes: Episodes, job: Job) -> list[Result]:
    """On a Ray cluster."""
    return _unpacked(packed)(episodes, job)


class Processes:
    """Evaluates members in processes that end with this one. Where one dies, its
    members are evaluated again.

    Args:
        packed: what `pack` gave.
        workers: how many processes.
    """

    def __init__(self, packed: bytes, workers: int) -> None:
        self.packed = packed
        self.workers = workers
        self.pool: ProcessPoolExecutor | None = None

    def results(
        self, episodes: Episodes, members: Sequence[np.ndarray]
    ) -> Iterator[Result]:
        """The results of members, from worker processes, in the members' order; see
        `Worker`.

        Args:
            episodes: that each member has.
            members: vectors of parameters; the first one is recorded.

        Raises:
            UsageError: processes die again and again.
        """
        jobs = jobs_of(members)
        done = 0
        deaths = 0
        while done < len(jobs):
            try:
                pool = self._running_pool()
                futures = [
                    pool.submit(_evaluate_here, episodes, job) for job in jobs[done:]
                ]
                for future in futures:
                    results = future.result()
                    done += 1
                    deaths = 0
                    yield from results
            except BrokenProcessPool as error:
                self.close()
                deaths += 1
                if deaths > DEATHS:
                    raise UsageError(
                        "workers were killed again and again, as where memory runs "
                        "out; go on with --resume and fewer --trainer.workers"
                    ) from error

    def _running_pool(self) -> ProcessPoolExecutor:
        """The pool of processes, which is started when it is first needed."""
        if self.pool is None:
            # not forked: PyTorch's and MuJoCo's threads do not survive a fork
            context = multiprocessing.get_context("spawn")
            self.pool = ProcessPoolExecutor(
                self.workers, context, _start, (self.packed,)
            )
        return self.pool

    def close(self) -> None:
        """Ends the processes."""
        if self.pool is None:
            return
        processes = list((self.pool._processes or {}).values())
        self.pool.shutdown(wait=False, cancel_futures=True)
        for process in processes:
            process.terminate()
        for process in processes:
            process.join()
        self.pool = None


class OnRay:
    """Evaluates members as tasks of a Ray cluster, the one that is there (RAY_ADDRESS)
    or one on this machine. Ray itself evaluates members again whose worker or machine
    is lost.

    Args:
        packed: what `pack` gave.

    Raises:
        UsageError: Ray is not installed.
    """

    def __init__(self, packed: bytes) -> None:
        require("ray", "evolution", "--trainer.cluster ray")
        os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
        import ray

        self.ray = ray
        self.begun = not ray.is_initialized()
        if self.begun:
            ray.init(log_to_driver=False)
        self.packed = ray.put(packed)
        self.task = ray.remote(max_retries=-1)(_evaluate_packed)

    def results(
        self, episodes: Episodes, members: Sequence[np.ndarray]
    ) -> Iterator[Result]:
        """The results of members, from Ray's workers, in the members' order; see
        `Worker`.

        Args:
            episodes: that each member has.
            members: vectors of parameters; the first one is recorded.
        """
        shared = self.ray.put(episodes)
        tasks = [self.task.remote(self.packed, shared, job) for job in jobs_of(members)]
        for task in tasks:
            yield from self.ray.get(task)

    def close(self) -> None:
        """Leaves the cluster."""
        if self.begun:
            self.ray.shutdown()
