"""What a user of SB3 does every day, with an on-policy and an off-policy algorithm.

`docs/guides/stable-baselines3.md` lists these tests, one to one and in this order.
"""

import copy
import io
import re
import zipfile
from pathlib import Path

import gymnasium as gym
import numpy as np
import pytest
import torch
from conftest import RandomEnv
from gymnasium import spaces
from gymnasium.wrappers import RescaleAction
from stable_baselines3.common import callbacks, logger
from stable_baselines3.common.env_checker import check_env
from stable_baselines3.common.env_util import make_vec_env
from stable_baselines3.common.evaluation import evaluate_policy
from stable_baselines3.common.monitor import load_results
from stable_baselines3.common.noise import (
    NormalActionNoise,
    OrnsteinUhlenbeckActionNoise,
    VectorizedActionNoise,
)
from stable_baselines3.common.torch_layers import BaseFeaturesExtractor
from stable_baselines3.common.utils import obs_as_tensor
from stable_baselines3.common.vec_env import (
    SubprocVecEnv,
    VecFrameStack,
    VecMonitor,
    VecNormalize,
)

from spikepropamine.agents import (
    PlasticCrossQ,
    PlasticPPO,
    PlasticSAC,
    PlasticTD3,
    PlasticTQC,
)
from spikepropamine.policies import PlasticSpikingPolicy
from spikepropamine.policies.actors import SquashedLstm
from spikepropamine.policies.baselines import ToldLstmPolicy
from spikepropamine.policies.critics import OffPolicy

PAGE = Path(__file__).parents[1] / "docs" / "guides" / "stable-baselines3.md"

OFF_POLICY = {"learning_starts": 10, "batch_size": 8, "buffer_size": 500}
SETTINGS = {
    PlasticPPO: {"n_steps": 16, "batch_size": 16, "n_epochs": 2},
    PlasticSAC: OFF_POLICY,
    PlasticTQC: OFF_POLICY,
    PlasticTD3: OFF_POLICY,
    PlasticCrossQ: OFF_POLICY,
}
LSTM = {"lstm_hidden_size": 8, "net_arch": [8]}
SPIKING = {
    "network": {"hidden": (8,), "rule": "oja", "modulation": "direct"},
    "backend": "reference",  # which compiles nothing
}
ALGORITHMS = pytest.mark.parametrize("algorithm", [PlasticPPO, PlasticSAC])
REPLAYING = [PlasticSAC, PlasticTQC, PlasticTD3, PlasticCrossQ]
EVERY = pytest.mark.parametrize("algorithm", SETTINGS)


def make(algorithm, env="Pendulum-v1", policy="MlpLstmPolicy", **changes):
    """A small model on the CPU."""
    arguments = {"device": "cpu", "seed": 0, "policy_kwargs": LSTM}
    if policy == "PlasticSpikingPolicy":
        arguments["policy_kwargs"] = SPIKING
    return algorithm(policy, env, **(arguments | SETTINGS[algorithm] | changes))


def pendulums(count=1, limit=10, **more):
    """Pendulums whose episodes have `limit` steps."""
    arguments = {"max_episode_steps": limit}
    return make_vec_env("Pendulum-v1", count, 0, env_kwargs=arguments, **more)


def observed(model):
    """What the environments of a model show first."""
    model.get_env().seed(0)
    return model.get_env().reset()


def actions_of(model):
    """Likeliest actions for the same observations in a row."""
    observations = np.random.default_rng(0).normal(size=(5, 3)).astype(np.float32)
    action, state = model.predict(observations, deterministic=True)
    after, _ = model.predict(observations, state, np.zeros(5), deterministic=True)
    return np.stack([action, after])


def weights(model):
    return torch.cat([x.detach().flatten() for x in model.policy.parameters()])


# acting


@EVERY
def test_predict_for_one_observation_and_for_several(algorithm):
    model = make(algorithm)
    env = gym.make("Pendulum-v1")
    observation, _ = env.reset(seed=0)
    action, _ = model.predict(observation, deterministic=True)
    assert isinstance(action, np.ndarray) and env.action_space.contains(action)
    several = np.stack([np.zeros(3, np.float32), observation, -observation])
    actions, _ = model.predict(several, deterministic=True)
    assert actions.shape == (3, 1)
    np.testing.assert_allclose(actions[1], action, rtol=1e-5)
    with pytest.raises(ValueError, match="tuple of an observation and a dict"):
        model.predict(env.reset())


