"""Stable-Baselines3's own SAC, or sb3-contrib's TQC, with their own settings.

python -m benchmarks.sb3 [--algorithm sac|tqc] [--env HalfCheetah-v5] [--seed 0] [--csv
FILE]

One training, in one thread and with our products of matrices, which are faster, and the
mean return of 20 episodes with the mean action at its end. An interrupted training
starts anew.
"""

import time
from argparse import Namespace
from typing import Any

import gymnasium as gym
from sb3_contrib import TQC
from stable_baselines3 import SAC
from stable_baselines3.common.evaluation import evaluate_policy
from stable_baselines3.common.monitor import Monitor

from benchmarks.rows import Rows, run
from spikepropamine.agents.off_policy import fast_products
from spikepropamine.common import check_known

ALGORITHMS: dict[str, Any] = {"sac": SAC, "tqc": TQC}
EPISODES = 20


def measure(rows: Rows, options: Namespace) -> None:
    """Adds the return after training, and the seconds that this took."""
    check_known("algorithm", options.algorithm, ALGORITHMS)
    algorithm = ALGORITHMS[options.algorithm](
        "MlpPolicy", gym.make(options.env), seed=options.seed
    )
    start = time.monotonic()
    with fast_products(algorithm.device):
        algorithm.learn(options.steps, progress_bar=True)
    seconds = time.monotonic() - start
    env = Monitor(gym.make(options.env))
    env.reset(seed=1000 + options.seed)
    returned: Any = evaluate_policy(algorithm, env, EPISODES)[0]
    case = {
        "environment": options.env,
        "policy": f"sb3-{options.algorithm}",
        "seed": options.seed,
    }
    rows.add({"seconds": round(seconds)}, **case, steps=options.steps)
    rows.add(
        {"return": returned},
        **case,
        steps=options.steps,
        suite="standard",
        condition="clean",
    )


if __name__ == "__main__":
    run(measure, __doc__, algorithm="sac", env="HalfCheetah-v5", steps=300_000, seed=0)
