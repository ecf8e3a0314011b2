"""Pure functions of rewards: what a change does to a policy, and how it comes to act as
a context asks for, which it has to find out by itself.

Rewards are float arrays [..., episodes, steps]; an episode that is over earns 0.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

REGAINED = 0.9  # share of what comes back in the end at which recovery is timed
POINTS = 100  # of a curve over the steps of an episode, at most
LEAST = 0.1  # of the rate before: the smallest drop, and recovery, that count as any
ROUNDING = 1e-9  # relative error of sums


def mean_of_known(values: np.ndarray, axis: int) -> np.ndarray:
    """The mean over an axis of the values that are not NaN, without NumPy's warning.

    Args:
        values: any shape.
        axis: over which the mean is taken.

    Returns:
        The means, without that axis; NaN where all values are NaN.
    """
    known = np.isfinite(values)
    total = np.where(known, values, 0.0).sum(axis=axis)
    with np.errstate(invalid="ignore"):
        mean: np.ndarray = total / known.sum(axis=axis)
    return mean


def padded(rewards: np.ndarray, horizon: int) -> np.ndarray:
    """Rewards up to the horizon: an episode that has ended earns nothing more.

    Args:
        rewards: [..., steps].
        horizon: steps of an episode at most.

    Returns:
        float64 [..., horizon], or as long as the rewards where these are longer.
    """
    missing = max(0, horizon - rewards.shape[-1])
    unchanged = [(0, 0)] * (rewards.ndim - 1)
    return np.pad(rewards.astype(float), [*unchanged, (0, missing)])


def windowed(rewards: np.ndarray, window: int) -> np.ndarray:
    """Means over each `window` consecutive steps.

    Args:
        rewards: [rows, steps].
        window: steps of a window.

    Returns:
        float64 [rows, steps - window + 1]; entry t is of the window that starts at t.
    """
    sums = np.cumsum(np.pad(rewards, ((0, 0), (1, 0))), axis=1, dtype=np.float64)
    means: np.ndarray = (sums[:, window:] - sums[:, :-window]) / window
    return means


def curve_points(windows: int) -> np.ndarray:
    """Indices of the windows that are the points of a curve: at most `POINTS`, evenly
    spread, the first and the last among them; none where there is no window.
    """
    if windows < 1:
        return np.arange(0)
    return np.unique(np.linspace(0, windows - 1, POINTS).astype(int))


class Recovery(NamedTuple):
    """What a change does, by episode [episodes], per step that is run, so that the mean
    is that of the run.
    """

    reward_before: np.ndarray  # in the window before the change
    drop: np.ndarray  # what is missing in the first window from the change on
    missing_at_end: np.ndarray  # what is missing in the last window
    # steps from the change to the end of the first window in which nine tenths of what
    # comes back are back; None where the drop is less than a tenth of the reward
    # before, or less than a tenth of it comes back
    time: float | None


def recovery(
    clean: np.ndarray, changed: np.ndarray, lengths: np.ndarray, onset: int, window: int
) -> Recovery | None:
    """What a change does to the reward per step, and what comes back of it, relative to
    the same episodes without the change.

    An episode that the change ends earns nothing more; one that ends without the change
    counts until then. Windows go as far as half of the episodes run.

    Args:
        clean: rewards without the change, [episodes, steps].
        changed: rewards of the same episodes with the change, [episodes, steps].
        lengths: of the clean episodes, in steps, [episodes].
        onset: the step at which the change comes.
        window: steps over which rewards are averaged.

    Returns:
        The recovery; None where there is no window before the change, or no two after
        it.
    """
    end = int(np.median(lengths))
    if onset < window or end < onset + 2 * window:
        return None
    running = np.arange(end) < lengths[:, None]
    share_running = windowed(running.mean(axis=0, keepdims=True), window)[0]
    difference = np.where(running, (clean - changed)[:, :end], 0.0)
    lost = windowed(difference, window) / share_running
    rate = windowed(clean[:, :end], window)
    before = rate[:, onset - window] / share_running[onset - window]
    curve = lost[:, onset:].mean(axis=0)
    return Recovery(
        reward_before=before,
        drop=lost[:, onset],
        missing_at_end=lost[:, -1],
        time=_recovery_time(curve, float(before.mean()), window),
    )


def _recovery_time(curve: np.ndarray, before: float, window: int) -> float | None:
    """The steps from a change until nine tenths of what comes back are back."""
    # the first window, not the worst one, which chance has a part in
    drop = curve[0]
    left = curve[-1]
    drops = drop > LEAST * abs(before)
    if not drops or 1 - left / drop < LEAST:
        return None
    goal = left + (1 - REGAINED) * (drop - left)
    reached = curve <= goal + ROUNDING * drop
    return float(reached.argmax() + window)  # the last window reaches the goal


WINDOW = 10  # steps that a reward rate is the mean of
OPENING = range(50)  # steps since a context began in which nobody can know it yet
SETTLED = range(100, 200)  # steps since a context began in which it should be known
BEFORE = 50  # steps before a change whose reward rate is to be regained
AFTER = range(50, 75)  # steps since a change in which it should be
IDENTIFIED = 0.5  # pace from which on a context counts as found out


class Stretch(NamedTuple):
    """Steps of one episode that have one context."""

    episode: int  # index among the episodes
    start: int
    end: int  # excluded


def stretches_of(
    began: Sequence[Sequence[int]], steps: int
) -> tuple[list[Stretch], list[Stretch]]:
    """The stretches of one context.

    Args:
        began: for each episode, the steps at which a context began, rising from 0.
        steps: of an episode.

    Returns:
        Those that begin with an episode, and all others.
    """
    first = list[Stretch]()
    later = list[Stretch]()
    for episode, starts in enumerate(began):
        inside = [start for start in starts if start < steps]
        for start, end in zip(inside, [*inside[1:], steps]):
            group = first if start == 0 else later
            group.append(Stretch(episode, start, end))
    return first, later


def since(rewards: np.ndarray, stretches: Sequence[Stretch]) -> np.ndarray:
    """Rewards by steps since a context began: means over the stretches of each episode.

    Args:
        rewards: [..., episodes, steps].
        stretches: at least one.

    Returns:
        [..., episodes, longest stretch]; NaN where an episode has no stretch so long.
    """
    longest = max(stretch.end - stretch.start for stretch in stretches)
    total = np.zeros((*rewards.shape[:-1], longest))
    count = np.zeros((rewards.shape[-2], longest))
    for episode, start, end in stretches:
        total[..., episode, : end - start] += rewards[..., episode, start:end]
        count[episode, : end - start] += 1
    with np.errstate(invalid="ignore"):
        return total / np.where(count > 0, count, np.nan)


def mean_of(by_step: np.ndarray, steps: range) -> np.ndarray:
    """The mean over some steps since a context began.

    Args:
        by_step: [..., steps], as of `since`.
        steps: which of them.

    Returns:
        [...]; NaN where there are no such steps.
    """
    return mean_of_known(by_step[..., steps.start : steps.stop], axis=-1)


def pace(rate: np.ndarray, random: np.ndarray, teacher: np.ndarray) -> np.ndarray:
    """Reward rates relative to those of random actions (0) and of a teacher that is
    told the context (1).

    Args:
        rate: of the policy, any shape.
        random: of random actions, of that shape.
        teacher: of the teacher, of that shape.

    Returns:
        Of that shape; NaN where the teacher is no better than random actions.
    """
    margin = teacher - random
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.where(margin > 0, (rate - random) / margin, np.nan)


def time_to_identify(
    rate: np.ndarray, random: np.ndarray, teacher: np.ndarray
) -> float | None:
    """Steps until nine tenths of the settled pace are reached.

    It is the end of the first window, after the one with the lowest pace of the first
    100 steps, in which the pace is at least that; where even this one has it, of the
    first that is counted. The teacher at the same step is the measure, since it has to
    gather speed, too; where it has not yet a tenth of its own settled rate nothing is
    counted.

    Args:
        rate: of the policy, in windows of `WINDOW` steps, by steps since a context
            began, [steps].
        random: the same of random actions.
        teacher: the same of the teacher that is told.

    Returns:
        The steps; None where there is no settled pace to reach, or it is not reached.
    """
    settled = range(SETTLED.start, SETTLED.stop - WINDOW + 1)
    margins = teacher - random
    paces = pace(rate, random, teacher)
    settled_pace = pace(
        mean_of(rate, settled), mean_of(random, settled), mean_of(teacher, settled)
    )
    if not settled_pace >= LEAST:  # or it is not known
        return None
    least_margin = LEAST * mean_of(margins, settled)
    counts = np.isfinite(paces) & (margins >= least_margin)
    (counted,) = np.nonzero(counts)
    early = counted[counted < SETTLED.start]
    if not early.size:
        return None
    goal = REGAINED * settled_pace
    start = early[paces[early].argmin()]
    if paces[start] >= goal:
        start = early[0]  # it has been there from the beginning
    reached = counted[(counted >= start) & (paces[counted] >= goal)]
    return float(reached[0] + WINDOW) if reached.size else None


def regained(
    rewards: np.ndarray,
    random: np.ndarray,
    teacher: np.ndarray,
    changes: Sequence[Stretch],
) -> np.ndarray:
    """Share of the changes of an episode after which nine tenths of the rate before
    come back.

    Rates are means over the 50 steps before a change and over steps 50 to 75 since,
    above that of random actions. Judged are changes from a context that had been found
    out (half of the teacher's pace), where the next one lasts for 75 steps.

    Args:
        rewards: of the policy, [..., episodes, steps].
        random: of random actions, [episodes, steps].
        teacher: of the teacher that is told, [episodes, steps].
        changes: stretches that begin within an episode.

    Returns:
        [..., episodes], in [0, 1]; NaN where no change of an episode is judged.
    """
    back = np.zeros(rewards.shape[:-1])
    judged = np.zeros(rewards.shape[:-1])
    floor = random.mean()
    for episode, start, end in changes:
        if end - start < AFTER.stop:
            continue
        past = slice(max(0, start - BEFORE), start)
        future = slice(start + AFTER.start, start + AFTER.stop)
        before = rewards[..., episode, past].mean(axis=-1) - floor
        after = rewards[..., episode, future].mean(axis=-1) - floor
        of_teacher = max(0.0, teacher[episode, past].mean() - floor)
        identified = before >= IDENTIFIED * of_teacher
        judged[..., episode] += identified
        back[..., episode] += identified & (after >= REGAINED * before)
    with np.errstate(invalid="ignore"):
        return np.where(judged > 0, back / judged, np.nan)
