"""The measures of an evaluation, as pure functions of returns, rewards and responses.

All of them take a leading axis [K] of alternatives (runs, or resamples of them) and keep it.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

REGAINED = 0.9
"""Fraction of what comes back in the end at which recovery is timed."""
POINTS = 100
"""Of a curve over the steps of an episode, at most."""
LEAST = 0.1
"""Smallest drop, relative to the rate before, and smallest recovery that count as any."""


class RecoveryValues(NamedTuple):
    """Each [K]; NaN where it does not exist. See `evaluation.schema.Recovery`."""

    before: np.ndarray
    drop: np.ndarray
    left: np.ndarray
    fraction: np.ndarray
    time: np.ndarray


def late_accuracy(correct: np.ndarray, trials: int) -> np.ndarray:
    """Fraction of right responses in the second half of the trials (the longer one if odd).

    Args:
        correct: [episodes, trials or fewer], NaN where there was no response.
        trials: how many there are.

    Returns:
        [episodes], NaN where no response came so late.
    """
    return mean_of_known(correct[:, trials // 2 :], axis=1)


def mean_of_known(values: np.ndarray, axis: int) -> np.ndarray:
    """Mean over an axis of those that are not NaN; NaN where all are (NumPy's `nanmean` warns)."""
    known = np.isfinite(values)
    with np.errstate(invalid="ignore"):
        return np.where(known, values, 0.0).sum(axis=axis) / known.sum(axis=axis)


def retention(value: np.ndarray, clean: np.ndarray, random: float) -> np.ndarray:
    """(R - R_random) / (R_clean - R_random); NaN where the clean return is not above random."""
    margin = clean - random
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.where(margin > 0, (value - random) / margin, np.nan)


def area(severities: Sequence[float], values: Sequence[np.ndarray]) -> np.ndarray:
    """Area under a curve, by trapezoids, over its range of severity: the mean along it."""
    return np.trapezoid(np.stack(values), severities, axis=0) / (severities[-1] - severities[0])


def windowed(rewards: np.ndarray, window: int) -> np.ndarray:
    """Means over each `window` steps on end: [K, T] to [K, T - window + 1]; entry t starts at t."""
    sums = np.cumsum(np.pad(rewards, ((0, 0), (1, 0))), axis=1, dtype=np.float64)
    return (sums[:, window:] - sums[:, :-window]) / window


def curve_points(windows: int) -> np.ndarray:
    """Which of so many windows are the points of a curve: evenly spread, the first and the last;
    none where no window is as long as that.
    """
    if windows < 1:
        return np.arange(0)
    return np.unique(np.linspace(0, windows - 1, POINTS).astype(int))


def recovery(
    missing: np.ndarray, clean: np.ndarray, running: np.ndarray, onset: int, window: int
) -> RecoveryValues | None:
    """What a change does to the reward per step, and what comes back of it.

    The definitions are those of `evaluation.schema.Recovery`; all curves are [K, steps].

    Args:
        missing: reward at each step that the change costs, the mean over episodes; nothing in one
            that without the change has ended.
        clean: the reward without the change.
        running: share of the episodes that without the change are still running.
        onset: first step of the change.
        window: steps that a rate is the mean of.

    Returns:
        None where there is no window before the onset, or no two after it.
    """
    if onset < window or missing.shape[1] < onset + 2 * window:
        return None
    with np.errstate(divide="ignore", invalid="ignore"):
        there = windowed(running, window)
        before = (windowed(clean, window) / there)[:, onset - window]
        lost = (windowed(missing, window) / there)[:, onset:]
        drop, left = lost[:, 0], lost[:, -1]  # not the most of all, which chance has a part in
        dropped = drop > LEAST * np.abs(before)
        fraction = np.where(dropped, 1 - left / drop, np.nan)
    goal = left + (1 - REGAINED) * (drop - left) + 1e-9 * np.abs(drop)  # sums are rounded
    first = (lost <= goal[:, None]).argmax(axis=1)  # the last one reaches the goal
    time = np.where(dropped & (fraction >= LEAST), first + window, np.nan)
    return RecoveryValues(before, drop, left, fraction, time)


def improved(one: np.ndarray, other: np.ndarray) -> np.ndarray:
    """1 where `one` is greater, 1/2 where they are equal, 0 where it is less."""
    return (one > other) + 0.5 * (one == other)
