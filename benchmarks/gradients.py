"""Gradients through long sequences of plasticity: `python -m benchmarks.gradients --help`.

For each rule, modulation and decay, and for sequences of 8 to 1000 steps: the norm of the gradient
in float32, and its agreement with the same computation in float64 (cosine; 1 is agreement), medians
over networks with other weights and inputs. Then how many of the fast weights lie at their bound
after one and after ten times the longest sequence. With `--trainings N`, N trainings by gradient
descent through sequences of 250 steps each: how well they learn to remember, and which of them met
a number that is not finite.

The network is that of the robots' adaptation, smaller: 64 static and 64 plastic neurons. Its inputs
change slowly, as observations do. The weights are those of a network before training, and to stand
for what training may make of it, the same with plasticity gains and neuromodulators of three times
the spread.
"""

import argparse
import itertools
import sys
from pathlib import Path

import numpy as np
import torch
from torch import nn
from tqdm import tqdm

from benchmarks.rows import write_rows
from spikepropamine.policies.network import NetworkConfig, SpikingNetwork

RESULTS = Path(__file__).parent / "results" / "gradients.csv"
LENGTHS = (8, 64, 250, 1000)
RULES = ("hebb", "oja", "bcm", "bcm_decay")
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
    config = NetworkConfig(
        rule=rule,
        modulation=modulation,  # type: ignore[arg-type]
        decay=decay,  # type: ignore[arg-type]
        hidden=(WIDTH, WIDTH),
        readout="spikes+potentials",
        membrane_decay=0.3,
        slope=1.5,
        plasticity_gain=0.3 * spread,
        modulator_gain=spread,
    )
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


def run(network: SpikingNetwork, inputs: torch.Tensor) -> tuple[torch.Tensor, dict]:
    """Features and new state of a sequence from its start on."""
    starts = torch.zeros(inputs.shape[:2], dtype=inputs.dtype)
    starts[0] = 1.0
    state = torch.zeros(BATCH, network.layout.size, dtype=inputs.dtype)
    features, _, state = network.run(inputs, starts, network.layout.unpack(state))
    return features, state


def gradient(network: SpikingNetwork, inputs: torch.Tensor) -> torch.Tensor:
    """Of the mean square of the features of the last step, which all steps before can change."""
    network.zero_grad()
    features, _ = run(network, inputs)
    features[-1].square().mean().backward()
    parts = [p.grad.flatten() for p in network.parameters() if p.grad is not None]
    return torch.cat(parts).double()


def at_bound(network: SpikingNetwork, steps: int, seed: int) -> float:
    """Share of the fast weights at their bound after so many steps."""
    with torch.no_grad():
        _, state = run(network, inputs_of(steps, seed).float())
    fast = state["layer1.fast_weights"]
    return float((fast.abs() >= network.config.clip).float().mean())


def measure(kind: tuple[str, str, str], spread: float, networks: int) -> list[dict]:
    """A row for each length of sequence."""
    norms = {length: [] for length in LENGTHS}
    cosines = {length: [] for length in LENGTHS}
    for seed, length in itertools.product(range(networks), LENGTHS):
        network, inputs = make_network(kind, spread, seed), inputs_of(length, seed)
        single = gradient(network, inputs.float())
        double = gradient(network.double(), inputs)
        norms[length].append(float(single.norm()))
        cosines[length].append(float(nn.functional.cosine_similarity(single, double, dim=0)))
    shares = []
    for steps in (LENGTHS[-1], 10 * LENGTHS[-1]):
        found = [at_bound(make_network(kind, spread, seed), steps, seed) for seed in range(2)]
        shares.append(round(float(np.mean(found)), 4))
    return [
        {
            "rule": kind[0],
            "modulation": kind[1],
            "decay": kind[2],
            "spread": spread,
            "steps": length,
            "gradient norm": f"{np.median(norms[length]):.3g}",
            "cosine with float64": round(float(np.median(cosines[length])), 4),
            "not finite": sum(not np.isfinite(norm) for norm in norms[length]),
            "at bound after 1000": shares[0],
            "at bound after 10000": shares[1],
        }
        for length in LENGTHS
    ]


def trained(kind: tuple[str, str, str], seed: int, updates: int = 200) -> float | None:
    """The loss that a training ends with (mean of its last 20), None where a loss or a gradient was
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
        features, _ = run(network, inputs)
        loss = (head(features)[..., 0] - target)[10:].square().mean()
        optimiser.zero_grad()
        loss.backward()
        if not torch.isfinite(loss) or not torch.isfinite(
            nn.utils.clip_grad_norm_(parameters, 0.5)
        ):
            return None
        optimiser.step()
        losses.append(loss.item())
    return float(np.mean(losses[-20:]))


def main() -> None:
    """Runs the command line."""
    parser = argparse.ArgumentParser("python -m benchmarks.gradients", description=__doc__)
    parser.add_argument("--networks", type=int, default=5, help="of each kind (%(default)s)")
    parser.add_argument("--trainings", type=int, default=0, help="of all kinds (%(default)s)")
    options = parser.parse_args()
    torch.set_num_threads(1)
    if options.trainings:
        chosen = [KINDS[i % len(KINDS)] for i in range(options.trainings)]
        losses = [trained(kind, seed) for seed, kind in enumerate(tqdm(chosen, file=sys.stderr))]
        print("rule, modulation and decay; the losses of its trainings at their end (- not finite)")
        for kind in dict.fromkeys(chosen):
            each = [loss for other, loss in zip(chosen, losses) if other == kind]
            shown = " ".join("-" if loss is None else f"{loss:.3f}" for loss in each)
            print(f"{' '.join(kind):32}{shown}")
        return
    cells = list(itertools.product(KINDS, (1.0, 3.0)))
    rows = [
        row for cell in tqdm(cells, file=sys.stderr) for row in measure(*cell, options.networks)
    ]
    write_rows(rows, RESULTS)
    print("  ".join(rows[0]))
    for row in rows:
        print("  ".join(f"{value!s:{len(name)}}" for name, value in row.items()))


if __name__ == "__main__":
    main()
