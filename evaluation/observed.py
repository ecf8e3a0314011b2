"""What measures are computed from: a trained run, and what one actor did in one
condition. What several measures share is computed here, once.
"""

import itertools
from collections.abc import Mapping, Sequence
from contextlib import closing
from copy import deepcopy
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch

from spikepropamine.common import CLEAN_KEY
from spikepropamine.evaluation.ask.conditions import CLEAN, Condition, Task, make_env
from spikepropamine.evaluation.ask.runs import Run
from spikepropamine.evaluation.judge import rewards as judge
from spikepropamine.evaluation.judge.cost import Cost, cost_of
from spikepropamine.evaluation.judge.rewards import WINDOW, Stretch, padded
from spikepropamine.evaluation.run.watched import watch
from spikepropamine.evaluation.run.work import RANDOM, TEACHER, Outcome
from spikepropamine.folder import RETURN, RunFolder, read_curve, seconds_of
from spikepropamine.policies.spaces import stacked

MOST_COUNTED = 1000  # steps in which operations are counted
FIRST = ""
LATER = "later_"
"""Prefixes of measures: of contexts that begin with an episode, or within it."""

Outcomes = Mapping[str, Outcome]
"""By key of the condition."""


@dataclass(frozen=True)
class Trained:
    """A run: what its facts are computed from."""

    run: Run
    task: Task
    seed: int  # of the first episode, in which operations are counted

    @property
    def settings(self) -> Mapping[str, object]:
        """The settings of its training, as its policy has them."""
        settings: Mapping[str, object] = self.run.policy.metadata["settings"]
        return settings

    @cached_property
    def cost(self) -> Cost:
        """What acting costs; see `judge.cost`."""
        return cost_of_run(self.run, self.task, self.seed)

    @cached_property
    def learning_curve(self) -> tuple[np.ndarray, np.ndarray]:
        """Steps and returns of training episodes, float64 [points] each."""
        return read_curve(RunFolder(self.run.folder).progress, RETURN)

    @property
    def seconds(self) -> float | None:
        """How long training took; None where that is not on record."""
        return seconds_of(RunFolder(self.run.folder).progress)


@dataclass(frozen=True)
class Acted:
    """What one actor (a run, random actions or a teacher) did in one condition."""

    task: Task
    condition: Condition
    conditions: Sequence[Condition]  # all of the evaluation
    outcomes: Outcomes  # of this actor
    references: Mapping[str, Outcomes]  # of random actions and of the teacher
    # where the condition has contexts: its stretches, by `FIRST` and `LATER`
    stretches: Mapping[str, Sequence[Stretch]]

    @property
    def outcome(self) -> Outcome:
        """What was measured in the episodes of this condition; see
        `run.work.run_job`.
        """
        return self.outcomes[self.condition.key]

    @cached_property
    def rewards(self) -> np.ndarray:
        """The reward of every step up to the horizon, float64 [episodes, horizon]."""
        return padded(self.outcome["rewards"], self.task.horizon)

    @cached_property
    def recovery(self) -> judge.Recovery | None:
        """What the change of this condition does, against the same episodes, with the
        same lesion, without it. None where nothing changes for good within an episode.
        """
        condition = self.condition
        if condition.onset is None or not condition.changes_for_good:
            return None
        unchanged = next(
            other
            for other in self.conditions
            if (other.intact, other.lesion) == (CLEAN_KEY, condition.lesion)
        )
        horizon = self.task.horizon
        if condition.lesion == "frozen":
            frozen_at = condition.freeze_at(horizon)
            if frozen_at != unchanged.freeze_at(horizon):
                return None  # freezing would be taken for what the change does
        clean = self.outcomes[unchanged.key]
        return judge.recovery(
            padded(clean["rewards"], horizon),
            self.rewards,
            clean["length"],
            condition.onset,
            self.task.window,
        )

    @cached_property
    def since_contexts(self) -> dict[str, "SinceContext"]:
        """What is done since contexts began, by their prefix, `FIRST` or `LATER`."""
        return {
            prefix: SinceContext(self, prefix, stretches)
            for prefix, stretches in self.stretches.items()
        }

    @cached_property
    def plasticity_off(self) -> np.ndarray | None:
        """Rewards of the same episodes with plasticity off; None where there are none,
        or this is that condition.
        """
        for other in self.conditions:
            same = other.intact == self.condition.intact and other != self.condition
            if same and other.lesion == "off" and other.key in self.outcomes:
                return padded(self.outcomes[other.key]["rewards"], self.task.horizon)
        return None

    def reference(self, name: str) -> np.ndarray | None:
        """Rewards of `RANDOM` actions or of the `TEACHER` in the same contexts, without
        a lesion; None where these were not run.
        """
        if name not in self.references:
            return None
        outcome = self.references[name][self.condition.intact]
        return padded(outcome["rewards"], self.task.horizon)


