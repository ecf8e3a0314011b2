"""What an evaluation measured, as rows of the results table (`spikepropamine.table`).

Of each run: `parameters`, `steps_planned`, `training_return` and what acting costs. Of each
episode: `return`, `length`, and whether each answer was `correct`. Of a run in a condition: curves
over the steps of an episode, what a change costs and what of that comes back, and how contexts are
found out. What random actions and standing still earn are `random_return` and `still_return`; in
contexts, random actions and a teacher that is told stand in the place of a policy.
"""

import itertools
from collections.abc import Iterable, Iterator, Mapping
from contextlib import closing
from copy import deepcopy
from typing import Any

import numpy as np
import polars as pl
import torch

from spikepropamine.agents.zoo import actor_parameters
from spikepropamine.common import CLEAN_KEY
from spikepropamine.evaluation.ask.conditions import CLEAN, Condition, Task, make_env
from spikepropamine.evaluation.ask.runs import Run
from spikepropamine.evaluation.judge import measures
from spikepropamine.evaluation.judge.cost import Cost, cost_of
from spikepropamine.evaluation.judge.measures import OPENING, SETTLED, WINDOW, Segment
from spikepropamine.evaluation.run.episodes import SAMPLES, Outcome, watch
from spikepropamine.evaluation.run.plan import Evaluation
from spikepropamine.folder import RETURN, RunFolder, read_curve, seconds_of
from spikepropamine.policies.spaces import stacked
from spikepropamine.table import table

RANDOM, TOLD = "random actions", "teacher, told"
"""Stand in the place of a policy in contexts, and have no seed."""
CURVE = 20  # points of a learning curve
MOST_COUNTED = 1000  # steps
Found = Mapping[str, Outcome]  # by key of the condition
Stretches = Mapping[str, list[Segment]]  # by prefix
Numbers = Iterator[dict[str, Any]]
"""Rows that have a measure, a value, and `at` and `episode` where these are not null."""


def rows_of(evaluation: Evaluation, suite: str) -> pl.DataFrame:
    """The results table of an evaluation; `suite` names its conditions, and how they were run."""
    rows: list[dict[str, Any]] = []
    everybody = []
    for run, by_key in zip(evaluation.runs, evaluation.outcomes):
        revision = run.policy.metadata.get("versions", {}).get("revision")
        base: dict[str, Any] = {
            "environment": run.environment, "policy": run.name, "seed": run.seed,
            "steps": run.steps, "revision": revision,
        }  # fmt: skip
        everybody.append((base, by_key))
        rows += [base | row for row in _facts(evaluation, run)]
    for base, _ in everybody:
        for name in ("random", "still"):
            if (found := evaluation.references.get(name)) is not None:
                earned = _by_episode(
                    f"{name}_return", found[CLEAN_KEY], found[CLEAN_KEY]["return"]
                )
                rows += [base | {"suite": suite} | row for row in earned]
    environment = evaluation.task.environment
    everybody += [
        ({"environment": environment, "policy": name}, evaluation.references[key])
        for key, name in (("random", RANDOM), ("teacher", TOLD))
        if key in evaluation.references
    ]
    for condition in evaluation.conditions:
        stretches = (
            _stretches(evaluation, condition.intact) if condition.has_contexts else {}
        )
        of = {
            "suite": suite, "condition": condition.key, "lesion": condition.lesion,
            "severity": condition.severity, "split": condition.split,
        }  # fmt: skip
        for base, found in everybody:
            if condition.key not in found or (
                base["policy"] == RANDOM and not stretches
            ):
                continue
            numbers = itertools.chain(
                _episodes(found[condition.key]),
                _curves(evaluation, condition, found[condition.key]),
                _recovery(evaluation, condition, found),
                _contexts(evaluation, condition, found, stretches),
            )
            rows += [base | of | row for row in numbers]
    return table(rows)


