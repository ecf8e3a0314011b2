"""Costs: NeuroBench's definitions worked by hand; and what is done with measurements of
speed.
"""

from typing import Any

import numpy as np
import pytest
import torch
from gymnasium import spaces
from sb3_contrib.common.recurrent.policies import RecurrentActorCriticPolicy
from stable_baselines3.common.policies import ActorCriticPolicy

from benchmarks.rows import Rows
from spikepropamine.evaluation.judge import cost
from spikepropamine.policies.rules import RULES
from spikepropamine.policies.spiking import PlasticSpikingPolicy
from spikepropamine.table import read

OBSERVATIONS = spaces.Box(-5.0, 5.0, (3,), np.float32)
ACTIONS = spaces.Box(-1.0, 1.0, (2,), np.float32)
SPACES = (OBSERVATIONS, ACTIONS, lambda _: 0.0)


def spiking(backend: str = "reference", **network: Any) -> PlasticSpikingPolicy:
    torch.manual_seed(0)
    network = {"hidden": (5, 4), "plastic": (False, True), "gain": 3.0} | network
    return PlasticSpikingPolicy(*SPACES, network=network, backend=backend)


def episode(steps: int = 40) -> np.ndarray:
    return np.random.default_rng(0).normal(size=(steps, 3)).astype(np.float32)


def outputs_of(
    policy: PlasticSpikingPolicy, observations: np.ndarray
) -> list[np.ndarray]:
    state = policy.layout.unpack(torch.zeros(1, policy.layout.size))
    sequence = torch.as_tensor(observations)[:, None]
    with torch.no_grad():
        _, outputs, _ = policy.network.run(
            sequence, torch.zeros(len(observations), 1), state
        )
    return [output.spikes[:, 0].numpy() for output in outputs]


def test_spikes_that_meet_weights_are_accumulates_and_currents_multiply_accumulates():
    policy = spiking(rule="none")
    observations = episode()
    with torch.no_grad():
        policy.network.layers[1].weight[:, 2] = 0.0  # synapses that are not there
    first, second = outputs_of(policy, observations)
    with torch.no_grad():
        policy.action_net.weight[:] = 0.0
    found = cost.cost_of(policy, observations)
    expected = np.delete(first, 2, axis=1).sum() * 4 / 40
    assert (
        cost.total(found, "synapses") == pytest.approx([expected, 3 * 5])
        and expected > 0
    )
    assert tuple(cost.total(found, "neurons")) == (0, 5 + 4 + 4)  # and the readout
    silent = 1 - np.concatenate([first, second], axis=1).mean()
    assert found["activation_sparsity"] == pytest.approx(silent)
    energy = expected * 0.9 + (3 * 5 + 13) * (0.9 + 3.7)
    assert found["energy_nJ"] == pytest.approx(energy / 1000)
    parameters = [*policy.network.parameters(), *policy.action_net.parameters()]
    assert found["parameter_bytes"] == 4 * sum(p.numel() for p in parameters)
    assert found["state_bytes"] == 4 * (5 + 4 + 4)


@pytest.mark.parametrize(
    ("rule", "multiplications", "left_over"),
    [
        ("hebb", 6, 0),  # q p, - f: a multiply-accumulate for each of 2 x 3 synapses
        ("oja", 12, 0),  # q f, p -, q times
        ("bcm", 6 + 3, 0),  # q (q - theta) for each neuron, times p for each synapse
        ("stdp", 12, 0),
        ("abcd", 2 + 6 + 2 + 3, 3 * 6 - 13),
    ],
)
def test_the_drive_is_counted_as_its_formula_is_written(
    rule, multiplications, left_over
):
    found = cost.drive_operations(RULES[rule], n_pre=2, n_post=3)
    assert tuple(found) == (left_over, multiplications)


