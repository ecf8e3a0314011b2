"""Rollouts by plain calls, and normalisation without copies, give Stable-Baselines3's numbers."""

import numpy as np
import pytest
import torch
from conftest import OBSERVATIONS, POLICIES, RandomEnv, make_model, make_venv, same
from gymnasium import spaces
from stable_baselines3.common.callbacks import BaseCallback
from stable_baselines3.common.distributions import DiagGaussianDistribution
from stable_baselines3.common.env_util import make_vec_env
from stable_baselines3.common.vec_env import VecNormalize

from spikepropamine.agents import PlasticPPO, rollout
from spikepropamine.agents.rollout import PPO
from spikepropamine.agents.zoo import TrainerSettings, build
from spikepropamine.policies import NetworkConfig
from spikepropamine.policies.export import DeployedPolicy
from spikepropamine.policies.plain import _Gaussian, plain_step
from spikepropamine.training.normalised import Normalised

SEEN = (
    "obs_tensor", "actions", "clipped_actions", "values", "log_probs", "new_obs", "rewards",
    "dones", "n_steps", "n_rollout_steps",
)  # fmt: skip
OF_MEMORY = ("episode_starts", "lstm_states")


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
            self.found.append(np.copy(getattr(buffer, name)))


def _kept(value):
    if isinstance(value, tuple):
        return [_kept(part) for part in value]
    return value.numpy().copy() if isinstance(value, torch.Tensor) else np.array(value)


def learned(kind, truncates=True):
    """What a callback sees in a training, and the parameters after it."""
    algorithm, policy, arguments = POLICIES[kind]
    environment = {"action": "box", "truncates": truncates}
    venv = Normalised(make_vec_env(RandomEnv, 3, 0, env_kwargs=environment))
    names = SEEN if policy == "MlpPolicy" else SEEN + OF_MEMORY
    witness = Witness(names)
    changes = {"policy_kwargs": arguments}
    model = make_model(venv, algorithm, policy, **changes)
    model.learn(2 * 16 * 3, callback=witness)
    return witness.found, [x.numpy() for x in model.policy.state_dict().values()]


@pytest.mark.parametrize("kind", POLICIES)
def test_a_training_is_the_same_to_the_last_bit(kind, monkeypatch):
    ours = learned(kind)
    monkeypatch.setattr(rollout, "known", lambda _: False)
    assert same(ours, learned(kind))


def test_episodes_that_end_for_good_are_no_other_case(monkeypatch):
    ours = learned("lstm", truncates=False)
    monkeypatch.setattr(rollout, "known", lambda _: False)
    assert same(ours, learned("lstm", truncates=False))


@pytest.mark.parametrize("kind", POLICIES)
def test_these_policies_are_known(kind):
    algorithm, policy, arguments = POLICIES[kind]
    model = make_model(make_venv(action="box"), algorithm, policy, policy_kwargs=arguments)
    assert plain_step(model.policy, 2) is not None


@pytest.mark.parametrize("agent", ["mlp", "lstm", "snn", "ndp-oja"])
def test_so_are_those_that_are_trained_by_name(agent):
    model = build(agent, make_venv(action="box"), NetworkConfig(), TrainerSettings())
    assert plain_step(model.policy, 2) is not None


@pytest.mark.parametrize("batch", [1, 3, 8, 50])
@pytest.mark.parametrize("channels", [1, 6, 17])
def test_exploration_is_that_of_stable_baselines(batch, channels):
    means, log_std = torch.randn(batch, channels), torch.randn(channels)
    torch.manual_seed(1)
    ours = _Gaussian(log_std, batch).draw(means)
    torch.manual_seed(1)
    actions, log_probs = DiagGaussianDistribution(channels).log_prob_from_params(means, log_std)
    assert torch.equal(ours[0], actions) and torch.equal(ours[1], log_probs)


@pytest.mark.parametrize(("observation", "action"), [("box", "discrete"), ("dict", "box")])
def test_what_is_not_known_takes_the_way_of_stable_baselines(observation, action):
    name = "MlpPolicy" if observation == "box" else "MultiInputPolicy"
    model = make_model(make_venv(observation, action), PPO, name, policy_kwargs={})
    assert plain_step(model.policy, 2) is None
    model.learn(32)


def test_hooks_on_modules_are_called():
    model = make_model(make_venv(action="box"), PPO, "MlpPolicy")
    calls = []
    model.policy.action_net.register_forward_hook(lambda *_: calls.append(1))
    model.learn(16 * 2)
    assert len(calls) >= 16


def test_what_a_callback_makes_of_the_exploration_holds_at_once():
    class Less(BaseCallback):
        def _on_rollout_start(self):
            with torch.no_grad():
                self.model.policy.log_std.fill_(-5.0)

        def _on_step(self):
            spread.append(np.abs(self.locals["actions"] - means(self.locals["obs_tensor"])).max())
            with torch.no_grad():
                self.model.policy.log_std.fill_(2.0)
            return True

    model = make_model(make_venv(action="box"), PPO, "MlpPolicy")
    spread = []

    def means(observations):
        with torch.no_grad():
            return model.policy.get_distribution(observations.float()).mode().numpy()

    model.learn(16, callback=Less())
    assert spread[0] < 0.1 < 0.5 < spread[1]


