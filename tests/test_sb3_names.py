"""Off-policy learning by SB3's names: policies, spaces of observations, arguments."""

import gymnasium as gym
import numpy as np
import pytest
import torch
from gymnasium import spaces
from sb3_contrib import RecurrentPPO
from stable_baselines3 import SAC, HerReplayBuffer
from stable_baselines3.common.env_util import make_vec_env
from stable_baselines3.common.preprocessing import is_image_space
from stable_baselines3.common.vec_env import VecTransposeImage

from spikepropamine.agents import (
    PlasticCrossQ,
    PlasticPPO,
    PlasticSAC,
    PlasticTD3,
    PlasticTQC,
)
from spikepropamine.agents.saving import save_run
from spikepropamine.agents.zoo import TrainerSettings, build
from spikepropamine.folder import RunFolder
from spikepropamine.policies import NetworkConfig
from spikepropamine.policies.critics import actor_of
from spikepropamine.policies.export import load_policy

ALGORITHMS = [PlasticSAC, PlasticTQC, PlasticTD3, PlasticCrossQ]
PICTURE = spaces.Box(0, 255, (36, 36, 3), np.uint8)
PARTS = spaces.Dict(
    {
        "numbers": spaces.Box(-1, 1, (3,)),
        "picture": PICTURE,
        "which": spaces.Discrete(3),
    }
)
SMALL = {"net_arch": {"pi": [8], "qf": [8]}}
SETTINGS = {
    "learning_starts": 10,
    "batch_size": 8,
    "buffer_size": 200,
    "device": "cpu",
    "seed": 0,
    "policy_kwargs": SMALL,
}


class Sampled(gym.Env):
    """Random observations of a space, all of which it keeps; 7 steps an episode."""

    action_space = spaces.Box(-1, 1, (2,))

    def __init__(self, observation_space):
        self.observation_space = observation_space
        self.shown = []

    def _show(self):
        self.shown.append(self.observation_space.sample())
        return self.shown[-1]

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.step_of_episode = 0
        return self._show(), {}

    def step(self, action):
        self.step_of_episode += 1
        return self._show(), 0.0, False, self.step_of_episode == 7, {}


def replayed(model):
    """Observations in the order of the replay buffer, by the names of their parts."""
    buffer = model.replay_buffer
    return {key: kept[0, : buffer.counts[0]] for key, kept in buffer.kept.items()}


@pytest.mark.parametrize("algorithm", ALGORITHMS)
@pytest.mark.parametrize("policy", ["CnnPolicy", "MultiInputLstmPolicy"])
def test_pictures_and_dicts_are_learned_from_and_replayed(algorithm, policy, tmp_path):
    env = Sampled(PICTURE if policy == "CnnPolicy" else PARTS)
    model = algorithm(policy, env, **SETTINGS).learn(40)
    assert model._n_updates > 0
    kept = replayed(model)
    for key, entries in kept.items():
        # the last observation has not been acted on yet
        for entry, shown in zip(entries, env.shown, strict=False):
            part = shown[key] if key else shown
            if is_image_space(env.observation_space[key] if key else PICTURE):
                part = np.moveaxis(part, -1, 0)
            np.testing.assert_array_equal(entry, part)
        assert len(entries) >= len(env.shown) - 1 > 40
    model.save(tmp_path / "model")
    again = algorithm.load(tmp_path / "model", env=Sampled(env.observation_space))
    seen = env.observation_space.sample()
    actions = [m.predict(seen, deterministic=True)[0] for m in (model, again)]
    np.testing.assert_array_equal(*actions)
    again.learn(20, reset_num_timesteps=False)
    assert isinstance(again.env, VecTransposeImage)


@pytest.mark.parametrize("algorithm", ALGORITHMS)
@pytest.mark.parametrize(
    ("policy", "space"),
    [
        ("MultiInputPolicy", PARTS),
        ("CnnLstmPolicy", PICTURE),
        ("GruPolicy", PARTS),
        ("PlasticSpikingPolicy", PICTURE),
    ],
)
def test_every_name_learns(algorithm, policy, space):
    arguments = {"policy_kwargs": {"net_arch": {"qf": [8]}}}
    model = algorithm(policy, Sampled(space), **(SETTINGS | arguments))
    assert model.learn(20)._n_updates > 0


def test_arguments_of_lstms_mean_what_they_mean_in_sb3_contrib():
    arguments = {
        "lstm_hidden_size": 12,
        "n_lstm_layers": 2,
        "lstm_kwargs": {"dropout": 0.1},
    }
    more = arguments | {"shared_lstm": False, "enable_critic_lstm": False}
    mine = PlasticSAC("MlpLstmPolicy", "Pendulum-v1", policy_kwargs=more)
    theirs = RecurrentPPO("MlpLstmPolicy", "Pendulum-v1", policy_kwargs=arguments)
    mine_is, theirs_is = repr(mine.actor.lstm_actor), repr(theirs.policy.lstm_actor)
    assert mine_is == theirs_is


