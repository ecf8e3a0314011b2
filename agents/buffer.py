"""Buffers of sequences: of rollouts, with states at their starts only, and for replay."""

import os
from collections.abc import Iterator
from operator import itemgetter
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
from stable_baselines3.common.vec_env import VecNormalize
from torch import Tensor

from spikepropamine.policies.spaces import each

AHEAD = 2**21
"""Numbers of a state that are drawn ahead, at most."""
SAYS = hasattr(os, "sysconf")  # Windows does not
MEMORY = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") if SAYS else 2**48
"""Of this machine, in bytes; where it does not say, more than any has."""

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

    plain: type[sb3.RolloutBuffer]
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
        shared = all(
            ours.data_ptr() == theirs.data_ptr() for ours, theirs in zip(*states)
        )
        if index == 0:
            count = -(-self.buffer_size // self.sequence_length)
            self.states = {
                who: [
                    x.new_empty(len(x), count, *x.shape[1:])
                    for x in getattr(states, who)
                ]
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
        return torch.as_tensor(
            array.reshape(-1, length, *array.shape[3:]), device=self.device
        )

    def _cut(self, steps: slice, starts: slice, length: int) -> tuple[Any, Any, Any]:
        """A part of the rollout as sequences of one length: data, observations and states."""
        names = {
            name: name
            for name in ("actions", "advantages", "returns", "episode_starts")
        }
        names |= {"old_values": "values", "old_log_prob": "log_probs"}
        # float32, as SB3's buffers do: MultiBinary actions come as int8, some Boxes as float64
        arrays = {to: getattr(self, of)[steps] for to, of in names.items()}
        data = each(
            lambda x: self._sequences(x.astype(np.float32, copy=False), length), arrays
        )
        observations = each(
            lambda x: self._sequences(x[steps], length), self.observations
        )
        # each [layers, n_sequences, width]
        before = {
            who: [x[:, starts].flatten(1, 2) for x in pair]
            for who, pair in self.states.items()
        }
        return data, observations, before

    def get(self, batch_size: int | None = None) -> Iterator[Any]:
        """Yields the rollout once, in random order, in minibatches of whole sequences: of so many
        steps at most, but at least one sequence; None for all of a length.
        """
        assert self.full, "the rollout buffer must be full before it is sampled"
        length = self.sequence_length
        whole, rest = divmod(self.buffer_size, length)
        if not self.generator_ready:
            end = whole * length
            self._parts = (
                [self._cut(slice(0, end), slice(whole), length)] if whole else []
            )
            if rest:
                self._parts.append(
                    self._cut(slice(end, None), slice(whole, None), rest)
                )
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
                    lstm_states=RNNStates(states["pi"], states.get("vf", states["pi"])),
                    mask=torch.ones_like(picked["returns"]),
                    **picked,
                )


class SequenceRolloutBuffer(_Sequences, RecurrentRolloutBuffer):
    """`_Sequences` for array observations (the base class is what RecurrentPPO asks for)."""

    plain, samples = sb3.RolloutBuffer, recurrent.RecurrentRolloutBufferSamples


class SequenceDictRolloutBuffer(_Sequences, RecurrentDictRolloutBuffer):
    """`_Sequences` for Dict observations."""

    plain, samples = sb3.DictRolloutBuffer, recurrent.RecurrentDictRolloutBufferSamples


class Sequences(NamedTuple):
    """B sequences of T entries each, one step after the other."""

    observations: Any  # [T, B, ...], normalised, or a dict of such
    actions: Tensor  # [T, B, actions], between -1 and 1
    rewards: Tensor  # [T, B], normalised
    dones: Tensor  # [T, B], 1 where an action ended the episode for good
    starts: Tensor  # [T, B], 1 where an episode starts
    weights: Tensor  # [T, B], 0 for the last observation of an episode: no action came after it
    states: Tensor | None  # [B, D], flat, before the first entry; None without memory


class SequenceReplayBuffer(sb3.ReplayBuffer):
    """A replay buffer of sequences, with the actor's state before each.

    Each environment has a stream of its own, in which the next observation is always the next
    entry: the last observation of an episode is an entry by itself, of weight 0. Observations and
    rewards are kept as the environment gave them, and normalised when they are drawn, as in SB3.

    Arguments are SB3's, but for the following. `buffer_size` counts the entries of all environments
    together; nothing is kept twice, so `optimize_memory_usage` changes nothing. What a time limit
    ends is always told apart, so there is no `handle_timeout_termination`.

    Args:
        sequence_length: steps of a sequence; one entry more is drawn, for what comes next. States
            are kept where sequences begin, so that every step is in one sequence.
        burn_in: steps before each sequence that only bring the state up to date.
    """

    def __init__(
        self,
        buffer_size: int,
        observation_space: spaces.Space,
        action_space: spaces.Space,
        device: torch.device | str = "auto",
        n_envs: int = 1,
        optimize_memory_usage: bool = False,
        sequence_length: int = 4,
        burn_in: int = 0,
    ) -> None:
        sb3.BaseBuffer.__init__(
            self, buffer_size, observation_space, action_space, device, n_envs
        )
        self.sequence_length = length = sequence_length
        self.entries = burn_in + length + 1  # of what is drawn
        blocks = max(
            -(-buffer_size // (n_envs * length)), -(-self.entries // length) + 1
        )
        size = self.buffer_size = blocks * length
        parts: Any = {"": observation_space}
        if isinstance(observation_space, spaces.Dict):
            parts = observation_space.spaces
        self.kept = {}
        for key, part in parts.items():
            dtype = np.float32 if part.dtype == np.float64 else part.dtype
            self.kept[key] = np.zeros((n_envs, size, *(part.shape or ())), dtype)
        self.actions = np.zeros((n_envs, size, self.action_dim), np.float32)
        self.rewards, self.dones, self.starts, self.weights = (
            np.zeros((n_envs, size), np.float32) for _ in range(4)
        )
        self.states = np.zeros((n_envs, blocks, 0), np.float32)
        self.counts = np.zeros(n_envs, np.int64)

    def keep_states(self, width: int) -> None:
        """From now on, states of this width are kept. Raises ValueError where they would not fit in
        the machine's memory.
        """
        needed = 4 * self.n_envs * self.states.shape[1] * width
        if needed > MEMORY:
            raise ValueError(
                f"the actor's states in the replay buffer would take {needed / 2**30:.1f} GiB, and "
                f"{MEMORY / 2**30:.1f} are there: lower buffer_size, or raise sequence_length"
            )
        self.states = np.zeros((*self.states.shape[:2], width), np.float32)

    def _filled(self, counts: np.ndarray) -> dict[str, np.ndarray]:
        """The parts of all arrays that are filled after so many entries of each environment."""
        filled = min(int(counts.max()), self.buffer_size)
        names = ("actions", "rewards", "dones", "starts", "weights")
        parts = {f"observations {key}": x[:, :filled] for key, x in self.kept.items()}
        parts |= {name: getattr(self, name)[:, :filled] for name in names}
        return parts | {"states": self.states[:, : -(-filled // self.sequence_length)]}

    def contents(self) -> dict[str, np.ndarray]:
        """All that is in it, as arrays by name."""
        return self._filled(self.counts) | {"counts": self.counts}

    def restore(self, contents: dict[str, np.ndarray]) -> None:
        """Puts in what `contents` gave of a buffer that was made alike; else raises ValueError."""
        counts = contents.get("counts", np.zeros(0))
        if counts.shape != self.counts.shape or counts.min() < 0:
            raise ValueError(
                f"its replay buffer is of {len(counts)} environments; give as many"
            )
        parts = self._filled(counts) | {"counts": self.counts}
        found, meant = (
            {k: (x.shape, x.dtype) for k, x in of.items()} for of in (contents, parts)
        )
        if wrong := [
            name for name in found | meant if found.get(name) != meant.get(name)
        ]:
            raise ValueError(
                f"the replay buffer has {', '.join(wrong)} of other shapes"
            )
        for name, part in parts.items():
            part[...] = contents[name]

    def reset(self) -> None:
        """Empties the buffer."""
        self.counts[:] = 0

    def size(self) -> int:
        """Entries in it, of all environments."""
        return int(np.minimum(self.counts, self.buffer_size).sum())

    @property
    def ready(self) -> bool:
        """Whether every environment has a sequence."""
        return bool((self.counts >= self.entries).all())

    def add(  # type: ignore[override]
        self,
        obs: Any,  # what the actor saw, before any normalisation
        action: np.ndarray,  # between -1 and 1
        reward: np.ndarray,  # before any normalisation
        done: np.ndarray,  # where an episode ended
        infos: list[
            dict[str, Any]
        ],  # of the step, of which "TimeLimit.truncated" is read
        last_obs: dict[
            int, Any
        ],  # the last one of each episode that ended, by environment
        starts: np.ndarray,  # where `obs` is the first of an episode
        states: Any = None,  # flat, before the actor saw `obs`, [n_envs, D]
        states_after: Any = None,  # the same, afterwards
    ) -> None:
        """Adds a step of every environment."""
        envs = np.arange(self.n_envs)
        cut = np.array([info.get("TimeLimit.truncated", False) for info in infos])
        at = self._add(envs, obs, starts, states)
        self.actions[envs, at] = action.reshape(self.n_envs, -1)
        self.rewards[envs, at] = reward
        self.dones[envs, at] = done & ~cut
        self.weights[envs, at] = 1
        for env in map(int, np.flatnonzero(done)):
            after = None if states_after is None else states_after[env : env + 1]
            one = each(lambda x: np.asarray(x)[None], last_obs[env])
            at = self._add(envs[env : env + 1], one, np.zeros(1), after)
            self.weights[env, at] = self.rewards[env, at] = self.dones[env, at] = 0
            self.actions[env, at] = 0

    def _add(
        self, envs: np.ndarray, obs: Any, starts: np.ndarray, states: Any
    ) -> np.ndarray:
        at = self.counts[envs] % self.buffer_size
        named = obs if isinstance(obs, dict) else {"": obs}
        for key, kept in self.kept.items():
            seen = np.asarray(named[key]).reshape(len(envs), *kept.shape[2:])
            whole = kept.dtype.kind in "iu" and seen.dtype.kind == "f"
            kept[envs, at] = (
                np.rint(seen) if whole else seen
            )  # VecNormalize leaves a rest
        # where an episode was given up, as by a second `learn`, what came next is not known
        before = (at - 1) % self.buffer_size
        given_up = (np.asarray(starts) > 0) & (self.counts[envs] > 0)
        self.weights[envs[given_up], before[given_up]] = 0
        self.starts[envs, at] = starts
        if states is not None:
            (due,) = np.nonzero(at % self.sequence_length == 0)
            if len(due):
                self.states[envs[due], at[due] // self.sequence_length] = states[due]
        self.counts[envs] += 1
        return at

    def sample(self, batch_size: int, env: VecNormalize | None = None) -> Any:
        """Sequences with `batch_size` steps in all."""
        return next(self.minibatches(1, batch_size, env))

    def minibatches(
        self, count: int, batch_size: int, env: VecNormalize | None = None
    ) -> Iterator[Sequences]:
        """So many minibatches of `batch_size` steps each, not counting those of burn-in, in whole
        sequences, rounded down; some are drawn at once. `env` normalises observations and rewards.
        """
        sequences = max(batch_size // self.sequence_length, 1)
        ahead = min(
            max(AHEAD // (sequences * (self.states.shape[2] + self.entries)), 1), 64
        )
        for first in range(0, count, ahead):
            now = min(count - first, ahead)
            whole = self._drawn(now * sequences, env)
            for n in range(now):
                part = slice(n * sequences, (n + 1) * sequences)
                yield Sequences(
                    each(itemgetter((slice(None), part)), whole.observations),
                    *(x[:, part] for x in whole[1:-1]),
                    states=None if whole.states is None else whole.states[part],
                )

    def _drawn(self, sequences: int, env: VecNormalize | None) -> Sequences:
        # blocks from the oldest that is whole to the newest that is followed by enough
        oldest = -(
            -np.maximum(self.counts - self.buffer_size, 0) // self.sequence_length
        )
        there = (self.counts - self.entries) // self.sequence_length - oldest + 1
        envs = np.random.randint(self.n_envs, size=sequences)
        blocks = oldest[envs] + (np.random.random(sequences) * there[envs]).astype(
            np.int64
        )
        at = (
            blocks * self.sequence_length + np.arange(self.entries)[:, None]
        ) % self.buffer_size
        found = {key: kept[envs, at] for key, kept in self.kept.items()}
        observations = self._normalize_obs(found.get("", found), env)
        rewards = self._normalize_reward(self.rewards[envs, at], env)
        others = [x[envs, at] for x in (self.dones, self.starts, self.weights)]
        states = self.states[envs, blocks % self.states.shape[1]]
        return Sequences(
            each(lambda x: torch.as_tensor(x, device=self.device), observations),
            *(
                torch.as_tensor(x, dtype=torch.float32, device=self.device)
                for x in (self.actions[envs, at], rewards, *others)
            ),
            states=torch.as_tensor(states, device=self.device)
            if states.shape[1]
            else None,
        )