@ALGORITHMS
@pytest.mark.parametrize("policy", ["MlpLstmPolicy", "PlasticSpikingPolicy"])
def test_predict_with_a_state_and_episode_starts(algorithm, policy):
    model = make(algorithm, pendulums(2), policy)
    observation = 3 * observed(model)
    first, state = model.predict(observation, deterministic=True)
    for _ in range(5):
        later, state = model.predict(
            observation, state, np.array([1, 0]), deterministic=True
        )
    np.testing.assert_array_equal(later[0], first[0])
    assert later[1] != first[1]


@ALGORITHMS
def test_sampled_actions_repeat_after_set_random_seed(algorithm):
    model = make(algorithm)
    observation = observed(model)

    def sampled(seed):
        model.set_random_seed(seed)
        return [model.predict(observation)[0].item() for _ in range(3)]

    assert sampled(1) == sampled(1) != sampled(2)
    assert len(set(sampled(1))) == 3
    likeliest = {model.predict(observation, deterministic=True)[0].item() for _ in "12"}
    assert len(likeliest) == 1


@ALGORITHMS
def test_the_policy_predicts_without_its_algorithm(algorithm):
    model = make(algorithm).learn(32)
    np.testing.assert_array_equal(actions_of(model.policy), actions_of(model))


@pytest.mark.parametrize("policy", ["MlpLstmPolicy", "PlasticSpikingPolicy"])
def test_likelihoods_of_actions(policy):
    model = make(PlasticPPO, pendulums(2), policy)
    observations = obs_as_tensor(observed(model), model.device)
    states = model._last_lstm_states
    starts = torch.ones(2)
    of_policy = model.policy
    distribution, _ = of_policy.get_distribution(observations, states.pi, starts)
    actions = distribution.sample()
    values, log_probs, entropy = of_policy.evaluate_actions(
        observations, actions, states, starts
    )
    torch.testing.assert_close(log_probs, distribution.log_prob(actions))
    torch.testing.assert_close(entropy, distribution.entropy())
    alone = of_policy.predict_values(observations, states.vf, starts)
    torch.testing.assert_close(values, alone)


# learning


@ALGORITHMS
def test_learn_counts_steps_and_goes_on(algorithm):
    model = make(algorithm).learn(40)
    whole = {PlasticPPO: 48, PlasticSAC: 40}[algorithm]  # rollouts of 16
    assert model.num_timesteps == whole
    model.learn(16, reset_num_timesteps=False)
    assert model.num_timesteps == whole + 16
    model.learn(16)
    assert model.num_timesteps == 16


@EVERY
def test_a_seed_repeats_a_training(algorithm):
    first, again, other = (
        weights(make(algorithm, seed=seed).learn(32)) for seed in (3, 3, 4)
    )
    assert torch.equal(first, again)
    assert not torch.equal(first, other)


@EVERY
def test_a_schedule_of_the_learning_rate(algorithm):
    model = make(algorithm, learning_rate=lambda left: 1e-3 * (1 + left))
    if algorithm is PlasticPPO:
        optimizers = [model.policy.optimizer]
    else:
        optimizers = [model.actor.optimizer, model.critic.optimizer]
    before = [optimizer.param_groups[0]["lr"] for optimizer in optimizers]
    model.learn(32)
    after = [optimizer.param_groups[0]["lr"] for optimizer in optimizers]
    assert before == [2e-3] * len(optimizers)
    assert after == pytest.approx([1e-3] * len(optimizers))


def test_schedules_of_clip_ranges_and_target_kl():
    learning = {"n_epochs": 5, "learning_rate": 0.1}
    model = make(
        PlasticPPO, clip_range=lambda left: 0.1 + left, clip_range_vf=0.3, **learning
    )
    model.learn(32, log_interval=None)
    assert model.logger.name_to_value["train/clip_range"] == pytest.approx(0.1)
    assert model.logger.name_to_value["train/clip_range_vf"] == pytest.approx(0.3)
    assert model._n_updates == 10
    # the second pass of each rollout ends at once
    assert make(PlasticPPO, target_kl=1e-9, **learning).learn(32)._n_updates == 4


