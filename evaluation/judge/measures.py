"""The measures of an evaluation, as pure functions of rewards."""

from typing import NamedTuple

import numpy as np

REGAINED = 0.9
"""Share of what comes back in the end at which recovery is timed."""
POINTS = 100
"""Of a curve over the steps of an episode, at most."""
LEAST = 0.1
"""Smallest drop, relative to the rate before, and smallest recovery that count as any."""


class Recovery(NamedTuple):
    """What a change at a step of an episode does to the reward per step, averaged over a window,
    relative to the same episodes without the change.

    An episode that the change ends earns nothing more; one that ends without the change counts
    until then, and windows go as far as half of the episodes run. The values of episodes are per
    step that is run, so that their mean is that of the run.

    Attributes:
        reward_before: in the window before the change, [episodes].
        drop: what is missing in the first window, from the change on, [episodes].
        missing_at_end: what is missing in the last window, [episodes].
        time: steps from the change to the end of the first window in which nine tenths of what
            comes back are back; NaN where the drop is less than a tenth of the reward before, or
            less than a tenth of it comes back.
    """

    reward_before: np.ndarray
    drop: np.ndarray
    missing_at_end: np.ndarray
    time: float


def mean_of_known(values: np.ndarray, axis: int) -> np.ndarray:
    """Mean over an axis of those that are not NaN; NaN where all are (NumPy's `nanmean` warns)."""
    known = np.isfinite(values)
    with np.errstate(invalid="ignore"):
        return np.where(known, values, 0.0).sum(axis=axis) / known.sum(axis=axis)


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
    clean: np.ndarray, changed: np.ndarray, lengths: np.ndarray, onset: int, window: int
) -> Recovery | None:
    """What a change does to the reward per step, and what comes back of it.

    Args:
        clean: rewards of the episodes without the change, [episodes, steps].
        changed: the same with it.
        lengths: steps of the episodes without the change, [episodes].
        onset: first step of the change.
        window: steps that a rate is the mean of.

    Returns:
        None where there is no window before the onset, or no two after it.
    """
    end = int(np.median(lengths))
    if onset < window or end < onset + 2 * window:
        return None
    running = np.arange(end) < lengths[:, None]
    there = windowed(running.mean(axis=0, keepdims=True), window)[0]
    lost = windowed(np.where(running, (clean - changed)[:, :end], 0.0), window) / there
    before = windowed(clean[:, :end], window)[:, onset - window] / there[onset - window]
    curve = lost[:, onset:].mean(axis=0)
    drop, left = curve[0], curve[-1]  # not the most of all, which chance has a part in
    time = np.nan
    if drop > LEAST * abs(before.mean()) and 1 - left / drop >= LEAST:
        goal = left + (1 - REGAINED) * (drop - left) + 1e-9 * drop  # sums are rounded
        time = float((curve <= goal).argmax() + window)  # the last one reaches the goal
    return Recovery(before, lost[:, onset], lost[:, -1], time)
