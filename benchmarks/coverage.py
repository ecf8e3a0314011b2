"""How often the statistics of evaluations err, and what they can see, by simulation.

    python -m benchmarks.coverage --csv benchmarks/results/coverage.csv
    python -m benchmarks.coverage --candidates --csv benchmarks/results/candidates.csv

Draws training runs out of populations whose truth is known (three minutes on one core).
In each cell a table has 1, 4 or 10 contrasts, and p is corrected for their number: how
often any is called different though none is, and how often the one that is 1 to 3
standard deviations apart is found. With --candidates, false positives and power of the
tests among which the bootstrap-t was chosen.
"""

import itertools
from argparse import Namespace
from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from benchmarks.rows import Rows, run
from spikepropamine import ranks
from spikepropamine.resampling import studentised
from spikepropamine.statistics import (
    FEWEST,
    LEVEL,
    difference,
    holm,
    interval,
    pooled,
    welch,
)

RUNS = (3, 5, 10)
CONTRASTS = (1, 4, 10)
APART = (1, 2, 3)
TASKS = range(8)
SHARE = 10  # as many fewer simulations of what takes long
NEARLY_CONSTANT = 0.02  # standard deviation, where that of the other group is 1
STEADIER = 0.1  # the same of a group that varies more
SHUFFLED = 999

Sample = Callable[[np.random.Generator, int], np.ndarray]


def normal(random: np.random.Generator, size: int) -> np.ndarray:
    """Mean 0, standard deviation 1, as the others."""
    return random.normal(size=size)


def skewed(random: np.random.Generator, size: int) -> np.ndarray:
    """Exponential."""
    return random.exponential(size=size) - 1


def steady(random: np.random.Generator, size: int) -> np.ndarray:
    """Nearly constant: the one whose standard deviation is not 1."""
    return random.normal(scale=NEARLY_CONSTANT, size=size)


def steadier(random: np.random.Generator, size: int) -> np.ndarray:
    """Varies by a tenth."""
    return random.normal(scale=STEADIER, size=size)


def heavy(random: np.random.Generator, size: int) -> np.ndarray:
    """Lognormal."""
    values = random.lognormal(size=size) - np.exp(0.5)
    return np.asarray(values / np.sqrt((np.e - 1) * np.e))


def failing(random: np.random.Generator, size: int) -> np.ndarray:
    """One run in five earns about 0, the others about 1, before scaling."""
    failed = random.random(size) < 0.2
    values = np.where(
        failed, random.normal(0, 0.05, size), random.normal(1, 0.15, size)
    )
    deviation = np.sqrt(0.8 * 0.15**2 + 0.2 * 0.05**2 + 0.16)
    return np.asarray((values - 0.8) / deviation)


class Populations(NamedTuple):
    """What the runs of the policy and of its baselines are drawn from."""

    policy: Sample
    baseline: Sample


POPULATIONS = {
    "normal": Populations(normal, normal),
    "skewed": Populations(skewed, skewed),
    "unlike spreads": Populations(normal, steadier),
    "skewed, nearly constant": Populations(skewed, steady),
    "skewed, a tenth of the spread": Populations(skewed, steadier),
    "lognormal, nearly constant": Populations(heavy, steady),
    "one run in five fails": Populations(failing, failing),
}


def corrected_rates(of: Populations, runs: int, pairs: int) -> dict[str, float]:
    """Shares of simulated tables, by what they are shares of.

    Each pair of samples begins a table; the other contrasts of it are the pairs that
    follow.

    Args:
        of: the populations.
        runs: of each policy.
        pairs: of samples, and as many tables; the standard error of a share is at most
            0.5 / sqrt(pairs).
    """
    random = np.random.default_rng(1)
    equal = np.empty(pairs)
    lower = np.empty((len(APART), pairs))
    for pair in range(pairs):
        test = studentised(of.policy(random, runs), of.baseline(random, runs))
        equal[pair] = test.p()
        for index, apart in enumerate(APART):
            moved = test._replace(mean=test.mean + apart)
            # what is found on the wrong side is not found
            lower[index, pair] = moved.p() if moved.mean > 0 else 1.0
    found = {}
    for contrasts in CONTRASTS:
        # Holm's correction begins with the least p, and Bonferroni's level
        tables = [np.roll(equal, -other) for other in range(contrasts)]
        least = np.min(tables, axis=0)
        found[f"equal, {contrasts}"] = np.mean(least < LEVEL / contrasts)
        for index, apart in enumerate(APART):
            corrected = [
                holm([p, *others])[0] for p, *others in zip(lower[index], *tables[1:])
            ]
            seen = np.array(corrected) < LEVEL
            found[f"{apart} apart, {contrasts}"] = np.mean(seen)
    return {name: float(share) for name, share in found.items()}


