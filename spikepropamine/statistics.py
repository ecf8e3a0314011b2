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
NO_DIFFERENCE, UNTESTED = "no significant difference", "not tested"
RESAMPLES = 10_000
MANY = (
    20  # values, as of episodes, from which on rank tests take the normal approximation
)
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
    """Of two policies, or of one policy in two conditions: finite values, one for each
    run; they belong together two by two where they are `paired`, as with and without a
    lesion. The interval and p are Welch's, or Student's of the differences where they
    are paired.
    """
    one, other = np.asarray(one, dtype=float), np.asarray(other, dtype=float)
    pairs = (one, other) if paired else (one[:, None], other)
    better = float(np.mean((pairs[0] > pairs[1]) + 0.5 * (pairs[0] == pairs[1])))
    gap, rank_p = float(one.mean() - other.mean()), _rank_p(one, other, paired)
    samples = [one - other] if paired else [one, other]
    if min(map(len, samples)) < 2 or not any(map(_varies, samples)):
        return Difference(gap, None, None, rank_p, better)
    squares = np.array([np.var(values, ddof=1) / len(values) for values in samples])
    error, freedoms = (
        np.sqrt(squares.sum()),
        np.array([len(values) - 1 for values in samples]),
    )
    freedom = (
        squares.sum() ** 2 / (squares**2 / freedoms).sum()
    )  # Welch and Satterthwaite
    half = float(stats.t.ppf(1 - LEVEL / 2, freedom) * error)
    p = float(2 * stats.t.sf(abs(gap) / error, freedom))
    return Difference(gap, (gap - half, gap + half), p, rank_p, better)


def _rank_p(one: np.ndarray, other: np.ndarray, paired: bool) -> float:
    if paired:
        return float(stats.wilcoxon(one, other).pvalue) if (one != other).any() else 1.0
    if max(len(one), len(other)) > MANY:
        return float(stats.mannwhitneyu(one, other, method="asymptotic").pvalue)
    method: Any = "exact"
    ties = len(np.unique([*one, *other])) < len(one) + len(other)
    if ties and min(len(one), len(other)) > 1:
        method = stats.PermutationMethod(
            n_resamples=RESAMPLES, rng=np.random.default_rng(0)
        )
    return float(stats.mannwhitneyu(one, other, method=method).pvalue)


def pooled(
    one: Mapping[str, Values], other: Mapping[str, Values], unit: Mapping[str, float]
) -> Difference:
    """The mean difference over tasks, each in a unit of its own, such as the mean
    return of a reference above that of random actions; of each policy and task there
    are two runs or more.

    The interval is of a bootstrap that resamples the runs of each policy within each
    task (Agarwal et al. 2021, arXiv:2108.13264). Deviations are enlarged by sqrt(n / (n
    - 1)) and by the ratio of Student's quantile to the normal one, without which it
    would be too narrow for few runs (Hesterberg 2015,
    doi:10.1080/00031305.2015.1089789).
    """
    random, gaps, means, better = np.random.default_rng(0), [], [], []
    freedom = sum(len(side[task]) - 1 for side in (one, other) for task in unit)
    wider = stats.t.ppf(1 - LEVEL / 2, freedom) / stats.norm.ppf(1 - LEVEL / 2)
    for task, scale in unit.items():
        sides = []
        for values in (
            np.asarray(one[task], dtype=float),
            np.asarray(other[task], dtype=float),
        ):
            count, mean = len(values), values.mean()
            spread = (values - mean) * wider * np.sqrt(count / (count - 1))
            drawn = random.integers(count, size=(RESAMPLES, count))
            sides.append(mean + spread[drawn].mean(axis=1))
        gaps.append((sides[0] - sides[1]) / scale)
        found = difference(one[task], other[task])
        means.append(found.mean / scale)
        better.append(found.better)
    resampled = np.mean(gaps, axis=0)
    low, high = np.quantile(resampled, [LEVEL / 2, 1 - LEVEL / 2])
    tail = min(np.mean(resampled <= 0), np.mean(resampled >= 0))
    p = min(1.0, 2 * max(float(tail), 1 / RESAMPLES))
    return Difference(
        float(np.mean(means)),
        (float(low), float(high)),
        p,
        None,
        float(np.mean(better)),
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


def decisive(found: Difference) -> float | None:
    """The p that decides: Welch's; that of the rank test where no value varies."""
    return found.rank_p if found.p is None else found.p


def verdict(found: Difference, p: float | None = None) -> str:
    """In words: `HIGHER`, `LOWER`, `NO_DIFFERENCE` (which does not say that they are
    equal), or `UNTESTED`, by the p that decides, which may be a corrected one.
    """
    p = decisive(found) if p is None else p
    if p is None:
        return UNTESTED
    return NO_DIFFERENCE if p >= LEVEL else HIGHER if found.mean > 0 else LOWER


def _varies(values: np.ndarray) -> bool:
    return len(values) > 1 and np.ptp(values) > ROUNDING * np.abs(values).max()
