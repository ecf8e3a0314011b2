"""What is computed when a results table is read, and never stored: retention and late accuracy."""

import polars as pl

from spikepropamine.common import CLEAN_KEY
from spikepropamine.table import COLUMNS, CONDITION, DIGITS, RUN, TASK, where

ROW = (*RUN, "steps", *CONDITION, "revision")
EVALUATION = (*RUN, "suite")


def derived(frame: pl.DataFrame) -> pl.DataFrame:
    """The rows, and those of `retention` and `late_accuracy` below them."""
    return pl.concat([frame, retention(frame), late_accuracy(frame)])


def retention(frame: pl.DataFrame) -> pl.DataFrame:
    """Rows of `retention`: (R - R_random) / (R_clean - R_random) of each run, R its mean return in
    a condition, with a lesion or without.

    R_clean is that of the same suite. R_random is one for each task: the mean of its rows of
    `random_return`, which differ where evaluations drew other random actions. A run that is no
    better than random actions, or whose row `learned` is 0, has none.
    """
    fact = [*EVALUATION, "value"]
    lines = _mean_of(frame, "return", *ROW)
    clean = where(lines, condition=CLEAN_KEY, lesion=None).select(fact).rename({"value": "clean"})
    lines = lines.join(clean, on=EVALUATION, nulls_equal=True, maintain_order="left")
    facts = (("random_return", "random", TASK), ("learned", "learned", EVALUATION))
    for measure, name, keys in facts:
        known = _mean_of(frame, measure, *keys).rename({"value": name})
        lines = lines.join(known, on=keys, how="left", nulls_equal=True, maintain_order="left")
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
    value = pl.col("value").round_sig_figs(DIGITS)  # so that a half is rounded as the stored one
    lines = lines.with_columns(pl.lit(measure).alias("measure"), value, *empty)
    return lines.select(list(COLUMNS))
