"""SAC, TD3 and CrossQ: the same losses and weights as those of SB3 and sb3-contrib,
and what is deployed.
"""

import copy
import csv
from itertools import pairwise
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from sb3_contrib import CrossQ
from sb3_contrib.crossq.policies import CrossQPolicy
from stable_baselines3 import SAC, TD3
from stable_baselines3.common.env_util import make_vec_env
from stable_baselines3.common.logger import Logger
from stable_baselines3.common.torch_layers import BaseFeaturesExtractor

from spikepropamine.agents import PlasticSAC
from spikepropamine.agents.crossq import PlasticCrossQ
from spikepropamine.agents.td3 import PlasticTD3
from spikepropamine.agents.tqc import PlasticTQC
from spikepropamine.policies.export import load_policy
from spikepropamine.policies.fast import fast
from spikepropamine.training import run as train

WIDTHS = [16, 12]
STEPS = 24


def models(ours, theirs, policy, **arguments):
    """One of ours and one of theirs, with equal weights."""
    venv = make_vec_env("Pendulum-v1", 2)
    common = {
        "learning_starts": 10_000,
        "learning_rate": 1e-2,
        "buffer_size": 1000,
        "seed": 1,
        "device": "cpu",
        **arguments,
    }
    widths = {"net_arch": {"pi": WIDTHS, "qf": WIDTHS}}
    mine = ours("MlpPolicy", venv, sequence_length=1, policy_kwargs=widths, **common)
    other = theirs(policy, venv, policy_kwargs=widths, **common)
    for model in (mine, other):
        model.set_logger(Logger(None, []))
    return mine, other


def linear_layers(module):
    return [x for x in module.modules() if isinstance(x, torch.nn.Linear)]


def actor_weights(actor):
    """Of the linear layers of either, in their order."""
    return [x for layer in linear_layers(actor) for x in (layer.weight, layer.bias)]


def critic_weights(critic):
    """Of all SB3's critics, layer by layer, as ours have them."""
    layers = zip(*(linear_layers(network) for network in critic.q_networks))
    for layer in layers:
        yield torch.stack([part.weight for part in layer])
        yield torch.stack([part.bias for part in layer])[:, None]


def samples(batch):
    """A minibatch of ours, of sequences of one step, as SB3 has it."""
    return SimpleNamespace(
        observations=batch.observations[0],
        next_observations=batch.observations[1],
        actions=batch.actions[0],
        rewards=batch.rewards[0, :, None],
        dones=batch.dones[0, :, None],
        discounts=None,
    )


def only(batch, chosen):
    """A minibatch with these sequences only."""
    names = ("observations", "actions", "rewards", "dones", "starts", "weights")
    return batch._replace(**{name: getattr(batch, name)[:, chosen] for name in names})


def same_updates(mine, other, updates):
    """Both learn from the same minibatches, with the same random numbers."""
    mine.learn(400)
    buffer = mine.replay_buffer
    buffer.dones[:, ::5] = buffer.weights[:, ::5]
    for index in range(updates):
        batch = buffer.sample(STEPS)
        whole = batch.weights[0] == 1  # theirs knows no steps that did not happen
        batch = only(batch, whole)
        other.replay_buffer.sample = lambda size, env, batch=batch: samples(batch)
        torch.manual_seed(index)
        logged = mine._update(batch)
        torch.manual_seed(index)
        other.train(1, int(whole.sum()))
        theirs = other.logger.name_to_value
        for name, value in logged.items():
            assert value.item() == pytest.approx(theirs[f"train/{name}"], rel=1e-4)
        other.logger.name_to_value.clear()
        other.logger.name_to_count.clear()


def assert_same(mine, other):
    for x, y in zip(mine, other, strict=True):
        torch.testing.assert_close(x, y, rtol=1e-3, atol=1e-5)


