"""What runs the cells of a matrix: processes here, or a SLURM cluster.

On a cluster all machines see the same working directory and have the same Python environment. An
engine runs each cell by `cells.execute`, which goes on where the cell was, and reports every one
that has ended.
"""

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
