"""The reader of results, which every table, figure, card and report begins with.

Rows become lines: one for each run and condition, with a column for each measure, those
that are derived among them. A line also has the facts of its run, and `name`, the
policy as pages show it.
"""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from spikepropamine import table
from spikepropamine.common import CLEAN_KEY, UsageError, check_known
from spikepropamine.evaluation.measure import SHARE, Measure
from spikepropamine.evaluation.measures import DERIVED, DIVERGED, MEASURES, telling
from spikepropamine.table import CONDITION, EVALUATION, RUN, TASK

PERTURBED = "perturbed"
"""In the place of a condition: all of a suite that perturb, the policy being intact."""
SHORT = {"env": "environment"}
"""Columns as markers of pages call them."""
HELD_OUT = "held out"
"""The condition of contexts that training never contained."""
LARGE = 10  # numbers above it are shown without decimals
UNEVEN = 1.1  # ratio of steps: the last generation of evolution may end early


def with_derived(
    frame: pl.DataFrame, on_file: bool = False, by_episode: bool = False
) -> pl.DataFrame:
    """The rows, and those of the measures that follow from them.

    Args:
        frame: rows of results.
        on_file: whether those that are kept on file are meant, or the others.
        by_episode: whether there is a row for each episode where that can be.
    """
    for measure in DERIVED:
        if measure.on_file == on_file:
            assert measure.derive is not None
            frame = pl.concat([frame, measure.derive(frame, by_episode)])
    return frame


def lines_of(frame: pl.DataFrame) -> pl.DataFrame:
    """The lines of rows: means over episodes, steps and trials; what is missing is
    null. A run that diverged has the worst value of all, see `_with_diverged`; the
    column `diverged` is true of it. Raises UsageError where a run is there twice.
    """
    frame = with_derived(frame)
    twice = frame.filter(frame.drop("value", "revision").is_duplicated())
    if twice.height:
        raise UsageError(f"{_names(twice)}: it is there twice, of two evaluations")
    whole = frame.filter(pl.col("at").is_null())
    lines = _pivot(whole.filter(pl.col("condition").is_not_null()))
    lines = _with_diverged(lines, table.where(frame, measure=DIVERGED.name))
    facts = whole.filter(pl.col("condition").is_null())
    of_suites = facts.filter(pl.col("suite").is_not_null())
    revisions = frame.select(*RUN, "revision").unique(RUN, maintain_order=True)
    for keys, known in (
        (RUN, _pivot(table.where(facts, suite=None))),
        (EVALUATION, _pivot(of_suites)),
        (RUN, revisions),
    ):
        needless = {*CONDITION, "steps", DIVERGED.name} - {*keys}
        known = known.select(name for name in known.columns if name not in needless)
        lines = lines.join(
            known, on=keys, how="left", nulls_equal=True, maintain_order="left"
        )
    name = pl.when(pl.col("seed").is_null()).then("policy")
    return lines.with_columns(name=name.otherwise(pl.format("`{}`", "policy")))


def _pivot(frame: pl.DataFrame) -> pl.DataFrame:
    return frame.pivot(
        "measure",
        index=[*RUN, "steps", *CONDITION],
        values="value",
        aggregate_function="mean",
        maintain_order=True,
    )


def _with_diverged(lines: pl.DataFrame, broke: pl.DataFrame) -> pl.DataFrame:
    """The lines, and those of runs that diverged, with the column `diverged`.

    Such a run has a line in each condition in which other runs of its policy have one;
    where all of them diverged, in each condition of the task without a lesion. Its
    values are the worst of the runs of all policies there; none of measures of which
    neither higher nor lower values are better.

    Args:
        lines: of the runs that were evaluated.
        broke: rows of `diverged`.
    """
    lines = lines.with_columns(pl.lit(False).alias(DIVERGED.name))
    broke = broke.select(RUN).unique(maintain_order=True)
    if broke.is_empty() or lines.is_empty():
        return lines
    of_runs = lines.filter(pl.col("seed").is_not_null())
    place = [*TASK, *CONDITION]
    worst = of_runs.group_by(place, maintain_order=True).agg(
        pl.col(name).min() if MEASURES[name].higher_is_better else pl.col(name).max()
        for name in lines.columns
        if name in MEASURES and MEASURES[name].higher_is_better is not None
    )
    policy = [*TASK, "policy"]
    how: dict[str, Any] = {"nulls_equal": True, "maintain_order": "left"}
    of_policies = of_runs.select(*policy, *CONDITION).unique(maintain_order=True)
    beside_others = broke.join(of_policies, on=policy, **how)
    alone = broke.join(of_policies, on=policy, how="anti", **how)
    alone = alone.join(table.where(worst, lesion=None).select(place), on=TASK, **how)
    added = pl.concat([beside_others, alone]).join(worst, on=place, **how)
    added = added.with_columns(pl.lit(True).alias(DIVERGED.name))
    return pl.concat([lines, added], how="diagonal")


