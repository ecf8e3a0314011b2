"""Exact tests by ranks, and the interval of the probability of improvement.

p values count all ways in which the ranks could be dealt out; ties share their mean
rank. Instead of listing the ways, their number for each sum of ranks is built up rank
by rank, which is exact and takes a fraction of a millisecond.
"""

import math

import numpy as np
from scipy import optimize, stats

EDGE = 1e-9
"""How near to 0 and 1 a probability is looked for."""


def rank_sum_p(one: np.ndarray, other: np.ndarray) -> float:
    """Of the test of Mann and Whitney, two-sided.

    Args:
        one: finite values.
        other: finite values.

    Returns:
        The share of ways to deal out the ranks of all values, in which the sum of
        those of `one` lies as far from its expectation.
    """
    doubled = _doubled_ranks(np.concatenate([one, other]))
    ways = np.zeros((len(one) + 1, int(doubled.sum()) + 1))
    ways[0, 0] = 1  # [how many ranks are dealt to `one`, their sum]
    for rank in doubled:
        # the right-hand side is computed before it is added: each rank counts once
        ways[1:, rank:] += ways[:-1, : ways.shape[1] - rank]
    expected = len(one) * doubled.sum() / len(doubled)
    return _as_far(ways[len(one)], doubled[: len(one)].sum(), expected)


def signed_rank_p(differences: np.ndarray) -> float:
    """Of the test of Wilcoxon for pairs, two-sided; pairs without a difference do not
    count.

    Args:
        differences: finite values, one for each pair.

    Returns:
        The share of ways to sign the ranks, in which the sum of the positive ones lies
        as far from its expectation; 1 where no pair differs.
    """
    known = differences[differences != 0]
    doubled = _doubled_ranks(np.abs(known))
    ways = np.zeros(int(doubled.sum()) + 1)
    ways[0] = 1
    for rank in doubled:
        ways[rank:] += ways[: len(ways) - rank].copy()
    return _as_far(ways, doubled[known > 0].sum(), doubled.sum() / 2)


def improvement_interval(
    better: float, runs: int, others: int, level: float
) -> tuple[float, float]:
    """The interval of the probability that a run of one policy is higher than a run of
    another: the score interval of Newcombe 2006 (doi:10.1002/sim.2324, method 5). It
    has a width where every run is higher, too.

    Args:
        better: the share of pairs in which it is higher, ties counting half.
        runs: of the one policy, 1 or more.
        others: runs of the other one.
        level: 0.05 for 95 %.
    """
    quantile = float(stats.norm.ppf(1 - level / 2))

    def beyond(true: float) -> float:
        pairs = (runs + others) / 2 - 1
        shared = (1 - true) / (2 - true) + true / (1 + true)
        variance = true * (1 - true) * (1 + pairs * shared) / (runs * others)
        return abs(true - better) - quantile * math.sqrt(variance)

    inside = min(max(better, EDGE), 1 - EDGE)
    low = 0.0 if better <= 0 else float(optimize.brentq(beyond, 0, inside))
    high = 1.0 if better >= 1 else float(optimize.brentq(beyond, inside, 1))
    return low, high


def share_interval(share: float, pairs: int, level: float) -> tuple[float, float]:
    """The interval of a share of independent pairs (Wilson 1927)."""
    quantile = float(stats.norm.ppf(1 - level / 2))
    weight = 1 + quantile**2 / pairs
    middle = (share + quantile**2 / (2 * pairs)) / weight
    spread = share * (1 - share) / pairs + quantile**2 / (4 * pairs**2)
    half = quantile * math.sqrt(spread) / weight
    return max(0.0, middle - half), min(1.0, middle + half)


def _doubled_ranks(values: np.ndarray) -> np.ndarray:
    """Twice the ranks, whole numbers also where ties share their mean rank."""
    ranks: np.ndarray = np.rint(2 * stats.rankdata(values)).astype(int)
    return ranks


def _as_far(ways: np.ndarray, total: int, expected: float) -> float:
    """The share of ways whose sum lies as far from its expectation as a total."""
    distances = np.abs(np.arange(len(ways)) - expected)
    far = distances >= abs(total - expected) - 1e-9
    return float(ways[far].sum() / ways.sum())
