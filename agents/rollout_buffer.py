"""A rollout buffer of sequences, with the policy's states at their starts only."""

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import torch
from gymnasium import spaces
from sb3_contrib.common.recurrent import type_aliases as recurrent
from sb3_contrib.common.recurrent.buffers import (
    RecurrentDictRolloutBuffer,
    RecurrentRolloutBuffer,
)
from sb3_contrib.common.recurrent.type_aliases import RNNStates
from stable_baselines3.common import buffers as sb3
from torch import Tensor

from spikepropamine.policies.spaces import each

if TYPE_CHECKING:
    # a mixin over either of two classes; to the type checker over one
    _Base = RecurrentRolloutBuffer
else:
    _Base = object

ARRAYS = {
    "actions": "actions",
    "advantages": "advantages",
    "returns": "returns",
    "episode_starts": "episode_starts",
    "old_values": "values",
    "old_log_prob": "log_probs",
}
"""Names of a minibatch's arrays, and of the buffer's that they come from."""


class _Cut(NamedTuple):
    """A part of a rollout, cut into sequences of one length."""

    arrays: dict[str, Tensor]  # as in `ARRAYS`, each [n_sequences, length, ...]
    observations: Any  # [n_sequences, length, ...], or a dict of such
    states: dict[str, list[Tensor]]  # before the sequences, as in `_Sequences.states`


class _Sequences(_Base):
    """Cuts every rollout [n_steps, n_envs] into sequences of `sequence_length` steps.

    Where that does not divide `n_steps`, the last sequences are shorter and have
    minibatches of their own.

    Nothing is padded: a sequence may span episodes, and the policy zeroes its state at
    the episode starts inside. The state before a sequence is kept as the policy left
    it, not yet zeroed.
    """

    plain: type[sb3.RolloutBuffer]
    """The buffer without states, which keeps everything else."""
    samples: type
    """The class of minibatches."""

    def __init__(self, *args: Any, sequence_length: int, **kwargs: Any) -> None:
        self.sequence_length = sequence_length
        super().__init__(*args, hidden_state_shape=(), **kwargs)

    def reset(self) -> None:
        """Empties the buffer."""
        self.plain.reset(self)
        # of the actor ("pi") and the critic ("vf"), or of "pi" alone where both are the
        # same: hidden and cell state, each [layers, sequence starts, n_envs, width]
        self.states: dict[str, list[Tensor]] = {}

    def add(self, *args: Any, lstm_states: RNNStates, **kwargs: Any) -> None:
        """Adds one step of all environments.

        Args:
            args: as in SB3.
            lstm_states: the state before that step.
            kwargs: as in SB3.
        """
        if self.pos % self.sequence_length == 0:
            self._keep(self.pos // self.sequence_length, lstm_states)
        self.plain.add(self, *args, **kwargs)

    def _keep(self, index: int, states: RNNStates) -> None:
        """Keeps the states before the sequences of this index."""
        shared = all(
            actors.data_ptr() == critics.data_ptr()
            for actors, critics in zip(states.pi, states.vf)
        )
        if index == 0:
            self.states = {"pi": self._room_for(states.pi)}
            if not shared:
                self.states["vf"] = self._room_for(states.vf)
        elif not shared and "vf" not in self.states:
            self.states["vf"] = [x.clone() for x in self.states["pi"]]
        for name, kept in self.states.items():
            for room, x in zip(kept, getattr(states, name)):
                room[:, index] = x

    def _room_for(self, pair: tuple[Tensor, ...]) -> list[Tensor]:
        """Empty tensors for the states before all sequences of a rollout."""
        count = -(-self.buffer_size // self.sequence_length)  # rounded up
        return [x.new_empty(len(x), count, *x.shape[1:]) for x in pair]

    def _sequences(self, array: np.ndarray, length: int) -> Tensor:
        """Cuts an array [steps, n_envs, ...] into sequences [n_sequences,
        length, ...].
        """
        array = array.reshape(-1, length, *array.shape[1:]).swapaxes(1, 2)
        array = array.reshape(-1, length, *array.shape[3:])
        return torch.as_tensor(array, device=self.device)

    def _cut(self, steps: slice, starts: slice, length: int) -> _Cut:
        """A part of the rollout as sequences of one length.

        Args:
            steps: which steps of the rollout.
            starts: which sequence starts of the rollout.
            length: steps of each sequence.
        """
        arrays = {}
        for name, source in ARRAYS.items():
            # float32, as SB3's buffers do: MultiBinary actions come as int8, some Boxes
            # as float64
            part = getattr(self, source)[steps].astype(np.float32, copy=False)
            arrays[name] = self._sequences(part, length)
        observations = each(
            lambda x: self._sequences(x[steps], length), self.observations
        )
        states = {
            name: [x[:, starts].flatten(1, 2) for x in pair]
            for name, pair in self.states.items()
        }
        return _Cut(arrays, observations, states)

    def _cuts(self) -> list[_Cut]:
        """The whole rollout as sequences, those of full length first."""
        length = self.sequence_length
        whole, rest = divmod(self.buffer_size, length)
        end = whole * length
        cuts = []
        if whole:
            cuts.append(self._cut(slice(0, end), slice(whole), length))
        if rest:
            cuts.append(self._cut(slice(end, None), slice(whole, None), rest))
        return cuts

    def get(self, batch_size: int | None = None) -> Iterator[Any]:
        """Yields the rollout once, in random order, in minibatches of whole sequences.

        Args:
            batch_size: most steps of a minibatch, which has one sequence at least; None
                for all sequences of a length.
        """
        assert self.full, "the rollout buffer must be full before it is sampled"
        if not self.generator_ready:
            self._parts = self._cuts()
            self.generator_ready = True
        for cut in self._parts:
            count, steps = cut.arrays["returns"].shape
            per_batch = count
            if batch_size is not None:
                per_batch = max(1, batch_size // steps)
            order = torch.randperm(count, device=self.device)
            for chosen in order.split(per_batch):
                yield self._minibatch(cut, chosen)

    def _minibatch(self, cut: _Cut, chosen: Tensor) -> Any:
        """The sequences of these indices, one after the other."""

        def pick(x: Tensor) -> Tensor:
            return x.index_select(0, chosen).flatten(0, 1)

        arrays = each(pick, cut.arrays)
        states = {
            name: tuple(x.index_select(1, chosen) for x in pair)
            for name, pair in cut.states.items()
        }
        return self.samples(
            observations=each(pick, cut.observations),
            lstm_states=RNNStates(states["pi"], states.get("vf", states["pi"])),
            mask=torch.ones_like(arrays["returns"]),
            **arrays,
        )


class SequenceRolloutBuffer(_Sequences, RecurrentRolloutBuffer):
    """`_Sequences` for array observations.

    The base class is the one that RecurrentPPO checks for.
    """

    plain = sb3.RolloutBuffer
    samples = recurrent.RecurrentRolloutBufferSamples


class SequenceDictRolloutBuffer(_Sequences, RecurrentDictRolloutBuffer):
    """`_Sequences` for Dict observations."""

    plain = sb3.DictRolloutBuffer
    samples = recurrent.RecurrentDictRolloutBufferSamples


def sequence_buffer(space: spaces.Space[Any]) -> type[_Sequences]:
    """The class of the buffer for observations of a space."""
    if isinstance(space, spaces.Dict):
        return SequenceDictRolloutBuffer
    return SequenceRolloutBuffer
