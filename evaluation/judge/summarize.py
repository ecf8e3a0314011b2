"""Computes the summary of an evaluation out of what was measured."""

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from spikepropamine.evaluation.ask.conditions import CLEAN_KEY, Condition
from spikepropamine.evaluation.ask.runs import training_returns
from spikepropamine.evaluation.judge import measures
from spikepropamine.evaluation.judge.cost import cost_of, mean_cost
from spikepropamine.evaluation.judge.statistics import Bootstrap, compare
from spikepropamine.evaluation.run.jobs import SAMPLES, Outcome, joined
from spikepropamine.evaluation.run.plan import Evaluation
from spikepropamine.evaluation.schema import (
    Comparison,
    ConditionSummary,
    Cost,
    Lesion,
    PolicySummary,
    Recovery,
    Result,
    Score,
    Severity,
    Summary,
)

DEAD = 0.1  # of the way from the random return to that of the best run
POINTS = 100  # of a curve over the steps of an episode
FRACTION = (0.0, 1.0)


class Group:
    """The runs of one policy, which differ in their training seed, and what was measured of them.

    Attributes:
        members: indices of the runs.
        bootstrap: resamples of these.
    """

    def __init__(self, evaluation: Evaluation, name: str) -> None:
        self.evaluation = evaluation
        self.members = [i for i, run in enumerate(evaluation.runs) if run.name == name]
        self.runs = [evaluation.runs[i] for i in self.members]
        self.bootstrap = Bootstrap(len(self.members), len(evaluation.seeds))
        self.random = float(evaluation.random["return"].mean())
        mine = evaluation.outcomes[self.members[0]]
        self.conditions = [c for c in evaluation.conditions if c.key in mine]

    def stacked(self, condition: str, name: str) -> np.ndarray:
        """[runs, episodes, ...] of an array of the outcomes; padded at the end with NaN, or 0."""
        arrays = [self.evaluation.outcomes[i][condition][name] for i in self.members]
        if arrays[0].ndim < 2:
            return np.stack(arrays)
        length = max(array.shape[1] for array in arrays)
        fill = 0.0 if name == "rewards" else np.nan
        return np.stack(
            [
                np.pad(a, ((0, 0), (0, length - a.shape[1])), constant_values=fill).astype(float)
                for a in arrays
            ]
        )

    def score(self, values: np.ndarray, bounds: tuple[float, float] | None = None) -> Score | None:
        """Of [runs, episodes] values; those that are NaN do not count."""
        there = np.isfinite(values)
        total = self.bootstrap.of_units(np.where(there, values, 0.0))
        count = self.bootstrap.of_units(there.astype(float))

        def mean(weights: np.ndarray) -> np.ndarray:
            with np.errstate(invalid="ignore"):
                return (weights @ total) / (weights @ count)

        return self.bootstrap.score(mean, *([bounds] if bounds else []))

    def returns(self, condition: str) -> np.ndarray:
        """Of the units."""
        return self.bootstrap.of_units(self.stacked(condition, "return"))

    def retention(self, weights: np.ndarray, condition: str) -> np.ndarray:
        """[K, units] weights to [K]; the random return counts as known."""
        clean = weights @ self.returns(CLEAN_KEY)
        return measures.retention(weights @ self.returns(condition), clean, self.random)

    def learned(self) -> bool:
        """Whether the clean return is above the random one beyond doubt."""
        score = self.score(self.stacked(CLEAN_KEY, "return"))
        return score is not None and score["interval"][0] > self.random

    def mean_retention(self, conditions: Sequence[str]) -> Score | None:
        """Over conditions."""
        if not conditions or not self.learned():
            return None
        return self.bootstrap.score(
            lambda weights: np.mean([self.retention(weights, c) for c in conditions], axis=0)
        )