@pytest.mark.parametrize("algorithm", REPLAYING)
def test_train_freq_and_gradient_steps(algorithm):
    each = make(algorithm, pendulums(2), train_freq=4, gradient_steps=-1)
    # as many updates as steps, after 16, 24 and 32 of these
    assert each.learn(32)._n_updates == 24
    episodes = make(algorithm, pendulums(), train_freq=(1, "episode"), gradient_steps=3)
    assert episodes.learn(30)._n_updates == 6


@pytest.mark.parametrize("algorithm", REPLAYING)
def test_action_noise(algorithm):
    def acted(deviation):
        noise = NormalActionNoise(np.zeros(1), np.full(1, deviation))
        model = make(algorithm, learning_starts=0, action_noise=noise)
        model._setup_learn(1)
        return model._sample_action(0, noise)[1]

    difference = acted(10.0) - acted(0.0)
    assert abs(difference) > 0.1
    walk = OrnsteinUhlenbeckActionNoise(np.zeros(1), np.ones(1))
    model = make(algorithm, pendulums(2), action_noise=walk).learn(20)
    assert isinstance(model.action_noise, VectorizedActionNoise)


@pytest.mark.parametrize("algorithm", [PlasticSAC, PlasticTQC, PlasticCrossQ])
def test_ent_coef_that_learns_or_stays(algorithm):
    learns = make(algorithm, ent_coef="auto_0.1")
    assert learns.log_ent_coef.exp().item() == pytest.approx(0.1)
    learns.learn(32)
    assert learns.log_ent_coef.exp().item() != pytest.approx(0.1)
    stays = make(algorithm, ent_coef=0.02).learn(32, log_interval=None)
    assert stays.logger.name_to_value["train/ent_coef"] == pytest.approx(0.02)


def test_use_sde():
    model = make(PlasticPPO, use_sde=True, sde_sample_freq=4)
    assert model.learn(32)._n_updates > 0
    assert model.policy.log_std.shape == (8, 1)  # of each feature
    for policy, algorithm in (
        ("PlasticSpikingPolicy", PlasticPPO),
        ("MlpLstmPolicy", PlasticSAC),
    ):
        with pytest.raises(ValueError, match=r"gSDE \(use_sde=True\)"):
            make(algorithm, policy=policy, use_sde=True)


class Worthless(RandomEnv):
    """All rewards are 0, and every episode has 5 steps."""

    def step(self, action):
        observation, _, terminated, truncated, info = super().step(action)
        return observation, 0.0, terminated, truncated, info


@pytest.mark.parametrize("truncates", [True, False])
def test_a_time_limit_is_not_the_end(truncates):
    env = Worthless(action="box", truncates=truncates)
    on_policy = make(PlasticPPO, env).learn(16)
    # the value of what would have come is added to the last reward
    added = np.flatnonzero(on_policy.rollout_buffer.rewards)
    assert added.tolist() == ([4, 9, 14] if truncates else [])
    replay = make(PlasticSAC, env).learn(16).replay_buffer
    assert replay.dones.sum() == (0 if truncates else 3)


# environments


@ALGORITHMS
def test_make_vec_env_with_arguments_and_a_wrapper(algorithm):
    env = make_vec_env(
        "Pendulum-v1",
        n_envs=3,
        env_kwargs={"g": 5.0},
        wrapper_class=RescaleAction,
        wrapper_kwargs={"min_action": -1, "max_action": 1},
    )
    model = make(algorithm, env).learn(48)
    assert model.n_envs == 3 and model.num_timesteps == 48
    assert model.get_env().get_attr("g") == [5.0] * 3
    assert model.action_space.high == 1


def test_environments_in_processes_of_their_own():
    apart = pendulums(2, vec_env_cls=SubprocVecEnv)
    try:
        for algorithm in (PlasticPPO, PlasticSAC):
            trained = weights(make(algorithm, apart).learn(64))
            here = weights(make(algorithm, pendulums(2)).learn(64))
            assert torch.equal(trained, here)
    finally:
        apart.close()


