"""A spiking actor as a NIR graph (Neuromorphic Intermediate Representation, Pedersen et
al. 2024).

NIR has no plasticity: the graph holds the synapses as they are where an episode starts,
and the rules and neuromodulators only as metadata of the node of the synapses that they
change.
"""

import json
from collections.abc import Mapping
from graphlib import TopologicalSorter
from itertools import islice
from typing import Any

import gymnasium as gym
import nir
import numpy as np
import torch
from gymnasium import spaces
from stable_baselines3.common.torch_layers import NatureCNN

from spikepropamine.policies.deployed import DeployedPolicy, steps
from spikepropamine.policies.parameter_groups import PLASTICITY
from spikepropamine.policies.reference import THRESHOLD
from spikepropamine.policies.spaces import space_to_json, stacked
from spikepropamine.policies.spiking import PlasticSpikingPolicy

TICK = 1e-4
"""Seconds that stand for one tick: the step of time that snnTorch takes for every NIR
graph.
"""
STEPS = 300  # of the check


def refusal(deployed: DeployedPolicy) -> str | None:
    """Why NIR cannot say what the policy is, and which setting would do; None where it
    can.
    """
    policy: Any = deployed.policy
    if not isinstance(policy, PlasticSpikingPolicy):
        return "NIR holds spiking networks only; use --format onnx for this policy"
    if any(isinstance(part, NatureCNN) for part in policy.features_extractor.modules()):
        return "NIR takes one vector, and no picture; use --format onnx for this policy"
    config = policy.network_config
    if config.units != "spiking":
        return "NIR holds spiking networks only; use --format onnx for graded units"
    if config.readout != "spikes":
        return (
            "NIR's neurons put out spikes, not potentials; train with "
            "--network.readout spikes"
        )
    if config.encoder:
        return "NIR's tools have no tanh units; train without --network.encoder"
    if config.delay:
        return "NIR's graph keeps no observation; train with --no-network.delay"
    if config.phases:
        return "NIR's input is the observation alone; train with --no-network.phases"
    if config.soft_reset:
        return "NIR's neurons are reset to a value; train with --no-network.soft-reset"
    if (
        deployed.normalisation is not None
        and "" not in deployed.normalisation.statistics
    ):
        return (
            "NIR takes one vector; observations that are a Dict cannot be normalised "
            "in it"
        )
    return None


def to_nir(deployed: DeployedPolicy, card: Mapping[str, Any]) -> nir.NIRGraph:
    """The graph: normalisation, then synapses and neurons of each layer, readout and
    action.

    A node `layerN` holds the neurons of a layer, `layerN.synapses` what comes before,
    and `layerN.recurrent` the synapses among them, which see the spikes of the tick
    before. Each is a forward Euler step of `TICK`: tau = TICK / (1 - beta). The network
    runs `ticks` ticks for each environment step, with the observation held; the action
    is read after the last of them.

    Args:
        deployed: the policy, with its normalisation.
        card: what the graph says about itself, in its metadata.

    Raises:
        ValueError: `refusal` has something against the policy.
    """
    if why := refusal(deployed):
        raise ValueError(why)
    policy: Any = deployed.policy
    network = policy.network
    nodes: dict[str, Any] = {
        "input": nir.Input({"input": np.array([network.input_size])})
    }
    edges: list[tuple[str, str]] = []

    def add(name: str, node: Any, before: str) -> str:
        nodes[name] = node
        edges.append((before, name))
        return name

    last = "input"
    if deployed.normalisation is not None:
        normalisation = deployed.normalisation
        mean, var = normalisation.statistics[""]
        spread = np.sqrt(var + normalisation.epsilon).ravel()
        node = nir.Affine(np.diag(1 / spread), -mean.ravel() / spread)
        last = add("normalisation", node, last)
    for index, layer in enumerate(network.layers):
        name = f"layer{index}"
        p = layer.parameters_in_use()
        synapses = nir.Affine(_array(p.weight), _array(p.bias))
        last = add(f"{name}.synapses", synapses, last)
        beta = _array(p.membrane_decay)
        neurons = nir.LIF(
            tau=TICK / (1 - beta),
            r=1 / (1 - beta),
            v_leak=np.zeros_like(beta),
            v_threshold=np.full_like(beta, THRESHOLD),
            v_reset=np.zeros_like(beta),
        )
        last = add(name, neurons, last)
        if layer.spec.recurrent:
            synapses = nir.Linear(_array(p.recurrent_weight))
            edges.append((add(f"{name}.recurrent", synapses, last), name))
        if layer.spec.plastic:
            synapses.metadata = _plasticity(layer)
    kappa = _array(torch.sigmoid(network.readout_decay))
    readout = nir.LI(
        tau=TICK / (1 - kappa), r=np.ones_like(kappa), v_leak=np.zeros_like(kappa)
    )
    last = add("readout", readout, last)
    head = policy.action_net
    last = add("action", nir.Affine(_array(head.weight), _array(head.bias)), last)
    add("output", nir.Output({"output": np.array([head.out_features])}), last)
    about = dict(card) | {
        "tick": TICK,
        "ticks": network.config.ticks,
        "exogenous": network.exogenous.tolist(),
        "action_space": space_to_json(policy.action_space),
        "action": _meaning(policy),
        "clip_normalised": deployed.normalisation and deployed.normalisation.clip,
    }
    return nir.NIRGraph(nodes, edges, metadata={"card": json.dumps(about)})