def summarize(
    evaluation: Evaluation, settings: Mapping[str, Any], actor_parameters: Any, folder: Path
) -> Summary:
    """The summary; `evaluation.schema` says what it holds.

    Args:
        evaluation: what was measured.
        settings: what else the summary's settings hold: suite, perturb, lesions, horizon_factor,
            versions, command.
        actor_parameters: counts the learned numbers in the actor of a policy.
        folder: where the summary will be; runs are named relative to it.
    """
    names = list(dict.fromkeys(run.name for run in evaluation.runs))
    groups = {name: Group(evaluation, name) for name in names}
    task, seeds = evaluation.task, evaluation.seeds
    has_trials = any(x[CLEAN_KEY]["correct"].size for x in evaluation.outcomes)
    dead = _dead_seeds(evaluation)
    used = {c.key for group in groups.values() for c in group.conditions}
    asked: Any = {
        "env": task.environment,
        "env_kwargs": dict(task.arguments),
        "episodes": len(seeds),
        "seeds": [seeds.start, seeds.stop - 1],
        "deterministic": evaluation.deterministic,
        "horizon": task.horizon,
        "chance": task.chance if has_trials else None,
        "window": task.window,
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
        lesion=condition.lesion_name,
        intact=condition.intact,
    )


def _dead_seeds(evaluation: Evaluation) -> dict[str, list[int]]:
    random = evaluation.random["return"].mean()
    margins = [x[CLEAN_KEY]["return"].mean() - random for x in evaluation.outcomes]
    dead: dict[str, list[int]] = {}
    for run, margin in zip(evaluation.runs, margins):
        if margin < DEAD * max(margins) or max(margins) <= 0:
            dead.setdefault(run.name, []).append(run.seed)
    return dead


def _policy(group: Group, dead: list[int], actor_parameters: Any, folder: Path) -> PolicySummary:
    final, best = zip(*(training_returns(run.folder) for run in group.runs))
    first = group.runs[0]
    return PolicySummary(
        training_seeds=[run.seed for run in group.runs],
        runs=[os.path.relpath(run.folder, folder) for run in group.runs],
        steps_trained=[run.steps for run in group.runs],
        actor_parameters=actor_parameters(first.policy.policy),
        perturb=first.perturb,
        previous=first.previous,
        random_return=group.random,
        clean_return=_needed(group.score(group.stacked(CLEAN_KEY, "return"))),
        dead_seeds=dead,
        training={"final": list(final), "best": list(best)},
    )


def _needed(score: Score | None) -> Score:
    assert score is not None
    return score


def _result(group: Group, condition: Condition) -> Result:
    key = condition.key
    correct = group.stacked(key, "correct")
    late = by_trial = None
    if correct.size:
        episodes = correct.reshape(-1, correct.shape[2])
        late = group.score(measures.late_accuracy(episodes).reshape(correct.shape[:2]), FRACTION)
        trials = [group.score(correct[:, :, t], FRACTION) for t in range(correct.shape[2])]
        by_trial = [trial for trial in trials if trial is not None]
    retained = None
    if group.learned():
        retained = group.bootstrap.score(lambda weights: group.retention(weights, key))
    timed = key == CLEAN_KEY or condition.intact == CLEAN_KEY or condition.onset is not None
    rewards = group.bootstrap.of_units(_padded(group, key)) if timed else None
    return {
        "return": _needed(group.score(group.stacked(key, "return"))),
        "retention": retained,
        "length": _needed(group.score(group.stacked(key, "length").astype(float))),
        "late_accuracy": late,
        "accuracy_by_trial": by_trial,
        "recovery": None if condition.onset is None else _recovery(group, rewards, condition.onset),
        "reward_rate": None if rewards is None else _reward_rate(group, rewards),
    }


def _padded(group: Group, key: str) -> np.ndarray:
    """Rewards up to the horizon: an episode that has ended earns nothing more."""
    rewards = group.stacked(key, "rewards")
    missing = max(0, (group.evaluation.task.horizon or 0) - rewards.shape[2])
    return np.pad(rewards, ((0, 0), (0, 0), (0, missing)))


