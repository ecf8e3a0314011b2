"""Adaptive step sizes: they hold the divergence of an update, and survive saving."""

import numpy as np
import pytest
from stable_baselines3.common.env_util import make_vec_env

from agents.step_size import LARGEST, SMALLEST
from agents.zoo import TrainerSettings, build
from policies import NetworkConfig

NETWORK = NetworkConfig(hidden=(16, 16))


def algorithm(agent="snn", **trainer):
    settings = {"n_steps": 64, "batch_size": 16, "sequence_length": 4, "n_epochs": 4}
    settings |= {"learning_rate_schedule": "adaptive", "critic": (16,)} | trainer
    venv = make_vec_env("Pendulum-v1", 4, seed=0)
    return build(agent, venv, NETWORK, TrainerSettings(**settings))


def updates(model, count):
    """Step size, and divergence, of each of some updates."""
    seen, train = [], model.train

    def watched():
        before = model.step_size
        train()
        used = model.policy.optimizer.param_groups[0]["lr"]
        assert before is None or used == before
        seen.append((used, float(model.logger.name_to_value["train/approx_kl"])))

    model.train = watched
    model.learn(count * 256)
    del model.train
    return seen


@pytest.mark.parametrize("agent", ["mlp", "snn"])
@pytest.mark.parametrize("first", [5e-3, 2e-4])
def test_the_divergence_of_an_update_comes_near_the_desired_one(agent, first):
    seen = updates(algorithm(agent, learning_rate=first), 16)
    assert seen[0][0] == first
    assert 0.005 < np.exp(np.mean(np.log([kl for _, kl in seen[-10:]]))) < 0.02


def test_a_step_size_follows_the_square_root_of_the_divergence_within_bounds():
    model = algorithm(desired_kl=0.02)
    seen = updates(model, 6)
    for (size, kl), (after, _) in zip(seen, [*seen[1:], (model.step_size, None)]):
        factor = np.clip(np.sqrt(0.02 / kl), 1 / 1.5, 1.5)
        assert after == pytest.approx(np.clip(size * factor, SMALLEST, LARGEST))


def test_a_loaded_algorithm_goes_on_with_its_step_size(tmp_path):
    model = algorithm(learning_rate=1e-3)
    updates(model, 3)
    model.save(tmp_path / "model.zip")
    loaded = type(model).load(tmp_path / "model.zip", env=model.get_env())
    assert loaded.step_size == model.step_size != 1e-3
    assert loaded.desired_kl == model.desired_kl
    assert updates(loaded, 1)[0][0] == model.step_size
