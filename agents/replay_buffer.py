"""A replay buffer of sequences, with the actor's state before each."""

import os
import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any, NamedTuple

import numpy as np
import torch
from gymnasium import spaces
from stable_baselines3.common import buffers as sb3
from stable_baselines3.common.vec_env import VecNormalize
from torch import Tensor

from spikepropamine.policies.spaces import each

AHEAD = 2**21
"""Numbers of a state that are drawn ahead, at most."""
MOST_AHEAD = 64
"""Minibatches that are drawn ahead, at most."""
BLOCK = 2**24
"""Bytes of a block of the buffer, at most, unless a single sequence has more."""
OF_ENTRIES = ("actions", "rewards", "dones", "starts", "weights")
"""Names of arrays with a row for each entry, besides observations."""

Arrays = dict[str, np.ndarray]


def _memory_of_machine() -> int:
    """In bytes; where the system does not say, as on Windows, more than any has."""
    if not hasattr(os, "sysconf"):
        return 2**48
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")


MEMORY = _memory_of_machine()
"""Of this machine, in bytes."""
REMEDY = "lower buffer_size (--trainer.buffer-size on the command line)"
"""Of a buffer that does not fit, as Python and the command line spell it."""


class Sequences(NamedTuple):
    """B sequences of T entries each, one step after the other."""

    observations: Any
    """[T, B, ...], normalised, or a dict of such."""
    actions: Tensor
    """[T, B, actions], between -1 and 1."""
    rewards: Tensor
    """[T, B], normalised."""
    dones: Tensor
    """[T, B], 1 where an action ended the episode for good."""
    starts: Tensor
    """[T, B], 1 where an episode starts."""
    weights: Tensor
    """[T, B], 0 for the last observation of an episode: no action came after it."""
    states: Tensor | None
    """[B, D], flat, before the first entry; None without memory."""

    def part(self, columns: slice) -> "Sequences":
        """Some of the sequences."""
        states = self.states
        return Sequences(
            observations=each(lambda x: x[:, columns], self.observations),
            actions=self.actions[:, columns],
            rewards=self.rewards[:, columns],
            dones=self.dones[:, columns],
            starts=self.starts[:, columns],
            weights=self.weights[:, columns],
            states=None if states is None else states[columns],
        )


class Blocks(Mapping[int, Arrays]):
    """Blocks of a replay buffer, which do not change any more, by their numbers.

    Args:
        numbers: of the blocks.
        make: gives the arrays of one, anew at each call.
        stored: names of the files of those that are stored already; whoever stores
            another adds its name.
    """

    def __init__(
        self,
        numbers: Iterable[int],
        make: Callable[[int], Arrays],
        stored: dict[int, str],
    ) -> None:
        self._numbers = list(numbers)
        self._make = make
        self.stored = stored

    def __getitem__(self, number: int) -> Arrays:
        return self._make(number)

    def __iter__(self) -> Iterator[int]:
        return iter(self._numbers)

    def __len__(self) -> int:
        return len(self._numbers)


