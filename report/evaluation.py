"""The reader of an evaluation: estimates, intervals and comparisons out of its results table.

The unit is a training run: an estimate is the mean over runs, its interval is over runs. Where a
policy was trained once, the units are its episodes, and nothing is said about other runs.
"""

import itertools
from collections.abc import Mapping, Sequence
from functools import cache, cached_property
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import polars as pl

from spikepropamine import statistics, table
from spikepropamine.common import CLEAN_KEY, UsageError
from spikepropamine.evaluation.ask.conditions import Condition, severest
from spikepropamine.evaluation.ask.lesions import LESIONS
from spikepropamine.evaluation.judge.cost import Cost
from spikepropamine.evaluation.judge.measures import LEAST, mean_of_known
from spikepropamine.evaluation.rows import RANDOM, TOLD
from spikepropamine.folder import ASKED, RESULTS
from spikepropamine.reading import Missing, read_json
from spikepropamine.table import late_accuracy, retention
from spikepropamine.words import with_interval

Bounds = tuple[float, float]
UNBOUNDED, SHARE = (-np.inf, np.inf), (0.0, 1.0)
FEWEST = 4  # episodes that can show that a run has learned
SPLITS = ("all", "train", "held-out")


class Estimate(NamedTuple):
    """A mean, its 95 % interval (None where it is not known), and the value of each run, None
    where it has none.
    """

    mean: float
    interval: tuple[float, float] | None
    by_run: tuple[float | None, ...] = ()

    def text(self, as_percent: bool = False) -> str:
        """As in tables: "92 % [88, 95]"."""
        return with_interval(self.mean, self.interval, as_percent)

    @property
    def side(self) -> int:
        """1 or -1 where the interval lies above or below zero, else 0."""
        low, high = self.interval or (0.0, 0.0)
        return (low > 0) - (high < 0)


class Lesioned(NamedTuple):
    """What a lesion does in one condition: the same weights and episodes, intact less lesioned."""

    intact: Condition
    lesioned: Condition
    returns: statistics.Difference
    late_accuracy: statistics.Difference | None
    identical: bool


class Comparison(NamedTuple):
    """Two policies by a measure; `p` is corrected for all comparisons (Holm)."""

    policy: str
    other: str
    measure: str
    once: bool  # whether one of them was trained once, so that episodes are compared, not runs
    found: statistics.Difference
    p: float | None

    @property
    def verdict(self) -> str:
        """In the words of `spikepropamine.statistics`."""
        return statistics.verdict(self.found, self.p)


