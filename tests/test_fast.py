"""The layer for speed gives Stable-Baselines3's numbers."""

import copy
import gc
import weakref
from dataclasses import replace

import numpy as np
import pytest
import torch
from conftest import (
    ACTIONS,
    DICT,
    OBSERVATIONS,
    POLICIES,
    SMALL,
    RandomEnv,
    by_stable_baselines,
    make_venv,
    model_of,
    rounding_of,
    same,
)
from gymnasium import spaces
from stable_baselines3.common.callbacks import BaseCallback
from stable_baselines3.common.logger import Logger

from spikepropamine.agents import PlasticPPO, zoo
from spikepropamine.agents.zoo import TrainerSettings, build
from spikepropamine.policies import NetworkConfig, PlasticSpikingPolicy, fast
from spikepropamine.policies.deployed import DeployedPolicy
from spikepropamine.policies.fast import way
from spikepropamine.policies.fast.environments import Normalised
from spikepropamine.policies.fast.ppo import policy_loss
from spikepropamine.training.sections import defaults

SEEN = (
    "obs_tensor", "actions", "clipped_actions", "values", "log_probs", "new_obs",
    "rewards",
    "dones", "n_steps", "n_rollout_steps",
)  # fmt: skip
OF_MEMORY = ("episode_starts", "lstm_states")
SETTINGS = {
    "as they are": {},
    "all terms": {"ent_coef": 0.1, "learning_rate": 0.02},
    "early stop": {"target_kl": 1e-3, "learning_rate": 0.02, "n_epochs": 5},
    "raw advantages": {
        "normalize_advantage": False,
        "clip_range": 0.01,
        "learning_rate": 0.02,
    },
    "nothing": {"clip_range": 0.0, "learning_rate": 0.0},
}
CASES = [(kind, "box", "box") for kind in POLICIES]
CASES += [
    (kind, "box", action) for kind in DICT for action in ACTIONS if action != "box"
]
CASES += [
    (kind, seen, "multi_discrete") for kind in DICT for seen in ("dict", "discrete")
]


class Witness(BaseCallback):
    """Writes down what it finds in `locals`, and what is in the buffer at the end of
    rollouts.
    """

    def __init__(self, names):
        super().__init__()
        self.names = names
        self.found = []

    def _on_step(self):
        self.found += [_kept(self.locals[name]) for name in self.names]
        self.found += [
            self.locals["infos"][0]["TimeLimit.truncated"],
            self.num_timesteps,
        ]
        assert (
            self.locals["self"] is self.model and self.locals["env"] is self.model.env
        )
        assert fast.fast(self.model.policy) is not None
        assert "forward" not in vars(copy.deepcopy(self.model.policy))
        return True

    def _on_rollout_end(self):
        assert "forward" not in vars(self.model.policy)
        buffer = self.model.rollout_buffer
        for name in (
            "observations",
            "rewards",
            "episode_starts",
            "values",
            "advantages",
        ):
            self.found.append(copy.deepcopy(getattr(buffer, name)))


def _kept(value):
    if isinstance(value, tuple | dict):
        return [
            _kept(part)
            for part in (value.values() if isinstance(value, dict) else value)
        ]
    return value.numpy().copy() if isinstance(value, torch.Tensor) else np.array(value)


@pytest.mark.parametrize(("kind", "observation", "action"), CASES)
def test_rollouts_are_the_same_to_the_last_bit(kind, observation, action, monkeypatch):
    found = []
    for _ in range(2):
        model = model_of(kind, observation, action)
        assert fast.fast(model.policy) is not None
        witness = Witness(SEEN + (OF_MEMORY if isinstance(model, PlasticPPO) else ()))
        model.learn(2 * 16 * 3, callback=witness)
        found.append(
            [witness.found, [x.numpy() for x in model.policy.state_dict().values()]]
        )
        by_stable_baselines(monkeypatch, "collect_rollouts")
    assert same(*found, rounding_of(kind))


