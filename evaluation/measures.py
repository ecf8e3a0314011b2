"""The measures of an evaluation: all that is known of each, in one record.

A new measure is one more record in `MEASURES`. The results table then has its rows, the
report its column, and a matrix keeps it where it is to be `on_file`. Whatever reads
results asks here, and refuses a measure that has no record.
"""

import itertools
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from typing import Any, Generic, NamedTuple, TypeVar, cast

import numpy as np
import polars as pl

from spikepropamine.agents.zoo import actor_parameters
from spikepropamine.common import CLEAN_KEY, check_known
from spikepropamine.evaluation import derived
from spikepropamine.evaluation.judge import rewards
from spikepropamine.evaluation.judge.cost import KINDS, PARTS
from spikepropamine.evaluation.observed import (
    FIRST,
    LATER,
    Acted,
    SinceContext,
    Trained,
)
from spikepropamine.evaluation.run.episodes import SAMPLES, Outcome
from spikepropamine.words import number, percent

Bounds = tuple[float, float]
UNBOUNDED: Bounds = (-np.inf, np.inf)
SHARE: Bounds = (0.0, 1.0)
POSITIVE: Bounds = (0.0, np.inf)
CURVE = 20  # points of a learning curve

Source = TypeVar("Source")


class Number(NamedTuple):
    """A row of the results table, less what it is of."""

    value: float
    at: int | None = None  # step of the episode, trial, or training step
    episode: int | None = None  # its seed


Numbers = Iterator[Number]


@dataclass(frozen=True)
class Measure(Generic[Source]):
    """What is known of a measure."""

    name: str  # in the column `measure` of the results table
    title: str  # heads its column
    sentence: str  # what it is
    # of what it is computed from: a run, an episode's outcome, or an actor's deeds
    rows: Callable[[Source], Numbers] | None = None
    # rows out of others, once results are read: by run, or with true by episode
    derive: Callable[[pl.DataFrame, bool], pl.DataFrame] | None = None
    axis: str = ""  # names it beside a plot; empty: the title
    short: str = ""  # names it in the terminal and in cards; empty: the title
    unit: str = ""  # empty: a share, or what the task pays
    bounds: Bounds = UNBOUNDED  # of its values, and so of intervals
    higher_is_better: bool | None = None  # None: neither is
    as_percent: bool = False
    # which table of the report has a column of it, "results" where it has no other
    section: str = "results"
    on_file: bool = False  # whether a matrix keeps it
    on_file_of_teacher: bool = False  # and that of a teacher that is told
    # of those that tell how good a policy is, the most telling has the lowest; 0: none
    tells: int = 0
    of_contexts: bool = False  # which have to be found out
    # whether a teacher has nothing of it to show, since it is told
    found_out: bool = False

    def text(self, value: float) -> str:
        """A value as people read it."""
        return percent(value) if self.as_percent else number(value)

    @property
    def of_axis(self) -> str:
        """Its name beside a plot."""
        return self.axis or self.title

    @property
    def label(self) -> str:
        """Its name in the terminal and in cards."""
        return self.short or self.title


def _numbers(places: Iterable[int], values: Iterable[float]) -> Numbers:
    """A number at each place of a curve where there is a finite one."""
    for place, value in zip(places, values):
        if np.isfinite(value):
            yield Number(float(value), at=int(place))


def _by_episode(
    outcome: Outcome, values: Iterable[float], at: int | None = None
) -> Numbers:
    """A number for each episode that has a finite one."""
    for seed, value in zip(outcome["seed"], values):
        if np.isfinite(value):
            yield Number(float(value), at=at, episode=int(seed))


def _known(value: float | None) -> Numbers:
    """The value, where there is one."""
    if value is not None:
        yield Number(float(value))


# of runs


def _parameters(trained: Trained) -> Numbers:
    trainer = trained.settings.get("trainer", {})
    untrained = trainer.get("untrained") if isinstance(trainer, dict) else None
    yield Number(float(actor_parameters(trained.run.policy.policy, untrained or ())))


def _steps_planned(trained: Trained) -> Numbers:
    steps = trained.settings.get("steps")
    if isinstance(steps, int):
        yield Number(float(steps))


