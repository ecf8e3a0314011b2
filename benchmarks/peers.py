"""Speed of spiking layers against other libraries: `python -m benchmarks.peers [--csv FILE]`.

The others are in `benchmarks/requirements-peers.txt`; those that are not installed are left out.
One thread, process CPU time, all in turn in the same run, medians over turns.

Static: forward and backward of Linear + LIF over a sequence [T, B, n] -> [T, B, n]. This project's
layer has plasticity off, episode starts inside the sequence, and gradients to weight, bias, inputs
and each neuron's decay. Peers run in the fastest form whose spikes reset the neuron: the Linear
once over the sequence, a multi-step mode where there is one, `unbind` instead of indexing, a fixed
decay where that is their default, their own default surrogate.

Recurrent: this project's PLASTIC recurrent layer (Oja's rule, neuromodulated, with gradients to all
parameters and rates) against the peers' recurrent layers, which have no plasticity.
"""

import importlib.util
import itertools
import statistics
import sys
from collections.abc import Callable
from importlib.metadata import version
from typing import Any

import torch
from torch import Tensor, nn

from benchmarks.layer import in_turn, passes, ratio
from benchmarks.rows import Rows, run
from spikepropamine.training.run import keep_freed_memory

STATIC = ("none", "none", False)
RECURRENT = ("oja", "direct", True)
STATIC_SIZES = [*itertools.product((8, 64, 256), (64, 128), (64,)), (8, 64, 256)]  # B, n, T
RECURRENT_SIZES = [(8, 64, 64), (64, 64, 64)]
TURNS = 9

# A module, which holds the parameters, the forward pass [T, B, n] -> [T, B, n], and the factor with
# which the library's neurons take their currents.
Network = tuple[nn.Module, Callable[[Tensor], Tensor], float]


def snntorch(neurons: int, recurrent: bool) -> Network:
    """Leaky or RLeaky, tick by tick."""
    import snntorch as library

    linear = nn.Linear(neurons, neurons)
    if recurrent:
        neuron = library.RLeaky(beta=0.8, linear_features=neurons)
    else:
        neuron = library.Leaky(beta=0.8)

    def forward(inputs: Tensor) -> Tensor:
        state: tuple[Tensor, ...] = neuron.reset_mem() if recurrent else (neuron.reset_mem(),)
        spikes = []
        for current in linear(inputs).unbind(0):
            fired, potential = neuron(current, *state)
            state = (fired, potential) if recurrent else (potential,)
            spikes.append(fired)
        return torch.stack(spikes)

    return nn.ModuleList([linear, neuron]), forward, 1.0


def norse(neurons: int, recurrent: bool) -> Network:
    """LIFBoxCell, which has no synaptic current, or LIFRecurrentCell, tick by tick."""
    import norse.torch as library

    linear: nn.Module = nn.Identity() if recurrent else nn.Linear(neurons, neurons)
    neuron = library.LIFRecurrentCell(neurons, neurons) if recurrent else library.LIFBoxCell()

    def forward(inputs: Tensor) -> Tensor:
        state, spikes = None, []
        for current in linear(inputs).unbind(0):
            fired, state = neuron(current, state)
            spikes.append(fired)
        return torch.stack(spikes)

    return nn.ModuleList([linear, neuron]), forward, 0.1


def spikingjelly(neurons: int, recurrent: bool) -> Network:
    """LIFNode in its multi-step mode, or in a container that joins inputs and own spikes."""
    from spikingjelly.activation_based import functional, layer, neuron

    if recurrent:
        node = neuron.LIFNode()
        network = layer.LinearRecurrentContainer(node, neurons, neurons, step_mode="m")
    else:
        network = nn.Sequential(nn.Linear(neurons, neurons), neuron.LIFNode(step_mode="m"))

    def forward(inputs: Tensor) -> Tensor:
        functional.reset_net(network)
        return network(inputs)

    return network, forward, 0.5


