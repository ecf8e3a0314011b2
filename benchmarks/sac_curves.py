"""Learning curves of SAC here and in Stable-Baselines3, with equal settings.

python -m benchmarks.sac_curves [--learner ours|sb3] [--seed 0] [--csv FILE]

Both learners train an MLP with Stable-Baselines3's settings of SAC, but in four
environments, so that each step of the four is followed by one update. Every tenth of
the steps, five episodes are evaluated with the mean action. One thread; an interrupted
run starts anew.
"""

import time
from argparse import Namespace
from dataclasses import replace
from typing import Any

import gymnasium as gym
from stable_baselines3 import SAC
from stable_baselines3.common.base_class import BaseAlgorithm
from stable_baselines3.common.callbacks import BaseCallback, EveryNTimesteps
from stable_baselines3.common.env_util import make_vec_env
from stable_baselines3.common.evaluation import evaluate_policy
from stable_baselines3.common.monitor import Monitor

from benchmarks.rows import Rows, run
from benchmarks.throughput import SB3
from spikepropamine.agents import zoo
from spikepropamine.agents.off_policy import fast_products
from spikepropamine.common import check_known
from spikepropamine.training.environments import make_envs
from spikepropamine.training.run import keep_freed_memory
from spikepropamine.training.sections import defaults

ENVIRONMENTS = 4
POINTS = 10  # of a curve
EPISODES = 5  # at each point


class Evaluation(BaseCallback):
    """Adds the return of evaluated episodes to the rows whenever it is called."""

    def __init__(self, rows: Rows, case: dict[str, object]) -> None:
        super().__init__()
        self.rows = rows
        self.case = case
        self.seconds = 0.0
        self.env = Monitor(gym.make(str(case["environment"])))
        self.env.reset(seed=1000)

    def _on_step(self) -> bool:
        start = time.monotonic()
        returned: Any = evaluate_policy(self.model, self.env, EPISODES)[0]
        self.rows.add({"return": returned}, **self.case, at=self.num_timesteps)
        self.seconds += time.monotonic() - start
        return True


def measure(rows: Rows, options: Namespace) -> None:
    """Adds the returns of a run as it learns, and the seconds that learning took."""
    check_known("learner", options.learner, ("ours", "sb3"))
    keep_freed_memory()
    algorithm = _algorithm(options.learner, options.env, options.seed)
    case = {
        "environment": options.env,
        "policy": f"{options.learner}-sac",
        "seed": options.seed,
        "steps": options.steps,
    }
    evaluation = Evaluation(rows, case | {"suite": "standard", "condition": "clean"})
    start = time.monotonic()
    with fast_products(algorithm.device):
        algorithm.learn(
            options.steps,
            EveryNTimesteps(options.steps // POINTS, evaluation),
            progress_bar=True,
        )
    seconds = time.monotonic() - start - evaluation.seconds
    rows.add({"seconds": round(seconds)}, **case)


def _algorithm(learner: str, env: str, seed: int) -> BaseAlgorithm:
    """SAC of a learner, with Stable-Baselines3's settings."""
    if learner == "sb3":
        venv = make_vec_env(env, ENVIRONMENTS, seed)
        return SAC("MlpPolicy", venv, seed=seed, device="cpu")
    settings = defaults(env, "mlp", kind="sac")
    settings = replace(
        settings,
        seed=seed,
        n_envs=ENVIRONMENTS,
        normalize_observations=False,
        trainer=replace(settings.trainer, **SB3, sequence_length=1),
    )
    venv = make_envs(settings)
    return zoo.build("mlp", venv, settings.network, settings.trainer, seed=seed)


if __name__ == "__main__":
    run(measure, __doc__, learner="ours", env="HalfCheetah-v5", steps=100_000, seed=0)