@dataclass(frozen=True)
class SinceContext:
    """What an actor does by steps since a context began, of one kind of contexts."""

    acted: Acted
    prefix: str  # `FIRST` or `LATER`
    stretches: Sequence[Stretch]

    def of(self, episodes: np.ndarray) -> np.ndarray:
        """Rewards [episodes, horizon], lined up by steps since a context began."""
        return judge.since(episodes, self.stretches)

    @cached_property
    def by_step(self) -> np.ndarray:
        """The actor's rewards, [episodes, steps since a context began]."""
        return self.of(self.acted.rewards)

    @cached_property
    def opening(self) -> np.ndarray:
        """The reward per step before anybody can know the context, [episodes]."""
        return judge.mean_of(self.by_step, judge.OPENING)

    @cached_property
    def settled(self) -> np.ndarray:
        """The reward per step when it should be known, [episodes]."""
        return judge.mean_of(self.by_step, judge.SETTLED)

    @cached_property
    def rates(self) -> np.ndarray:
        """Reward rates in windows, means over episodes, [windows]."""
        return rate_of(self.by_step)

    @cached_property
    def compared(self) -> "Compared | None":
        """The comparison with random actions and a teacher; None without a teacher."""
        random = self.acted.reference(RANDOM)
        teacher = self.acted.reference(TEACHER)
        if random is None or teacher is None:
            return None
        return Compared(self, random, teacher)


@dataclass(frozen=True)
class Compared:
    """An actor beside random actions and a teacher that is told the context."""

    actor: SinceContext
    random: np.ndarray  # rewards, [episodes, horizon]
    teacher: np.ndarray

    @cached_property
    def random_by_step(self) -> np.ndarray:
        """The mean reward of random actions by step since a context began."""
        return self.actor.of(self.random)

    @cached_property
    def teacher_by_step(self) -> np.ndarray:
        """The mean reward of the teacher by step since a context began."""
        return self.actor.of(self.teacher)

    @cached_property
    def margin(self) -> float:
        """By how much the teacher's settled rate is above that of random actions."""
        floor = judge.mean_of(self.random_by_step, judge.SETTLED)
        settled = judge.mean_of(self.teacher_by_step, judge.SETTLED)
        return float(judge.mean_of_known(settled - floor, axis=0))

    @cached_property
    def paces(self) -> np.ndarray:
        """The settled pace, [episodes]; NaN where there is no margin."""
        floor = judge.mean_of(self.random_by_step, judge.SETTLED)
        if not self.margin > 0:
            return np.full(len(floor), np.nan)
        paces: np.ndarray = (self.actor.settled - floor) / self.margin
        return paces

    @cached_property
    def time_to_identify(self) -> float | None:
        """Steps; see `judge.rewards.time_to_identify`."""
        random = rate_of(self.random_by_step)
        teacher = rate_of(self.teacher_by_step)
        return judge.time_to_identify(self.actor.rates, random, teacher)

    @property
    def regains(self) -> bool:
        """Whether there is a rate that could come back: a policy or a teacher that
        hardly acts as it should has none.
        """
        # both are false where no stretch is long enough for a pace
        no_margin = self.margin <= 0
        no_pace = judge.mean_of_known(self.paces, axis=0) < judge.LEAST
        return not (no_margin or no_pace)


def rate_of(by_step: np.ndarray) -> np.ndarray:
    """Reward rates in windows of `WINDOW` steps, means over episodes.

    Args:
        by_step: [episodes, steps].

    Returns:
        [steps - WINDOW + 1].
    """
    mean = judge.mean_of_known(by_step, axis=0)
    (rates,) = judge.windowed(mean[None], WINDOW)
    return np.asarray(rates)


def cost_of_run(run: Run, task: Task, seed: int) -> Cost:
    """What acting costs.

    Args:
        run: whose policy acts.
        task: in which it acts, in the clean condition.
        seed: of the episode in which operations are counted, `MOST_COUNTED` steps of it
            at most.

    Returns:
        The cost, by name; see `judge.cost`.
    """
    with closing(make_env(task, CLEAN, run.previous, run.revealed)) as env:
        moments = itertools.islice(watch(run.policy, env, seed), MOST_COUNTED + 1)
        observations = [deepcopy(moment.observation) for moment in moments]
    seen = stacked(observations[:-1])
    if run.policy.normalisation is not None:
        seen = run.policy.normalisation(seen)
    with torch.random.fork_rng():
        torch.manual_seed(seed)  # of weights that are drawn
        return cost_of(run.policy.policy, seen)