@pytest.mark.parametrize("delay", [1, 2])
def test_td3_learns_as_that_of_sb3(delay):
    mine, other = models(PlasticTD3, TD3, "MlpPolicy", policy_delay=delay)
    if delay == 2:
        mine._n_updates = (
            1  # SB3's actor moves with the second update, ours with the first
        )
    nets = (
        (mine.actor, other.actor),
        (mine.actor_target, other.actor_target),
    )
    for ours, theirs in nets:
        for x, y in zip(actor_weights(ours), actor_weights(theirs), strict=True):
            x.data.copy_(y.data)

    both = (
        (mine.critic, other.critic),
        (mine.critic_target, other.critic_target),
    )
    for ours, theirs in both:
        for x, y in zip(ours.layers, critic_weights(theirs), strict=True):
            x.data.copy_(y.data)
    start = [x.detach().clone() for x in actor_weights(mine.actor)]
    # SB3's noise has the shape of the actions; ours too, so both draw the same numbers
    same_updates(mine, other, 6)
    for ours, theirs in nets:
        assert_same(actor_weights(ours), actor_weights(theirs))
    for ours, theirs in both:
        assert_same(ours.layers, critic_weights(theirs))
    assert not torch.equal(start[0], actor_weights(mine.actor)[0])


class PlainActor(CrossQPolicy):
    """sb3-contrib's policy of CrossQ, whose critics alone are normalised."""

    def make_actor(self, features_extractor=None):
        self.actor_kwargs["batch_norm"] = False
        return super().make_actor(features_extractor)


def without_noise(mean, log_std):
    """Actions, and their log-likelihoods as of a squashed Gaussian."""
    squash = 2 * (np.log(2) - mean - torch.nn.functional.softplus(-2 * mean))
    log_probs = -log_std - 0.5 * np.log(2 * np.pi) - squash
    return torch.tanh(mean), log_probs.sum(dim=1)


def test_sac_learns_as_that_of_sb3(monkeypatch):
    mine, other = models(PlasticSAC, SAC, "MlpPolicy")
    both = (
        (mine.critic, other.critic),
        (mine.critic_target, other.critic_target),
    )
    for x, y in zip(actor_weights(mine.actor), actor_weights(other.actor), strict=True):
        x.data.copy_(y.data)
    for ours, theirs in both:
        for x, y in zip(ours.layers, critic_weights(theirs), strict=True):
            x.data.copy_(y.data)
    # theirs draws the actions after a step and those for the actor apart, ours
    # together: without noise both are the same
    monkeypatch.setattr(torch, "randn_like", torch.zeros_like)
    monkeypatch.setattr(other.actor.action_dist, "log_prob_from_params", without_noise)
    same_updates(mine, other, 30)
    assert_same(actor_weights(mine.actor), actor_weights(other.actor))
    for ours, theirs in both:
        assert_same(ours.layers, critic_weights(theirs))
    torch.testing.assert_close(mine.log_ent_coef, other.log_ent_coef)


@pytest.mark.parametrize("delay", [1, 3])
def test_crossq_learns_as_that_of_sb3_contrib(delay, monkeypatch):
    mine, other = models(PlasticCrossQ, CrossQ, PlainActor, policy_delay=delay)
    mine._n_updates = 1  # their actor moves with the last of so many updates
    for x, y in zip(actor_weights(mine.actor), actor_weights(other.actor), strict=True):
        x.data.copy_(y.data)
    networks = mine.critic.networks
    for ours, theirs in zip(networks, other.critic.q_networks, strict=True):
        ours.load_state_dict(theirs.state_dict())

    # theirs draws the actions after a step and those for the actor apart, ours
    # together: without noise both are the same
    monkeypatch.setattr(torch, "randn_like", torch.zeros_like)
    monkeypatch.setattr(other.actor.action_dist, "log_prob_from_params", without_noise)
    same_updates(mine, other, 6)
    assert_same(actor_weights(mine.actor), actor_weights(other.actor))
    for ours, theirs in zip(networks, other.critic.q_networks, strict=True):
        assert_same(ours.state_dict().values(), theirs.state_dict().values())
    torch.testing.assert_close(mine.log_ent_coef, other.log_ent_coef)
    assert networks[0][0].steps == 6


@pytest.mark.parametrize("cls", [PlasticSAC, PlasticTD3, PlasticTQC, PlasticCrossQ])
def test_steps_that_did_not_happen_teach_nothing(cls, monkeypatch):
    monkeypatch.setattr(torch, "randn_like", torch.zeros_like)
    learned = []
    for leave_out in (False, True):
        model, _ = models(cls, SAC, "MlpPolicy")
        model.target_policy_noise = 0.0  # of TD3: drawn for each row
        model.learn(400)
        buffer = model.replay_buffer
        buffer.weights[:, ::3] = 0  # in the middle of minibatches, too
        for _ in range(3):
            batch = buffer.sample(STEPS)
            happened = batch.weights[0] == 1
            assert 0 < happened.sum() < STEPS and not happened[:-1].all()
            if leave_out:
                batch = only(batch, happened)
            model._update(batch)
        learned.append([x.detach().clone() for x in model.policy.parameters()])
    assert_same(*learned)