def _recovery(group: Group, rewards: Any, onset: int) -> Recovery | None:
    bootstrap, window = group.bootstrap, group.evaluation.task.window
    value, units, draws = (
        measures.recovery(weights @ rewards, onset, window)
        for weights in (
            np.full((1, bootstrap.units), 1 / bootstrap.units),
            np.eye(bootstrap.units),
            bootstrap.weights,
        )
    )
    if value is None or units is None or draws is None:
        return None
    scores = {
        name: bootstrap.score_of(
            getattr(value, name)[0], getattr(units, name), getattr(draws, name)
        )
        for name in value._fields
    }
    return Recovery(**scores)  # type: ignore[typeddict-item]


def _reward_rate(group: Group, rewards: np.ndarray) -> Any:
    window = group.evaluation.task.window
    if rewards.shape[1] < window:
        return None
    rates = measures.windowed(rewards, window)
    starts = np.unique(np.linspace(0, rates.shape[1] - 1, POINTS).astype(int))
    return group.bootstrap.curve([int(start) + window for start in starts], rates[:, starts])


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
    if not group.learned():
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
                area=_needed(group.bootstrap.score(under)),
            )
        )
    return curves


def _lesions(group: Group) -> dict[str, dict[str, Lesion]]:
    found: dict[str, dict[str, Lesion]] = {}
    for c in group.conditions:
        if c.lesion is None:
            continue
        returns, lesioned = group.stacked(c.intact, "return"), group.stacked(c.key, "return")
        before, after = (group.stacked(key, "correct") for key in (c.intact, c.key))
        late = None
        if before.size:
            differences = [
                measures.late_accuracy(x.reshape(-1, x.shape[2])).reshape(x.shape[:2])
                for x in (before, after)
            ]
            late = group.score(differences[0] - differences[1])
        wins = measures.probability_of_improvement(returns, lesioned)
        found.setdefault(c.lesion.name, {})[c.intact] = Lesion(
            key=c.key,
            paired_difference=_needed(group.score(returns - lesioned)),
            late_accuracy_difference=late,
            probability_of_improvement=_needed(group.score(wins, FRACTION)),
            identical=all(
                _identical(outcomes[c.intact], outcomes[c.key])
                for outcomes in (group.evaluation.outcomes[i] for i in group.members)
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
            values = {"return": [_per_unit(g, pair, CLEAN_KEY) for g in pair]}
            if shared and all(group.learned() for group in pair):
                values["retention"] = [
                    np.mean([_retained(g, pair, key) for key in shared], axis=0) for g in pair
                ]
            for measure, (one, two) in values.items():
                difference, wins = compare(one, two)
                found.append(
                    Comparison(
                        policy=name,
                        other=other,
                        measure=measure,
                        difference=difference,
                        probability_of_improvement=wins,
                    )
                )
    return found


def _per_unit(group: Group, pair: Sequence[Group], key: str) -> np.ndarray:
    """Returns by run; by episode where one of the two policies has a single run."""
    returns = group.stacked(key, "return")
    single = min(len(g.members) for g in pair) == 1
    return returns.mean(axis=0 if single else 1)


def _retained(group: Group, pair: Sequence[Group], key: str) -> np.ndarray:
    margin = group.stacked(CLEAN_KEY, "return").mean() - group.random
    return (_per_unit(group, pair, key) - group.random) / margin


def _inside(group: Group) -> dict[str, dict[str, list]]:
    found: dict[str, dict[str, list]] = {}
    horizon = group.evaluation.task.horizon
    for c in group.conditions:
        if c.onset is None and c.intact != CLEAN_KEY:
            continue
        outcomes = [group.evaluation.outcomes[i][c.key] for i in group.members]
        if "inside/count" not in outcomes[0]:
            continue
        total = joined([{k: v for k, v in o.items() if k.startswith("inside/")} for o in outcomes])
        every = max(1, horizon // SAMPLES)
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
