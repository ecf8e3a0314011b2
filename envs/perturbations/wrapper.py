"""The wrapper that perturbs an environment as a text says."""

import itertools
import math
import zlib
from collections import Counter
from collections.abc import Callable
from functools import partial
from typing import Any

import gymnasium as gym
import numpy as np

from spikepropamine.envs.perturbations.acts import (
    Act,
    ContextAct,
    act_of,
    by_label,
    present,
    undone,
)
from spikepropamine.envs.perturbations.notation import parse
from spikepropamine.envs.task import ResetResult, StepResult, task_attribute


class Perturbed(gym.Wrapper, gym.utils.RecordConstructorArgs):
    """Perturbs any environment: `Perturbed(env, "mass:torso=1.5 + obs_noise=0.2@500")`.

    The notation is that of `perturbations.parse`, the families are those of
    `CATALOGUE`.

    Every `info` has "perturbations": for each term that acts in this episode its label,
    with "severity" (0 to 1) and "value" (in the family's unit) at this step. Where the
    text has contexts, or the task has one of its own, it also has "context" (their
    numbers), "contexts" (the same by label, the task's own by "task") and
    "context_began" (the step at which the present one did).

    Randomness: each term has a generator of its own, a child of the seed of `reset`.
    The task draws what it draws without the wrapper, so equal seeds are equal tasks
    under every perturbation; and the same noise, up to its size, at every severity.

    Spaces: those of the environment; but where a family is `unbounded`, as noise of the
    sensors is, the observation space has no bounds. Perturbed actions are clipped to
    the action space.

    There is one in a stack of wrappers: two texts are joined to one.

    Args:
        env: the environment.
        text: what to change.
        spread: natural standard deviation of each dimension of the observation, at
            least 0: an array that broadcasts to its shape, or one number for all.

    Raises:
        ValueError: the text cannot be read, a target is unknown, a value out of range,
            a perturbation could change nothing in this environment, or this is
            perturbed already.
    """

    def __init__(
        self, env: gym.Env, text: str, spread: np.ndarray | float = 1.0
    ) -> None:
        plain = np.asarray(spread).tolist()  # which a spec can be written with
        gym.utils.RecordConstructorArgs.__init__(self, text=text, spread=plain)
        gym.Wrapper.__init__(self, env)
        self.text = text
        while isinstance(env, gym.Wrapper):
            if isinstance(env, Perturbed):
                joined = "mass=1.5 + obs_noise=0.2"
                raise ValueError(
                    f"perturbed by {env.text!r} already: join both, as {joined!r}"
                )
            env = env.env
        self._task: Any = env
        alternatives = parse(text)
        self._alternatives = len(alternatives)
        spread = _checked_spread(spread, self.env.observation_space)
        self._acts = [
            act_of(self.env, term, number, spread)
            for number, alternative in enumerate(alternatives)
            for term in alternative
        ]
        if any(act.family.unbounded for act in self._acts):
            space: Any = self.env.observation_space
            self.observation_space = gym.spaces.Box(
                -np.inf, np.inf, space.shape, space.dtype.type
            )
        acting = [act for act in self._acts if act.ever_acts]
        self._stepping = [act for act in acting if act.family.each_step]
        self._editing = [
            act for act in acting if act.family.edit_model or act.family.edit_spec
        ]
        self._asking = [act for act in acting if act.family.edit_task]
        self._contexts = by_label(
            [act for act in self._acts if isinstance(act, ContextAct)]
        )
        self._model: Any = None
        if self._editing:
            from spikepropamine.envs.perturbations.model import EditableModel

            adding = [act for act in acting if act.family.add_to_spec]
            additions = [partial(act.hook, "add_to_spec") for act in adding]
            self._model = EditableModel(self._task, additions)
        self._choice = np.random.default_rng()
        self.edited = False  # whether the last step edited the task
        # called when other acts, or other values, hold from now on
        self.when_changed: Callable[[], None] | None = None
        self.count_in(np.zeros(1, dtype=np.int64))
        self._started = False
        self._find_live()

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> ResetResult:
        """Starts an episode.

        Args:
            seed: of the environment and of all perturbations.
            options: the environment's. Where the text has contexts, "context" may be
                the code of the one that holds for the whole episode, or a list with one
                for each of them; or "opposite": then the opposites of those that the
                episode would have begun with.

        Returns:
            The observation and the info.

        Raises:
            ValueError: a context does not exist.
        """
        if seed is not None:
            self._choice = _child(seed, "choice")
            seen: Counter[str] = Counter()  # of one label in several alternatives
            for act in self._acts:
                label = act.term.label
                seen[label] += 1
                act.bound.random = _child(seed, f"{label} {seen[label]}")
        forced: list[int | str] = []
        if self._contexts and options and "context" in options:
            options = dict(options)
            forced = self._codes(options.pop("context"))
            options = options or None
        self._undo_task()
        self._clock[0] = 0
        self.edited = False
        chosen = int(self._choice.random() * self._alternatives)
        posture = getattr(self._task, "init_qpos", None)
        for act in self._acts:
            act.begin(chosen, posture)
        for acts, code in zip(self._contexts.values(), forced):
            present(acts).hold(code)
        self._edit_model(start=True)
        observation, info = self.env.reset(seed=seed, options=options)
        self._started = True
        observation = self._edit_task(observation, info, start=True)
        self._find_live()
        return self._observe(observation), self._with_values(info)

    def step(self, action: Any) -> StepResult:
        """Take one step under the perturbations."""
        self.reach_in()
        action = self._act(action) if self._acting else action
        observation, reward, terminated, truncated, info = self.env.step(action)
        self._clock += 1
        observation = self._observe(self.move_on(observation, info))
        return observation, reward, terminated, truncated, self._with_values(info)

    @property
    def edits_model(self) -> bool:
        """Whether it may edit the model of a simulation."""
        return bool(self._editing)

    @property
    def reads_posture(self) -> bool:
        """Whether a change within this episode may depend on the posture."""
        return self._reads_posture

    @property
    def reaches_in(self) -> bool:
        """Whether it reads or writes a simulation's data at every step."""
        return bool(self._stepping)

    def count_in(self, clock: np.ndarray) -> None:
        """Counts the steps of an episode in somebody's array, int64 [1], from now on;
        `step` counts them, and whoever does a step in parts counts himself.
        """
        self._clock = clock
        for act in self._acts:
            act.bound.clock = clock

    @property
    def live(self) -> list[Act]:
        """What has anything to do in this episode, in the order in which it acts."""
        return self._live

    @property
    def next_move(self) -> float:
        """The step of this episode at which `move_on` has something to do again, `inf`
        where there is none.
        """
        return 0 if self._stepping else self._next_change

    def reach_in(self) -> None:
        """Before a step: makes the simulation's data as they are to be in it."""
        for act in self._stepping:
            act.hook("each_step", self._task)

    def move_on(self, observation: Any, info: dict[str, Any]) -> Any:
        """When the environment has taken its step and the clock has counted it: edits
        the task and the model as they are to be now.

        Args:
            observation: of the environment.
            info: of the environment, which a task that is asked again may change.

        Returns:
            The observation of the task as it now is, which the sensors have yet to
            perturb.
        """
        if self._stepping:
            # so that forces of several add up, in one step
            self._task.data.xfrc_applied[:] = 0
        self.edited = False
        time = int(self._clock[0])
        if time < self._next_change:
            return observation
        moved = [act.move_to(time, self._task) for act in self._moving]
        self._find_next_change()
        if any(moved):
            self.edited = any(act.changed for act in [*self._editing, *self._asking])
            observation = self._edit_task(observation, info)
            self._edit_model()
            if any(act.changed and act.family.edit_spec for act in self._editing):
                self._model.find_places()
            self._show()
        return observation

    @property
    def context(self) -> list[int]:
        """The present context: the task's own, where it has one, then the text's, by
        label.
        """
        return [number for numbers in self.contexts.values() for number in numbers]

    @property
    def contexts(self) -> dict[str, list[int]]:
        """The same by label, the task's own by "task": none where what has that name is
        none.
        """
        context = task_attribute(self._task, "context")
        of_task: Any = context if isinstance(context, list | tuple | np.ndarray) else []
        whole = all(isinstance(number, int | np.integer) for number in of_task)
        return {
            "task": [int(number) for number in of_task] if whole else [],
            **self._numbers,
        }

    @property
    def context_began(self) -> int:
        """The step of the episode at which the present context began."""
        return max(task_attribute(self._task, "context_began"), self._began)

    @property
    def contexts_begin(self) -> list[int]:
        """The steps at which contexts of the text begin in the present episode, rising
        from 0, whether or not it lasts so long; empty where the text has none.
        """
        there = [present(acts) for acts in self._contexts.values()]
        return sorted({step for act in there for step in act.begins})

    def in_context(self, action: np.ndarray) -> np.ndarray:
        """The action that arrives in the task, in its present context, as this one
        would in the plain task: what a policy would do that knew the context. Only
        contexts are undone.
        """
        return undone(self._acting, np.asarray(action))

    def out_of_context(self, observation: np.ndarray) -> np.ndarray:
        """The observation as it would be without the present contexts of its
        sensors.
        """
        return undone(self._observing, observation)

    def undo(self) -> None:
        """Undo what was changed; the environment below can then go on without this
        wrapper.
        """
        self._undo_task()
        if self._model is not None:
            self._model.restore()

    def close(self) -> None:
        """Undo what was changed, and close the environment."""
        self.undo()
        super().close()

    def __reduce__(self) -> Any:
        # a copy of one of Gymnasium's simulated tasks is a new one, which no edit has
        # reached
        raise TypeError("a perturbed environment cannot be copied; make another one")

    def _observe(self, observation: Any) -> Any:
        for act in self._observing:
            observed = act.hook("observe", observation)
            if act.now:
                observation = observed
        return observation

    def _act(self, action: Any) -> Any:
        may_leave_bounds = False
        action = np.asarray(action)
        for act in self._acting:
            acted = act.hook("act", action)
            if act.now:
                action = acted
                may_leave_bounds |= not act.family.contexts
        if not may_leave_bounds:
            return action
        space: Any = self.env.action_space
        return np.clip(action, space.low, space.high).astype(space.dtype)

    def _edit_model(self, start: bool = False) -> None:
        changed = start or any(act.changed for act in self._editing)
        if not self._editing or not changed:
            return
        now = [act for act in self._editing if act.now]
        self._model.apply(
            [partial(act.hook, "edit_spec") for act in now if act.family.edit_spec],
            [partial(act.hook, "edit_model") for act in now if act.family.edit_model],
            constants=any(act.family.constants for act in now),
        )

    def _edit_task(
        self, observation: Any, info: dict[str, Any], start: bool = False
    ) -> Any:
        """Edit the task as it is to be at this step; the result is the observation,
        which tells what then holds.
        """
        edits = [act for act in self._asking if act.chosen and (start or act.changed)]
        for act in edits:
            act.hook("edit_task", self._task)
        if (
            edits
            and hasattr(self._task, "observe_again")
            and _observes_as_it_is(self.env)
        ):
            return self._task.observe_again(observation, info)
        return observation

    def _undo_task(self) -> None:
        if not self._started:
            return
        for act in reversed(self._asking):  # each gives back what was there before
            act.hook("edit_task", self._task, act.family.nominal)

    def _find_live(self) -> None:
        """Find which acts have anything to do in this episode, as it begins.

        Contexts that it does not have are left out; what draws or remembers does so at
        every step.
        """
        self._live = [
            act for act in self._acts if act.chosen or not act.family.contexts
        ]
        self._observing = [act for act in self._live if act.family.observe]
        self._acting = [act for act in self._live if act.family.act]
        time = int(self._clock[0])
        self._moving = [act for act in self._live if act.next_change(time) < math.inf]
        self._find_next_change()
        self._reads_posture = any(not act.family.contexts for act in self._moving)
        for act in self._acts:
            act.changed = False
        self._show()

    def _find_next_change(self) -> None:
        """Find when a value may be another."""
        time = int(self._clock[0])
        steps = [act.next_change(time) for act in self._moving]
        self._next_change = min(steps, default=math.inf)

    def _show(self) -> None:
        """Find what infos say until the next change."""
        self._shown = {
            act.term.label: {"severity": act.now, "value": act.value}
            for act in self._acts
            if act.chosen
        }
        there = {label: present(acts) for label, acts in self._contexts.items()}
        self._numbers = {
            label: [int(n) for n in act.context] for label, act in there.items()
        }
        self._began = max((act.began for act in there.values()), default=0)
        # a task's own context may change at any step
        self._task_has_context = any(
            hasattr(self._task, name) for name in ("context", "context_began")
        )
        if self.when_changed is not None:
            self.when_changed()

    def _with_values(self, info: dict[str, Any]) -> dict[str, Any]:
        """The info with what the class says that it has."""
        info = dict(info)
        self.tell(info)
        return info

    def tell(self, info: dict[str, Any]) -> None:
        """Adds to an info what the class says that it has; its values are new."""
        info["perturbations"] = {
            label: shown.copy() for label, shown in self._shown.items()
        }
        if not self._contexts and "context" not in info:
            return
        if self._task_has_context:
            info["context"] = self.context
            info["contexts"] = self.contexts
            info["context_began"] = self.context_began
        else:  # the same, in less time
            numbers = {label: x.copy() for label, x in self._numbers.items()}
            info["context"] = list(itertools.chain(*numbers.values()))
            info["contexts"] = {"task": [], **numbers}
            info["context_began"] = self._began

    def _codes(self, context: Any) -> list[int | str]:
        if isinstance(context, str) and context == "opposite":
            return [context] * len(self._contexts)
        codes = list(context) if np.ndim(context) else [context]
        one_each = len(codes) == len(self._contexts)
        if not one_each or any(code != int(code) for code in codes):
            labels = ", ".join(self._contexts)
            whole = f"whole numbers, the codes of {labels}"
            raise ValueError(f"options['context'] must be {whole}, got {context!r}")
        return [int(code) for code in codes]


