"""The policy in Stable-Baselines3's hands: learn, predict, recompute, save, load,
evaluate.
"""

import gymnasium as gym
import numpy as np
import pytest
import torch
from conftest import SMALL, RandomEnv, make_model, make_venv
from sb3_contrib import RecurrentPPO
from sb3_contrib.common.recurrent.type_aliases import RNNStates
from stable_baselines3 import PPO
from stable_baselines3.common.env_util import make_vec_env
from stable_baselines3.common.vec_env import VecFrameStack, VecNormalize

import spikepropamine  # noqa: F401  registers the environments
from spikepropamine.agents import PlasticPPO
from spikepropamine.policies import PlasticSpikingPolicy
from spikepropamine.policies.baselines import Gru, GruPolicy, ToldMlpPolicy
from spikepropamine.policies.export import load_policy, save_policy

SPACES = [(o, a) for o in ("box", "discrete", "dict") for a in ("box", "discrete")] + [
    ("box", "multi_discrete"),
    ("box", "multi_binary"),
    ("dict", "multi_binary"),
    ("choices", "discrete"),
]
POLICIES = ["PlasticSpikingPolicy", "MlpLstmPolicy"]


def sharpened(venv, **arguments):
    """A model whose actions depend clearly on what the network does (a fresh one's
    hardly do).
    """
    model = make_model(venv, **arguments)
    with torch.no_grad():
        model.policy.action_net.weight.mul_(100.0)
    return model


def parameters_of(model):
    return torch.cat([x.detach().flatten() for x in model.policy.parameters()])


def actions_along(predict, observations, n_envs=2):
    """Deterministic actions [T, n_envs, ...], the state carried on from step to
    step.
    """
    state = None
    start = np.ones(n_envs, dtype=bool)
    actions = []
    for observation in observations:
        action, state = predict(observation, state, start, deterministic=True)
        start = np.zeros(n_envs, dtype=bool)
        actions.append(action)
    return np.stack(actions)


def recorded(venv, steps=12):
    """Observations of an environment acted on at random."""
    observations = [venv.reset()]
    venv.action_space.seed(0)
    for _ in range(steps):
        actions = np.array([venv.action_space.sample() for _ in range(venv.num_envs)])
        observations.append(venv.step(actions)[0])
    return observations


def test_predict_carries_its_state_and_forgets_it_where_an_episode_starts():
    model = make_model(make_venv())
    observation = model.env.reset() * 2
    _, state = model.predict(observation)
    _, fresh = model.predict(observation, None, np.array([True, True]))
    _, carried = model.predict(observation, state, np.array([False, False]))
    _, started = model.predict(observation, state, np.array([True, False]))
    np.testing.assert_array_equal(state[0], fresh[0])
    np.testing.assert_array_equal(started[0][:, 0], fresh[0][:, 0])
    np.testing.assert_array_equal(started[0][:, 1], carried[0][:, 1])
    assert np.abs(carried[0] - fresh[0]).max() > 0.01


def test_initial_state_without_plasticity_keeps_fast_weights_at_zero():
    model = make_model(make_venv())
    fast = {}
    for plasticity in (True, False):
        state = model.policy.initial_state(2, plasticity)
        for observation in recorded(make_venv()):
            _, state = model.predict(observation, state, np.array([False, True]))
        fast[plasticity] = np.abs(
            model.policy.layout.get(state[0], "layer1.fast_weights")
        ).max()
    assert fast[True] > 0 and fast[False] == 0
    assert not model.policy.initial_state(2, False)[
        1
    ].any()  # where the seed of weights is


def test_stock_recurrent_ppo_trains_it():
    model = make_model(make_venv(), RecurrentPPO, PlasticSpikingPolicy)
    before = parameters_of(model)
    model.learn(32)
    assert not torch.equal(before, parameters_of(model))


# what was collected is what is trained on


def worst_difference(model, change=lambda states, starts: (states, starts)):
    """Largest difference of log-probabilities, and of values, recomputed after a
    rollout.
    """
    differences = []
    for batch in model.rollout_buffer.get(model.batch_size):
        states, starts = change(batch.lstm_states, batch.episode_starts)
        actions = batch.actions
        if isinstance(model.action_space, gym.spaces.Discrete):
            actions = actions.long().flatten()
        with torch.no_grad():
            values, log_probs, _ = model.policy.evaluate_actions(
                batch.observations, actions, states, starts
            )
        pairs = (log_probs, batch.old_log_prob), (values.flatten(), batch.old_values)
        differences.append([(new - old).abs().max().item() for new, old in pairs])
    return np.max(differences, axis=0)


