"""Speed and memory of one spiking layer, by backend: `python -m benchmarks.layer
[--short]`.

One thread, process CPU time, all backends in turn in the same run: a turn takes the
reference once and the faster ones as often as fits into about the same time (at most
ten times). A ratio is the median over turns. The training pass is forward and backward
of a layer [T, B, n] -> [T, B, n] with gradients to all its parameters, inputs and
rates; 15 % of the inputs are spikes. The rollout step is that of a whole network, with
its neuromodulators and its readout. `--short` takes a few cells, in under two minutes.
"""

import itertools
import statistics
import time
import timeit
from argparse import Namespace
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from benchmarks.rows import Rows, alone, peak_of, run
from spikepropamine.policies.backends import BACKENDS, choose, obstacle
from spikepropamine.policies.config import NetworkConfig
from spikepropamine.policies.layers import SpikingLayer
from spikepropamine.policies.network import SpikingNetwork
from spikepropamine.policies.reference import LayerParameters, LayerSpec
from spikepropamine.training.run import keep_freed_memory

KINDS = [
    (rule, modulation, recurrent)
    for rule in (
        "hebb",
        "oja",
        "bcm",
        "delta",
        "stpn",
        "bcpnn",
    )  # one of each kind of formula
    for modulation in ("none", "direct", "retroactive")
    for recurrent in (False, True)
]
# Plain and direct modulation are the same computation with another rate: the grid takes
# one.
GRID_KIND = ("oja", "direct", False)
STEPS = 200  # of a network, timed at once
TURNS = 5
MEMORY_LIMIT = (
    6e9 / 16
)  # numbers that a cell may have for the reference, which keeps four of each


def passes(
    kind: tuple[str, str, bool], batch: int, neurons: int, ticks: int
) -> dict[str, Callable[[], None]]:
    """A training pass of each backend that can run, or under `torch.no_grad` a forward
    pass.

    Args:
        kind: rule, modulation, and whether the layer is recurrent.
        batch: environments.
        neurons: of the layer.
        ticks: of the sequence.
    """
    rule, modulation, recurrent = kind
    spec = LayerSpec(neurons, neurons, rule, modulation, recurrent)
    torch.manual_seed(0)
    layer = SpikingLayer(spec, 1, 1.0, NetworkConfig())
    layer.weight.data *= 2.0
    named = layer.parameters_in_use()._asdict()
    parameters = {
        k: x.detach().requires_grad_() for k, x in named.items() if x is not None
    }
    inputs = (torch.rand(ticks, batch, neurons) < 0.15).float().requires_grad_()
    starts = (torch.rand(ticks, batch) < 0.02).float()
    rate = 0.18 * torch.rand(ticks, batch, neurons) if spec.plastic else None
    target = torch.randn(ticks, batch, neurons) if spec.has_target else None
    leaves = [*parameters.values(), inputs]
    leaves += [x.requires_grad_() for x in (rate, target) if x is not None]
    # fast weights lie in memory as in the flat state of a network
    shapes = spec.state_shapes.items()
    state = {
        k: torch.zeros(batch, *shape[::-1]).transpose(1, -1) for k, shape in shapes
    }
    upstream = torch.randn(ticks, batch, neurons) / ticks
    arguments = spec, LayerParameters(**parameters), inputs, starts, rate, state

    def once(name: str) -> None:
        spikes, _, _ = choose(name, spec).layer_sequence(*arguments, target=target)
        if torch.is_grad_enabled():
            torch.autograd.grad(
                spikes, leaves, upstream, allow_unused=True
            )  # as by `delta`

    return {name: lambda name=name: once(name) for name in names_for(kind)}


def names_for(kind: tuple[str, str, bool]) -> list[str]:
    """The backends that can run such layers."""
    return [
        name
        for name in BACKENDS
        if obstacle(name, LayerSpec(1, 1, *kind), "cpu") is None
    ]


def in_turn(
    functions: dict[str, Callable[[], None]], turns: int
) -> dict[str, list[float]]:
    """Seconds of CPU time of each function, one entry a turn.

    Args:
        functions: by name.
        turns: how often each is called.
    """

    def seconds(function: Callable[[], None], repeats: int) -> float:
        return (
            timeit.timeit(function, timer=time.process_time, number=repeats) / repeats
        )

    for function in functions.values():
        function()  # compilation, and first touch of memory
    once = {name: seconds(function, 1) for name, function in functions.items()}
    longest = max(once.values())
    repeats = {
        k: max(1, min(10, round(longest / max(x, 1e-9)))) for k, x in once.items()
    }
    times: dict[str, list[float]] = {name: [] for name in functions}
    for _ in range(turns):
        for name, function in functions.items():
            times[name].append(seconds(function, repeats[name]))
    return times


def ratio(times: dict[str, list[float]], slow: str, fast: str) -> float:
    """How many times faster one function is, the median over turns.

    Args:
        times: as `in_turn` returns them.
        slow: name of the slower one.
        fast: name of the other.
    """
    return statistics.median(a / b for a, b in zip(times[slow], times[fast]))


def peak_memory(
    name: str, kind: tuple[str, str, bool], size: tuple[int, int, int]
) -> float:
    """MiB by which a second training pass raises the resident memory at its peak
    (Linux).

    Args:
        name: of the backend.
        kind: rule, modulation, and whether the layer is recurrent.
        size: environments, neurons and ticks.
    """
    torch.set_num_threads(1)
    passes(kind, 2, size[1], 4)[name]()  # compiled code, before the count
    return peak_of(passes(kind, *size)[name])


