"""A policy and its ONNX file do the same, whatever the policy and the spaces."""

from typing import Any

import numpy as np
import pytest
import torch
from gymnasium import spaces
from sb3_contrib.common.recurrent.policies import RecurrentActorCriticPolicy
from stable_baselines3.common.policies import (
    ActorCriticPolicy,
    MultiInputActorCriticPolicy,
)
from tapes import Noise

from spikepropamine.export import onnx_file
from spikepropamine.policies.actors import SquashedLstm, SquashedMlp, SquashedSpiking
from spikepropamine.policies.deployed import DeployedPolicy, Normalisation
from spikepropamine.policies.rules import RULES
from spikepropamine.policies.spiking import PlasticSpikingPolicy

BOX = spaces.Box(-5.0, 5.0, (6,), np.float64)
OBSERVATIONS = {
    "box": BOX,
    "discrete": spaces.Discrete(5),
    "bits": spaces.MultiBinary(4),
    "dict": spaces.Dict({"cue": spaces.MultiBinary(4), "body": BOX}),
}
ACTIONS = {
    "box": spaces.Box(-0.8, 0.5, (3,), np.float32),
    "discrete": spaces.Discrete(4),
    "multi-discrete": spaces.MultiDiscrete([3, 2, 4]),
    "multi-binary": spaces.MultiBinary(3),
}
PLASTIC: dict[str, dict[str, Any]] = {
    "snn": {"rule": "none"},
    "snn-soft-reset": {"rule": "none", "soft_reset": True},
    "dp-oja": {"rule": "oja"},
    **{f"ndp-{rule}": {"rule": rule, "modulation": "direct"} for rule in RULES},
    "plain-decay": {"rule": "hebb", "modulation": "direct", "decay": "plain"},
    "retroactive": {"rule": "oja", "modulation": "retroactive"},
    "recurrent": {"rule": "oja", "modulation": "direct", "recurrent": (True, True)},
    "ticks": {"rule": "bcm", "modulation": "direct", "ticks": 3},
    "potentials": {"rule": "oja", "readout": "spikes+potentials"},
    "phases": {"rule": "delta", "modulation": "direct", "ticks": 2, "phases": True},
    "encoder": {"rule": "oja", "encoder": (12,)},
    "delay": {"rule": "oja", "delay": True},
}
SQUASHED: dict[str, Any] = {
    "squashed-mlp": (SquashedMlp, {}),
    "squashed-lstm": (SquashedLstm, {"lstm_hidden_size": 16}),
    "squashed-ndp-oja": (
        SquashedSpiking,
        {"network": {"rule": "oja", "modulation": "direct"}},
    ),
}
POLICIES = ["mlp", "lstm", *PLASTIC]


def policy_of(
    kind: str, observations: str = "box", actions: str = "box"
) -> DeployedPolicy:
    torch.manual_seed(7)
    space = OBSERVATIONS[observations]
    common = (space, ACTIONS[actions], lambda _: 0.0)
    policy: Any
    if kind == "mlp":
        several = isinstance(space, spaces.Dict)
        policy = (MultiInputActorCriticPolicy if several else ActorCriticPolicy)(
            *common
        )
    elif kind == "lstm":
        policy = RecurrentActorCriticPolicy(*common, lstm_hidden_size=16)
    elif kind in SQUASHED:
        cls, more = SQUASHED[kind]
        policy = cls(*common, **more)
    else:
        network = {"hidden": (20, 16), "plastic": (False, True)} | PLASTIC[kind]
        policy = PlasticSpikingPolicy(*common, network=network, backend="reference")
    with torch.no_grad():  # actions that tell what the network does
        policy.action_net.weight.normal_(std=1.0)
    policy.set_training_mode(False)
    normalisation = None
    if observations == "box":
        statistics = {"": (np.linspace(-1, 1, 6), np.linspace(1, 9, 6))}
        normalisation = Normalisation(statistics, 1.2, 1e-8)
    if observations == "dict":
        normalisation = Normalisation(
            {"body": (np.ones(6), np.full(6, 3.0))}, 1.2, 1e-8
        )
    return DeployedPolicy(policy, normalisation, {})


def check(kind: str, observations: str, actions: str, steps: int) -> onnx_file.Check:
    deployed = policy_of(kind, observations, actions)
    contents = onnx_file.to_onnx(deployed, {"summary": "a test"})
    env = Noise(OBSERVATIONS[observations], ACTIONS[actions])
    return onnx_file.check(contents, deployed, env, seed=1, steps=steps)


@pytest.mark.parametrize("kind", [*POLICIES, *SQUASHED])
def test_every_policy_acts_as_its_file_does(kind):
    assert check(kind, "box", "box", 150).difference < 1e-5


@pytest.mark.parametrize("actions", list(ACTIONS)[1:])
@pytest.mark.parametrize("kind", ["mlp", "ndp-oja"])
def test_every_action_space(kind, actions):
    check(kind, "box", actions, 150)


@pytest.mark.parametrize("observations", list(OBSERVATIONS)[1:])
@pytest.mark.parametrize("kind", ["mlp", "ndp-oja"])
def test_every_observation_space(kind, observations):
    check(kind, observations, "discrete", 150)


def test_the_file_learns_and_can_be_told_not_to():
    deployed = policy_of("ndp-oja")
    exported = onnx_file.OnnxPolicy(onnx_file.to_onnx(deployed, {}))
    layout = onnx_file.state_layout(deployed.policy)

    def fast_weights(plasticity_off: float) -> np.ndarray:
        exported.reset()
        layout.get(exported.state["state"], "plasticity_off")[...] = plasticity_off
        env = Noise(BOX, ACTIONS["box"])
        observation, _ = env.reset(seed=3)
        for _ in range(20):
            observation, *_ = env.step(exported.act(observation))
        return layout.get(exported.state["state"], "layer1.fast_weights")

    assert np.abs(fast_weights(0.0)).max() > 0.01
    assert not fast_weights(1.0).any()
