"""The conditions that a policy is evaluated in: each changes the task, or the policy's
state.
"""

import inspect
import itertools
import math
from collections.abc import Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from typing import Any

import gymnasium as gym

from spikepropamine.common import CLEAN_KEY, check_known
from spikepropamine.envs.making import (
    ENDLESS,
    contexts_of,
    horizon_of,
    make,
    plain_arguments,
    terms_of,
)
from spikepropamine.envs.perturbations import parse, reason_against
from spikepropamine.envs.perturbations.notation import (
    Term,
    is_suite,
    load_suite,
    suite_names,
)
from spikepropamine.envs.rendering import is_mujoco
from spikepropamine.envs.shown import PreviousActionAndReward, translated
from spikepropamine.envs.task import task_attribute
from spikepropamine.evaluation.ask.lesions import LESIONS


@dataclass(frozen=True)
class Task:
    """A task, and what its environment says of itself."""

    environment: str  # Gymnasium id
    arguments: Mapping[str, Any]  # of the environment's constructor
    horizon: int  # steps of an episode at most
    own_limit: bool  # whether the horizon is the task's own, not `ENDLESS`
    chance: float | None  # accuracy of guessing; None where there are no trials
    # steps over which reward rates are averaged: a trial, or else a twentieth of the
    # horizon
    window: int
    simulated: bool  # whether MuJoCo runs it, which takes more time than most policies
    can_stand_still: bool  # whether an action of zeros means that nothing is done
    # the least and the most that an episode can return, where it says so
    return_range: tuple[float, float] | None = None