def _facts(evaluation: Evaluation, run: Run) -> Numbers:
    """Of a run; what acting costs is counted in the first clean episode."""
    cost = cost_of_run(run, evaluation.task, evaluation.seeds[0])
    settings, progress = run.policy.metadata["settings"], RunFolder(run.folder).progress
    untrained = settings.get("trainer", {}).get("untrained") or ()
    when, returns = read_curve(progress, RETURN)
    facts: dict[str, Any] = {
        "parameters": actor_parameters(run.policy.policy, untrained),
        "steps_planned": settings.get("steps"),
        "seconds": seconds_of(progress),
        "training_return": returns[-1] if len(returns) else None,
        "best_training_return": max(returns, default=None),
    } | {f"cost/{name}": value for name, value in cost.items()}
    yield from ({"measure": k, "value": v} for k, v in facts.items() if v is not None)
    ends = [round(run.steps * (point + 1) / CURVE) for point in range(CURVE)]
    if len(returns):
        curve = np.interp(ends, when, returns, left=np.nan)
        yield from _numbers("training_return", "at", ends, curve)


def cost_of_run(run: Run, task: Task, seed: int) -> Cost:
    """What acting costs, counted in the clean episode of a seed, in `MOST_COUNTED` steps of it."""
    with closing(make_env(task, CLEAN, run.previous, run.revealed)) as env:
        moments = itertools.islice(watch(run.policy, env, seed), MOST_COUNTED + 1)
        seen = stacked([deepcopy(moment.observation) for moment in moments][:-1])
    normalisation = run.policy.normalisation
    with torch.random.fork_rng():
        torch.manual_seed(seed)  # of weights that are drawn
        return cost_of(
            run.policy.policy, seen if normalisation is None else normalisation(seen)
        )


def _episodes(outcome: Outcome) -> Numbers:
    for measure in ("return", "length"):
        yield from _by_episode(measure, outcome, outcome[measure])
    for trial, right in enumerate(outcome["correct"].T):
        yield from (
            {"at": trial} | row for row in _by_episode("correct", outcome, right)
        )


def _curves(evaluation: Evaluation, condition: Condition, outcome: Outcome) -> Numbers:
    """Of conditions with an onset, and of the clean one: means over the episodes of a run."""
    if condition.onset is None and condition.intact != CLEAN_KEY:
        return
    task = evaluation.task
    rewards = padded(outcome["rewards"], task.horizon).mean(axis=0, keepdims=True)
    if task.window <= task.horizon:
        rates = measures.windowed(rewards, task.window)[0]
        starts = measures.curve_points(len(rates))
        yield from _numbers("reward", "at", starts + task.window, rates[starts])
    if "inside/count" in outcome:
        steps = max(1, task.horizon // SAMPLES) * np.arange(
            len(outcome["inside/count"])
        )
        for name, sums in outcome.items():
            if name.startswith("inside/") and name != "inside/count":
                series = sums / outcome["inside/count"]
                yield from _numbers(name.removeprefix("inside/"), "at", steps, series)


def _recovery(evaluation: Evaluation, condition: Condition, found: Found) -> Numbers:
    """Against the same episodes, with the same lesion, without the change."""
    if condition.onset is None or not condition.changes_for_good:
        return
    horizon, window = evaluation.task.horizon, evaluation.task.window
    unchanged = next(
        c
        for c in evaluation.conditions
        if (c.intact, c.lesion) == (CLEAN_KEY, condition.lesion)
    )
    froze = [c.freeze_at(horizon) for c in (condition, unchanged)]
    if condition.lesion == "frozen" and froze[0] != froze[1]:
        return  # what freezing does would be taken for what the change does
    clean, changed = (
        padded(found[c.key]["rewards"], horizon) for c in (unchanged, condition)
    )
    lengths = found[unchanged.key]["length"]
    by_episode, time = measures.recovery(
        clean, changed, lengths, condition.onset, window
    )
    for name, values in by_episode.items():
        yield from _by_episode(name, found[condition.key], values)
    if np.isfinite(time):
        yield {"measure": "recovery_time", "value": time}


