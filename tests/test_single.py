"""A policy in one environment acts as `predict` with the state carried: the state to
the last bit, and actions to rounding errors.
"""

import copy
from concurrent.futures import ThreadPoolExecutor

import gymnasium as gym
import numpy as np
import pytest
import torch
from torch import nn

import spikepropamine as sp
from spikepropamine.agents import PlasticPPO, PlasticSAC, PlasticTD3
from spikepropamine.api import Policy
from spikepropamine.policies.deployed import DeployedPolicy
from spikepropamine.policies.fast.single import DenseActor, GatedActor, SpikingActor

ACTORS = {
    "robots/HalfCheetah-v5/mlp": DenseActor,
    "robots/HalfCheetah-v5/snn": SpikingActor,
    "robots/HalfCheetah-v5/ndp-oja": SpikingActor,
    "spikes/CueAssociation-v0/ndp-oja": SpikingActor,  # of several ticks
    "robots-lstm/HalfCheetah-v5/lstm": GatedActor,
    "cue-ppo/CueAssociation-v0/mlp": DenseActor,
    "robots-sac-long/snn-sac/HalfCheetah-v5/snn": SpikingActor,
}
LSTM = "robots-lstm/HalfCheetah-v5/lstm"
NDP = "robots/HalfCheetah-v5/ndp-oja"


def observations(policy, count=30):
    env = policy.make_env()
    env.action_space.seed(0)
    observation, _ = env.reset(seed=0)
    seen = []
    for _ in range(count):
        seen.append(observation)
        observation, *_ = env.step(env.action_space.sample())
    env.close()
    return seen


def by_predict(policy, seen, state=None, deterministic=True):
    actions = []
    for observation in seen:
        starts = np.array([state is None])
        action, state = policy.predict(observation[None], state, starts, deterministic)
        actions.append(action[0])
    return actions, state


def assert_same(found, expected):
    for one, other in zip(found, expected, strict=True):
        assert type(one) is type(other)
        assert np.asarray(one).dtype == np.asarray(other).dtype
        np.testing.assert_allclose(one, other, rtol=0, atol=2e-6)


@pytest.mark.parametrize("deterministic", [True, False])
@pytest.mark.parametrize("name", ACTORS)
def test_actions_and_state_are_those_of_predict(name, deterministic):
    policy = sp.load(name)
    seen = observations(policy)
    torch.manual_seed(0)
    expected, state = by_predict(policy, seen, None, deterministic)
    for _ in range(2):  # two episodes
        policy.reset()
        torch.manual_seed(0)
        found = [policy.act(x, deterministic) for x in seen]
        assert_same(found, expected)
    assert isinstance(policy.single().actor, ACTORS[name])
    if policy.state:
        layout = policy.policy.layout
        for field, numbers in policy.state.items():
            kept = layout.get(state[0][0], field)[0]
            np.testing.assert_array_equal(numbers, kept)


NETWORK = {"hidden": (9, 8), "rule": "oja", "modulation": "direct", "ticks": 2}
OFF_POLICY = {
    "MlpPolicy": ({"net_arch": [9, 8]}, DenseActor),
    "MlpLstmPolicy": ({"lstm_hidden_size": 8}, GatedActor),
    "GruPolicy": ({"lstm_hidden_size": 8}, GatedActor),
    "PlasticSpikingPolicy": ({"network": NETWORK}, SpikingActor),
}


@pytest.mark.parametrize("deterministic", [True, False])
@pytest.mark.parametrize("kind", OFF_POLICY)
@pytest.mark.parametrize("learner", [PlasticSAC, PlasticTD3])
def test_actors_of_off_policy_learners(learner, kind, deterministic):
    arguments, actor = OFF_POLICY[kind]
    env = gym.make("MotorMap-v0", motors=3)
    env.observation_space.seed(0)
    model = learner(
        kind, env, policy_kwargs=arguments, device="cpu", buffer_size=10, seed=0
    )
    with torch.no_grad():
        for head in model.actor.heads():  # means and deviations that matter
            head.weight.normal_()
            head.bias.normal_()
    policy = Policy(model.actor, None, {})
    seen = [env.observation_space.sample() for _ in range(20)]
    torch.manual_seed(0)
    expected, _ = by_predict(policy, seen, None, deterministic)
    for _ in range(2):  # two episodes
        policy.reset()
        torch.manual_seed(0)
        assert_same([policy.act(x, deterministic) for x in seen], expected)
    assert np.std(expected, axis=0).max() > 0.01  # a tanh may be saturated
    assert isinstance(policy.single().actor, actor)


@pytest.mark.parametrize("activation", [nn.Tanh, nn.ReLU])
def test_dense_layers_are_those_of_pytorch(activation):
    torch.manual_seed(0)
    layers = nn.Sequential(
        nn.Linear(5, 33), activation(), nn.Linear(33, 7), activation(), nn.Linear(7, 2)
    )
    features = torch.randn(1, 5)
    act = DenseActor(list(layers), features)
    for _ in range(2):
        expected = layers.double()(features.double()).detach()
        layers.float()
        np.testing.assert_allclose(act(), expected, rtol=0, atol=1e-6)
        features.mul_(3.0)
    features[0, 0] = torch.nan
    assert act().isnan().all()