class SequenceReplayBuffer(sb3.ReplayBuffer):
    """A replay buffer of sequences, with the actor's state before each.

    Each environment has a stream of entries, in which the next observation is always
    the next entry: the last observation of an episode is an entry by itself, of weight
    0. Observations and rewards are kept as the environment gave them, and normalised
    when they are drawn, as in SB3.

    Args:
        buffer_size: entries of all environments together.
        observation_space, action_space, device, n_envs: as in SB3.
        optimize_memory_usage: changes nothing, since nothing is kept twice.
        sequence_length: steps of a sequence; one entry more is drawn, for what comes
            next. States are kept where sequences begin, so that every step is in one
            sequence.
        burn_in: steps before each sequence that only bring the state up to date.
        handle_timeout_termination: must be True, as it is in SB3 by default: an episode
            that a time limit ends is told apart.

    Raises:
        ValueError: `handle_timeout_termination` is False, or there is no memory for so
            many entries. Where there is some, but not enough once the buffer is full, a
            warning says so.
    """

    def __init__(
        self,
        buffer_size: int,
        observation_space: spaces.Space[Any],
        action_space: spaces.Space[Any],
        device: torch.device | str = "auto",
        n_envs: int = 1,
        optimize_memory_usage: bool = False,
        sequence_length: int = 4,
        burn_in: int = 0,
        handle_timeout_termination: bool = True,
    ) -> None:
        if not handle_timeout_termination:
            raise ValueError(
                "handle_timeout_termination=False is not supported here, since an "
                "episode that a time limit ends is always told apart: leave it out"
            )
        sb3.BaseBuffer.__init__(
            self, buffer_size, observation_space, action_space, device, n_envs
        )
        self.sequence_length = sequence_length
        self.entries = burn_in + sequence_length + 1
        """Of one environment that are drawn together."""
        blocks = max(
            -(-buffer_size // (n_envs * sequence_length)),  # rounded up
            -(-self.entries // sequence_length) + 1,
        )
        size = blocks * sequence_length
        self.buffer_size = size
        """Entries of one environment."""
        try:
            self._make_room(size)
        except (MemoryError, ValueError) as error:  # which NumPy raises
            raise ValueError(
                f"a replay buffer of {buffer_size:,} steps has no room in memory: "
                f"{REMEDY}"
            ) from error
        needed = self._bytes()
        if needed > MEMORY:
            warnings.warn(
                f"once it is full, the replay buffer takes {needed / 2**30:.1f} GiB, "
                f"and this machine has {MEMORY / 2**30:.1f}: {REMEDY}",
                stacklevel=2,
            )
        self.states = np.zeros((n_envs, blocks, 0), np.float32)
        self.counts = np.zeros(n_envs, np.int64)
        """Entries that each environment has added."""
        self.stored: dict[int, str] = {}
        """Names of the files with blocks of this buffer, by number."""

    def _make_room(self, size: int) -> None:
        """Makes the arrays for `size` entries of each environment."""
        shape = (self.n_envs, size)
        self.kept = self._room_for_observations(size)
        self.actions = np.zeros((*shape, self.action_dim), np.float32)
        self.rewards = np.zeros(shape, np.float32)
        self.dones = np.zeros(shape, np.float32)
        self.starts = np.zeros(shape, np.float32)
        self.weights = np.zeros(shape, np.float32)

    def _bytes(self) -> int:
        """What the entries take, without states."""
        arrays = [*self.kept.values(), *(getattr(self, name) for name in OF_ENTRIES)]
        return sum(x.nbytes for x in arrays)

    def _room_for_observations(self, size: int) -> dict[str, np.ndarray]:
        """Arrays [n_envs, size, ...] for each part of observations; the name of the
        only part is empty.
        """
        parts: dict[str, spaces.Space[Any]] = {"": self.observation_space}
        if isinstance(self.observation_space, spaces.Dict):
            parts = self.observation_space.spaces
        room = {}
        for key, part in parts.items():
            dtype = np.float32 if part.dtype == np.float64 else part.dtype
            room[key] = np.zeros((self.n_envs, size, *(part.shape or ())), dtype)
        return room

    def keep_states(self, width: int) -> None:
        """Keeps states from now on.

        Args:
            width: numbers of a state.

        Raises:
            ValueError: the states would not fit in the machine's memory.
        """
        needed = 4 * self.n_envs * self.states.shape[1] * width
        if needed > MEMORY:
            raise ValueError(
                "the actor's states in the replay buffer would take "
                f"{needed / 2**30:.1f} GiB, and {MEMORY / 2**30:.1f} are there: "
                f"{REMEDY}, or raise sequence_length"
            )
        self.states = np.zeros((*self.states.shape[:2], width), np.float32)

    @property
    def block_entries(self) -> int:
        """Entries of each environment in a block: those of whole sequences."""
        size = self._bytes() + self.states.nbytes
        sequences = self.states.shape[1]
        most = BLOCK * sequences // size
        return min(max(most, 1), sequences) * self.sequence_length

    def contents(self) -> dict[str, Any]:
        """All that is in the buffer: "counts"; as "blocks", those parts that do not
        change any more, as `Blocks` of "block_entries" entries of each environment; and
        what comes after them, from the entry "first" on, as arrays by name.

        Entries are numbered from 0 for each environment, and block n begins with entry
        n `block_entries`. Of entries that were overwritten, a block may hold those
        that took their place.
        """
        length = self.block_entries
        oldest = max(int(self.counts.min()) - self.buffer_size, 0)
        # the latest entry loses its weight where its episode is given up
        settled = max(int(self.counts.min()) - 1, 0)
        numbers = range(oldest // length, settled // length)

        newest = int(self.counts.max())
        overwritten = max(newest - self.buffer_size, 0)
        first = max(numbers.stop * length, overwritten)
        first -= first % self.sequence_length
        return self._entries(first, newest) | {
            "counts": self.counts.copy(),
            "first": first,
            "block_entries": length,
            "blocks": Blocks(numbers, self._block, self.stored),
        }

    def _block(self, number: int) -> Arrays:
        first = number * self.block_entries
        return self._entries(first, first + self.block_entries)

    def _entries(self, first: int, last: int) -> Arrays:
        """Copies of the entries from one number to before another."""
        at, blocks = self._places(first, last)
        entries = {}
        for key, x in self.kept.items():
            entries[f"observations {key}"] = x.take(at, axis=1)
        for name in OF_ENTRIES:
            entries[name] = getattr(self, name).take(at, axis=1)
        entries["states"] = self.states.take(blocks, axis=1)
        return entries

    def _places(self, first: int, last: int) -> tuple[np.ndarray, np.ndarray]:
        """Where the entries from one number to before another are, and where states
        before sequences of them.
        """
        length = self.sequence_length
        past_last = -(-last // length)  # rounded up
        blocks = np.arange(first // length, past_last) % self.states.shape[1]
        return np.arange(first, last) % self.buffer_size, blocks

    def restore(self, contents: dict[str, Any]) -> None:
        """Puts in what `contents` gave.

        Args:
            contents: of a buffer that was made alike; without "first" and "blocks",
                arrays begin with the buffer.

        Raises:
            ValueError: the other buffer had more or fewer environments, or other
                shapes.
        """
        counts = contents.get("counts", np.zeros(0))
        if counts.shape != self.counts.shape or counts.min() < 0:
            raise ValueError(
                f"its replay buffer is of {len(counts)} environments; give as many"
            )
        blocks = contents.get("blocks", Blocks([], dict, {}))
        length = contents.get("block_entries", self.block_entries)
        # the newest last, since it may have taken the place of others
        for number in sorted(blocks):
            self._put(number * length, (number + 1) * length, blocks[number])

        newest = int(counts.max())
        first = contents.get("first", 0)
        last = newest if "first" in contents else min(newest, self.buffer_size)
        self._put(first, last, contents)
        self.counts[:] = counts
        self.stored = {}
        if length == self.block_entries:
            self.stored = dict(blocks.stored)

    def _put(self, first: int, last: int, given: dict[str, Any]) -> None:
        """Puts in the entries from one number to before another."""
        at, blocks = self._places(first, last)
        rooms = {f"observations {key}": (x, at) for key, x in self.kept.items()}
        for name in OF_ENTRIES:
            rooms[name] = getattr(self, name), at
        rooms["states"] = self.states, blocks
        wrong = []
        for name, (room, places) in rooms.items():
            shape = (len(room), len(places), *room.shape[2:])
            x = given.get(name)
            if x is None or x.shape != shape or x.dtype != room.dtype:
                wrong.append(name)
        if wrong:
            raise ValueError(
                f"the replay buffer has {', '.join(wrong)} of other shapes"
            )
        for name, (room, places) in rooms.items():
            room[:, places] = given[name]

    def reset(self) -> None:
        """Empties the buffer."""
        self.counts[:] = 0
        self.stored = {}

    def size(self) -> int:
        """Entries in the buffer, of all environments."""
        return int(np.minimum(self.counts, self.buffer_size).sum())

    @property
    def ready(self) -> bool:
        """Whether every environment has a sequence."""
        return bool((self.counts >= self.entries).all())

    def add(
        self,
        obs: Any,
        action: np.ndarray,
        reward: np.ndarray,
        done: np.ndarray,
        infos: list[dict[str, Any]],
        last_obs: dict[int, Any],
        starts: np.ndarray,
        states: np.ndarray | None = None,
        states_after: np.ndarray | None = None,
    ) -> None:
        """Adds a step of every environment.

        Args:
            obs: what the actor saw, before any normalisation, [n_envs, ...] or a dict
                of such.
            action: [n_envs, ...], between -1 and 1.
            reward: [n_envs], before any normalisation.
            done: [n_envs], where an episode ended.
            infos: of the step, of which "TimeLimit.truncated" is read.
            last_obs: the last observation of each episode that ended, by environment.
            starts: [n_envs], where `obs` is the first observation of an episode.
            states: [n_envs, D], flat, before the actor saw `obs`; None without memory.
            states_after: the same, after the actor saw `obs`.
        """
        envs = np.arange(self.n_envs)
        cut = np.array([info.get("TimeLimit.truncated", False) for info in infos])
        at = self._add(envs, obs, starts, states)
        self.actions[envs, at] = action.reshape(self.n_envs, -1)
        self.rewards[envs, at] = reward
        self.dones[envs, at] = done & ~cut
        self.weights[envs, at] = 1
        for env in np.flatnonzero(done):
            one = slice(env, env + 1)
            after = None if states_after is None else states_after[one]
            last = each(lambda x: np.asarray(x)[None], last_obs[int(env)])
            at = self._add(envs[one], last, np.zeros(1), after)
            self.actions[env, at] = 0
            self.rewards[env, at] = 0
            self.dones[env, at] = 0
            self.weights[env, at] = 0

    def _add(
        self,
        envs: np.ndarray,
        obs: Any,
        starts: np.ndarray,
        states: np.ndarray | None,
    ) -> np.ndarray:
        """Adds an entry of each of some environments, and returns the places."""
        at: np.ndarray = self.counts[envs] % self.buffer_size
        named = obs if isinstance(obs, dict) else {"": obs}
        for key, kept in self.kept.items():
            seen = np.asarray(named[key]).reshape(len(envs), *kept.shape[2:])
            if kept.dtype.kind in "iu" and seen.dtype.kind == "f":
                seen = np.rint(seen)  # VecNormalize leaves a rest
            kept[envs, at] = seen
        # where an episode was given up, as by a second `learn`, what came next is not
        # known
        before = (at - 1) % self.buffer_size
        given_up = (np.asarray(starts) > 0) & (self.counts[envs] > 0)
        self.weights[envs[given_up], before[given_up]] = 0
        self.starts[envs, at] = starts
        if states is not None:
            due = np.flatnonzero(at % self.sequence_length == 0)
            if len(due):
                blocks = at[due] // self.sequence_length
                self.states[envs[due], blocks] = states[due]
        self.counts[envs] += 1
        return at

    def sample(self, batch_size: int, env: VecNormalize | None = None) -> Any:
        """One of `minibatches`, as Stable-Baselines3 calls for it.

        Args:
            batch_size: number of transitions.
            env: normalises observations and rewards; None: they stay as they are.
        """
        return next(self.minibatches(1, batch_size, env))

    def minibatches(
        self, count: int, batch_size: int, env: VecNormalize | None = None
    ) -> Iterator[Sequences]:
        """Draws minibatches of whole sequences, some at once.

        Args:
            count: how many minibatches.
            batch_size: steps of each, not counting those of burn-in; rounded down to
                whole sequences, but at least one.
            env: normalises observations and rewards.
        """
        sequences = max(batch_size // self.sequence_length, 1)
        numbers = sequences * (self.states.shape[2] + self.entries)
        ahead = min(max(AHEAD // numbers, 1), MOST_AHEAD)
        for first in range(0, count, ahead):
            drawn = min(count - first, ahead)
            whole = self._drawn(drawn * sequences, env)
            for index in range(drawn):
                yield whole.part(slice(index * sequences, (index + 1) * sequences))

    def _drawn(self, sequences: int, env: VecNormalize | None) -> Sequences:
        """So many sequences, drawn uniformly from those of all environments."""
        # blocks from the oldest that is whole to the newest that is followed by enough
        length = self.sequence_length
        overwritten = np.maximum(self.counts - self.buffer_size, 0)
        oldest = -(-overwritten // length)  # rounded up
        choices = (self.counts - self.entries) // length - oldest + 1
        choices = np.maximum(choices, 1)  # until the buffer is ready
        ends = np.cumsum(choices)
        drawn = np.random.randint(ends[-1], size=sequences)
        envs = np.searchsorted(ends, drawn, side="right")
        blocks = oldest[envs] + drawn - (ends - choices)[envs]
        at = (blocks * length + np.arange(self.entries)[:, None]) % self.buffer_size

        named = {key: kept[envs, at] for key, kept in self.kept.items()}
        observations = self._normalize_obs(named.get("", named), env)
        rewards = self._normalize_reward(self.rewards[envs, at], env)
        states = self.states[envs, blocks % self.states.shape[1]]
        has_memory = states.shape[1] > 0
        return Sequences(
            observations=each(self._tensor, observations),
            actions=self._float(self.actions[envs, at]),
            rewards=self._float(rewards),
            dones=self._float(self.dones[envs, at]),
            starts=self._float(self.starts[envs, at]),
            weights=self._float(self.weights[envs, at]),
            states=self._tensor(states) if has_memory else None,
        )

    def _tensor(self, array: np.ndarray) -> Tensor:
        return torch.as_tensor(array, device=self.device)

    def _float(self, array: np.ndarray) -> Tensor:
        return torch.as_tensor(array, dtype=torch.float32, device=self.device)
