"""Speed and memory of one spiking layer, by backend: `python -m benchmarks.layer --help`.

One thread, process CPU time, all backends in turn in the same run: a turn takes the reference once
and the faster ones as often as fits into about the same time (at most ten times). A ratio is the
median over turns. The training pass is forward and backward of a layer [T, B, n] -> [T, B, n] with
gradients to all its parameters, inputs and rates; 15 % of the inputs are spikes. The rollout step
is that of a whole network, with its neuromodulators and its readout.
"""

import argparse
import itertools
import math
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import torch

from benchmarks.rows import peak_of, write_rows
from spikepropamine.policies.backends import BACKENDS, obstacle
from spikepropamine.policies.network import NetworkConfig, SpikingNetwork
from spikepropamine.policies.reference import LayerParameters, LayerSpec
from spikepropamine.training.allocator import keep_freed_memory

KINDS = [
    (rule, modulation, recurrent)
    for rule in ("hebb", "oja", "bcm", "delta")  # the published ones, and the one that recalls
    for modulation in ("none", "direct", "retroactive")
    for recurrent in (False, True)
]
# Plain and direct modulation are the same computation with another rate: the grid takes one.
GRID_KIND = ("oja", "direct", False)
STEPS = 200  # of a network, timed at once
MEMORY_LIMIT = 6e9  # bytes that the reference may need in a cell of the table

# Operations per synapse and tick, as the equations have them: the update and its clip (4), the
# gain (1 and 1 of the sum), and twice that and more backwards with the recomputation; then the
# multiply-adds of the static weights, one forwards and two backwards.
FLOPS = 6 + 2 + 18 + 4


def passes(
    kind: tuple[str, str, bool], batch: int, neurons: int, ticks: int
) -> dict[str, Callable[[], None]]:
    """A training pass of each backend that can run, or under `torch.no_grad` a forward pass."""
    rule, modulation, recurrent = kind
    spec = LayerSpec(neurons, neurons, rule, modulation, recurrent)
    torch.manual_seed(0)
    scale = neurons**-0.5
    numbers = {
        "weight": 2.0 * scale * torch.randn(neurons, neurons),
        "bias": torch.zeros(neurons),
        "membrane_decay": torch.full((neurons,), 0.8),
    }
    if recurrent:
        numbers["recurrent_weight"] = scale * torch.randn(neurons, neurons)
    if spec.plastic:
        numbers["plasticity_gain"] = 0.3 * scale * torch.randn(neurons, neurons)
        numbers |= {"pre_decay": torch.tensor(0.6), "post_decay": torch.tensor(0.6)}
        if "threshold" in spec.state_shapes:
            numbers["threshold_decay"] = torch.tensor(0.9)
        if modulation == "retroactive":
            numbers["eta"] = torch.tensor(0.18)
    parameters = {k: x.requires_grad_() for k, x in numbers.items()}
    inputs = (torch.rand(ticks, batch, neurons) < 0.15).float().requires_grad_()
    starts = (torch.rand(ticks, batch) < 0.02).float()
    rate = 0.18 * torch.rand(ticks, batch, neurons) if spec.plastic else None
    target = torch.randn(ticks, batch, neurons) if spec.has_target else None
    leaves = [*parameters.values(), inputs]
    leaves += [x.requires_grad_() for x in (rate, target) if x is not None]
    # fast weights lie in memory as in the flat state of a network
    state = {
        k: torch.zeros(batch, *shape[::-1]).transpose(1, -1)
        for k, shape in spec.state_shapes.items()
    }
    upstream = torch.randn(ticks, batch, neurons) / ticks

    arguments = spec, LayerParameters(**parameters), inputs, starts, rate, state

    def run(name: str) -> None:
        spikes, _, _ = BACKENDS[name](*arguments, target=target)
        if torch.is_grad_enabled():
            torch.autograd.grad(spikes, leaves, upstream)

    return {name: lambda name=name: run(name) for name in names_for(kind)}


def names_for(kind: tuple[str, str, bool]) -> list[str]:
    """The backends that can run such layers."""
    return [name for name in BACKENDS if obstacle(name, LayerSpec(1, 1, *kind), "cpu") is None]


def reference_bytes(kind: tuple[str, str, bool], batch: int, neurons: int, ticks: int) -> float:
    """Memory that autograd keeps for the reference: about four fast weights a tick."""
    copies = 7 if kind[1] == "retroactive" else 4
    return 4.0 * copies * ticks * batch * neurons**2


