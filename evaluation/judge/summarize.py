"""Computes the summary of an evaluation out of what was measured."""

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from spikepropamine.evaluation.ask.conditions import Condition
from spikepropamine.evaluation.ask.runs import training_returns
from spikepropamine.evaluation.judge import measures
from spikepropamine.evaluation.judge.contexts import adaptation_of, references_of
from spikepropamine.evaluation.judge.cost import cost_of, mean_cost
from spikepropamine.evaluation.judge.group import Group
from spikepropamine.evaluation.judge.statistics import (
    DIFFERENCE_OF_SHARES,
    SHARE,
    difference,
    probability_of_improvement,
    shown_positive,
)
from spikepropamine.evaluation.run.jobs import SAMPLES, Outcome, joined
from spikepropamine.evaluation.run.plan import Evaluation
from spikepropamine.evaluation.schema import (
    CLEAN_KEY,
    Comparison,
    ConditionSummary,
    Cost,
    Curve,
    LesionSummary,
    PolicySummary,
    Recovery,
    Result,
    Score,
    Severity,
    Summary,
)

DEAD = 0.1  # of the way from the random return to that of the best run


def summarize(
    evaluation: Evaluation, settings: Mapping[str, Any], actor_parameters: Any, folder: Path
) -> Summary:
    """The summary; `evaluation.schema` says what it holds.

    Args:
        evaluation: what was measured.
        settings: what else the summary's settings hold: suite, perturb, lesions, horizon_factor,
            versions, command.
        actor_parameters: counts the learned numbers in the actor of a policy, given also which
            groups of them were not trained.
        folder: where the summary will be; runs are named relative to it.
    """
    names = list(dict.fromkeys(run.name for run in evaluation.runs))
    groups = {name: Group(evaluation, name) for name in names}
    task, seeds, teacher = evaluation.task, evaluation.seeds, evaluation.teacher
    dead = _dead_seeds(evaluation)
    used = {c.key for group in groups.values() for c in group.conditions}
    asked: Any = {
        "env": task.environment,
        "env_kwargs": dict(task.arguments),
        "episodes": len(seeds),
        "seeds": [seeds.start, seeds.stop - 1],
        "deterministic": evaluation.deterministic,
        "horizon": task.horizon,
        "own_limit": task.own_limit,
        "chance": task.chance if evaluation.trials else None,
        "window": task.window,
        "teacher": None if teacher is None else f"{teacher.name}, seed {teacher.seed}",
    }
    return Summary(
        settings=asked | dict(settings),
        policies={
            name: _policy(group, dead.get(name, []), actor_parameters, folder)
            for name, group in groups.items()
        },
        conditions=[_condition(c) for c in evaluation.conditions if c.key in used],
        results={
            name: {c.key: _result(group, c) for c in group.conditions}
            for name, group in groups.items()
        },
        overall={name: _overall(group) for name, group in groups.items()},
        severity={name: _severity(group) for name, group in groups.items()},
        lesions={name: _lesions(group) for name, group in groups.items()},
        comparisons=_comparisons(groups),
        references=references_of(evaluation),
        inside={name: _inside(group) for name, group in groups.items()},
        cost={name: _cost(group) for name, group in groups.items()},
        skipped=evaluation.skipped,
    )


def _condition(condition: Condition) -> ConditionSummary:
    return ConditionSummary(
        key=condition.key,
        label=condition.label,
        text=condition.text,
        severity=condition.severity,
        split=condition.split,
        onset=condition.onset,
        last_onset=condition.last_onset,
        lesion=condition.lesion_name,
        intact=condition.intact,
    )


def _dead_seeds(evaluation: Evaluation) -> dict[str, list[int]]:
    random = evaluation.references["random"][CLEAN_KEY]["return"].mean()
    margins = [x[CLEAN_KEY]["return"].mean() - random for x in evaluation.outcomes]
    dead: dict[str, list[int]] = {}
    for run, margin in zip(evaluation.runs, margins):
        if margin < DEAD * max(margins) or max(margins) <= 0:
            dead.setdefault(run.name, []).append(run.seed)
    return dead


def _policy(group: Group, dead: list[int], actor_parameters: Any, folder: Path) -> PolicySummary:
    final, best = zip(*(training_returns(run.folder) for run in group.runs))
    first = group.runs[0]
    trainer = first.policy.metadata["settings"].get("trainer", {})
    still = group.evaluation.references.get("still")
    return PolicySummary(
        training_seeds=[run.seed for run in group.runs],
        runs=[os.path.relpath(run.folder, folder) for run in group.runs],
        steps_trained=[run.steps for run in group.runs],
        steps_planned=[run.policy.metadata["settings"].get("steps") for run in group.runs],
        actor_parameters=actor_parameters(first.policy.policy, trainer.get("untrained") or ()),
        perturb=first.perturb,
        previous=first.previous,
        random_return=group.random,
        still_return=None if still is None else float(still[CLEAN_KEY]["return"].mean()),
        clean_return=group.mean_return(CLEAN_KEY),
        learned=group.learned,
        dead_seeds=dead,
        training={"final": list(final), "best": list(best)},
    )


