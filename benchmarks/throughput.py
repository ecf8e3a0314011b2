"""Environment steps per second of whole training loops, policies in turn, one thread.

python -m benchmarks.throughput [--short] [--env HalfCheetah-v5] [--hidden 64 64]
"""

import argparse
import csv
import statistics
import time
from dataclasses import replace
from pathlib import Path

import torch
from stable_baselines3.common.logger import Logger

import spikepropamine  # noqa: F401  registers the environments
from spikepropamine.agents.zoo import actor_parameters, build
from spikepropamine.training.allocator import keep_freed_memory
from spikepropamine.training.environments import make_envs
from spikepropamine.training.settings import defaults

POLICIES = ("mlp", "snn", "ndp-oja", "lstm", "lstm-stock")


def main() -> None:
    """Runs the command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--env", default="HalfCheetah-v5")
    parser.add_argument("--policies", nargs="+", default=POLICIES)
    parser.add_argument("--hidden", nargs="+", type=int, default=[64, 64])
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--short", action="store_true", help="one round")
    parser.add_argument("--csv", type=Path, help="also write the table there")
    options = parser.parse_args()
    torch.set_num_threads(1)
    keep_freed_memory()
    algorithms, seconds = {}, {}
    for policy in options.policies:
        settings = defaults(options.env, policy)
        network = replace(settings.network, hidden=tuple(options.hidden))
        algorithm = build(policy, make_envs(settings), network, settings.trainer)
        algorithm.set_logger(Logger(None, []))
        # the first rollout compiles and warms up
        algorithm.learn(algorithm.n_steps * algorithm.n_envs)
        algorithms[policy], seconds[policy] = algorithm, []
    for _ in range(1 if options.short else options.rounds):
        for policy, algorithm in algorithms.items():
            start = time.process_time()
            algorithm.learn(algorithm.n_steps * algorithm.n_envs, reset_num_timesteps=False)
            seconds[policy].append(time.process_time() - start)
    rows = []
    for policy, algorithm in algorithms.items():
        rate = algorithm.n_steps * algorithm.n_envs / statistics.median(seconds[policy])
        row = {"env": options.env, "policy": policy, "steps_per_second": round(rate)}
        rows.append(row | {"actor_parameters": actor_parameters(algorithm.policy)})
    print(f"{options.env}, hidden {options.hidden}, rollout and update, one thread, CPU time")
    print(f"{'policy':12}{'steps/s':>10}{'relative to mlp':>18}{'actor parameters':>20}")
    for row in rows:
        relative = row["steps_per_second"] / rows[0]["steps_per_second"]
        print(
            f"{row['policy']:12}{row['steps_per_second']:>10,}{relative:>18.2f}"
            f"{row['actor_parameters']:>20,}"
        )
    if options.csv:
        with options.csv.open("w", newline="") as stream:
            writer = csv.DictWriter(stream, rows[0])
            writer.writeheader()
            writer.writerows(rows)


if __name__ == "__main__":
    main()