@ALGORITHMS
def test_set_env_and_load_with_an_environment(algorithm, tmp_path):
    model = make(algorithm).learn(32)
    other = pendulums()
    model.set_env(other)
    assert model.get_env() is other
    with pytest.raises(AssertionError, match="number of environments"):
        model.set_env(pendulums(2))
    model.learn(32, reset_num_timesteps=False)
    model.save(tmp_path / "model")
    again = algorithm.load(tmp_path / "model", env=pendulums(2), device="cpu")
    assert again.n_envs == 2 and again.num_timesteps == 64
    again.learn(32, reset_num_timesteps=False)
    assert again.num_timesteps == 96
    assert not torch.equal(weights(again), weights(model))


@ALGORITHMS
def test_normalised_observations_and_rewards(algorithm, tmp_path):
    env = VecNormalize(pendulums(2))
    model = make(algorithm, env).learn(64)
    assert model.get_vec_normalize_env() is env
    assert env.obs_rms.count > 64
    model.save(tmp_path / "model")
    env.save(str(tmp_path / "statistics.pkl"))
    again = VecNormalize.load(str(tmp_path / "statistics.pkl"), pendulums(2))
    again.training = False
    again.norm_reward = False
    loaded = algorithm.load(tmp_path / "model", env=again, device="cpu")
    assert loaded.get_vec_normalize_env() is again
    np.testing.assert_array_equal(again.obs_rms.mean, env.obs_rms.mean)
    mean, _ = evaluate_policy(loaded, again, n_eval_episodes=4, warn=False)
    assert -200 < mean < -1  # of raw rewards


@ALGORITHMS
def test_stacked_observations(algorithm):
    model = make(algorithm, VecFrameStack(pendulums(2), 3)).learn(32)
    assert model.observation_space.shape == (9,)
    assert observed(model).shape == (2, 9)
    mean, _ = evaluate_policy(model, model.get_env(), n_eval_episodes=2, warn=False)
    assert np.isfinite(mean)


@ALGORITHMS
def test_files_of_monitors(algorithm, tmp_path):
    env = VecMonitor(
        pendulums(2, monitor_dir=str(tmp_path / "each")), str(tmp_path / "all")
    )
    model = make(algorithm, env).learn(64)
    for rows in (
        load_results(str(tmp_path / "each")),
        load_results(str(tmp_path)),
    ):
        assert len(rows) == 6 and set(rows["l"]) == {10}
    assert len(model.ep_info_buffer) == 6


@EVERY
@pytest.mark.parametrize(
    ("space", "policy"),
    [
        ("dict", "MultiInputLstmPolicy"),
        ("discrete", "MlpLstmPolicy"),
        ("choices", "MlpLstmPolicy"),
    ],
)
def test_every_kind_of_observation(algorithm, space, policy):
    env = RandomEnv(space, "box")
    model = make(algorithm, env, policy).learn(32)
    observation, _ = env.reset(seed=0)
    action, state = model.predict(observation)
    assert env.action_space.contains(action) and state is not None
    assert model._n_updates > 0


class Pictures(gym.ObservationWrapper):
    """The observation as three stripes of grey, with the channels last."""

    def __init__(self, env):
        super().__init__(env)
        self.observation_space = spaces.Box(0, 255, (36, 36, 1), np.uint8)

    def observation(self, observation):
        grey = np.clip(observation * 127 + 128, 0, 255).astype(np.uint8)
        return np.repeat(grey, 12)[:, None, None] * np.ones((36, 36, 1), np.uint8)


@ALGORITHMS
def test_pictures(algorithm):
    env = pendulums(wrapper_class=Pictures)
    small = LSTM | {"features_extractor_kwargs": {"features_dim": 8}}
    model = make(algorithm, env, "CnnLstmPolicy", policy_kwargs=small)
    filters = [x for x in model.policy.parameters() if x.dim() == 4]
    before = [x.detach().clone() for x in filters]
    model.learn(32)
    assert not any(torch.equal(*pair) for pair in zip(before, filters, strict=True))
    action, _ = model.predict(observed(model))  # of channels first
    assert action.shape == (1, 1)


@pytest.mark.parametrize("policy", ["MlpLstmPolicy", "PlasticSpikingPolicy"])
@pytest.mark.parametrize("action", ["discrete", "multi_discrete", "multi_binary"])
def test_every_kind_of_action(policy, action):
    env = RandomEnv(action=action)
    model = make(PlasticPPO, env, policy).learn(16)
    observation, _ = env.reset(seed=0)
    assert env.action_space.contains(model.predict(observation)[0])
    with pytest.raises(AssertionError, match=r"only supports .*Box"):
        make(PlasticSAC, env)


