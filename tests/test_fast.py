"""The layer for speed gives Stable-Baselines3's numbers, and sees whatever changes a policy."""

import copy
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import numpy as np
import pytest
import torch
from conftest import (
    ACTIONS,
    LSTM,
    NETWORK,
    OBSERVATIONS,
    POLICIES,
    RandomEnv,
    make_model,
    make_venv,
    same,
)
from gymnasium import spaces
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from stable_baselines3.common.callbacks import BaseCallback
from stable_baselines3.common.distributions import DiagGaussianDistribution
from stable_baselines3.common.env_util import make_vec_env
from stable_baselines3.common.logger import Logger
from stable_baselines3.common.utils import polyak_update

from spikepropamine.agents import PlasticPPO, zoo
from spikepropamine.agents.zoo import TrainerSettings, build
from spikepropamine.policies import NetworkConfig, fast
from spikepropamine.policies.export import DeployedPolicy, load_policy, save_policy
from spikepropamine.policies.fast import obstacle, way
from spikepropamine.policies.fast.distributions import Gaussian
from spikepropamine.policies.fast.environments import Normalised
from spikepropamine.policies.fast.networks import Dense, tanh
from spikepropamine.policies.fast.ppo import PPO, FastPPO, one_thread, policy_loss, value_loss
from spikepropamine.training.settings import defaults

SEEN = (
    "obs_tensor", "actions", "clipped_actions", "values", "log_probs", "new_obs", "rewards",
    "dones", "n_steps", "n_rollout_steps",
)  # fmt: skip
OF_MEMORY = ("episode_starts", "lstm_states")
SETTINGS = {
    "as they are": {},
    "all terms": {"ent_coef": 0.1, "clip_range_vf": 0.05, "learning_rate": 0.02},
    "early stop": {"target_kl": 1e-3, "learning_rate": 0.02, "n_epochs": 5},
    "raw advantages": {"normalize_advantage": False, "clip_range": 0.01, "learning_rate": 0.02},
    "nothing": {"clip_range": 0.0, "learning_rate": 0.0},
}
DICT = {
    "mlp": (PPO, "MultiInputPolicy", {}),
    "lstm": (PlasticPPO, "MultiInputLstmPolicy", LSTM),
    "ndp": (PlasticPPO, "PlasticSpikingPolicy", {"network": NETWORK}),
}
CASES = [(kind, "box", "box") for kind in POLICIES]
CASES += [(kind, "box", action) for kind in DICT for action in ACTIONS if action != "box"]
CASES += [(kind, seen, "multi_discrete") for kind in DICT for seen in ("dict", "discrete")]
drawn = settings(max_examples=30, deadline=None, suppress_health_check=list(HealthCheck))


def model_of(kind, observation="box", action="box", venv=None, **changes):
    algorithm, policy, arguments = (DICT if observation == "dict" else POLICIES)[kind]
    venv = venv or make_vec_env(RandomEnv, 3, 0, env_kwargs={
        "observation": observation, "action": action, "truncates": True})  # fmt: skip
    return make_model(venv, algorithm, policy, policy_kwargs=arguments, **changes)


class Witness(BaseCallback):
    """Writes down what it finds in `locals`, and what is in the buffer at the end of rollouts."""

    def __init__(self, names):
        super().__init__()
        self.names, self.found = names, []

    def _on_step(self):
        self.found += [_kept(self.locals[name]) for name in self.names]
        self.found += [self.locals["infos"][0]["TimeLimit.truncated"], self.num_timesteps]
        assert self.locals["self"] is self.model and self.locals["env"] is self.model.env
        return True

    def _on_rollout_end(self):
        buffer = self.model.rollout_buffer
        for name in ("observations", "rewards", "episode_starts", "values", "advantages"):
            self.found.append(copy.deepcopy(getattr(buffer, name)))


