"""Runs cells: what is left of each, and several side by side."""

import re
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, ThreadPoolExecutor, wait
from pathlib import Path

from filelock import FileLock, Timeout

from spikepropamine.common import UsageError, one_line
from spikepropamine.matrix import process, stamp
from spikepropamine.matrix.cells import Cell, Command
from spikepropamine.reading import read_text

BUSY = "another process is at it"
ERROR = re.compile(r"\b\w*error: |Error: ")


def execute(cell: Cell, stopped: Callable[[], bool] = lambda: False) -> str | None:
    """Runs what is left of a cell: training from its last checkpoint, then evaluations
    and exports. What they say goes to its log.

    Args:
        cell: of the matrix.
        stopped: is asked now and then; once it is true, a command ends as by Ctrl-C.

    Returns:
        Why it failed, in a line; None where it is finished; `BUSY` where another
        process is at it.
    """
    try:
        if stamp.is_finished(cell):
            return None
        cell.files.mkdir(parents=True, exist_ok=True)
        with FileLock(cell.lock, timeout=0):
            if stamp.is_finished(cell):  # by now
                return None
            return _execute(cell, stopped)
    except Timeout:
        return BUSY
    except (OSError, UsageError) as error:
        return one_line(error)


def _execute(cell: Cell, stopped: Callable[[], bool]) -> str | None:
    """Trains, evaluates and exports a cell, and stamps it; why it failed, or None."""
    asked = stamp.begin(cell)
    training = cell.training
    if cell.run.path.exists():
        training = training.going_on()  # returns at once where nothing is left to do
    commands: list[Command] = [training, *cell.evaluations, *cell.exports]
    for command in commands:
        code = process.run_alone(command, cell, stopped)
        if stopped():
            return "interrupted"
        if code == process.DIVERGED:
            stamp.finish_diverged(cell, asked, _reason(cell.log))
            return None
        if code:
            return f"{command.words[0]} ended with {code}: {_reason(cell.log)}"
    try:
        stamp.finish(cell, asked)
    except (UsageError, OSError, ValueError, KeyError) as error:
        return f"what it left cannot be kept: {one_line(error)}"
    return None


def _reason(log: Path) -> str:
    """The last error of the last command in a log, or else its last line."""
    said = read_text(log, errors="replace").rpartition(process.PROMPT)[2]
    lines = [line.strip() for line in said.splitlines() if line.strip()]
    errors = [line for line in lines if ERROR.search(line)]
    last = errors[-1] if errors else lines[-1]
    return last.rpartition("error: ")[2]


def run_side_by_side(
    cells: Sequence[Cell], jobs: int
) -> Iterator[tuple[Cell, str | None]]:
    """Runs cells in processes of this machine; Ctrl-C ends them cleanly.

    Args:
        cells: to be run.
        jobs: so many at a time.

    Yields:
        Each that has ended, and what `execute` says of it.
    """
    stopped = threading.Event()
    with ThreadPoolExecutor(jobs) as pool:
        try:
            futures = {
                pool.submit(execute, cell, stopped.is_set): cell for cell in cells
            }
            waiting = set(futures)
            while waiting:  # in turns: a wait without end would not notice Ctrl-C
                ended, waiting = wait(waiting, timeout=1, return_when=FIRST_COMPLETED)
                for future in ended:
                    yield futures[future], future.result()
        except BaseException:
            stopped.set()
            pool.shutdown(wait=True, cancel_futures=True)
            raise
