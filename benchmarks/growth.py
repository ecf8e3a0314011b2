"""How the time of a step grows with environments, width and runs at once.

python -m benchmarks.growth [--policies mlp snn ndp-oja lstm] [--csv FILE]

CPU time of rollouts and updates on HalfCheetah-v5, one thread, all cases in turn in one process, of
the fastest round: 1 to 32 environments with two layers of 64 neurons, and two layers of 32 to 512
neurons with 8 environments. Then wall time of whole processes that train at once; that says
something on a machine that has nothing else to do.
"""

import argparse
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from stable_baselines3.common.logger import Logger

import spikepropamine  # noqa: F401  registers the environments
from benchmarks.rows import write_rows
from benchmarks.throughput import learn
from spikepropamine.agents import zoo
from spikepropamine.training.allocator import keep_freed_memory
from spikepropamine.training.environments import make_envs
from spikepropamine.training.settings import defaults

ENVIRONMENTS, WIDTHS, AT_ONCE = (1, 2, 4, 8, 16, 32), (32, 64, 128, 256, 512), (1, 2)
MANY, WIDE = 8, 64  # what is held where the other grows
ALONE = 10  # rollouts and updates of a process that is timed as a whole


def main() -> None:
    """Runs the command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--policies", nargs="+", default=["mlp", "snn", "ndp-oja", "lstm"])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--csv", type=Path, help="also write the rows to a file")
    parser.add_argument("--alone", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    torch.set_num_threads(1)
    keep_freed_memory()
    if options.alone:
        print(seconds_alone(options.policies[0]))
        return
    rows: list[dict[str, Any]] = []
    print(f"{'policy':10}{'grows':>14}{'to':>5}{'us a step':>11}{'ratio':>7}")
    for policy in options.policies:
        for row in [*measured(policy, options.rounds), *at_once(policy)]:
            rows.append(row)
            print(
                f"{policy:10}{row['grows']:>14}{row['to']:5}{row['microseconds_per_step']:11.1f}"
                f"{row['ratio']:7.2f}"
            )
    if options.csv:
        write_rows(rows, options.csv)


def built(policy: str, environments: int, width: int) -> Any:
    """An algorithm that has learned from one rollout."""
    settings = replace(defaults("HalfCheetah-v5", policy), n_envs=environments)
    network = replace(settings.network, hidden=(width, width))
    algorithm = zoo.build(policy, make_envs(settings), network, settings.trainer)
    algorithm.set_logger(Logger(None, []))
    learn(algorithm)  # compiles and warms up
    return algorithm


def measured(policy: str, rounds: int) -> list[dict[str, Any]]:
    """A row for each number of environments and each width; ratios are to the first of them."""
    cases = [("environments", count, (count, WIDE)) for count in ENVIRONMENTS]
    cases += [("width", width, (MANY, width)) for width in WIDTHS]
    algorithms = {size: built(policy, *size) for _, _, size in cases}
    seconds = dict.fromkeys(algorithms, float("inf"))
    for _ in range(rounds):
        for size, algorithm in algorithms.items():
            start = time.process_time()
            learn(algorithm)
            taken = (time.process_time() - start) / (algorithm.n_steps * algorithm.n_envs)
            seconds[size] = min(seconds[size], taken)
    first: dict[str, float] = {}
    rows = []
    for grows, to, size in cases:
        each = seconds[size]
        rows.append(row_of(policy, grows, to, each, each / first.setdefault(grows, each)))
    return rows


def at_once(policy: str) -> list[dict[str, Any]]:
    """A row for each number of runs side by side, of the slowest; ratios are to one run."""
    command = [sys.executable, "-m", "benchmarks.growth", "--alone", "--policies", policy]
    rows: list[dict[str, Any]] = []
    for count in AT_ONCE:
        runs = [
            subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
            for _ in range(count)
        ]
        each = max(float(run.communicate()[0]) for run in runs)
        one = rows[0]["microseconds_per_step"] * 1e-6 if rows else each
        rows.append(row_of(policy, "runs at once", count, each, each / one))
    return rows


def seconds_alone(policy: str) -> float:
    """Wall time of a step, in seconds, of a training as configured."""
    settings = defaults("HalfCheetah-v5", policy)
    algorithm = zoo.build(policy, make_envs(settings), settings.network, settings.trainer)
    algorithm.set_logger(Logger(None, []))
    learn(algorithm)
    start = time.perf_counter()
    for _ in range(ALONE):
        learn(algorithm)
    return (time.perf_counter() - start) / (ALONE * algorithm.n_steps * algorithm.n_envs)


def row_of(policy: str, grows: str, to: int, seconds: float, ratio: float) -> dict[str, Any]:
    """A row of the table."""
    return {
        "policy": policy,
        "grows": grows,
        "to": to,
        "microseconds_per_step": round(1e6 * seconds, 1),
        "ratio": round(ratio, 2),
    }


if __name__ == "__main__":
    main()
