"""A table with a row for each group of a table's lines, and what makes its cells."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import polars as pl
from scipy import stats

from spikepropamine import table
from spikepropamine.evaluation.measures import DIVERGED
from spikepropamine.report.columns import Column, markdown
from spikepropamine.report.estimates import estimate
from spikepropamine.report.results import groups, has, values_of

Row = Mapping[str, Any]
Make = Callable[[pl.DataFrame], str]  # a cell out of lines


class Group(NamedTuple):
    """Lines that are one row of a table."""

    key: Mapping[str, str]  # what they have in common, by column
    lines: pl.DataFrame


def grouped(
    lines: pl.DataFrame,
    by: Sequence[str],
    shown: Mapping[str, str],
    columns: Mapping[str, Make],
) -> str:
    """A table with a row for each group of lines.

    Args:
        lines: of results.
        by: columns whose values tell the groups apart.
        shown: titles of the first columns, and which of `by` they show.
        columns: titles of the other columns, and what makes their cells.
    """

    def of_key(title: str, name: str) -> Column[Group]:
        return Column(title, lambda group: group.key[name])

    def of_lines(title: str, make: Make) -> Column[Group]:
        return Column(title, lambda group: make(group.lines))

    rows = [Group(dict(zip(by, key)), some) for key, some in groups(lines, *by)]
    every = [of_key(title, name) for title, name in shown.items()]
    every += [of_lines(title, make) for title, make in columns.items()]
    return markdown(every, rows)


def _having(lines: pl.DataFrame, where: Row | None) -> pl.DataFrame:
    for name, value in (where or {}).items():
        lines = lines.filter(pl.col(name).eq_missing(pl.lit(value)))
    return lines


def mean_cells(measure: str, decimals: int, where: Row | None = None) -> Make:
    """Makes cells of a mean over runs, of which each is the mean of its lines.

    Args:
        measure: a column of the lines.
        decimals: that are shown.
        where: what lines have to have, by column; all count without it.
    """

    def cell(lines: pl.DataFrame) -> str:
        """The mean over runs with its interval, how many runs have a value, and how
        many diverged.
        """
        lines = _having(lines, where)
        values = values_of(lines, measure)
        score = estimate(values[:, None]) if len(values) else None
        if score is None:
            return ""
        text = with_interval(score.mean, score.interval, decimals)
        return text + about_runs(len(values), lines)

    return cell


def seed_cells(
    measure: str, decimals: int, where: Row | None = None, alone: bool = False
) -> Make:
    """Makes cells of the interquartile mean over lines, and of each seed's value, or
    that it diverged. Where seeds are missing there is no mean, and a dash for each of
    them.

    Args:
        measure: a column of the lines.
        decimals: that are shown.
        where: what lines have to have, by column; all count without it.
        alone: whether the mean stands without the seeds.
    """

    def cell(lines: pl.DataFrame) -> str:
        """The interquartile mean, and the values of all seeds in brackets."""
        some = _having(lines, where)
        if not has(some, measure):
            return ""
        known = some.drop_nulls(measure)
        middle = f"{stats.trim_mean(known[measure], 0.25):.{decimals}f}"
        if alone or known["seed"][0] is None:
            return middle
        text = {
            seed: DIVERGED.name if diverged else f"{value:.{decimals}f}"
            for seed, value, diverged in known.select(
                "seed", measure, DIVERGED.name
            ).iter_rows()
        }
        trained = lines.filter(pl.col("environment") == known["environment"][0])
        texts = [text.get(seed, "-") for seed in trained["seed"].unique().sort()]
        if "-" in texts:
            return " ".join(texts)
        return f"{middle} ({' '.join(texts)})"

    return cell


def about_runs(count: int, lines: pl.DataFrame) -> str:
    """Says of how many runs a number is, where some have no value, since runs that
    learned nothing have nothing to lose; and how many diverged, which count as the
    worst.

    Args:
        count: of the runs that have a value.
        lines: of all runs.

    Returns:
        Such as " (3 of 5 seeds, 1 diverged)"; empty where all have a value of their
        own.
    """
    runs = lines.select(table.RUN).n_unique()
    diverged = lines.filter(DIVERGED.name).select(table.RUN).n_unique()
    parts = []
    if count != runs:
        parts.append(f"{count} of {runs} seeds")
    if diverged:
        parts.append(f"{diverged} diverged")
    return f" ({', '.join(parts)})" if parts else ""


def with_interval(
    value: float, edges: tuple[float, float] | None, decimals: int
) -> str:
    """With its interval, where there is one."""
    text = f"{value:.{decimals}f}"
    if edges is None:
        return text
    low, high = edges
    return f"{text} [{low:.{decimals}f}, {high:.{decimals}f}]"
