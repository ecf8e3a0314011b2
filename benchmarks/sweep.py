"""What a training step costs by one setting: `python -m benchmarks.sweep SETTING... [--csv FILE]`.

environments   1 to 32 of them, two layers of 64 neurons; CPU time of rollout and update
width          two layers of 32 to 512 neurons, 8 environments; CPU time of rollout and update
length         of sequences, 8 to 1000 steps: CPU time of an update by 8 x 1000 steps, memory

Cases in turn in one process, one thread, the fastest round; ratios are to the first case. Memory is
by how much the peak of a process lies above what it had before (Linux).
"""

import time
from dataclasses import replace
from typing import Any

import torch
from stable_baselines3.common.logger import Logger

import spikepropamine  # noqa: F401  registers the environments
from benchmarks.rows import Rows, alone, peak_of, run
from benchmarks.throughput import learn
from spikepropamine.agents import zoo
from spikepropamine.training.environments import make_envs
from spikepropamine.training.run import keep_freed_memory
from spikepropamine.training.settings import defaults

CASES = {
    "environments": (1, 2, 4, 8, 16, 32),
    "width": (32, 64, 128, 256, 512),
    "length": (8, 64, 250, 1000),
}
STEPS = 1000  # of the rollout that is learned from by lengths


def built(policy: str, setting: str, to: int, env: str) -> Any:
    """An algorithm that has learned from one rollout, or by length has one in its buffer."""
    settings = defaults(env, policy)
    network, trainer = settings.network, settings.trainer
    if setting == "length":
        trainer = replace(
            trainer, n_steps=STEPS, batch_size=2 * STEPS, sequence_length=to, n_epochs=1
        )
    else:
        width = to if setting == "width" else 64
        network = replace(network, hidden=(width, width))
        settings = replace(settings, n_envs=to if setting == "environments" else 8)
    algorithm: Any = zoo.build(policy, make_envs(settings), network, trainer)
    algorithm.set_logger(Logger(None, []))
    if setting == "length":
        algorithm.train = lambda: None
    learn(algorithm)  # compiles and warms up
    vars(algorithm).pop("train", None)
    return algorithm


def timed(policy: str, setting: str, rounds: int, env: str) -> list[float]:
    """Seconds of a step in each case, of its fastest round."""
    algorithms = [built(policy, setting, to, env) for to in CASES[setting]]
    seconds = [float("inf")] * len(algorithms)
    for _ in range(rounds):
        for index, algorithm in enumerate(algorithms):
            start = time.process_time()
            algorithm.train() if setting == "length" else learn(algorithm)
            each = (time.process_time() - start) / (algorithm.n_steps * algorithm.n_envs)
            seconds[index] = min(seconds[index], each)
    return seconds


def memory_of(*case: Any) -> float:
    """Peak of an update, MiB, in a process of its own."""
    torch.set_num_threads(1)
    return peak_of(built(*case).train)


def measure(rows: Rows, options: Any) -> None:
    """Adds settings."""
    keep_freed_memory()
    for setting in options.settings:
        for policy in options.policies:
            seconds = timed(policy, setting, options.rounds, options.env)
            mebibytes: list[float] = []
            for to, each in zip(CASES[setting], seconds):
                found = {"microseconds_per_step": round(1e6 * each, 1)}
                found["ratio"] = round(each / seconds[0], 2)
                if setting == "length":
                    mebibytes.append(alone(memory_of, policy, setting, to, options.env))
                    found["mebibytes"] = round(mebibytes[-1], 1)
                    found["relative_memory"] = round(mebibytes[-1] / mebibytes[0], 2)
                rows.add(found, environment=options.env, condition=setting, policy=policy, at=to)


if __name__ == "__main__":
    policies = ["mlp", "snn", "ndp-oja", "lstm"]
    sizes = {"policies": policies, "env": "HalfCheetah-v5", "rounds": 5}
    run(measure, __doc__, {"settings": [*CASES]}, **sizes)
