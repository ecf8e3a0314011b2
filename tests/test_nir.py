"""A NIR graph fires as the policy does, here and in snnTorch; what NIR cannot say is
refused.
"""

import json
from itertools import islice
from pathlib import Path
from typing import Any

import nir
import numpy as np
import pytest
import snntorch.import_nir
import torch
from gymnasium import spaces
from tapes import Noise

from spikepropamine.common import UNSEEN_SEED
from spikepropamine.evaluation.ask.conditions import CLEAN, make_env
from spikepropamine.evaluation.ask.runs import load_runs
from spikepropamine.export import nir_file
from spikepropamine.folder import TRAINED
from spikepropamine.policies.deployed import DeployedPolicy, Normalisation, steps
from spikepropamine.policies.spiking import PlasticSpikingPolicy

OBSERVATIONS = spaces.Box(-5.0, 5.0, (6,), np.float64)
ACTIONS = spaces.Box(-1.0, 1.0, (3,), np.float32)
SPIKES = sorted(TRAINED.glob("spikes/*/*/seed-0"))


def policy_of(**network: Any) -> DeployedPolicy:
    torch.manual_seed(3)
    network = {"hidden": (20, 16), "plastic": (False, True)} | network
    policy = PlasticSpikingPolicy(
        OBSERVATIONS, ACTIONS, lambda _: 0.0, network=network, backend="reference"
    )
    with torch.no_grad():
        for layer in policy.network.layers:
            layer.membrane_decay.normal_()  # each neuron its own
    policy.set_training_mode(False)
    normalisation = Normalisation(
        {"": (np.linspace(-1, 1, 6), np.linspace(1, 9, 6))}, 10.0, 1e-8
    )
    return DeployedPolicy(policy, normalisation, {})


@pytest.mark.parametrize(
    "network",
    [
        {"rule": "none"},
        {"rule": "none", "recurrent": (True, False)},
        {"rule": "none", "ticks": 3},
        {"rule": "oja"},
        {"rule": "oja", "modulation": "direct"},
        {"rule": "hebb", "modulation": "retroactive", "recurrent": (False, True)},
    ],
)
def test_the_graph_fires_as_the_policy_does(network):
    deployed = policy_of(**network)
    env = Noise(OBSERVATIONS, ACTIONS)
    graph = nir_file.to_nir(deployed, {})
    assert nir_file.check(graph, deployed, env, 5) > 100
    graph.nodes["layer1.synapses"].weight[0] += 0.5
    with pytest.raises(ValueError, match="fires other than"):
        nir_file.check(graph, deployed, env, 5)


@pytest.mark.parametrize("ticks", [1, 3])
def test_the_graph_acts_as_the_policy_does(ticks):
    deployed = policy_of(rule="none", ticks=ticks)
    policy, network = deployed.policy, deployed.policy.network
    observations = np.random.default_rng(0).normal(size=(60, 6)) * 2
    with torch.no_grad():
        network.readout_decay.normal_()
        policy.action_net.bias.normal_()
        seen = torch.as_tensor(deployed.normalisation(observations))[:, None]
        fields = network.layout.unpack(torch.zeros(1, network.layout.size))
        features, _, _ = network.run(seen, torch.zeros(60, 1), fields)
        expected = policy.action_net(features[:, 0]).numpy()
    held = np.repeat(observations, ticks, axis=0)
    found = nir_file.simulate(nir_file.to_nir(deployed, {}), held)["action"]
    assert expected.std(axis=0).min() > 0
    np.testing.assert_allclose(found[ticks - 1 :: ticks], expected, atol=1e-5)


def spikes_in_snntorch(
    whole: nir.NIRGraph, inputs: np.ndarray, file: Path
) -> np.ndarray:
    """Of the last layer; snnTorch knows no LI, so it gets the graph up to the last
    spikes.
    """
    last = max(name for name, node in whole.nodes.items() if isinstance(node, nir.LIF))
    kept = {
        k: node
        for k, node in whole.nodes.items()
        if k not in ("readout", "action", "output")
    }
    kept["output"] = nir.Output({"output": np.array(whole.nodes[last].tau.shape)})
    edges = [edge for edge in whole.edges if set(edge) <= set(kept)] + [
        (last, "output")
    ]
    nir.write(file, nir.NIRGraph(kept, edges))
    module = snntorch.import_nir.import_from_nir(nir.read(file))
    found = []
    carried = None
    with torch.no_grad():
        for x in inputs:
            spikes, carried = module(
                torch.as_tensor(x[None], dtype=torch.float32), carried
            )
            found.append(spikes[0].numpy())
    return np.stack(found)


@pytest.mark.parametrize(
    "folder", SPIKES, ids=lambda folder: "-".join(folder.parts[-3:-1])
)
def test_snntorch_fires_as_trained_policies_do_on_300_steps_of_their_task(
    folder, tmp_path
):
    (run,), task = load_runs([folder])
    env = make_env(task, CLEAN, run.previous)
    deployed = run.policy
    whole = nir_file.to_nir(deployed, {})
    assert nir_file.check(whole, deployed, env, UNSEEN_SEED) > 1000  # on its own steps
    taken = islice(steps(deployed, env, UNSEEN_SEED), nir_file.STEPS)
    seen = [step.observation for step in taken]
    inputs = np.repeat(np.array(seen), deployed.policy.network.config.ticks, axis=0)
    expected = nir_file.simulate(whole, inputs)["layer1"]
    assert expected.sum() > 1000
    found = spikes_in_snntorch(whole, inputs, tmp_path / "spikes.nir")
    np.testing.assert_array_equal(found, expected)


def test_a_file_read_back_is_the_graph(tmp_path):
    graph = nir_file.to_nir(
        policy_of(rule="bcm", modulation="direct"), {"summary": "a test"}
    )
    nir.write(tmp_path / "policy.nir", graph)
    found = nir.read(tmp_path / "policy.nir")
    card = json.loads(found.metadata["card"])
    assert card["summary"] == "a test"
    assert card["ticks"] == 1 and card["clip_normalised"] == 10.0
    synapses = found.nodes["layer1.synapses"]
    assert (
        synapses.metadata["rule"] == "bcm"
        and synapses.metadata["decay"] == "contracting"
    )
    assert synapses.metadata["plasticity_gain"].shape == (16, 20)
    assert synapses.metadata["modulator_weight"].shape == (16, 20)
    inputs = np.random.default_rng(0).normal(size=(50, 6))
    for name, output in nir_file.simulate(graph, inputs).items():
        np.testing.assert_array_equal(nir_file.simulate(found, inputs)[name], output)


@pytest.mark.parametrize(
    ("network", "setting"),
    [
        ({"readout": "spikes+potentials"}, "--network.readout spikes"),
        ({"soft_reset": True}, "--no-network.soft-reset"),
        ({"encoder": (8,)}, "--network.encoder"),
        ({"delay": True}, "--no-network.delay"),
        ({"phases": True, "ticks": 2}, "--no-network.phases"),
    ],
)
def test_what_nir_cannot_say_is_refused_with_the_setting_that_would_do(
    network, setting
):
    with pytest.raises(ValueError, match=setting):
        nir_file.to_nir(policy_of(**network), {})


def test_observations_that_are_clipped_are_refused():
    deployed = policy_of(rule="none")
    env = Noise(OBSERVATIONS, ACTIONS)
    graph = nir_file.to_nir(deployed, {})
    deployed.normalisation.clip = 2.0
    with pytest.raises(ValueError, match="clipped at 2 standard deviations"):
        nir_file.check(graph, deployed, env, 0)
