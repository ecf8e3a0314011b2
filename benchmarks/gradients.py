"""Gradients through long sequences of plasticity.

    python -m benchmarks.gradients [--networks 5] [--csv FILE]
    python -m benchmarks.gradients --trainings 100

For each rule, modulation and decay, and for sequences of 8 to 1000 steps: the norm of the gradient
in float32, and its agreement with the same computation in float64 (cosine; 1 is agreement), medians
over networks with other weights and inputs; how many are not finite; and the share of fast weights
at their bound after one and after ten times the longest sequence. Trainings are by gradient descent
through sequences of 250 steps each: how well they learn to remember.

The network is that of the robots' adaptation, smaller: 64 static and 64 plastic neurons, whose
inputs change slowly. The weights are those before training, and to stand for what training may make
of them, the same with plasticity gains and neuromodulators of three times the spread.
"""

import itertools
from typing import Any

import numpy as np
import torch
from torch import nn

from benchmarks.rows import Rows, run
from spikepropamine.policies.network import NetworkConfig, SpikingNetwork

LENGTHS = (8, 64, 250, 1000)
RULES, SPREADS = ("hebb", "oja", "bcm", "bcm_decay"), (1.0, 3.0)
KINDS = [
    (rule, modulation, decay)
    for rule in RULES
    for modulation in ("none", "direct", "retroactive")
    for decay in ("contracting", "plain")
    if modulation != "none" or decay == "contracting"  # without a modulator they are the same
]
CHANNELS, WIDTH, BATCH = 16, 64, 4
LEARNING_RATE = 6e-3  # the default of taught spiking networks


def make_network(kind: tuple[str, str, str], spread: float, seed: int) -> SpikingNetwork:
    """A network of a kind; `spread` multiplies gains and neuromodulators."""
    rule, modulation, decay = kind
    torch.manual_seed(seed)
    config: Any = {"rule": rule, "modulation": modulation, "decay": decay, "hidden": (WIDTH, WIDTH)}
    config |= {"readout": "spikes+potentials", "membrane_decay": 0.3, "slope": 1.5}
    config |= {"plasticity_gain": 0.3 * spread, "modulator_gain": spread}
    config = NetworkConfig(**config)
    return SpikingNetwork(CHANNELS, config, range(CHANNELS))


def inputs_of(steps: int, seed: int) -> torch.Tensor:
    """Slowly changing inputs of unit variance, [steps, BATCH, CHANNELS] float64."""
    generator = torch.Generator().manual_seed(seed)
    noise = torch.randn(steps, BATCH, CHANNELS, generator=generator, dtype=torch.float64)
    value, rows = noise[0], []
    for row in noise:
        value = 0.8 * value + 0.6 * row
        rows.append(value)
    return torch.stack(rows)


def unrolled(network: SpikingNetwork, inputs: torch.Tensor) -> tuple[torch.Tensor, dict]:
    """Features and new state of a sequence from its start on."""
    starts = torch.zeros(inputs.shape[:2], dtype=inputs.dtype)
    starts[0] = 1.0
    state = torch.zeros(BATCH, network.layout.size, dtype=inputs.dtype)
    features, _, state = network.run(inputs, starts, network.layout.unpack(state))
    return features, state


def gradient(network: SpikingNetwork, inputs: torch.Tensor) -> torch.Tensor:
    """Of the mean square of the features of the last step, which all steps before can change."""
    network.zero_grad()
    unrolled(network, inputs)[0][-1].square().mean().backward()
    parts = [p.grad.flatten() for p in network.parameters() if p.grad is not None]
    return torch.cat(parts).double()


def at_bound(network: SpikingNetwork, steps: int, seed: int) -> float:
    """Share of the fast weights at their bound after so many steps."""
    with torch.no_grad():
        _, state = unrolled(network, inputs_of(steps, seed).float())
    fast = state["layer1.fast_weights"]
    return float((fast.abs() >= network.config.clip).float().mean())


def measure(rows: Rows, kind: tuple[str, str, str], spread: float, networks: int) -> None:
    """Adds a case for each length of sequence."""
    bounds = {}
    for steps in (LENGTHS[-1], 10 * LENGTHS[-1]):
        found = [at_bound(make_network(kind, spread, seed), steps, seed) for seed in range(2)]
        bounds[f"at_bound_{steps}"] = round(float(np.mean(found)), 4)
    for length in LENGTHS:
        norms, cosines = [], []
        for seed in range(networks):
            network, inputs = make_network(kind, spread, seed), inputs_of(length, seed)
            single, double = gradient(network, inputs.float()), gradient(network.double(), inputs)
            norms.append(float(single.norm()))
            cosines.append(float(nn.functional.cosine_similarity(single, double, dim=0)))
        measures: dict[str, Any] = {"gradient_norm": float(f"{np.median(norms):.3g}")}
        measures["cosine"] = round(float(np.median(cosines)), 4)
        measures["not_finite"] = sum(not np.isfinite(norm) for norm in norms)
        case = {"policy": " ".join(kind[:2]), "setting": kind[2], "severity": spread, "at": length}
        rows.add(measures | bounds, environment="layer", **case)


def trained(kind: tuple[str, str, str], seed: int, updates: int = 200) -> float:
    """The loss that a training ends with (mean of its last 20), NaN where a loss or a gradient was
    not finite. Learned is to say what an input is, times a sign that only the first ten steps tell.
    Who does not remember the sign says 0, and has the mean square of the inputs for a loss.
    """
    network = make_network(kind, 1.0, seed)
    head = nn.Linear(network.output_size, 1)
    parameters = [*network.parameters(), *head.parameters()]
    optimiser = torch.optim.Adam(parameters, lr=LEARNING_RATE)
    losses = []
    for update in range(updates):
        inputs = inputs_of(250, 1000 * seed + update).float()
        signs = torch.randint(2, (BATCH,)).float() * 2 - 1
        target = inputs[..., 0] * signs
        inputs[..., 1] = signs
        inputs[10:, :, 1] = 0.0
        loss = (head(unrolled(network, inputs)[0])[..., 0] - target)[10:].square().mean()
        optimiser.zero_grad()
        loss.backward()
        norm = nn.utils.clip_grad_norm_(parameters, 0.5)
        if not (torch.isfinite(loss) and torch.isfinite(norm)):
            return np.nan
        optimiser.step()
        losses.append(loss.item())
    return float(np.mean(losses[-20:]))


def measure_all(rows: Rows, options: Any) -> None:
    """Adds trainings of all kinds, or where there are to be none, so many networks of each kind."""
    for seed in range(options.trainings):
        kind = KINDS[seed % len(KINDS)]
        case = {"policy": " ".join(kind[:2]), "setting": kind[2], "seed": seed}
        rows.add({"loss": trained(kind, seed)}, environment="layer", **case)
    if not options.trainings:
        for kind, spread in itertools.product(KINDS, SPREADS):
            measure(rows, kind, spread, options.networks)


if __name__ == "__main__":
    run(measure_all, __doc__, networks=5, trainings=0)