@pytest.mark.parametrize("cls", [PlasticSAC, PlasticCrossQ])
def test_a_minibatch_without_steps_teaches_nothing(cls):
    model, _ = models(cls, SAC, "MlpPolicy")
    model.learn(400)
    model.replay_buffer.weights[:] = 0
    before = copy.deepcopy(model.policy.state_dict())
    model.train(2, STEPS)
    for name, x in model.policy.state_dict().items():
        assert torch.equal(x, before[name]), name


class Normalising(BaseFeaturesExtractor):
    """What is seen, normalised by minibatches while an algorithm learns."""

    def __init__(self, space):
        super().__init__(space, space.shape[0])
        self.layer = torch.nn.BatchNorm1d(space.shape[0])

    def forward(self, observations):
        return self.layer(observations)


def test_the_target_actor_of_td3_acts_as_in_evaluation_and_follows():
    venv = make_vec_env("Pendulum-v1", 2)
    policy = {"features_extractor_class": Normalising}
    model = PlasticTD3(
        "MlpPolicy", venv, learning_starts=50, seed=1, policy_kwargs=policy
    )
    model.learn(200)
    model.policy.set_training_mode(True)
    assert not model.actor_target.training
    both = [x.features_extractor.layer for x in (model.actor, model.actor_target)]
    for one, other in zip(*(x.buffers() for x in both), strict=True):
        assert torch.equal(one, other) and one.ne(0).any()


TINY = [
    "--env", "Pendulum-v1", "--env-kwargs", "max_episode_steps", "50", "--n-envs", "2",
    "--network.hidden", "8", "--trainer.critic", "8", "--trainer.train-freq", "16",
    "--trainer.gradient-steps", "4", "--trainer.batch-size", "32",
    "--trainer.sequence-length", "4", "--trainer.learning-starts", "100",
]  # fmt: skip


@pytest.mark.parametrize("kind", ["td3", "crossq"])
@pytest.mark.parametrize("policy", ["mlp", "lstm", "gru", "snn", "ndp-oja"])
def test_every_policy_trains_and_is_resumed(kind, policy, tmp_path):
    steps = 2000 if policy in ("mlp", "snn") else 200
    command = [*TINY, "--policy", policy, "--trainer.kind", kind]
    command += ["--runs", str(tmp_path)]
    assert train.main([*command, "--steps", str(steps)]) == 0
    assert train.main([*command, "--steps", str(steps + 100), "--resume"]) == 0
    run = tmp_path / "Pendulum-v1" / policy / "seed-0"
    rows = list(csv.DictReader((run / "progress.csv").open()))
    assert int(rows[-1]["time/total_timesteps"]) >= steps + 100
    assert float(rows[-1]["train/critic_loss"]) > 0
    deployed = load_policy(run / "policy")
    seen = np.random.randn(50, 3) * 9
    actions, _ = deployed.predict(seen, deterministic=True)
    assert (np.abs(actions) <= 2).all() and actions.shape == (50, 1)
    if kind == "td3":  # whose actor does not explore by itself
        policy = deployed.policy
        for way in (policy, fast(policy)):
            both = [way.predict(seen, deterministic=x)[0] for x in (True, False)]
            np.testing.assert_array_equal(*both)
    assert not [n for n, _ in deployed.policy.named_parameters() if "target" in n]


def test_targets_follow_within_each_call_of_train_as_those_of_sb3():
    mine, other = models(PlasticSAC, SAC, "MlpPolicy", target_update_interval=2)
    mine.learn(100)
    other.learn(100)

    def moves(model):
        """How often target critics move in two calls of three updates each."""
        target = next(iter(model.critic_target.parameters()))
        seen = []

        def keep(*_):
            seen.append(target.detach().clone())

        model.critic.optimizer.register_step_post_hook(keep)
        for _ in range(2):
            model.train(3, 8)
        keep()
        return sum(not torch.equal(one, two) for one, two in pairwise(seen))

    assert moves(mine) == moves(other) == 4
