"""What runs the cells of a matrix: processes here, a SLURM cluster, or a Ray cluster.

On a cluster all machines see the same working directory and have the same Python environment. An
engine runs each cell by `cells.execute`, which goes on where the cell was, and reports every one
that has ended.
"""

import hashlib
import os
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from pathlib import Path
from typing import Any

from spikepropamine.common import require
from spikepropamine.matrix.cells import BUSY, Cell, environment, execute

Report = Callable[[Cell, str | None], None]
"""Told that a cell has ended, and why it failed; None where it is finished."""

LOOK = 1.0  # seconds between looks at a cluster's jobs
RETRIES = 2  # of a cell whose machine was lost


def local(cells: Sequence[Cell], jobs: int, report: Report) -> None:
    """Runs cells in processes of this machine, `jobs` at a time; Ctrl-C ends them cleanly."""
    stopped, cells = threading.Event(), list(cells)
    with ThreadPoolExecutor(jobs) as pool:
        try:
            for wait in (False, True):  # those come last that another process is at
                futures = {pool.submit(execute, cell, stopped.is_set, wait): cell for cell in cells}
                cells = []
                for future in as_completed(futures):
                    if future.result() == BUSY:
                        cells.append(futures[future])
                    else:
                        report(futures[future], future.result())
        except BaseException:
            stopped.set()
            pool.shutdown(wait=True, cancel_futures=True)
            raise


class Job:
    """A cell on a cluster, submitted again where its machine ends it before its time."""

    def __init__(self, cell: Cell) -> None:
        self.cell = cell

    def __call__(self) -> str | None:
        """Runs the cell."""
        return execute(self.cell)

    def checkpoint(self) -> Any:
        """What submitit submits in the place of a job that was ended."""
        import submitit

        return submitit.helpers.DelayedSubmission(self)


def slurm(
    cells: Sequence[Cell],
    jobs: int,
    report: Report,
    options: Mapping[str, Any],
    folder: Path,
    cluster: str = "slurm",
) -> None:
    """Runs cells as an array of SLURM jobs, `jobs` at a time, one core each.

    Args:
        cells: to run.
        jobs: at a time.
        report: told of every cell that has ended.
        options: of submitit, such as timeout_min and slurm_partition.
        folder: for its files.
        cluster: of submitit; "local" runs the jobs as processes here.
    """
    require("submitit", "clusters", "--engine slurm")
    import submitit

    os.environ |= environment()  # which its jobs inherit
    executor = submitit.AutoExecutor(folder, cluster=cluster)
    executor.update_parameters(cpus_per_task=1, slurm_array_parallelism=jobs, **options)
    with executor.batch():
        waiting = [(executor.submit(Job(cell)), cell) for cell in cells]
    try:
        while waiting:
            ended = [pair for pair in waiting if pair[0].done()]
            waiting = [pair for pair in waiting if pair not in ended]
            for job, cell in ended:
                error = job.exception()
                report(cell, job.result() if error is None else str(error).strip().split("\n")[-1])
            time.sleep(LOOK if waiting else 0)
    except BaseException:
        for job, _ in waiting:
            job.cancel()
        raise


def ray(cells: Sequence[Cell], jobs: int, report: Report, folder: Path) -> None:
    """Runs cells as the trials of one Ray Tune experiment, `jobs` at a time, one core each.

    A trial whose machine is lost is tried again; an experiment that was ended, or had trials that
    failed, is restored. Ray itself shows how far it is; cells are reported at the end.
    """
    require("ray", "clusters", "--engine ray")
    os.environ |= environment() | {"RAY_CHDIR_TO_TRIAL_DIR": "0", "RAY_USAGE_STATS_ENABLED": "0"}
    from ray import tune

    by_name = {cell.name: cell for cell in cells}

    def trial(config: dict[str, str]) -> None:
        if (error := execute(by_name[config["cell"]])) is not None:
            raise RuntimeError(error)

    # an experiment is of these very cells
    digest = hashlib.sha256(repr([cell.commands for cell in cells]).encode()).hexdigest()[:12]
    place = folder.absolute() / digest
    if tune.Tuner.can_restore(place):
        tuner = tune.Tuner.restore(str(place), trial, restart_errored=True)
    else:
        tuner = tune.Tuner(
            trial,
            param_space={"cell": tune.grid_search(list(by_name))},
            tune_config=tune.TuneConfig(max_concurrent_trials=jobs),
            run_config=tune.RunConfig(
                name=digest,
                storage_path=str(folder.absolute()),
                failure_config=tune.FailureConfig(max_failures=RETRIES),
            ),
        )
    # the results of trials that were finished before a restoration do not say which they are of
    errors = {
        result.config["cell"]: str(result.error).strip().split("\n")[-1]
        for result in tuner.fit()  # type: ignore[attr-defined]
        if result.error is not None and result.config
    }
    for cell in cells:
        report(cell, None if cell.finished() else errors.get(cell.name, "it was not run"))
