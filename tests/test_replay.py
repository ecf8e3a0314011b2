"""Laws of the replay buffer: whole pieces of a stream, and the same buffer from its
contents.
"""

import gymnasium as gym
import numpy as np
import pytest
import torch

from spikepropamine.agents import replay_buffer
from spikepropamine.agents.replay_buffer import (
    OF_ENTRIES,
    Blocks,
    SequenceReplayBuffer,
)


def filled(n_envs, steps, ends, size=40, given_up=0, width=1, **arguments):
    """A buffer in which an observation is (environment, number of the entry), and an
    episode is given up after so many steps; states have so many numbers.
    """
    space = gym.spaces.Box(-1e9, 1e9, (2,))
    buffer = SequenceReplayBuffer(
        size * n_envs, space, gym.spaces.Box(-1, 1, (1,)), "cpu", n_envs, **arguments
    )
    buffer.keep_states(width)
    counts = np.zeros(n_envs)
    starts = np.ones(n_envs)
    for step in range(steps):
        obs = np.stack([np.arange(n_envs), counts], axis=1)
        done = np.array([step % end == end - 1 for end in ends])
        last = {i: np.array([i, counts[i] + 1]) for i in np.flatnonzero(done)}
        infos = [{"TimeLimit.truncated": step % 2 == 0}] * n_envs
        states = np.repeat(counts[:, None] + 0.5, width, axis=1)
        buffer.add(
            obs,
            obs[:, 1:] / 1000,
            counts,
            done,
            infos,
            last,
            starts,
            states,
            states + 1,
        )
        is_given_up = given_up > 0 and (step + 1) % given_up == 0
        counts = counts + 1 + done
        starts = done | is_given_up
    return buffer


@pytest.mark.parametrize("steps", [25, 200])
@pytest.mark.parametrize("burn_in", [0, 3])
def test_sequences_are_whole_pieces_of_a_stream(steps, burn_in):
    buffer = filled(3, steps, (7, 9, 50), sequence_length=4, burn_in=burn_in)
    np.random.seed(0)
    seen = set()
    for batch in buffer.minibatches(20, 32):
        obs = batch.observations
        assert (obs[:, :, 0] == obs[0, :, 0]).all()
        assert (obs[1:, :, 1] == obs[:-1, :, 1] + 1).all()
        torch.testing.assert_close(batch.states[:, 0], obs[0, :, 1] + 0.5)
        real = batch.weights == 1
        torch.testing.assert_close(batch.rewards[real], obs[..., 1][real])
        torch.testing.assert_close(
            batch.actions[..., 0][real], obs[..., 1][real] / 1000
        )
        assert not batch.rewards[~real].any() and not batch.dones[~real].any()
        # after the last observation of an episode, another one starts
        assert (batch.starts[1:] == ~real[:-1]).all()
        seen |= {(int(e), int(n)) for e, n in obs[burn_in:-1].flatten(0, 1)}
    if steps == 200:
        newest = buffer.counts.max()
        assert min(n for _, n in seen) >= newest - 2 * buffer.buffer_size
        assert max(n for _, n in seen) >= newest - 3 * buffer.sequence_length
        if not burn_in:  # every step is in a sequence
            assert len(seen) >= 3 * (buffer.buffer_size - 3 * buffer.sequence_length)


MADE = {"ends": (7, 11), "given_up": 5, "sequence_length": 4}


def arrays_of(buffer):
    kept = [*buffer.kept.values(), buffer.states, buffer.counts]
    return [*kept, *(getattr(buffer, name) for name in OF_ENTRIES)]


def assert_equal(buffer, again):
    for x, y in zip(arrays_of(buffer), arrays_of(again), strict=True):
        np.testing.assert_array_equal(x, y)
    for one, two in zip(self_made(buffer), self_made(again), strict=True):
        for a, b in zip(one, two):
            torch.testing.assert_close(a, b, rtol=0, atol=0)


