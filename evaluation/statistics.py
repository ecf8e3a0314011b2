"""Numbers that stand for many episodes: mean, interquartile mean, bootstrap interval."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from scipy import stats

from evaluation.episodes import Episode

RESAMPLES = 9999


def summarize(samples: Sequence[float], seed: int = 0) -> dict[str, Any]:
    """Mean, interquartile mean, and 95 % interval of the mean.

    The interval is the percentile bootstrap. Of one sample, or of equal ones, it has no width.

    Args:
        samples: at least one number.
        seed: of the resampling.

    Returns:
        {"mean": float, "interquartile_mean": float, "interval": [low, high]}

    Raises:
        ValueError: no samples.
    """
    values = np.asarray(samples, dtype=np.float64)
    if not values.size:
        raise ValueError("there are no samples to summarize")
    low = high = values.mean()
    if np.ptp(values) > 0:
        low, high = stats.bootstrap(
            (values,),
            np.mean,
            n_resamples=RESAMPLES,
            batch=1000,
            method="percentile",
            random_state=np.random.default_rng(seed),
        ).confidence_interval
    return {
        "mean": float(values.mean()),
        "interquartile_mean": float(stats.trim_mean(values, 0.25)),
        "interval": [float(low), float(high)],
    }


def late_accuracy(correct: Sequence[bool]) -> float:
    """Fraction of right responses in the second half of the trials (the longer one if odd)."""
    return float(np.mean(correct[len(correct) // 2 :]))


def summarize_episodes(episodes: Sequence[Episode]) -> dict[str, Any]:
    """`summarize` of the return, length, late accuracy, and accuracy by trial (a list).

    The latter two are None where the task has no trials.
    """
    summary: dict[str, Any] = {
        "return": summarize([episode.total_reward for episode in episodes]),
        "length": summarize([episode.length for episode in episodes]),
        "late_accuracy": None,
        "accuracy_by_trial": None,
    }
    answered = [episode.correct for episode in episodes if episode.correct]
    if answered:
        # an episode that was cut short has fewer trials than others
        trials = range(max(map(len, answered)))
        by_trial = [[right[trial] for right in answered if trial < len(right)] for trial in trials]
        summary["late_accuracy"] = summarize([late_accuracy(right) for right in answered])
        summary["accuracy_by_trial"] = [summarize(responses) for responses in by_trial]
    return summary


def summarize_runs(summaries: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """One summary out of those of several training seeds, in the same condition.

    Each number is the mean over the runs of their means, with the interval over runs, and
    "by_run", the means themselves. A single run keeps the interval over its episodes.
    """

    def pooled(parts: Sequence[dict[str, Any]]) -> dict[str, Any]:
        means = [part["mean"] for part in parts]
        return (parts[0] if len(parts) == 1 else summarize(means)) | {"by_run": means}

    result: dict[str, Any] = {}
    for name, first in summaries[0].items():
        parts = [summary[name] for summary in summaries]
        if first is None:
            result[name] = None
        elif isinstance(first, list):
            result[name] = [pooled(trial) for trial in zip(*parts)]
        else:
            result[name] = pooled(parts)
    return result
