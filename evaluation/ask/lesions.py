"""Lesions: what takes a part of a policy's plasticity away, by its state, its weights
untouched. A policy without the part that a lesion takes away (a static network) does
exactly what it did before.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:  # PyTorch takes its time to load, and a report only needs the words
    from spikepropamine.policies.state import StateLayout

Infos = Mapping[int, Mapping[str, Any]]


class Hook:
    """Told of every step of a wave of episodes, which are the rows of one batch.

    `state` is what `predict` takes and returns; `starts`, bool [width], tells it which
    rows start an episode. The methods of this class do nothing.
    """

    def before(self, step: int, state: Any, starts: np.ndarray, infos: Infos) -> None:
        """Before the policy acts; may change state and starts in place.

        Args:
            step: of the episode, from 0.
            state: of the policy.
            starts: which rows start an episode.
            infos: what the environments of the running rows said last.
        """

    def after(
        self, step: int, state: Any, running: Sequence[int], over: Sequence[int]
    ) -> None:
        """After a step.

        Args:
            step: of the episode, from 0.
            state: of the policy.
            running: rows that took the step.
            over: those of them that ended their episode.
        """


ByRow = dict[int, list[dict[str, np.ndarray]]]  # at each step, fields of the state
# Seeds of the episodes before: far from all others, and a multiple of any width of a
# batch
EPISODE_BEFORE = 100_000_000


@dataclass(frozen=True)
class Wave:
    """The episodes of one batch, which a lesion is made for."""

    layout: "StateLayout"  # of the policy's state
    seeds: Sequence[int]  # of the episodes; an episode has row `seed % width`
    width: int  # of the batch
    freeze_at: int = (
        0  # the step from which on "frozen" leaves fast weights as they are
    )
    # runs the intact policy in the same condition, with seeds, a hook, and options for
    # the reset
    run_intact: Callable[..., Any] | None = None
    has_contexts: bool = False  # whether the condition has contexts


@dataclass(frozen=True)
class Lesion:
    """One way of taking plasticity away."""

    name: str
    words: str  # what a reader is told instead of the name
    sentence: str  # what it does
    hook: Callable[[Wave], Hook]  # makes it for a wave of episodes
    # episodes that are run for each one that is lesioned; a video can show it where
    # that is one
    cost: int = 1


def layout_of(policy: Any) -> "StateLayout | None":
    """The layout of a spiking policy's state; None of any other."""
    inner = getattr(policy, "policy", policy)
    layout: StateLayout | None = getattr(inner, "layout", None)
    if layout is None or "plasticity_off" not in layout.shapes:
        return None
    return layout


def fields_of(layout: "StateLayout", kind: str) -> list[str]:
    """Names of the fields of a kind, one for each layer that has it.

    Args:
        layout: of a policy's state.
        kind: of the fields, such as "fast_weights".
    """
    return [name for name in layout.shapes if name.endswith(f".{kind}")]


def is_plastic(policy: Any) -> bool:
    """Whether the policy has fast weights, which a lesion could take away."""
    layout = layout_of(policy)
    return layout is not None and bool(fields_of(layout, "fast_weights"))


@dataclass
class PlasticityOff(Hook):
    """From a step on fast weights do not change: from the first one on, they stay zero.

    With `at_change`, a row whose context changes before that step is frozen where it
    does.
    """

    layout: "StateLayout"
    step: int
    at_change: bool = False

    def before(self, step: int, state: Any, starts: np.ndarray, infos: Infos) -> None:
        """Sets the flag, which stays; see `Hook`."""
        flag = self.layout.get(state[0], "plasticity_off")
        if step == self.step:
            flag[...] = 1.0
        if self.at_change:
            for row, info in infos.items():
                if 0 < info.get("context_began", 0) <= step:
                    flag[0, row] = 1.0