def _needed(score: Score | None) -> Score:
    assert score is not None
    return score


def _result(group: Group, condition: Condition) -> Result:
    key = condition.key
    correct = group.stacked(key, "correct")
    late = by_trial = rise = None
    if correct.size:
        late = group.score(_late_accuracy(group, key), SHARE)
        trials = [group.score(correct[:, :, t], SHARE) for t in range(correct.shape[2])]
        by_trial = [trial for trial in trials if trial is not None]
        first = next((t for t, trial in enumerate(trials) if trial is not None), 0)
        rise = group.score(_late_accuracy(group, key) - correct[:, :, first], DIFFERENCE_OF_SHARES)
    timed = key == CLEAN_KEY or condition.intact == CLEAN_KEY or condition.onset is not None
    return {
        "return": group.mean_return(key),
        "retention": group.mean_retention([key]),
        "length": _needed(
            group.score(
                group.stacked(key, "length").astype(float), (0.0, group.evaluation.task.horizon)
            )
        ),
        "late_accuracy": late,
        "accuracy_by_trial": by_trial,
        "accuracy_rise": rise,
        "recovery": _recovery(group, condition),
        "reward_rate": _reward_rate(group, key) if timed else None,
        "adaptation": adaptation_of(group, condition),
    }


def _late_accuracy(group: Group, key: str) -> np.ndarray:
    """[runs, episodes]."""
    correct = group.stacked(key, "correct")
    if not correct.size:  # no response ever came
        return np.full(correct.shape[:2], np.nan)
    episodes = correct.reshape(-1, correct.shape[2])
    return measures.late_accuracy(episodes, group.evaluation.trials).reshape(correct.shape[:2])


def _recovery(group: Group, condition: Condition) -> Recovery | None:
    """Against the same episodes, with the same lesion, without the change."""
    if condition.onset is None or not condition.changes_for_good:
        return None
    unchanged = next(
        c for c in group.conditions if c.intact == CLEAN_KEY and c.lesion == condition.lesion
    )
    frozen_at = {c.freeze_at(group.evaluation.task.horizon) for c in (condition, unchanged)}
    if condition.lesion_name == "frozen" and len(frozen_at) > 1:
        return None  # what freezing does would be taken for what the change does
    changed, clean = (group.rewards(c.key) for c in (condition, unchanged))
    onset, window = condition.onset, group.evaluation.task.window
    length = group.stacked(unchanged.key, "length")
    running = np.arange(clean.shape[2]) < length[..., None]
    missing = np.where(running, clean - changed, 0.0)
    end = int(np.median(length))
    curves = [group.units.of(part)[:, :end] for part in (missing, clean, running)]

    def measured(weights: np.ndarray) -> measures.RecoveryValues | None:
        lost, earned, there = (weights @ curve for curve in curves)
        return measures.recovery(lost, earned, there, onset, window)

    value = measured(np.full((1, group.units.count), 1 / group.units.count))
    if value is None:
        return None

    def score(name: str) -> Score | None:
        return group.units.score(lambda weights: getattr(measured(weights), name))

    # whether these runs drop at all: by episode
    dropped = shown_positive(missing[:, :, onset : onset + window].mean(axis=(0, 2)))
    time = score("time") if dropped else None
    if time is not None:
        time["interval"] = None  # it jumps from window to window, and so would an interval
    return Recovery(
        before=_needed(score("before")),
        drop=_needed(score("drop")),
        left=_needed(score("left")),
        fraction=score("fraction") if dropped else None,
        time=time,
    )


def _reward_rate(group: Group, key: str) -> Curve | None:
    rewards, window = group.units.of(group.rewards(key)), group.evaluation.task.window
    if rewards.shape[1] < window:
        return None
    rates = measures.windowed(rewards, window)
    starts = measures.curve_points(rates.shape[1])
    return group.units.curve(starts + window, rates[:, starts])


def _overall(group: Group) -> dict[str, dict[str, Score]]:
    found: dict[str, dict[str, Score]] = {}
    for c in group.conditions:
        found.setdefault(c.lesion_name or "intact", {})
    for lesion, splits in found.items():
        perturbed = [
            c
            for c in group.conditions
            if (c.lesion_name or "intact") == lesion and c.intact != CLEAN_KEY
        ]
        for split in ("all", "train", "held-out"):
            keys = [c.key for c in perturbed if split in ("all", c.split)]
            score = group.mean_retention(keys)
            if score is not None:
                splits[split] = score
    return {lesion: splits for lesion, splits in found.items() if splits}


def _severity(group: Group) -> list[Severity]:
    if not group.learned:
        return []
    curves: list[Severity] = []
    graded = [c for c in group.conditions if c.severity is not None]
    for lesion, label in dict.fromkeys((c.lesion, c.label) for c in graded):
        mine = [c for c in graded if (c.lesion, c.label) == (lesion, label)]
        clean = [c for c in group.conditions if c.intact == CLEAN_KEY and c.lesion == lesion]
        points = [(c.severity or 0.0, c.key) for c in clean + mine]
        severities, keys = [s for s, _ in points], [key for _, key in points]
        if len(points) < 2:
            continue

        def under(weights: np.ndarray, severities=severities, keys=keys) -> np.ndarray:
            return measures.area(severities, [group.retention(weights, key) for key in keys])

        curves.append(
            Severity(
                label=label,
                lesion=None if lesion is None else lesion.name,
                split=mine[0].split,
                conditions=keys,
                severity=severities,
                retention=[_needed(group.mean_retention([key])) for key in keys],
                area=_needed(group.units.score(under)),
            )
        )
    return curves