def _contexts(
    evaluation: Evaluation, condition: Condition, found: Found, stretches: Stretches
) -> Numbers:
    """How a policy comes to act as contexts ask for; `later_` is of those that begin within an
    episode. The pace is relative to random actions (0) and to the teacher that is told (1).
    """
    if not stretches:
        return
    horizon, outcome = evaluation.task.horizon, found[condition.key]
    alike = [
        c
        for c in evaluation.conditions
        if c.intact == condition.intact and c != condition
    ]
    off = next((c.key for c in alike if c.lesion == "off"), "")
    rewards = padded(outcome["rewards"], horizon)
    others = {
        name: padded(evaluation.references[name][condition.intact]["rewards"], horizon)
        for name in ("random", "teacher")
        if name in evaluation.references
    }
    for prefix, some in stretches.items():
        by_step = measures.since(rewards, some)
        opening, settled = (
            measures.mean_of(by_step, steps) for steps in (OPENING, SETTLED)
        )
        yield {"measure": f"{prefix}contexts", "value": len(some)}
        lasting = sum(end - start > SETTLED.start for _, start, end in some)
        yield {"measure": f"{prefix}settled_contexts", "value": lasting}
        yield from _by_episode(f"{prefix}opening_rate", outcome, opening)
        yield from _by_episode(f"{prefix}settled_rate", outcome, settled)
        rates = _rate(by_step)
        starts = measures.curve_points(len(rates))
        yield from _numbers(
            f"{prefix}context_reward", "at", starts + WINDOW, rates[starts]
        )
        if off in found:
            without = measures.since(padded(found[off]["rewards"], horizon), some)
            more = opening - measures.mean_of(without, OPENING)
            yield from _by_episode(f"{prefix}opening_over_off", outcome, more)
        if "teacher" not in others:
            continue
        random, teacher = (
            measures.since(others[name], some) for name in ("random", "teacher")
        )
        floor = measures.mean_of(random, SETTLED)
        margin = measures.mean_of_known(
            measures.mean_of(teacher, SETTLED) - floor, axis=0
        )
        paces = (
            (settled - floor) / margin if margin > 0 else np.full(len(settled), np.nan)
        )
        yield from _by_episode(f"{prefix}settled_pace", outcome, paces)
        time = measures.time_to_identify(rates, _rate(random), _rate(teacher))
        if np.isfinite(time):
            yield {"measure": f"{prefix}time_to_identify", "value": time}
        # a policy or a teacher that hardly acts as it should has no rate that could come back;
        # both comparisons are false where no stretch is long enough for a pace
        hardly = margin <= 0 or measures.mean_of_known(paces, axis=0) < measures.LEAST
        if prefix and not hardly:
            back = measures.regained(rewards, others["random"], others["teacher"], some)
            yield from _by_episode("regained", outcome, back)


def _stretches(evaluation: Evaluation, intact: str) -> Stretches:
    """By prefix, those of the episodes as far as anyone got: contexts do not depend on what is done
    in them.
    """
    keys = {c.key for c in evaluation.conditions if c.intact == intact}
    began: list[set[int]] = [set() for _ in evaluation.seeds]
    for found in (*evaluation.outcomes, *evaluation.references.values()):
        for key in keys & found.keys():
            for steps, known in zip(found[key]["began"], began):
                known |= {int(step) for step in steps if step >= 0}
    first, later = measures.segments(
        [sorted(steps) for steps in began], evaluation.task.horizon
    )
    return {prefix: some for prefix, some in (("", first), ("later_", later)) if some}


def padded(rewards: np.ndarray, horizon: int) -> np.ndarray:
    """Rewards [..., steps] up to the horizon: an episode that has ended earns nothing more."""
    missing = max(0, horizon - rewards.shape[-1])
    return np.pad(rewards.astype(float), [(0, 0)] * (rewards.ndim - 1) + [(0, missing)])


def _rate(by_step: np.ndarray) -> np.ndarray:
    """In windows, over episodes: [episodes, steps] to [windows]."""
    return measures.windowed(measures.mean_of_known(by_step, axis=0)[None], WINDOW)[0]


def _numbers(
    measure: str, axis: str, places: Iterable[Any], values: Iterable[Any]
) -> Numbers:
    for place, value in zip(places, values):
        if np.isfinite(value):
            yield {"measure": measure, axis: int(place), "value": float(value)}


def _by_episode(measure: str, outcome: Outcome, values: np.ndarray) -> Numbers:
    return _numbers(measure, "episode", outcome["seed"], values)
