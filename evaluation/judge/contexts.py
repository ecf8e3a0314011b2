"""What the summary says of conditions with contexts, beside a teacher and random actions."""

from collections.abc import Iterator, Mapping

import numpy as np
from scipy import stats

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
from spikepropamine.evaluation.judge.measures import LEAST, curve_points, mean_of_known, windowed
from spikepropamine.evaluation.run.jobs import Outcome
from spikepropamine.evaluation.run.plan import TEACHER, Evaluation
from spikepropamine.evaluation.schema import Adaptation, ContextScores, Curve, Reference, Score


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
            by_name = _rewards_of_references(evaluation, condition.key)
            found[condition.key] = {
                name: {part: _reference(name, by_name, some) for part, some in every.items()}
                for name in by_name
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
        curves = [_rate(values) for values in (mean_of_known(rewards, axis=0), *rewards)]
        time = np.array(
            [time_to_identify(curve, _rate(random), _rate(teacher)) for curve in curves]
        )
        if pace is None or pace["mean"] < LEAST:
            time[:] = np.nan
        if pace is None or pace["mean"] >= LEAST:  # else there is no rate that could come back
            back = group.score(_regained(whole, of_references, stretches), (0.0, 1.0))
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
    middle = float(stats.trim_mean(known, 0.25)) if known else float(times[0])
    return Score(mean=float(times[0]), interquartile_mean=middle, interval=None, by_run=by_run)


def _curve(group: Group, rewards: np.ndarray) -> Curve:
    """Of the reward rate by steps since a context began."""
    units = rewards[0] if group.units.runs == 1 else mean_of_known(rewards, axis=1)
    rates = windowed(units, WINDOW)
    starts = curve_points(rates.shape[1])
    return group.units.curve(starts + WINDOW, rates[:, starts])


def _regained(
    rewards: np.ndarray, references: Mapping[str, np.ndarray], stretches: list[Segment]
) -> np.ndarray:
    """By episode, of rewards [..., episodes, T]; the first context of one is no change."""
    changes = [stretch for stretch in stretches if stretch[1] > 0]
    return regained(rewards, references["random"], references[TEACHER], changes)


def _reference(
    name: str, references: Mapping[str, np.ndarray], stretches: list[Segment]
) -> Reference | None:
    if not stretches:
        return None
    by_step = since(references[name], stretches)
    rates = _rate(by_step)
    starts = curve_points(len(rates))
    starts = starts[np.isfinite(rates[starts])]
    settled = float(mean_of(mean_of_known(by_step, axis=0), SETTLED))
    back = np.nan
    if name == TEACHER:
        back = float(mean_of_known(_regained(references[name], references, stretches), axis=0))
    return Reference(
        step=(starts + WINDOW).tolist(),
        mean=rates[starts].tolist(),
        settled_rate=settled if np.isfinite(settled) else None,
        regained=back if np.isfinite(back) else None,
    )


def _rate(by_step: np.ndarray) -> np.ndarray:
    """In windows, over episodes: [episodes, steps] to [windows]."""
    return windowed(mean_of_known(by_step, axis=0)[None], WINDOW)[0]


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
