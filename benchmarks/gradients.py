"""Gradients through long sequences of plasticity.

    python -m benchmarks.gradients [--networks 5] [--csv FILE]

For each rule, modulation and decay, and for sequences of 8 to 1000 steps: the norm of
the gradient in float32, and its agreement with the same computation in float64 (cosine;
1 is agreement), medians over networks with other weights and inputs; how many are not
finite; and the share of fast weights at their bound after one and after ten times the
longest sequence.

The network is that of the robots' adaptation, smaller: 64 static and 64 plastic
neurons, whose inputs change slowly. The weights are those before training, and to stand
for what training may make of them, the same with plasticity gains and neuromodulators
of three times the spread.
"""

import itertools
from argparse import Namespace
from typing import Any

import numpy as np
import torch
from torch import nn

from benchmarks.rows import Rows, run
from spikepropamine.policies.config import NetworkConfig
from spikepropamine.policies.network import SpikingNetwork

LENGTHS = (8, 64, 250, 1000)
RULES = ("hebb", "oja", "bcm", "bcm_decay")
SPREADS = (1.0, 3.0)
KINDS = [
    (rule, modulation, decay)
    for rule in RULES
    for modulation in ("none", "direct", "retroactive")
    for decay in ("contracting", "plain")
    if modulation != "none"
    or decay == "contracting"  # without a modulator they are the same
]
CHANNELS = 16
WIDTH = 64
BATCH = 4


def make_network(
    kind: tuple[str, str, str], spread: float, seed: int
) -> SpikingNetwork:
    """A network of a kind.

    Args:
        kind: rule, modulation and decay.
        spread: multiplies gains and neuromodulators.
        seed: of its first weights.
    """
    rule, modulation, decay = kind
    torch.manual_seed(seed)
    config: Any = {
        "rule": rule,
        "modulation": modulation,
        "decay": decay,
        "hidden": (WIDTH, WIDTH),
    }
    config |= {"readout": "spikes+potentials", "membrane_decay": 0.3, "slope": 1.5}
    config |= {"plasticity_gain": 0.3 * spread, "modulator_gain": spread}
    return SpikingNetwork(CHANNELS, NetworkConfig(**config), range(CHANNELS))


def inputs_of(steps: int, seed: int) -> torch.Tensor:
    """Slowly changing inputs of unit variance, float64 [steps, BATCH, CHANNELS].

    Args:
        steps: environment steps.
        seed: of the draws.
    """
    generator = torch.Generator().manual_seed(seed)
    noise = torch.randn(
        steps, BATCH, CHANNELS, generator=generator, dtype=torch.float64
    )
    value = noise[0]
    rows = []
    for row in noise:
        value = 0.8 * value + 0.6 * row
        rows.append(value)
    return torch.stack(rows)


def unrolled(
    network: SpikingNetwork, inputs: torch.Tensor
) -> tuple[torch.Tensor, dict]:
    """Features and new state of a sequence from its start on.

    Args:
        network: to be run.
        inputs: [steps, BATCH, CHANNELS].
    """
    starts = torch.zeros(inputs.shape[:2], dtype=inputs.dtype)
    starts[0] = 1.0
    state = torch.zeros(BATCH, network.layout.size, dtype=inputs.dtype)
    features, _, state = network.run(inputs, starts, network.layout.unpack(state))
    return features, state


def gradient(network: SpikingNetwork, inputs: torch.Tensor) -> torch.Tensor:
    """The gradient, to all parameters, of the mean square of the last step's features.

    All steps before can change these features.

    Args:
        network: to be run.
        inputs: [steps, BATCH, CHANNELS].
    """
    network.zero_grad()
    unrolled(network, inputs)[0][-1].square().mean().backward()
    parts = [p.grad.flatten() for p in network.parameters() if p.grad is not None]
    return torch.cat(parts).double()


def at_bound(network: SpikingNetwork, steps: int, seed: int) -> float:
    """The share of the fast weights that are at their bound.

    Args:
        network: to be run.
        steps: environment steps, after which they are looked at.
        seed: of the inputs.
    """
    with torch.no_grad():
        _, state = unrolled(network, inputs_of(steps, seed).float())
    return float(
        (state["layer1.fast_weights"].abs() >= network.config.clip).float().mean()
    )


def measure(rows: Rows, options: Namespace) -> None:
    """Adds a case for each length of sequence, of so many networks of each kind."""
    for kind, spread in itertools.product(KINDS, SPREADS):
        bounds = {}
        for steps in (LENGTHS[-1], 10 * LENGTHS[-1]):
            at_bounds = [
                at_bound(make_network(kind, spread, seed), steps, seed)
                for seed in range(2)
            ]
            bounds[f"at_bound_{steps}"] = round(float(np.mean(at_bounds)), 4)
        case = {"policy": " ".join(kind[:2]), "setting": kind[2], "severity": spread}
        for length in LENGTHS:
            norms = []
            cosines = []
            for seed in range(options.networks):
                network = make_network(kind, spread, seed)
                inputs = inputs_of(length, seed)
                single = gradient(network, inputs.float())
                double = gradient(network.double(), inputs)
                norms.append(float(single.norm()))
                cosines.append(
                    float(nn.functional.cosine_similarity(single, double, dim=0))
                )
            measures: dict[str, Any] = {
                "gradient_norm": float(f"{np.median(norms):.3g}")
            }
            measures["cosine"] = round(float(np.median(cosines)), 4)
            measures["not_finite"] = sum(not np.isfinite(norm) for norm in norms)
            rows.add(measures | bounds, environment="layer", **case, at=length)


if __name__ == "__main__":
    run(measure, __doc__, networks=5)
