"""The runs of one policy, which differ in their training seed, and what was measured of them."""

from collections.abc import Sequence

import numpy as np

from spikepropamine.evaluation.judge import measures
from spikepropamine.evaluation.judge.statistics import UNBOUNDED, Units, lies_above, shown_positive
from spikepropamine.evaluation.run.jobs import Outcome
from spikepropamine.evaluation.run.plan import Evaluation
from spikepropamine.evaluation.schema import CLEAN_KEY, Score


class Group:
    """One policy in an evaluation.

    Attributes:
        members: indices of its runs.
        runs: these.
        units: what its intervals are over.
        random: the mean return of random actions.
        conditions: those that it was judged in.
        learned: whether its return is above that of random actions, and of standing still; None
            where that cannot be told.
    """

    def __init__(self, evaluation: Evaluation, name: str) -> None:
        self.evaluation = evaluation
        self.members = [i for i, run in enumerate(evaluation.runs) if run.name == name]
        self.runs = [evaluation.runs[i] for i in self.members]
        self.units = Units(len(self.members), len(evaluation.seeds))
        self.random = float(evaluation.references["random"][CLEAN_KEY]["return"].mean())
        mine = evaluation.outcomes[self.members[0]]
        self.conditions = [c for c in evaluation.conditions if c.key in mine]
        self.learned = self._learned()

    def outcomes(self, condition: str) -> list[Outcome]:
        """Of its runs in a condition."""
        return [self.evaluation.outcomes[i][condition] for i in self.members]

    def stacked(self, condition: str, name: str) -> np.ndarray:
        """[runs, episodes, ...] of an array of the outcomes; padded at the end with NaN, or 0."""
        arrays = [outcome[name] for outcome in self.outcomes(condition)]
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

    def rewards(self, condition: str) -> np.ndarray:
        """[runs, episodes, horizon]; an episode that has ended earns nothing more."""
        return padded(self.stacked(condition, "rewards"), self.evaluation.task.horizon)

    def score(self, values: np.ndarray, bounds: tuple[float, float] = UNBOUNDED) -> Score | None:
        """Of [runs, episodes] values; those that are NaN do not count."""
        there = np.isfinite(values)
        units = values[0] if self.units.runs == 1 else measures.mean_of_known(values, axis=1)
        known = np.isfinite(units)
        units = np.where(known, units, 0.0)
        return self.units.score(lambda weights: weights @ units, bounds, int(there.sum()), known)

    def ratio(
        self, above: np.ndarray, below: np.ndarray, bounds: tuple[float, float] = UNBOUNDED
    ) -> Score | None:
        """Of two means, both of [runs, episodes] values; where one is NaN neither counts."""
        there = np.isfinite(above) & np.isfinite(below)
        total, count = (self.units.of(np.where(there, part, 0.0)) for part in (above, below))

        def statistic(weights: np.ndarray) -> np.ndarray:
            with np.errstate(divide="ignore", invalid="ignore"):
                return (weights @ total) / (weights @ count)

        known = self.units.of(there) > 0
        return self.units.score(statistic, bounds, int(there.sum()), known)

    def mean_return(self, condition: str) -> Score:
        """Of all episodes. What can be earned is bounded where the task says so, and where every
        step that was seen earns the same, as in CartPole, by the horizon.
        """
        rewards, length = self.rewards(condition), self.stacked(condition, "length")
        earned = rewards[np.arange(rewards.shape[2]) < length[..., None]]
        bounds = self.evaluation.task.return_range or UNBOUNDED
        if earned[0] and (earned == earned[0]).all():
            most = float(earned[0]) * self.evaluation.task.horizon
            bounds = min(0.0, most), max(0.0, most)
        score = self.score(self.stacked(condition, "return"), bounds)
        assert score is not None  # every episode has one
        return score

    def retention(self, weights: np.ndarray, condition: str) -> np.ndarray:
        """[K, units] weights to [K]; the random return counts as known."""
        clean, value = (
            weights @ self.units.of(self.stacked(key, "return")) for key in (CLEAN_KEY, condition)
        )
        return measures.retention(value, clean, self.random)

    def mean_retention(self, conditions: Sequence[str]) -> Score | None:
        """Over conditions."""
        if not conditions or not self.learned:
            return None
        return self.units.score(
            lambda weights: np.mean([self.retention(weights, c) for c in conditions], axis=0)
        )

    def _learned(self) -> bool | None:
        earned = self.stacked(CLEAN_KEY, "return").mean(axis=0)
        references = self.evaluation.references
        others = [
            references[x][CLEAN_KEY]["return"] for x in ("random", "still") if x in references
        ]
        # a few episodes, one of them bad, are too skewed for an interval of their mean
        answers = [lies_above(earned, x) or shown_positive(earned - x) for x in others]
        if any(answer is False for answer in answers):
            return False
        return None if None in answers else True


def padded(rewards: np.ndarray, horizon: int) -> np.ndarray:
    """Rewards [..., steps] up to the horizon."""
    missing = max(0, horizon - rewards.shape[-1])
    return np.pad(rewards, [(0, 0)] * (rewards.ndim - 1) + [(0, missing)])
