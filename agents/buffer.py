"""Rollout buffers for recurrent policies: equal sequences, states stored at their starts only."""

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from sb3_contrib.common.recurrent.buffers import (
    RecurrentDictRolloutBuffer,
    RecurrentRolloutBuffer,
)
from sb3_contrib.common.recurrent.type_aliases import (
    RecurrentDictRolloutBufferSamples,
    RecurrentRolloutBufferSamples,
    RNNStates,
)
from stable_baselines3.common.buffers import DictRolloutBuffer, RolloutBuffer
from torch import Tensor

if TYPE_CHECKING:
    _Base = RecurrentRolloutBuffer  # a mixin over either of two; to the type checker over one
else:
    _Base = object


class _Sequences(_Base):
    """Cuts every rollout [n_steps, n_envs] into sequences of `sequence_length` steps.

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
        self.states: list[RNNStates] = []

    def add(self, *args: Any, lstm_states: RNNStates, **kwargs: Any) -> None:
        """Adds one step of all environments; `lstm_states` is the state before that step."""
        if self.pos % self.sequence_length == 0:
            self.states.append(lstm_states)  # by reference: policies return new tensors every step
        self.plain.add(self, *args, **kwargs)

    def _shared(self) -> bool:
        """Whether the critic's states are the actor's own, in the same memory."""
        return all(
            ours.data_ptr() == theirs.data_ptr()
            for state in self.states
            for ours, theirs in zip(state.pi, state.vf)
        )

    def _sequences(self, array: np.ndarray) -> Tensor:
        """[n_steps, n_envs, ...] to [n_sequences, sequence_length, ...]."""
        length = self.sequence_length
        array = array.reshape(-1, length, *array.shape[1:]).swapaxes(1, 2)
        return torch.as_tensor(array.reshape(-1, length, *array.shape[3:]), device=self.device)

    def get(self, batch_size: int | None = None) -> Iterator[Any]:
        """Yields the rollout once, in random order, in minibatches of whole sequences.

        Args:
            batch_size: steps per minibatch, a multiple of `sequence_length`; None for all.
        """
        assert self.full, "the rollout buffer must be full before it is sampled"
        if not self.generator_ready:
            names = ["actions", "values", "log_probs", "advantages", "returns", "episode_starts"]
            # float32, as SB3's buffers do: MultiBinary actions come as int8, some Boxes as float64
            self._data = {
                name: self._sequences(getattr(self, name).astype(np.float32, copy=False))
                for name in names
            }
            if isinstance(self.observations, dict):
                self._observations: Any = {
                    key: self._sequences(x) for key, x in self.observations.items()
                }
            else:
                self._observations = self._sequences(self.observations)
            # of actor and critic, hidden and cell: each [layers, n_sequences, width]
            self._states = {
                who: [torch.cat([getattr(x, who)[k] for x in self.states], dim=1) for k in (0, 1)]
                for who in (("pi",) if self._shared() else ("pi", "vf"))
            }
            self.generator_ready = True
        count = self._data["returns"].shape[0]
        per_batch = count if batch_size is None else batch_size // self.sequence_length
        for chosen in torch.randperm(count, device=self.device).split(per_batch):
            data = {name: x[chosen].flatten(0, 1) for name, x in self._data.items()}
            states = {
                k: tuple(x.index_select(1, chosen) for x in v) for k, v in self._states.items()
            }
            if isinstance(self._observations, dict):
                observations: Any = {
                    key: x[chosen].flatten(0, 1) for key, x in self._observations.items()
                }
            else:
                observations = self._observations[chosen].flatten(0, 1)
            yield self.samples(
                observations=observations,
                actions=data["actions"],
                old_values=data["values"],
                old_log_prob=data["log_probs"],
                advantages=data["advantages"],
                returns=data["returns"],
                lstm_states=RNNStates(states["pi"], states.get("vf", states["pi"])),
                episode_starts=data["episode_starts"],
                mask=torch.ones_like(data["returns"]),
            )


class SequenceRolloutBuffer(_Sequences, RecurrentRolloutBuffer):
    """`_Sequences` for array observations (the base class is what RecurrentPPO asks for)."""

    plain, samples = RolloutBuffer, RecurrentRolloutBufferSamples


class SequenceDictRolloutBuffer(_Sequences, RecurrentDictRolloutBuffer):
    """`_Sequences` for Dict observations."""

    plain, samples = DictRolloutBuffer, RecurrentDictRolloutBufferSamples