@pytest.mark.parametrize("name", ["CueAssociation-v0", "MotorMap-v0"])
def test_tasks_pass_check_env(name, recwarn):
    env = gym.make(name)
    check_env(env.unwrapped, skip_render_check=True)
    assert not [x for x in recwarn if x.category is UserWarning]
    make(PlasticPPO, env).learn(16)


@ALGORITHMS
def test_evaluate_policy(algorithm):
    model = make(algorithm)
    seen = []
    returns, lengths = evaluate_policy(
        model,
        pendulums(2),
        n_eval_episodes=4,
        callback=lambda found, _: seen.append(found["reward"]),
        return_episode_rewards=True,
    )
    assert lengths == [10] * 4
    assert sum(seen) == pytest.approx(sum(returns), rel=1e-4)
    with pytest.raises(AssertionError, match="threshold"):
        evaluate_policy(model, pendulums(), 1, reward_threshold=1.0)


# policies


def linear_widths(module):
    return [x.out_features for x in module if isinstance(x, torch.nn.Linear)]


@EVERY
def test_net_arch_and_activation(algorithm):
    critic = "vf" if algorithm is PlasticPPO else "qf"
    arguments = LSTM | {
        "net_arch": {"pi": [7, 6], critic: [5]},
        "activation_fn": torch.nn.ELU,
    }
    model = make(algorithm, policy_kwargs=arguments).learn(20)
    on_policy = algorithm is PlasticPPO
    heads = (model.policy if on_policy else model.actor).mlp_extractor
    assert linear_widths(heads.policy_net) == [7, 6]
    assert any(isinstance(x, torch.nn.ELU) for x in heads.policy_net)
    if on_policy:
        assert linear_widths(heads.value_net) == [5]
    else:
        assert 5 in {size for x in model.critic.parameters() for size in x.shape}


@EVERY
def test_another_optimizer(algorithm):
    arguments = LSTM | {
        "optimizer_class": torch.optim.SGD,
        "optimizer_kwargs": {"momentum": 0.5},
    }
    model = make(algorithm, policy_kwargs=arguments)
    before = weights(model)
    model.learn(32)
    learned = model.policy if algorithm is PlasticPPO else model.actor
    assert type(learned.optimizer) is torch.optim.SGD
    assert learned.optimizer.defaults["momentum"] == 0.5
    assert not torch.equal(weights(model), before)


class Doubled(BaseFeaturesExtractor):
    """Some numbers of a linear layer, twice as large."""

    def __init__(self, observation_space, features_dim=4):
        super().__init__(observation_space, features_dim)
        self.layer = torch.nn.Linear(observation_space.shape[0], features_dim)

    def forward(self, observations):
        return 2 * self.layer(observations)


@ALGORITHMS
@pytest.mark.parametrize("policy", ["MlpLstmPolicy", "PlasticSpikingPolicy"])
def test_a_features_extractor_of_ones_own(algorithm, policy):
    of_policy = SPIKING if policy == "PlasticSpikingPolicy" else LSTM
    arguments = of_policy | {
        "features_extractor_class": Doubled,
        "features_extractor_kwargs": {"features_dim": 6},
    }
    model = make(algorithm, policy=policy, policy_kwargs=arguments)
    extractors = [x for x in model.policy.modules() if isinstance(x, Doubled)]
    assert extractors and extractors[0].features_dim == 6
    before = extractors[0].layer.weight.detach().clone()
    model.learn(32)
    assert not torch.equal(extractors[0].layer.weight, before)


class Halved(ToldLstmPolicy):
    """Acts half as strongly."""

    def _predict(self, *args, **kwargs):
        action, state = super()._predict(*args, **kwargs)
        return action / 2, state


class HalvedSpiking(PlasticSpikingPolicy):
    """Acts half as strongly."""

    def _predict(self, *args, **kwargs):
        action, state = super()._predict(*args, **kwargs)
        return action / 2, state


class HalvedOffPolicy(OffPolicy):
    """Acts half as strongly."""

    def predict(self, *args, **kwargs):
        action, state = super().predict(*args, **kwargs)
        return action / 2, state


