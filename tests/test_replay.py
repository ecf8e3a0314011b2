"""Laws of the replay buffer: whole pieces of a stream, and the same buffer from its
contents.
"""

import gymnasium as gym
import numpy as np
import pytest
import torch

from spikepropamine.agents.replay_buffer import SequenceReplayBuffer


def filled(n_envs, steps, ends, size=40, **arguments):
    """A buffer in which an observation is (environment, number of the entry)."""
    space = gym.spaces.Box(-1e9, 1e9, (2,))
    buffer = SequenceReplayBuffer(
        size * n_envs, space, gym.spaces.Box(-1, 1, (1,)), "cpu", n_envs, **arguments
    )
    buffer.keep_states(1)
    counts, starts = np.zeros(n_envs), np.ones(n_envs)
    for step in range(steps):
        obs = np.stack([np.arange(n_envs), counts], axis=1)
        done = np.array([step % end == end - 1 for end in ends])
        last = {i: np.array([i, counts[i] + 1]) for i in np.flatnonzero(done)}
        infos = [{"TimeLimit.truncated": step % 2 == 0}] * n_envs
        states = counts[:, None] + 0.5
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
        counts, starts = counts + 1 + done, done
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


@pytest.mark.parametrize("steps", [11, 200])
def test_contents_make_the_same_buffer(steps):
    made = {"ends": (7, 11), "sequence_length": 4}
    buffer, again = filled(2, steps, **made), filled(2, 3, **made)
    again.restore({name: x.copy() for name, x in buffer.contents().items()})
    for one, two in zip(*(self_made(x) for x in (buffer, again))):
        for a, b in zip(one, two):
            torch.testing.assert_close(a, b, rtol=0, atol=0)
    with pytest.raises(ValueError, match="its replay buffer is of 2"):
        filled(1, 3, ends=(7,), sequence_length=4).restore(buffer.contents())


def self_made(buffer):
    np.random.seed(0)
    return list(buffer.minibatches(5, 16))
