"""How often the intervals of an evaluation cover the truth, where seeds are few.

    python -m benchmarks.coverage

Simulates training seeds out of populations whose truth is known, with long tails and with seeds
that fail, and prints a Markdown table (two minutes on one core): the share of 95 % intervals that
cover the truth, and their median width, for the intervals of `evaluation.judge.statistics` and for
others that were considered; docs/statistics.md holds it.
"""

import argparse
from collections.abc import Callable

import numpy as np
from scipy import stats

from spikepropamine.evaluation.judge.statistics import interval, probability_of_improvement

RESAMPLES = 1000
SEEDS = (3, 5, 10)
Sample = Callable[[np.random.Generator, int], np.ndarray]


def failing(share: float) -> Sample:
    """Seeds that learn earn about 1, those that fail about 0."""

    def sample(random: np.random.Generator, size: int) -> np.ndarray:
        failed = random.random(size) < share
        return np.where(failed, random.normal(0, 0.05, size), random.normal(1, 0.15, size))

    return sample


POPULATIONS: dict[str, tuple[Sample, float]] = {
    "normal": (lambda random, size: random.normal(size=size), 0.0),
    "long tail above": (lambda random, size: random.exponential(size=size), 1.0),
    "long tail below": (lambda random, size: -random.exponential(size=size), -1.0),
    "very long tail": (lambda random, size: random.lognormal(size=size), float(np.exp(0.5))),
    "1 in 10 fails": (failing(0.1), 0.9),
    "1 in 5 fails": (failing(0.2), 0.8),
    "1 in 2 fails": (failing(0.5), 0.5),
}
"""Each with its mean."""

PAIRS: dict[str, tuple[Sample, Sample]] = {
    "equal": (lambda r, n: r.normal(size=n), lambda r, n: r.normal(size=n)),
    "1 sd apart": (lambda r, n: r.normal(1, 1, n), lambda r, n: r.normal(size=n)),
    "2 sd apart": (lambda r, n: r.normal(2, 1, n), lambda r, n: r.normal(size=n)),
    "3 sd apart": (lambda r, n: r.normal(3, 1, n), lambda r, n: r.normal(size=n)),
    "6 times as wide": (lambda r, n: r.normal(0.5, 3, n), lambda r, n: r.normal(0, 0.5, n)),
    "one fails, 1 in 5": (failing(0.2), lambda r, n: r.normal(0.8, 0.15, n)),
    "long tails": (lambda r, n: r.exponential(size=n) + 0.5, lambda r, n: r.exponential(size=n)),
}


def student(values: np.ndarray) -> tuple[float, float]:
    """Student's interval of a mean."""
    half = stats.t.ppf(0.975, len(values) - 1) * stats.sem(values)
    return values.mean() - half, values.mean() + half


def resampled(values: np.ndarray) -> np.ndarray:
    """Weights of resamples of the values, [RESAMPLES, values]; always the same."""
    random, count = np.random.default_rng(0), len(values)
    return random.multinomial(count, np.full(count, 1 / count), RESAMPLES) / count


def bca(values: np.ndarray) -> tuple[float, float]:
    """The bias-corrected and accelerated bootstrap (Efron 1987)."""
    means, mean = resampled(values) @ values, values.mean()
    share = np.mean(means < mean) + 0.5 * np.mean(means == mean)
    bias = stats.norm.ppf(np.clip(share, 1e-3, 1 - 1e-3))
    acceleration = stats.skew(values) / (6 * np.sqrt(len(values)))
    z = bias + stats.norm.ppf([0.025, 0.975])
    low, high = np.quantile(means, stats.norm.cdf(bias + z / (1 - acceleration * z)))
    return low, high


def studentised(values: np.ndarray) -> tuple[float, float]:
    """The bootstrap of Student's statistic."""
    weights, mean, error = resampled(values), values.mean(), stats.sem(values)
    means = weights @ values
    variances = weights @ values**2 - means**2
    errors = np.sqrt(np.maximum(variances, 0) / (len(values) - 1))
    some = errors > 1e-9 * error
    low, high = np.quantile((means[some] - mean) / errors[some], [0.025, 0.975])
    return mean - high * error, mean - low * error


def ours(values: np.ndarray) -> tuple[float, float]:
    """That of evaluations."""
    low, high = interval(float(values.mean()), values) or (np.nan, np.nan)
    return low, high


METHODS = {"ours": ours, "Student": student, "BCa": bca, "studentised bootstrap": studentised}


def covered(method: Callable, population: str, seeds: int, times: int) -> tuple[float, float]:
    """Share of intervals that cover the mean of a population, and their median width."""
    sample, truth = POPULATIONS[population]
    random = np.random.default_rng(1)
    found = np.array([method(sample(random, seeds)) for _ in range(times)])
    inside = (found[:, 0] <= truth) & (truth <= found[:, 1])
    return float(inside.mean()), float(np.median(found[:, 1] - found[:, 0]))


def covered_probability(pair: str, seeds: int, times: int) -> tuple[float, float]:
    """The same for the probability that a seed of one policy is better than one of another; and
    how often 1/2 lies outside its interval.
    """
    one, other = PAIRS[pair]
    random = np.random.default_rng(1)
    many = one(random, 1_000_000), other(random, 1_000_000)
    truth = float(np.mean(many[0] > many[1]))
    found = np.array(
        [
            probability_of_improvement(one(random, seeds), other(random, seeds))["interval"]
            for _ in range(times)
        ]
    )
    inside = (found[:, 0] <= truth) & (truth <= found[:, 1])
    shown = (found[:, 0] > 0.5) | (found[:, 1] < 0.5)
    return float(inside.mean()), float(shown.mean())


def main() -> None:
    """Runs the command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--times", type=int, default=2000, help="simulated evaluations (2000)")
    times = parser.parse_args().times
    print(f"| seeds | interval of a mean | {' | '.join(POPULATIONS)} |")
    print("|---" * (2 + len(POPULATIONS)) + "|")
    for seeds in SEEDS:
        for name, method in METHODS.items():
            cells = [
                "{:.2f} ({:.2g})".format(*covered(method, population, seeds, times))
                for population in POPULATIONS
            ]
            print(f"| {seeds} | {name} | {' | '.join(cells)} |", flush=True)
    print(f"\n| seeds | {' | '.join(PAIRS)} |")
    print("|---" * (1 + len(PAIRS)) + "|")
    for seeds in SEEDS:
        cells = ["{:.2f} ({:.2f})".format(*covered_probability(p, seeds, times)) for p in PAIRS]
        print(f"| {seeds} | {' | '.join(cells)} |", flush=True)


if __name__ == "__main__":
    main()