@pytest.mark.parametrize(
    ("algorithm", "whole", "half", "arguments"),
    [
        (PlasticPPO, "MlpLstmPolicy", Halved, LSTM),
        (PlasticPPO, "PlasticSpikingPolicy", HalvedSpiking, SPIKING),
        (
            PlasticSAC,
            "MlpLstmPolicy",
            HalvedOffPolicy,
            LSTM | {"actor_class": SquashedLstm},
        ),
    ],
)
def test_a_subclass_of_a_policy(algorithm, whole, half, arguments):
    model = make(algorithm, policy=half, policy_kwargs=arguments)
    plain = make(algorithm, policy=whole)
    plain.policy.load_state_dict(model.policy.state_dict())
    np.testing.assert_allclose(actions_of(model), actions_of(plain) / 2, rtol=1e-5)
    assert model.learn(32)._n_updates > 0


@ALGORITHMS
@pytest.mark.parametrize("policy", ["MlpLstmPolicy", "PlasticSpikingPolicy"])
def test_a_policy_is_printed(algorithm, policy, capsys):
    print(make(algorithm, policy=policy).policy)
    printed = capsys.readouterr().out
    memory = "LSTM(3, 8)" if policy == "MlpLstmPolicy" else "SpikingNetwork("
    assert memory in printed and "action_net" in printed


@EVERY
def test_parameters_are_given_and_taken(algorithm):
    first = make(algorithm).learn(32)
    second = make(algorithm, seed=1)
    second.set_parameters(first.get_parameters())
    assert torch.equal(weights(first), weights(second))
    with pytest.raises(ValueError, match="invalid object"):
        second.set_parameters({"nothing": {}})
    second.set_parameters(
        {"policy": make(algorithm, seed=2).policy.state_dict()}, exact_match=False
    )
    assert not torch.equal(weights(first), weights(second))


@ALGORITHMS
@pytest.mark.parametrize("policy", ["MlpLstmPolicy", "PlasticSpikingPolicy"])
def test_a_copy_of_a_policy_stays_as_it_was(algorithm, policy):
    model = make(algorithm, policy=policy)
    kept = copy.deepcopy(model.policy)
    before = actions_of(model)
    model.learn(48)
    np.testing.assert_array_equal(actions_of(kept), before)
    assert (actions_of(model) != before).any()


# saving


@ALGORITHMS
def test_an_interrupted_training_is_saved(algorithm, tmp_path):
    def interrupt(found, _):
        if found["self"].num_timesteps == 40:
            raise KeyboardInterrupt
        return True

    model = make(algorithm, pendulums())
    with pytest.raises(KeyboardInterrupt):
        model.learn(200, callback=interrupt)
    model.save(tmp_path / "model")
    loaded = algorithm.load(tmp_path / "model", env=pendulums(), device="cpu")
    np.testing.assert_array_equal(actions_of(loaded), actions_of(model))
    assert loaded.learn(16, reset_num_timesteps=False).num_timesteps == 56


@ALGORITHMS
def test_save_and_load_by_every_kind_of_path(algorithm, tmp_path):
    model = make(algorithm).learn(32)
    buffer = io.BytesIO()
    for place in (
        str(tmp_path / "text"),
        tmp_path / "path",
        tmp_path / "a.zip",
        buffer,
    ):
        model.save(place)
        if place is buffer:
            buffer.seek(0)
        loaded = algorithm.load(place, device="cpu")
        np.testing.assert_array_equal(actions_of(loaded), actions_of(model))
    assert {x.name for x in tmp_path.iterdir()} == {"text.zip", "path.zip", "a.zip"}
    with zipfile.ZipFile(tmp_path / "a.zip") as parts:
        assert {"data", "policy.pth", "_stable_baselines3_version"} <= {
            *parts.namelist()
        }


@ALGORITHMS
def test_load_with_other_arguments_and_custom_objects(algorithm, tmp_path):
    make(algorithm, gamma=0.9, verbose=1).save(tmp_path / "model", exclude=["verbose"])
    loaded = algorithm.load(
        tmp_path / "model",
        device="cpu",
        custom_objects={"learning_rate": 0.5, "dummy": 1},
        batch_size=8,
        print_system_info=False,
    )
    assert loaded.gamma == 0.9 and loaded.verbose == 0
    assert loaded.learning_rate == 0.5 and loaded.lr_schedule(1) == 0.5
    assert loaded.batch_size == 8 and not hasattr(loaded, "dummy")
    algorithm.load(tmp_path / "model", policy_kwargs=LSTM)
    with pytest.raises(ValueError, match="policy kwargs"):
        algorithm.load(tmp_path / "model", policy_kwargs={"lstm_hidden_size": 9})