def in_turn(functions: dict[str, Callable[[], None]], turns: int) -> dict[str, list[float]]:
    """Seconds of CPU time of each function, one entry a turn."""

    def seconds(function: Callable[[], None], repeats: int) -> float:
        start = time.process_time()
        for _ in range(repeats):
            function()
        return (time.process_time() - start) / repeats

    for function in functions.values():
        function()  # compilation, and first touch of memory
    once = {name: seconds(function, 1) for name, function in functions.items()}
    longest = max(once.values())
    repeats = {k: max(1, min(10, round(longest / max(x, 1e-9)))) for k, x in once.items()}
    times: dict[str, list[float]] = {name: [] for name in functions}
    for _ in range(turns):
        for name, function in functions.items():
            times[name].append(seconds(function, repeats[name]))
    return times


def ratio(times: dict[str, list[float]], slow: str, fast: str) -> float:
    """How many times faster, median over turns; NaN if one of them did not run."""
    if slow not in times or fast not in times:
        return math.nan
    return statistics.median(a / b for a, b in zip(times[slow], times[fast]))


def peak_flops() -> float:
    """Operations per second of one core in a large matrix product."""
    a, b = torch.randn(1024, 1024), torch.randn(1024, 1024)
    rates = []
    for _ in range(10):
        start = time.process_time()
        torch.mm(a, b)
        rates.append(2 * 1024**3 / (time.process_time() - start))
    return max(rates)


def peak_memory(name: str, kind: tuple[str, str, bool], size: tuple[int, int, int]) -> float:
    """MiB that a training pass needs at its peak, measured in a process of its own (Linux)."""
    rule, modulation, recurrent = kind
    command = [sys.executable, "-m", "benchmarks.layer", "--memory", name, rule, modulation]
    command += [str(int(recurrent)), *map(str, size)]
    result = subprocess.run(command, capture_output=True, text=True, check=True)
    return float(result.stdout)


def measure_memory(name: str, rule: str, modulation: str, recurrent: str, *size: str) -> None:
    """Prints the MiB by which a second training pass raises the resident memory at its peak."""
    kind = rule, modulation, bool(int(recurrent))
    passes(kind, 2, int(size[1]), 4)[name]()  # compiled code, before the count
    print(peak_of(passes(kind, *map(int, size))[name]))


class Table:
    """Prints rows as they come, and keeps them."""

    def __init__(self) -> None:
        self.rows: list[dict[str, object]] = []

    def add(self, **row: object) -> None:
        """Prints a row, with a head where the columns change."""
        if not self.rows or list(self.rows[-1]) != list(row):
            print("\n" + " ".join(f"{k:>12}" for k in row))
        cells = (f"{x:.4g}" if isinstance(x, float) else str(x) for x in row.values())
        print(" ".join(f"{'-' if c == 'nan' else c:>12}" for c in cells), flush=True)
        self.rows.append(row)


def training(table: Table, cells: list[tuple], peak: float, turns: int) -> None:
    """The training pass of each cell (kind, batch, neurons, ticks), and a summary."""
    ratios = []
    for kind, *size in cells:
        functions = passes(kind, *size)
        skipped = reference_bytes(kind, *size) > MEMORY_LIMIT
        if skipped:
            del functions["reference"]
        times = in_turn(functions, turns)
        numba = statistics.median(times.get("numba", [math.nan]))
        ratios.append(ratio(times, "reference", "numba"))
        batch, neurons, ticks = size
        synapses = batch * neurons**2 * ticks
        table.add(
            rule=kind[0], modulation=kind[1], recurrent=kind[2], B=batch, n=neurons, T=ticks,
            reference_ms=1e3 * statistics.median(times.get("reference", [math.nan])),
            torch_ms=1e3 * statistics.median(times["torch"]),
            numba_ms=1e3 * numba,
            ref_to_torch=ratio(times, "reference", "torch"),
            ref_to_numba=ratios[-1],
            torch_to_numba=ratio(times, "torch", "numba"),
            share_of_peak=math.nan if kind[2] else FLOPS * synapses / numba / peak,
        )  # fmt: skip
        if skipped:
            need = reference_bytes(kind, *size) / 1e9
            print(f"(reference left out: it would need about {need:.0f} GB)")
    ratios = [x for x in ratios if not math.isnan(x)]
    if ratios:
        print(
            f"\nreference to numba: geometric mean {statistics.geometric_mean(ratios):.1f}, "
            f"least {min(ratios):.1f}, in {len(ratios)} cells"
        )