@pytest.mark.parametrize(
    ("algorithm", "policy"), [(PPO, "MlpPolicy"), (PlasticPPO, "PlasticSpikingPolicy")]
)
def test_a_training_that_diverges_ends(algorithm, policy):
    model = make_model(make_venv(action="box"), algorithm, policy, learning_rate=1e30)
    with pytest.raises(ValueError, match="not a finite number"):
        model.learn(1000)


def test_a_saved_model_says_nothing_of_its_buffer(tmp_path):
    model = make_model(make_venv(action="box"), PPO, "MlpPolicy")
    model.save(tmp_path / "model")
    assert PPO.load(tmp_path / "model").rollout_buffer_class is None


def test_weights_that_a_callback_changes_act_at_once():
    class Still(BaseCallback):
        def _on_rollout_start(self):
            with torch.no_grad():
                for x in self.model.policy.action_net.parameters():
                    x.data = torch.zeros_like(x)
                self.model.policy.log_std.fill_(-20.0)

        def _on_step(self):
            assert np.abs(self.locals["actions"]).max() < 1e-6
            return True

        def _on_rollout_end(self):
            assert len(self.locals["starts"]) == 2  # what is known at the end only

    model = make_model(make_venv(action="box"), PPO, "MlpPolicy", learning_rate=1e-30)
    model.learn(2 * 16 * 2, callback=Still())


def test_hooks_on_gradients_are_called():
    model = make_model(make_venv(action="box"), PPO, "MlpPolicy")
    calls = []
    model.policy.action_net.register_full_backward_hook(lambda *_: calls.append(1))
    model.learn(16 * 2)
    assert calls


def test_a_callback_ends_a_training():
    class End(BaseCallback):
        def _on_step(self):
            return self.n_calls < 5

    model = make_model(make_venv(action="box"), PPO, "MlpPolicy")
    model.learn(1000, callback=End())
    assert model.num_timesteps == 5 * 2


@pytest.mark.parametrize("observation", ["box", "dict"])
@pytest.mark.parametrize("norm_obs", [True, False])
@pytest.mark.parametrize("norm_reward", [True, False])
@pytest.mark.parametrize("training", [True, False])
def test_normalised_is_vec_normalize(observation, norm_obs, norm_reward, training):
    rows = []
    for kind in (Normalised, VecNormalize):
        keys = ["cue", "reward"] if observation == "dict" and norm_obs else None
        venv = kind(
            make_venv(observation, "box"), training, norm_obs, norm_reward, norm_obs_keys=keys,
            clip_obs=1.0,
        )  # fmt: skip
        found = [venv.reset()]
        for _ in range(30):
            *answer, infos = venv.step(np.zeros((2, 2), np.float32))
            last = [info.get("terminal_observation") for info in infos]
            found += [*answer, [x for x in last if x is not None], venv.get_original_obs()]
            found += [venv.get_original_reward(), venv.ret_rms.var, venv.returns]
        rows.append(found)
    assert same(*rows)


WHOLE = spaces.Box(0, 255, (3,), np.uint8)
NARROW = spaces.Box(-1, 1, (2,), np.float16)


@pytest.mark.parametrize("space", [WHOLE, NARROW, spaces.Dict(z=WHOLE, a=NARROW)])
def test_the_update_sees_the_normalised_observations_that_were_acted_on(space, monkeypatch):
    monkeypatch.setitem(OBSERVATIONS, "odd", space)
    monkeypatch.setattr(RandomEnv, "_draw", lambda env, part: part.sample())
    keys = list(space) if isinstance(space, spaces.Dict) else None
    venv = Normalised(make_venv("odd", "box"), norm_obs_keys=keys)
    policy = "MultiInputPolicy" if keys else "MlpPolicy"
    model = make_model(venv, PPO, policy, policy_kwargs={}, learning_rate=1e-30)
    model.learn(32)
    (batch,) = model.rollout_buffer.get(None)
    log_probs = model.policy.evaluate_actions(batch.observations, batch.actions)[1]
    torch.testing.assert_close(log_probs, batch.old_log_prob, rtol=0, atol=1e-5)


@pytest.mark.parametrize("kind", POLICIES)
def test_a_deployed_policy_predicts_as_the_policy_itself(kind):
    algorithm, name, arguments = POLICIES[kind]
    model = make_model(make_venv(action="box"), algorithm, name, policy_kwargs=arguments)
    model.learn(32)
    policy, deployed = model.policy, DeployedPolicy(model.policy, None, {})
    assert deployed._predict is not None
    starts, ours, theirs = np.ones(5, dtype=bool), None, None
    for step in range(20):
        observations = 10 * np.random.default_rng(step).normal(size=(5, 3))
        actions, ours = deployed.predict(observations, ours, starts, deterministic=True)
        expected, theirs = policy.predict(observations, theirs, starts, deterministic=True)
        assert same([actions, ours or ()], [expected, theirs or ()])
        starts = np.arange(5) == step % 7