def case_of(setting: str, kind: tuple[str, str, bool], *size: int) -> dict[str, Any]:
    """Columns of a case: what is measured, of which kind of layer, and its size, B x n
    x T.

    Args:
        setting: what is measured.
        kind: rule, modulation, and whether the layer is recurrent.
        *size: environments, neurons, and where there are several ticks.
    """
    name = " ".join([*kind[:2], *["recurrent"] * kind[2]])
    return {
        "setting": setting,
        "environment": name,
        "condition": " x ".join(map(str, size)),
    }


def training(
    rows: Rows, kind: tuple[str, str, bool], size: tuple[int, ...]
) -> float | None:
    """Adds a training pass of each backend.

    Args:
        rows: gets a row for each backend.
        kind: rule, modulation, and whether the layer is recurrent.
        size: environments, neurons and ticks.

    Returns:
        How many times as fast as the reference Numba is; None where one of them cannot
        run.
    """
    functions = passes(kind, *size)
    batch, neurons, ticks = size
    if batch * neurons**2 * ticks > MEMORY_LIMIT:
        del functions["reference"]
    times = in_turn(functions, TURNS)
    slower: list[str] = []
    for name in reversed(times):  # the reference first
        measures = {"milliseconds": 1e3 * statistics.median(times[name])}
        measures |= {f"times_{other}": ratio(times, other, name) for other in slower}
        slower.append(name)
        rows.add(measures, **case_of("pass", kind, *size), policy=name)
    return (
        ratio(times, "reference", "numba")
        if {"reference", "numba"} <= set(times)
        else None
    )


def rollout(rows: Rows, kind: tuple[str, str, bool], batch: int, neurons: int) -> None:
    """Adds an environment step of a network without gradients: of one layer, and what
    each of two more layers adds.

    Args:
        rows: gets a row for each backend.
        kind: rule, modulation, and whether layers are recurrent.
        batch: environments.
        neurons: of each layer.
    """
    names = names_for(kind)
    steps = {
        f"{name} {layers}": _steps(kind, name, layers, batch, neurons)
        for name, layers in itertools.product(names, (1, 3))
    }
    with torch.no_grad():
        times = in_turn(steps, 7)
    for name in names:
        one, three = (
            1e6 * statistics.median(times[f"{name} {n}"]) / STEPS for n in (1, 3)
        )
        measures = {"microseconds": one, "microseconds_of_a_layer": (three - one) / 2}
        rows.add(measures, **case_of("step", kind, batch, neurons), policy=name)


def _steps(
    kind: tuple[str, str, bool], backend: str, layers: int, batch: int, neurons: int
) -> Callable[[], None]:
    """So many steps of a network of equal layers, whose neuromodulators see 17
    channels.
    """
    rule, modulation, recurrent = kind
    config = NetworkConfig(
        rule=rule,
        modulation=modulation,
        hidden=(neurons,) * layers,
        plastic=(rule != "none",) * layers,
        recurrent=(recurrent,) * layers,
    )
    network = SpikingNetwork(neurons, config, range(17), backend)
    flat = torch.zeros(1, batch, network.hidden_size)
    starts = torch.zeros(1, batch)
    inputs = (torch.rand(1, batch, neurons) < 0.15).float()

    def steps() -> None:
        states = flat, flat
        for _ in range(STEPS):
            _, states = network(inputs, states, starts)

    return steps


def measure(rows: Rows, options: Namespace) -> None:
    """Adds all cells, or where it is to be `short`, a few in under two minutes."""
    keep_freed_memory()  # as in training
    middle = (8, 64, 64)
    if options.short:
        sizes = [(8, 64, 8), middle, (64, 64, 64), (8, 128, 64), (8, 64, 256)]
        kinds = [
            ("oja", "direct", True),
            ("bcm", "direct", False),
            ("oja", "retroactive", False),
        ]
        kinds += [("hebb", "direct", False), ("delta", "direct", False)]
        cells = [(GRID_KIND, size) for size in sizes]
    else:
        sizes = list(itertools.product((8, 64, 256), (64, 128, 256), (8, 64, 256)))
        kinds = [kind for kind in KINDS if kind != GRID_KIND]
        cells = [(GRID_KIND, size) for size in sizes] + [
            (kind, (64, 64, 64)) for kind in kinds
        ]
    cells += [(kind, middle) for kind in kinds]
    ratios = [training(rows, kind, size) for kind, size in cells]
    known = [ratio for ratio in ratios if ratio is not None]
    print(
        f"reference to numba: geometric mean {statistics.geometric_mean(known):.1f}, "
        f"least {min(known):.1f}, in {len(known)} cells"
    )
    for kind in (GRID_KIND, *kinds[:3], ("none", "none", False)):
        for batch, neurons in ((1, 64), (8, 64), (8, 128)):
            rollout(rows, kind, batch, neurons)
    if Path("/proc/self/clear_refs").exists():
        for kind in (GRID_KIND, ("oja", "direct", True)):
            for name in names_for(kind):
                measures = {"mebibytes": alone(peak_memory, name, kind, (64, 64, 64))}
                rows.add(measures, **case_of("memory", kind, 64, 64, 64), policy=name)


if __name__ == "__main__":
    run(measure, __doc__, short=False)
