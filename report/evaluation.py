"""The results of one evaluation: what its report, its tables and its pages ask for.

The estimates are those of `report.estimates`, by policy, condition and measure.
"""

import itertools
from collections.abc import Iterable, Mapping, Sequence
from functools import cache, cached_property
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import polars as pl

from spikepropamine import statistics, table
from spikepropamine.common import CLEAN_KEY, UsageError
from spikepropamine.evaluation.ask.conditions import Condition, severest
from spikepropamine.evaluation.ask.lesions import LESIONS
from spikepropamine.evaluation.description import Description, read_description
from spikepropamine.evaluation.judge.cost import Cost
from spikepropamine.evaluation.judge.rewards import LEAST, mean_of_known
from spikepropamine.evaluation.measure import Bounds
from spikepropamine.evaluation.measures import MEASURES
from spikepropamine.evaluation.observed import FIRST, LATER
from spikepropamine.evaluation.tabulation import RANDOM, TOLD
from spikepropamine.folder import ASKED, RESULTS
from spikepropamine.reading import Missing
from spikepropamine.report.estimates import (
    Comparison,
    Estimate,
    corrected,
    estimate,
    of_pairs,
    ratio,
    units_of,
)
from spikepropamine.report.results import with_derived
from spikepropamine.statistics import Difference

SPLITS = ("all", "train", "held-out")
COST = "cost/"
"""What names of measures of cost begin with."""


class Lesioned(NamedTuple):
    """What a lesion does in one condition: the same weights and episodes, intact less
    lesioned.
    """

    intact: Condition
    lesioned: Condition
    returns: Difference
    late_accuracy: Difference | None
    identical: bool  # whether every episode is the same


class Change(NamedTuple):
    """What a change does, in the measures of `evaluation.judge.rewards.Recovery`; what
    is not known, or not shown, is None.
    """

    reward_before: Estimate
    drop: Estimate
    missing_at_end: Estimate | None
    # of the loss: 1 where all is regained, below 0 where more is missing in the end
    fraction: Estimate | None
    recovery_time: Estimate | None