@ALGORITHMS
@pytest.mark.parametrize(
    ("policy", "arguments"),
    [
        # sb3-contrib's LSTM writes down no other width than the default
        ("MlpLstmPolicy", {}),
        ("GruPolicy", LSTM),
        ("PlasticSpikingPolicy", SPIKING),
    ],
)
def test_a_policy_is_saved_by_itself(algorithm, policy, arguments, tmp_path):
    model = make(algorithm, policy=policy, policy_kwargs=arguments).learn(16)
    model.policy.save(tmp_path / "policy.pt")
    loaded = type(model.policy).load(tmp_path / "policy.pt", device="cpu")
    np.testing.assert_array_equal(actions_of(loaded), actions_of(model))


@pytest.mark.parametrize("algorithm", REPLAYING)
def test_a_replay_buffer_is_saved_and_loaded(algorithm, tmp_path):
    model = make(algorithm).learn(32)
    assert model.replay_buffer.size() == 32
    model.save(tmp_path / "model")
    again = algorithm.load(tmp_path / "model", env=pendulums(), device="cpu")
    assert again.replay_buffer.size() == 0
    buffer = io.BytesIO()
    for place in (tmp_path / "replay", buffer):
        model.save_replay_buffer(place)
        if place is buffer:
            buffer.seek(0)
        again.load_replay_buffer(place)
        assert again.replay_buffer.size() == 32
        kept = model.replay_buffer.actions, again.replay_buffer.actions
        np.testing.assert_array_equal(*kept)
    again.learn(8, reset_num_timesteps=False)
    assert again.replay_buffer.size() > 32


@ALGORITHMS
def test_buffers_hold_what_happened(algorithm):
    model = make(algorithm, pendulums(2), learning_rate=0.0).learn(32)
    if algorithm is PlasticPPO:
        buffer = model.rollout_buffer
        assert buffer.full and buffer.observations.shape == (16, 2, 3)
        np.testing.assert_allclose(
            buffer.returns, buffer.advantages + buffer.values, rtol=1e-4, atol=1e-4
        )
        assert np.flatnonzero(buffer.episode_starts[:, 0]).tolist() == [0, 10]
        sizes = [len(batch.actions) for batch in buffer.get(16)]
        assert sizes == [16, 16]
    else:
        batch = model.replay_buffer.sample(8)
        assert batch.actions.shape == (5, 2, 1)  # sequences of 4, and what comes next
        assert batch.actions.abs().max() <= 1 and batch.rewards.max() < 0


# callbacks


@ALGORITHMS
def test_a_function_as_a_callback_stops(algorithm):
    model = make(algorithm).learn(200, callback=lambda found, _: False)
    assert model.num_timesteps == 1


@ALGORITHMS
def test_checkpoints_and_evaluations_that_stop(algorithm, tmp_path):
    best = callbacks.StopTrainingOnRewardThreshold(reward_threshold=-1e9)
    evaluation = callbacks.EvalCallback(
        pendulums(),
        callback_on_new_best=best,
        best_model_save_path=str(tmp_path),
        log_path=str(tmp_path),
        eval_freq=20,
        n_eval_episodes=2,
        verbose=0,
    )
    saving = callbacks.CheckpointCallback(15, str(tmp_path), "some")
    model = make(algorithm).learn(200, callback=[saving, evaluation])
    assert model.num_timesteps == 20
    assert (tmp_path / "some_15_steps.zip").is_file()
    algorithm.load(tmp_path / "best_model", device="cpu")
    with np.load(tmp_path / "evaluations.npz") as kept:
        assert kept["timesteps"].tolist() == [20] and kept["results"].shape == (1, 2)