def _lesions(group: Group) -> dict[str, dict[str, LesionSummary]]:
    found: dict[str, dict[str, LesionSummary]] = {}
    for c in group.conditions:
        if c.lesion is None:
            continue
        returns, lesioned = group.stacked(c.intact, "return"), group.stacked(c.key, "return")
        late = None
        if group.evaluation.trials:
            before, after = (_late_accuracy(group, key) for key in (c.intact, c.key))
            late = group.score(before - after, DIFFERENCE_OF_SHARES)
        found.setdefault(c.lesion.name, {})[c.intact] = LesionSummary(
            key=c.key,
            paired_difference=_needed(group.score(returns - lesioned)),
            late_accuracy_difference=late,
            probability_of_improvement=_needed(
                group.score(measures.improved(returns, lesioned), SHARE)
            ),
            identical=all(
                _identical(*pair) for pair in zip(group.outcomes(c.intact), group.outcomes(c.key))
            ),
        )
    return found


def _identical(one: Outcome, other: Outcome) -> bool:
    return all(
        np.array_equal(one[name], other[name], equal_nan=name == "correct")
        for name in ("return", "length", "rewards", "correct")
    )


def _comparisons(groups: Mapping[str, Group]) -> list[Comparison]:
    names = list(groups)
    found = []
    for index, name in enumerate(names):
        for other in names[index + 1 :]:
            pair = groups[name], groups[other]
            shared = [
                c.key
                for c in pair[0].conditions
                if c.lesion is None and c.intact != CLEAN_KEY and c in pair[1].conditions
            ]
            values = {"return": [_earned(g, pair) for g in pair]}
            if shared and all(group.learned for group in pair):
                values["retention"] = [_retained(g, pair, shared) for g in pair]
            for measure, (one, two) in values.items():
                found.append(
                    Comparison(
                        policy=name,
                        other=other,
                        measure=measure,
                        unit="episode" if _single(pair) else "run",
                        difference=difference(one[1], two[1], means=(one[0], two[0])),
                        probability_of_improvement=probability_of_improvement(
                            one[2], two[2], min(group.units.count for group in pair)
                        ),
                    )
                )
    return found


def _single(pair: Sequence[Group]) -> bool:
    """Whether one of two policies was trained once, so that episodes have to be compared."""
    return min(len(group.members) for group in pair) == 1


def _earned(group: Group, pair: Sequence[Group]) -> tuple[float, np.ndarray, np.ndarray]:
    """Clean returns: their mean; those of the group's own units, for its interval; and of what is
    compared one by one, runs, or all episodes of all runs.
    """
    returns = group.stacked(CLEAN_KEY, "return")
    each = returns.ravel() if _single(pair) else returns.mean(axis=1)
    return float(returns.mean()), group.units.of(returns), each


def _retained(
    group: Group, pair: Sequence[Group], keys: Sequence[str]
) -> tuple[float, np.ndarray, np.ndarray]:
    """The same of retention over conditions: where it earns more than random actions. What is
    compared one by one of a single run, its episodes, is relative to its mean clean return.
    """

    def over(weights: np.ndarray) -> np.ndarray:
        return np.mean([group.retention(weights, key) for key in keys], axis=0)

    returns = np.mean([group.stacked(key, "return") for key in keys], axis=0)
    clean = group.stacked(CLEAN_KEY, "return").mean(axis=1, keepdims=True)
    episodes = measures.retention(returns, clean, group.random)
    values = group.units.pseudo_values(over)
    each = episodes.ravel() if _single(pair) else over(np.eye(group.units.count))
    whole = float(over(np.full((1, group.units.count), 1 / group.units.count))[0])
    return whole, values, each[np.isfinite(each)]


def _inside(group: Group) -> dict[str, dict[str, list]]:
    found: dict[str, dict[str, list]] = {}
    every = max(1, group.evaluation.task.horizon // SAMPLES)
    for c in group.conditions:
        outcomes = group.outcomes(c.key)
        if (c.onset is None and c.intact != CLEAN_KEY) or "inside/count" not in outcomes[0]:
            continue
        total = joined([{k: v for k, v in o.items() if k.startswith("inside/")} for o in outcomes])
        count = total.pop("inside/count")
        found[c.key] = {"step": [every * sample for sample in range(len(count))]} | {
            name.removeprefix("inside/"): (sums / count).tolist() for name, sums in total.items()
        }
    return found


def _cost(group: Group) -> Cost:
    seen = group.evaluation.observations
    return mean_cost(
        [cost_of(group.evaluation.runs[i].policy.policy, seen[i]) for i in group.members]
    )
