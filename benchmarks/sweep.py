"""What a training step costs by one setting: `python -m benchmarks.sweep SETTING... [--csv FILE]`.

Settings, on HalfCheetah-v5 unless said otherwise:

environments   1 to 32 of them, two layers of 64 neurons; CPU time of rollout and update
width          two layers of 32 to 512 neurons, 8 environments; CPU time of rollout and update
length         of sequences, 8 to 1000 steps: CPU time of an update by 8 x 1000 steps, memory
threads        that step the environments: wall time of rollout and update
runs at once   each a process: wall time of rollout and update, of the slowest
memory         of a rollout and update of Pendulum-v1, 8 x 1024 steps: PlasticPPO and RecurrentPPO

Cases in turn in one process, one thread, the fastest round; ratios are to the first case. Memory is
by how much the peak of a process lies above what it had before (Linux). Wall time says something on
a machine that has nothing else to do.
"""

import multiprocessing
import time
from concurrent.futures import ProcessPoolExecutor
from dataclasses import replace
from typing import Any

import torch
from sb3_contrib import RecurrentPPO
from stable_baselines3.common.env_util import make_vec_env
from stable_baselines3.common.logger import Logger

import spikepropamine  # noqa: F401  registers the environments
from benchmarks.rows import Rows, alone, peak_of, run
from benchmarks.throughput import learn
from spikepropamine.agents import PlasticPPO, zoo
from spikepropamine.policies import PlasticSpikingPolicy
from spikepropamine.training.environments import make_envs
from spikepropamine.training.run import keep_freed_memory
from spikepropamine.training.settings import defaults

CASES: dict[str, tuple[Any, ...]] = {
    "environments": (1, 2, 4, 8, 16, 32),
    "width": (32, 64, 128, 256, 512),
    "length": (8, 64, 250, 1000),
    "threads": (1, 2),
    "runs at once": (1, 2),
    "memory": ("PlasticPPO", "RecurrentPPO"),
}
STEPS = 1000  # of the rollout that is learned from by lengths
ALONE = 10  # rollouts and updates of a process that is timed as a whole


def built(policy: str, setting: str, to: Any, env: str = "HalfCheetah-v5") -> Any:
    """An algorithm that has learned from one rollout, or by length has one in its buffer."""
    settings = defaults(env, policy)
    network, trainer = settings.network, settings.trainer
    if setting in ("environments", "width"):
        width = to if setting == "width" else 64
        network = replace(network, hidden=(width, width))
        settings = replace(settings, n_envs=to if setting == "environments" else 8)
    elif setting == "threads":
        settings = replace(settings, threads=to)
    elif setting == "length":
        trainer = replace(
            trainer, n_steps=STEPS, batch_size=2 * STEPS, sequence_length=to, n_epochs=1
        )
    algorithm: Any = zoo.build(policy, make_envs(settings), network, trainer)
    algorithm.set_logger(Logger(None, []))
    if setting == "length":
        algorithm.train = lambda: None
    learn(algorithm)  # compiles and warms up
    vars(algorithm).pop("train", None)
    return algorithm


def timed(policy: str, setting: str, rounds: int, env: str) -> list[float]:
    """Seconds of a step in each case, of its fastest round."""
    clock = time.perf_counter if setting == "threads" else time.process_time
    algorithms = [built(policy, setting, to, env) for to in CASES[setting]]
    seconds = [float("inf")] * len(algorithms)
    for _ in range(rounds):
        for index, algorithm in enumerate(algorithms):
            start = clock()
            algorithm.train() if setting == "length" else learn(algorithm)
            each = (clock() - start) / (algorithm.n_steps * algorithm.n_envs)
            seconds[index] = min(seconds[index], each)
    return seconds


def at_once(policy: str, count: int, env: str) -> float:
    """Seconds of a step of the slowest of so many processes that train."""
    with ProcessPoolExecutor(count, multiprocessing.get_context("spawn")) as pool:
        return max(pool.map(trained, [policy] * count, [env] * count))


def trained(policy: str, env: str) -> float:
    """Seconds of a step of a training, in a process of its own."""
    torch.set_num_threads(1)
    algorithm = built(policy, "runs at once", 1, env)
    start = time.perf_counter()
    for _ in range(ALONE):
        learn(algorithm)
    return (time.perf_counter() - start) / (ALONE * algorithm.n_steps * algorithm.n_envs)


def memory_of(policy: str, setting: str, to: Any) -> float:
    """Peak of a case, MiB, in a process of its own."""
    torch.set_num_threads(1)
    if setting == "length":
        return peak_of(built(policy, setting, to).train)
    # with other seeds, one in fifty, gradients through RecurrentPPO's whole episodes overflow
    venv = make_vec_env("Pendulum-v1", 8, seed=0)
    network = {"rule": "oja", "modulation": "direct"}
    arguments: dict[str, Any] = {"n_steps": 1024, "batch_size": 256, "n_epochs": 1, "seed": 0}
    arguments["policy_kwargs"] = {"network": network}
    if to == "PlasticPPO":
        model: Any = PlasticPPO("PlasticSpikingPolicy", venv, sequence_length=32, **arguments)
    else:
        model = RecurrentPPO(PlasticSpikingPolicy, venv, **arguments)
    return peak_of(lambda: model.learn(1024 * 8))


def measure(rows: Rows, policy: str, setting: str, rounds: int, env: str) -> None:
    """Adds the cases of a setting."""
    cases = CASES[setting]
    found: list[dict[str, float]] = [{} for _ in cases]
    if setting != "memory":
        if setting == "runs at once":
            seconds = [at_once(policy, count, env) for count in cases]
        else:
            seconds = timed(policy, setting, rounds, env)
        for measures, each in zip(found, seconds):
            measures["microseconds_per_step"] = round(1e6 * each, 1)
            measures["ratio"] = round(each / seconds[0], 2)
    if setting in ("memory", "length"):
        mebibytes = [alone(memory_of, policy, setting, to) for to in cases]
        for measures, each in zip(found, mebibytes):
            measures["mebibytes"] = round(each, 1)
            measures["relative_memory"] = round(each / mebibytes[0], 2)
    for measures, to in zip(found, cases):
        case = {"policy": to} if setting == "memory" else {"policy": policy, "at": to}
        rows.add(measures, environment=env, condition=setting, **case)


def measure_all(rows: Rows, options: Any) -> None:
    """Adds settings."""
    keep_freed_memory()
    for setting in options.settings:
        for policy in options.policies if setting != "memory" else ["ndp-oja"]:
            env = options.env if setting != "memory" else "Pendulum-v1"
            measure(rows, policy, setting, options.rounds, env)


if __name__ == "__main__":
    policies = ["mlp", "snn", "ndp-oja", "lstm"]
    sizes = {"policies": policies, "env": "HalfCheetah-v5", "rounds": 5}
    run(measure_all, __doc__, {"settings": [*CASES]}, **sizes)
