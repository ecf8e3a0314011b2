"""The conditions that a policy is evaluated in: each changes the task, or the policy's state."""

import inspect
import itertools
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
from spikepropamine.envs.perturbations.notation import is_suite, load_suite, suite_names
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
    # steps over which reward rates are averaged: a trial, or else a twentieth of the horizon
    window: int
    simulated: bool  # whether MuJoCo runs it, which takes more time than most policies
    can_stand_still: bool  # whether an action of zeros means that nothing is done
    # the least and the most that an episode can return, where it says so
    return_range: tuple[float, float] | None = None


def task_of(
    environment: str, arguments: Mapping[str, Any], horizon_factor: int = 1
) -> Task:
    """The task without perturbations, noise and help, with episodes `horizon_factor` times as long.
    Raises ValueError: the environment cannot be made, or its episodes cannot be made longer.
    """
    arguments = plain_arguments(environment, arguments)
    env = make(environment, arguments)
    limit = env.spec.max_episode_steps if env.spec else None
    own_limit, simulated = horizon_of(env), is_mujoco(env)
    names = ("episode_steps", "trials", "trial_steps", "actions", "return_range")
    own_steps, trials, trial_steps, answers, earned = (
        task_attribute(env, name) for name in names
    )
    env.close()
    horizon = (ENDLESS if own_limit is None else own_limit) * horizon_factor
    if own_steps is None and horizon != limit:
        arguments["max_episode_steps"] = horizon
    elif (
        horizon_factor > 1
        and "trials" not in inspect.signature(type(env.unwrapped)).parameters
    ):
        why = f"{environment} has neither a time limit nor an argument `trials` to multiply"
        raise ValueError(f"{why}; leave --horizon-factor out")
    elif horizon_factor > 1:
        arguments["trials"] = trials * horizon_factor
        if limit is not None:
            arguments["max_episode_steps"] = limit * horizon_factor
    if not isinstance(answers, int):  # other people's tasks call other things so
        answers = getattr(env.action_space, "n", None)
    return Task(
        environment,
        arguments,
        horizon,
        own_limit is not None,
        None if answers is None or own_steps is None else 1 / int(answers),
        trial_steps or max(1, horizon // 20),
        simulated,
        isinstance(env.action_space, gym.spaces.Box),
        earned and (horizon_factor * earned[0], horizon_factor * earned[1]),
    )


STANDARD = "standard"


@dataclass(frozen=True)
class Skipped:
    """What was left out, and why; `policy` is None where it concerns all of them."""

    condition: str
    policy: str | None
    reason: str


@dataclass(frozen=True)
class Condition:
    """What an episode has that the plain one has not; `evaluation.json` has the same fields."""

    key: str  # its name in results, safe to show; `CLEAN_KEY` where nothing is changed
    label: str  # name without severity and lesion; conditions of one label make a severity curve
    intact: str  # key of the same condition without the lesion; its own key where there is none
    text: str = ""  # of the perturbation; "" for none
    severity: float | None = (
        None  # in [0, 1]; None where the text has a value of its own
    )
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
        """The step at which fast weights are frozen at the latest, where the lesion does that: at
        a change of context before it they are frozen then.
        """
        return horizon // 2 if self.last_onset is None else self.last_onset

    def name(self, severity: bool = True, onset: bool = True) -> str:
        """Without its lesion, for example "heavier, severity 0.5, from step 500"."""
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
    """The condition of a text."""
    onset = min((term.schedule.onset for term in terms_of(text)), default=0) or None
    begins = [
        min(
            s.changes[0][1] if s.changes else s.onset
            for s in (term.schedule for term in terms)
        )
        for terms in parse(text)
        if terms
    ]
    last = None if onset is None else max(begins, default=onset)
    return Condition(key, label, key, text, severity, split, onset, last)


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
    """The task in a condition, with `previous` and `revealed` as `envs.making.make` has them.

    With `told` the contexts of the condition are undone by someone who knows them. Raises
    ValueError: the environment cannot be made so; the message says why.
    """
    arguments, text = dict(task.arguments), condition.text or None
    if condition.noise:
        arguments["noise"] = condition.noise
    if not told:
        return make(task.environment, arguments, text, previous, revealed)
    env = translated(make(task.environment, arguments, text))
    return PreviousActionAndReward(env) if previous else env


def conditions_of(
    task: Task, suite: str | None, texts: Sequence[str], lesions: Sequence[str]
) -> tuple[list[Condition], list[Skipped]]:
    """The clean condition first, those of a suite ("standard", or one of `configs/suites/`), those
    of single texts; then all with each lesion. And those of the suite that do not apply. Raises
    ValueError: an unknown suite or lesion, a text that cannot be read or does not apply, a suite of
    which nothing applies, or two conditions of one name.
    """
    for name in lesions:
        check_known("lesion", name, LESIONS, error=ValueError)
    with closing(make(task.environment, task.arguments)) as env:
        found, skipped = _of_suite(env, task, suite) if suite is not None else ([], [])
        found = [CLEAN, *found]
        for text in dict.fromkeys(texts):
            if text == STANDARD or is_suite(text):
                raise ValueError(f"{text} is a suite: --suite {text}")
            if reason := reason_against(env, text, horizon=task.horizon):
                raise ValueError(f"{task.environment} with {text!r}: {reason}")
            if text not in [condition.text for condition in found]:
                found.append(perturbed(text, text, text))
    for first, second in itertools.combinations(found, 2):
        if first.key == second.key:
            one, other = (
                repr(c.text) if c.text else "the clean task" for c in (first, second)
            )
            both = f"{one} and {other} would both be called {first.key!r}"
            raise ValueError(f"{both}: rename one in its suite")
    there = {(condition.intact, condition.lesion) for condition in found}
    lesioned = [
        replace(condition, key=f"{condition.key} [{lesion}]", lesion=lesion)
        for lesion in dict.fromkeys(lesions)
        for condition in found
        if condition.lesion is None and (condition.intact, lesion) not in there
    ]
    return found + lesioned, skipped


def _of_suite(
    env: gym.Env, task: Task, suite: str
) -> tuple[list[Condition], list[Skipped]]:
    """The conditions of a suite, but for the clean one, that apply, and those that do not."""
    if suite == STANDARD:
        asked = list(STANDARD_CONDITIONS[1:])
        if "noise" not in task.arguments:  # of its own
            noisy = [f"obs_noise={c.noise}" if c.noise else c.text for c in asked]
            asked = [replace(c, text=text, noise=0.0) for c, text in zip(asked, noisy)]
    else:
        if not is_suite(suite):
            check_known("suite", suite, [STANDARD, *suite_names()], error=ValueError)
        asked = []
        for one in load_suite(suite, task.environment, task.horizon):
            key = one.name if one.severity is None else f"{one.name} {one.severity:g}"
            asked.append(perturbed(key, one.name, one.text, one.severity, one.split))
    found, skipped = [], []
    for condition in asked:
        text = condition.text
        if reason := reason_against(env, text, horizon=task.horizon) if text else "":
            skipped.append(Skipped(condition=condition.key, policy=None, reason=reason))
        else:
            found.append(condition)
    if not found:
        raise ValueError(
            f"nothing of the suite {suite} applies to {task.environment}: "
            f"{skipped[0].reason if skipped else 'it has no conditions'}"
        )
    return found, skipped


def choose(conditions: Sequence[Condition], names: Sequence[str]) -> list[Condition]:
    """Those whose key, label or text is among the names; and what they are compared with: the same
    without the lesion, and the clean condition, with the lesion and without. Raises ValueError: an
    unknown name; the message has the nearest one.
    """
    known = dict.fromkeys([c.key for c in conditions] + [c.label for c in conditions])
    for name in names:
        if name not in [c.text for c in conditions]:
            check_known("condition", name, known, error=ValueError)
    named = [c for c in conditions if {c.key, c.intact, c.label, c.text} & set(names)]
    kept = {(CLEAN_KEY, None)} | {(c.intact, c.lesion) for c in named}
    kept |= {(c.intact, None) for c in named} | {(CLEAN_KEY, c.lesion) for c in named}
    return [c for c in conditions if (c.intact, c.lesion) in kept]


def severest(conditions: Sequence[Condition]) -> list[Condition]:
    """Of each label, with each lesion and without, the condition of the greatest severity."""
    last = {
        (c.label, c.lesion): c
        for c in sorted(conditions, key=lambda c: c.severity or 0.0)
    }
    return [c for c in conditions if last[c.label, c.lesion] is c]
