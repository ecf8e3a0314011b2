"""Measures of what an actor does in the episodes of a condition."""

from collections.abc import Callable

import numpy as np

from spikepropamine.common import CLEAN_KEY
from spikepropamine.evaluation.judge import rewards
from spikepropamine.evaluation.measure import (
    POSITIVE,
    SHARE,
    Measure,
    Numbers,
    at_places,
    by_episode,
    known,
)
from spikepropamine.evaluation.observed import Acted
from spikepropamine.evaluation.run.work import RANDOM, SAMPLES, STILL, Outcome


def _of_outcome(name: str) -> Callable[[Acted], Numbers]:
    return lambda acted: by_episode(acted.outcome, acted.outcome[name])


def _earned(outcome: Outcome) -> Numbers:
    return by_episode(outcome, outcome["return"])


def _correct(acted: Acted) -> Numbers:
    for trial, right in enumerate(acted.outcome["correct"].T):
        yield from by_episode(acted.outcome, right, at=trial)


def _has_curves(acted: Acted) -> bool:
    """Conditions with an onset have curves over the episode, and the clean one has."""
    return acted.condition.onset is not None or acted.condition.intact == CLEAN_KEY


def _reward(acted: Acted) -> Numbers:
    task = acted.task
    if not _has_curves(acted) or task.window > task.horizon:
        return
    mean = acted.rewards.mean(axis=0, keepdims=True)
    rates = rewards.windowed(mean, task.window)[0]
    starts = rewards.curve_points(len(rates))
    yield from at_places(starts + task.window, rates[starts])


def _inside(name: str) -> Callable[[Acted], Numbers]:
    """What goes on inside the network, means over the episodes that are running."""

    def rows(acted: Acted) -> Numbers:
        sums = acted.outcome.get(f"inside/{name}")
        if sums is None or not _has_curves(acted):
            return
        count = acted.outcome["inside/count"]
        every = max(1, acted.task.horizon // SAMPLES)
        yield from at_places(every * np.arange(len(count)), sums / count)

    return rows


def _of_recovery(name: str) -> Callable[[Acted], Numbers]:
    def rows(acted: Acted) -> Numbers:
        if acted.recovery is not None:
            yield from by_episode(acted.outcome, getattr(acted.recovery, name))

    return rows


def _recovery_time(acted: Acted) -> Numbers:
    if acted.recovery is not None:
        yield from known(acted.recovery.time)


OF_BASELINES: dict[str, Measure[Outcome]] = {
    RANDOM: Measure(
        "random_return",
        "return of random actions",
        "What random actions earn in an episode of the clean task.",
        _earned,
        section="tested",
        on_file=True,
    ),
    STILL: Measure(
        "still_return",
        "return of standing still",
        "What an action of zeros earns in an episode of the clean task.",
        _earned,
        section="",
    ),
}
"""Computed from the clean episodes of actions that need no policy, by their names."""

INSIDE = {
    "firing_rate": (
        "Firing rate",
        "spikes per neuron in the last tick of a step",
    ),
    "fast_weight_norm": ("Fast weights", "root mean square"),
    "modulator_mean": ("Neuromodulator", "mean over neurons"),
    "modulator_spread": ("Neuromodulator", "spread over neurons"),
}
"""Title and unit of what goes on inside the network, by measure."""

OF_EPISODES: tuple[Measure[Acted], ...] = (
    Measure(
        "return",
        "return",
        "The sum of the rewards of an episode.",
        _of_outcome("return"),
        axis="return of an episode",
        higher_is_better=True,
        section="results",
        on_file=True,
        tells=4,
    ),
    Measure(
        "length",
        "length in steps",
        "Steps of an episode.",
        _of_outcome("length"),
        unit="steps",
        bounds=POSITIVE,
        section="results",
    ),
    Measure(
        "correct",
        "right answers",
        "Whether the answer of a trial is right.",
        _correct,
        bounds=SHARE,
        higher_is_better=True,
        as_percent=True,
        section="",
        on_file=True,
    ),
    Measure(
        "explained",
        "explained",
        "Share of the variance of right commands that the last quarter of an episode "
        "explains: 1 where each is right, 0 for commands of zeros.",
        _of_outcome("explained"),
        axis="explained share of commands",
        bounds=(-np.inf, 1.0),
        higher_is_better=True,
        section="results",
        on_file=True,
        tells=2,
    ),
    Measure(
        "reward",
        "reward per step",
        "Reward per step, averaged over a window, along the episode.",
        _reward,
        section="",
    ),
    *(
        Measure(name, title, f"{title}: {axis}.", _inside(name), axis=axis, section="")
        for name, (title, axis) in INSIDE.items()
    ),
    Measure(
        "reward_before",
        "reward per step before",
        "Reward per step in the window before a change.",
        _of_recovery("reward_before"),
        section="recovery",
    ),
    Measure(
        "drop",
        "drop",
        "What is missing in the first window after a change, per step, relative to the "
        "same episodes without it.",
        _of_recovery("drop"),
        higher_is_better=False,
        section="recovery",
    ),
    Measure(
        "missing_at_end",
        "missing at the end",
        "What is missing in the last window, per step, relative to the same episodes "
        "without the change.",
        _of_recovery("missing_at_end"),
        higher_is_better=False,
        section="recovery",
    ),
    Measure(
        "recovery_time",
        "steps until regained",
        "Steps from a change until nine tenths of what comes back are back.",
        _recovery_time,
        unit="steps",
        bounds=POSITIVE,
        higher_is_better=False,
        section="recovery",
    ),
)
"""Computed from what an actor did in a condition, whether it has contexts or not."""