def sinabs(neurons: int, recurrent: bool) -> Network:
    """LIF or LIFRecurrent over the sequence."""
    from sinabs.layers import LIF, LIFRecurrent

    linear = nn.Linear(neurons, neurons)
    if recurrent:
        neuron = LIFRecurrent(tau_mem=5.0, rec_connect=nn.Linear(neurons, neurons))
    else:
        neuron = LIF(tau_mem=5.0)

    def forward(inputs: Tensor) -> Tensor:
        neuron.init_state_with_shape(inputs.shape[1:])
        return neuron(linear(inputs).transpose(0, 1)).transpose(0, 1)

    return nn.ModuleList([linear, neuron]), forward, 0.2


def sinabs_step(neurons: int, recurrent: bool) -> Network:
    """The step inside those layers, which is not public, without their indexing of the input."""
    from sinabs.layers import LIF
    from sinabs.layers.functional.lif import lif_forward_single

    linear, neuron = nn.Linear(neurons, neurons), LIF(tau_mem=5.0)
    synapses = nn.Linear(neurons, neurons) if recurrent else None

    def forward(inputs: Tensor) -> Tensor:
        state: Any = {"v_mem": inputs.new_zeros(inputs.shape[1:])}
        decay, feedback = neuron.alpha_mem_calculated, None
        spikes = []
        for current in linear(inputs).unbind(0):
            if feedback is not None:
                current = current + feedback
            fired, state = lif_forward_single(
                current, decay, None, state, neuron.spike_threshold, neuron.spike_fn,
                neuron.reset_fn, neuron.surrogate_grad_fn, None, neuron.norm_input,
            )  # fmt: skip
            spikes.append(fired)
            if synapses is not None:
                feedback = synapses(fired)
        return torch.stack(spikes)

    return nn.ModuleList([linear, neuron, *([synapses] if synapses else [])]), forward, 0.2


PEERS = {f.__name__: f for f in (snntorch, norse, spikingjelly, sinabs, sinabs_step)}


def peer_pass(network: Network, batch: int, neurons: int, ticks: int) -> Callable[[], Any]:
    """A training pass: forward, and backward to all parameters and to the inputs."""
    module, forward, factor = network
    weight = next(x for x in module.parameters() if x.dim() == 2)  # that of the inputs
    nn.init.normal_(weight, std=2.0 * neurons**-0.5 / factor)  # as here, so that neurons fire
    inputs = (torch.rand(ticks, batch, neurons) < 0.15).float().requires_grad_()
    leaves = [inputs, *(x for x in module.parameters() if x.requires_grad)]
    upstream = torch.randn(ticks, batch, neurons) / ticks

    return lambda: torch.autograd.grad(forward(inputs), leaves, upstream)


def compare(rows: Rows, peers: list[str], recurrent: bool, size: tuple[int, int, int]) -> None:
    """Adds milliseconds of each, and how many times slower the fastest peer is."""
    functions = {"ours": passes(RECURRENT if recurrent else STATIC, *size)["numba"]}
    for name in peers:
        functions[name] = peer_pass(PEERS[name](size[1], recurrent), *size)
    times = in_turn(functions, TURNS)
    milliseconds = {name: 1e3 * statistics.median(x) for name, x in times.items()}
    fastest = min(peers, key=milliseconds.__getitem__)
    layer = "recurrent" if recurrent else "static"
    case = {"environment": layer, "setting": "pass", "condition": " x ".join(map(str, size))}
    for name, taken in milliseconds.items():
        found = {"milliseconds": taken}
        if name == "ours":
            found["times_fastest"] = ratio(times, fastest, "ours")
        rows.add(found, **case, policy=name)


def measure(rows: Rows, options: Any) -> None:
    """Adds all sizes."""
    torch.manual_seed(0)
    keep_freed_memory()  # for all of them, as in training
    libraries = {name: name.removesuffix("_step") for name in PEERS}
    peers = [name for name, library in libraries.items() if importlib.util.find_spec(library)]
    for name in dict.fromkeys(libraries.values()):
        print(f"{name} {version(name) if name in peers else 'is not installed: left out'}")
    if not peers:
        sys.exit("install one with: pip install -r benchmarks/requirements-peers.txt")
    print("\nforward and backward; times_fastest: the fastest peer / ours")
    for recurrent, sizes in ((False, STATIC_SIZES), (True, RECURRENT_SIZES)):
        for size in sizes:
            compare(rows, peers, recurrent, size)


if __name__ == "__main__":
    run(measure, __doc__)
