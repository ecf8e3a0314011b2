"""Steps per second of off-policy learning, in turn in one process, and where the time goes.

    python -m benchmarks.off_policy [--env HalfCheetah-v5] [--steps 600] [--rounds 3]

Every learner is trained on for so many environment steps, one after the other, round by round; what
is printed is the median over rounds, in steps per CPU second, and milliseconds of an update by its
parts. `stock` is Stable-Baselines3's SAC as it is; "as stock" has its settings (one environment, an
update of 256 steps a step, critics of 256 and 256), `defaults` those of `configs/`.
"""

import argparse
import time
from collections import defaultdict
from collections.abc import Callable
from dataclasses import replace
from statistics import median
from typing import Any

import gymnasium as gym
import torch
from stable_baselines3 import SAC

from spikepropamine.agents.zoo import build, network_of
from spikepropamine.training.allocator import keep_freed_memory
from spikepropamine.training.environments import make_envs
from spikepropamine.training.settings import Settings, defaults

AS_STOCK = {
    "learning_rate": 3e-4,
    "batch_size": 256,
    "sequence_length": 8,
    "critic": (256, 256),
    "train_freq": 1,
    "gradient_steps": 1,
    "policy_delay": 1,
    "tau": 0.005,
}
PARTS = {
    "replay": ("replay_buffer._drawn",),
    "unroll": ("_unrolled", "actor.draw"),
    "critics": ("critic.forward", "critic_target.forward"),
    "backward": ("backward",),
    "optimisers": ("actor.optimizer.step", "critic.optimizer.step", "ent_coef_optimizer.step"),
    "acting": ("_sample_action", "_store_transition"),
    "environments": ("env.step",),
}


def learner(env: str, policy: str, as_stock: bool) -> Any:
    """A learner of `configs/`, perhaps with the settings of SB3's."""
    settings = defaults(env, policy, kind="sac")
    if as_stock:
        settings = replace(settings, n_envs=1, trainer=replace(settings.trainer, **AS_STOCK))
    return made(settings)


def made(settings: Settings) -> Any:
    """The algorithm of some settings."""
    network = network_of(settings.policy, settings.network)
    return build(settings.policy, make_envs(settings), network, settings.trainer)


def timed(algorithm: Any) -> dict[str, float]:
    """From now on, the CPU seconds that parts of an algorithm take, which grow."""
    spent: dict[str, float] = defaultdict(float)

    def wrapped(function: Callable[..., Any], part: str) -> Callable[..., Any]:
        def call(*arguments: Any, **keywords: Any) -> Any:
            start = time.process_time()
            result = function(*arguments, **keywords)
            spent[part] += time.process_time() - start
            return result

        return call

    for part, names in PARTS.items():
        for name in names:
            owner: Any = algorithm
            *path, last = name.split(".")
            for step in path:
                owner = getattr(owner, step)
            if name == "backward":
                torch.autograd.backward = wrapped(torch.autograd.backward, part)
            else:
                setattr(owner, last, wrapped(getattr(owner, last), part))
    return spent


def main() -> None:
    """Measures, and prints two tables in Markdown."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--env", default="HalfCheetah-v5")
    parser.add_argument("--steps", type=int, default=600)
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()
    torch.set_num_threads(1)
    keep_freed_memory()
    learners = {"stock": SAC("MlpPolicy", gym.make(options.env), device="cpu")}
    for policy in ("mlp", "snn", "ndp-hebb"):
        learners[f"{policy}, as stock"] = learner(options.env, policy, True)
        learners[f"{policy}, defaults"] = learner(options.env, policy, False)
    rates: dict[str, list[float]] = defaultdict(list)
    for turn in range(options.rounds + 1):
        for name, algorithm in learners.items():
            before, start = algorithm.num_timesteps, time.process_time()
            algorithm.learn(options.steps, reset_num_timesteps=False, log_interval=None)
            rate = (algorithm.num_timesteps - before) / (time.process_time() - start)
            if turn:  # the first one compiles, and acts at random
                rates[name].append(rate)
    print("| learner | steps per CPU second | of stock |\n|---|---|---|")
    stock = median(rates["stock"])
    for name, found in rates.items():
        print(f"| {name} | {median(found):.0f} | {median(found) / stock:.1f} |")
    algorithm: Any = learners["snn, defaults"]
    spent, before, start = timed(algorithm), algorithm._n_updates, time.process_time()
    algorithm.learn(4 * options.steps, reset_num_timesteps=False, log_interval=None)
    updates, total = algorithm._n_updates - before, time.process_time() - start
    spent["the rest"] = total - sum(spent.values())
    print("\n| part (snn, defaults) | CPU ms per update |\n|---|---|")
    for part, seconds in spent.items():
        print(f"| {part} | {1000 * seconds / updates:.2f} |")


if __name__ == "__main__":
    main()
