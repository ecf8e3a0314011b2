"""The sequence buffer: what goes in comes out once per epoch, in order, with the right
states.
"""

import numpy as np
import pytest
import torch
from conftest import make_model, make_venv
from gymnasium import spaces
from sb3_contrib.common.recurrent.type_aliases import RNNStates

from spikepropamine.agents.rollout_buffer import (
    SequenceDictRolloutBuffer,
    SequenceRolloutBuffer,
)

STEPS = 12
ENVS = 3
LENGTH = 4
SPACES = {
    "box": spaces.Box(0.0, np.inf, (2,)),
    "dict": spaces.Dict(
        a=spaces.Box(0.0, np.inf, (2,)), b=spaces.Box(0.0, np.inf, (1, 2))
    ),
}


def label(step):
    """A number for each environment that no other transition has: 10 * step +
    environment.
    """
    return 10.0 * step + np.arange(ENVS)


def observation_at(step, kind):
    pair = np.repeat(label(step)[:, None], 2, axis=1).astype(np.float32)
    return pair if kind == "box" else {"a": pair, "b": pair[:, None, :] + 0.5}


def states_at(step):
    """Four states, [1, environments, 2] each, that tell where and when they are
    from.
    """
    x = torch.tensor(label(step), dtype=torch.float32)[None, :, None].expand(1, ENVS, 2)
    return RNNStates((x + 0.1, x + 0.2), (x + 0.3, x + 0.4))


def starts_at(step):
    return np.array([step % (4 + i) == 0 for i in range(ENVS)])


def filled(kind="box", action=None, length=LENGTH):
    """A full buffer in which every number says which transition it belongs to."""
    cls = SequenceDictRolloutBuffer if kind == "dict" else SequenceRolloutBuffer
    action = action or spaces.Box(0.0, np.inf, (1,))
    buffer = cls(
        STEPS, SPACES[kind], action, device="cpu", gamma=0.9, gae_lambda=0.8,
        n_envs=ENVS,
        sequence_length=length,
    )  # fmt: skip
    fill(buffer, kind)
    return buffer


def fill(buffer, kind="box"):
    buffer.reset()
    for step in range(STEPS):
        numbers = torch.tensor(label(step), dtype=torch.float32)
        buffer.add(
            observation_at(step, kind),
            label(step)[:, None],
            label(step),
            starts_at(step),
            numbers[:, None] + 0.25,
            numbers + 0.75,
            lstm_states=states_at(step),
        )
    buffer.compute_returns_and_advantage(torch.zeros(ENVS), np.zeros(ENVS, dtype=bool))


def labels_of(observations):
    return (observations["a"] if isinstance(observations, dict) else observations)[
        :, 0
    ].numpy()


def test_all_fields_of_a_transition_stay_together():
    buffer = filled("dict")
    returns = dict(zip(buffer.values.flatten(), buffer.returns.flatten()))
    for batch in buffer.get(2 * LENGTH):
        labels = labels_of(batch.observations)
        np.testing.assert_array_equal(batch.observations["b"][:, 0, 1], labels + 0.5)
        np.testing.assert_array_equal(batch.actions[:, 0], labels)
        np.testing.assert_array_equal(batch.old_values, labels + 0.25)
        np.testing.assert_array_equal(batch.old_log_prob, labels + 0.75)
        np.testing.assert_array_equal(
            batch.returns, [returns[v.item()] for v in batch.old_values]
        )
        np.testing.assert_allclose(
            batch.advantages, batch.returns - batch.old_values, rtol=1e-4
        )
        starts = [starts_at(int(x // 10))[int(x % 10)] for x in labels]
        np.testing.assert_array_equal(batch.episode_starts, starts)


def test_a_second_rollout_replaces_the_first():
    buffer = filled()
    list(buffer.get(LENGTH))
    fill(buffer)
    buffer.rewards += 1.0
    buffer.actions += 1.0
    assert sorted(
        torch.cat([b.actions for b in buffer.get(LENGTH)]).flatten()
    ) == sorted(x + 1.0 for step in range(STEPS) for x in label(step))


def test_epochs_differ_in_order_and_a_seed_repeats_them():
    def order():
        return np.concatenate([labels_of(b.observations) for b in buffer.get(LENGTH)])

    buffer = filled()
    torch.manual_seed(0)
    first = order()
    second = order()
    torch.manual_seed(0)
    assert not np.array_equal(first, second)
    np.testing.assert_array_equal(order(), first)


@pytest.mark.parametrize(
    "action", [spaces.MultiBinary(1), spaces.Box(0, 1, (1,), np.float64)]
)
def test_actions_come_as_float32_as_in_the_buffers_of_sb3(action):
    assert next(filled(action=action).get(LENGTH)).actions.dtype == torch.float32


def test_sequences_are_as_long_as_the_rollout_unless_told_otherwise():
    assert (
        make_model(make_venv(), sequence_length=None).rollout_buffer.sequence_length
        == 16
    )


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (
            {"batch_size": 4, "sequence_length": 8},
            "at most batch_size, but 8 is more than 4",
        ),
        ({"n_steps": 4, "sequence_length": 8}, "at most n_steps, but 8 is more than 4"),
        ({"sequence_length": 0}, "sequence_length must be at least 1"),
    ],
)
def test_sequences_that_do_not_fit_are_named(arguments, words):
    with pytest.raises(ValueError, match=words):
        make_model(make_venv(), **arguments)


@pytest.mark.parametrize("batch_size", [1, 7, 8, 100, None])
@pytest.mark.parametrize("length", [4, 5, 11, 12])
@pytest.mark.parametrize("kind", ["box", "dict"])
def test_sequences_lose_and_repeat_nothing_and_come_with_the_state_before(
    kind, length, batch_size
):
    buffer = filled(kind, length=length)
    everything = sorted(x for step in range(STEPS) for x in label(step))
    batches = list(buffer.get(batch_size))
    assert buffer.states["pi"][0].shape[1] == -(
        -STEPS // length
    )  # where sequences start alone
    assert (
        sorted(np.concatenate([labels_of(b.observations) for b in batches]))
        == everything
    )
    for batch in batches:
        sequences = batch.lstm_states.pi[0].shape[1]
        assert sequences == 1 or len(batch.returns) <= (batch_size or STEPS * ENVS)
        for sequence in labels_of(batch.observations).reshape(sequences, -1):
            assert (np.diff(sequence) == 10.0).all() and (
                sequence[0] // 10
            ) % length == 0
        first = labels_of(batch.observations).reshape(sequences, -1)[:, 0]
        states = [*batch.lstm_states.pi, *batch.lstm_states.vf]
        for offset, state in zip((0.1, 0.2, 0.3, 0.4), states):
            expected = np.repeat(first[:, None] + offset, 2, axis=1)
            np.testing.assert_allclose(state[0], expected, rtol=1e-6)
        assert batch.mask.shape == batch.returns.shape and (batch.mask == 1.0).all()


@pytest.mark.parametrize(("n_steps", "batch_size"), [(13, 7), (2, None)])
@pytest.mark.parametrize("policy", ["PlasticSpikingPolicy", "MlpLstmPolicy"])
def test_any_lengths_train_and_repeat_themselves(policy, n_steps, batch_size):
    weights = []
    for _ in range(2):
        model = make_model(
            make_venv(),
            policy=policy,
            n_steps=n_steps,
            batch_size=batch_size,
            sequence_length=None,
        )
        model.learn(2 * n_steps)
        weights.append(
            torch.cat([p.detach().flatten() for p in model.policy.parameters()])
        )
    assert torch.equal(*weights) and weights[0].isfinite().all()