def lines_on_file(files: Sequence[Path], wanted: Mapping[str, str]) -> pl.DataFrame:
    """The lines of files.

    Args:
        files: tables of results.
        wanted: what columns have to have, as text; empty text is null.

    Raises:
        UsageError: there are no such lines or columns; a run is there twice; runs of a
            policy differ in their steps or episodes.
    """
    lines = matching(lines_of(table.read(files)), wanted)
    if lines.is_empty():
        raise UsageError(f"no rows with {dict(wanted)} in {', '.join(map(str, files))}")
    alike = [*TASK, "policy", *CONDITION]
    for name, factor in (("steps", UNEVEN), ("episodes", 1)):
        if name not in lines.columns:
            continue
        most = pl.col(name).max().over(alike)
        least = pl.col(name).min().over(alike)
        uneven = lines.filter(most > factor * least)
        if uneven.height:
            values = uneven[name].unique(maintain_order=True)[:2]
            raise UsageError(
                f"{_names(uneven)}: seeds differ in {name} "
                f"({', '.join(map(str, values))}); run the matrix for all"
            )
    return lines


def matching(lines: pl.DataFrame, wanted: Mapping[str, str]) -> pl.DataFrame:
    """The lines that have what is wanted.

    Args:
        lines: lines, or rows.
        wanted: texts by name of the column; empty text is null, and the condition
            `PERTURBED` stands for all that perturb.

    Raises:
        UsageError: an unknown column.
    """
    for given, text in wanted.items():
        name = SHORT.get(given, given)
        check_known("column", name, lines.columns)
        if (name, text) == ("condition", PERTURBED):
            perturbs = pl.col("condition") != CLEAN_KEY
            lines = lines.filter(pl.col("lesion").is_null() & perturbs)
        else:
            lines = lines.filter(pl.col(name).cast(pl.String).fill_null("") == text)
    return lines


def _names(frame: pl.DataFrame) -> str:
    first = frame.row(0, named=True)
    seed = None if first["seed"] is None else f"seed {first['seed']}"
    parts = [first[name] for name in (*TASK, "policy")]
    conditions = [first[name] for name in CONDITION[:3]]
    return task_name([*parts, seed, *conditions])


def once(lines: pl.DataFrame) -> pl.DataFrame:
    """The lines. Raises UsageError where a run is there twice, as evaluated by several
    suites.
    """
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


def groups(
    lines: pl.DataFrame, *columns: str
) -> Iterator[tuple[tuple[Any, ...], pl.DataFrame]]:
    """Lines that have values in common, in the order in which those of the first column
    appear, within these of the second, and so on.

    Args:
        lines: lines, or rows.
        columns: whose values tell the groups apart.

    Yields:
        The values, and the lines that have them.
    """
    place = pl.col("place").min()
    order = [place.over(columns[: i + 1]) for i in range(len(columns))]
    lines = lines.with_row_index("place").sort(order, maintain_order=True).drop("place")
    yield from lines.group_by(columns, maintain_order=True)


def values_of(lines: pl.DataFrame, measure: str) -> np.ndarray:
    """One value for each run that has any: the mean over its lines.

    Args:
        lines: of runs.
        measure: its name.

    Returns:
        float64 [runs].
    """
    if measure not in lines.columns:
        return np.array([])
    by_run = lines.drop_nulls(measure).group_by(RUN, maintain_order=True)
    return by_run.agg(pl.col(measure).mean())[measure].to_numpy()


def above_random(mean: float, lines: pl.DataFrame, name: str) -> float:
    """A mean return above that of random actions, which others can be relative to.

    Args:
        mean: the return.
        lines: of its task, with the returns of random actions.
        name: of the policy that earns it, for people.

    Raises:
        UsageError: it is no higher than that of random actions.
    """
    above = mean - float(str(lines["random_return"].mean()))
    if not above > 0:
        raise UsageError(
            f"{name} earns no more than random actions, so nothing is relative to that"
        )
    return above


def has(lines: pl.DataFrame, measure: str) -> bool:
    """Whether a line has a value of a measure.

    Args:
        lines: of a table with a column for each measure.
        measure: name of the column.
    """
    return measure in lines.columns and lines[measure].count() > 0


def accuracy_or_return(lines: pl.DataFrame) -> str:
    """The accuracy that tells most, where the task has trials, else the return."""
    for measure in telling():
        if measure.bounds == SHARE and has(lines, measure.name):
            return measure.name
    return "return"


def main_measure(lines: pl.DataFrame) -> tuple[Measure[Any], str]:
    """What tells how good a policy is, and in which condition: contexts held out, if
    there are contexts, or the clean task. Raises UsageError where nothing tells that.
    """
    measure = next((m for m in telling() if has(lines, m.name)), None)
    if measure is None:
        names = ", ".join(m.name for m in telling())
        raise UsageError(f"these results have none of {names}")
    intact = lines.filter(pl.col("lesion").is_null()).drop_nulls(measure.name)
    conditions = intact["condition"]
    wanted = HELD_OUT if measure.of_contexts else CLEAN_KEY
    if len(conditions) and wanted not in conditions:
        return measure, str(conditions[0])
    return measure, wanted


def decimals_of(lines: pl.DataFrame, measure: str) -> int:
    """How many decimals of a measure are shown on pages.

    Args:
        lines: of a table with a column for each measure.
        measure: name of the column.
    """
    if measure not in lines.columns:
        return 2
    return 0 if (lines[measure].abs() > LARGE).any() else 2


def task_name(key: Sequence[str | None]) -> str:
    """The name of a task: environment, setting and so on, those that are there."""
    return " ".join(filter(None, key))