@ALGORITHMS
def test_normalised_evaluations_and_checkpoints(algorithm, tmp_path):
    env = VecNormalize(pendulums(2))
    of_evaluation = VecNormalize(pendulums(), training=False, norm_reward=False)
    evaluation = callbacks.EvalCallback(
        of_evaluation, eval_freq=16, n_eval_episodes=1, verbose=0
    )
    replays = algorithm is PlasticSAC
    saving = callbacks.CheckpointCallback(
        16, str(tmp_path), "a", save_replay_buffer=replays, save_vecnormalize=True
    )
    make(algorithm, env).learn(32, callback=[evaluation, saving])
    assert -200 < evaluation.last_mean_reward < -1
    assert of_evaluation.obs_rms.count == env.obs_rms.count
    names = {"a_32_steps.zip", "a_vecnormalize_32_steps.pkl"}
    if replays:
        names.add("a_replay_buffer_32_steps.pkl")
    assert {x.name for x in tmp_path.iterdir()} == names


@ALGORITHMS
def test_events_by_steps_and_by_episodes(algorithm):
    seen = []

    class Noted(callbacks.BaseCallback):
        def _on_step(self):
            seen.append(self.num_timesteps)
            return True

    every = callbacks.EveryNTimesteps(n_steps=15, callback=Noted())
    most = callbacks.StopTrainingOnMaxEpisodes(max_episodes=4)
    model = make(algorithm, pendulums()).learn(200, callback=[every, most])
    assert seen == [15, 30] and model.num_timesteps == 40


@ALGORITHMS
def test_a_callback_of_ones_own(algorithm, tmp_path):
    class Mine(callbacks.BaseCallback):
        rewards = ()
        ends = 0

        def _on_step(self):
            self.rewards = (*self.rewards, *self.locals["rewards"].tolist())
            self.logger.record("mine/steps", self.n_calls)
            return self.training_env is self.model.get_env()

        def _on_rollout_end(self):
            self.ends += 1

    mine = Mine()
    model = make(algorithm, pendulums(2))
    model.set_logger(logger.configure(str(tmp_path), ["csv"]))
    model.learn(32, callback=mine, log_interval=1)
    assert len(mine.rewards) == 32 and max(mine.rewards) < 0
    assert mine.ends == {PlasticPPO: 1, PlasticSAC: 16}[algorithm]
    header, *rows = (tmp_path / "progress.csv").read_text().splitlines()
    assert "mine/steps" in header and rows


@ALGORITHMS
def test_a_progress_bar(algorithm, capsys):
    make(algorithm).learn(32, progress_bar=True)
    assert "32/32" in "".join(capsys.readouterr())
    make(algorithm).learn(32, callback=callbacks.ProgressBarCallback())
    assert "32/32" in "".join(capsys.readouterr())


# logs


@ALGORITHMS
def test_formats_of_a_logger(algorithm, tmp_path):
    model = make(algorithm, pendulums())
    model.set_logger(logger.configure(str(tmp_path), ["csv", "json", "log"]))
    model.learn(64, log_interval=1)
    names = {"progress.csv", "progress.json", "log.txt"}
    assert {x.name for x in tmp_path.iterdir()} == names
    for name in names:
        text = (tmp_path / name).read_text()
        assert "ep_rew_mean" in text and "learning_rate" in text


@ALGORITHMS
def test_tables_by_log_interval(algorithm, capsys):
    for interval in (1, 2):
        make(algorithm, pendulums(), verbose=1).learn(80, log_interval=interval)
    tables = capsys.readouterr().out.count("total_timesteps")
    # of 5 rollouts of 16 steps, or of 8 episodes
    assert tables == {PlasticPPO: 5 + 2, PlasticSAC: 8 + 4}[algorithm]


@EVERY
def test_folders_of_tensorboard(algorithm, tmp_path):
    pytest.importorskip("tensorboard")
    model = make(algorithm, tensorboard_log=str(tmp_path))
    model.learn(16)
    model.learn(16)
    model.learn(16, tb_log_name="mine")
    name = algorithm.__name__
    folders = {f"{name}_1", f"{name}_2", "mine_1"}
    assert {x.name for x in tmp_path.iterdir()} == folders
    assert all(list((tmp_path / folder).glob("events*")) for folder in folders)


def test_the_page_lists_these_tests():
    every = [name for name in globals() if name.startswith("test_")]
    listed = re.findall(r"`(test_\w+)` \|$", PAGE.read_text(), re.MULTILINE)
    assert [*listed, "test_the_page_lists_these_tests"] == every
    assert len(listed) == 47