class EvaluationResults:
    """What an evaluation measured.

    Attributes:
        description: what `evaluation.json` says.
        frame: the results table, with a row `learned` for each run: 1 where its clean
            return is higher than that of random actions and of standing still, else 0.
        conditions: all, by key, in their order.
        policies: for each the seeds of its runs, in the order of the command line.
        values: by policy, condition (None: facts of the run) and measure, float64
            [runs, episodes, at], NaN where there is no row; an axis that is null has
            length 1.
    """

    def __init__(self, description: Description, frame: pl.DataFrame) -> None:
        self.description = description
        self.conditions = {c.key: c for c in description.conditions}
        self.policies: dict[str, list[int]] = {}
        for run in description.runs:
            self.policies.setdefault(run.policy, []).append(run.seed)
        self.frame = with_derived(frame, on_file=True)
        self.values = cache(self._values)

    @classmethod
    def read(cls, folder: Path) -> "EvaluationResults":
        """The results in a folder.

        Raises:
            UsageError: there are none, or a file is damaged, or the two do not agree.
        """
        try:
            description = read_description(folder)
            frame = table.read(folder / RESULTS)
        except Missing as error:
            raise UsageError(f"there is no evaluation in {folder}") from error
        problem = _problem(description, frame)
        if problem:
            raise UsageError(f"{folder / RESULTS} and {ASKED} do not agree: {problem}")
        return cls(description, frame)

    @cached_property
    def _parts(self) -> dict[tuple[Any, ...], pl.DataFrame]:
        rows = with_derived(self.frame, by_episode=True)
        # of facts of a run there may be curves over its training, too
        rows = rows.filter(pl.col("condition").is_not_null() | pl.col("at").is_null())
        return rows.partition_by("policy", "condition", "measure", as_dict=True)

    @cached_property
    def _episodes(self) -> list[int]:
        """The seeds of all episodes; one in which a policy has no value keeps its
        place.
        """
        return self.frame["episode"].drop_nulls().unique().sort().to_list()

    def _values(self, policy: str, condition: str | None, measure: str) -> np.ndarray:
        rows = self._parts.get((policy, condition, measure))
        seeds: list[int | None] = list(self.policies.get(policy, [None]))
        if rows is None:
            return np.full((len(seeds), 1, 1), np.nan)
        ats = _axis(rows["at"], rows["at"].unique().sort())
        episodes = _axis(rows["episode"], self._episodes)
        values = np.full((len(seeds), len(episodes), len(ats)), np.nan)
        for seed, episode, at, value in rows.select(
            "seed", "episode", "at", "value"
        ).iter_rows():
            values[seeds.index(seed), episodes[episode], ats[at]] = value
        return values

    def has(self, policy: str, condition: str | None, measure: str) -> bool:
        """Whether there are rows of a measure.

        Args:
            policy: by its name in the evaluation.
            condition: its key; None: of the run.
            measure: by its name.
        """
        return (policy, condition, measure) in self._parts

    def curve(
        self,
        policy: str,
        condition: str,
        measure: str,
    ) -> list[tuple[int, Estimate]]:
        """A measure along the episode.

        Args:
            policy: one of `policies`, or `RANDOM` or `TOLD`.
            condition: its key.
            measure: its name.

        Returns:
            By step or trial, the mean where there is one.
        """
        rows = self._parts.get((policy, condition, measure))
        if rows is None:
            return []
        places = rows["at"].unique().sort().to_list()
        values = self.values(policy, condition, measure)
        bounds = MEASURES[measure].bounds
        points = []
        for index, at in enumerate(places):
            score = estimate(values[:, :, index], bounds)
            if score is not None:
                points.append((at, score))
        return points

    @property
    def longest(self) -> dict[str, int]:
        """The most steps that a run of each policy was trained."""
        longest: dict[str, int] = {}
        for run in self.description.runs:
            longest[run.policy] = max(longest.get(run.policy, 0), run.steps)
        return longest

    @property
    def intact(self) -> list[Condition]:
        """Conditions without a lesion."""
        return [c for c in self.conditions.values() if c.lesion is None]

    def conditions_of(self, policy: str) -> list[Condition]:
        """The conditions that a policy was evaluated in."""
        every = self.conditions.values()
        return [c for c in every if self.has(policy, c.key, "return")]

    def bounds_of(self, measure: str) -> Bounds:
        """The bounds of a measure's values; those of the return as far as the task says
        them.
        """
        earned = self.description.return_range
        if measure == "return" and earned is not None:
            return earned
        return MEASURES[measure].bounds

    def estimate(
        self, policy: str, condition: str | None, measure: str
    ) -> Estimate | None:
        """The mean of a measure; None where it has no rows.

        Args:
            policy: one of `policies`, or `RANDOM` or `TOLD`.
            condition: its key; None for a fact of the run.
            measure: its name.
        """
        values = self.values(policy, condition, measure)
        return estimate(values[:, :, 0], self.bounds_of(measure))

    def returns(self, policy: str, condition: str = CLEAN_KEY) -> Estimate:
        """The return of an episode.

        Args:
            policy: by its name in the evaluation.
            condition: key of one that the policy was evaluated in.
        """
        score = self.estimate(policy, condition, "return")
        assert score is not None  # every episode has one
        return score

    def retention(
        self,
        policy: str,
        conditions: Sequence[str],
        weights: Sequence[float] | None = None,
    ) -> Estimate | None:
        """The mean over conditions of what each run keeps.

        Args:
            policy: one of `policies`.
            conditions: their keys.
            weights: one for each condition; None: all alike.

        Returns:
            The estimate; None without conditions, or where no run has learned.
        """
        if not conditions:
            return None
        kept = [self.values(policy, key, "retention")[:, 0, 0] for key in conditions]
        by_run = np.average(kept, axis=0, weights=weights)
        if set(conditions) == {CLEAN_KEY}:
            score = estimate(by_run[:, None])
            # it is 1 by definition
            return None if score is None else score._replace(interval=(1.0, 1.0))
        if len(by_run) > 1 or np.isnan(by_run).any():
            return estimate(by_run[:, None])
        returns = [self.values(policy, key, "return")[0, :, 0] for key in conditions]
        clean = self.values(policy, CLEAN_KEY, "return")[0, :, 0]
        random = self.values(policy, None, "random_return").mean()
        mean = np.average(returns, axis=0, weights=weights)
        return ratio(mean[None] - random, clean[None] - random)

    def trials(self, policy: str, condition: str) -> list[Estimate]:
        """The share of right answers, of each trial that asks for one.

        Args:
            policy: by its name in the evaluation.
            condition: its key.
        """
        return [score for _, score in self.curve(policy, condition, "correct")]

    def measured(self, policy: str, condition: str, measure: str) -> Estimate | None:
        """A measure as tables of all conditions have it.

        Args:
            policy: one of `policies`.
            condition: its key.
            measure: its name; `retention` is that of `retention`, and `settled_pace`
                that of later contexts where episodes begin with none.
        """
        if measure == "retention":
            return self.retention(policy, [condition])
        score = self.estimate(policy, condition, measure)
        if score is None and MEASURES[measure].of_contexts:
            score = self.estimate(policy, condition, LATER + measure)
        return score

    def rise(self, policy: str) -> Estimate | None:
        """How much accuracy rises within clean episodes: in late trials, less in the
        first one that asks.
        """
        correct = self.values(policy, CLEAN_KEY, "correct")
        late = self.values(policy, CLEAN_KEY, "late_accuracy")[:, :, 0]
        asks = np.isfinite(correct).any(axis=(0, 1))
        return estimate(late - correct[:, :, asks.argmax()], (-1.0, 1.0))

    def change(self, policy: str, condition: str) -> Change | None:
        """What the change of a condition does, and what comes back of it.

        The share that comes back has no value, nor has the time, where no drop is
        shown: it has to be a tenth of the reward before, and its interval above zero.
        It is of the runs that lose as much.

        Args:
            policy: one of `policies`.
            condition: its key.

        Returns:
            The change; None where there is none.
        """

        def of(measure: str) -> Estimate | None:
            return self.estimate(policy, condition, measure)

        before = of("reward_before")
        drop = of("drop")
        time = of("recovery_time")
        if before is None or drop is None:
            return None
        lost = self.values(policy, condition, "drop")[:, :, 0]
        left = self.values(policy, condition, "missing_at_end")[:, :, 0]
        least = LEAST * abs(before.mean)
        shown = drop.mean > least and (drop.interval is None or drop.side > 0)
        fraction = None
        if shown:
            loses = mean_of_known(lost, axis=1)[:, None] > least
            lost = np.where(loses, lost, np.nan)
            fraction = ratio(lost - left, lost)
        if not shown or (fraction is not None and fraction.mean < LEAST):
            time = None
        return Change(before, drop, of("missing_at_end"), fraction, time)

    def contexts(self, policy: str, condition: str) -> list[str]:
        """Which kinds of contexts a policy met in a condition.

        Args:
            policy: by its name in the evaluation.
            condition: its key.

        Returns:
            `FIRST` where contexts begin with the episode, `LATER` where some begin
            within it.
        """
        return [
            prefix
            for prefix in (FIRST, LATER)
            if self.has(policy, condition, f"{prefix}contexts")
        ]

    def with_contexts(self, policy: str) -> list[Condition]:
        """The severest conditions with contexts, those held out if there are any."""
        every = [c for c in self.severest if self.contexts(policy, c.key)]
        return [c for c in every if c.split == "held-out"] or every

    def worst_change(self, policy: str) -> tuple[Condition, Change] | None:
        """The change within an episode that costs most reward; None without changes."""
        every = ((c, self.change(policy, c.key)) for c in self.severest)
        changes = [(c, change) for c, change in every if change is not None]
        return max(changes, key=lambda one: one[1].drop.mean, default=None)

    def kept(self, policy: str) -> list[tuple[Estimate, Condition]]:
        """What is kept in the severest conditions, the least first."""
        every = [(self.retention(policy, [c.key]), c) for c in self.severest]
        scores = [(score, c) for score, c in every if score is not None]
        return sorted(scores, key=lambda one: one[0].mean)

    @cached_property
    def severest(self) -> list[Condition]:
        """The intact condition of the highest severity of each label that perturbs."""
        return severest([c for c in self.intact if c.perturbs])

    def with_lesion(self, intact: str, lesion: str | None) -> str:
        """The key of an intact condition with a lesion.

        Args:
            intact: key of the condition without a lesion.
            lesion: its name; None: none.

        Returns:
            Empty where there is no such condition.
        """
        for condition in self.conditions.values():
            if (condition.intact, condition.lesion) == (intact, lesion):
                return condition.key
        return ""

    def off(self, policy: str, condition: Condition) -> str:
        """The key of a condition with plasticity off.

        Args:
            policy: by its name in the evaluation.
            condition: an intact one.

        Returns:
            Empty where the policy was not evaluated so.
        """
        key = self.with_lesion(condition.key, "off")
        return key if self.conditions.get(key) in self.conditions_of(policy) else ""

    @property
    def lesions(self) -> list[str]:
        """The names of all lesions of the evaluation."""
        lesions = (condition.lesion for condition in self.conditions.values())
        return list(dict.fromkeys(lesion for lesion in lesions if lesion))

    def overall(
        self, policy: str, lesion: str | None = None, split: str = "all"
    ) -> Estimate | None:
        """What is kept over all perturbed conditions.

        Args:
            policy: one of `policies`.
            lesion: of the policy; None: intact.
            split: of the conditions, one of `SPLITS`.
        """
        keys = [
            c.key
            for c in self.conditions_of(policy)
            if c.perturbs and c.lesion == lesion and split in ("all", c.split)
        ]
        return self.retention(policy, keys)

    def severities(
        self, policy: str, label: str, lesion: str | None
    ) -> dict[float, str]:
        """The conditions of a perturbation by severity.

        Args:
            policy: one of `policies`.
            label: of the conditions.
            lesion: of the policy; None: intact.

        Returns:
            Keys by severity, from the clean condition (0) on; empty where there are
            none.
        """
        alike = [c for c in self.conditions_of(policy) if c.lesion == lesion]
        clean = [c.key for c in alike if not c.perturbs]
        graded = {
            c.severity: c.key
            for c in alike
            if c.label == label and c.severity is not None
        }
        if not clean or not graded:
            return {}
        return {0.0: clean[0]} | dict(sorted(graded.items()))

    def area(self, policy: str, keys: dict[float, str]) -> Estimate | None:
        """Under the curve of retention by severity, by trapezoids: the mean along it.

        Args:
            policy: one of `policies`.
            keys: of conditions by severity, as of `severities`.
        """
        steps = np.diff(list(keys))
        weights = (np.append(steps, 0) + np.append(0, steps)) / 2
        return self.retention(policy, list(keys.values()), list(weights))

    def lesioned(self, policy: str) -> list[Lesioned]:
        """Every lesion in every condition that a policy was evaluated in."""
        parts = []
        for condition in self.conditions_of(policy):
            if condition.lesion is None:
                continue
            returns = self._paired(policy, condition, "return")
            assert returns is not None  # every episode has one
            late = None
            if self.has(policy, condition.key, "late_accuracy"):
                late = self._paired(policy, condition, "late_accuracy")
            intact = self.conditions[condition.intact]
            same = self._identical(policy, condition)
            parts.append(Lesioned(intact, condition, returns, late, same))
        return parts

    def _identical(self, policy: str, condition: Condition) -> bool:
        for measure in ("return", "length", "correct"):
            intact = self.values(policy, condition.intact, measure)
            lesioned = self.values(policy, condition.key, measure)
            if not np.array_equal(intact, lesioned, equal_nan=True):
                return False
        return True

    def _paired(
        self, policy: str, condition: Condition, measure: str
    ) -> Difference | None:
        intact = self.values(policy, condition.intact, measure)[:, :, 0]
        lesioned = self.values(policy, condition.key, measure)[:, :, 0]
        return of_pairs(units_of(intact), units_of(lesioned))

    def effects(self, policy: str, lesion: str) -> list[str]:
        """How the return as trained compares with that under a lesion, in each
        condition that has it.

        Args:
            policy: one of `policies`.
            lesion: its name.

        Returns:
            In the words of `spikepropamine.statistics`, corrected for their number.
        """
        parts = [p for p in self.lesioned(policy) if p.lesioned.lesion == lesion]
        comparisons = [Comparison(policy, "", "return", part.returns) for part in parts]
        return [one.verdict for one in corrected(comparisons)]

    @cached_property
    def comparisons(self) -> list[Comparison]:
        """Each two policies: late accuracy in the clean task, or else the return; and
        retention over the conditions that both were evaluated in. Runs are compared; or
        where one of the two was trained once, the same episodes.
        """
        comparisons = []
        for pair in itertools.combinations(self.policies, 2):
            once = any(len(self.policies[policy]) == 1 for policy in pair)
            for measure in self._compared(pair, once):
                one, other = (self._sample(policy, measure, once) for policy in pair)
                compare = of_pairs if once else statistics.difference
                difference = compare(one, other)
                if difference is not None:
                    comparison = Comparison(*pair, measure, difference, once=once)
                    comparisons.append(comparison)
        return corrected(comparisons)

    def _compared(self, pair: tuple[str, str], once: bool) -> Iterable[str]:
        """The measures that two policies are compared by."""
        late = "late_accuracy"
        trials = all(self.estimate(policy, CLEAN_KEY, late) for policy in pair)
        yield late if trials else "return"
        if not once and all(map(self.overall, pair)):
            yield "retention"

    def _sample(self, policy: str, measure: str, by_episode: bool) -> np.ndarray:
        """A value of each run that has any; or of each episode, the mean over runs."""
        if by_episode:
            values = self.values(policy, CLEAN_KEY, measure)
            return mean_of_known(values[:, :, 0], axis=0)
        if measure == "retention":
            score = self.overall(policy)
        else:
            score = self.estimate(policy, CLEAN_KEY, measure)
        assert score is not None
        return np.array([value for value in score.by_run if value is not None])

    def learned(self, policy: str) -> list[bool | None]:
        """Whether each run earns more than random actions and standing still; None:
        there are too few episodes.
        """
        answers = self.values(policy, None, "learned")[:, 0, 0]
        return [None if np.isnan(answer) else bool(answer) for answer in answers]

    def failed(self, policy: str) -> list[str]:
        """Seeds with which it has not learned, as `seed 3`."""
        answers = zip(self.policies[policy], self.learned(policy))
        return [f"seed {seed}" for seed, answer in answers if answer is False]

    @cached_property
    def costs(self) -> Mapping[str, Cost]:
        """What each policy costs, means over its runs."""
        costs: dict[str, dict[str, float]] = {}
        for policy in self.policies:
            for measure in MEASURES:
                score = None
                if measure.startswith(COST):
                    score = self.estimate(policy, None, measure)
                if score is not None:
                    name = measure.removeprefix(COST)
                    costs.setdefault(policy, {})[name] = score.mean
        return costs

    def references(self, condition: str) -> list[str]:
        """Random actions, and the teacher that is told, where they were run in a
        condition.
        """
        return [x for x in (TOLD, RANDOM) if self.has(x, condition, "contexts")]