def test_plasticity_and_neuromodulators_are_counted_apart():
    observations = episode()
    static = cost.cost_of(spiking(rule="none"), observations)
    plastic = cost.cost_of(
        spiking(rule="oja", modulation="direct", decay="plain"), observations
    )
    assert not cost.total(static, "plasticity").any()
    assert not cost.total(static, "neuromodulators").any()
    first = outputs_of(spiking(rule="oja", modulation="direct"), observations)[0]
    dense = 2 * (5 + 4) + 20 + 2 * 20  # traces, F + m D, the drive of Oja's rule
    use = first.sum() * 4 / 40
    assert cost.total(plastic, "plasticity")[1] == pytest.approx(dense + use)
    expected = [first.sum() * 4 / 40, 3 * 4]
    assert cost.total(plastic, "neuromodulators") == pytest.approx(expected)
    assert plastic["state_bytes"] - static["state_bytes"] == 4 * (5 + 4 + 20)


@pytest.mark.parametrize(
    ("network", "updates", "drive", "traces"),
    [
        ({"rule": "oja"}, 2, 2 * 20, 0),  # F + eta D0 + |eta| (D - D0)
        ({"rule": "oja", "decay": "plain"}, 1, 2 * 20, 0),
        (
            {"rule": "bcm", "modulation": "direct"},
            1,
            4 + 20,
            3 * 4,
        ),  # D has no part with F
        (
            {"rule": "hebb", "modulation": "retroactive"},
            4,
            20,
            0,
        ),  # and (1 - eta) e + eta D0
        (
            {"rule": "bcm", "modulation": "retroactive", "decay": "plain"},
            3,
            4 + 20,
            3 * 4,
        ),
    ],
)
def test_every_multiplication_of_an_update_is_counted(network, updates, drive, traces):
    observations = episode()
    policy = spiking(**network)
    first = outputs_of(policy, observations)[0]
    found = cost.total(cost.cost_of(policy, observations), "plasticity")
    dense = 2 * (5 + 4) + traces + updates * 20 + drive
    use = first.sum() * 4 / 40
    assert found == pytest.approx(cost.operations(0, dense + use))


def test_synapses_among_neurons_see_the_spikes_of_the_tick_before():
    policy = spiking(rule="hebb", recurrent=(False, True), gain=5.0)
    first, second = outputs_of(policy, episode())
    before = second[:-1].sum()  # none before the first tick
    assert first.sum() != before > 0 and second[-1].sum() != 0
    found = cost.cost_of(policy, episode())
    assert found["synapses_accumulates"] == pytest.approx(
        (first.sum() + before) * 4 / 40
    )
    dense = 2 * (4 + 4) + 2 * 16 + 16
    expected = pytest.approx(dense + before * 4 / 40)
    assert found["plasticity_multiply_accumulates"] == expected


def test_an_mlp_multiplies_everything():
    found = cost.cost_of(ActorCriticPolicy(*SPACES, net_arch=[8, 6]), episode())
    assert tuple(cost.total(found)) == (0, 3 * 8 + 8 * 6 + 6 * 2)
    assert np.array_equal(cost.total(found), cost.total(found, "synapses"))
    assert found["activation_sparsity"] == 0 and found["state_bytes"] == 0
    assert found["parameter_bytes"] == 4 * (3 * 8 + 8 + 8 * 6 + 6 + 6 * 2 + 2)


def test_an_lstm_multiplies_at_its_gates_too():
    policy = RecurrentActorCriticPolicy(*SPACES, net_arch=[], lstm_hidden_size=7)
    found = cost.cost_of(policy, episode())
    expected = 4 * 7 * 3 + 4 * 7 * 7 * 39 / 40  # at the first step its state is zero
    assert cost.total(found, "synapses") == pytest.approx([0, expected + 7 * 2])
    assert cost.total(found, "neurons")[1] == 3 * 7
    assert found["state_bytes"] == 4 * 14


def rows(env="HalfCheetah-v5", **ratios):
    found = Rows()
    for policy, ratio in ratios.items():
        found.add(
            {"relative_to_sb3": ratio}, environment=env, policy=policy, setting="64x64"
        )
    return found


def test_a_case_measured_again_takes_its_own_place_in_the_file(tmp_path):
    for some in (rows(mlp=1.0), rows("Ant-v5", mlp=2.0), rows(mlp=3.0)):
        some.write(tmp_path / "file.csv")
    found = read(tmp_path / "file.csv")
    assert dict(found.select("environment", "value").iter_rows()) == {
        "HalfCheetah-v5": 3.0, "Ant-v5": 2.0,
    }  # fmt: skip
