"""The GRU policy: PyTorch's GRU, step by step as in sequences, and saved as any other."""

import numpy as np
import pytest
import torch
from conftest import make_venv

from spikepropamine.agents.zoo import TrainerSettings, build
from spikepropamine.evaluation.judge import cost
from spikepropamine.policies import NetworkConfig
from spikepropamine.policies.export import load_policy, save_policy
from spikepropamine.policies.gru import Gru


def model(**trainer):
    settings = TrainerSettings(n_steps=12, batch_size=24, sequence_length=6, **trainer)
    return build("gru", make_venv(action="box"), NetworkConfig(hidden=(7,)), settings)


def test_it_is_a_gru_whose_second_state_says_nothing():
    gru, plain = Gru(3, 5), torch.nn.GRU(3, 5)
    plain.load_state_dict(gru.state_dict())
    x, hidden, any_cell = torch.randn(6, 2, 3), torch.randn(1, 2, 5), torch.randn(1, 2, 5)
    outputs, (after, cell) = gru(x, (hidden, any_cell))
    expected, expected_after = plain(x, hidden)
    assert torch.equal(outputs, expected) and torch.equal(after, expected_after)
    assert not cell.any()


def test_recomputed_log_probabilities_are_the_collected_ones():
    ppo = model()
    seen = {}

    def compare():
        for batch in ppo.rollout_buffer.get(24):
            with torch.no_grad():
                log_prob = ppo.policy.evaluate_actions(
                    batch.observations, batch.actions, batch.lstm_states, batch.episode_starts
                )[1]
            torch.testing.assert_close(log_prob, batch.old_log_prob, rtol=0, atol=1e-5)
            seen[len(seen)] = len(log_prob)

    ppo.train = compare
    ppo.learn(1)
    assert seen


@pytest.mark.parametrize("kind", ["ppo", "supervised"])
def test_it_is_built_for_both_trainers(kind):
    assert type(model(kind=kind).policy).__name__ == "GruPolicy"


def test_saved_and_loaded_it_acts_the_same(tmp_path):
    policy = model().policy
    save_policy(tmp_path / "policy", policy)
    again = load_policy(tmp_path / "policy").policy
    state = other = None
    for _ in range(4):
        observation = np.random.default_rng(0).normal(size=(2, 3)).astype(np.float32)
        action, state = policy.predict(observation, state, deterministic=True)
        same, other = again.predict(observation, other, deterministic=True)
        assert np.array_equal(action, same)


def test_its_cost_counts_three_gates():
    policy = model().policy
    with torch.no_grad():
        (layer, *_), _ = cost._lstm(policy, torch.randn(4, 3))
    assert layer["name"] == "gru0" and layer["state_bytes"] == 4 * 7
    assert layer["parameter_bytes"] == 4 * 3 * 7 * (3 + 7 + 2)