def covered(of: Populations, runs: int, pairs: int) -> dict[str, float]:
    """How often intervals contain the truth: of a mean, of a difference, of the
    probability of improvement (where it is known to be 0.5), and over tasks.
    """
    random = np.random.default_rng(2)
    mean = []
    gap = []
    better = []
    for _ in range(pairs):
        one = of.policy(random, runs)
        tested = difference(one, of.baseline(random, runs))
        mean.append(_contains(interval(one), 0))
        gap.append(_contains(tested.interval, 0))
        better.append(_contains(tested.better_interval, 0.5))
    shares = {"mean": np.mean(mean), "difference": np.mean(gap)}
    if of.policy is of.baseline:
        shares["improvement"] = np.mean(better)
        unit = dict.fromkeys(map(str, TASKS), 1.0)
        over_tasks = []
        for _ in range(pairs // 2):
            # tasks differ in how large the difference is; over all of them it is 0
            one, other = (
                {task: of.policy(random, runs) + random.normal() for task in unit}
                for _ in range(2)
            )
            over_tasks.append(_contains(pooled(one, other, unit).interval, 0))
        shares["over tasks"] = np.mean(over_tasks)
    return {f"covers, {name}": float(share) for name, share in shares.items()}


def _contains(edges: tuple[float, float] | None, value: float) -> bool:
    return edges is not None and edges[0] <= value <= edges[1]


# the tests among which one was chosen


def welch_p(one: np.ndarray, other: np.ndarray) -> float:
    """Of Welch's test."""
    return welch(one, other)[1]


def size_p(one: np.ndarray, other: np.ndarray) -> float:
    """Of the symmetric bootstrap-t."""
    resampled = studentised(one, other)
    statistic = abs(resampled.mean) / resampled.error * (1 - 1e-9)
    far = np.abs(resampled.deviations) >= statistic
    return float(resampled.weights[far].sum())


def side_p(one: np.ndarray, other: np.ndarray) -> float:
    """Of the equal-tailed bootstrap-t."""
    resampled = studentised(one, other)
    statistic = resampled.mean / resampled.error
    above = resampled.weights[resampled.deviations >= statistic - 1e-9].sum()
    below = resampled.weights[resampled.deviations <= statistic + 1e-9].sum()
    return float(min(1, 2 * min(above, below)))


def permutation_p(one: np.ndarray, other: np.ndarray) -> float:
    """Of the studentised permutation test (Janssen 1997), over drawn orders."""
    random = np.random.default_rng(0)
    both = np.concatenate([one, other])
    orders = random.permuted(np.tile(both, (SHUFFLED, 1)), axis=1)
    orders = np.concatenate([both[None], orders])
    first = orders[:, : len(one)]
    second = orders[:, len(one) :]
    errors = [part.var(axis=1, ddof=1) / part.shape[1] for part in (first, second)]
    with np.errstate(divide="ignore"):
        statistics = (first.mean(axis=1) - second.mean(axis=1)) / np.sqrt(sum(errors))
    return float(np.mean(np.abs(statistics) >= abs(statistics[0]) * (1 - 1e-9)))


CANDIDATES = {
    "Welch": welch_p,
    "ranks": ranks.rank_sum_p,
    "permutation": permutation_p,
    "bootstrap-t, symmetric": size_p,
    "bootstrap-t, equal tails": side_p,
    "bootstrap-t, larger p": lambda one, other: studentised(one, other).p(),
}


def candidate_rates(of: Populations, runs: int, pairs: int) -> dict[str, float]:
    """Of each test, how often it errs, and sees a difference of two."""
    random = np.random.default_rng(3)
    found: dict[str, list[bool]] = {}
    for _ in range(pairs):
        one = of.policy(random, runs)
        other = of.baseline(random, runs)
        for name, p_of in CANDIDATES.items():
            found.setdefault(f"{name}, equal", []).append(p_of(one, other) < LEVEL)
            seen = p_of(one + 2, other) < LEVEL
            found.setdefault(f"{name}, 2 apart", []).append(seen)
    return {name: float(np.mean(cases)) for name, cases in found.items()}


def measure(rows: Rows, options: Namespace) -> None:
    """Adds all populations, by so many pairs of samples."""
    for name, runs in itertools.product(options.populations, options.counts):
        of = POPULATIONS[name]
        case = {"environment": name, "policy": "statistics", "condition": str(runs)}
        if not options.candidates:
            found = covered(of, runs, options.pairs // SHARE)
            if runs >= FEWEST:  # with fewer nothing is tested
                found |= corrected_rates(of, runs, options.pairs)
            rows.add(found, **case)
        elif runs >= FEWEST:
            rows.add(candidate_rates(of, runs, options.pairs), **case)


if __name__ == "__main__":
    run(
        measure,
        __doc__,
        pairs=10_000,
        candidates=False,
        populations=list(POPULATIONS),
        counts=list(RUNS),
    )
