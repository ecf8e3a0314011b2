"""Measures that follow from others, as rows of the results table: retention, late
accuracy, and whether a run has learned. They are computed whenever results are read.
"""

from collections.abc import Sequence
from typing import Any

import polars as pl

from spikepropamine import statistics, table
from spikepropamine.common import CLEAN_KEY
from spikepropamine.evaluation.measure import SHARE, Measure
from spikepropamine.table import COLUMNS, DIGITS, EVALUATION, ROW, RUN, TASK

FEWEST = 4  # episodes that can show that a run has learned


def retention(frame: pl.DataFrame) -> pl.DataFrame:
    """Rows of `retention`: (R - R_random) / (R_clean - R_random) of each run, R its
    mean return in a condition, with a lesion or without.

    R_clean is that of the same suite. R_random is one for each task and length of its
    episodes: the mean of its rows of `random_return`, which differ where evaluations
    drew other random actions. A run that is no better than random actions, or whose row
    `learned` is 0, has none.
    """
    frame = frame.with_columns(length=pl.col("suite").str.extract(r"-x(\d+)(?:-|$)"))
    lines = _mean_of(frame, "return", [*ROW, "length"])
    clean = table.where(lines, condition=CLEAN_KEY, lesion=None)
    clean = clean.select(*EVALUATION, clean="value")
    random = _mean_of(frame, "random_return", [*TASK, "length"])
    learned = _mean_of(frame, "learned", EVALUATION)
    how: dict[str, Any] = {"nulls_equal": True, "maintain_order": "left"}
    lines = (
        lines.join(clean, on=EVALUATION, **how)
        .join(
            random.rename({"value": "random"}),
            on=[*TASK, "length"],
            how="left",
            **how,
        )
        .join(learned.rename({"value": "learned"}), on=EVALUATION, how="left", **how)
    )
    margin = pl.col("clean") - pl.col("random")
    has_learned = (margin > 0) & (pl.col("learned").fill_null(1.0) > 0)
    ratio = (pl.col("value") - pl.col("random")) / margin
    return _rows(lines.filter(has_learned).with_columns(value=ratio), "retention")


def late_accuracy(frame: pl.DataFrame, by_episode: bool = False) -> pl.DataFrame:
    """Rows of `late_accuracy`: of `correct` over the second half of the trials.

    Args:
        frame: rows of results.
        by_episode: whether there is a row for each episode, null where it has no late
            answer; else one for each run that has any, the mean of its episodes.

    Returns:
        The rows. Where the number of trials is odd, the second half is the longer one.
        There are none of runs whose file has them: a mean of their episodes, which
        means by trial do not tell where some trials have no answer.
    """
    known = table.where(frame, measure="late_accuracy")
    late = pl.col("at") >= (pl.col("at").max().over(ROW) + 1) // 2
    value = pl.col("value").filter("late").mean()
    lines = table.where(frame, measure="correct").with_columns(late=late)
    lines = lines.join(known, on=ROW, how="anti", nulls_equal=True)
    lines = lines.group_by(*ROW, "episode", maintain_order=True).agg(value)
    if not by_episode:
        lines = lines.group_by(ROW, maintain_order=True).agg(pl.col("value").mean())
        lines = lines.drop_nulls("value")
    return _rows(lines, "late_accuracy")


def learned(frame: pl.DataFrame) -> pl.DataFrame:
    """Rows of `learned` for each run and suite of an evaluation: 1 where its clean
    return is significantly higher than that of random actions and of standing still, by
    Welch's test or the rank test, else 0; none where there are too few episodes.
    """
    rows = []
    keys = [*RUN, "steps", "suite", "revision"]
    clean = table.where(frame, condition=CLEAN_KEY, lesion=None, measure="return")
    for key, of_run in clean.group_by(keys, maintain_order=True):
        run = dict(zip(keys, key))
        of_evaluation = table.where(frame, **run)
        answers = []
        for name in ("random_return", "still_return"):
            others = table.where(of_evaluation, measure=name)["value"]
            if others.len() and min(of_run.height, others.len()) >= FEWEST:
                answers.append(_is_higher(of_run["value"], others))
        if answers:
            rows.append(run | {"measure": "learned", "value": float(all(answers))})
    return table.table(rows)


def _is_higher(returns: pl.Series, others: pl.Series) -> bool:
    sample = returns.to_numpy()
    other = others.to_numpy()
    tested = statistics.difference(sample, other)
    p_values = [1.0]
    if tested.interval is not None:
        _, p = statistics.welch(sample, other)
        p_values.append(p)
    # by rank it may be lower where a single episode makes the mean higher
    if tested.rank_p is not None and tested.better > 0.5:
        p_values.append(tested.rank_p)
    return statistics.verdict(tested, min(p_values)) == statistics.HIGHER


def _mean_of(frame: pl.DataFrame, measure: str, keys: Sequence[str]) -> pl.DataFrame:
    """Over all rows of a measure that have these in common."""
    rows = table.where(frame, measure=measure)
    return rows.group_by(keys, maintain_order=True).agg(pl.col("value").mean())


def _rows(lines: pl.DataFrame, measure: str) -> pl.DataFrame:
    missing = [name for name in ("at", "episode") if name not in lines.columns]
    return lines.with_columns(
        pl.lit(measure).alias("measure"),
        # so that a half is rounded as the stored one
        pl.col("value").round_sig_figs(DIGITS),
        *(pl.lit(None, COLUMNS[name]).alias(name) for name in missing),
    ).select(list(COLUMNS))


DERIVED: tuple[Measure[None], ...] = (
    Measure(
        "learned",
        "has learned",
        "1 where the clean return is significantly higher than that of random actions "
        "and of standing still, else 0.",
        derive=lambda frame, _: learned(frame),
        bounds=SHARE,
        higher_is_better=True,
        section="",
        on_file=True,
    ),
    Measure(
        "retention",
        "return kept",
        "The return above that of random actions, relative to the same in the clean "
        "task; a run that has not learned has none.",
        derive=lambda frame, _: retention(frame),
        short="retention",
        higher_is_better=True,
        as_percent=True,
        section="results",
        tells=5,
    ),
    Measure(
        "late_accuracy",
        "late accuracy",
        "Share of right answers in the second half of the trials of an episode.",
        derive=late_accuracy,
        axis="right answers in late trials",
        bounds=SHARE,
        higher_is_better=True,
        as_percent=True,
        section="results",
        tells=3,
    ),
)
"""Computed from other rows when results are read."""
