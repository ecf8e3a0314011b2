"""Diagnostics of training, against answers that are known beforehand."""

import math

import pytest
import torch
from conftest import SMALL, make_model, make_network, make_venv
from stable_baselines3 import PPO
from stable_baselines3.common.logger import KVWriter, Logger

from spikepropamine.agents.ppo import ALGORITHM
from spikepropamine.training.diagnostics import (
    Diagnostics,
    activity,
    fast_weights,
    learned_parameters,
)


class Rows(KVWriter):
    """Keeps what is logged."""

    def __init__(self):
        self.rows = []

    def write(self, key_values, key_excluded, step=0):
        self.rows.append(dict(key_values))

    def close(self):
        pass


def logged(model, steps, every=1, **arguments):
    rows = Rows()
    model.set_logger(Logger(None, [rows]))
    model.learn(
        steps,
        callback=Diagnostics(every, ALGORITHM.rollouts),
        log_interval=None,
        **arguments,
    )
    return rows.rows


# activity


def test_rates_and_shares_of_spikes_made_by_hand():
    spikes = torch.zeros(10, 2, 4)  # neuron 0 is silent
    spikes[:, :, 1] = 1.0
    spikes[:9, :, 2] = 1.0  # 9 ticks of 10: just saturated
    spikes[0, 0, 3] = 1.0  # one spike in 20
    assert activity(spikes) == pytest.approx(
        {
            "spikes/firing_rate": (0 + 1 + 0.9 + 0.05) / 4,
            "spikes/silent": 0.25,
            "spikes/saturated": 0.5,
        }
    )


# fast weights and rules


def test_norm_bound_and_drift_of_fast_weights_made_by_hand():
    layer = make_network(clip=1.0).layers[1]  # 12 inputs, 10 neurons
    with torch.no_grad():
        layer.weight.fill_(2.0)
        layer.plasticity_gain.fill_(0.5)
    fast = torch.zeros(3, 2, 10, 12)
    fast[..., :6] = 1.0  # half of them at the bound
    measured = fast_weights(layer, fast)
    assert measured["plasticity/clipped"] == 0.5
    assert measured["plasticity/fast_weight_norm"] == pytest.approx(math.sqrt(0.5))
    # |alpha F| is 0.5 in half of the synapses, |W| is 2 in all of them
    assert measured["adaptation/drift"] == pytest.approx(0.25 * math.sqrt(0.5))
    assert set(fast_weights(layer, torch.zeros_like(fast)).values()) == {0.0}
    layer.weight.data.zero_()  # as rules alone have it
    assert math.isnan(fast_weights(layer, fast)["adaptation/drift"])
    layer = make_network(recurrent=(False, True)).layers[
        1
    ]  # relative to recurrent weights
    with torch.no_grad():
        layer.weight.fill_(100.0)
        layer.recurrent_weight.fill_(2.0)
        layer.plasticity_gain.fill_(0.5)
    assert fast_weights(layer, torch.ones(1, 10, 10))[
        "adaptation/drift"
    ] == pytest.approx(0.25)


@pytest.mark.parametrize(
    ("rule", "modulation", "names"),
    [
        ("oja", "none", {"eta", "pre_decay", "post_decay"}),
        ("oja", "direct", {"pre_decay", "post_decay"}),
        ("bcm", "retroactive", {"eta", "pre_decay", "post_decay", "threshold_decay"}),
        ("covariance", "none", {"eta", "pre_decay", "post_decay", "rest"}),
    ],
)
def test_learned_parameters_are_in_the_units_of_the_equations(rule, modulation, names):
    network = make_network(
        rule=rule, modulation=modulation, eta=0.2, trace_decay=0.6, threshold_decay=0.9
    )
    with torch.no_grad():
        network.layers[1].plasticity_gain[:5] = 1.0
        network.layers[1].plasticity_gain[5:] = -1.0
    known = {
        "eta": 0.2,
        "pre_decay": 0.6,
        "post_decay": 0.6,
        "threshold_decay": 0.9,
        "rest": 0.1,
    }
    expected = {f"plasticity/{name}/layer1": known[name] for name in names}
    expected |= {
        "plasticity/alpha_mean/layer1": 0.0,
        "plasticity/alpha_std/layer1": 1.0,
    }
    assert learned_parameters(network.layers) == pytest.approx(expected)


def test_units_without_spikes_have_no_firing_rate():
    network = {"network": SMALL | {"units": "tanh"}, "net_arch": {"vf": [8]}}
    (row,) = logged(make_model(make_venv(), policy_kwargs=network), 32)
    assert "plasticity/fast_weight_norm/layer1" in row
    assert not [name for name in row if name.startswith("spikes/")]


@pytest.mark.parametrize("observation", ["discrete", "dict"])
def test_the_replay_of_a_rollout_is_the_rollout(observation):
    model = make_model(make_venv(observation))
    network = model.policy.network
    seen = []
    network.backend = "reference"  # which steps by `run`
    run = network.run

    def spying(*arguments, **keywords):
        result = run(*arguments, **keywords)
        if arguments[0].shape[0] == 1:  # a step of the rollout, not a minibatch
            seen.append(result[1])
        return result

    network.run = spying
    (row,) = logged(model, 32)  # one rollout of 16 steps
    # steps of the rollout, and after them the value of the state that it ends in
    spikes = torch.cat([outputs[1].spikes for outputs in seen[:16]])
    modulator = torch.cat([outputs[1].rate for outputs in seen[:16]])
    assert (
        row["spikes/firing_rate/layer1"] == pytest.approx(spikes.mean().item()) != 0.0
    )
    assert row["plasticity/modulator_mean/layer1"] == pytest.approx(
        modulator.mean().item()
    )
    assert row["plasticity/modulator_spread/layer1"] == pytest.approx(
        modulator.std(correction=0).item()
    )


# the callback


def test_a_baseline_has_those_that_it_can_have():
    model = PPO("MlpPolicy", make_venv(), n_steps=16, batch_size=16)
    *_, row = logged(model, 64)
    ours = {
        name for name in row if name.split("/")[0] not in ("rollout", "train", "time")
    }
    assert ours == {"system/steps_per_second"}
