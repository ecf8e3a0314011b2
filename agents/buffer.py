"""Rollout buffers: for recurrent policies equal sequences, states stored at their starts only."""

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from sb3_contrib.common.recurrent.buffers import RecurrentDictRolloutBuffer, RecurrentRolloutBuffer
from sb3_contrib.common.recurrent.type_aliases import (
    RecurrentDictRolloutBufferSamples,
    RecurrentRolloutBufferSamples,
    RNNStates,
)
from stable_baselines3.common.buffers import DictRolloutBuffer, RolloutBuffer
from torch import Tensor

from spikepropamine.policies.spaces import each

if TYPE_CHECKING:
    _Base = RecurrentRolloutBuffer  # a mixin over either of two; to the type checker over one
else:
    _Base = object


class _Sequences(_Base):
    """Cuts every rollout [n_steps, n_envs] into sequences of `sequence_length` steps; where that
    does not divide `n_steps`, the last ones are shorter and have minibatches of their own.

    Nothing is padded: a sequence may span episodes, and the policy zeroes its state at the episode
    starts inside. The state before a sequence is kept as the policy left it, not yet zeroed.
    """

    plain: type[RolloutBuffer]
    samples: type

    def __init__(self, *args: Any, sequence_length: int, **kwargs: Any) -> None:
        self.sequence_length = sequence_length
        super().__init__(*args, hidden_state_shape=(), **kwargs)

    def reset(self) -> None:
        """Empties the buffer."""
        self.plain.reset(self)
        # of actor and critic, or of both where they are the same: hidden and cell, each
        # [layers, sequence starts, n_envs, width]
        self.states: dict[str, list[Tensor]] = {}

    def add(self, *args: Any, lstm_states: RNNStates, **kwargs: Any) -> None:
        """Adds one step of all environments; `lstm_states` is the state before that step."""
        if self.pos % self.sequence_length == 0:
            self._keep(self.pos // self.sequence_length, lstm_states)
        self.plain.add(self, *args, **kwargs)

    def _keep(self, index: int, states: RNNStates) -> None:
        """Keeps the states before the sequences of this index."""
        shared = all(ours.data_ptr() == theirs.data_ptr() for ours, theirs in zip(*states))
        if index == 0:
            count = -(-self.buffer_size // self.sequence_length)
            self.states = {
                who: [x.new_empty(len(x), count, *x.shape[1:]) for x in getattr(states, who)]
                for who in (("pi",) if shared else ("pi", "vf"))
            }
        elif not shared and "vf" not in self.states:
            self.states["vf"] = [x.clone() for x in self.states["pi"]]
        for who, kept in self.states.items():
            for place, x in zip(kept, getattr(states, who)):
                place[:, index] = x

    def _sequences(self, array: np.ndarray, length: int) -> Tensor:
        """[steps, n_envs, ...] to [n_sequences, length, ...]."""
        array = array.reshape(-1, length, *array.shape[1:]).swapaxes(1, 2)
        return torch.as_tensor(array.reshape(-1, length, *array.shape[3:]), device=self.device)

    def _cut(self, steps: slice, starts: slice, length: int) -> tuple[Any, Any, Any]:
        """A part of the rollout as sequences of one length: data, observations and states."""
        names = ["actions", "values", "log_probs", "advantages", "returns", "episode_starts"]
        # float32, as SB3's buffers do: MultiBinary actions come as int8, some Boxes as float64
        arrays = {name: getattr(self, name)[steps].astype(np.float32, copy=False) for name in names}
        data = {name: self._sequences(x, length) for name, x in arrays.items()}
        observations = each(lambda x: self._sequences(x[steps], length), self.observations)
        # each [layers, n_sequences, width]
        before = {
            who: [x[:, starts].flatten(1, 2) for x in pair] for who, pair in self.states.items()
        }
        return data, observations, before

    def get(self, batch_size: int | None = None) -> Iterator[Any]:
        """Yields the rollout once, in random order, in minibatches of whole sequences.

        Args:
            batch_size: steps per minibatch at most, but at least one sequence; None for all.
        """
        assert self.full, "the rollout buffer must be full before it is sampled"
        length = self.sequence_length
        whole, rest = divmod(self.buffer_size, length)
        if not self.generator_ready:
            end = whole * length
            self._parts = [self._cut(slice(0, end), slice(whole), length)] if whole else []
            if rest:
                self._parts.append(self._cut(slice(end, None), slice(whole, None), rest))
            self.generator_ready = True
        for data, observations, before in self._parts:
            count, steps = data["returns"].shape
            per_batch = count if batch_size is None else max(1, batch_size // steps)
            for chosen in torch.randperm(count, device=self.device).split(per_batch):

                def pick(x: Tensor, chosen: Tensor = chosen) -> Tensor:
                    return x.index_select(0, chosen).flatten(0, 1)

                picked = each(pick, data)
                states = {
                    who: tuple(x.index_select(1, chosen) for x in pair)
                    for who, pair in before.items()
                }
                yield self.samples(
                    observations=each(pick, observations),
                    actions=picked["actions"],
                    old_values=picked["values"],
                    old_log_prob=picked["log_probs"],
                    advantages=picked["advantages"],
                    returns=picked["returns"],
                    lstm_states=RNNStates(states["pi"], states.get("vf", states["pi"])),
                    episode_starts=picked["episode_starts"],
                    mask=torch.ones_like(picked["returns"]),
                )


class SequenceRolloutBuffer(_Sequences, RecurrentRolloutBuffer):
    """`_Sequences` for array observations (the base class is what RecurrentPPO asks for)."""

    plain, samples = RolloutBuffer, RecurrentRolloutBufferSamples


class SequenceDictRolloutBuffer(_Sequences, RecurrentDictRolloutBuffer):
    """`_Sequences` for Dict observations."""

    plain, samples = DictRolloutBuffer, RecurrentDictRolloutBufferSamples
