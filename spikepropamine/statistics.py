"""The statistics of this project: intervals of means, and tests of differences.

The unit is a training run: one value for each, the mean over its episodes. Where there
is a single run, its episodes are the units, and nothing is said about other runs.
`benchmarks.coverage` simulates how often the tests err, and `benchmarks.choice` those
that were not chosen; docs/statistics.md has their tables.
"""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
from scipy import stats

from spikepropamine import ranks
from spikepropamine.resampling import studentised

LEVEL = 0.05  # of significance; intervals are of 95 %
HIGHER = "significantly higher"
LOWER = "significantly lower"
NO_DIFFERENCE = "no significant difference"
UNTESTED = "not tested"
FEWEST = 4
"""Runs of each policy from which on they are tested. With fewer there are an estimate
and an interval, and nothing is significant."""
MANY = 20
"""Values up to which the bootstrap-t and exact ranks are used; beyond, Welch's test and
the normal approximation of ranks."""
ROUNDING = 1e-9  # relative difference of values that are equal but for rounding

Values = Sequence[float] | np.ndarray


class Difference(NamedTuple):
    """Of two samples of runs, `one` less `other`."""

    mean: float  # of the means
    # 95 %, of the bootstrap-t, or Welch's of fewer than FEWEST and more than MANY
    # values; None where a sample has one value, or none of the two varies
    interval: tuple[float, float] | None
    # of the same test; None where there is no interval, or fewer than FEWEST values
    p: float | None
    # of the exact rank test of Mann and Whitney, or of Wilcoxon for pairs; None where
    # there are fewer than FEWEST values
    rank_p: float | None
    # probability of improvement: that a run of `one` has the higher value, ties
    # counting half. Hedges' g would follow a single failed run, and has no value where
    # none varies
    better: float
    better_interval: tuple[float, float] = (0.0, 1.0)  # 95 %


class Equivalence(NamedTuple):
    """Whether a difference is smaller than a margin, whatever its sign."""

    margin: float
    p: float  # the larger one of two one-sided tests
    interval: tuple[float, float]  # 90 %: within the margin where p is below 0.05

    @property
    def shown(self) -> bool:
        """Whether equivalence within the margin is significant."""
        return self.p < LEVEL


def interval(values: Values) -> tuple[float, float] | None:
    """Student's 95 % interval of a mean; None for a single value, or where all are
    equal, which says nothing about how much others would differ.
    """
    values = np.asarray(values, dtype=float)
    if not _varies(values):
        return None
    half = stats.t.ppf(1 - LEVEL / 2, len(values) - 1) * stats.sem(values)
    return float(values.mean() - half), float(values.mean() + half)


def difference(one: Values, other: Values, paired: bool = False) -> Difference:
    """Of two policies, or of one policy in two conditions.

    Args:
        one: finite values, one for each run.
        other: the same of the other one.
        paired: whether the values belong together two by two, as with and without a
            lesion.

    Returns:
        The difference; where the values are paired, interval and p are those of the
        mean of the differences.
    """
    one = np.asarray(one, dtype=float)
    other = np.asarray(other, dtype=float)
    ranked = _ranked(one, other, paired)
    better = _better(*ranked)
    samples = [one - other] if paired else [one, other]
    counts = [len(values) for values in samples]
    if paired:
        around = ranks.share_interval(better, len(one), LEVEL)
    else:
        around = ranks.improvement_interval(better, len(one), len(other), LEVEL)
    tested = Difference(
        mean=float(np.sort(one).mean() - np.sort(other).mean()),
        interval=None,
        p=None,
        rank_p=_rank_p(*ranked) if min(counts) >= FEWEST else None,
        better=better,
        better_interval=around,
    )
    if min(counts) < 2 or not any(map(_varies, samples)):
        return tested
    if min(counts) < FEWEST or max(counts) > MANY:
        interval, p = welch(*samples)
    else:
        resampled = studentised(*samples)
        interval = resampled.interval(LEVEL)
        p = resampled.p()
    if min(counts) < FEWEST:
        return tested._replace(interval=interval)
    return tested._replace(interval=interval, p=p)


def welch(*samples: np.ndarray) -> tuple[tuple[float, float], float]:
    """The 95 % interval and p value of Welch's test of two means; of a single sample,
    those of Student's.

    Args:
        samples: one or two, float64 [runs], of two values or more, at least one of
            which varies.
    """
    mean, error, freedom = error_of(samples)
    half = float(stats.t.ppf(1 - LEVEL / 2, freedom) * error)
    p = float(2 * stats.t.sf(abs(mean) / error, freedom))
    return (mean - half, mean + half), p


def error_of(samples: Sequence[np.ndarray]) -> tuple[float, float, float]:
    """The difference of two means, or the one mean; its standard error; and the degrees
    of freedom (Welch and Satterthwaite).
    """
    mean = float(samples[0].mean())
    if len(samples) == 2:
        mean = float(samples[0].mean() - samples[1].mean())
    squares = np.array([np.var(values, ddof=1) / len(values) for values in samples])
    freedoms = np.array([len(values) - 1 for values in samples])
    freedom = squares.sum() ** 2 / (squares**2 / freedoms).sum()
    return mean, float(np.sqrt(squares.sum())), float(freedom)