def _training_return(trained: Trained) -> Numbers:
    """The last one, and `CURVE` points of all."""
    steps, returns = trained.learning_curve
    if not len(returns):
        return
    yield Number(float(returns[-1]))
    ends = [round(trained.run.steps * (point + 1) / CURVE) for point in range(CURVE)]
    yield from _numbers(ends, np.interp(ends, steps, returns, left=np.nan))


def _best_training_return(trained: Trained) -> Numbers:
    _, returns = trained.learning_curve
    if len(returns):
        yield Number(float(max(returns)))


def _cost(name: str) -> Callable[[Trained], Numbers]:
    return lambda trained: _known(trained.cost.get(name))


# of episodes


def _of_outcome(name: str) -> Callable[[Acted], Numbers]:
    return lambda acted: _by_episode(acted.outcome, acted.outcome[name])


def _earned(outcome: Outcome) -> Numbers:
    return _by_episode(outcome, outcome["return"])


def _correct(acted: Acted) -> Numbers:
    for trial, right in enumerate(acted.outcome["correct"].T):
        yield from _by_episode(acted.outcome, right, at=trial)


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
    yield from _numbers(starts + task.window, rates[starts])


def _inside(name: str) -> Callable[[Acted], Numbers]:
    """What goes on inside the network, means over the episodes that are running."""

    def rows(acted: Acted) -> Numbers:
        sums = acted.outcome.get(f"inside/{name}")
        if sums is None or not _has_curves(acted):
            return
        count = acted.outcome["inside/count"]
        every = max(1, acted.task.horizon // SAMPLES)
        yield from _numbers(every * np.arange(len(count)), sums / count)

    return rows


def _of_recovery(name: str) -> Callable[[Acted], Numbers]:
    def rows(acted: Acted) -> Numbers:
        if acted.recovery is not None:
            yield from _by_episode(acted.outcome, getattr(acted.recovery, name))

    return rows


def _recovery_time(acted: Acted) -> Numbers:
    if acted.recovery is not None:
        yield from _known(acted.recovery.time)


# of contexts


def _contexts(since: SinceContext) -> Numbers:
    yield Number(float(len(since.stretches)))


def _settled_contexts(since: SinceContext) -> Numbers:
    lengths = [stretch.end - stretch.start for stretch in since.stretches]
    yield Number(float(sum(length > rewards.SETTLED.start for length in lengths)))


def _opening_rate(since: SinceContext) -> Numbers:
    return _by_episode(since.acted.outcome, since.opening)


def _settled_rate(since: SinceContext) -> Numbers:
    return _by_episode(since.acted.outcome, since.settled)


def _context_reward(since: SinceContext) -> Numbers:
    starts = rewards.curve_points(len(since.rates))
    return _numbers(starts + rewards.WINDOW, since.rates[starts])


def _opening_over_off(since: SinceContext) -> Numbers:
    off = since.acted.plasticity_off
    if off is not None:
        without = rewards.mean_of(since.of(off), rewards.OPENING)
        yield from _by_episode(since.acted.outcome, since.opening - without)


def _settled_pace(since: SinceContext) -> Numbers:
    if since.compared is not None:
        yield from _by_episode(since.acted.outcome, since.compared.paces)


def _time_to_identify(since: SinceContext) -> Numbers:
    if since.compared is not None:
        yield from _known(since.compared.time_to_identify)


def _regained(since: SinceContext) -> Numbers:
    compared = since.compared
    if compared is not None and compared.regains:
        shares = rewards.regained(
            since.acted.rewards, compared.random, compared.teacher, since.stretches
        )
        yield from _by_episode(since.acted.outcome, shares)


def _of(prefix: str, measure: Measure[SinceContext]) -> Measure[Acted]:
    """A measure of contexts, of those of one kind."""
    rows = measure.rows
    assert rows is not None

    def of_acted(acted: Acted) -> Numbers:
        since = acted.since_contexts.get(prefix)
        return iter(()) if since is None else rows(since)

    bare = cast(Measure[Acted], replace(measure, rows=None))
    return replace(bare, rows=of_acted, of_contexts=True)


OF_RUNS: tuple[Measure[Trained], ...] = (
    Measure(
        "parameters",
        "trainable parameters of the actor",
        "How many numbers of the actor training may change.",
        _parameters,
        bounds=POSITIVE,
        section="tested",
        on_file=True,
    ),
    Measure(
        "steps_planned",
        "steps planned",
        "For how many environment steps the run was to be trained.",
        _steps_planned,
        unit="steps",
        bounds=POSITIVE,
        section="",
    ),
    Measure(
        "seconds",
        "seconds of training",
        "How long training took, over all its sessions.",
        lambda trained: _known(trained.seconds),
        unit="s",
        bounds=POSITIVE,
        higher_is_better=False,
        section="",
        on_file=True,
    ),
    Measure(
        "training_return",
        "training return, last",
        "The mean return of the last training episodes.",
        _training_return,
        higher_is_better=True,
        section="tested",
        on_file=True,
    ),
    Measure(
        "best_training_return",
        "training return, best",
        "The highest mean return of training episodes.",
        _best_training_return,
        higher_is_better=True,
        section="tested",
        on_file=True,
    ),
    *(
        Measure(
            f"cost/{part}_{kind}",
            f"{part}, {kind.replace('_', '-')}",
            f"Operations per environment step, of {part}.",
            _cost(f"{part}_{kind}"),
            bounds=POSITIVE,
            higher_is_better=False,
            section="cost",
        )
        for part, kind in itertools.product(PARTS, KINDS)
    ),
    Measure(
        "cost/energy_nJ",
        "energy in nJ",
        "Energy of the arithmetic of an environment step, in 45 nm.",
        _cost("energy_nJ"),
        unit="nJ",
        bounds=POSITIVE,
        higher_is_better=False,
        section="cost",
    ),
    Measure(
        "cost/parameter_bytes",
        "weights in bytes",
        "Memory of trainable parameters.",
        _cost("parameter_bytes"),
        unit="B",
        bounds=POSITIVE,
        higher_is_better=False,
        section="cost",
    ),
    Measure(
        "cost/state_bytes",
        "state in bytes",
        "Memory of what changes in an episode.",
        _cost("state_bytes"),
        unit="B",
        bounds=POSITIVE,
        higher_is_better=False,
        section="cost",
    ),
    Measure(
        "cost/activation_sparsity",
        "silent activations",
        "Share of the neurons' activations that are 0.",
        _cost("activation_sparsity"),
        bounds=SHARE,
        as_percent=True,
        section="cost",
    ),
)
"""Computed from a run."""

OF_BASELINES: dict[str, Measure[Outcome]] = {
    "random": Measure(
        "random_return",
        "return of random actions",
        "What random actions earn in an episode of the clean task.",
        _earned,
        section="tested",
        on_file=True,
    ),
    "still": Measure(
        "still_return",
        "return of standing still",
        "What an action of zeros earns in an episode of the clean task.",
        _earned,
        section="",
    ),
}
"""Computed from the clean episodes of actions that need no policy, by their names."""

CONTEXTS: tuple[Measure[SinceContext], ...] = (
    Measure(
        "contexts",
        "contexts",
        "How many contexts began.",
        _contexts,
        bounds=POSITIVE,
        section="",
    ),
    Measure(
        "settled_contexts",
        "contexts that last so long",
        "How many of these contexts last longer than 100 steps.",
        _settled_contexts,
        bounds=POSITIVE,
        section="",
    ),
    Measure(
        "opening_rate",
        "reward per step, first 50 steps",
        "Reward per step in the first 50 steps of a context.",
        _opening_rate,
        higher_is_better=True,
        section="adaptation",
    ),
    Measure(
        "settled_rate",
        "steps 100 to 200",
        "Reward per step in steps 100 to 200 of a context.",
        _settled_rate,
        higher_is_better=True,
        section="adaptation",
    ),
    Measure(
        "context_reward",
        "reward per step",
        "Reward per step, over 10 steps, since the context began.",
        _context_reward,
        section="",
    ),
    Measure(
        "opening_over_off",
        "first 50 steps, more than with plasticity off",
        "Reward per step in the first 50 steps of a context, less that of the same "
        "weights with plasticity off.",
        _opening_over_off,
        short="opening",
        higher_is_better=True,
        section="adaptation",
        on_file=True,
    ),
    Measure(
        "settled_pace",
        "pace of the teacher",
        "Reward per step in steps 100 to 200 of a context, relative to a teacher that "
        "is told the context (1) and to random actions (0).",
        _settled_pace,
        short="pace",
        higher_is_better=True,
        as_percent=True,
        section="adaptation",
        on_file=True,
        on_file_of_teacher=True,
        tells=1,
        found_out=True,
    ),
    Measure(
        "time_to_identify",
        "steps until found out",
        "Steps since a context began until nine tenths of the settled pace are "
        "reached.",
        _time_to_identify,
        unit="steps",
        bounds=POSITIVE,
        higher_is_better=False,
        section="adaptation",
        on_file=True,
        found_out=True,
    ),
    Measure(
        "regained",
        "changes after which the rate is back in 50 steps",
        "Share of the changes of context after which nine tenths of the reward rate "
        "are back in 50 steps.",
        _regained,
        short="regained",
        higher_is_better=True,
        as_percent=True,
        section="adaptation",
        on_file=True,
        on_file_of_teacher=True,
    ),
)
"""Computed from what an actor does since contexts began, of each kind of contexts."""

REGAINED = "regained"  # of later contexts alone, and named without their prefix
ON_FILE_LATER = ("settled_pace",)
"""Of those on file, the ones that are kept of later contexts, too."""


def name_in(prefix: str, measure: Measure[SinceContext]) -> str | None:
    """The name of a measure of contexts of one kind.

    Args:
        prefix: `FIRST` or `LATER`.
        measure: of contexts.

    Returns:
        None where the measure has no meaning for contexts of this kind.
    """
    if measure.name == REGAINED:
        return REGAINED if prefix == LATER else None
    return prefix + measure.name


def _of_contexts() -> Iterator[Measure[Acted]]:
    for prefix in (FIRST, LATER):
        for measure in CONTEXTS:
            name = name_in(prefix, measure)
            if name is None:
                continue
            kept = measure.on_file
            if prefix == LATER and name != REGAINED:
                kept = measure.name in ON_FILE_LATER
            tells = measure.tells if prefix == FIRST else 0
            yield replace(_of(prefix, measure), name=name, on_file=kept, tells=tells)


INSIDE = {
    "firing_rate": (
        "Firing rate",
        "spikes per neuron in the last tick of a step",
    ),
    "fast_weight_norm": ("Fast weights", "root mean square"),
    "modulator_mean": ("Neuromodulator", "mean over neurons"),
    "modulator_spread": ("Neuromodulator", "spread over neurons"),
}

OF_ACTING: tuple[Measure[Acted], ...] = (
    Measure(
        "return",
        "return",
        "The sum of the rewards of an episode.",
        _of_outcome("return"),
        axis="return of an episode",
        higher_is_better=True,
        section="results",
        on_file=True,
        tells=3,
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
    *_of_contexts(),
)
"""Computed from what an actor did in a condition."""

DERIVED: tuple[Measure[None], ...] = (
    Measure(
        "learned",
        "has learned",
        "1 where the clean return is significantly higher than that of random actions "
        "and of standing still, else 0.",
        derive=lambda frame, _: derived.learned(frame),
        bounds=SHARE,
        higher_is_better=True,
        section="",
        on_file=True,
    ),
    Measure(
        "retention",
        "return kept",
        "The return above that of random actions, relative to the same in the clean "
        "task; a run that has not learned has none.",
        derive=lambda frame, _: derived.retention(frame),
        short="retention",
        higher_is_better=True,
        as_percent=True,
        section="results",
        tells=4,
    ),
    Measure(
        "late_accuracy",
        "late accuracy",
        "Share of right answers in the second half of the trials of an episode.",
        derive=derived.late_accuracy,
        axis="right answers in late trials",
        bounds=SHARE,
        higher_is_better=True,
        as_percent=True,
        section="results",
        tells=2,
    ),
)
"""Computed from other rows when results are read."""

EVERY: tuple[Measure[Any], ...] = (
    *OF_RUNS,
    *OF_BASELINES.values(),
    *OF_ACTING,
    *DERIVED,
)
MEASURES = {measure.name: measure for measure in EVERY}
"""All, by name."""


def measure_named(name: str) -> Measure[Any]:
    """The record of a measure. Raises UsageError: there is none; the message has the
    nearest name.
    """
    check_known("measure", name, MEASURES)
    return MEASURES[name]


def of_section(section: str) -> list[Measure[Any]]:
    """The measures that a table of the report has columns of."""
    return [measure for measure in MEASURES.values() if measure.section == section]


def telling() -> list[Measure[Any]]:
    """The measures that tell how good a policy is, the most telling one first."""
    every = [measure for measure in MEASURES.values() if measure.tells]
    return sorted(every, key=lambda measure: measure.tells)
