"""The results table: its columns, reading, writing, selecting, pivoting, and what follows from it.

Everything measured is a row of one long table, from the `results.csv` of an evaluation to the files
in benchmarks/results. A row is one number: `measure` of one run (environment, setting, policy,
seed) in one condition (suite, condition, lesion). Empty is null, and no number is NaN. Retention,
intervals and comparisons are computed when a table is read. Tables and figures use it as lines: one
for each run and condition, with a column for each measure.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from spikepropamine.common import CLEAN_KEY, UsageError, check_known, reason, whole_file
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
"""Where the rows of matrices go, and where tables come from, unless another folder is given."""
DIGITS = 10  # significant digits of the numbers in a file
PERTURBED = "perturbed"
"""In the place of a condition: all of a suite that perturb, the policy being intact."""
SHORT = {"env": "environment"}  # as the command line calls it
MEASURES = ("settled_pace", "late_accuracy", "return")
"""What tells how good a policy is, the most telling first that a task has."""


def table(rows: Iterable[Mapping[str, Any]] = ()) -> pl.DataFrame:
    """A table of rows, in which columns that a row lacks are null. Raises UsageError: a row has an
    unknown column, or a value is missing, not finite or of another type.
    """
    rows = list(rows)
    for row in rows:
        for name in row:
            check_known("column", name, COLUMNS)
    columns = {name: [row.get(name) or None for row in rows] if kind == pl.String
               else [row.get(name) for row in rows] for name, kind in COLUMNS.items()}  # fmt: skip
    try:
        frame = pl.DataFrame(columns, COLUMNS)
    except (TypeError, pl.exceptions.PolarsError) as error:
        raise UsageError(f"no row of results: {reason(error)}") from error
    return _checked(frame, "these rows")


def read(paths: str | Path | Sequence[Path]) -> pl.DataFrame:
    """The rows of one or several files, in their order. Raises UsageError: a file is missing, has
    other columns, or has a value of another type, none where one is needed, or one that is not
    finite.
    """
    frames = []
    for path in [Path(paths)] if isinstance(paths, str | Path) else paths:
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
    """Writes a whole file, floats with ten significant digits. Raises as `table` does."""
    frame = _checked(frame.select(list(COLUMNS)).cast(COLUMNS), str(path))
    with whole_file(path) as part:
        frame.with_columns(pl.col(pl.Float64).round_sig_figs(DIGITS)).write_csv(part)


def where(frame: pl.DataFrame, **columns: Any) -> pl.DataFrame:
    """The rows that have these values: one, one of several (a list or tuple), or None for null.
    Raises UsageError: an unknown column.
    """
    for name, value in columns.items():
        check_known("column", name, frame.columns)
        values = list(value) if isinstance(value, list | tuple | set) else [value]
        frame = frame.filter(pl.col(name).is_in(values, nulls_equal=True))
    return frame


def pivot(frame: pl.DataFrame) -> pl.DataFrame:
    """One row for each run and condition, and one column for each measure.

    Means are over whatever else differs: episodes, steps, trials; what is missing is null.
    """
    how: Any = {"aggregate_function": "mean", "maintain_order": True}
    return frame.pivot(
        "measure", index=[*RUN, "steps", *CONDITION], values="value", **how
    )


def _checked(frame: pl.DataFrame, name: str) -> pl.DataFrame:
    for column in NEEDED:
        if frame[column].null_count():
            raise UsageError(f"{name}: {column} is missing in a row")
    for column in ("severity", "value"):
        if not frame[column].is_finite().all():
            raise UsageError(f"{name}: {column} must be finite")
    return frame


def retention(frame: pl.DataFrame) -> pl.DataFrame:
    """Rows of `retention`: (R - R_random) / (R_clean - R_random) of each run, R its mean return in
    a condition, with a lesion or without.

    R_clean is that of the same suite. R_random is one for each task and length of its episodes: the
    mean of its rows of `random_return`, which differ where evaluations drew other random actions. A
    run that is no better than random actions, or whose row `learned` is 0, has none.
    """
    fact = [*EVALUATION, "value"]
    frame = frame.with_columns(length=pl.col("suite").str.extract(r"-x(\d+)(?:-|$)"))
    lines = _mean_of(frame, "return", *ROW, "length")
    clean = (
        where(lines, condition=CLEAN_KEY, lesion=None)
        .select(fact)
        .rename({"value": "clean"})
    )
    lines = lines.join(clean, on=EVALUATION, nulls_equal=True, maintain_order="left")
    facts = (
        ("random_return", "random", (*TASK, "length")),
        ("learned", "learned", EVALUATION),
    )
    for measure, name, keys in facts:
        known = _mean_of(frame, measure, *keys).rename({"value": name})
        lines = lines.join(
            known, on=keys, how="left", nulls_equal=True, maintain_order="left"
        )
    margin = pl.col("clean") - pl.col("random")
    learned = (margin > 0) & (pl.col("learned").fill_null(1.0) > 0)
    ratio = (pl.col("value") - pl.col("random")) / margin
    return _rows(lines.filter(learned).with_columns(value=ratio), "retention")


def late_accuracy(frame: pl.DataFrame, by_episode: bool = False) -> pl.DataFrame:
    """Rows of `late_accuracy`: of `correct` over the second half of the trials (the longer one if
    their number is odd). A run's is the mean of its episodes'; one without late trials has none.
    """
    late = pl.col("at") >= (pl.col("at").max().over(ROW) + 1) // 2
    value = pl.col("value").filter("late").mean()
    lines = where(frame, measure="correct").with_columns(late=late)
    lines = lines.group_by(*ROW, "episode", maintain_order=True).agg(value)
    if not by_episode:
        lines = lines.group_by(ROW, maintain_order=True).agg(pl.col("value").mean())
        lines = lines.drop_nulls("value")
    return _rows(lines, "late_accuracy")


def _mean_of(frame: pl.DataFrame, measure: str, *keys: str) -> pl.DataFrame:
    """Over all rows of a measure that have these in common."""
    rows = where(frame, measure=measure)
    return rows.group_by(keys, maintain_order=True).agg(pl.col("value").mean())


def _rows(lines: pl.DataFrame, measure: str) -> pl.DataFrame:
    empty = [pl.lit(None, COLUMNS[name]).alias(name) for name in ("at", "episode")
             if name not in lines.columns]  # fmt: skip
    value = pl.col("value").round_sig_figs(
        DIGITS
    )  # so that a half is rounded as the stored one
    lines = lines.with_columns(pl.lit(measure).alias("measure"), value, *empty)
    return lines.select(list(COLUMNS))


def lines_where(files: Sequence[Path], asked: Mapping[str, str]) -> pl.DataFrame:
    """A line for each run and condition of the files, where columns are what is asked, as text
    (empty text is null): a column for each measure of the two, for facts of the run, and `name`,
    the policy as pages show it. Raises UsageError: there are no such lines or columns; a run is
    there twice; runs of a policy differ in their steps or episodes.
    """
    lines = matching(lines_of(read(files)), asked)
    if lines.is_empty():
        raise UsageError(f"no rows with {dict(asked)} in {', '.join(map(str, files))}")
    what = [*TASK, "policy", *CONDITION]
    # evolution ends with whole generations, whose episodes may end early
    for name, factor in (("steps", 1.1), ("episodes", 1)):
        if name in lines.columns:
            most, least = pl.col(name).max().over(what), pl.col(name).min().over(what)
            if (uneven := lines.filter(most > factor * least)).height:
                found = ", ".join(
                    map(str, uneven[name].unique(maintain_order=True)[:2])
                )
                raise UsageError(
                    f"{_names(uneven)}: seeds differ in {name} ({found}); run the matrix for all"
                )
    return lines


def lines_of(frame: pl.DataFrame) -> pl.DataFrame:
    """The same of rows. Raises UsageError where a run is there twice."""
    frame = pl.concat([frame, retention(frame), late_accuracy(frame)])
    if (twice := frame.filter(frame.drop("value", "revision").is_duplicated())).height:
        raise UsageError(f"{_names(twice)}: it is there twice, of two evaluations")
    of_condition = pl.col("condition").is_not_null()
    lines = pivot(frame.filter(of_condition & pl.col("at").is_null()))
    facts = frame.filter(~of_condition & pl.col("at").is_null())
    for keys, known in (
        (RUN, pivot(where(facts, suite=None))),
        (EVALUATION, pivot(facts.filter(pl.col("suite").is_not_null()))),
        (RUN, frame.select(*RUN, "revision").unique(RUN, maintain_order=True)),
    ):
        needless = {*CONDITION, "steps"} - {*keys}
        known = known.select(name for name in known.columns if name not in needless)
        lines = lines.join(
            known, on=keys, how="left", nulls_equal=True, maintain_order="left"
        )
    name = pl.when(pl.col("seed").is_null()).then("policy")
    return lines.with_columns(name=name.otherwise(pl.format("`{}`", "policy")))


def matching(lines: pl.DataFrame, asked: Mapping[str, str]) -> pl.DataFrame:
    """The lines whose columns are what is asked, as text; see `lines_where`."""
    for name, text in asked.items():
        name = SHORT.get(name, name)
        check_known("column", name, lines.columns)
        if (name, text) == ("condition", PERTURBED):
            lines = lines.filter(
                pl.col("lesion").is_null() & (pl.col("condition") != CLEAN_KEY)
            )
        else:
            lines = lines.filter(pl.col(name).cast(pl.String).fill_null("") == text)
    return lines


def _names(frame: pl.DataFrame) -> str:
    known = frame.select(*RUN, *CONDITION[:3]).row(0, named=True)
    told = known | {"seed": None if known["seed"] is None else f"seed {known['seed']}"}
    return task_name(list(told.values()))


def once(lines: pl.DataFrame) -> pl.DataFrame:
    """The lines. Raises UsageError where a run is there twice, as evaluated by several suites."""
    if lines.select(*RUN, "condition").is_duplicated().any():
        raise UsageError("runs were evaluated by several suites here: add suite=NAME")
    return lines


def of_one_task(lines: pl.DataFrame) -> pl.DataFrame:
    """The lines. Raises UsageError where they are of several tasks."""
    if lines.select(TASK).n_unique() > 1:
        raise UsageError(
            "this is of one environment and setting: add env=ID, or setting=LABEL"
        )
    return lines


def groups(lines: pl.DataFrame, *columns: str) -> Iterator[tuple[tuple, pl.DataFrame]]:
    """Lines that have these in common: in the order in which values of the first column appear,
    within these of the second, and so on.
    """
    place = pl.col("place").min()
    order = [place.over(columns[: i + 1]) for i in range(len(columns))]
    lines = lines.with_row_index("place").sort(order, maintain_order=True).drop("place")
    yield from lines.group_by(columns, maintain_order=True)


def values_of(lines: pl.DataFrame, measure: str) -> np.ndarray:
    """One value for each run that has any: the mean over its lines."""
    if measure not in lines.columns:
        return np.array([])
    known = lines.filter(pl.col(measure).is_not_null())
    return (
        known.group_by(RUN, maintain_order=True)
        .agg(pl.col(measure).mean())[measure]
        .to_numpy()
    )


def measure_of(lines: pl.DataFrame) -> str:
    """Late accuracy where the task has trials, else the return."""
    accuracies = "late_accuracy" in lines.columns and lines["late_accuracy"].count() > 0
    return "late_accuracy" if accuracies else "return"


def main_measure(lines: pl.DataFrame) -> tuple[str, str]:
    """What tells how good a policy is, and in which condition: a context held out, if there are
    contexts, or the clean task. Raises UsageError where none of `MEASURES` is there.
    """
    measure = next(
        (m for m in MEASURES if m in lines.columns and lines[m].count()), None
    )
    if measure is None:
        raise UsageError(f"these results have none of {', '.join(MEASURES)}")
    conditions = lines.filter(
        pl.col(measure).is_not_null(), pl.col("lesion").is_null()
    )["condition"]
    wanted = "held out" if measure == "settled_pace" else CLEAN_KEY
    return measure, conditions[0] if len(
        conditions
    ) and wanted not in conditions else wanted


def task_name(key: Sequence[str | None]) -> str:
    """Of what tells tasks apart, such as environment and setting."""
    return " ".join(filter(None, key))
