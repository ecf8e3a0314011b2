"""The results table: its columns, reading, writing and selecting.

Everything measured is a row of one long table, from the `results.csv` of an evaluation
to the files in benchmarks/results. A row is one number: `measure` of one run
(environment, setting, policy, seed) in one condition (suite, condition, lesion). Empty
is null, and no number is NaN. What follows from the rows is computed when they are
read: `evaluation.derived` and `report.results`.
"""

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import polars as pl

from spikepropamine.common import UsageError, check_known, reason, whole_file
from spikepropamine.reading import read_bytes

COLUMNS: dict[Any, Any] = {  # name and type
    "environment": pl.String,
    "setting": pl.String,  # label of a variant of the training, in a matrix
    "suite": pl.String,
    "policy": pl.String,
    "seed": pl.Int64,  # of the training
    "steps": pl.Int64,  # environment steps trained
    "condition": pl.String,
    "lesion": pl.String,
    "severity": pl.Float64,
    "split": pl.String,  # "train": training may use the condition; "held-out"
    "measure": pl.String,
    "at": pl.Int64,  # step of the episode, trial, or training step; null: of the whole
    "episode": pl.Int64,  # its seed; null: the mean over episodes, or a fact of the run
    "value": pl.Float64,
    "revision": pl.String,  # of the code that trained
}
NEEDED = ("environment", "policy", "measure", "value")
TASK = ("environment", "setting")
RUN = (*TASK, "policy", "seed")
CONDITION = ("suite", "condition", "lesion", "severity", "split")
ROW = (*RUN, "steps", *CONDITION, "revision")
EVALUATION = (*RUN, "suite")
RESULTS = Path("benchmarks/results")
"""Where matrices write, and tables read, unless another folder is given."""
DIGITS = 10  # significant digits of the numbers in a file


def table(rows: Iterable[Mapping[str, Any]] = ()) -> pl.DataFrame:
    """A table of rows, in which columns that a row lacks are null, and empty texts.

    Args:
        rows: values by name of the column.

    Raises:
        UsageError: a row has an unknown column, or a value is missing, not finite or of
            another type.
    """
    rows = list(rows)
    for row in rows:
        for name in row:
            check_known("column", name, COLUMNS)
    columns: dict[str, list[Any]] = {}
    for name, kind in COLUMNS.items():
        columns[name] = [row.get(name) for row in rows]
        if kind == pl.String:
            columns[name] = [text or None for text in columns[name]]
    try:
        frame = pl.DataFrame(columns, COLUMNS)
    except (TypeError, pl.exceptions.PolarsError) as error:
        raise UsageError(f"no row of results: {reason(error)}") from error
    return _checked(frame, "these rows")


def read(paths: str | Path | Sequence[Path]) -> pl.DataFrame:
    """The rows of one or several files, in their order.

    Raises:
        UsageError: a file is missing, has other columns, or has a value of another
            type, none where one is needed, or one that is not finite.
    """
    frames = []
    files = [Path(paths)] if isinstance(paths, str | Path) else paths
    for path in files:
        try:
            frame = pl.read_csv(read_bytes(path), infer_schema=False)
        except pl.exceptions.PolarsError as error:
            raise UsageError(
                f"{path} is no table of results: {reason(error)}"
            ) from error
        for name in frame.columns:
            check_known("column", name, COLUMNS, f"{path}: ")
        if missing := [name for name in COLUMNS if name not in frame.columns]:
            raise UsageError(f"{path}: the column {missing[0]} is missing")
        typed = frame.cast(COLUMNS, strict=False)
        for name in COLUMNS:
            wrong = frame[name].filter(
                frame[name].is_not_null() & typed[name].is_null()
            )
            if len(wrong):
                kind = "an integer" if COLUMNS[name] == pl.Int64 else "a number"
                raise UsageError(f"{path}: {name} must be {kind}, got {wrong[0]!r}")
        frames.append(_checked(typed.select(list(COLUMNS)), str(path)))
    return pl.concat(frames) if frames else table()


def write(path: Path, frame: pl.DataFrame) -> None:
    """Writes a whole file, floats with ten significant digits.

    Args:
        path: of the file, in a folder that may be missing.
        frame: rows of results.

    Raises:
        UsageError: a value is missing or not finite.
    """
    frame = _checked(frame.select(list(COLUMNS)).cast(COLUMNS), str(path))
    with whole_file(path) as part:
        frame.with_columns(pl.col(pl.Float64).round_sig_figs(DIGITS)).write_csv(part)


def where(frame: pl.DataFrame, **columns: Any) -> pl.DataFrame:
    """The rows that have these values.

    Args:
        frame: rows of results.
        columns: by name of the column, one value, one of several (a list or tuple), or
            None for null.

    Raises:
        UsageError: an unknown column.
    """
    for name, value in columns.items():
        check_known("column", name, frame.columns)
        values = list(value) if isinstance(value, list | tuple | set) else [value]
        frame = frame.filter(pl.col(name).is_in(values, nulls_equal=True))
    return frame


def _checked(frame: pl.DataFrame, name: str) -> pl.DataFrame:
    for column in NEEDED:
        if frame[column].null_count():
            raise UsageError(f"{name}: {column} is missing in a row")
    for column in ("severity", "value"):
        if not frame[column].is_finite().all():
            raise UsageError(f"{name}: {column} must be finite")
    return frame
