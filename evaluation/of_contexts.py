"""Measures of what an actor does since contexts began: how it finds out in which one it
is, and how well it then acts.
"""

from collections.abc import Iterator
from dataclasses import replace
from typing import cast

from spikepropamine.evaluation.judge import rewards
from spikepropamine.evaluation.measure import (
    POSITIVE,
    Measure,
    Number,
    Numbers,
    at_places,
    by_episode,
    known,
)
from spikepropamine.evaluation.observed import FIRST, LATER, Acted, SinceContext


def _contexts(since: SinceContext) -> Numbers:
    yield Number(float(len(since.stretches)))


def _settled_contexts(since: SinceContext) -> Numbers:
    lengths = [stretch.end - stretch.start for stretch in since.stretches]
    yield Number(float(sum(length > rewards.SETTLED.start for length in lengths)))


def _opening_rate(since: SinceContext) -> Numbers:
    return by_episode(since.acted.outcome, since.opening)


def _settled_rate(since: SinceContext) -> Numbers:
    return by_episode(since.acted.outcome, since.settled)


def _context_reward(since: SinceContext) -> Numbers:
    starts = rewards.curve_points(len(since.rates))
    return at_places(starts + rewards.WINDOW, since.rates[starts])


def _opening_over_off(since: SinceContext) -> Numbers:
    off = since.acted.plasticity_off
    if off is not None:
        without = rewards.mean_of(since.of(off), rewards.OPENING)
        yield from by_episode(since.acted.outcome, since.opening - without)


def _settled_pace(since: SinceContext) -> Numbers:
    if since.compared is not None:
        yield from by_episode(since.acted.outcome, since.compared.paces)


def _time_to_identify(since: SinceContext) -> Numbers:
    if since.compared is not None:
        yield from known(since.compared.time_to_identify)


def _regained(since: SinceContext) -> Numbers:
    compared = since.compared
    if compared is not None and compared.regains:
        shares = rewards.regained(
            since.acted.rewards, compared.random, compared.teacher, since.stretches
        )
        yield from by_episode(since.acted.outcome, shares)


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


def _of(prefix: str, measure: Measure[SinceContext]) -> Measure[Acted]:
    """A measure of contexts, of those of one kind."""
    rows = measure.rows
    assert rows is not None

    def of_acted(acted: Acted) -> Numbers:
        since = acted.since_contexts.get(prefix)
        return iter(()) if since is None else rows(since)

    bare = cast(Measure[Acted], replace(measure, rows=None))
    return replace(bare, rows=of_acted, of_contexts=True)


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


OF_CONTEXTS: tuple[Measure[Acted], ...] = tuple(_of_contexts())
"""The same, by the names that the measures of each kind of contexts have."""
