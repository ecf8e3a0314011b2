"""The bootstrap-t: a test and an interval of a difference of means that hold for few,
unevenly spread and skewed values.

A sample is drawn anew from its own values, and the studentised difference computed
again (Efron 1979; Hall 1988, doi:10.1214/aos/1176350933). How large that statistic gets
by chance replaces Student's distribution, which supposes normal values. Small samples
are not drawn at random: all their resamples are counted.
"""

import itertools
import math
from collections.abc import Sequence
from functools import lru_cache
from typing import NamedTuple

import numpy as np

MOST = 20_000
"""Resamples up to which all are counted."""
DRAWN = 10_000
"""Resamples that are drawn where there are more."""
LEAST_ERROR = 0.1
"""Of a resample, relative to that of the sample. Without it a resample of equal values
would have an infinite statistic, and nothing could be significant where most runs are
equal, as at the best possible accuracy."""
TINY = 1e-9
"""Relative difference of statistics that are equal but for rounding."""
DIGITS = 12
"""Of a p, after the point."""


class Resamples(NamedTuple):
    """How often each value of a sample is in each of its resamples."""

    counts: np.ndarray
    """float64 [resamples, values]."""
    weights: np.ndarray
    """Their probabilities, float64 [resamples]."""


class Studentised(NamedTuple):
    """A mean, or a difference of means, and how its studentised form spreads."""

    mean: float
    error: float
    """Its standard error, above 0."""
    deviations: np.ndarray
    """Studentised deviations of the resamples."""
    weights: np.ndarray
    """Their probabilities."""

    def p(self) -> float:
        """The larger one of two: the probability of a statistic of that size, and twice
        that of one as far on the same side. The first errs less often where samples are
        small, the second where they are skewed.
        """
        statistic = abs(self.mean) / self.error * (1 - TINY)
        above = float(self.weights @ (self.deviations >= statistic))
        below = float(self.weights @ (self.deviations <= -statistic))
        on_side = above if self.mean >= 0 else below
        # sums differ in their last digits from machine to machine
        return round(min(1.0, max(above + below, 2 * on_side)), DIGITS)

    def thresholds(self, levels: np.ndarray, side: int) -> np.ndarray:
        """The size of the statistic above which p is below a level.

        Args:
            levels: of significance, float64 [levels].
            side: 1 of a statistic above zero, -1 of one below.
        """
        of_size = self._exceeded(np.abs(self.deviations), levels)
        on_side = self._exceeded(side * self.deviations, levels / 2)
        thresholds: np.ndarray = np.maximum(of_size, on_side)
        return thresholds

    def _exceeded(self, sizes: np.ndarray, levels: np.ndarray) -> np.ndarray:
        """What sizes exceed with a probability below a level."""
        order = np.argsort(-sizes)
        with_it = self.weights[order].cumsum()
        first = np.searchsorted(with_it, levels * (1 - TINY))
        exceeded: np.ndarray = sizes[order[np.minimum(first, len(order) - 1)]]
        return exceeded

    def interval(self, level: float) -> tuple[float, float]:
        """It excludes zero exactly where p is below the level."""
        levels = np.array([level])
        below = float(self.thresholds(levels, side=1)[0])
        above = float(self.thresholds(levels, side=-1)[0])
        return self.mean - below * self.error, self.mean + above * self.error


def studentised(*samples: np.ndarray) -> Studentised:
    """Of the mean of one sample, or of the difference of the means of two.

    Args:
        samples: one or two, float64 [runs]; at least one of them varies.
    """
    # the same resamples whichever is named first, and in whatever order the runs are
    sorted_samples = [np.sort(sample).tolist() for sample in samples]
    canonical = sorted(sorted_samples, key=lambda values: (len(values), values))
    turned = canonical != sorted_samples
    resamples, crossed = _resamples(*map(len, canonical))
    parts = [_moments(*part) for part in zip(canonical, resamples)]
    if len(parts) == 1:
        deviations, squares = parts[0]
        weights = resamples[0].weights
    elif crossed:  # each resample of one with each of the other
        deviations = np.subtract.outer(parts[0][0], parts[1][0]).ravel()
        squares = np.add.outer(parts[0][1], parts[1][1]).ravel()
        weights = _weights_of_pairs(*map(len, canonical))
    else:
        deviations = parts[0][0] - parts[1][0]
        squares = parts[0][1] + parts[1][1]
        weights = resamples[0].weights
    mean = float(np.mean(canonical[0]))
    if len(canonical) == 2:
        mean -= float(np.mean(canonical[1]))
    error = math.sqrt(sum(np.var(part, ddof=1) / len(part) for part in canonical))
    deviations = deviations / np.maximum(np.sqrt(squares), LEAST_ERROR * error)
    if turned:
        return Studentised(-mean, error, -deviations, weights)
    return Studentised(mean, error, deviations, weights)


def _moments(
    values: Sequence[float], resamples: Resamples
) -> tuple[np.ndarray, np.ndarray]:
    """Of each resample, its mean less that of the sample, and its squared error."""
    count = len(values)
    centred = np.asarray(values) - np.mean(values)
    means = resamples.counts @ centred / count
    squares = resamples.counts @ centred**2 / count
    return means, np.maximum(squares - means**2, 0) / (count - 1)


@lru_cache(maxsize=64)
def _resamples(*runs: int) -> tuple[list[Resamples], bool]:
    """Of each sample of so many runs; and whether they are all resamples, so that each
    of one sample belongs with each of the other.
    """
    if math.prod(math.comb(2 * count - 1, count) for count in runs) <= MOST:
        return [_counted(count) for count in runs], True
    random = np.random.default_rng(runs)
    return [_drawn(count, random) for count in runs], False


@lru_cache(maxsize=64)
def _weights_of_pairs(one: int, other: int) -> np.ndarray:
    """The probabilities of each resample of one sample with each of the other."""
    resamples, _ = _resamples(one, other)
    weights: np.ndarray = np.multiply.outer(*(part.weights for part in resamples))
    return weights.ravel()


def _counted(values: int) -> Resamples:
    """Every resample of so many values: as multisets, with their probabilities."""
    every = itertools.combinations_with_replacement(range(values), values)
    counts = np.array([np.bincount(drawn, minlength=values) for drawn in every])
    factorials = np.array([math.factorial(count) for count in range(values + 1)])
    orders = math.factorial(values) / factorials[counts].prod(axis=1)
    return Resamples(counts.astype(float), orders / values**values)


def _drawn(values: int, random: np.random.Generator) -> Resamples:
    counts = random.multinomial(values, [1 / values] * values, size=DRAWN)
    return Resamples(counts.astype(float), np.full(DRAWN, 1 / DRAWN))
