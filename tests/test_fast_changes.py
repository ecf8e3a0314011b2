"""What changes a policy, or a training, acts at once in the layer for speed, as without
it.
"""

import copy
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import torch
from conftest import NETWORK, POLICIES, make_model, make_venv, model_of, same
from stable_baselines3.common.callbacks import BaseCallback

from spikepropamine.policies.deployed import DeployedPolicy
from spikepropamine.policies.export import load_policy, save_policy
from spikepropamine.policies.fast import obstacle, way
from spikepropamine.policies.fast.ppo import one_thread


def by_data(policy):
    for x in policy.parameters():
        x.data.mul_(2)


def by_vector(policy):
    vector = policy.parameters_to_vector()
    for _ in range(
        2
    ):  # it shares its memory with the parameters from the first time on
        vector *= 0.5
        policy.load_from_vector(vector)


def by_memory(policy):
    for x in policy.parameters():
        x.data = x.data * 0.5


def by_order(policy):
    for x in policy.parameters():
        if x.dim() == 2 and len(x) == x.shape[1]:
            x.data = x.data.t()  # the same memory, read the other way


@pytest.mark.parametrize("kind", ["mlp", "lstm", "ndp"])
def test_parameters_changed_by_whatever_means_act_at_once(kind):
    network = {**NETWORK, "hidden": (12, 12)}
    arguments = {"policy_kwargs": {"network": network}} if kind == "ndp" else {}
    algorithm, policy, _ = POLICIES[kind]
    observation = np.full((2, 3), 0.5, np.float32)

    def acted(policy):
        state = None
        found = []
        for _ in range(4):
            actions, state = DeployedPolicy(policy, None, {}).predict(
                observation, state, deterministic=True
            )
            found += [actions, state or ()]
        return found

    for change in (by_data, by_vector, by_memory, by_order):
        model = make_model(make_venv(action="box"), algorithm, policy, **arguments)
        before = acted(model.policy)
        for _ in range(2):
            change(model.policy)
            assert same(acted(model.policy), acted(copy.deepcopy(model.policy))), change
        assert not same(before, acted(model.policy)) or change is by_order


@pytest.mark.parametrize("kind", ["mlp", "ndp"])
def test_methods_and_hooks_of_a_policy_of_ones_own_are_called(kind):
    model = model_of(kind).learn(16)
    policy = model.policy
    calls = []
    for name in ("forward", "evaluate_actions", "predict"):
        own = getattr(policy, name)
        setattr(policy, name, lambda *a, f=own, **k: (calls.append(1), f(*a, **k))[1])
        assert f"has a method of its own, {name}" in obstacle(policy)
        calls.clear()
        if name == "predict":
            DeployedPolicy(policy, None, {}).predict(np.zeros((1, 3), np.float32))
        else:
            model.learn(16)
        assert calls, name
        delattr(policy, name)
    for hook in ("register_forward_hook", "register_full_backward_hook"):
        handle = getattr(policy.action_net, hook)(lambda *_: calls.append(1))
        calls.clear()
        model.learn(48)
        assert calls and "action_net has a hook" in way(policy)
        handle.remove()
    policy.action_net = torch.nn.Sequential(
        policy.action_net, torch.nn.Threshold(1e9, 0.25)
    )
    assert (
        policy.predict(np.zeros((1, 3), np.float32), None, None, True)[0] == 0.25
    ).all()
    assert obstacle(policy) is None


@pytest.mark.parametrize("count", [4, pytest.param(1000, marks=pytest.mark.slow)])
@pytest.mark.parametrize("compiled", [True, False])
@pytest.mark.parametrize("kind", ["mlp", "lstm", "ndp"])
def test_eight_threads_do_with_a_loaded_policy_what_one_does(
    kind, compiled, count, tmp_path, monkeypatch, switching
):
    model = model_of(kind, action="multi_discrete").learn(48)
    save_policy(tmp_path / "policy", model.policy)
    policy = load_policy(tmp_path / "policy")
    if not compiled:
        monkeypatch.setattr("spikepropamine.policies.deployed.fast", lambda _: None)
        monkeypatch.setattr("spikepropamine.policies.spiking.fast", lambda _: None)

    def episodes(seed):
        random = np.random.default_rng(seed)
        answers = []
        for _ in range(count):
            state = None
            for _ in range(10):
                observation = random.normal(size=3).astype(np.float32)
                action, state = policy.predict(observation, state, deterministic=True)
                answers.append(action)
        return np.array(answers)

    expected = [episodes(seed) for seed in range(8)]
    with ThreadPoolExecutor(8) as pool:
        assert same(list(pool.map(episodes, range(8))), expected)


def test_a_number_that_is_not_finite_is_named_and_leaves_the_state_as_it_was():
    policy = model_of("ndp").policy
    observation = np.zeros((2, 3), np.float32)
    _, state = policy.predict(observation)
    kept = [x.copy() for x in state]
    for each, bad in (policy, np.nan), (DeployedPolicy(policy, None, {}), -np.inf):
        observation[1, 2] = bad
        with pytest.raises(ValueError, match=rf"observation\[1, 2\] is {bad}"):
            each.predict(observation, state)
    assert same(list(state), kept)
    several = DeployedPolicy(model_of("mlp", "dict").policy, None, {})
    one = several.policy.observation_space.sample()
    with pytest.raises(ValueError, match=r"observation 'cue'\[0\]"):
        several.predict(one | {"cue": np.array([np.inf, 0], np.float32)})


def test_small_networks_learn_with_one_thread_and_give_the_others_back():
    class Threads(BaseCallback):
        def _on_step(self):
            counts.append(torch.get_num_threads())
            return True

    counts = []
    before = torch.get_num_threads()
    torch.set_num_threads(3)
    try:
        model_of("ndp").learn(48, callback=Threads())
        assert set(counts) == {1} and torch.get_num_threads() == 3
        with pytest.raises(KeyError), one_thread(model_of("mlp").policy):
            raise KeyError
        with one_thread(torch.nn.Conv2d(1, 1, 3)):
            assert torch.get_num_threads() == 3
    finally:
        torch.set_num_threads(before)


def test_what_a_callback_changes_at_the_start_of_a_rollout_acts_at_once():
    class Still(BaseCallback):
        def _on_rollout_start(self):
            with torch.no_grad():
                for x in self.model.policy.action_net.parameters():
                    x.data = torch.zeros_like(x)
                self.model.policy.log_std.fill_(-20.0)

        def _on_step(self):
            largest.append(np.abs(self.locals["actions"]).max())
            with torch.no_grad():
                self.model.policy.log_std.fill_(2.0 if self.n_calls % 16 else -20.0)
            return True

    largest = []
    model_of("mlp", learning_rate=1e-30).learn(2 * 16 * 3, callback=Still())
    assert largest[0] < 1e-6 < 0.5 < min(largest[1:16]) and largest[16] < 1e-6


@pytest.mark.parametrize("kind", ["mlp", "ndp"])
def test_what_a_callback_freezes_in_mid_training_stays_as_it_is(kind):
    class Freeze(BaseCallback):
        def _on_step(self):
            return True

        def _on_rollout_start(self):
            if self.num_timesteps == 2 * 16 * 3:
                frozen.extend(self.model.policy.value_net.parameters())
                before.extend(x.requires_grad_(False).clone() for x in frozen)

    frozen = []
    before = []
    model_of(kind).learn(4 * 16 * 3, callback=Freeze())
    assert frozen and same(*([x.numpy() for x in some] for some in (frozen, before)))