def _kept(value):
    if isinstance(value, tuple | dict):
        return [_kept(part) for part in (value.values() if isinstance(value, dict) else value)]
    return value.numpy().copy() if isinstance(value, torch.Tensor) else np.array(value)


def by_stable_baselines(monkeypatch, name):
    """A method of the algorithm is Stable-Baselines3's own from now on."""

    def method(self, *arguments, **more):
        return getattr(super(FastPPO, self), name)(*arguments, **more)

    monkeypatch.setattr(FastPPO, name, method)


@pytest.mark.parametrize(("kind", "observation", "action"), CASES)
def test_rollouts_are_the_same_to_the_last_bit(kind, observation, action, monkeypatch):
    found = []
    for _ in range(2):
        model = model_of(kind, observation, action)
        assert fast.fast(model.policy) is not None
        witness = Witness(SEEN + (OF_MEMORY if isinstance(model, PlasticPPO) else ()))
        model.learn(2 * 16 * 3, callback=witness)
        found.append([witness.found, [x.numpy() for x in model.policy.state_dict().values()]])
        by_stable_baselines(monkeypatch, "collect_rollouts")
    assert same(*found)


@pytest.mark.parametrize("chosen", SETTINGS)
@pytest.mark.parametrize(
    ("kind", "action"),
    [("relu", "box"), *((k, a) for k in DICT for a in ACTIONS), ("lstm actor", "discrete")],
)
def test_updates_are_those_of_stable_baselines(kind, action, chosen, monkeypatch):
    found = []
    for _ in range(2):
        model, logger = model_of(kind, action=action, **SETTINGS[chosen]), Logger(None, [])
        model.set_logger(logger)
        model.learn(3 * 16 * 3)
        logged = {k: v for k, v in logger.name_to_value.items() if k.startswith("train/")}
        found.append((logged, model.policy.state_dict()))
        by_stable_baselines(monkeypatch, "train")
    (ours, weights), (theirs, expected) = found
    if chosen == "nothing":  # where only rounding is beyond a clip of nothing
        assert ours.pop("train/clip_fraction") == 0
        theirs.pop("train/clip_fraction")
    assert ours == pytest.approx(theirs, rel=1e-3, abs=1e-5)
    torch.testing.assert_close(weights, expected, rtol=1e-3, atol=1e-4)