class Evaluation:
    """What an evaluation measured.

    Attributes:
        asked: what `evaluation.json` holds.
        frame: the results table, with a row `learned` for each run: 1 where its clean return is
            higher than that of random actions and of standing still, else 0.
        conditions: all, by key, in their order.
        policies: for each the seeds of its runs, in the order of the command line.
        values: by policy, condition and measure, [runs, episodes, at], NaN where there is no row;
            an axis that is null has length 1.
    """

    def __init__(self, asked: dict[str, Any], frame: pl.DataFrame) -> None:
        self.asked = asked
        self.conditions = {c["key"]: Condition(**c) for c in asked["conditions"]}
        self.policies: dict[str, list[int]] = {}
        for run in asked["runs"]:
            self.policies.setdefault(run["policy"], []).append(run["seed"])
        self.frame = pl.concat([frame, learned(frame)])
        self.values = cache(self._values)

    @property
    def episodes(self) -> int:
        """Of each run in each condition."""
        first, last = self.asked["seeds"]
        return last - first + 1

    @classmethod
    def read(cls, folder: Path) -> "Evaluation":
        """The one in a folder. Raises UsageError: there is none, or it is damaged."""
        try:
            return cls(
                read_json(folder / ASKED, inside=folder), table.read(folder / RESULTS)
            )
        except Missing as error:
            raise UsageError(f"there is no evaluation in {folder}") from error
        except (KeyError, TypeError, AttributeError) as error:
            raise UsageError(f"{folder / ASKED} is damaged: {error}") from error

    @cached_property
    def _parts(self) -> dict[tuple[Any, ...], pl.DataFrame]:
        late = late_accuracy(self.frame, by_episode=True)
        rows = pl.concat([self.frame, late, retention(self.frame)])
        # of facts of a run there may be curves over its training, too
        rows = rows.filter(pl.col("condition").is_not_null() | pl.col("at").is_null())
        return rows.partition_by("policy", "condition", "measure", as_dict=True)

    @cached_property
    def _episodes(self) -> list[int]:
        """All there are: one in which a policy has no value keeps its place."""
        return self.frame["episode"].drop_nulls().unique().sort().to_list()

    def _values(self, policy: str, condition: str | None, measure: str) -> np.ndarray:
        rows = self._parts.get((policy, condition, measure))
        seeds: list[Any] = list(self.policies.get(policy, [None]))
        if rows is None:
            return np.full((len(seeds), 1, 1), np.nan)
        ats = sorted(set(rows["at"])) if rows["at"].count() else [None]
        episodes = self._episodes if rows["episode"].count() else [None]
        found = np.full((len(seeds), len(episodes), len(ats)), np.nan)
        places = [{v: i for i, v in enumerate(axis)} for axis in (seeds, episodes, ats)]
        for *at, value in rows.select("seed", "episode", "at", "value").iter_rows():
            found[tuple(place[key] for place, key in zip(places, at))] = value
        return found

    def curve(
        self, policy: str, condition: str, measure: str, bounds: Bounds = UNBOUNDED
    ) -> list[tuple[int, Estimate]]:
        """By step or trial, the mean where there is one."""
        rows = self._parts.get((policy, condition, measure))
        places = [] if rows is None else sorted(set(rows["at"]))
        values = self.values(policy, condition, measure)
        scores = [
            (at, estimate(values[:, :, n], bounds)) for n, at in enumerate(places)
        ]
        return [(at, score) for at, score in scores if score is not None]

    @property
    def longest(self) -> dict[str, int]:
        """The most steps that a run of each policy was trained."""
        runs = self.asked["runs"]
        return {
            p: max(x["steps"] for x in runs if x["policy"] == p) for p in self.policies
        }

    @property
    def intact(self) -> list[Condition]:
        """Conditions without a lesion."""
        return [c for c in self.conditions.values() if c.lesion is None]

    def conditions_of(self, policy: str) -> list[Condition]:
        """The conditions that a policy was evaluated in."""
        return [
            c
            for c in self.conditions.values()
            if (policy, c.key, "return") in self._parts
        ]

    def estimate(
        self,
        policy: str,
        condition: str | None,
        measure: str,
        bounds: Bounds = UNBOUNDED,
    ) -> Estimate | None:
        """The mean of a measure, without a condition of a fact; None where it has no rows."""
        return estimate(self.values(policy, condition, measure)[:, :, 0], bounds)

    def returns(self, policy: str, condition: str = CLEAN_KEY) -> Estimate:
        """Of an episode."""
        bounds = self.asked["return_range"] or UNBOUNDED
        found = self.estimate(policy, condition, "return", tuple(bounds))
        assert found is not None  # every episode has one
        return found

    def retention(
        self,
        policy: str,
        conditions: Sequence[str],
        weights: Sequence[float] | None = None,
    ) -> Estimate | None:
        """The mean over conditions of what each run keeps; None where no run has learned."""
        if not conditions:
            return None
        kept = [self.values(policy, key, "retention")[:, 0, 0] for key in conditions]
        by_run = np.average(kept, axis=0, weights=weights)
        if len(by_run) > 1 or np.isnan(by_run).any():
            return estimate(by_run[:, None])
        returns = [self.values(policy, key, "return")[0, :, 0] for key in conditions]
        clean = self.values(policy, CLEAN_KEY, "return")[0, :, 0]
        random = self.values(policy, None, "random_return").mean()
        return ratio(np.average(returns, axis=0, weights=weights)[None] - random,
                     clean[None] - random)  # fmt: skip

    def trials(self, policy: str, condition: str) -> list[Estimate]:
        """Right answers, of each trial that asks for one."""
        return [score for _, score in self.curve(policy, condition, "correct", SHARE)]

    def measured(self, policy: str, condition: str, measure: str) -> Estimate | None:
        """In a condition the "return", the "retention", the "late accuracy" (right answers in the
        second half of the trials) or the "pace" (in the contexts that episodes begin with, or else
        in later ones).
        """
        if measure == "return":
            return self.returns(policy, condition)
        if measure == "retention":
            return self.retention(policy, [condition])
        if measure == "late accuracy":
            return self.estimate(policy, condition, "late_accuracy", SHARE)
        first = self.estimate(policy, condition, "settled_pace")
        return first or self.estimate(policy, condition, "later_settled_pace")

    def rise(self, policy: str) -> Estimate | None:
        """Of the accuracy within clean episodes: late trials less the first one that asks."""
        correct = self.values(policy, CLEAN_KEY, "correct")
        late = self.values(policy, CLEAN_KEY, "late_accuracy")[:, :, 0]
        first = next(
            (t for t in range(correct.shape[2]) if np.isfinite(correct[:, :, t]).any()),
            0,
        )
        return estimate(late - correct[:, :, first], (-1.0, 1.0))

    def recovery(self, policy: str, condition: str) -> dict[str, Estimate | None]:
        """`evaluation.judge.measures.recovery`, and the `fraction` regained: 1 where all is back,
        below 0 where more is missing in the end. That has no value, nor has the time, where no drop
        is shown: it has to be a tenth of the reward before, and its interval above zero. It is of
        the runs that lose as much.
        """
        names = ("reward_before", "drop", "missing_at_end", "recovery_time")
        found = {name: self.estimate(policy, condition, name) for name in names}
        before, drop = found["reward_before"], found["drop"]
        if before is None or drop is None:
            return {}
        lost, left = (self.values(policy, condition, name)[:, :, 0]
                      for name in ("drop", "missing_at_end"))  # fmt: skip
        least = LEAST * abs(before.mean)
        shown = drop.mean > least and (drop.interval is None or drop.side > 0)
        lost = np.where(mean_of_known(lost, axis=1)[:, None] > least, lost, np.nan)
        found["fraction"] = ratio(lost - left, lost) if shown else None
        if not shown or (found["fraction"] and found["fraction"].mean < LEAST):
            found["recovery_time"] = None
        return found

    def contexts(self, policy: str, condition: str) -> list[str]:
        """Prefixes of the measures of contexts that there are: "" of those that begin with the
        episode, "later_" of those that begin within it.
        """
        return [
            p
            for p in ("", "later_")
            if (policy, condition, f"{p}contexts") in self._parts
        ]

    def with_contexts(self, policy: str) -> list[Condition]:
        """The severest conditions with contexts, those held out if there are any."""
        every = [c for c in self.severest if self.contexts(policy, c.key)]
        return [c for c in every if c.split == "held-out"] or every

    def worst_change(
        self, policy: str
    ) -> list[tuple[Condition, dict[str, Estimate | None]]]:
        """Of the changes the one that hurts most, with its `recovery`; none without changes."""
        every = ((c, self.recovery(policy, c.key)) for c in self.severest)
        changes: list[Any] = [(c, found) for c, found in every if found]
        return sorted(changes, key=lambda change: change[1]["drop"].mean, reverse=True)[
            :1
        ]

    def kept(self, policy: str) -> list[tuple[Estimate, Condition]]:
        """What is kept in the severest conditions, the least first."""
        scores = [(self.retention(policy, [c.key]), c) for c in self.severest]
        known = [(score, c) for score, c in scores if score is not None]
        return sorted(known, key=lambda one: one[0].mean)

    @cached_property
    def severest(self) -> list[Condition]:
        """Of each label that perturbs, the intact condition of the highest severity."""
        return severest([c for c in self.intact if c.perturbs])

    def with_lesion(self, intact: str, lesion: str | None) -> str:
        """Key of an intact condition with a lesion; empty where there is none."""
        keys = (
            c.key
            for c in self.conditions.values()
            if (c.intact, c.lesion) == (intact, lesion)
        )
        return next(keys, "")

    def off(self, policy: str, condition: Condition) -> str:
        """Key of a condition with plasticity off; empty where the policy was not evaluated so."""
        key = self.with_lesion(condition.key, "off")
        return key if self.conditions.get(key) in self.conditions_of(policy) else ""

    @property
    def lesions(self) -> list[str]:
        """Those that were asked for."""
        return list(
            dict.fromkeys(c.lesion for c in self.conditions.values() if c.lesion)
        )

    def overall(
        self, policy: str, lesion: str | None = None, split: str = "all"
    ) -> Estimate | None:
        """What is kept over all perturbed conditions, or those of a split."""
        keys = [
            c.key
            for c in self.conditions_of(policy)
            if c.perturbs and c.lesion == lesion and split in ("all", c.split)
        ]
        return self.retention(policy, keys)

    def severities(
        self, policy: str, label: str, lesion: str | None
    ) -> dict[float, str]:
        """Conditions of a label by severity, from the clean one (0) on; empty without any."""
        mine = [c for c in self.conditions_of(policy) if c.lesion == lesion]
        graded = {
            c.severity: c.key
            for c in mine
            if c.label == label and c.severity is not None
        }
        clean = [c.key for c in mine if not c.perturbs]
        return (
            {0.0: clean[0]} | dict(sorted(graded.items())) if graded and clean else {}
        )

    def area(self, policy: str, keys: dict[float, str]) -> Estimate | None:
        """Under the curve of retention by severity, by trapezoids: the mean along it."""
        steps = np.diff(list(keys))
        weights = (np.append(steps, 0) + np.append(0, steps)) / 2
        return self.retention(policy, list(keys.values()), list(weights))

    def lesioned(self, policy: str) -> list[Lesioned]:
        """Every lesion in every condition that a policy was evaluated in."""
        found = []
        for c in self.conditions_of(policy):
            if c.lesion is None:
                continue
            one, other = (
                {
                    name: self.values(policy, key, name)
                    for name in ("return", "length", "correct")
                }
                for key in (c.intact, c.key)
            )
            same = all(
                np.array_equal(one[name], other[name], equal_nan=True) for name in one
            )
            trials = (policy, c.key, "late_accuracy") in self._parts
            late = self._paired(policy, c, "late_accuracy") if trials else None
            returns = self._paired(policy, c, "return")
            assert returns is not None  # every episode has one
            found.append(Lesioned(self.conditions[c.intact], c, returns, late, same))
        return found

    def _paired(
        self, policy: str, c: Condition, measure: str
    ) -> statistics.Difference | None:
        one, other = (
            _units(self.values(policy, k, measure)[:, :, 0]) for k in (c.intact, c.key)
        )
        return _of_pairs(one, other)

    def effects(self, policy: str, lesion: str) -> list[str]:
        """In each condition with the lesion, how the return as trained compares, in the words of
        `spikepropamine.statistics`, corrected for their number.
        """
        found = [
            part.returns
            for part in self.lesioned(policy)
            if part.lesioned.lesion == lesion
        ]
        corrected = statistics.holm([statistics.decisive(returns) for returns in found])
        return [statistics.verdict(returns, p) for returns, p in zip(found, corrected)]

    @cached_property
    def comparisons(self) -> list[Comparison]:
        """Each two policies: late accuracy in the clean task, or else the return; and retention
        over the conditions that both were evaluated in. Runs are compared; or where one of the two
        was trained once, the same episodes.
        """
        found = []
        for pair in itertools.combinations(self.policies, 2):
            trials = all(
                self.measured(policy, CLEAN_KEY, "late accuracy") for policy in pair
            )
            measures = ["late accuracy" if trials else "return"]
            once = any(len(self.policies[policy]) == 1 for policy in pair)
            if not once and all(map(self.overall, pair)):
                measures.append("retention")
            for measure in measures:
                first, second = (self._sample(policy, measure, once) for policy in pair)
                differ = _of_pairs if once else statistics.difference
                if (compared := differ(first, second)) is not None:
                    found.append((*pair, measure, once, compared))
        corrected = statistics.holm([statistics.decisive(of[-1]) for of in found])
        return [Comparison(*of, p) for of, p in zip(found, corrected)]

    def _sample(self, policy: str, measure: str, by_episode: bool) -> np.ndarray:
        """One value of each run that has any; or of each episode, the mean over runs."""
        if by_episode:
            values = self.values(policy, CLEAN_KEY, measure.replace(" ", "_"))
            return mean_of_known(values[:, :, 0], axis=0)
        kept = measure == "retention"
        score = (
            self.overall(policy) if kept else self.measured(policy, CLEAN_KEY, measure)
        )
        assert score is not None
        return np.array([value for value in score.by_run if value is not None])

    def learned(self, policy: str) -> list[bool | None]:
        """Whether each run earns more than random actions and standing still; None: cannot be
        told.
        """
        answers = self.values(policy, None, "learned")[:, 0, 0]
        return [None if np.isnan(answer) else bool(answer) for answer in answers]

    def failed(self, policy: str) -> list[str]:
        """Seeds with which it has not learned, as `seed 3`."""
        answers = zip(self.policies[policy], self.learned(policy))
        return [f"seed {seed}" for seed, answer in answers if answer is False]

    @cached_property
    def costs(self) -> Mapping[str, Cost]:
        """Of each policy, the mean over its runs."""
        found: dict[str, dict[str, float]] = {}
        for policy in self.policies:
            for name in self.frame["measure"].unique(maintain_order=True):
                if name.startswith("cost/") and (
                    score := self.estimate(policy, None, name)
                ):
                    found.setdefault(policy, {})[name.removeprefix("cost/")] = (
                        score.mean
                    )
        return found

    def references(self, condition: str) -> list[str]:
        """Random actions, and the teacher that is told, where they were run in a condition."""
        return [x for x in (TOLD, RANDOM) if (x, condition, "contexts") in self._parts]