@pytest.mark.parametrize(
    ("algorithm", "policy", "arguments", "words"),
    [
        (PlasticSAC, "MlpPolicy", {"lstm_hidden_size": 8}, r"net_arch=dict\(pi="),
        (PlasticSAC, "PlasticSpikingPolicy", {"n_lstm_layers": 2}, "network=dict"),
        (PlasticPPO, "PlasticSpikingPolicy", {"shared_lstm": True}, "network=dict"),
        (PlasticSAC, "MlpLstmPolicy", {"shared_lstm": True}, "critic_sees_state"),
        (PlasticTQC, "GruPolicy", {"enable_critic_lstm": True}, "critic_sees_state"),
        (PlasticSAC, "MultiInputPolicy", {}, "needs observations in a Dict"),
        (PlasticSAC, "MlpLstmPolice", {}, "did you mean 'MlpLstmPolicy'"),
        (PlasticPPO, "MlpPolicy", {}, "did you mean 'MlpLstmPolicy'"),
        (PlasticSAC, SAC.policy_aliases["MlpPolicy"], {}, "no actor with a memory"),
    ],
)
def test_what_a_policy_does_not_take_names_what_is_right(
    algorithm, policy, arguments, words
):
    with pytest.raises(ValueError, match=words):
        algorithm(policy, "Pendulum-v1", policy_kwargs=arguments)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"replay_buffer_class": HerReplayBuffer}, "hindsight"),
        ({"n_steps": 3}, "n-step returns"),
        (
            {"replay_buffer_kwargs": {"handle_timeout_termination": False}},
            "leave it out",
        ),
    ],
)
def test_what_a_replay_of_sequences_does_not_do(arguments, words):
    with pytest.raises(ValueError, match=words):
        PlasticSAC("MlpPolicy", "Pendulum-v1", **arguments)


def test_the_default_of_sb3_may_be_given(tmp_path):
    arguments = {"replay_buffer_kwargs": {"handle_timeout_termination": True}}
    model = PlasticSAC("MlpPolicy", Sampled(PARTS), **(SETTINGS | arguments))
    model.learn(20).save_replay_buffer(tmp_path / "replay")
    size = model.replay_buffer.size()
    model.replay_buffer = None  # as SB3's own test of this does
    model.load_replay_buffer(tmp_path / "replay")
    assert model.replay_buffer.size() == size


def test_lstm_is_the_policy_of_sb3_contrib_and_its_first_losses_are_equal():
    """`lstm` against `RecurrentPPO` with the defaults of `MlpLstmPolicy`."""
    width = 16
    settings = {"n_steps": 32, "batch_size": 64, "n_epochs": 1, "gae_lambda": 0.9}
    trainer = TrainerSettings(**settings, sequence_length=32)
    network = NetworkConfig(hidden=(width,))
    mine = build("lstm", make_vec_env("CartPole-v1", 2), network, trainer, seed=3)
    theirs = RecurrentPPO(
        "MlpLstmPolicy",
        make_vec_env("CartPole-v1", 2),
        policy_kwargs={"lstm_hidden_size": width},
        seed=3,
        device="cpu",
        **settings,
    )
    assert isinstance(mine, PlasticPPO)
    theirs.policy.load_state_dict(mine.policy.state_dict())  # of equal parts
    logged = []
    for model in (mine, theirs):
        torch.manual_seed(1)
        model.env.seed(5)
        model.ent_coef = 0.1
        model.learn(64, log_interval=None)
        names = ("value_loss", "policy_gradient_loss", "entropy_loss", "loss")
        logged.append([model.logger.name_to_value[f"train/{name}"] for name in names])
    np.testing.assert_allclose(*logged, rtol=1e-4, atol=1e-6)
    assert logged[0][0] > 0.1 and logged[0][2] < -0.1


@pytest.mark.parametrize("cell", ["lstm", "gru"])
@pytest.mark.parametrize("kind", ["ppo", "sac"])
def test_memories_have_heads_unless_their_name_says_linear(cell, kind, tmp_path):
    network = NetworkConfig(hidden=(8,))
    trainer = TrainerSettings(kind=kind, n_steps=16, batch_size=16, sequence_length=8)
    for name, heads in ((cell, [64, 64]), (f"{cell}-linear", [])):
        model = build(name, make_vec_env("Pendulum-v1", 1), network, trainer)
        layers = actor_of(model.policy).mlp_extractor.policy_net[::2]
        assert [layer.out_features for layer in layers] == heads
        run = RunFolder(save_run(tmp_path / name, model))
        assert load_policy(run.policy).metadata["settings"]["policy"] == name