def equivalence(one: Values, other: Values, margin: float) -> Equivalence | None:
    """Whether two policies differ by less than a margin: two one-sided tests
    (Schuirmann 1987), with Welch's error.

    Args:
        one: finite values, one for each run.
        other: the same of the other policy.
        margin: above 0; a difference as large as this would matter.

    Returns:
        The tests; None where one of the two has fewer than `FEWEST` runs, or none
        varies.
    """
    samples = [np.asarray(one, dtype=float), np.asarray(other, dtype=float)]
    if min(map(len, samples)) < FEWEST or not any(map(_varies, samples)):
        return None
    mean, error, freedom = error_of(samples)
    p = float(stats.t.sf((margin - abs(mean)) / error, freedom))
    half = float(stats.t.ppf(1 - LEVEL, freedom) * error)
    return Equivalence(margin, p, (mean - half, mean + half))


def _ranked(
    one: np.ndarray, other: np.ndarray, paired: bool
) -> tuple[np.ndarray] | tuple[np.ndarray, np.ndarray]:
    """What is ranked: whole numbers in the order of two samples, or of the differences
    of pairs. Values that are equal but for rounding are ties.
    """
    every = np.concatenate([one, other])
    smallest = ROUNDING * np.abs(every).max(initial=0)
    if paired:
        sizes = np.append(0.0, np.abs(one - other))
        return (np.sign(one - other) * _levels(sizes, smallest)[1:],)
    levels = _levels(every, smallest)
    return levels[: len(one)], levels[len(one) :]


def _levels(values: np.ndarray, smallest: float) -> np.ndarray:
    """The ranks of values from 0 on, without gaps; ties have the same.

    Args:
        values: float64 [values].
        smallest: difference to the next higher value that does not count.
    """
    order = np.argsort(values)
    above = np.diff(values[order], prepend=values[order][:1]) > smallest
    levels = np.zeros(len(values))
    levels[order] = above.cumsum()
    return levels


def _better(*ranked: np.ndarray) -> float:
    """The share of pairs in which the first is higher, ties counting half.

    Args:
        ranked: two samples, each value of which is compared with each of the other; or
            the differences of pairs.
    """
    differences = ranked[0]
    if len(ranked) == 2:
        differences = np.subtract.outer(*ranked)
    return float(np.mean((differences > 0) + 0.5 * (differences == 0)))


def _rank_p(*ranked: np.ndarray) -> float:
    """Of the test of Mann and Whitney of two samples, or of Wilcoxon of the differences
    of pairs.
    """
    many = max(map(len, ranked)) > MANY
    if len(ranked) == 2:
        if many:
            return float(stats.mannwhitneyu(*ranked, method="asymptotic").pvalue)
        return ranks.rank_sum_p(*ranked)
    (differences,) = ranked
    if not differences.any():
        return 1.0
    if many:
        return float(stats.wilcoxon(differences, method="asymptotic").pvalue)
    return ranks.signed_rank_p(differences)


def pooled(
    one: Mapping[str, Values], other: Mapping[str, Values], unit: Mapping[str, float]
) -> Difference:
    """The mean difference over tasks, each in a unit of its own.

    The unit of this comparison is a task: its value is the difference of the means over
    runs. So the interval counts the choice of tasks as well as that of seeds, and the
    probability of improvement is that of a task.

    Args:
        one: by task, values of its runs.
        other: the same of the other policy.
        unit: by task, what differences are relative to, such as the mean return of a
            reference above that of random actions.
    """
    first = np.array([np.mean(one[task]) / scale for task, scale in unit.items()])
    second = np.array([np.mean(other[task]) / scale for task, scale in unit.items()])
    return difference(first, second, paired=True)


def holm(p_values: Sequence[float | None]) -> list[float | None]:
    """The p values of many comparisons, corrected (Holm 1979); what was not tested
    stays None.
    """
    tested = sorted((p, i) for i, p in enumerate(p_values) if p is not None)
    corrected: list[float | None] = [None] * len(p_values)
    least = 0.0
    for rank, (p, i) in enumerate(tested):
        least = max(least, min(1.0, (len(tested) - rank) * p))
        corrected[i] = least
    return corrected


def decisive(tested: Difference) -> float | None:
    """The p that decides; that of the rank test where no value varies."""
    return tested.rank_p if tested.p is None else tested.p


def verdict(tested: Difference, p: float | None = None) -> str:
    """In words: `HIGHER`, `LOWER`, `NO_DIFFERENCE` (which does not say that they are
    equal), or `UNTESTED`.

    Args:
        tested: the difference.
        p: that decides, such as a corrected one; None: that of the difference.
    """
    if p is None:
        p = decisive(tested)
    if p is None:
        return UNTESTED
    if p >= LEVEL:
        return NO_DIFFERENCE
    return HIGHER if tested.mean > 0 else LOWER


def _varies(values: np.ndarray) -> bool:
    return len(values) > 1 and np.ptp(values) > ROUNDING * np.abs(values).max()
