"""Terms of a perturbation at work in an environment: what each is worth at a step of an
episode.
"""

import itertools
import math
from typing import Any

import gymnasium as gym
import numpy as np

from spikepropamine.common import unknown
from spikepropamine.envs.perturbations.catalogue import Bound
from spikepropamine.envs.perturbations.contexts import Contexts
from spikepropamine.envs.perturbations.notation import Term
from spikepropamine.envs.rendering import is_mujoco


class Act:
    """One term at work in one environment."""

    def __init__(
        self, env: gym.Env, term: Term, alternative: int, spread: np.ndarray
    ) -> None:
        self.term = term
        self.family = term.family
        self.alternative = alternative
        # spaces are those that the wrapper sees: other wrappers may lie between it and
        # the task
        seen: Any = env if self.family.group in ("sensing", "acting") else env.unwrapped
        if reason := self.family.reason_against(seen):
            name = env.spec.id if env.spec else type(env.unwrapped).__name__
            raise ValueError(f"{term.label} would change nothing in {name}: {reason}")
        space = (
            env.action_space if self.family.observe is None else env.observation_space
        )
        self.bound = Bound(target=self._target(seen), spread=spread, space=space)
        self.chosen = False  # whether this episode has it at all
        self.value = self.family.nominal  # at the present step
        self.now = 0.0  # its severity
        self.changed = False  # whether they are others than at the step before

    @property
    def ever_acts(self) -> bool:
        """Whether any episode can have it at more than severity 0."""
        harmless = 0.0 if self.term.severities else self.family.nominal
        return not self.term.low == self.term.high == harmless

    def next_change(self, time: int) -> float:
        """The first step after this one at which its value may be another in this
        episode; `inf` where there is none.
        """
        return self.term.schedule.next_change(time) if self.chosen else math.inf

    def begin(self, chosen: int, posture: np.ndarray | None) -> None:
        """Starts an episode at step 0.

        Args:
            chosen: which alternative of the text holds in this episode.
            posture: joint positions of a MuJoCo task at the start, [nq]; else None.
        """
        self.chosen = chosen == self.alternative
        self.bound.kept.clear()
        self.bound.posture = None if posture is None else np.array(posture)
        # drawn whether chosen or not, so that draws do not depend on the choice
        self._episode_value = self.term.draw(self.bound.random)
        self.value = self.family.nominal
        self.now = 0.0
        self.move_to(0, None)

    def move_to(self, time: int, task: Any) -> bool:
        """Finds the value at a step; the posture at the onset is that of the task's
        data.

        Args:
            time: the step, from 0 on.
            task: the unwrapped environment; None at step 0, before the task has begun.

        Returns:
            Whether the value is another than at the step before.
        """
        strength = self.term.schedule.strength(time) if self.chosen else 0.0
        value = self.family.scaled(self._episode_value, strength)
        self.changed = value != self.value
        if self.changed and not self.now and task is not None and is_mujoco(task):
            self.bound.posture = task.data.qpos.copy()
        if self.changed:
            self.value = value
            self.now = self.family.severity(value)
        return self.changed

    def hook(self, name: str, changed: Any, value: float | None = None) -> Any:
        """Lets a hook of the family change something.

        Args:
            name: of the hook, a field of `Family`.
            changed: what the hook changes: an observation, an action, a task or a
                model.
            value: of the perturbation; None: the present one.

        Returns:
            What the hook returns.
        """
        value = self.value if value is None else value
        return getattr(self.family, name)(changed, value, self.bound)

    def _target(self, task: Any) -> Any:
        name = self.term.target
        targets = self.family.targets_in(task)
        if name is None:
            return (
                targets[self.family.default or next(iter(targets))] if targets else None
            )
        if name in targets:
            return targets[name]
        numbered = [
            target for known, target in targets.items() if known not in ("all", "each")
        ]
        count = len(numbered)
        wrong = unknown(f"target of {self.family.name}", name, targets)
        if not targets:
            wrong = f"{self.family.name} has no targets"
        elif name.lstrip("-").isdecimal():
            if -count <= int(name) < count:
                return numbered[int(name)]
            wrong = f"there are {count} targets, from 0 (or -{count}) to {count - 1}"
        raise ValueError(f"in {self.term.text!r}: {wrong}")


