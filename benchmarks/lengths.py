"""What an update costs by the length of its sequences: time per step, and memory.

python -m benchmarks.lengths [--policies ndp-oja lstm] [--csv FILE]

One rollout of HalfCheetah-v5, 8 environments x 1000 steps, is learned from in minibatches of 2000
steps, cut into sequences of 8 to 1000 steps. Time is CPU time of one thread, the lengths in turn in
one process, of the fastest round; memory is by how much the peak of an update, in a process of its
own, lies above what the process had before it.
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
from benchmarks.peak import peak_of
from benchmarks.rows import write_rows
from spikepropamine.agents import zoo
from spikepropamine.training.allocator import keep_freed_memory
from spikepropamine.training.environments import make_envs
from spikepropamine.training.settings import defaults

LENGTHS = (8, 64, 250, 1000)
STEPS, BATCH = 1000, 2000


def main() -> None:
    """Runs the command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--policies", nargs="+", default=["ndp-oja", "lstm"])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--csv", type=Path, help="also write the rows to a file")
    parser.add_argument("--memory", type=int, help=argparse.SUPPRESS)  # a process of its own
    options = parser.parse_args()
    torch.set_num_threads(1)
    if options.memory:
        print(memory(options.policies[0], options.memory))
        return
    keep_freed_memory()
    rows = []
    print(f"{'policy':10}{'length':>8}{'us a step':>11}{'ratio':>8}{'MiB':>8}{'ratio':>8}")
    for policy in options.policies:
        for row in measured(policy, options.rounds):
            rows.append(row)
            print(
                f"{policy:10}{row['length']:8}{row['microseconds_per_step']:11.1f}"
                f"{row['relative_time']:8.2f}{row['mebibytes']:8.1f}{row['relative_memory']:8.2f}"
            )
    if options.csv:
        write_rows(rows, options.csv)


def measured(policy: str, rounds: int) -> list[dict[str, Any]]:
    """A row for each length; ratios are to the shortest."""
    algorithms = {length: collected(policy, length) for length in LENGTHS}
    seconds = dict.fromkeys(LENGTHS, float("inf"))
    for _ in range(rounds + 1):  # the first compiles and warms up
        for length, algorithm in algorithms.items():
            start = time.process_time()
            algorithm.train()
            seconds[length] = min(seconds[length], time.process_time() - start)
    rows: list[dict[str, Any]] = []
    for length in LENGTHS:
        command = [sys.executable, "-m", "benchmarks.lengths", "--policies", policy]
        peak = float(subprocess.check_output([*command, "--memory", str(length)]))
        per_step = 1e6 * seconds[length] / (STEPS * algorithms[length].n_envs)
        rows.append({"policy": policy, "length": length})
        rows[-1]["microseconds_per_step"] = round(per_step, 1)
        rows[-1]["relative_time"] = round(seconds[length] / seconds[LENGTHS[0]], 2)
        rows[-1]["mebibytes"] = round(peak, 1)
        rows[-1]["relative_memory"] = round(peak / rows[-1 - LENGTHS.index(length)]["mebibytes"], 2)
    return rows


def collected(policy: str, length: int) -> Any:
    """An algorithm with one rollout in its buffer, ready for updates of one epoch."""
    settings = defaults("HalfCheetah-v5", policy)
    trainer = replace(
        settings.trainer, n_steps=STEPS, batch_size=BATCH, sequence_length=length, n_epochs=1
    )
    algorithm: Any = zoo.build(policy, make_envs(settings), settings.network, trainer)
    algorithm.set_logger(Logger(None, []))
    train, algorithm.train = algorithm.train, lambda: None
    algorithm.learn(STEPS * algorithm.n_envs)
    algorithm.train = train
    return algorithm


def memory(policy: str, length: int) -> float:
    """Peak of an update above what this process had before it, in MiB."""
    return peak_of(collected(policy, length).train)


if __name__ == "__main__":
    main()