def test_parameters_of_another_type_are_refused():
    policy = sp.load("robots/HalfCheetah-v5/mlp")
    (observation,) = observations(policy, 1)
    policy.act(observation)
    policy.policy.double()
    with pytest.raises(TypeError, match="float64, and observations"):
        policy.act(observation)


@pytest.mark.parametrize("kind", ["MlpLstmPolicy", "GruPolicy"])
@pytest.mark.parametrize("layers", [1, 2])
def test_memories_of_several_layers(kind, layers):
    model = PlasticPPO(
        kind,
        "Pendulum-v1",
        policy_kwargs={"lstm_hidden_size": 8, "n_lstm_layers": layers},
        device="cpu",
    )
    policy = DeployedPolicy(model.policy, None, {})
    seen = [model.observation_space.sample() for _ in range(20)]
    expected, state = by_predict(policy, seen)
    single = policy.single()
    assert isinstance(single.actor, GatedActor)
    for _ in range(2):  # two episodes
        single.actor.state = None
        assert_same([single.act(x, deterministic=True) for x in seen], expected)
    for one, other in zip(single.actor.state, state, strict=True):
        np.testing.assert_array_equal(one, other)


def by_value(policy):
    for x in policy.parameters():
        x.data.mul_(0.5)


def by_memory(policy):
    for x in policy.parameters():
        x.data = x.data * 2.0


def by_order(policy):
    for x in policy.parameters():
        if x.dim() == 2 and len(x) == x.shape[1]:
            x.data = x.data.t()  # the same memory, read the other way


def by_module(policy):
    policy.action_net = copy.deepcopy(policy.action_net)
    policy.action_net.weight.data.neg_()


def by_hook(policy):
    policy.action_net.register_forward_hook(lambda *_: torch.full((1, 6), 0.25))


@pytest.mark.parametrize("change", [by_value, by_memory, by_order, by_module, by_hook])
@pytest.mark.parametrize("name", ["robots/HalfCheetah-v5/mlp", LSTM, NDP])
def test_what_changes_a_policy_acts_at_once_and_the_state_stays(name, change):
    policy = sp.load(name)
    seen = observations(policy)
    _, state = by_predict(policy, seen[:10])
    for x in seen[:10]:
        policy.act(x)
    for _ in range(2):
        change(policy.policy)
        expected, state = by_predict(policy, seen[10:20], state)
        assert_same([policy.act(x) for x in seen[10:20]], expected)


def test_a_way_that_comes_back_goes_on_with_the_state():
    policy = sp.load(NDP)
    seen = observations(policy)
    expected, _ = by_predict(policy, seen)
    found = [policy.act(x) for x in seen[:10]]
    handle = policy.policy.register_forward_hook(lambda *_: None)
    found += [policy.act(x) for x in seen[10:20]]
    assert policy.single() is None
    handle.remove()
    found += [policy.act(x) for x in seen[20:]]
    assert policy.single() is not None
    assert_same(found, expected)


def test_observations_of_other_types_are_taken_as_before():
    policy = sp.load(NDP)
    seen = observations(policy, 5)
    expected, _ = by_predict(policy, seen)
    assert_same([policy.act(x.tolist()) for x in seen], expected)
    policy.reset()
    narrow = [x.astype(np.float32) for x in seen]
    assert_same([policy.act(x) for x in narrow], by_predict(policy, narrow)[0])
    policy.reset()
    whole = [x.astype(np.int16) for x in seen]
    assert_same([policy.act(x) for x in whole], by_predict(policy, whole)[0])


def test_an_action_is_an_array_of_its_own():
    policy = sp.load("robots/HalfCheetah-v5/mlp")
    first, second = observations(policy, 2)
    action = policy.act(first)
    kept = action.copy()
    action_after = policy.act(second)
    np.testing.assert_array_equal(action, kept)
    action_after[:] = 0.0
    assert policy.act(second).any()


@pytest.mark.parametrize("name", [LSTM, NDP])
def test_a_state_that_is_not_finite_ends_the_episode(name):
    policy = sp.load(name)
    seen = observations(policy, 3)
    policy.act(seen[0])
    actor = policy._kept().single.actor
    state = actor.state
    state[0][..., -1] = np.nan
    actor.state = state
    for _ in range(2):
        with pytest.raises(ValueError, match="state has a number that is not finite"):
            policy.act(seen[1])
    policy.reset()
    assert np.isfinite(policy.act(seen[0])).all()


def test_an_observation_that_is_refused_leaves_the_state():
    policy = sp.load(NDP)
    seen = observations(policy)
    expected, _ = by_predict(policy, seen)
    found = []
    for x in seen:
        with pytest.raises(ValueError, match="is nan"):
            policy.act(x * np.nan)
        found.append(policy.act(x))
    assert_same(found, expected)


def test_threads_and_copies_have_a_state_each():
    policy: Policy = sp.load(NDP)
    seen = observations(policy)
    expected, _ = by_predict(policy, seen)

    def episode(acting):
        acting.reset()  # a thread may have had an episode before
        return [acting.act(x) for x in seen]

    with ThreadPoolExecutor(4) as pool:
        episodes = [pool.submit(episode, policy) for _ in range(4)]
        for found in episodes:
            assert_same(found.result(), expected)
    for x in seen[:5]:
        policy.act(x)
    assert_same([copy.deepcopy(policy).act(seen[0])], expected[:1])
    assert_same(episode(copy.deepcopy(policy)), expected)