def estimate(values: np.ndarray, bounds: Bounds = UNBOUNDED) -> Estimate | None:
    """Of the value of each episode, or one of each run, [runs, episodes], where what is NaN does
    not count; None where all is. The interval has nothing outside of the bounds.
    """
    by_run = mean_of_known(values, axis=1)
    units = _units(values)
    units = units[np.isfinite(units)]
    if not units.size:
        return None
    found = statistics.interval(units)
    if found is not None:
        low, high = np.clip(found, *bounds)
        found = float(low), float(high)
    return Estimate(float(units.mean()), found, tuple(_known(by_run)))


def ratio(above: np.ndarray, below: np.ndarray) -> Estimate | None:
    """The mean over runs of the ratio of two means, [runs, episodes] each; of a single run, the
    interval is over episodes, by the delta method.
    """
    means = mean_of_known(above, axis=1) / mean_of_known(below, axis=1)
    if len(means) > 1:
        return estimate(means[:, None])
    found = estimate(means[0] + (above - means[0] * below) / below.mean())
    return found and found._replace(by_run=tuple(_known(means)))


def learned(frame: pl.DataFrame) -> pl.DataFrame:
    """Rows of `learned` for each run and suite of an evaluation, by Welch's test or the rank test;
    none where there are too few episodes to tell.
    """
    rows = []
    keys = [*table.RUN, "steps", "suite", "revision"]
    clean = table.where(frame, condition=CLEAN_KEY, lesion=None, measure="return")
    for key, of in clean.group_by(keys, maintain_order=True):
        run = dict(zip(keys, key))
        mine = table.where(frame, **run)
        answers = []
        for name in ("random_return", "still_return"):
            others = table.where(mine, measure=name)["value"]
            if others.len() and min(of.height, others.len()) >= FEWEST:
                found = statistics.difference(of["value"].to_numpy(), others.to_numpy())
                # by rank it may be lower where a single episode makes the mean higher
                tests = (found.p, found.rank_p if found.better > 0.5 else None, 1.0)
                p = min(p for p in tests if p is not None)
                answers.append(statistics.verdict(found, p) == statistics.HIGHER)
        if answers:
            rows.append(run | {"measure": "learned", "value": float(all(answers))})
    return table.table(rows)


def lesion_name(lesion: str | None) -> str:
    """In words; of the intact network, "as trained"."""
    if lesion is None:
        return "as trained"
    return LESIONS[lesion].words if lesion in LESIONS else lesion.replace("-", " ")


def _units(values: np.ndarray) -> np.ndarray:
    """The means of the runs, or the episodes of the one, of [runs, episodes]."""
    return values[0] if len(values) == 1 else mean_of_known(values, axis=1)


def _of_pairs(one: np.ndarray, other: np.ndarray) -> statistics.Difference | None:
    """Of the pairs in which both are known; None where there is no such pair."""
    known = np.isfinite(one) & np.isfinite(other)
    if not known.any():
        return None
    return statistics.difference(one[known], other[known], paired=True)


def _known(values: np.ndarray) -> list[float | None]:
    return [float(x) if np.isfinite(x) else None for x in values]
