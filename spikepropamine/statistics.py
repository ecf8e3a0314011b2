"""The statistics of this project: intervals of means, and tests of differences.

The unit is a training run: one value for each, the mean over its episodes. Where there
is a single run, its episodes are the units, and nothing is said about other runs.
`benchmarks.coverage` simulates how often the tests err; docs/statistics.md has its
table.
"""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from scipy import stats

LEVEL = 0.05  # of significance; intervals are of 95 %
HIGHER, LOWER = "significantly higher", "significantly lower"
NO_DIFFERENCE = "no significant difference"
UNTESTED = "not tested"
RESAMPLES = 10_000
MANY = 20  # values from which on rank tests take the normal approximation
ROUNDING = 1e-9  # relative difference of values that are equal but for rounding

Values = Sequence[float] | np.ndarray


class Difference(NamedTuple):
    """Of two samples of runs, `one` less `other`."""

    mean: float  # of the means
    # 95 % (Welch); None where a sample has one value, or none of the two varies
    interval: tuple[float, float] | None
    # of Welch's test, None where there is no interval; of the bootstrap where tasks are
    # pooled
    p: float | None
    # of the exact rank test of Mann and Whitney, or of Wilcoxon for pairs; None where
    # tasks are pooled
    rank_p: float | None
    # probability that a run of `one` has the higher value, ties counting half: the
    # effect size. Hedges' g would follow a single failed run, and has no value where
    # none varies
    better: float


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
        The difference; interval and p are Welch's, or Student's of the differences
        where the values are paired.
    """
    one = np.asarray(one, dtype=float)
    other = np.asarray(other, dtype=float)
    gap = float(one.mean() - other.mean())
    better = _better(one if paired else one[:, None], other)
    rank_p = _rank_p(one, other, paired)
    samples = [one - other] if paired else [one, other]
    if min(map(len, samples)) < 2 or not any(map(_varies, samples)):
        return Difference(gap, None, None, rank_p, better)
    squares = np.array([np.var(values, ddof=1) / len(values) for values in samples])
    freedoms = np.array([len(values) - 1 for values in samples])
    error = np.sqrt(squares.sum())
    # Welch and Satterthwaite
    freedom = squares.sum() ** 2 / (squares**2 / freedoms).sum()
    half = float(stats.t.ppf(1 - LEVEL / 2, freedom) * error)
    p = float(2 * stats.t.sf(abs(gap) / error, freedom))
    return Difference(gap, (gap - half, gap + half), p, rank_p, better)


def _better(one: np.ndarray, other: np.ndarray) -> float:
    """The share of pairs in which `one` is higher, ties counting half."""
    return float(np.mean((one > other) + 0.5 * (one == other)))


def _rank_p(one: np.ndarray, other: np.ndarray, paired: bool) -> float:
    if paired:
        if (one == other).all():
            return 1.0
        return float(stats.wilcoxon(one, other).pvalue)
    if max(len(one), len(other)) > MANY:
        return float(stats.mannwhitneyu(one, other, method="asymptotic").pvalue)
    method: Any = "exact"
    ties = len(np.unique([*one, *other])) < len(one) + len(other)
    if ties and min(len(one), len(other)) > 1:
        random = np.random.default_rng(0)
        method = stats.PermutationMethod(n_resamples=RESAMPLES, rng=random)
    return float(stats.mannwhitneyu(one, other, method=method).pvalue)


def pooled(
    one: Mapping[str, Values], other: Mapping[str, Values], unit: Mapping[str, float]
) -> Difference:
    """The mean difference over tasks, each in a unit of its own.

    The interval is of a bootstrap that resamples the runs of each policy within each
    task (Agarwal et al. 2021, arXiv:2108.13264). Deviations are enlarged by
    sqrt(n / (n - 1)) and by the ratio of Student's quantile to the normal one, without
    which it would be too narrow for few runs (Hesterberg 2015,
    doi:10.1080/00031305.2015.1089789).

    Args:
        one: by task, values of two runs or more.
        other: the same of the other policy.
        unit: by task, what differences are relative to, such as the mean return of a
            reference above that of random actions.
    """
    random = np.random.default_rng(0)
    freedom = sum(len(side[task]) - 1 for side in (one, other) for task in unit)
    wider = stats.t.ppf(1 - LEVEL / 2, freedom) / stats.norm.ppf(1 - LEVEL / 2)

    def resampled_means(sample: Values) -> np.ndarray:
        values = np.asarray(sample, dtype=float)
        count = len(values)
        mean = values.mean()
        spread = (values - mean) * wider * np.sqrt(count / (count - 1))
        drawn = random.integers(count, size=(RESAMPLES, count))
        means: np.ndarray = mean + spread[drawn].mean(axis=1)
        return means

    gaps = []
    means = []
    better = []
    for task, scale in unit.items():
        first = resampled_means(one[task])
        second = resampled_means(other[task])
        gaps.append((first - second) / scale)
        of_task = difference(one[task], other[task])
        means.append(of_task.mean / scale)
        better.append(of_task.better)
    resampled = np.mean(gaps, axis=0)
    low, high = np.quantile(resampled, [LEVEL / 2, 1 - LEVEL / 2])
    tail = min(np.mean(resampled <= 0), np.mean(resampled >= 0))
    return Difference(
        mean=float(np.mean(means)),
        interval=(float(low), float(high)),
        p=min(1.0, 2 * max(float(tail), 1 / RESAMPLES)),
        rank_p=None,
        better=float(np.mean(better)),
    )


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
    """The p that decides: Welch's; that of the rank test where no value varies."""
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