def zeroed(states, starts):
    pairs = [
        tuple(torch.zeros_like(x) for x in pair) for pair in (states.pi, states.vf)
    ]
    return RNNStates(*pairs), starts


def never_started(states, starts):
    return states, torch.zeros_like(starts)


def rolled_out(**arguments):
    """A model after two rollouts, its weights unchanged; episodes start inside the
    sequences.
    """
    venv = make_venv(
        arguments.pop("observation", "box"), arguments.pop("action", "discrete"), 3
    )
    model = sharpened(venv, learning_rate=0.0, n_epochs=1, **arguments)
    model.learn(2 * 16 * 3)
    starts = model.rollout_buffer.episode_starts
    inside = starts.reshape(2, 8, 3)[:, 1:] > 0
    assert inside.any(axis=(0, 1)).all()
    return model


# Rollout and update multiply matrices of different heights, [environments, n] and
# [sequences * length, n], for which a BLAS library may add in another order; so
# equality holds up to the last bits of float32.
@pytest.mark.parametrize(
    ("policy", "observation", "action"),
    [
        ("PlasticSpikingPolicy", "box", "box"),
        ("PlasticSpikingPolicy", "dict", "discrete"),
        ("PlasticSpikingPolicy", "choices", "discrete"),
        ("MlpLstmPolicy", "box", "discrete"),
        ("MultiInputLstmPolicy", "dict", "box"),
    ],
)
def test_recomputed_log_probabilities_and_values_are_the_collected_ones(
    policy, observation, action
):
    model = rolled_out(policy=policy, observation=observation, action=action)
    assert worst_difference(model).max() < 1e-5


@pytest.mark.parametrize(
    "network",
    [
        {"modulation": "retroactive", "rule": "bcm"},
        {"modulation": "none", "rule": "hebb"},
        {"readout": "spikes+potentials"},
        {"recurrent": (True, True), "soft_reset": True},
        {"rule": "none", "modulation": "none"},
    ],
)
def test_recomputed_is_collected_for_every_kind_of_network(network):
    model = rolled_out(
        policy_kwargs={"network": SMALL | network, "net_arch": {"vf": [8]}}
    )
    assert worst_difference(model).max() < 1e-5
    assert worst_difference(model, zeroed).min() > 0.01


@pytest.mark.parametrize("policy", POLICIES)
def test_zeroed_states_and_ignored_starts_are_seen(policy):
    model = rolled_out(policy=policy)
    assert all(worst_difference(model, x).min() > 0.01 for x in (zeroed, never_started))


# saving and loading


def assert_same_actions(model, other, observations, n_envs=2):
    expected = actions_along(model.predict, observations, n_envs)
    assert (
        len(np.unique(expected, axis=0)) > 1
    )  # or the same could be had from anything
    np.testing.assert_array_equal(
        expected, actions_along(other.predict, observations, n_envs)
    )


@pytest.mark.parametrize("policy", POLICIES)
def test_a_loaded_algorithm_acts_the_same_and_goes_on_training(policy, tmp_path):
    model = sharpened(make_venv(), policy=policy).learn(32)
    model.save(tmp_path / "model.zip")
    for n_envs in (2, 4):  # another number of environments, too
        venv = make_venv(n_envs=n_envs)
        other = PlasticPPO.load(tmp_path / "model.zip", env=venv, device="cpu")
        assert other.sequence_length == 8
        assert_same_actions(model, other, recorded(make_venv()))
        other.learn(16 * n_envs, reset_num_timesteps=False)
        assert other.num_timesteps == 32 + 16 * n_envs
        assert other.rollout_buffer.n_envs == n_envs


