"""How sure a number is: 95 % intervals over training seeds, or episodes where there is one seed.

A run is one unit with all its episodes in all conditions, since these have its weights in common.
A statistic of several conditions, such as a ratio of two returns, is taken apart into one value
for each unit by the jackknife (Tukey's pseudo-values; Miller 1974, doi:10.1093/biomet/61.1.1).

The interval is Student's, made skew by Hall's transformation where the values are skewed (Hall
1992, "On the removal of skewness by transformation", J. R. Statist. Soc. B 54, 221), and never
narrower than Student's. `benchmarks.coverage` shows how often it covers the truth, and what others
would do; docs/statistics.md has its tables. Fewer than three units, or units that are all equal,
have no interval: they tell nothing about how much others would differ.
"""

from collections.abc import Callable
from math import comb

import numpy as np
from scipy import stats

from spikepropamine.evaluation.judge.measures import improved
from spikepropamine.evaluation.schema import Curve, Estimate, Score

FEWEST = 3  # units that have an interval
ALL_EQUAL = 6  # equal differences of one sign that show it: by the sign test, 2 / 2^6 < 0.05
MISSES = 0.05  # of 95 % intervals
UNBOUNDED = (-np.inf, np.inf)
SHARE, DIFFERENCE_OF_SHARES = (0.0, 1.0), (-1.0, 1.0)

Statistic = Callable[[np.ndarray], np.ndarray]


class Units:
    """The units of a policy, over which its intervals are: runs, or the episodes of a single one.

    A statistic is a function of weights [K, units], each row of which sums to 1, to [K] values;
    of the values of the units themselves, `weights @ values` is the mean.

    Args:
        runs: how many training seeds.
        episodes: of each.
    """

    def __init__(self, runs: int, episodes: int) -> None:
        self.runs, self.episodes = runs, episodes
        self.count = runs if runs > 1 else episodes

    def of(self, values: np.ndarray) -> np.ndarray:
        """[runs, episodes, ...] to [units, ...]: means of the runs, or the episodes of the one."""
        return values.mean(axis=1) if self.runs > 1 else values[0]

    def pseudo_values(self, statistic: Statistic, known: np.ndarray | None = None) -> np.ndarray:
        """Of the jackknife, one for each unit, or each that is known."""
        each = np.eye(self.count)[... if known is None else known]
        count, mean = len(each), each.mean(axis=0, keepdims=True)
        others = (count * mean - each) / (count - 1)
        return count * statistic(mean) - (count - 1) * statistic(others)

    def score(
        self,
        statistic: Statistic,
        bounds: tuple[float, float] = UNBOUNDED,
        answers: int | None = None,
        known: np.ndarray | None = None,
    ) -> Score | None:
        """A `Score` of the units that have a value.

        Args:
            statistic: to be known.
            bounds: of what can be; the interval has nothing outside.
            answers: episodes that it is of; None: all.
            known: whether a unit has a value, [units]; None: all have.

        Returns:
            None where no unit has a value, or the statistic is NaN.
        """
        known = np.ones(self.count, bool) if known is None else known
        if not known.any():
            return None
        value = float(statistic((known / known.sum())[None])[0])
        if not np.isfinite(value):
            return None
        by_unit = np.where(known, statistic(np.eye(self.count)), np.nan)
        found = None
        if known.sum() >= FEWEST:
            found = interval(value, self.pseudo_values(statistic, known))
            if found is None and bounds == SHARE and np.isclose(value, SHARE, rtol=0).any():
                # all are at an end of the scale: as for so many equal answers to one question
                found = wilson(round(value), answers or self.runs * self.episodes)
        finite = by_unit[np.isfinite(by_unit)]
        by_run = [float(x) if np.isfinite(x) else None for x in by_unit]
        return Score(
            mean=value,
            interquartile_mean=float(stats.trim_mean(finite, 0.25) if finite.size else value),
            interval=None if found is None else [float(x) for x in np.clip(found, *bounds)],
            by_run=by_run if self.runs > 1 else [value],
        )

    def curve(self, steps: np.ndarray, values: np.ndarray) -> Curve:
        """A `Curve` out of the values of the units, [units, steps]; those that are NaN do not
        count, and a step at which all are is left out.
        """
        curve = Curve(step=[], mean=[], low=[], high=[])
        for step, column in zip(steps, values.T):
            known = column[np.isfinite(column)]
            if known.size:
                mean = float(known.mean())
                low, high = interval(mean, known) or (None, None)
                curve["step"].append(int(step))
                curve["mean"].append(mean)
                curve["low"].append(low)
                curve["high"].append(high)
        return curve