@pytest.mark.parametrize(
    ("kind", "action", "chosen"),
    [
        *(
            (kind, "box", chosen)
            for kind in DICT
            for chosen in SETTINGS
            if chosen != "all terms"
        ),
        *((kind, "discrete", "all terms") for kind in ("relu", "gru", "lstm actor")),
        *((kind, action, "all terms") for kind in DICT for action in ACTIONS),
    ],
)
def test_updates_are_those_of_stable_baselines(kind, action, chosen, monkeypatch):
    found = []
    for _ in range(2):
        model = model_of(kind, action=action, **SETTINGS[chosen])
        logger = Logger(None, [])
        model.set_logger(logger)
        model.learn(3 * 16 * 3)
        logged = {
            k: v for k, v in logger.name_to_value.items() if k.startswith("train/")
        }
        found.append((logged, model.policy.state_dict()))
        by_stable_baselines(monkeypatch, "train")
    (ours, weights), (theirs, expected) = found
    if chosen == "nothing":  # where only rounding is beyond a clip of nothing
        assert ours.pop("train/clip_fraction") == 0
        theirs.pop("train/clip_fraction")
    assert ours == pytest.approx(theirs, rel=1e-3, abs=1e-5)
    torch.testing.assert_close(weights, expected, rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("alone", [False, True])
@pytest.mark.parametrize(("kind", "observation", "action"), CASES)
def test_a_policy_predicts_as_stable_baselines(
    kind, observation, action, alone, monkeypatch
):
    model = model_of(kind, observation, action).learn(48)
    deployed = DeployedPolicy(model.policy, None, {})
    space = model.observation_space
    found = []
    for _ in range(2):
        torch.manual_seed(0)
        space.seed(0)
        state = None
        starts = None
        answers = []
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
        monkeypatch.setattr("spikepropamine.policies.deployed.fast", lambda _: None)
        monkeypatch.setattr("spikepropamine.policies.spiking.fast", lambda _: None)
    assert same(*found, rounding_of(kind))


@pytest.mark.parametrize(
    ("agent", "action"), [("mlp", "box"), ("lstm", "discrete"), ("snn", "multi_binary")]
)
def test_what_is_trained_by_name_has_a_shorter_way(agent, action, capsys):
    trainer = TrainerSettings(n_steps=8, sequence_length=8)
    model = build(agent, make_venv(action=action), NetworkConfig(), trainer)
    model.verbose = 1
    model.learn(8)
    assert "rollouts and updates: by the fast path" in capsys.readouterr().out


def test_a_shorter_way_that_runs_layers_slowly_says_so():
    assert way(small_policy("reference")).endswith(
        "layers by the reference, many times slower"
    )
    assert way(small_policy("numba")) == "by the fast path"


def small_policy(backend):
    venv = make_venv()
    spaces = venv.observation_space, venv.action_space, lambda _: 0.0
    return PlasticSpikingPolicy(*spaces, network=SMALL, backend=backend)


@pytest.mark.parametrize("clip", [0.0, 0.2])
def test_gradient_of_the_policys_loss_is_that_of_autograd(clip):
    generator = torch.Generator().manual_seed(0)
    old, advantages = torch.randn(2, 500, generator=generator)
    # a third each of unchanged likelihoods, of changed ones, and of advantages of zero
    changed = 0.3 * torch.randn(500, generator=generator)
    log_probs = (
        old + torch.where(torch.arange(500) % 3 == 0, 0.0, changed)
    ).requires_grad_()
    advantages = torch.where(torch.arange(500) % 3 == 1, 0.0, advantages)
    ratio = torch.exp(log_probs - old)
    bounded = advantages * torch.clamp(ratio, 1 - clip, 1 + clip)
    expected = -torch.min(advantages * ratio, bounded).mean()
    expected.backward()
    loss, gradient, clipped, divergence = policy_loss(
        log_probs.detach(), old, advantages, clip
    )
    torch.testing.assert_close(gradient, log_probs.grad)
    torch.testing.assert_close(loss, expected.detach())
    assert clipped == ((ratio - 1).abs() > clip).float().mean()
    assert divergence >= 0


def test_what_is_no_number_is_not_hidden_by_the_clip():
    worse = torch.tensor([np.nan, 0.0])
    old = torch.zeros(2)
    third = torch.ones(2)
    gradient = policy_loss(worse, old, third, 0.2)[1]
    assert torch.isnan(gradient[0]) and torch.isfinite(gradient[1])


def test_a_step_that_falls_stops_at_zero():
    """Where the last rollout goes beyond the end of training, Stable-Baselines3's share
    of what is left is negative.
    """
    chosen = defaults("CueAssociation-v0", "mlp")
    trainer = replace(
        chosen.trainer, n_steps=8, batch_size=8, learning_rate_schedule="linear"
    )
    model = zoo.build("mlp", make_venv(), chosen.network, trainer)
    model.learn(9)  # two rollouts of eight steps
    assert model._current_progress_remaining < 0
    assert model.policy.optimizer.param_groups[0]["lr"] == 0


WHOLE = spaces.Box(0, 255, (3,), np.uint8)
NARROW = spaces.Box(-1, 1, (2,), np.float16)


@pytest.mark.parametrize("space", [WHOLE, NARROW, spaces.Dict(z=WHOLE, a=NARROW)])
def test_the_update_sees_the_normalised_observations_that_were_acted_on(
    space, monkeypatch
):
    monkeypatch.setitem(OBSERVATIONS, "odd", space)
    monkeypatch.setattr(RandomEnv, "_draw", lambda env, part: part.sample())
    keys = list(space) if isinstance(space, spaces.Dict) else None
    venv = Normalised(make_venv("odd", "box"), norm_obs_keys=keys)
    model = model_of(
        "mlp", "dict" if keys else "odd", venv=venv, learning_rate=1e-30
    ).learn(32)
    (batch,) = model.rollout_buffer.get(None)
    log_probs = model.policy.evaluate_actions(batch.observations, batch.actions)[1]
    torch.testing.assert_close(log_probs, batch.old_log_prob, rtol=0, atol=1e-5)


@pytest.mark.parametrize("kind", POLICIES)
def test_a_policy_that_nobody_uses_is_freed(kind):
    model = model_of(kind, "box", "box")
    model.learn(model.n_steps * model.n_envs)
    assert fast.fast(model.policy) is not None
    policy = weakref.ref(model.policy)
    del model
    gc.collect()
    assert policy() is None
