"""The cost of phases: a plastic network with two ticks a step, each with input weights
of its own, beside the same network with one tick.

python -m benchmarks.phases [--rounds 7] [--csv FILE]

Both are trained with PPO on HalfCheetah-v5, in turn, in one thread: rollouts and
updates, in CPU time. The network is that of the matrix `robot-map`. Rows have the
fastest round's microseconds a step; `times_one_tick` is the median over rounds of the
ratio of two times in one round.
"""

import statistics
from argparse import Namespace
from collections import defaultdict
from dataclasses import replace
from typing import Any

from stable_baselines3.common.logger import Logger

import spikepropamine  # noqa: F401  registers the environments
from benchmarks.rows import Rows, run
from benchmarks.throughput import (
    Clock,
    algorithm_of,
    round_of,
    time_parts,
    warm_up,
)
from spikepropamine.training.run import keep_freed_memory
from spikepropamine.training.sections import defaults

ENVIRONMENT = "HalfCheetah-v5"
POLICY = "ndp-delta"
NETWORK: dict[str, Any] = {
    "encoder": (128, 128),
    "hidden": (128,),
    "plastic": (True,),
    "recurrent": (False,),
    "delay": True,
    "readout": "spikes+potentials",
}
TICKS: dict[str, dict[str, Any]] = {
    "one tick": {"ticks": 1, "phases": False},
    "two ticks with phases": {"ticks": 2, "phases": True},
}
PARTS = ("all", "rollout", "update")


def measure(rows: Rows, options: Namespace) -> None:
    """Adds both networks, that with one tick first."""
    keep_freed_memory()
    algorithms = {name: _algorithm_with(ticks) for name, ticks in TICKS.items()}
    clocks: dict[str, Clock] = {name: defaultdict(float) for name in TICKS}
    for name, algorithm in algorithms.items():
        algorithm.set_logger(Logger(None, []))
        warm_up(algorithm)
        time_parts(algorithm, clocks[name])
    rounds: dict[str, list[Clock]] = {name: [] for name in TICKS}
    for _ in range(options.rounds):
        for name, algorithm in algorithms.items():
            rounds[name].append(round_of(algorithm, clocks[name]))
    one_tick = rounds["one tick"]
    for name, own in rounds.items():
        for part in PARTS:
            ratios = [
                clock[part] / first[part]
                for clock, first in zip(own, one_tick, strict=True)
            ]
            fastest = min(clock[part] for clock in own)
            rows.add(
                {
                    "microseconds": round(1e6 * fastest, 1),
                    "times_one_tick": round(statistics.median(ratios), 2),
                },
                environment=ENVIRONMENT,
                policy=POLICY,
                setting=name,
                condition=part,
            )


def _algorithm_with(ticks: dict[str, Any]) -> Any:
    """PPO for the network with so many ticks."""
    settings = defaults(ENVIRONMENT, POLICY)
    network = replace(settings.network, **NETWORK, **ticks)
    return algorithm_of(replace(settings, network=network))


if __name__ == "__main__":
    run(measure, __doc__, rounds=7)