def rollout(table: Table, kinds: list[tuple[str, str, bool]], sizes: list[tuple[int, int]]) -> None:
    """An environment step of a network without gradients, in microseconds: of one layer, and what
    each of two more layers adds.
    """
    for kind, (batch, neurons) in itertools.product(kinds, sizes):
        steps: dict[str, Callable[[], None]] = {}
        names = names_for(kind)
        for name, layers in itertools.product(names, (1, 3)):
            steps[f"{name} {layers}"] = _steps(kind, name, layers, batch, neurons)
        with torch.no_grad():
            times = in_turn(steps, 7)
        row = {}
        for name in sorted(names):
            one, three = (1e6 * statistics.median(times[f"{name} {n}"]) / STEPS for n in (1, 3))
            row |= {f"{name}_us": one, f"{name}_layer_us": (three - one) / 2}
        table.add(rule=kind[0], modulation=kind[1], recurrent=kind[2], B=batch, n=neurons, **row)


def _steps(
    kind: tuple[str, str, bool], backend: str, layers: int, batch: int, neurons: int
) -> Callable[[], None]:
    """So many steps of a network of equal layers, whose neuromodulators see 17 channels."""
    rule, modulation, recurrent = kind
    config = NetworkConfig(
        rule=rule,
        modulation=modulation,
        hidden=(neurons,) * layers,
        plastic=(rule != "none",) * layers,
        recurrent=(recurrent,) * layers,
    )
    network = SpikingNetwork(neurons, config, range(17), backend)
    flat, starts = torch.zeros(1, batch, network.hidden_size), torch.zeros(1, batch)
    inputs = (torch.rand(1, batch, neurons) < 0.15).float()

    def run() -> None:
        states = flat, flat
        for _ in range(STEPS):
            _, states = network(inputs, states, starts)

    return run


def memory(table: Table, cells: list[tuple]) -> None:
    """Peak memory of a training pass."""
    for kind, *size in cells:
        names = names_for(kind)
        mib = {name: peak_memory(name, kind, tuple(size)) for name in names}
        row = {f"{name}_MiB": x for name, x in mib.items()}
        row["ref_to_numba"] = mib["reference"] / mib.get("numba", math.nan)
        columns = ("rule", "modulation", "recurrent", "B", "n", "T")
        table.add(**dict(zip(columns, (*kind, *size))), **row)


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--short", action="store_true", help="a few cells, under two minutes")
    parser.add_argument("--csv", type=Path, help="write all rows to this file")
    parser.add_argument("--turns", type=int, default=5, help="turns per cell")
    parser.add_argument("--memory", nargs=7, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    if arguments.memory:
        measure_memory(*arguments.memory)
        return
    keep_freed_memory()  # as in training
    table = Table()
    peak = peak_flops()
    print(f"one core, matrix product: {peak / 1e9:.0f} GFLOP/s")
    middle = (8, 64, 64)
    if arguments.short:
        sizes = [(8, 64, 8), middle, (64, 64, 64), (8, 128, 64), (8, 64, 256)]
        cells = [(GRID_KIND, *size) for size in sizes]
        kinds = [("oja", "direct", True), ("bcm", "direct", False), ("oja", "retroactive", False)]
        kinds += [("hebb", "direct", False), ("delta", "direct", False)]
    else:
        sizes = list(itertools.product((8, 64, 256), (64, 128, 256), (8, 64, 256)))
        cells = [(GRID_KIND, *size) for size in sizes]
        kinds = [kind for kind in KINDS if kind != GRID_KIND]
        cells += [(kind, 64, 64, 64) for kind in kinds]
    cells += [(kind, *middle) for kind in kinds]
    training(table, cells, peak, arguments.turns)
    static = ("none", "none", False)
    rollout(table, [GRID_KIND, *kinds[:3], static], [(1, 64), (8, 64), (8, 128)])
    if Path("/proc/self/clear_refs").exists():
        memory(table, [(GRID_KIND, 64, 64, 64), (("oja", "direct", True), 64, 64, 64)])
    if arguments.csv:
        write_rows(table.rows, arguments.csv)


if __name__ == "__main__":
    main()