@dataclass
class Record(Hook):
    """Keeps the fields of these kinds after each step of a row, or only `at_end` of its
    episode.
    """

    layout: "StateLayout"
    kinds: tuple[str, ...]
    at_end: bool = False
    kept: ByRow = field(default_factory=dict)

    def after(
        self, step: int, state: Any, running: Sequence[int], over: Sequence[int]
    ) -> None:
        """Keeps the fields of the rows.

        Args:
            step: the environment step, from 0 on.
            state: of the policy, after the step.
            running: rows whose episodes go on.
            over: rows whose episodes end with this step.
        """
        names = [name for kind in self.kinds for name in fields_of(self.layout, kind)]
        now = {name: self.layout.get(state[0], name)[0] for name in names}
        rows = over if self.at_end else running
        for row in rows:
            fields = {name: field[row].copy() for name, field in now.items()}
            self.kept.setdefault(row, []).append(fields)


@dataclass
class Replay(Hook):
    """Sets the fields that were kept, under a flag of the state: at each step those of
    one step, from the first one again where there are no more; or only at the `start`
    of the episode.
    """

    layout: "StateLayout"
    kept: ByRow
    flag: str
    value: float
    start: bool = False

    def before(self, step: int, state: Any, starts: np.ndarray, infos: Infos) -> None:
        """Sets the values of the step; see `Hook`."""
        if self.start:
            if step:
                return
            starts[...] = False  # a start would zero what is set
        self.layout.get(state[0], self.flag)[...] = self.value
        for row, steps in self.kept.items():
            for name, value in steps[step % len(steps)].items():
                self.layout.get(state[0], name)[0, row] = value


def _modulator_shuffled(wave: Wave) -> Hook:
    assert wave.run_intact is not None
    record = Record(wave.layout, ("modulation",))
    wave.run_intact(wave.seeds, record)
    for seed in wave.seeds:
        steps = record.kept[seed % wave.width]
        order = np.random.default_rng(seed).permutation(len(steps))
        record.kept[seed % wave.width] = [steps[step] for step in order]
    return Replay(wave.layout, record.kept, "modulator_held", 1.0)


def _carry_over(wave: Wave, held: bool = False) -> Hook:
    """Episodes start with these fast weights, which change from there, or are `held`;
    and with the means that scale those of `bcpnn`.
    """
    assert wave.run_intact is not None
    ends = Record(wave.layout, ("fast_weights", "pre_mean", "post_mean"), at_end=True)
    if wave.has_contexts:
        wave.run_intact(wave.seeds, ends, options={"context": "opposite"})
    else:
        wave.run_intact([seed + EPISODE_BEFORE for seed in wave.seeds], ends)
    return Replay(wave.layout, ends.kept, "plasticity_off", float(held), start=True)


OF_ANOTHER = "where there are contexts, of the same episode in the opposite context"
LESIONS = {
    lesion.name: lesion
    for lesion in (
        Lesion(
            "off",
            "plasticity off",
            "fast weights are held at zero",
            lambda wave: PlasticityOff(wave.layout, 0),
        ),
        Lesion(
            "frozen",
            "fast weights frozen",
            "fast weights stay as they are from the onset of the perturbation on, or "
            "from the first change of the context; half-way through the episode where "
            "neither comes before",
            lambda wave: PlasticityOff(wave.layout, wave.freeze_at, at_change=True),
        ),
        Lesion(
            "modulator-shuffled",
            "neuromodulator shuffled in time",
            "the neuromodulators of the same episode, in a random order of steps",
            _modulator_shuffled,
            cost=2,
        ),
        Lesion(
            "carry-over",
            "fast weights of another episode",
            "fast weights start from the end of another episode instead of zero; "
            f"{OF_ANOTHER}",
            _carry_over,
            cost=2,
        ),
        Lesion(
            "carry-over-frozen",
            "fast weights of another episode, frozen",
            "fast weights are held at what another episode ended with; " + OF_ANOTHER,
            partial(_carry_over, held=True),
            cost=2,
        ),
    )
}
"""By name."""
