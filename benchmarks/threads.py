"""Wall time of one run by the number of threads that step its environments.

python -m benchmarks.threads [--envs HalfCheetah-v5 Ant-v5] [--threads 1 2] [--policy ndp-oja]

Numbers of threads in turn in one process, the fastest round of each: a rollout's environments by
themselves, and the whole of a rollout and its update. It says something on a machine that has
nothing else to do; otherwise two threads get more of a busy machine than one does.
"""

import argparse
import time
from collections import defaultdict
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from stable_baselines3.common.logger import Logger

import spikepropamine  # noqa: F401  registers the environments
from benchmarks.rows import write_rows
from spikepropamine.agents import zoo
from spikepropamine.training.allocator import keep_freed_memory
from spikepropamine.training.environments import make_envs
from spikepropamine.training.settings import defaults


def main() -> None:
    """Runs the command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--envs", nargs="+", default=["HalfCheetah-v5", "Ant-v5"])
    parser.add_argument("--threads", nargs="+", type=int, default=[1, 2])
    parser.add_argument("--policy", default="ndp-oja")
    parser.add_argument("--rounds", type=int, default=10)
    parser.add_argument("--csv", type=Path, help="also write the rows to a file")
    options = parser.parse_args()
    torch.set_num_threads(1)
    keep_freed_memory()
    rows = []
    print(f"{options.policy}, wall clock, microseconds a step; times as fast as the first")
    for env in options.envs:
        for row in measured(env, options.policy, options.threads, options.rounds):
            rows.append(row)
            print(
                f"{env:16}{row['threads']} threads: environments {row['environments_us']:7.1f} "
                f"({row['environments_ratio']:.2f}), run {row['run_us']:7.1f} "
                f"({row['run_ratio']:.2f})"
            )
    if options.csv:
        write_rows(rows, options.csv)


def measured(env: str, policy: str, threads: list[int], rounds: int) -> list[dict[str, Any]]:
    """A row for each number of threads; ratios are to the first."""
    algorithms: dict[int, Any] = {}
    for count in threads:
        settings = replace(defaults(env, policy), threads=count)
        algorithm = zoo.build(policy, make_envs(settings), settings.network, settings.trainer)
        algorithm.set_logger(Logger(None, []))
        algorithms[count] = algorithm
    steps = algorithm.n_steps * algorithm.n_envs
    fastest: dict[int, dict[str, float]] = {
        count: defaultdict(lambda: float("inf")) for count in threads
    }
    for round_ in range(rounds + 1):
        for count, algorithm in algorithms.items():
            inside = 0.0
            step = type(algorithm.env).step

            def timed(actions: Any, env: Any = algorithm.env, step: Any = step) -> Any:
                nonlocal inside
                start = time.perf_counter()
                result = step(env, actions)
                inside += time.perf_counter() - start
                return result

            algorithm.env.step = timed
            start = time.perf_counter()
            algorithm.learn(steps, reset_num_timesteps=False)
            whole = time.perf_counter() - start
            if round_:  # the first compiles and warms up
                best = fastest[count]
                best["run"] = min(best["run"], whole / steps)
                best["environments"] = min(best["environments"], inside / steps)
    rows = []
    for count in threads:
        row: dict[str, Any] = {"env": env, "policy": policy, "threads": count}
        for part in ("environments", "run"):
            row[f"{part}_us"] = round(1e6 * fastest[count][part], 1)
            row[f"{part}_ratio"] = round(fastest[threads[0]][part] / fastest[count][part], 2)
        rows.append(row)
    return rows


if __name__ == "__main__":
    main()
