"""The measures of an evaluation as pure functions of rewards: what a change does, and how a policy
comes to act as a context asks for, which it has to find out by itself.
"""

from collections.abc import Sequence

import numpy as np

REGAINED = 0.9  # share of what comes back in the end at which recovery is timed
POINTS = 100  # of a curve over the steps of an episode, at most
LEAST = 0.1  # smallest drop, relative to the rate before, and smallest recovery that count as any


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
) -> tuple[dict[str, np.ndarray], float]:
    """What a change at the step `onset` does to the reward per step, the mean of `window` steps,
    relative to the same episodes without the change, and what comes back of it.

    Rewards are those of the `clean` episodes, which have these lengths, and of the `changed` ones,
    [episodes, steps]. An episode that the change ends earns nothing more; one that ends without the
    change counts until then, and windows go as far as half of the episodes run.

    Returns:
        By measure, [episodes], per step that is run, so that their mean is that of the run:
        `reward_before` in the window before the change; `drop`, what is missing in the first window
        from the change on; `missing_at_end`, in the last window. Nothing where there is no window
        before the onset, or no two after it.
        Steps from the change to the end of the first window in which nine tenths of what comes back
        are back; NaN where the drop is less than a tenth of the reward before, or less than a tenth
        of it comes back.
    """
    end = int(np.median(lengths))
    if onset < window or end < onset + 2 * window:
        return {}, np.nan
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
    found = {
        "reward_before": before,
        "drop": lost[:, onset],
        "missing_at_end": lost[:, -1],
    }
    return found, time


WINDOW = 10  # steps that a reward rate is the mean of
OPENING = range(50)  # steps since a context began, in which nobody can know it yet
SETTLED = range(100, 200)  # steps since a context began, in which it should be known
BEFORE = 50  # steps before a change, whose reward rate is to be regained
AFTER = range(50, 75)  # steps since a change, in which it should be
FOUND_OUT = 0.5  # pace from which on a context counts as found out

Segment = tuple[int, int, int]  # an episode, and the steps from which and up to which


def segments(
    began: Sequence[Sequence[int]], steps: int
) -> tuple[list[Segment], list[Segment]]:
    """The stretches of one context: those that begin with an episode of so many steps, and all
    others. A context `began` at these steps of each episode, rising from 0.
    """
    first, later = list[Segment](), list[Segment]()
    for episode, starts in enumerate(began):
        inside = [start for start in starts if start < steps]
        for start, end in zip(inside, [*inside[1:], steps]):
            (later if start else first).append((episode, start, end))
    return first, later


def since(rewards: np.ndarray, stretches: Sequence[Segment]) -> np.ndarray:
    """Rewards by steps since a context began, [..., episodes, T] to [..., episodes, longest
    stretch].

    Means over the stretches of each episode; NaN where an episode has none that long.
    """
    longest = max(end - start for _, start, end in stretches)
    total = np.zeros((*rewards.shape[:-1], longest))
    count = np.zeros((rewards.shape[-2], longest))
    for episode, start, end in stretches:
        total[..., episode, : end - start] += rewards[..., episode, start:end]
        count[episode, : end - start] += 1
    with np.errstate(invalid="ignore"):
        return total / np.where(count > 0, count, np.nan)


def mean_of(by_step: np.ndarray, steps: range) -> np.ndarray:
    """Over some steps since a context began, [..., steps] to [...]; NaN where there are none."""
    return mean_of_known(by_step[..., steps.start : steps.stop], axis=-1)


def pace(rate: np.ndarray, random: np.ndarray, teacher: np.ndarray) -> np.ndarray:
    """Reward rates relative to those of random actions (0) and of a teacher that is told (1).

    NaN where the teacher is no better than random actions.
    """
    margin = teacher - random
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.where(margin > 0, (rate - random) / margin, np.nan)


def time_to_identify(
    rate: np.ndarray, random: np.ndarray, teacher: np.ndarray
) -> float:
    """Steps until nine tenths of the settled pace are reached; NaN where there is none to reach.

    It is the end of the first window, after the one with the lowest pace of the first 100 steps, in
    which the pace is at least that; where even this one has it, of the first that is counted. The
    teacher at the same step is the measure, since it, too, has to gather speed; where it has not
    yet a tenth of its own settled rate nothing is counted. Rates are windowed, by steps since a
    context began, [steps].
    """
    settled = range(SETTLED.start, SETTLED.stop - WINDOW + 1)
    margins = teacher - random
    paces = pace(rate, random, teacher)
    goal = pace(
        mean_of(rate, settled), mean_of(random, settled), mean_of(teacher, settled)
    )
    steps = np.flatnonzero(
        np.isfinite(paces) & (margins >= LEAST * mean_of(margins, settled))
    )
    if not goal >= LEAST or not (steps < SETTLED.start).any():
        return np.nan
    early = steps[steps < SETTLED.start]
    lowest = early[paces[early].argmin()]
    if paces[lowest] >= REGAINED * goal:
        lowest = early[0]  # it has been there from the beginning
    reached = steps[(steps >= lowest) & (paces[steps] >= REGAINED * goal)]
    return float(reached[0] + WINDOW) if reached.size else np.nan


def regained(
    rewards: np.ndarray,
    random: np.ndarray,
    teacher: np.ndarray,
    changes: Sequence[Segment],
) -> np.ndarray:
    """Share of the changes of an episode after which nine tenths of the rate before come back,
    [..., episodes], NaN where nothing is counted; changes are stretches that begin within an
    episode.

    Rates are means over the 50 steps before a change and over steps 50 to 75 since, above that of
    random actions. Judged are changes from a context that had been found out (half of the teacher's
    pace), where the next one lasts for 75 steps. Rewards are [..., episodes, T], those of random
    actions and of the teacher [episodes, T].
    """
    count, counted = np.zeros(rewards.shape[:-1]), np.zeros(rewards.shape[:-1])
    floor = random.mean()
    for episode, start, end in changes:
        if end - start < AFTER.stop:
            continue
        past = slice(max(0, start - BEFORE), start)
        before = rewards[..., episode, past].mean(axis=-1) - floor
        after = rewards[..., episode, start + AFTER.start : start + AFTER.stop].mean(
            axis=-1
        )
        known = before >= FOUND_OUT * max(0.0, teacher[episode, past].mean() - floor)
        counted[..., episode] += known
        count[..., episode] += known & (after - floor >= REGAINED * before)
    with np.errstate(invalid="ignore"):
        return np.where(counted > 0, count / counted, np.nan)
