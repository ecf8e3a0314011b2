"""How often the statistics of evaluations err, by simulation.

    python -m benchmarks.coverage --csv benchmarks/results/coverage.csv

Draws training seeds out of populations whose truth is known (a quarter of an hour on
one core): how often the interval of a mean covers the truth, how often two equal
policies are called different (by Welch's test, by the rank test, pooled over five
tasks), and how often a difference of 1 to 3 standard deviations is found.
"""

import itertools
from argparse import Namespace
from collections.abc import Callable

import numpy as np

from benchmarks.rows import Rows, run
from spikepropamine.statistics import LEVEL, difference, interval, pooled

SEEDS = (3, 5, 10)
TASKS = range(5)
POOLED = 8  # as many fewer simulations, since each has 10,000 resamples
Sample = Callable[[np.random.Generator, int], np.ndarray]


def _failing(random: np.random.Generator, size: int) -> np.ndarray:
    """One seed in five earns about 0, the others about 1."""
    failed = random.random(size) < 0.2
    return np.where(failed, random.normal(0, 0.05, size), random.normal(1, 0.15, size))


POPULATIONS: dict[str, tuple[Sample, float, float]] = {
    "normal": (lambda random, size: random.normal(size=size), 0.0, 1.0),
    "lognormal": (
        lambda random, size: random.lognormal(size=size),
        float(np.exp(0.5)),
        float(np.sqrt((np.e - 1) * np.e)),
    ),
    "one seed in five fails": (
        _failing,
        0.8,
        float(np.sqrt(0.8 * 0.15**2 + 0.2 * 0.05**2 + 0.16)),
    ),
}
"""Each with its mean and standard deviation."""


def rates(population: str, seeds: int, times: int) -> dict[str, float]:
    """Shares of simulations, by what they are shares of.

    Their standard error is at most 0.5 / sqrt(times).

    Args:
        population: a key of `POPULATIONS`, which values are drawn from.
        seeds: values drawn for each of two samples.
        times: simulations.
    """
    sample, mean, deviation = POPULATIONS[population]
    random = np.random.default_rng(1)
    inside = [interval(sample(random, seeds)) for _ in range(times)]
    covers = [low <= mean <= high for low, high in filter(None, inside)]
    shares = {"interval covers": np.mean(covers)}
    for apart in (0, 1, 2, 3):
        tests = [
            difference(sample(random, seeds) + apart * deviation, sample(random, seeds))
            for _ in range(times)
        ]
        name = f"{apart} deviations apart" if apart else "equal"
        shares[f"{name}, Welch"] = np.mean([test.p < LEVEL for test in tests])
        shares[f"{name}, rank"] = np.mean([test.rank_p < LEVEL for test in tests])
    unit = dict.fromkeys(map(str, TASKS), 1.0)
    tests = [
        pooled(
            *({task: sample(random, seeds) for task in unit} for _ in range(2)), unit
        )
        for _ in range(times // POOLED)
    ]
    shares["equal, pooled"] = np.mean([test.p < LEVEL for test in tests])
    return {name: round(float(share), 4) for name, share in shares.items()}


def measure(rows: Rows, options: Namespace) -> None:
    """Adds all populations, by so many simulations."""
    for population, seeds in itertools.product(POPULATIONS, SEEDS):
        shares = rates(population, seeds, options.times)
        rows.add(shares, environment=population, policy="statistics", at=seeds)


if __name__ == "__main__":
    run(measure, __doc__, times=4000)