def _axis(column: pl.Series, places: Iterable[Any]) -> dict[Any, int]:
    """The index of each place of an axis; of one place where the column is null."""
    if not column.count():
        return {None: 0}
    return {place: index for index, place in enumerate(places)}


def _problem(description: Description, frame: pl.DataFrame) -> str:
    """What is wrong with a results table beside its description; empty: nothing. Its
    rows have to be of the runs and conditions that are described, and each run has to
    have clean episodes.
    """
    keys = {condition.key for condition in description.conditions}
    needed = {CLEAN_KEY, *(condition.intact for condition in description.conditions)}
    for key in (*frame["condition"].drop_nulls().unique(maintain_order=True), *needed):
        if key not in keys:
            return f"no condition {key!r} is described"
    for name in frame["measure"].unique(maintain_order=True):
        if name not in MEASURES:
            return f"there is no measure {name!r}"
    runs = {(run.policy, run.seed) for run in description.runs}
    if not runs:
        return "no run is described"
    references = {(RANDOM, None), (TOLD, None)}
    actors = frame.select("policy", "seed").unique(maintain_order=True)
    for policy, seed in actors.rows():
        if (policy, seed) not in runs | references:
            return f"no run of {policy} with seed {seed} is described"
    returns = table.where(frame, measure="return")
    for condition in description.conditions:
        of_condition = table.where(returns, condition=condition.key)
        earned = set(of_condition.select("policy", "seed").rows()) - references
        policies = {policy for policy, _ in earned}
        for policy, seed in runs:
            evaluated = policy in policies or condition.key == CLEAN_KEY
            if evaluated and (policy, seed) not in earned:
                return (
                    f"{policy} with seed {seed} has no return in the condition "
                    f"{condition.key!r}"
                )
    rows = frame.drop("value", "revision")
    if rows.is_duplicated().any():
        policy = frame.filter(rows.is_duplicated())["policy"][0]
        return f"a row of {policy} is there twice"
    return ""


def lesion_name(lesion: str | None) -> str:
    """In words; of the intact network, "as trained"."""
    if lesion is None:
        return "as trained"
    return LESIONS[lesion].words if lesion in LESIONS else lesion.replace("-", " ")
