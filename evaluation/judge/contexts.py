"""What the summary says of conditions with contexts, beside a teacher and random actions."""

from collections.abc import Iterator

import numpy as np

from spikepropamine.evaluation.ask.conditions import Condition
from spikepropamine.evaluation.judge.adaptation import (
    OPENING,
    SETTLED,
    WINDOW,
    Segment,
    mean_of,
    regained,
    segments,
    since,
    time_to_identify,
)
from spikepropamine.evaluation.judge.group import Group, padded
from spikepropamine.evaluation.judge.measures import LEAST, windowed
from spikepropamine.evaluation.judge.statistics import interval
from spikepropamine.evaluation.run.jobs import Outcome
from spikepropamine.evaluation.run.plan import TEACHER, Evaluation
from spikepropamine.evaluation.schema import Adaptation, ContextScores, Curve, Reference, Score

POINTS = 100  # of a curve


def adaptation_of(group: Group, condition: Condition) -> Adaptation | None:
    """How a policy adapts in a condition; None where it has no contexts."""
    if not condition.has_contexts:
        return None
    off = next(
        (c for c in group.conditions if c.intact == condition.intact and c.lesion_name == "off"),
        None,
    )
    every = _stretches(group.evaluation, condition.intact)
    first, later = (_scores(group, condition, off, stretches) for stretches in every)
    assert first is not None
    return Adaptation(first=first, later=later)


def references_of(evaluation: Evaluation) -> dict[str, dict[str, dict[str, Reference | None]]]:
    """By intact condition with contexts, reference, and "first" or "later"."""
    found: dict[str, dict[str, dict[str, Reference | None]]] = {}
    for condition in evaluation.conditions:
        if condition.lesion is None and condition.has_contexts:
            every = dict(zip(("first", "later"), _stretches(evaluation, condition.key)))
            found[condition.key] = {
                name: {part: _reference(rewards, some) for part, some in every.items()}
                for name, rewards in _rewards_of_references(evaluation, condition.key).items()
            }
    return found


def _scores(
    group: Group, condition: Condition, off: Condition | None, stretches: list[Segment]
) -> ContextScores | None:
    if not stretches:
        return None
    whole = group.rewards(condition.key)  # [runs, episodes, steps]
    rewards = since(whole, stretches)
    of_references = _rewards_of_references(group.evaluation, condition.intact)
    references = {name: since(values, stretches) for name, values in of_references.items()}
    settled, opening = mean_of(rewards, SETTLED), mean_of(rewards, range(OPENING))
    pace = lost = back = None
    time = np.full(len(rewards) + 1, np.nan)
    if TEACHER in references:
        random, teacher = references["random"], references[TEACHER]
        floor = mean_of(random, SETTLED)
        margin = np.broadcast_to(mean_of(teacher, SETTLED) - floor, settled.shape)
        if np.isfinite(margin).any() and np.nanmean(margin) > 0:
            pace = group.ratio(settled - floor, margin)
        curves = [_rate(values) for values in (_mean(rewards), *rewards)]
        time = np.array(
            [time_to_identify(curve, _rate(random), _rate(teacher)) for curve in curves]
        )
        if pace is None or pace["mean"] < LEAST:
            time[:] = np.nan
        changes = [stretch for stretch in stretches if stretch[1] > 0]
        shares = regained(whole, of_references["random"], of_references[TEACHER], changes)
        back = group.score(shares, (0.0, 1.0))
    if off is not None and off != condition:
        other = mean_of(since(group.rewards(off.key), stretches), range(OPENING))
        lost = group.score(opening - other)
    return ContextScores(
        contexts=len(stretches),
        settled_contexts=sum(end - start > SETTLED.start for _, start, end in stretches),
        reward_rate=_curve(group, rewards),
        opening_rate=group.score(opening),
        settled_rate=group.score(settled),
        settled_pace=pace,
        opening_over_off=lost,
        time_to_identify=_time(time),
        regained=back,
    )


def _time(times: np.ndarray) -> Score | None:
    """Out of that of all runs together, and those of each; an interval it has not."""
    if not np.isfinite(times[0]):
        return None
    by_run = [float(time) if np.isfinite(time) else None for time in times[1:]]
    known = [time for time in by_run if time is not None]
    middle = float(np.median(known)) if known else float(times[0])
    return Score(mean=float(times[0]), interquartile_mean=middle, interval=None, by_run=by_run)


def _curve(group: Group, rewards: np.ndarray) -> Curve:
    """Of the reward rate by steps since a context began."""
    units = rewards[0] if group.units.runs == 1 else np.stack([_mean(run) for run in rewards])
    rates = windowed(units, WINDOW)
    starts = np.unique(np.linspace(0, rates.shape[1] - 1, POINTS).astype(int))
    curve = Curve(step=[], mean=[], low=[], high=[])
    for start in starts:
        some = rates[np.isfinite(rates[:, start]), start]
        if some.size:
            edges = interval(float(some.mean()), some)
            curve["step"].append(int(start) + WINDOW)
            curve["mean"].append(float(some.mean()))
            curve["low"].append(None if edges is None else edges[0])
            curve["high"].append(None if edges is None else edges[1])
    return curve


def _reference(rewards: np.ndarray, stretches: list[Segment]) -> Reference | None:
    if not stretches:
        return None
    by_step = since(rewards, stretches)
    rates = _rate(by_step)
    starts = np.unique(np.linspace(0, len(rates) - 1, POINTS).astype(int))
    starts = starts[np.isfinite(rates[starts])]
    settled = mean_of(_mean(by_step)[None], SETTLED)[0]
    return Reference(
        step=[int(start) + WINDOW for start in starts],
        mean=rates[starts].tolist(),
        settled_rate=float(settled) if np.isfinite(settled) else None,
    )


def _mean(by_step: np.ndarray) -> np.ndarray:
    """Over episodes, [episodes, steps] to [steps]; those that are NaN do not count."""
    there = np.isfinite(by_step)
    with np.errstate(invalid="ignore"):
        return np.where(there, by_step, 0.0).sum(axis=0) / there.sum(axis=0)


def _rate(by_step: np.ndarray) -> np.ndarray:
    return windowed(_mean(by_step)[None], WINDOW)[0]


def _rewards_of_references(evaluation: Evaluation, intact: str) -> dict[str, np.ndarray]:
    """[episodes, horizon] of random actions, and of the teacher where there is one."""
    return {
        name: padded(outcomes[intact]["rewards"], evaluation.task.horizon)
        for name, outcomes in evaluation.references.items()
        if name in ("random", TEACHER)
    }


def _stretches(evaluation: Evaluation, intact: str) -> tuple[list[Segment], list[Segment]]:
    """Of the episodes, as far as anyone got: contexts do not depend on what is done in them."""
    keys = {c.key for c in evaluation.conditions if c.intact == intact}
    began: list[set[int]] = [set() for _ in evaluation.seeds]
    for outcome in _outcomes(evaluation, keys):
        for steps, known in zip(outcome["began"], began):
            known |= {int(step) for step in steps if step >= 0}
    return segments([sorted(steps) for steps in began], evaluation.task.horizon)


def _outcomes(evaluation: Evaluation, keys: set[str]) -> Iterator[Outcome]:
    for outcomes in (*evaluation.outcomes, *evaluation.references.values()):
        for key in keys & outcomes.keys():
            yield outcomes[key]
