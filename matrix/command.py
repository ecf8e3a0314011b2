"""`spikepropamine matrix`: trains, evaluates and exports every cell of a matrix of experiments.

What is finished is skipped, and what was interrupted goes on where it was, so that the same command
can be given again at any time. A cell that fails does not stop the others.
"""

import argparse
import shlex
import sys
import threading
from collections.abc import Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, ThreadPoolExecutor, wait
from pathlib import Path

from filelock import FileLock

from spikepropamine.common import (
    Parser,
    UsageError,
    check_known,
    progress_bar,
    run_command,
)
from spikepropamine.matrix.cells import AXES, BUSY, Cell, cells_of, execute, load_matrix
from spikepropamine.matrix.rows import collect, keep_medians
from spikepropamine.table import RESULTS

RUNS = Path("runs/matrices")


def parse(arguments: Sequence[str], program: str) -> argparse.Namespace:
    """The command line. Raises UsageError where it is wrong."""
    parser = Parser(program, description=__doc__, allow_abbrev=False)
    add = parser.add_argument
    add(
        "file",
        metavar="FILE",
        help="a YAML file, or the name of one in configs/matrices/",
    )
    text = "cells at a time, one core each (%(default)s)"
    add("--jobs", type=int, default=1, metavar="N", help=text)
    for axis in (*AXES, "seeds"):
        add(f"--{axis}", nargs="+", metavar="LABEL", help="only these")
    text = "print the cells and their commands, and run nothing"
    add("--dry-run", action="store_true", help=text)
    add(
        "--runs",
        type=Path,
        default=RUNS,
        metavar="FOLDER",
        help="of run folders (%(default)s)",
    )
    text = "where NAME.csv goes, the results table (%(default)s)"
    add("--results", type=Path, default=RESULTS, metavar="FOLDER", help=text)
    options = parser.parse_args(arguments)
    if options.jobs < 1:
        raise UsageError(f"--jobs must be 1 or more, got {options.jobs}")
    return options


def run(options: argparse.Namespace) -> int:
    """Runs the matrix and collects its rows; returns the exit code, 1 where a cell failed."""
    matrix = load_matrix(options.file)
    every = cells_of(matrix, options.runs)
    cells, asked = (
        every,
        (options.envs, options.policies, options.settings, options.seeds),
    )
    for axis, names in zip(("env", "policy", "setting", "seed"), asked):
        labels = [str(getattr(cell, axis)) for cell in cells]
        for name in names or ():
            check_known(axis, name, dict.fromkeys(labels))
        cells = [
            cell for cell, label in zip(cells, labels) if label in (names or labels)
        ]
    left = [cell for cell in cells if not cell.finished()]
    print(
        f"{matrix.name}: {len(cells)} cells, {len(cells) - len(left)} done, {len(left)} to do"
    )
    if options.dry_run:
        for cell in cells:
            print(f"\n{cell.name}{'' if cell in left else ', done'}")
            print("\n".join(f"  spikepropamine {shlex.join(c)}" for c in cell.commands))
        return 0
    failed: list[tuple[Cell, str]] = []
    try:
        with progress_bar(len(left), "cells", disable=not left) as bar:
            for cell, error in run_side_by_side(left, options.jobs):
                said = error or "done"
                if error not in (None, BUSY):
                    failed.append((cell, said))
                    said = f"failed: {error}"
                bar.write(f"{cell.name}: {said}", file=sys.stderr)
                bar.update()
    finally:
        file = options.results / f"{matrix.name}.csv"
        options.runs.mkdir(parents=True, exist_ok=True)
        with FileLock(
            options.runs / f"{matrix.name}.lock"
        ):  # others may be at the same matrix
            finished = [cell for cell in every if cell.finished()]
            if count := collect(finished, file):
                print(f"{count} rows of finished cells are in {file}")
                keep_medians(every, finished, file)
    for cell, error in failed:
        print(f"failed: {cell.name}: {error}; its log: {cell.log}", file=sys.stderr)
    return 1 if failed else 0


def run_side_by_side(
    cells: Sequence[Cell], jobs: int
) -> Iterator[tuple[Cell, str | None]]:
    """Runs cells in processes of this machine, so many at a time; Ctrl-C ends them cleanly. Gives
    each that has ended, and what `execute` says of it.
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
                yield from ((futures[future], future.result()) for future in ended)
        except BaseException:
            stopped.set()
            pool.shutdown(wait=True, cancel_futures=True)
            raise


def main(arguments: Sequence[str], program: str = "spikepropamine matrix") -> int:
    """Runs the command line; returns its exit code."""
    interrupted = "interrupted; the same command goes on where this one was"
    return run_command(program, lambda: run(parse(arguments, program)), interrupted)
