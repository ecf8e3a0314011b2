"""What a family of perturbations is, a value from harmless to hardest and hooks; all,
by name.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

Hook = Callable[[Any, float, "Bound"], Any]
Need = tuple[Callable[[Any], Any], str]
"""Whether a task has what a family needs, and what is said of one that has not."""


@dataclass(frozen=True)
class Family:
    """One family of perturbations.

    Severity runs from 0 (nothing changes) to 1. It is linear in the physical value, on
    each side of the nominal one: severity 1 is `hardest` on one side and, where the
    family works both ways, `other` on the other.

    Hooks do the work. They get what they change, the value now, and the `Bound` that
    holds target, random numbers and memory. `observe` and `act` are called at every
    step, also while nothing is to change, so that draws and memories do not depend on
    the schedule; what they return is dropped at the nominal value.

    Attributes:
        name: as it is written in a text.
        group: sensing, acting, body, world or task.
        summary: one sentence for tables.
        unit: of the value.
        nominal: value at which nothing changes.
        hardest: value of severity 1.
        other: the value of severity 1 on the other side of `nominal`; None: no values
            there.
        whole: values are whole numbers; severities between two of them round away from
            nominal.
        unbounded: perturbed observations respect no bounds, so the observation space
            has none.
        scaled_by_spread: its values are in units of the spread of each dimension
            observed.
        contexts: its targets are `Contexts`, of which an episode has one or several;
            the value is the share of their channels that is changed.
        constants: MuJoCo has to recompute the constants that derive from an edited
            model.
        needs: what a task must have, asked in this order, so that it can change
            anything there. The task is unwrapped; for sensing and acting it is the
            environment that the wrapper sees, whose spaces count.
        targets: from the same to what may be targeted, by name; None: it acts on the
            whole.
        default: the target where none is named; None: the first.
        observe: (observation, value, bound) -> observation of the same shape and dtype.
        act: (action, value, bound) -> action; it is clipped to the action space
            afterwards. Written as `OfRows`, both act on many environments in one
            call.
        edit_spec: (MjSpec, value, bound); the result is compiled.
        edit_model: (MjModel, value, bound); the model is nominal before.
        edit_task: (task, value, bound); once after each reset, and whenever the value
            changes. With the nominal value it undoes itself, and forgets what it found.
        each_step: (task, value, bound); before every step.
        add_to_spec: (MjSpec, value, bound); once, with the nominal value, for what no
            model of the same size can hold.
    """

    name: str
    group: str
    summary: str
    unit: str
    nominal: float
    hardest: float
    other: float | None = None
    whole: bool = False
    unbounded: bool = False
    scaled_by_spread: bool = False
    contexts: bool = False
    constants: bool = False
    needs: tuple[Need, ...] = ()
    targets: Callable[[Any], Mapping[str, Any]] | None = None
    default: str | None = None
    observe: Hook | None = None
    act: Hook | None = None
    edit_spec: Hook | None = None
    edit_model: Hook | None = None
    edit_task: Hook | None = None
    each_step: Hook | None = None
    add_to_spec: Hook | None = None

    @property
    def bounds(self) -> tuple[float, float]:
        """The least and the greatest value."""
        ends = (self.nominal if self.other is None else self.other, self.hardest)
        return min(ends), max(ends)

    def reason_against(self, task: Any) -> str | None:
        """Why it could change nothing in a task, as `needs` has it; None where it
        can.
        """
        return next((reason for has, reason in self.needs if not has(task)), None)

    def targets_in(self, task: Any) -> Mapping[str, Any]:
        """What may be targeted in a task, by name; empty where it acts on the whole."""
        return {} if self.targets is None else self.targets(task)

    def value(self, severity: float) -> float:
        """The value of a severity in [0, 1], on the side of `hardest`."""
        return self.scaled(self.hardest, severity)

    def scaled(self, value: float, strength: float) -> float:
        """The value on the way from nominal to another one.

        Args:
            value: where the way ends.
            strength: fraction of the way, in [0, 1].

        Returns:
            The value, a whole number where the family's values are `whole`.
        """
        if strength == 1:
            return value
        step = (value - self.nominal) * strength
        if self.whole:
            step = math.copysign(math.ceil(abs(step)), step)
        return self.nominal + step

    def severity(self, value: float) -> float:
        """The severity in [0, 1] of a value. Raises ValueError where that is out of
        range.
        """
        low, high = self.bounds
        if not low <= value <= high:
            range_ = f"[{low:g}, {high:g}] ({self.unit})"
            raise ValueError(f"{self.name} must be in {range_}, got {value:g}")
        if self.whole and value != int(value):
            raise ValueError(
                f"{self.name} must be a whole number ({self.unit}), got {value:g}"
            )
        if value == self.nominal:
            return 0.0
        towards_hardest = (value > self.nominal) == (self.hardest > self.nominal)
        end = self.hardest if towards_hardest or self.other is None else self.other
        return (value - self.nominal) / (end - self.nominal)


@dataclass(frozen=True)
class OfRows:
    """A hook `observe` or `act` that is written for many environments at once; of one,
    it is called as any other hook is.

    Attributes:
        rows: (values [environments, ...], of the perturbation [environments, 1 ...],
            bounds, one for each environment) -> values [environments, ...]. The
            perturbations are one family's, with one target.
    """

    rows: Callable[[np.ndarray, np.ndarray, Sequence["Bound"]], np.ndarray]

    def __call__(self, values: np.ndarray, value: float, bound: "Bound") -> np.ndarray:
        """The hook of one environment."""
        values = np.asarray(values)
        column = np.full((1,) * (values.ndim + 1), float(value))
        changed: np.ndarray = self.rows(values[None], column, [bound])[0]
        return changed


@dataclass
class Bound:
    """What a hook knows: its target, its random numbers, the time, and what it kept.

    Attributes:
        target: what `Family.targets` has for the named target; None where there are
            none.
        spread: natural standard deviation of each dimension of the observation,
            broadcastable.
        space: the space that the hook's observation or action is in.
        random: a generator of its own.
        clock: int64 [1], environment steps since the episode began; of all
            perturbations of an environment.
        posture: the joint positions (qpos) at the onset; None where the task has no
            model.
        kept: what the hook wants to keep until the episode ends.
    """

    target: Any = None
    spread: Any = 1.0
    space: Any = None
    random: np.random.Generator = field(default_factory=np.random.default_rng)
    clock: np.ndarray = field(default_factory=lambda: np.zeros(1, dtype=np.int64))
    posture: np.ndarray | None = None
    kept: dict[str, Any] = field(default_factory=dict)

    @property
    def time(self) -> int:
        """Environment steps since the episode began."""
        return int(self.clock[0])


CATALOGUE: dict[str, Family] = {}
"""All families by name."""


def register(family: Family) -> None:
    """Adds a family of your own, so that texts may name it and `verify` proves it.
    Raises ValueError where its name cannot be written in a text, or is taken.
    """
    if not family.name.isidentifier():
        raise ValueError(
            "a perturbation's name has letters, digits and underscores only, not "
            f"{family.name!r}"
        )
    if CATALOGUE.get(family.name, family) is not family:
        raise ValueError(
            f"there is a perturbation {family.name} already; take another name"
        )
    CATALOGUE[family.name] = family