@drawn
@given(st.sampled_from(CASES), st.integers(0, 99), st.sampled_from([3.0, 0.0]))
def test_likelihoods_are_those_of_the_rollout_and_gradients_those_of_the_policy(case, seed, more):
    model = model_of(*case, seed=seed, n_epochs=0)
    with torch.no_grad():
        model.policy.action_net.weight.mul_(1 + more)
    FastPPO.train, train = lambda self: None, FastPPO.train
    try:
        model.learn(16 * 3)
    finally:
        FastPPO.train = train
    parameters = [x for x in model.policy.parameters() if x.requires_grad]
    for batch in model.rollout_buffer.get(24):
        values, log_probs, entropy = fast.fast(model.policy).evaluate(batch)
        torch.testing.assert_close(log_probs, batch.old_log_prob, rtol=1e-4, atol=1e-5)
        torch.testing.assert_close(values, batch.old_values, rtol=1e-4, atol=1e-5)
        memory = (batch.lstm_states, batch.episode_starts) if hasattr(batch, "mask") else ()
        actions = batch.actions.long().flatten() if case[2] == "discrete" else batch.actions
        stock = model.policy.evaluate_actions(batch.observations, actions, *memory)
        weights = torch.randn(3, len(values))
        found, expected = [
            torch.autograd.grad([v.flatten(), p, e], parameters, list(weights), allow_unused=True)
            for v, p, e in ((values, log_probs, entropy), stock)
        ]
        torch.testing.assert_close(entropy, stock[2])
        torch.testing.assert_close(found, expected, rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("alone", [False, True])
@pytest.mark.parametrize(("kind", "observation", "action"), CASES)
def test_a_policy_predicts_as_stable_baselines(kind, observation, action, alone, monkeypatch):
    model = model_of(kind, observation, action).learn(48)
    deployed, space, found = DeployedPolicy(model.policy, None, {}), model.observation_space, []
    for _ in range(2):
        torch.manual_seed(0)
        space.seed(0)
        state, starts, answers = None, None, []
        for step in range(12):
            several = [space.sample() for _ in range(5)]
            if alone:
                observed = several[0]
            elif observation == "dict":
                observed = {key: np.stack([x[key] for x in several]) for key in space}
            else:
                observed = np.stack(several)
            actions, state = deployed.predict(observed, state, starts, step % 2 == 0)
            answers += [actions, state or ()]
            starts = np.array([step % 5 == 0]) if alone else np.arange(5) == step % 7
        found.append(answers)
        monkeypatch.setattr("spikepropamine.policies.export.fast", lambda _: None)
        monkeypatch.setattr("spikepropamine.policies.policy.fast", lambda _: None)
    assert same(*found)


@pytest.mark.parametrize("agent", ["mlp", "lstm", "snn", "ndp-oja"])
@pytest.mark.parametrize("action", ACTIONS)
def test_what_is_trained_by_name_has_a_shorter_way(agent, action, capsys):
    trainer = TrainerSettings(n_steps=8, sequence_length=8)
    model = build(agent, make_venv(action=action), NetworkConfig(), trainer)
    model.verbose = 1
    model.learn(8)
    assert "rollouts and updates: compiled" in capsys.readouterr().out


@pytest.mark.parametrize("batch", [1, 3, 8, 50])
@pytest.mark.parametrize("channels", [1, 6, 17])
def test_exploration_is_that_of_stable_baselines(batch, channels):
    means, policy = torch.randn(batch, channels), torch.nn.Module()
    policy.log_std = torch.randn(channels)
    torch.manual_seed(1)
    ours = Gaussian(policy).draw(means)
    torch.manual_seed(1)
    theirs = DiagGaussianDistribution(channels).log_prob_from_params(means, policy.log_std)
    assert torch.equal(ours[0], theirs[0]) and torch.equal(ours[1], theirs[1])


def change_data(policy):
    for x in policy.parameters():
        x.data.mul_(2)


def change_by_polyak(policy):
    other = [torch.ones_like(x) for x in policy.parameters()]
    polyak_update(other, policy.parameters(), 0.3)


def change_by_loading(policy):
    policy.load_state_dict({k: 0.5 * x for k, x in policy.state_dict().items()})


def change_by_evolution(policy):
    for x in policy.parameters():
        x.data.copy_(x.data + 0.3 * torch.randn(x.shape))


def change_by_vector(policy):
    vector = policy.parameters_to_vector()
    for _ in range(2):  # it shares its memory with the parameters from the first time on
        vector *= 0.5
        policy.load_from_vector(vector)


def change_memory(policy):
    for x in policy.parameters():
        x.data = x.data * 0.5


def change_by_numpy(policy):
    for x in policy.parameters():
        x.detach().numpy()[...] *= -0.5


def change_order(policy):
    for x in policy.parameters():
        if x.dim() == 2 and len(x) == x.shape[1]:
            x.data = x.data.t()  # the same memory, read the other way


CHANGES = [
    change_data, change_by_polyak, change_by_loading, change_by_evolution, change_by_vector,
    change_memory, change_by_numpy, change_order,
]  # fmt: skip


@pytest.mark.parametrize("change", CHANGES)
@pytest.mark.parametrize("kind", ["mlp", "lstm", "ndp"])
def test_parameters_changed_by_whatever_means_act_at_once(kind, change):
    network = {**NETWORK, "hidden": (12, 12)}
    arguments = {"policy_kwargs": {"network": network}} if kind == "ndp" else {}
    algorithm, policy, _ = POLICIES[kind]
    model = make_model(make_venv(action="box"), algorithm, policy, **arguments)
    observation = np.full((2, 3), 0.5, np.float32)

    def acted(policy):
        state, found = None, []
        for _ in range(4):
            actions, state = DeployedPolicy(policy, None, {}).predict(
                observation, state, deterministic=True
            )
            found += [actions, state or ()]
        return found

    before = acted(model.policy)
    for _ in range(2):
        change(model.policy)
        assert same(acted(model.policy), acted(copy.deepcopy(model.policy)))
    assert not same(before, acted(model.policy)) or change is change_order


@pytest.mark.parametrize("kind", ["mlp", "ndp"])
def test_methods_and_hooks_of_a_policy_of_ones_own_are_called(kind):
    model = model_of(kind).learn(16)
    policy, calls = model.policy, []
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
    policy.action_net = torch.nn.Sequential(policy.action_net, torch.nn.Threshold(1e9, 0.25))
    assert (policy.predict(np.zeros((1, 3), np.float32), None, None, True)[0] == 0.25).all()
    assert obstacle(policy) is None


class Clearing(torch.optim.Adam):
    """Clears the gradients itself, as some optimisers do."""

    def step(self, closure=None):
        norms.append(torch.cat([p.grad.flatten() for p in self.param_groups[0]["params"]]).norm())
        super().step(closure)
        self.zero_grad(set_to_none=True)


norms = []


@pytest.mark.parametrize("kind", ["mlp", "ndp"])
def test_the_gradients_norm_is_bounded_where_the_optimiser_clears_gradients(kind):
    norms.clear()
    algorithm, name, arguments = POLICIES[kind]
    arguments = arguments | {"optimizer_class": Clearing}
    venv = make_vec_env(RandomEnv, 3, 0, env_kwargs={"action": "box"})
    model = make_model(venv, algorithm, name, policy_kwargs=arguments, max_grad_norm=1e-3)
    model.learn(2 * 48)
    assert len(norms) > 2 and max(norms) == pytest.approx(1e-3, rel=0.01)


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
        monkeypatch.setattr("spikepropamine.policies.export.fast", lambda _: None)
        monkeypatch.setattr("spikepropamine.policies.policy.fast", lambda _: None)

    def episodes(seed):
        random, answers = np.random.default_rng(seed), []
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


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_a_number_that_is_not_finite_is_named_and_leaves_the_state_as_it_was(bad):
    policy = model_of("ndp").policy
    observation = np.zeros((2, 3), np.float32)
    _, state = policy.predict(observation)
    kept = [x.copy() for x in state]
    observation[1, 2] = bad
    for each in (policy, DeployedPolicy(policy, None, {})):
        with pytest.raises(ValueError, match=r"observation\[1, 2\] is -?(nan|inf)"):
            each.predict(observation, state)
    assert same(list(state), kept)
    several = DeployedPolicy(model_of("mlp", "dict").policy, None, {})
    one = several.policy.observation_space.sample()
    with pytest.raises(ValueError, match=r"observation 'cue'\[0\]"):
        several.predict(one | {"cue": np.array([bad, 0], np.float32)})


def test_small_networks_learn_with_one_thread_and_give_the_others_back():
    class Threads(BaseCallback):
        def _on_step(self):
            counts.append(torch.get_num_threads())
            return True

    counts, before = [], torch.get_num_threads()
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

        def _on_rollout_end(self):
            assert len(self.locals["starts"]) == 3  # what is known at the end only

    largest = []
    model_of("mlp", learning_rate=1e-30).learn(2 * 16 * 3, callback=Still())
    assert largest[0] < 1e-6 < 0.5 < min(largest[1:16]) and largest[16] < 1e-6


def test_a_method_replaced_at_the_start_of_a_rollout_is_called_in_it():
    class Replace(BaseCallback):
        def _on_rollout_start(self):
            forward = type(self.model.policy).forward.__get__(self.model.policy)
            self.model.policy.forward = lambda *a: (calls.append(1), forward(*a))[1]

        def _on_step(self):
            return True

    for kind in ("mlp", "ndp"):
        calls = []
        model_of(kind, action="discrete").learn(48, callback=Replace())
        assert len(calls) == 16


@pytest.mark.parametrize("kind", ["mlp", "ndp"])
def test_a_training_that_diverges_ends(kind):
    with pytest.raises(ValueError, match="not a finite number"):
        model_of(kind, learning_rate=1e30).learn(1000)


def test_a_callback_ends_a_training():
    class End(BaseCallback):
        def _on_step(self):
            return self.n_calls < 5

    model = model_of("mlp")
    model.learn(1000, callback=End())
    assert model.num_timesteps == 5 * 3


@pytest.mark.parametrize("clip", [0.0, 0.2])
def test_gradient_of_the_policys_loss_is_that_of_autograd(clip):
    generator = torch.Generator().manual_seed(0)
    old, advantages = torch.randn(2, 500, generator=generator)
    # a third each of unchanged likelihoods, of changed ones, and of advantages of zero
    changed = 0.3 * torch.randn(500, generator=generator)
    log_probs = (old + torch.where(torch.arange(500) % 3 == 0, 0.0, changed)).requires_grad_()
    advantages = torch.where(torch.arange(500) % 3 == 1, 0.0, advantages)
    ratio = torch.exp(log_probs - old)
    bounded = advantages * torch.clamp(ratio, 1 - clip, 1 + clip)
    expected = -torch.min(advantages * ratio, bounded).mean()
    expected.backward()
    loss, gradient, clipped, divergence = policy_loss(log_probs.detach(), old, advantages, clip)
    torch.testing.assert_close(gradient, log_probs.grad)
    torch.testing.assert_close(loss, expected.detach())
    assert clipped == ((ratio - 1).abs() > clip).float().mean()
    assert divergence >= 0


@pytest.mark.parametrize("clip", [None, 0.2])
def test_gradient_of_the_values_loss_is_that_of_autograd(clip):
    values, old, returns = torch.randn(3, 500)
    values = (old + 0.3 * values).requires_grad_()
    kept = values if clip is None else old + torch.clamp(values - old, -clip, clip)
    loss = torch.nn.functional.mse_loss(returns, kept)
    loss.backward()
    found, gradient = value_loss(values.detach(), old, returns, clip)
    torch.testing.assert_close(gradient, values.grad)
    torch.testing.assert_close(found, loss.detach())


@pytest.mark.parametrize("loss", [policy_loss, value_loss])
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
    chosen = defaults("CueAssociation-v0", "mlp")
    trainer = replace(chosen.trainer, n_steps=8, batch_size=8, learning_rate_schedule="linear")
    model = zoo.build("mlp", make_venv(), chosen.network, trainer)
    model.learn(9)  # two rollouts of eight steps
    assert model._current_progress_remaining < 0
    assert model.policy.optimizer.param_groups[0]["lr"] == 0


WHOLE, NARROW = spaces.Box(0, 255, (3,), np.uint8), spaces.Box(-1, 1, (2,), np.float16)


@pytest.mark.parametrize("space", [WHOLE, NARROW, spaces.Dict(z=WHOLE, a=NARROW)])
def test_the_update_sees_the_normalised_observations_that_were_acted_on(space, monkeypatch):
    monkeypatch.setitem(OBSERVATIONS, "odd", space)
    monkeypatch.setattr(RandomEnv, "_draw", lambda env, part: part.sample())
    keys = list(space) if isinstance(space, spaces.Dict) else None
    venv = Normalised(make_venv("odd", "box"), norm_obs_keys=keys)
    model = model_of("mlp", "dict" if keys else "odd", venv=venv, learning_rate=1e-30).learn(32)
    (batch,) = model.rollout_buffer.get(None)
    log_probs = model.policy.evaluate_actions(batch.observations, batch.actions)[1]
    torch.testing.assert_close(log_probs, batch.old_log_prob, rtol=0, atol=1e-5)
