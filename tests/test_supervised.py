"""Supervised training: the targets that the environment reports, where it reports
them.
"""

import gymnasium as gym
import numpy as np
import pytest
import torch
from conftest import VARIANTS, cross_entropies, make_model, same
from stable_baselines3.common.vec_env import DummyVecEnv

import spikepropamine  # noqa: F401  registers the environments
from spikepropamine.agents import supervised
from spikepropamine.agents.supervised import SupervisedPlastic

BOX = gym.spaces.Box(-1.0, 1.0, (2,))


class Copy(gym.Env):
    """At every other step: name the bit that is shown. At the others the opposite is
    shown.
    """

    observation_space = gym.spaces.Box(
        -1.0, 1.0, (2,)
    )  # is a response due; the bit as -1 or 1
    action_space = gym.spaces.Discrete(2)

    def _observation(self):
        self.bit = int(self.np_random.integers(2))
        due = self.clock % 2 == 0
        sign = 2 * self.bit - 1
        return np.array([due, sign if due else -sign], dtype=np.float32)

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.clock = 0
        return self._observation(), {}

    def step(self, action):
        info = {"target": self.bit} if self.clock % 2 == 0 else {}
        self.clock += 1
        return self._observation(), 0.0, self.clock == 4, False, info


def copying(n_envs=2):
    venv = DummyVecEnv([Copy] * n_envs)
    venv.seed(0)
    return venv


@pytest.mark.parametrize(("algorithm", "policy"), VARIANTS)
def test_the_loss_falls_below_that_of_guessing(algorithm, policy):
    model = make_model(copying(), algorithm, policy, learning_rate=1e-2, n_epochs=4)
    losses = cross_entropies(model, 10)
    assert losses[-1] < 0.5 * np.log(2)
    assert losses[-1] < 0.8 * losses[0]


@pytest.mark.parametrize(("algorithm", "policy"), VARIANTS)
def test_the_loss_is_the_mean_cross_entropy_of_the_targets_that_were_due(
    algorithm, policy
):
    model = make_model(
        copying(), algorithm, policy, learning_rate=0.0, n_epochs=1, batch_size=32
    )
    with torch.no_grad():
        model.policy.action_net.weight.normal_(std=3.0)  # far from guessing
    (logged,) = cross_entropies(model, 1)
    (batch,) = model.rollout_buffer.get(32)
    memory = () if policy == "MlpPolicy" else (batch.lstm_states, batch.episode_starts)
    due, sign = batch.observations.T  # the observation says what the target is

    def mean_cross_entropy(chosen):
        with torch.no_grad():
            targets = (sign > 0).long()
            log_likelihood = model.policy.evaluate_actions(
                batch.observations, targets, *memory
            )[1]
        return -log_likelihood[chosen].mean().item()

    assert logged == pytest.approx(mean_cross_entropy(due == 1), abs=1e-5)
    assert abs(logged - mean_cross_entropy(due == due)) > 0.01


def test_a_rollout_that_ends_before_a_response_is_due_changes_nothing():
    venv = DummyVecEnv(
        [lambda: gym.make("CueAssociation-v0", trials=2, cue_length=12)] * 4
    )
    venv.seed(0)
    model = make_model(venv, SupervisedPlastic, n_steps=8, batch_size=32)
    weights = [{k: x.clone() for k, x in model.policy.state_dict().items()}]
    for _ in range(2):
        model.learn(8 * 4, reset_num_timesteps=False)
        weights.append({k: x.clone() for k, x in model.policy.state_dict().items()})
    assert same(*weights[:2]) and not same(*weights[1:])


def test_targets_that_are_no_actions_are_refused_with_a_reason():
    venv = DummyVecEnv(
        [lambda: gym.wrappers.TransformAction(Copy(), lambda _: 0, BOX)] * 2
    )
    with pytest.raises(ValueError, match="are no actions of"):
        make_model(venv, SupervisedPlastic).learn(32)


@pytest.mark.parametrize(("algorithm", "policy"), VARIANTS)
def test_a_minibatch_whose_gradient_exploded_is_left_out_but_not_for_ever(
    algorithm, policy, monkeypatch
):
    model = make_model(copying(), algorithm, policy, n_epochs=1, batch_size=32)
    evaluate = model.policy.evaluate_actions

    def exploding(*batch):
        values, log_probs, entropy = evaluate(*batch)
        return values, 1e9 * log_probs, entropy

    monkeypatch.setattr(model.policy, "evaluate_actions", exploding)
    before = [x.clone() for x in model.policy.parameters()]
    assert np.isfinite(cross_entropies(model, supervised.PATIENCE)).all()
    assert model.logger.name_to_value["train/left_out"] == 1
    assert all(torch.equal(a, b) for a, b in zip(before, model.policy.parameters()))
    cross_entropies(model, 1)
    assert model.logger.name_to_value["train/left_out"] == 0
    assert not all(torch.equal(a, b) for a, b in zip(before, model.policy.parameters()))
    cross_entropies(model, 1)  # the count begins anew
    assert model.logger.name_to_value["train/left_out"] == 1