def task_of(
    environment: str, arguments: Mapping[str, Any], horizon_factor: int = 1
) -> Task:
    """The task without perturbations, noise and help.

    Args:
        environment: its Gymnasium id.
        arguments: of its constructor.
        horizon_factor: how many times as long its episodes are.

    Raises:
        ValueError: the environment cannot be made, or its episodes cannot be made
            longer.
    """
    arguments = plain_arguments(environment, arguments)
    with closing(make(environment, arguments)) as env:
        limit = env.spec.max_episode_steps if env.spec else None
        own_limit = horizon_of(env)
        horizon = (ENDLESS if own_limit is None else own_limit) * horizon_factor
        own_steps = task_attribute(env, "episode_steps")
        if own_steps is None:
            if horizon != limit:
                arguments["max_episode_steps"] = horizon
        elif horizon_factor > 1:
            parameters = inspect.signature(type(env.unwrapped)).parameters
            if "trials" not in parameters:
                raise ValueError(
                    f"{environment} has neither a time limit nor an argument `trials` "
                    "to multiply; leave --horizon-factor out"
                )
            arguments["trials"] = task_attribute(env, "trials") * horizon_factor
            if limit is not None:
                arguments["max_episode_steps"] = limit * horizon_factor
        earned = task_attribute(env, "return_range")
        if earned is not None:
            least, most = earned
            finite = math.isfinite(least) and math.isfinite(most)
            earned = (horizon_factor * least, horizon_factor * most) if finite else None
        return Task(
            environment=environment,
            arguments=arguments,
            horizon=horizon,
            own_limit=own_limit is not None,
            chance=None if own_steps is None else _chance(env),
            window=task_attribute(env, "trial_steps") or max(1, horizon // 20),
            simulated=is_mujoco(env),
            can_stand_still=isinstance(env.action_space, gym.spaces.Box),
            return_range=earned,
        )


def _chance(env: gym.Env) -> float | None:
    """The accuracy of guessing; None where nobody knows how many answers there are."""
    answers = task_attribute(env, "actions")
    if not isinstance(answers, int):  # other people's tasks call other things so
        answers = getattr(env.action_space, "n", None)
    return None if answers is None else 1 / int(answers)


STANDARD = "standard"


@dataclass(frozen=True)
class Skipped:
    """What was left out, and why; `policy` is None where it concerns all of them."""

    condition: str
    policy: str | None
    reason: str


@dataclass(frozen=True)
class Condition:
    """What an episode has that the plain one has not; `evaluation.json` has the same
    fields.
    """

    key: str  # its name in results, safe to show; `CLEAN_KEY` where nothing is changed
    # name without severity and lesion; conditions of one label make a severity curve
    label: str
    intact: str  # key of the same condition without the lesion; its own without one
    text: str = ""  # of the perturbation; "" for none
    # in [0, 1]; None where the text has a value of its own
    severity: float | None = None
    split: str | None = None  # "train" (training may have had it), "held-out" or None
    # first step at which the perturbation acts; None: from the start, or none
    onset: int | None = None
    # the last step at which it may begin, where an episode draws that; else `onset`
    last_onset: int | None = None
    lesion: str | None = None  # name of that of the policy; None: intact
    noise: float = 0.0  # the environment's argument of that name; 0: as it is

    @property
    def perturbs(self) -> bool:
        """Whether it changes the task, rather than the policy alone."""
        return self.intact != CLEAN_KEY

    @property
    def has_contexts(self) -> bool:
        """Whether it has contexts, which a policy has to find out."""
        return bool(contexts_of(self.text))

    @property
    def changes_for_good(self) -> bool:
        """Whether every episode changes at one and the same step, and never back."""
        if self.onset is None or self.last_onset != self.onset or self.has_contexts:
            return False
        return all(parse(self.text))

    def freeze_at(self, horizon: int) -> int:
        """The step at which fast weights are frozen at the latest, where the lesion
        does that: at a change of context before it they are frozen then.
        """
        return horizon // 2 if self.last_onset is None else self.last_onset

    def name(self, severity: bool = True, onset: bool = True) -> str:
        """What people read, without the lesion: "heavier, severity 0.5, from step 500".

        Args:
            severity: whether its severity is a part.
            onset: whether its onset is a part.
        """
        if not self.perturbs:
            return "clean task"
        parts = [self.label]
        if severity and self.severity is not None:
            parts.append(f"severity {self.severity:g}")
        if onset and self.onset is not None and self.label != self.text:
            last = "" if self.last_onset == self.onset else f" to {self.last_onset} on"
            parts.append(f"from step {self.onset}{last}")
        return ", ".join(parts)


def perturbed(
    key: str,
    label: str,
    text: str,
    severity: float | None = None,
    split: str | None = None,
) -> Condition:
    """The condition of a text.

    Args:
        key: its name in results.
        label: its name without severity.
        text: of the perturbations.
        severity: in [0, 1]; None where the text has a value of its own.
        split: "train" or "held-out"; None: neither.
    """
    # a perturbation that acts from the start has no onset
    onset = min((term.schedule.onset for term in terms_of(text)), default=0) or None
    if onset is None:
        return Condition(key, label, key, text, severity, split)
    begins = [min(_begin(term) for term in terms) for terms in parse(text) if terms]
    last = max(begins, default=onset)
    return Condition(key, label, key, text, severity, split, onset, last)


def _begin(term: Term) -> int:
    """The last step at which a perturbation may begin."""
    schedule = term.schedule
    return schedule.changes[0][1] if schedule.changes else schedule.onset


CLEAN = Condition(CLEAN_KEY, CLEAN_KEY, CLEAN_KEY)
STANDARD_CONDITIONS = (
    CLEAN,
    Condition("noise-0.1", "noise", "noise-0.1", severity=0.1, noise=0.1),
    Condition("noise-0.2", "noise", "noise-0.2", severity=0.2, noise=0.2),
    Condition("plasticity-off", CLEAN_KEY, CLEAN_KEY, lesion="off"),
)


def make_env(
    task: Task,
    condition: Condition,
    previous: bool = False,
    revealed: str | None = None,
    told: bool = False,
) -> gym.Env:
    """The task in a condition.

    Args:
        task: to be made.
        condition: it is made in.
        previous: whether the previous action and reward are observed.
        revealed: text of the perturbations whose contexts are observed; None: none.
        told: whether the contexts of the condition are undone by someone who knows
            them.

    Raises:
        ValueError: the environment cannot be made so; the message says why.
    """
    arguments = dict(task.arguments)
    text = condition.text or None
    if condition.noise:
        arguments["noise"] = condition.noise
    if not told:
        return make(task.environment, arguments, text, previous, revealed)
    env = translated(make(task.environment, arguments, text))
    return PreviousActionAndReward(env) if previous else env


def conditions_of(
    task: Task, suite: str | None, texts: Sequence[str], lesions: Sequence[str]
) -> tuple[list[Condition], list[Skipped]]:
    """The conditions of an evaluation.

    Args:
        task: that they change.
        suite: "standard", or one of `configs/suites/`; None: none.
        texts: of single perturbations.
        lesions: names of those that each condition also has.

    Returns:
        The clean condition first, those of the suite, those of the texts; then all with
        each lesion. And those of the suite that do not apply.

    Raises:
        ValueError: an unknown suite or lesion, a text that cannot be read or does not
            apply, a suite of which nothing applies, or two conditions of one name.
    """
    for name in lesions:
        check_known("lesion", name, LESIONS, error=ValueError)
    intact = [CLEAN]
    skipped = list[Skipped]()
    with closing(make(task.environment, task.arguments)) as env:
        if suite is not None:
            of_suite, skipped = _of_suite(env, task, suite)
            intact += of_suite
        for text in dict.fromkeys(texts):
            if text == STANDARD or is_suite(text):
                raise ValueError(f"{text} is a suite: --suite {text}")
            if reason := reason_against(env, text, horizon=task.horizon):
                raise ValueError(f"{task.environment} with {text!r}: {reason}")
            if text not in [condition.text for condition in intact]:
                intact.append(perturbed(text, text, text))
    for first, second in itertools.combinations(intact, 2):
        if first.key == second.key:
            raise ValueError(
                f"{_described(first)} and {_described(second)} would both be called "
                f"{first.key!r}: rename one in its suite"
            )
    there = {(condition.intact, condition.lesion) for condition in intact}
    lesioned = [
        replace(condition, key=f"{condition.key} [{lesion}]", lesion=lesion)
        for lesion in dict.fromkeys(lesions)
        for condition in intact
        if condition.lesion is None and (condition.intact, lesion) not in there
    ]
    return intact + lesioned, skipped


def _described(condition: Condition) -> str:
    return repr(condition.text) if condition.text else "the clean task"


def _of_suite(
    env: gym.Env, task: Task, suite: str
) -> tuple[list[Condition], list[Skipped]]:
    """The conditions of a suite, but for the clean one, that apply, and those that do
    not.
    """
    applying = list[Condition]()
    skipped = list[Skipped]()
    every = _standard(task) if suite == STANDARD else _on_file(task, suite)
    for condition in every:
        reason = ""
        if condition.text:
            reason = reason_against(env, condition.text, horizon=task.horizon)
        if reason:
            skipped.append(Skipped(condition.key, policy=None, reason=reason))
        else:
            applying.append(condition)
    if not applying:
        reason = skipped[0].reason if skipped else "it has no conditions"
        raise ValueError(
            f"nothing of the suite {suite} applies to {task.environment}: {reason}"
        )
    return applying, skipped


def _standard(task: Task) -> list[Condition]:
    """The standard suite, whose noise is an argument of the task where it has one."""
    conditions = list(STANDARD_CONDITIONS[1:])
    if "noise" in task.arguments:
        return conditions
    return [
        replace(condition, text=f"obs_noise={condition.noise}", noise=0.0)
        if condition.noise
        else condition
        for condition in conditions
    ]


def _on_file(task: Task, suite: str) -> list[Condition]:
    """A suite of a file."""
    if not is_suite(suite):
        check_known("suite", suite, [STANDARD, *suite_names()], error=ValueError)
    conditions = []
    for one in load_suite(suite, task.environment, task.horizon):
        key = one.name if one.severity is None else f"{one.name} {one.severity:g}"
        conditions.append(perturbed(key, one.name, one.text, one.severity, one.split))
    return conditions


def choose(conditions: Sequence[Condition], names: Sequence[str]) -> list[Condition]:
    """The conditions that are named, and what they are compared with: the same without
    the lesion, and the clean condition, with the lesion and without.

    Args:
        conditions: to choose from.
        names: keys, labels or texts.

    Raises:
        ValueError: an unknown name; the message has the nearest one.
    """
    known = dict.fromkeys([c.key for c in conditions] + [c.label for c in conditions])
    texts = [c.text for c in conditions]
    for name in names:
        if name not in texts:
            check_known("condition", name, known, error=ValueError)
    kept: set[tuple[str, str | None]] = {(CLEAN_KEY, None)}
    for condition in conditions:
        known_as = {condition.key, condition.intact, condition.label, condition.text}
        if known_as.intersection(names):
            kept.add((condition.intact, condition.lesion))
            kept.add((condition.intact, None))
            kept.add((CLEAN_KEY, condition.lesion))
    return [c for c in conditions if (c.intact, c.lesion) in kept]


def severest(conditions: Sequence[Condition]) -> list[Condition]:
    """The severest condition of each label, with each lesion and without."""
    last = {}
    for condition in sorted(conditions, key=lambda c: c.severity or 0.0):
        last[condition.label, condition.lesion] = condition
    return [c for c in conditions if last[c.label, c.lesion] is c]
