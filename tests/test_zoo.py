"""What a policy's name and its settings build, of which parts, and training some of
them only.
"""

from typing import get_args

import pytest
import torch
from conftest import make_venv
from gymnasium import spaces
from stable_baselines3.common.env_util import make_vec_env

from spikepropamine.agents.zoo import (
    TrainerSettings,
    actor_parameters,
    agents,
    build,
    register,
)
from spikepropamine.policies import NetworkConfig
from spikepropamine.policies.parameter_groups import Group, parameter_group

GROUPS = set(get_args(Group))


@pytest.mark.parametrize("agent", agents())
def test_every_parameter_has_a_group(agent):
    network = NetworkConfig()
    policy = build(
        agent, make_venv(), network, TrainerSettings(n_steps=32, batch_size=32)
    ).policy
    groups = {name: parameter_group(name) for name, _ in policy.named_parameters()}
    present = {"weights", "readout", "critic"}
    if isinstance(policy.action_space, spaces.Box):
        present |= {"exploration"}
    if agent.startswith(("dp", "ndp")):
        present |= {"plasticity"}
    if agent.startswith("ndp"):
        present |= {"neuromodulator"}
    assert set(groups.values()) == present <= GROUPS
    assert all(
        "value_net" in name or "critic" in name
        for name in groups
        if groups[name] == "critic"
    )


def by_group(policy):
    groups = {}
    for name, parameter in policy.named_parameters():
        groups.setdefault(parameter_group(name), {})[name] = parameter.detach().clone()
    return groups


@pytest.mark.parametrize(
    ("agent", "untrained", "kind"),
    [
        ("ndp-oja", ("plasticity", "neuromodulator"), "ppo"),
        ("ndp-oja", ("weights", "plasticity", "readout"), "supervised"),
        ("ndp-oja", (), "ppo"),
        (
            "mlp",
            ("weights",),
            "ppo",
        ),  # of which the readout comes after layers that stay
    ],
)
def test_what_is_left_untrained_stays_and_all_else_learns(agent, untrained, kind):
    network = NetworkConfig(hidden=(6, 5), plastic=(True, True), slope=1.0)
    trainer = TrainerSettings(
        kind=kind, n_steps=32, batch_size=64, sequence_length=32, untrained=untrained
    )
    model = build(agent, make_vec_env("CueAssociation-v0", 2), network, trainer)
    before = by_group(model.policy)
    model.learn(128)
    trained = before.keys() - {
        *untrained,
        *(["critic"] if kind == "supervised" else []),
    }
    after = by_group(model.policy)
    for group, parameters in before.items():
        moved = [
            not torch.equal(x, after[group][name]) for name, x in parameters.items()
        ]
        assert any(moved) == (group in trained), group


def test_what_is_left_untrained_is_not_counted_as_learned():
    network = NetworkConfig(hidden=(6, 5), plastic=(False, True))
    venv = make_venv()
    whole, part = (
        build("ndp-oja", venv, network, TrainerSettings(untrained=untrained)).policy
        for untrained in ((), ("neuromodulator",))
    )
    removed = sum(x.numel() for x in by_group(whole)["neuromodulator"].values())
    assert actor_parameters(whole) - actor_parameters(part) == removed > 0
    for parameter in part.parameters():
        parameter.requires_grad_()  # as of a policy that was saved and loaded
    assert (
        actor_parameters(part, ["neuromodulator"]) == actor_parameters(whole) - removed
    )


@pytest.mark.parametrize(
    ("policy", "kind", "untrained", "words"),
    [
        (
            "mlp",
            "ppo",
            ("weights", "readout", "exploration", "critic"),
            "nothing of mlp would be left to train",
        ),
        (
            "snn",
            "ppo",
            ("neuromodulator",),
            "snn has no neuromodulator that could be left",
        ),
        (
            "mlp",
            "sac",
            ("weights", "readout", "exploration"),
            "nothing of the actor of mlp would be left",
        ),
        ("mlp", "tqc", ("critic",), "nothing of the critics of mlp would be left"),
    ],
)
def test_what_cannot_be_left_untrained_is_named(policy, kind, untrained, words):
    trainer = TrainerSettings(kind=kind, untrained=untrained, buffer_size=100)
    with pytest.raises(ValueError, match=words):
        build(policy, make_venv(action="box"), NetworkConfig(), trainer)


@pytest.mark.parametrize("name", ["mlp.v2", "-mlp", "müller", "a/b"])
def test_a_policy_has_a_name_that_a_run_folder_can_have(name):
    with pytest.raises(ValueError, match="letters, digits"):
        register(name, agents()["mlp"])


@pytest.mark.parametrize("agent", ["mlp", "lstm", "gru", "ndp-oja"])
def test_every_setting_of_the_trainer_arrives(agent):
    trainer = TrainerSettings(
        learning_rate=0.01, learning_rate_schedule="linear", n_steps=24, batch_size=12,
        sequence_length=6, n_epochs=3, gamma=0.8, gae_lambda=0.7, clip_range=0.15,
        target_kl=0.3,
        ent_coef=0.02, vf_coef=0.4, max_grad_norm=0.6, log_std_init=-1.0, critic=(5, 4),
        critic_sees_spikes=False,
    )  # fmt: skip
    model = build(agent, make_venv(action="box"), NetworkConfig(hidden=(6, 6)), trainer)
    for name in (
        "n_steps", "batch_size", "n_epochs", "gamma", "gae_lambda", "clip_range",
        "target_kl",
        "ent_coef", "vf_coef", "max_grad_norm",
    ):  # fmt: skip
        value = getattr(model, name)
        assert (value(1.0) if callable(value) else value) == getattr(trainer, name), (
            name
        )
    assert [model.lr_schedule(left) for left in (1.0, 0.5, 0.1)] == pytest.approx(
        [0.01, 0.005, 0.001]
    )
    assert (model.policy.log_std == -1.0).all()
    widths = [
        m.out_features
        for m in model.policy.mlp_extractor.value_net
        if hasattr(m, "out_features")
    ]
    assert widths == [5, 4]
    if agent == "ndp-oja":
        assert not model.policy.mlp_extractor.sees_spikes
    if agent != "mlp":
        assert model.sequence_length == 6