def _observes_as_it_is(env: gym.Env) -> bool:
    """Whether no wrapper changes the observations of the task."""
    same = env.observation_space == env.unwrapped.observation_space
    while isinstance(env, gym.Wrapper):
        same &= not isinstance(env, gym.ObservationWrapper)
        env = env.env
    return same


def reason_against(env: gym.Env, text: str, horizon: int | None = None) -> str:
    """Why a text for `Perturbed`, or a part of it, cannot change an environment.

    Args:
        env: stays as it is.
        text: for `Perturbed`.
        horizon: the most steps of an episode; None: there is no limit.

    Returns:
        Empty where all of the text can change something; of several terms some may have
        the nominal value.
    """
    acts = []
    try:
        terms = itertools.chain.from_iterable(parse(text))
        for term in terms:
            acts.append(act_of(env, term, 0, np.ones(())))
            onset = term.schedule.onset
            if horizon is not None and onset >= horizon:
                return (
                    f"{term.label} begins at step {onset}, but episodes have {horizon} "
                    "steps"
                )
    except ValueError as error:
        return str(error)
    if any(act.ever_acts or act.family.contexts for act in acts):
        return ""
    if not acts:
        return f"{text!r} changes nothing"
    label = acts[0].term.label
    family = acts[0].family
    return (
        f"{text!r} changes nothing: there {label} is what it is anyway; its values go "
        f"from {family.nominal:g} to {family.hardest:g} ({family.unit}), as "
        f"{label}={family.hardest:g}"
    )


def _child(seed: int, name: str) -> np.random.Generator:
    # shares nothing with the stream that the task draws from, nor with those of other
    # names
    key = (1, zlib.crc32(name.encode()))
    return np.random.default_rng(np.random.SeedSequence(seed, spawn_key=key))


def _checked_spread(spread: np.ndarray | float, space: gym.Space) -> np.ndarray:
    array = np.asarray(spread, dtype=np.float64)
    if not (np.isfinite(array).all() and (array >= 0).all()):
        raise ValueError("spread must be finite and at least 0 in every dimension")
    try:
        if array.ndim:
            np.broadcast_to(array, space.shape or ())
    except ValueError as error:
        raise ValueError(
            f"spread {array.shape} and observations {space.shape} differ"
        ) from error
    return array