def interval(value: float, values: np.ndarray) -> list[float] | None:
    """Of a mean; None where it cannot be told.

    Args:
        value: the estimate.
        values: one for each unit, or pseudo-values; those of which one is NaN have no interval.
    """
    count = len(values)
    if count < FEWEST or not np.isfinite(values).all():
        return None
    spread = values.std(ddof=1)
    if spread <= 1e-9 * np.abs(values).max():  # equal but for rounding
        return None
    t = stats.t.ppf(1 - MISSES / 2, count - 1)
    skewness = np.mean(((values - values.mean()) / values.std()) ** 3) / np.sqrt(count)
    sides = np.array([t, -t])
    if abs(skewness) > 1e-6:
        transformed = np.cbrt(1 + skewness * (sides - skewness / 6)) - 1
        sides = np.array(
            [max(t, 3 / skewness * transformed[0]), min(-t, 3 / skewness * transformed[1])]
        )
    low, high = value - sides * spread / np.sqrt(count)
    return [float(low), float(high)]


def wilson(share: float, count: int) -> list[float]:
    """Wilson's score interval of a probability, of which `share` was seen in `count` samples."""
    z = stats.norm.ppf(1 - MISSES / 2)
    centre = (share + z**2 / (2 * count)) / (1 + z**2 / count)
    half = z / (1 + z**2 / count) * np.sqrt(share * (1 - share) / count + (z / (2 * count)) ** 2)
    return [max(float(centre - half), 0.0), min(float(centre + half), 1.0)]


def shown_positive(values: np.ndarray) -> bool | None:
    """Whether the mean of the population is above zero; None where that cannot be told."""
    found = interval(float(values.mean()), values)
    if found is not None:
        return found[0] > 0
    if len(values) >= ALL_EQUAL and np.isfinite(values).all():
        return bool(values.mean() > 0)
    return None


def lies_above(one: np.ndarray, other: np.ndarray) -> bool:
    """Whether all of one sample lie above all of another, and are so many that chance seldom does
    that (Wilcoxon's rank sum, exactly: 1 of the ways to choose them).
    """
    chance = 1 / comb(len(one) + len(other), len(one))
    return bool(one.min() > other.max()) and chance <= MISSES / 2


def difference(
    one: np.ndarray,
    other: np.ndarray,
    bounds: tuple[float, float] = UNBOUNDED,
    means: tuple[float, float] | None = None,
) -> Estimate:
    """Of the means of two independent samples, by the method of variance estimates recovery (Zou
    and Donner 2008, doi:10.1002/sim.3095): the two intervals' sides add up in squares. The
    intervals of shares (`bounds` are then -1 and 1) end where shares do, and are Wilson's where
    all are at an end. Of pseudo-values, `means` are the statistics that they are of.
    """
    first, second = (float(one.mean()), float(other.mean())) if means is None else means
    intervals = [interval(first, one), interval(second, other)]
    if bounds == DIFFERENCE_OF_SHARES:
        for i, (mean, values) in enumerate(((first, one), (second, other))):
            if (found := intervals[i]) is not None:
                intervals[i] = [min(max(edge, 0.0), 1.0) for edge in found]
            elif len(values) >= FEWEST and (values == round(mean)).all():
                intervals[i] = wilson(round(mean), len(values))
    value = first - second
    if intervals[0] is None or intervals[1] is None:
        return Estimate(mean=value, interval=None)
    (low, high), (other_low, other_high) = intervals[0], intervals[1]
    below = np.hypot(first - low, other_high - second)
    above = np.hypot(high - first, second - other_low)
    found = np.clip([value - below, value + above], *bounds)
    return Estimate(mean=value, interval=[float(edge) for edge in found])


def probability_of_improvement(
    one: np.ndarray, other: np.ndarray, units: int | None = None
) -> Estimate:
    """That a member of the first sample's population is greater than one of the second's; ties
    count half. Where members of a sample have something in common, as episodes of one run have,
    `units` says how many of the smaller sample are independent.

    The variance of the share of pairs is at most that of a proportion in as many samples as the
    smaller of the two has (Birnbaum and Klose 1957, "Bounds for the variance of the Mann-Whitney
    statistic", Ann. Math. Statist. 28, 933), so Wilson's interval for these covers it. With three
    against three it always includes one half.
    """
    share = float(improved(one[:, None], other).mean())
    return Estimate(mean=share, interval=wilson(share, units or min(len(one), len(other))))