@pytest.mark.parametrize(("observation", "action"), SPACES)
def test_a_loaded_policy_acts_the_same(observation, action, tmp_path):
    venv = make_venv(observation, action)
    settings = {"network": SMALL, "net_arch": {"vf": [8]}, "critic_sees_spikes": False}
    model = sharpened(venv, policy_kwargs=settings)
    observations = recorded(make_venv(observation, action))
    model.policy.save(str(tmp_path / "policy.pth"))
    other = PlasticSpikingPolicy.load(str(tmp_path / "policy.pth"), device="cpu")
    assert_same_actions(model, other, observations)
    save_policy(tmp_path / "policy", model.policy, metadata={"note": 1})
    deployed = load_policy(tmp_path / "policy")
    assert_same_actions(model, deployed, observations)
    assert deployed.metadata == {"note": 1}


@pytest.mark.parametrize(
    ("policy", "arguments", "observation", "keys"),
    [
        ("PlasticSpikingPolicy", {}, "box", None),
        ("PlasticSpikingPolicy", {}, "dict", ["cue", "reward"]),
        ("PlasticSpikingPolicy", {}, "dict", ["reward"]),
        ("MlpPolicy", {"activation_fn": torch.nn.ReLU}, "box", None),
        ("MlpLstmPolicy", {"lstm_hidden_size": 8}, "box", None),
        ("GruPolicy", {"lstm_hidden_size": 8}, "box", None),
    ],
)
def test_a_policy_folder_takes_its_normalisation_along(
    policy, arguments, observation, keys, tmp_path
):
    venv = make_venv(observation, "box")
    venv = VecNormalize(venv, norm_obs_keys=keys, clip_obs=0.7, epsilon=0.1)
    algorithm = PPO if policy == "MlpPolicy" else PlasticPPO
    more = {"policy_kwargs": arguments} if arguments else {}
    model = sharpened(venv, algorithm=algorithm, policy=policy, **more).learn(64)
    save_policy(tmp_path, model.policy, model.get_vec_normalize_env())
    deployed = load_policy(tmp_path)
    usual = tmp_path / "usual"
    usual.touch()
    assert {file.stat().st_mode for file in tmp_path.iterdir()} == {
        usual.stat().st_mode
    }

    def normalising(observation, *rest, **named):
        return model.predict(venv.normalize_obs(observation), *rest, **named)

    raw = recorded(make_venv(observation, "box"))
    expected = actions_along(normalising, raw)
    acted = actions_along(deployed.predict, raw)
    if policy in ("MlpLstmPolicy", "GruPolicy"):
        # training and a deployed policy round their ticks in different orders
        np.testing.assert_allclose(acted, expected, rtol=0, atol=1e-5)
    else:
        np.testing.assert_array_equal(acted, expected)
    assert not np.allclose(expected, actions_along(model.predict, raw), atol=1e-3)


def test_a_normalisation_of_nothing_is_none(tmp_path):
    venv = VecNormalize(make_venv("dict"), norm_obs_keys=[])
    model = sharpened(venv)
    save_policy(tmp_path, model.policy, venv)
    assert_same_actions(model, load_policy(tmp_path), recorded(make_venv("dict")))


def test_statistics_of_something_else_are_not_saved(tmp_path):
    below = VecNormalize(make_venv())
    model = sharpened(VecFrameStack(below, 2))
    with pytest.raises(ValueError, match="not what the policy observes"):
        save_policy(tmp_path / "policy", model.policy, below)
    assert not (tmp_path / "policy").exists()


# training around it


def test_the_value_is_added_where_an_episode_is_cut_off_and_nowhere_else():
    def rewards(truncates):
        env = RandomEnv(truncates=truncates)
        model = make_model(env, learning_rate=0.0).learn(16)
        return model.rollout_buffer.rewards.flatten()

    last_steps = np.arange(16) % 5 == 4
    np.testing.assert_array_equal(rewards(True) != rewards(False), last_steps)


def test_what_it_cannot_do_is_refused_with_a_reason():
    with pytest.raises(ValueError, match=r"gSDE.*log_std_init"):
        make_model(make_venv("box", "box"), use_sde=True)
    with pytest.raises(ValueError, match=r"network\.hidden.*\[64\]"):
        make_model(make_venv(), policy_kwargs={"net_arch": {"pi": [64], "vf": [64]}})
    with pytest.raises(ValueError, match="share_features_extractor"):
        make_model(make_venv(), policy_kwargs={"share_features_extractor": False})
    drawn = make_model(
        make_venv(), policy_kwargs={"network": SMALL | {"fresh_weights": "random"}}
    )
    with pytest.raises(ValueError, match="fresh_weights"):
        drawn.learn(32)


