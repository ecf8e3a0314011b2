"""`spikepropamine matrix`: trains, evaluates and exports every cell of a matrix of
experiments, and ends with a table, a figure and a report.

What is finished is skipped, and what was interrupted goes on where it was, so that the
same command can be given again at any time. A cell that fails does not stop the others.
"""

import argparse
import shlex
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from filelock import FileLock

from spikepropamine.common import (
    Parser,
    UsageError,
    check_known,
    progress_bar,
    require,
    run_command,
)
from spikepropamine.matrix import stamp
from spikepropamine.matrix.cells import Cell, cells_of
from spikepropamine.matrix.definition import AXES, Matrix, load_matrix
from spikepropamine.matrix.execution import BUSY, run_side_by_side
from spikepropamine.matrix.kept import keep_medians
from spikepropamine.matrix.rows import collect
from spikepropamine.table import RESULTS, read

RUNS = Path("runs/matrices")


def parse(arguments: Sequence[str], program: str) -> argparse.Namespace:
    """The options of a command line.

    Args:
        arguments: its words.
        program: its name, for messages.

    Raises:
        UsageError: the command line is wrong.
    """
    parser = Parser(program, description=__doc__, allow_abbrev=False)
    add = parser.add_argument
    add(
        "file",
        metavar="FILE",
        help="a YAML file, or the name of one in configs/matrices/",
    )
    add(
        "--jobs",
        type=int,
        default=1,
        metavar="N",
        help="cells at a time, one core each (%(default)s)",
    )
    for axis in AXES:
        add(f"--{axis}", nargs="+", metavar="LABEL", help="only these")
    add(
        "--dry-run",
        action="store_true",
        help="print the cells and their commands, and run nothing",
    )
    add(
        "--runs",
        type=Path,
        default=RUNS,
        metavar="FOLDER",
        help="of run folders, and in NAME/ of the figure and the report (%(default)s)",
    )
    add(
        "--results",
        type=Path,
        default=RESULTS,
        metavar="FOLDER",
        help="where NAME.csv goes, the results table (%(default)s)",
    )
    options = parser.parse_args(arguments)
    if options.jobs < 1:
        raise UsageError(f"--jobs must be 1 or more, got {options.jobs}")
    return options


def run(options: argparse.Namespace) -> int:
    """Runs the matrix, collects its rows, and shows them.

    Args:
        options: of the command line.

    Returns:
        The exit code, 1 where a cell failed or the results could not be shown.
    """
    matrix = load_matrix(options.file)
    every = cells_of(matrix, options.runs)
    cells = _chosen(every, options)
    if not options.dry_run:
        for cell in every:
            stamp.move_old_files(cell)
    left = [cell for cell in cells if not stamp.is_finished(cell)]
    done = len(cells) - len(left)
    print(f"{matrix.name}: {len(cells)} cells, {done} done, {len(left)} to do")
    if options.dry_run:
        _print_commands(cells, left)
        return 0
    require("vl_convert", "pages", "spikepropamine matrix")
    failed: dict[str, str] = {}
    file = options.results / f"{matrix.name}.csv"
    options.runs.mkdir(parents=True, exist_ok=True)
    lock = FileLock(options.runs / f"{matrix.name}.lock")
    try:
        failed = _run_cells(left, options.jobs)
    finally:
        with lock:  # others may be at the same matrix
            finished = [cell for cell in every if stamp.is_finished(cell)]
            count = _collect(every, finished, file)
    what_became = _without_results(every, finished, failed)
    shown = True
    if count:
        with lock:
            shown = _show(matrix, file, what_became, options.runs / matrix.name)
    for cell in cells:
        if cell.name in failed:
            reason = failed[cell.name]
            print(
                f"failed: {cell.name}: {reason}; its log: {cell.log}", file=sys.stderr
            )
    return 1 if failed or not shown else 0


def _chosen(cells: Sequence[Cell], options: argparse.Namespace) -> list[Cell]:
    """The cells that the options name. Raises UsageError: there is no such label."""
    chosen = list(cells)
    for axis, wanted in (
        ("env", options.envs),
        ("policy", options.policies),
        ("setting", options.settings),
        ("seed", options.seeds),
    ):
        if wanted is None:
            continue
        labels = {cell.path: str(getattr(cell.labels, axis)) for cell in chosen}
        for name in wanted:
            check_known(axis, name, dict.fromkeys(labels.values()))
        chosen = [cell for cell in chosen if labels[cell.path] in wanted]
    return chosen


def _print_commands(cells: Sequence[Cell], left: Sequence[Cell]) -> None:
    for cell in cells:
        print(f"\n{cell.name}" if cell in left else f"\n{cell.name}, done")
        for command in cell.commands:
            print(f"  spikepropamine {shlex.join(command.words)}")


def _run_cells(cells: Sequence[Cell], jobs: int) -> dict[str, str]:
    """Runs cells; returns why some failed, by name."""
    failed: dict[str, str] = {}
    with progress_bar(len(cells), "cells", disable=not cells) as bar:
        for cell, error in run_side_by_side(cells, jobs):
            said = "done"
            if error == BUSY:
                said = error
            elif error is not None:
                failed[cell.name] = error
                said = f"failed: {error}"
            bar.write(f"{cell.name}: {said}", file=sys.stderr)
            bar.update()
    return failed


def _collect(every: Sequence[Cell], finished: Sequence[Cell], file: Path) -> int:
    """Writes rows of finished cells, and copies of medians; returns how many rows."""
    count = collect(finished, file)
    if count:
        print(f"{count} rows of finished cells are in {file}")
        keep_medians(every, finished, file)
    return count


def _without_results(
    cells: Sequence[Cell], finished: Sequence[Cell], failed: Mapping[str, str]
) -> dict[str, str]:
    """What became of the cells that have nothing but that to show."""
    reasons: dict[str, str] = {}
    for cell in cells:
        if cell.name in failed:
            reasons[cell.name] = f"failed: {failed[cell.name]}"
        elif cell not in finished:
            reasons[cell.name] = "not finished"
        else:
            broke = stamp.divergence(cell)
            if broke is not None:
                reasons[cell.name] = f"diverged: {broke}"
    return reasons


def _show(matrix: Matrix, file: Path, left: Mapping[str, str], folder: Path) -> bool:
    """Prints the table, and writes the figure and the report.

    Args:
        matrix: as it is on file.
        file: of its results.
        left: cells that are not among the results, or diverged, and what became of
            them.
        folder: for the figure and the report.

    Returns:
        Whether there is a table and a report; says why where there is none.
    """
    from spikepropamine.matrix import summary  # and the plots

    folder.mkdir(parents=True, exist_ok=True)
    for name, reason in left.items():
        if reason.startswith("diverged"):
            print(f"{name}: {reason}", file=sys.stderr)
    try:
        print(f"\n{summary.table_of(matrix, read(file))}\n")
        report = summary.write_report(matrix, file, left, folder)
    except UsageError as error:
        print(f"no table and no report: {error}", file=sys.stderr)
        return False
    try:
        summary.write_figure(file, folder / summary.FIGURE)
        print(f"the figure is {folder / summary.FIGURE}")
    except UsageError as error:
        print(f"no figure: {error}", file=sys.stderr)
    print(f"the report is {report}")
    return True


def main(arguments: Sequence[str], program: str = "spikepropamine matrix") -> int:
    """Runs the command line.

    Args:
        arguments: its words.
        program: its name, for messages.

    Returns:
        The exit code.
    """
    interrupted = "interrupted; the same command goes on where this one was"
    return run_command(program, lambda: run(parse(arguments, program)), interrupted)
