"""What an exported policy takes: size of the ONNX file, and time of a step beside PyTorch's.

python -m benchmarks.deployment RUN... [--out FILE]

Medians over 500 steps, one environment, one thread; differences over the steps of the check.
"""

import argparse
import csv
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch

from spikepropamine.evaluation.ask.conditions import CLEAN, make_env
from spikepropamine.evaluation.ask.runs import load_runs
from spikepropamine.export import onnx_file
from spikepropamine.export.command import SEED

STEPS = 500
COLUMNS = ["task", "policy", "kB", "ONNX Runtime, us a step", "PyTorch, us a step"]
COLUMNS += ["largest difference of actions", "steps decided by rounding"]


def measured(folder: Path) -> list[object]:
    """A row for one run."""
    (run,), task = load_runs([folder], range(SEED, SEED + 1))
    env = make_env(task, CLEAN, run.previous, run.revealed)
    contents = onnx_file.to_onnx(run.policy, {})
    found = onnx_file.check(contents, run.policy, env, SEED)
    observation, _ = env.reset(seed=SEED)
    env.close()
    exported, state = onnx_file.OnnxPolicy(contents), None

    def torch_step(step: int) -> None:
        nonlocal state
        start = np.array([step == 0])
        _, state = run.policy.predict(observation[None], state, start, deterministic=True)

    times = [_median(step) for step in (lambda _: exported.act(observation), torch_step)]
    row = [run.environment, run.name, round(len(contents) / 1000), *times]
    return [*row, f"{found.difference:.0e}", found.apart]


def _median(call: Callable[[int], object]) -> int:
    """Microseconds."""
    taken = []
    for step in range(STEPS):
        start = time.perf_counter()
        call(step)
        taken.append(time.perf_counter() - start)
    return round(1e6 * float(np.median(taken)))


def main() -> None:
    """Runs the command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("runs", nargs="+", type=Path)
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()
    torch.set_num_threads(1)
    rows = [COLUMNS, *(measured(folder) for folder in options.runs)]
    csv.writer(sys.stdout, lineterminator="\n").writerows(rows)
    if options.out is not None:
        with options.out.open("w", newline="") as file:
            csv.writer(file, lineterminator="\n").writerows(rows)


if __name__ == "__main__":
    main()
