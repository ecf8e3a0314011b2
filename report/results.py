"""Results on file as tables and figures use them: a line for each run and condition."""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np
import polars as pl

from spikepropamine.common import CLEAN_KEY, UsageError, check_known
from spikepropamine.table import CONDITION, EVALUATION, RUN, TASK, derived, pivot, read, where

PERTURBED = "perturbed"
"""In the place of a condition: all of a suite that perturb, the policy being intact."""
SHORT = {"env": "environment"}  # as the command line calls it
MEASURES = ("settled_pace", "late_accuracy", "return")
"""What tells how good a policy is, the most telling first that a task has."""


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
                found = ", ".join(map(str, uneven[name].unique(maintain_order=True)[:2]))
                raise UsageError(
                    f"{_names(uneven)}: seeds differ in {name} ({found}); run the matrix for all"
                )
    return lines


def lines_of(frame: pl.DataFrame) -> pl.DataFrame:
    """The same of rows. Raises UsageError where a run is there twice."""
    frame = derived(frame)
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
        lines = lines.join(known, on=keys, how="left", nulls_equal=True, maintain_order="left")
    name = pl.when(pl.col("seed").is_null()).then("policy")
    return lines.with_columns(name=name.otherwise(pl.format("`{}`", "policy")))


def matching(lines: pl.DataFrame, asked: Mapping[str, str]) -> pl.DataFrame:
    """The lines whose columns are what is asked, as text; see `lines_where`."""
    for name, text in asked.items():
        name = SHORT.get(name, name)
        check_known("column", name, lines.columns)
        if (name, text) == ("condition", PERTURBED):
            lines = lines.filter(pl.col("lesion").is_null() & (pl.col("condition") != CLEAN_KEY))
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
        raise UsageError("this is of one environment and setting: add env=ID, or setting=LABEL")
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
    return known.group_by(RUN, maintain_order=True).agg(pl.col(measure).mean())[measure].to_numpy()


def measure_of(lines: pl.DataFrame) -> str:
    """Late accuracy where the task has trials, else the return."""
    accuracies = "late_accuracy" in lines.columns and lines["late_accuracy"].count() > 0
    return "late_accuracy" if accuracies else "return"


def main_measure(lines: pl.DataFrame) -> tuple[str, str]:
    """What tells how good a policy is, and in which condition: a context held out, if there are
    contexts, or the clean task. Raises UsageError where none of `MEASURES` is there.
    """
    measure = next((m for m in MEASURES if m in lines.columns and lines[m].count()), None)
    if measure is None:
        raise UsageError(f"these results have none of {', '.join(MEASURES)}")
    conditions = lines.filter(pl.col(measure).is_not_null(), pl.col("lesion").is_null())[
        "condition"
    ]
    wanted = "held out" if measure == "settled_pace" else CLEAN_KEY
    return measure, conditions[0] if len(conditions) and wanted not in conditions else wanted


def task_name(key: Sequence[str | None]) -> str:
    """Of what tells tasks apart, such as environment and setting."""
    return " ".join(filter(None, key))
