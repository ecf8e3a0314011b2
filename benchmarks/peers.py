"""Speed of spiking layers against other libraries: `python -m benchmarks.peers [--csv
FILE]`.

The others are in `benchmarks/requirements-peers.txt`; those that are not installed are
left out. One thread, process CPU time, all in turn in the same run, medians over turns.

Forward and backward of Linear + LIF over a sequence [T, B, n] -> [T, B, n]. This
project's layer has plasticity off, episode starts inside the sequence, and gradients to
weight, bias, inputs and each neuron's decay. Peers run in the fastest form whose spikes
reset the neuron: the Linear once over the sequence, a multi-step mode where there is
one, `unbind` instead of indexing, a fixed decay where that is their default, their own
default surrogate.
"""

import importlib.util
import itertools
import statistics
import sys
from argparse import Namespace
from collections.abc import Callable
from importlib.metadata import version
from typing import Any

import torch
from torch import Tensor, nn

from benchmarks.layer import in_turn, passes, ratio
from benchmarks.rows import Rows, run
from spikepropamine.training.run import keep_freed_memory

STATIC = ("none", "none", False)
SIZES = [*itertools.product((8, 64, 256), (64, 128), (64,)), (8, 64, 256)]  # B, n, T
TURNS = 9

# Neurons, what they make of currents [T, B, n], spikes [T, B, n], and the factor with
# which the library's neurons take their currents.
Neurons = tuple[nn.Module, Callable[[Tensor], Tensor], float]


def snntorch() -> Neurons:
    """Leaky, tick by tick."""
    import snntorch as library

    neuron = library.Leaky(beta=0.8)
    return neuron, lambda x: _by_tick(neuron, x, neuron.reset_mem()), 1.0


def norse() -> Neurons:
    """LIFBoxCell, which has no synaptic current, tick by tick."""
    import norse.torch as library

    neuron = library.LIFBoxCell()
    return neuron, lambda x: _by_tick(neuron, x, None), 0.1


def spikingjelly() -> Neurons:
    """LIFNode in its multi-step mode."""
    from spikingjelly.activation_based import functional, neuron

    node = neuron.LIFNode(step_mode="m")

    def forward(currents: Tensor) -> Tensor:
        functional.reset_net(node)
        return node(currents)

    return node, forward, 0.5


def sinabs() -> Neurons:
    """LIF over the sequence."""
    from sinabs.layers import LIF

    neuron = LIF(tau_mem=5.0)

    def forward(currents: Tensor) -> Tensor:
        neuron.init_state_with_shape(currents.shape[1:])
        return neuron(currents.transpose(0, 1)).transpose(0, 1)

    return neuron, forward, 0.2


def sinabs_step() -> Neurons:
    """The step inside that layer, which is not public, without its indexing of the
    input.
    """
    from sinabs.layers import LIF
    from sinabs.layers.functional.lif import lif_forward_single

    neuron = LIF(tau_mem=5.0)
    settings = (neuron.spike_threshold, neuron.spike_fn, neuron.reset_fn,
                neuron.surrogate_grad_fn, None, neuron.norm_input)  # fmt: skip

    def forward(currents: Tensor) -> Tensor:
        decay = neuron.alpha_mem_calculated
        start: Any = {"v_mem": currents.new_zeros(currents.shape[1:])}
        return _by_tick(
            lambda x, state: lif_forward_single(x, decay, None, state, *settings),
            currents,
            start,
        )

    return neuron, forward, 0.2


def _by_tick(
    neuron: Callable[[Tensor, Any], tuple[Tensor, Any]], x: Tensor, state: Any
) -> Tensor:
    """Spikes of neurons that take the current of a tick and a state."""
    spikes = []
    for current in x.unbind(0):
        fired, state = neuron(current, state)
        spikes.append(fired)
    return torch.stack(spikes)


PEERS = {f.__name__: f for f in (snntorch, norse, spikingjelly, sinabs, sinabs_step)}


def peer_pass(peer: Neurons, batch: int, neurons: int, ticks: int) -> Callable[[], Any]:
    """A training pass: forward, and backward to all parameters and to the inputs.

    Args:
        peer: another library's neurons.
        batch: environments.
        neurons: of the layer.
        ticks: of the sequence.
    """
    module, forward, factor = peer
    linear = nn.Linear(neurons, neurons)
    nn.init.normal_(
        linear.weight, std=2.0 * neurons**-0.5 / factor
    )  # as here, so that they fire
    inputs = (torch.rand(ticks, batch, neurons) < 0.15).float().requires_grad_()
    learned = [*linear.parameters(), *module.parameters()]
    leaves = [inputs, *(x for x in learned if x.requires_grad)]
    upstream = torch.randn(ticks, batch, neurons) / ticks
    return lambda: torch.autograd.grad(forward(linear(inputs)), leaves, upstream)


def measure(rows: Rows, options: Namespace) -> None:
    """Adds all sizes: milliseconds of each, and how many times slower the fastest peer
    is.
    """
    torch.manual_seed(0)
    keep_freed_memory()  # for all of them, as in training
    libraries = {name: name.removesuffix("_step") for name in PEERS}
    peers = [
        name for name, library in libraries.items() if importlib.util.find_spec(library)
    ]
    for name in dict.fromkeys(libraries.values()):
        print(
            f"{name} {version(name) if name in peers else 'is not installed: left out'}"
        )
    if not peers:
        sys.exit("install one with: pip install -r benchmarks/requirements-peers.txt")
    print("\nforward and backward; times_fastest: the fastest peer / ours")
    for size in SIZES:
        functions = {"ours": passes(STATIC, *size)["numba"]}
        functions |= {name: peer_pass(PEERS[name](), *size) for name in peers}
        times = in_turn(functions, TURNS)
        milliseconds = {name: 1e3 * statistics.median(x) for name, x in times.items()}
        fastest = min(peers, key=milliseconds.__getitem__)
        case = {
            "environment": "static",
            "setting": "pass",
            "condition": " x ".join(map(str, size)),
        }
        for name, taken in milliseconds.items():
            measures = {"milliseconds": taken}
            if name == "ours":
                measures["times_fastest"] = ratio(times, fastest, "ours")
            rows.add(measures, **case, policy=name)


if __name__ == "__main__":
    run(measure, __doc__)
