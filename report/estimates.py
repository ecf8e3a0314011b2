"""Estimates, intervals and comparisons of policies, the same in every table and figure.

The unit is a training run: an estimate is the mean over runs, its interval is over
runs. Where a policy was trained once, the units are its episodes, and nothing is said
about other runs.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from spikepropamine import statistics
from spikepropamine.evaluation.judge.rewards import mean_of_known
from spikepropamine.evaluation.measure import UNBOUNDED, Bounds
from spikepropamine.statistics import Difference
from spikepropamine.words import with_interval


class Estimate(NamedTuple):
    """A mean, its 95 % interval, and the value of each run."""

    mean: float
    interval: tuple[float, float] | None  # None where it is not known
    by_run: tuple[float | None, ...] = ()  # None where a run has no value
    units: int = 0  # how many values the mean is of; 0: not known

    def text(self, as_percent: bool = False) -> str:
        """As in tables: "92 % [88, 95]"."""
        without = "no interval"
        if self.units == 1:
            without = "1 value"
        elif self.units > 1:
            without = f"all {self.units} equal"
        return with_interval(self.mean, self.interval, as_percent, without)

    @property
    def side(self) -> int:
        """1 or -1 where the interval lies above or below zero, else 0."""
        low, high = self.interval or (0.0, 0.0)
        if low > 0:
            return 1
        return -1 if high < 0 else 0


def estimate(values: np.ndarray, bounds: Bounds = UNBOUNDED) -> Estimate | None:
    """The mean of values, with its interval.

    Args:
        values: of each episode, or one of each run, [runs, episodes]; NaN is no value.
        bounds: beyond which the interval does not go.

    Returns:
        The estimate; None where there is no value.
    """
    by_run = mean_of_known(values, axis=1)
    units = units_of(values)
    units = units[np.isfinite(units)]
    if not units.size:
        return None
    interval = statistics.interval(units)
    if interval is not None:
        low, high = np.clip(interval, *bounds)
        interval = float(low), float(high)
    return Estimate(float(units.mean()), interval, known(by_run), len(units))


def ratio(above: np.ndarray, below: np.ndarray) -> Estimate | None:
    """The mean over runs of the ratio of two means; of a single run, the interval is
    over episodes, by the delta method.

    Args:
        above: [runs, episodes]; NaN is no value.
        below: of the same shape.

    Returns:
        The estimate; None where no run has a ratio.
    """
    means = mean_of_known(above, axis=1) / mean_of_known(below, axis=1)
    if len(means) > 1:
        return estimate(means[:, None])
    by_episode = means[0] + (above - means[0] * below) / below.mean()
    score = estimate(by_episode)
    return None if score is None else score._replace(by_run=known(means))


def units_of(values: np.ndarray) -> np.ndarray:
    """The means of the runs, or the episodes of the only one, of [runs, episodes]."""
    return values[0] if len(values) == 1 else mean_of_known(values, axis=1)


def known(values: np.ndarray) -> tuple[float | None, ...]:
    """The values, None where one is NaN."""
    return tuple(float(x) if np.isfinite(x) else None for x in values)


def of_pairs(one: np.ndarray, other: np.ndarray) -> Difference | None:
    """The difference of pairs in which both values are known.

    Args:
        one: [pairs]; NaN is no value.
        other: [pairs].

    Returns:
        The difference, `one` less `other`; None where there is no such pair.
    """
    both = np.isfinite(one) & np.isfinite(other)
    if not both.any():
        return None
    return statistics.difference(one[both], other[both], paired=True)


class Comparison(NamedTuple):
    """Two policies by a measure."""

    policy: str
    other: str
    measure: str
    difference: Difference  # the first less the other
    p: float | None = None  # corrected for the comparisons planned beside it (Holm)
    # whether one of the two was trained once, so that episodes are compared, not runs
    once: bool = False

    @property
    def verdict(self) -> str:
        """In the words of `spikepropamine.statistics`."""
        return statistics.verdict(self.difference, self.p)


def corrected(comparisons: Sequence[Comparison]) -> list[Comparison]:
    """The comparisons, each p corrected for the number of all (Holm)."""
    decisive = [statistics.decisive(one.difference) for one in comparisons]
    p_values = statistics.holm(decisive)
    return [one._replace(p=p) for one, p in zip(comparisons, p_values)]
