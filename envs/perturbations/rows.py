"""The perturbations of several environments at once, on arrays of their actions and
observations: `PerturbedRows`.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from spikepropamine.envs.perturbations.acts import Act
from spikepropamine.envs.perturbations.catalogue import OfRows
from spikepropamine.envs.perturbations.wrapper import Perturbed

HookName = Literal["observe", "act"]


@dataclass
class _Column:
    """Acts of one family and target, of several environments.

    Attributes:
        acts: one for each of the environments.
        rows: int64 [acts], their places among all rows; None: every row has one.
        changed: bool [rows], where what the hook returns is taken.
    """

    acts: list[Act]
    rows: np.ndarray | None
    changed: np.ndarray

    def apply(self, name: HookName, values: np.ndarray) -> np.ndarray:
        """What values [rows, ...] become; the hook of every act is called."""
        chosen = values if self.rows is None else values[self.rows]
        hook: Any = getattr(self.acts[0].family, name)
        if isinstance(hook, OfRows):
            column = np.array([act.value for act in self.acts], dtype=np.float64)
            column = column.reshape(-1, *(1,) * (values.ndim - 1))
            made = hook.rows(chosen, column, [act.bound for act in self.acts])
        else:
            pairs = zip(self.acts, chosen)
            made = np.array([act.hook(name, row) for act, row in pairs])
        if self.rows is None and self.changed.all():
            return made
        result = values.astype(np.result_type(values, made))
        places = np.arange(len(values)) if self.rows is None else self.rows
        taken = self.changed[places]
        result[places[taken]] = made[taken]
        return result


class PerturbedRows:
    """Does for several environments what the wrapper of each does for its own: the same
    numbers, to the last bit, in fewer calls.

    Args:
        wrappers: one for each environment, with the same arguments but for their texts;
            none is in a task with a context of its own. What they wrap is stepped by
            somebody else.
    """

    def __init__(self, wrappers: Sequence[Perturbed]) -> None:
        self._wrappers = list(wrappers)
        self._clocks = np.zeros((len(self._wrappers), 1), dtype=np.int64)
        for wrapper, clock in zip(self._wrappers, self._clocks):
            wrapper.count_in(clock)
            wrapper.when_changed = self._forget
        self._planned: list[int] | None = None  # indices

    def before(self, indices: list[int], actions: np.ndarray) -> np.ndarray:
        """The first part of a step: the actions that arrive.

        Args:
            indices: of the environments, rising.
            actions: theirs, [indices, ...].
        """
        self._plan(indices)
        for wrapper in self._reaching:
            wrapper.reach_in()
        for column in self._acting:
            actions = column.apply("act", actions)
        if not self._clipped.any():
            return actions
        space: Any = self._wrappers[0].env.action_space
        within = np.minimum(np.maximum(actions, space.low), space.high)
        if not self._clipped.all():
            clipped = self._clipped.reshape(-1, *(1,) * (actions.ndim - 1))
            within = np.where(clipped, within, actions)
        return within.astype(space.dtype)

    def count(self, indices: list[int]) -> list[int]:
        """The second part, when the environments have taken their steps.

        Returns:
            The indices of the environments whose wrappers have to `move_on` now.
        """
        self._clocks[indices] += 1
        due = self._clocks[indices, 0] >= self._next_moves
        return [indices[place] for place in np.flatnonzero(due).tolist()]

    def observe(
        self,
        indices: list[int],
        observations: np.ndarray,
        infos: Sequence[dict[str, Any]],
    ) -> np.ndarray:
        """The last part: what the observations become.

        Args:
            indices: of the environments, rising.
            observations: theirs, [indices, ...].
            infos: theirs, [indices]; entries are added.
        """
        self._plan(indices)
        for index, info in zip(indices, infos):
            self._wrappers[index].tell(info)
        for column in self._observing:
            observations = column.apply("observe", observations)
        return observations

    def _forget(self) -> None:
        self._planned = None

    def _plan(self, indices: list[int]) -> None:
        """Finds the acts of the present episodes, if they may be others than before."""
        if indices == self._planned:
            return
        self._planned = indices
        wrappers = [self._wrappers[index] for index in indices]
        self._reaching = [wrapper for wrapper in wrappers if wrapper.reaches_in]
        self._next_moves = np.array([wrapper.next_move for wrapper in wrappers])
        live = [wrapper.live for wrapper in wrappers]
        self._acting = _columns("act", live)
        self._observing = _columns("observe", live)
        self._clipped = np.array([_may_leave_bounds(acts) for acts in live], dtype=bool)


def _may_leave_bounds(acts: list[Act]) -> bool:
    """Whether actions may, which contexts do not bring about."""
    return any(act.now and act.family.act and not act.family.contexts for act in acts)


def _columns(name: HookName, live: list[list[Act]]) -> list[_Column]:
    """The acts with a hook, in the order in which they act in each row.

    The next column has the first family that some row has to do next, and all rows
    that have the same next.
    """
    left = [
        [act for act in acts if getattr(act.family, name) is not None] for acts in live
    ]
    columns = []
    while any(left):
        first = next(acts[0] for acts in left if acts)
        rows = [row for row, acts in enumerate(left) if acts and _alike(acts[0], first)]
        acts = [left[row].pop(0) for row in rows]
        changed = np.zeros(len(live), dtype=bool)
        changed[rows] = [bool(act.now) for act in acts]
        every = len(rows) == len(live)
        columns.append(_Column(acts, None if every else np.array(rows), changed))
    return columns


def _alike(one: Act, other: Act) -> bool:
    return one.family is other.family and one.term.target == other.term.target