class ContextAct(Act):
    """A term whose episodes are in one context, or in several, one after the other."""

    def __init__(
        self, env: gym.Env, term: Term, alternative: int, spread: np.ndarray
    ) -> None:
        super().__init__(env, term, alternative, spread)
        self._contexts: Contexts = self.bound.target
        self.context = self._plain = self._contexts.of_code(
            0
        )  # the present one, int64 [channels]
        self.began = 0  # the step at which it began
        self._plan: list[
            tuple[int, np.ndarray]
        ] = []  # when contexts of an episode begin
        if not term.severities:
            self._codes = term.codes(self._contexts.codes)

    def begin(self, chosen: int, posture: np.ndarray | None) -> None:
        """Starts an episode at step 0; see `Act.begin`."""
        random = self.bound.random
        contexts = self._contexts
        schedule = self.term.schedule
        if self.term.severities:
            share = self.term.draw(random)
            ranks = random.permutation(len(contexts.channels))
            self._plan = [(schedule.start, contexts.changing(share, ranks))]
        else:
            code = random.choice(self._codes)
            self._plan = [(schedule.start, contexts.of_code(int(code)))]
            for first, last in schedule.changes:
                code = random.choice(self._codes[self._codes != code])
                step = int(random.integers(first, last + 1))
                self._plan.append((step, contexts.of_code(int(code))))
        self.chosen = chosen == self.alternative
        self.move_to(0, None)

    def hold(self, code: int | str) -> None:
        """Let one context, or the "opposite" of the one it began with, hold for the
        whole episode that has just begun.
        """
        if isinstance(code, str):
            context = self._contexts.opposite(self.context)
        else:
            context = self._contexts.of_code(code)
        self._plan = [(0, context)]
        self.chosen = True
        self.move_to(0, None)

    @property
    def begins(self) -> list[int]:
        """The steps at which contexts of the present episode begin, rising from 0,
        whether or not it lasts so long.
        """
        steps = [0]
        context = self._plain
        for step, planned in self._plan if self.chosen else []:
            if step and not np.array_equal(planned, context):
                steps.append(step)
            context = planned
        return steps

    def next_change(self, time: int) -> float:
        """The first step after this one at which another context may begin; `inf` where
        there is none.
        """
        begins = [step for step, _ in self._plan if step > time]
        return min(begins) if self.chosen and begins else math.inf

    def move_to(self, time: int, task: Any) -> bool:
        """Finds the context at a step, and whether another one begins there; see
        `Act.move_to`.
        """
        context = self._plain
        if self.chosen:
            for begins, planned in self._plan:
                if begins <= time:
                    context = planned
        same = context is self.context or np.array_equal(context, self.context)
        self.changed = not time or not same
        if self.changed:
            self.began = time
            self.context = self.bound.kept["context"] = context
            self.value = float(np.mean(context != self._plain))
            self.now = self.family.severity(self.value)
        return self.changed


def undone(acts: list[Act], changed: np.ndarray) -> np.ndarray:
    """What an observation or action was before the present contexts changed it.

    Args:
        acts: of the wrapper, in the order in which they act.
        changed: the observation or action that they made.
    """
    for act in reversed(acts):
        if isinstance(act, ContextAct) and act.now:
            changed = act.bound.target.undo(changed, act.context)
    return changed


def act_of(env: gym.Env, term: Term, alternative: int, spread: np.ndarray) -> Act:
    """One term of a text, at work in an environment.

    Args:
        env: the environment, not yet perturbed.
        term: of the text.
        alternative: number of the alternative that the term stands in, from 0 on.
        spread: natural standard deviation of the observation; see `making.spread`.

    Raises:
        ValueError: the term could change nothing there, or has a target or context that
            is not there.
    """
    kind = ContextAct if term.family.contexts else Act
    return kind(env, term, alternative, spread)


def by_label(acts: list[ContextAct]) -> dict[str, list[ContextAct]]:
    """The contexts of a text by their labels, sorted. Raises ValueError where two of
    one family, of which one draws from a set, meet in a channel, so that what both do
    may be a context that is held out.
    """
    labels: dict[str, list[ContextAct]] = {}
    for act in acts:
        labels.setdefault(act.term.label, []).append(act)
    for one, other in itertools.combinations(acts, 2):
        alike = (one.alternative, one.family) == (other.alternative, other.family)
        drawn = one.term.context_set or other.term.context_set
        channels = one.bound.target.channels, other.bound.target.channels
        if alike and drawn and len(np.intersect1d(*channels)):
            raise ValueError(
                f"{one.term.label} and {other.term.label} have contexts of the same "
                "channel, which together may be one that is held out"
            )
    return dict(sorted(labels.items()))


def present(acts: list[ContextAct]) -> ContextAct:
    """The one of an episode; any, which then is plain, where it has none."""
    return next((act for act in acts if act.chosen), acts[0])
