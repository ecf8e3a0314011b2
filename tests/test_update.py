"""PPO's update with its gradient written out is Stable-Baselines3's, but for the order of sums."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from conftest import POLICIES, RandomEnv, make_model, make_venv
from stable_baselines3.common.env_util import make_vec_env
from stable_baselines3.common.logger import Logger

from spikepropamine.agents import PlasticPPO, update, zoo
from spikepropamine.agents.rollout import PPO
from spikepropamine.agents.update import PlainUpdates, policy_loss, value_loss
from spikepropamine.policies.dense import Dense, tanh
from spikepropamine.policies.plain import plain_evaluate
from spikepropamine.training.settings import defaults

SETTINGS = {
    "plain": {},
    "all terms": {"ent_coef": 0.1, "clip_range_vf": 0.05, "learning_rate": 0.02},
    "early stop": {"target_kl": 1e-3, "learning_rate": 0.02, "n_epochs": 5},
    "raw advantages": {"normalize_advantage": False, "clip_range": 0.01, "learning_rate": 0.02},
}


@pytest.mark.parametrize("clip", [0.0, 0.2])
def test_gradient_of_the_policys_loss_is_that_of_the_plain_form(clip):
    generator = torch.Generator().manual_seed(0)
    old, advantages = torch.randn(2, 500, generator=generator)
    # a third each of unchanged likelihoods, of changed ones, and of advantages of zero
    changed = 0.3 * torch.randn(500, generator=generator)
    log_probs = (old + torch.where(torch.arange(500) % 3 == 0, 0.0, changed)).requires_grad_()
    advantages = torch.where(torch.arange(500) % 3 == 1, 0.0, advantages)
    ratio = torch.exp(log_probs - old)
    bounded = advantages * torch.clamp(ratio, 1 - clip, 1 + clip)
    loss = -torch.min(advantages * ratio, bounded).mean()
    loss.backward()
    found = policy_loss(log_probs.detach(), old, advantages, clip)
    torch.testing.assert_close(found.gradient, log_probs.grad)
    torch.testing.assert_close(found.loss, loss.detach())
    assert found.clipped == ((ratio - 1).abs() > clip).float().mean()
    assert found.divergence >= 0


@pytest.mark.parametrize("clip", [None, 0.2])
def test_gradient_of_the_values_loss_is_that_of_the_plain_form(clip):
    values, old, returns = torch.randn(3, 500)
    values = (old + 0.3 * values).requires_grad_()
    kept = values if clip is None else old + torch.clamp(values - old, -clip, clip)
    loss = torch.nn.functional.mse_loss(returns, kept)
    loss.backward()
    found, gradient = value_loss(values.detach(), old, returns, clip)
    torch.testing.assert_close(gradient, values.grad)
    torch.testing.assert_close(found, loss.detach())


@pytest.mark.parametrize("loss", [policy_loss, lambda *x: value_loss(*x)])
def test_what_is_no_number_is_not_hidden_by_the_clip(loss):
    worse, old, third = torch.tensor([np.nan, 0.0]), torch.zeros(2), torch.ones(2)
    gradient = loss(worse, old, third, 0.2)[1]
    assert torch.isnan(gradient[0]) and torch.isfinite(gradient[1])


def test_gradients_of_dense_layers_are_those_of_finite_differences():
    sizes = [(5, 3), (5,), (4, 5), (4,), (2, 4), (2,)]
    inputs = [torch.randn(7, 3), *map(torch.randn, sizes)]
    inputs = [x.double().requires_grad_() for x in inputs]
    assert torch.autograd.gradcheck(Dense.apply, inputs)
    assert torch.autograd.gradcheck(tanh, inputs[:1])


def test_a_step_that_falls_stops_at_zero():
    """Where the last rollout goes beyond the end of training, Stable-Baselines3's share of what is
    left is negative.
    """
    settings = defaults("CueAssociation-v0", "mlp")
    trainer = replace(settings.trainer, n_steps=8, batch_size=8, learning_rate_schedule="linear")
    model = zoo.build("mlp", make_venv(), settings.network, trainer)
    model.learn(9)  # two rollouts of eight steps
    assert model._current_progress_remaining < 0
    assert model.policy.optimizer.param_groups[0]["lr"] == 0


def filled(kind):
    """An algorithm after its first rollout; episodes of five steps start inside its sequences."""
    algorithm, policy, arguments = POLICIES[kind]
    venv = make_vec_env(RandomEnv, 3, 0, env_kwargs={"action": "box"})
    model = make_model(venv, algorithm, policy, policy_kwargs=arguments, n_epochs=0)
    PlainUpdates.train, train = lambda self: None, PlainUpdates.train
    try:
        model.learn(16 * 3)
    finally:
        PlainUpdates.train = train
    return model


@pytest.mark.parametrize("kind", POLICIES)
def test_likelihoods_and_values_are_those_of_the_rollout_and_gradients_those_of_the_policy(kind):
    model = filled(kind)
    recurrent = isinstance(model, PlasticPPO)
    parameters = [x for x in model.policy.parameters() if x.requires_grad]
    for batch in model.rollout_buffer.get(24):
        values, log_probs, entropy = plain_evaluate(model.policy)(batch)
        torch.testing.assert_close(log_probs, batch.old_log_prob, rtol=1e-4, atol=1e-5)
        torch.testing.assert_close(values, batch.old_values, rtol=1e-4, atol=1e-5)
        memory = (batch.lstm_states, batch.episode_starts) if recurrent else ()
        stock = model.policy.evaluate_actions(batch.observations, batch.actions, *memory)
        weights = torch.randn(3, len(values))
        found, expected = [
            torch.autograd.grad([v.flatten(), p, e], parameters, list(weights), allow_unused=True)
            for v, p, e in ((values, log_probs, entropy), stock)
        ]
        torch.testing.assert_close(entropy, stock[2])
        torch.testing.assert_close(found, expected, rtol=1e-3, atol=1e-4)


def learned(kind, action, settings, monkeypatch, stock):
    """What a training of three rollouts logs in the end, and its parameters."""
    if stock:
        train = lambda self: super(PlainUpdates, self).train()  # noqa: E731
        monkeypatch.setattr(PlainUpdates, "train", train)
    algorithm, policy, arguments = POLICIES[kind]
    venv = make_vec_env(RandomEnv, 3, 0, env_kwargs={"action": action})
    model = make_model(venv, algorithm, policy, policy_kwargs=arguments, **SETTINGS[settings])
    logger = Logger(None, [])
    model.set_logger(logger)
    model.learn(3 * 16 * 3)
    logged = {k: v for k, v in logger.name_to_value.items() if k.startswith("train/")}
    return logged, model.policy.state_dict()


@pytest.mark.parametrize("settings", SETTINGS)
@pytest.mark.parametrize(
    ("kind", "action"),
    [("mlp", "box"), ("relu", "box"), ("mlp", "discrete"), ("lstm", "box"), ("ndp", "box"),
     ("ndp", "multi_binary")],
)  # fmt: skip
def test_a_training_is_that_of_stable_baselines(kind, action, settings, monkeypatch):
    ours = learned(kind, action, settings, monkeypatch, stock=False)
    theirs = learned(kind, action, settings, monkeypatch, stock=True)
    assert ours[0] == pytest.approx(theirs[0], rel=1e-3, abs=1e-5)
    torch.testing.assert_close(ours[1], theirs[1], rtol=1e-3, atol=1e-4)


def test_a_policy_that_is_not_known_is_asked_by_its_own_method():
    model = make_model(make_venv(action="discrete"), PPO, "MlpPolicy")
    assert plain_evaluate(model.policy) is None
    assert update.evaluator(model).__name__ == "evaluate"