@pytest.mark.parametrize("block", [1, 400, 2**24])
@pytest.mark.parametrize("steps", [11, 30, 200])
def test_contents_make_the_same_buffer(steps, block, monkeypatch):
    monkeypatch.setattr(replay_buffer, "BLOCK", block)
    buffer = filled(2, steps, **MADE)
    again = filled(2, 0, **MADE)
    again.restore(buffer.contents())
    assert_equal(buffer, again)
    with pytest.raises(ValueError, match="its replay buffer is of 2"):
        filled(1, 3, ends=(7,), sequence_length=4).restore(buffer.contents())
    contents = buffer.contents()
    contents["rewards"] = contents["rewards"][:, 1:]
    with pytest.raises(ValueError, match="has rewards of other shapes"):
        again.restore(contents)


def test_a_block_has_as_many_whole_sequences_as_it_may_have_bytes(monkeypatch):
    buffer = filled(2, 200, **MADE)
    size = sum(x.nbytes for x in [*arrays_of(buffer), buffer.states])
    sequences = buffer.states.shape[1]
    monkeypatch.setattr(replay_buffer, "BLOCK", -(-size // 4))
    assert sequences >= 8
    assert buffer.block_entries == sequences // 4 * buffer.sequence_length
    monkeypatch.setattr(replay_buffer, "BLOCK", 1)
    assert buffer.block_entries == buffer.sequence_length


def test_blocks_do_not_change_any_more(monkeypatch):
    monkeypatch.setattr(replay_buffer, "BLOCK", 400)
    stored = {}
    for steps in range(1, 90):
        buffer = filled(2, steps, **MADE)
        again = filled(2, 0, **MADE)
        contents = buffer.contents()
        for number, block in contents["blocks"].items():
            stored.setdefault(number, block)
        numbers = list(contents["blocks"])
        contents["blocks"] = Blocks(numbers, stored.__getitem__, {})
        again.restore(contents)
        assert_equal(buffer, again)
    assert numbers[0] > 3 and len(numbers) > 1


def test_contents_without_blocks_are_read():
    """Those of older checkpoints."""
    for steps in (11, 200):
        buffer = filled(2, steps, **MADE)
        again = filled(2, 0, **MADE)
        size = min(buffer.counts.max(), buffer.buffer_size)
        contents = {name: getattr(buffer, name)[:, :size] for name in OF_ENTRIES}
        contents |= {
            "observations ": buffer.kept[""][:, :size],
            "counts": buffer.counts,
        }
        again.restore(contents | {"states": buffer.states[:, : -(-size // 4)]})
        assert_equal(buffer, again)


def self_made(buffer):
    np.random.seed(0)
    return list(buffer.minibatches(5, 16))


def test_a_buffer_that_cannot_fit_names_its_size(monkeypatch):
    spaces = (gym.spaces.Box(-1, 1, (3,)), gym.spaces.Box(-1, 1, (1,)))
    with pytest.raises(ValueError, match=r"no room in memory: lower buffer_size"):
        SequenceReplayBuffer(10**16, *spaces)
    monkeypatch.setattr(replay_buffer, "MEMORY", 10_000)
    with pytest.warns(UserWarning, match=r"takes 0.0 GiB, .* \(--trainer.buffer-size "):
        SequenceReplayBuffer(1000, *spaces)


def test_a_state_that_cannot_fit_is_refused(monkeypatch):
    buffer = SequenceReplayBuffer(
        1000, gym.spaces.Box(-1, 1, (3,)), gym.spaces.Box(-1, 1, (1,))
    )
    monkeypatch.setattr(replay_buffer, "MEMORY", 10_000)
    with pytest.raises(ValueError, match="lower buffer_size"):
        buffer.keep_states(64)


def test_every_sequence_is_drawn_as_often_as_another():
    """Though environments hold more or fewer of them: episodes end with an entry."""
    buffer = filled(2, 35, (2, 35), size=80, sequence_length=4)
    first, second = buffer.counts
    assert first > 1.3 * second
    np.random.seed(0)
    starts = np.concatenate(
        [batch.observations[0].numpy() for batch in buffer.minibatches(500, 32)]
    )
    _, times = np.unique(starts, axis=0, return_counts=True)
    counted = len(times)
    assert counted == sum((buffer.counts - buffer.entries) // 4 + 1)
    expected = len(starts) / counted
    # five standard deviations of a count
    assert np.abs(times - expected).max() < 5 * np.sqrt(expected)
