"""Intervals by the bootstrap, over training seeds, or over episodes where there is one seed.

The unit that is drawn with replacement is a run with all its episodes in all conditions, since
these have its weights in common. (rliable's stratified bootstrap draws runs anew for each task: it
would take what is one policy for many, and its intervals would be far too narrow. Besides, rliable
1.2.0 fails with arch 7, which it installs.) The episodes are the same for all.

With few units the percentiles are too narrow: by sqrt((n-1)/n), and for the normal distribution in
place of Student's (Hesterberg 2015, "What teachers should know about the bootstrap",
doi:10.1080/00031305.2015.1089789, section 3). Their distances from the estimate are widened by
just that.
"""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from scipy import stats

from spikepropamine.evaluation.schema import Curve, Score

RESAMPLES = 2000

Statistic = Callable[[np.ndarray], np.ndarray]


class Bootstrap:
    """Resamples of the units of a policy.

    A statistic is a function of weights [K, units], each row of which sums to 1, to [K] values;
    of the values of the units themselves, `weights @ values` is the mean.

    Args:
        runs: how many training seeds.
        episodes: of each.
        seed: of the resampling.
    """

    def __init__(self, runs: int, episodes: int, seed: int = 0) -> None:
        self.runs = runs
        self.units = runs if runs > 1 else episodes
        self.weights = resampled(self.units, seed)

    def of_units(self, values: np.ndarray) -> np.ndarray:
        """[runs, episodes, ...] to [units, ...]: means of the runs, or the episodes of the one."""
        return values.mean(axis=1) if self.runs > 1 else values[0]

    def score(
        self, statistic: Statistic, bounds: tuple[float, float] = (-np.inf, np.inf)
    ) -> Score | None:
        """A `Score`; None where the statistic is NaN."""
        every = np.eye(self.units)
        return self.score_of(
            statistic(every.mean(axis=0, keepdims=True))[0],
            statistic(every),
            statistic(self.weights),
            bounds,
        )

    def score_of(
        self,
        value: float,
        by_unit: np.ndarray,
        draws: np.ndarray,
        bounds: tuple[float, float] = (-np.inf, np.inf),
    ) -> Score | None:
        """A `Score` out of a statistic of all units, of each of them, and of the resamples."""
        if not np.isfinite(value):
            return None
        low, high = interval(float(value), draws, self.units, bounds)
        finite = by_unit[np.isfinite(by_unit)]
        by_run = [float(x) if np.isfinite(x) else None for x in by_unit]
        return Score(
            mean=float(value),
            interquartile_mean=float(stats.trim_mean(finite, 0.25) if finite.size else value),
            interval=[low, high],
            by_run=by_run if self.runs > 1 else [float(value)],
        )

    def curve(self, steps: Sequence[int], values: np.ndarray) -> Curve:
        """A `Curve` out of the values of the units, [units, len(steps)]."""
        mean = values.mean(axis=0)
        draws = self.weights @ values
        low, high = _widened(mean, np.percentile(draws, [2.5, 97.5], axis=0), self.units)
        return Curve(step=list(steps), mean=mean.tolist(), low=low.tolist(), high=high.tolist())


def resampled(units: int, seed: int = 0) -> np.ndarray:
    """Weights [RESAMPLES, units] of the mean over units that are drawn with replacement."""
    random = np.random.default_rng(seed)
    return random.multinomial(units, np.full(units, 1 / units), size=RESAMPLES) / units


def interval(
    value: float,
    draws: np.ndarray,
    units: int,
    bounds: tuple[float, float] = (-np.inf, np.inf),
) -> tuple[float, float]:
    """The 95 % interval of a statistic; of one unit, or of equal ones, it has no width.

    Args:
        value: of all units.
        draws: of the resamples; those that are NaN do not count.
        units: how many were drawn from.
        bounds: least and greatest value that there can be.
    """
    draws = draws[np.isfinite(draws)]
    if units < 2 or not draws.size or np.ptp(draws) == 0:
        return value, value
    low, high = _widened(np.float64(value), np.percentile(draws, [2.5, 97.5]), units)
    return max(float(low), bounds[0]), min(float(high), bounds[1])


def _widened(value: Any, percentiles: Any, units: int) -> Any:
    if units < 2:
        return value, value
    narrow = stats.norm.ppf(0.975) * np.sqrt((units - 1) / units)
    factor = stats.t.ppf(0.975, units - 1) / narrow
    low, high = percentiles
    # the estimate lies within, however lopsided the resamples are
    return value + factor * np.minimum(low - value, 0), value + factor * np.maximum(high - value, 0)


def compare(one: np.ndarray, other: np.ndarray) -> tuple[dict[str, Any], dict[str, Any]]:
    """Two independent samples: the difference of their means, and the probability that a member
    of the first is the greater one (ties count half), each {"mean", "interval"}.

    The interval is as wide as for the smaller sample.
    """
    draws_one, draws_other = resampled(len(one), 1), resampled(len(other), 2)
    units = min(len(one), len(other))
    difference = float(one.mean() - other.mean())
    draws = draws_one @ one - draws_other @ other
    greater = (one[:, None] > other) + 0.5 * (one[:, None] == other)
    wins = np.einsum("ki,ij,kj->k", draws_one, greater, draws_other, optimize=True)
    share = float(greater.mean())
    return (
        {"mean": difference, "interval": list(interval(difference, draws, units))},
        {"mean": share, "interval": list(interval(share, wins, units, (0.0, 1.0)))},
    )