def test_a_gru_of_any_size_is_loaded_as_it_was_saved(tmp_path):
    settings = {
        "lstm_hidden_size": 8,
        "net_arch": {"vf": [8]},
        "lstm_kwargs": {"bias": False},
    }
    model = sharpened(
        make_venv("box", "box"), policy="GruPolicy", policy_kwargs=settings
    )
    model.policy.save(str(tmp_path / "policy.pth"))
    other = GruPolicy.load(str(tmp_path / "policy.pth"), device="cpu")
    assert_same_actions(model, other, recorded(make_venv()))


def test_a_policy_whose_critic_is_told_is_loaded_as_it_was_saved(tmp_path):
    venv = make_venv("box", "box")
    policy = ToldMlpPolicy(
        venv.observation_space, venv.action_space, lambda _: 1e-3, told=1
    )
    policy.save(str(tmp_path / "policy.pth"))
    other = ToldMlpPolicy.load(str(tmp_path / "policy.pth"), device="cpu")
    assert_same_actions(policy, other, recorded(make_venv()))


def test_the_critic_sees_spikes_unless_told_not_to_and_never_trains_them():
    for sees in (True, False):
        settings = {"network": SMALL, "critic_sees_spikes": sees}
        policy = make_model(make_venv(), policy_kwargs=settings).policy
        state = tuple(torch.as_tensor(x) for x in policy.initial_state(2))
        starts = torch.zeros(2)
        observation = torch.full((2, 3), 0.9)
        quiet = policy.predict_values(observation, state, starts)
        value, _, _ = policy.evaluate_actions(
            observation, torch.zeros(2), RNNStates(state, state), starts
        )
        value.sum().backward()
        assert all(
            x.grad is None or not x.grad.any() for x in policy.network.parameters()
        )
        policy.layout.get(state[0], "readout")[...] = 1.0
        assert (
            torch.equal(policy.predict_values(observation, state, starts), quiet)
            != sees
        )


def test_a_gru_leaves_its_second_state_at_zero():
    gru = Gru(3, 5)
    plain = torch.nn.GRU(3, 5)
    plain.load_state_dict(gru.state_dict())
    x = torch.randn(6, 2, 3)
    hidden = torch.randn(1, 2, 5)
    any_cell = torch.randn(1, 2, 5)
    outputs, (after, cell) = gru(x, (hidden, any_cell))
    expected, expected_after = plain(x, hidden)
    assert torch.equal(outputs, expected) and torch.equal(after, expected_after)
    assert not cell.any()


# learning


def late_accuracy_after_training(rule, modulation):
    """Accuracy over the second half of the trials of an easy task, after 61,440
    steps.
    """
    task = {"delay_length": 0, "trials": 6, "bits": 12}
    venv = make_vec_env("CueAssociation-v0", 64, seed=0, env_kwargs=task)
    model = PlasticPPO(
        "PlasticSpikingPolicy", venv, 2e-3, n_steps=24, batch_size=768, n_epochs=4,
        gamma=0.0,
        ent_coef=0.003, seed=0, device="cpu",
        policy_kwargs={"network": {"rule": rule, "modulation": modulation, "ticks": 3}},
    ).learn(40 * 24 * 64)  # fmt: skip
    venv.seed(12345)
    observation = venv.reset()
    state = None
    start = np.ones(64, dtype=bool)
    correct = []
    for _ in range(12 * 20):  # 20 episodes in each environment
        action, state = model.predict(observation, state, start, deterministic=True)
        observation, _, start, infos = venv.step(action)
        correct += [info["correct"] for info in infos if info.get("trial", 0) >= 3]
    assert len(correct) == 64 * 20 * 3
    return np.mean(correct)


@pytest.mark.slow
def test_a_plastic_network_learns_in_its_lifetime_what_a_static_one_cannot():
    # chance is 0.5, with a standard error of 0.008; a static network's own leak bridges
    # a trial or two without delays, which is worth a few per cent
    assert late_accuracy_after_training("oja", "direct") > 0.75
    assert late_accuracy_after_training("none", "none") < 0.62