def _array(x: torch.Tensor) -> np.ndarray:
    # NIR files hold no scalars
    return np.atleast_1d(x.detach().cpu().numpy().astype(np.float32))


def _plasticity(layer: Any) -> dict[str, Any]:
    """What changes these synapses: names of the rule and its kind, and all trainable
    parameters.
    """
    spec = layer.spec
    p = layer.parameters_in_use()
    names = (*PLASTICITY, "modulator_weight", "modulator_exogenous", "modulator_bias")
    by_name = {name: getattr(p, name, getattr(layer, name, None)) for name in names}
    numbers = {
        name: _array(x) for name, x in by_name.items() if x is not None and x.numel()
    }
    kind = {"rule": spec.rule, "modulation": spec.modulation, "decay": spec.decay}
    return kind | {"clip": np.array([spec.clip], np.float32)} | numbers


def _meaning(policy: Any) -> str:
    space = policy.action_space
    if policy.squash_output:
        return "tanh of the output; -1 and 1 are the bounds of the action space"
    if isinstance(space, spaces.Box):
        return "the output, clipped to the bounds of the action space"
    if isinstance(space, spaces.MultiBinary):
        return "1 where the output is above 0"
    return "the index of the largest output, for each choice"


def simulate(graph: nir.NIRGraph, inputs: np.ndarray) -> dict[str, np.ndarray]:
    """Runs a graph by forward Euler steps of `TICK`.

    A Linear node closes a loop, and sees the spikes of the tick before.

    Args:
        graph: as `to_nir` makes it.
        inputs: [ticks, channels].

    Returns:
        The output of each node by its name, [ticks, width].
    """
    sources: dict[str, list[str]] = {name: [] for name in graph.nodes}
    for before, after in graph.edges:
        sources[after].append(before)
    loops = {name for name, node in graph.nodes.items() if isinstance(node, nir.Linear)}
    forward = {
        name: [] if name in loops else before for name, before in sources.items()
    }
    order = list(TopologicalSorter(forward).static_order())
    potentials = dict.fromkeys(order, 0.0)
    now: dict[str, Any] = dict.fromkeys(order, 0.0)
    outputs: dict[str, list[np.ndarray]] = {name: [] for name in order}
    for x in inputs:
        before = dict(now)
        for name in order:
            node: Any = graph.nodes[name]
            current = sum(
                (before if name in loops else now)[source] for source in sources[name]
            )
            if isinstance(node, nir.Input):
                now[name] = x
            elif isinstance(node, nir.Affine):
                now[name] = node.weight @ current + node.bias
            elif isinstance(node, nir.Linear):
                now[name] = node.weight @ (current + np.zeros(node.weight.shape[1]))
            elif isinstance(node, nir.LIF | nir.LI):
                step = TICK / node.tau
                potential = potentials[name]
                potential = potential + step * (
                    node.v_leak - potential + node.r * current
                )
                now[name] = potential
                if isinstance(node, nir.LIF):
                    now[name] = (potential > node.v_threshold).astype(np.float32)
                    potential = np.where(now[name] > 0, node.v_reset, potential)
                potentials[name] = potential
            else:  # Output
                now[name] = current
            outputs[name].append(now[name])
    return {name: np.stack(rows) for name, rows in outputs.items()}


def check(
    graph: nir.NIRGraph, deployed: DeployedPolicy, env: gym.Env, seed: int
) -> int:
    """Runs a policy's graph and its network side by side, and compares all spikes.

    Both see what the policy observes in its task. The network's fast weights are held
    at zero, and neither is reset between episodes.

    Args:
        graph: as `to_nir` makes it.
        deployed: the policy, with its normalisation.
        env: the policy's task, which is not closed.
        seed: of the first episode; the next have the next numbers.

    Returns:
        The number of spikes.

    Raises:
        ValueError: the spikes differ, or an observation is clipped.
    """
    policy: Any = deployed.policy
    network = policy.network
    layout = policy.layout
    taken = islice(steps(deployed, env, seed), STEPS)
    batch: Any = stacked([step.observation for step in taken])
    normalisation = deployed.normalisation
    normalised = batch if normalisation is None else normalisation(batch)
    if normalisation is not None and (np.abs(normalised) >= normalisation.clip).any():
        raise ValueError(
            f"observations of its task are clipped at {normalisation.clip:g} standard "
            "deviations, which NIR cannot say; take --format onnx"
        )
    with torch.no_grad():
        features = policy.extract_features(policy.obs_to_tensor(normalised)[0])[:, None]
        starts = torch.zeros(STEPS, 1)
        initial, _ = policy.initial_state(1, plasticity=False)
        fields = layout.unpack(torch.as_tensor(initial[0]))
        _, outputs, _ = network.run(features, starts, fields)
        raw = policy.extract_features(policy.obs_to_tensor(batch)[0])
    simulated = simulate(
        graph, np.repeat(raw.double().numpy(), network.config.ticks, axis=0)
    )
    spikes = 0
    for index, output in enumerate(outputs):
        expected = output.spikes[:, 0].numpy()
        fired = simulated[f"layer{index}"]
        spikes += int(expected.sum())
        differing = (expected != fired).any(axis=1)
        if differing.any():
            tick = int(differing.argmax())
            raise ValueError(
                f"layer {index} of the graph fires other than the policy's at tick "
                f"{tick} of {len(expected)}"
            )
    return spikes
