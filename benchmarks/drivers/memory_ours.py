"""Trains PlasticSAC on a task without velocities: `memory_ours.py POLICY TASK SEED
STEPS`.
"""

import sys
import time
from dataclasses import replace

from memory_task import (
    CRITIC,
    ENVIRONMENTS,
    EPISODES,
    EVALUATION_SEED,
    LSTM,
    SEQUENCE,
    TASKS,
    report,
)
from stable_baselines3.common.env_util import make_vec_env
from stable_baselines3.common.evaluation import evaluate_policy

import spikepropamine as sp
from spikepropamine.agents import zoo
from spikepropamine.training.environments import make_envs
from spikepropamine.training.run import keep_freed_memory
from spikepropamine.training.sections import defaults


def main(policy: str, name: str, seed: int, steps: int) -> None:
    task = TASKS[name]
    settings = defaults(task.hidden, policy, kind="sac")
    trainer = replace(
        settings.trainer,
        critic=tuple(CRITIC),
        sequence_length=SEQUENCE,
        train_freq=4,  # of each environment
        gradient_steps=ENVIRONMENTS,
        policy_delay=1,
        **task.sac,
    )
    network = replace(settings.network, hidden=(LSTM,))
    settings = replace(
        settings,
        seed=seed,
        previous=True,
        normalize_observations=False,
        n_envs=ENVIRONMENTS,
        trainer=trainer,
    )
    venv = make_envs(settings)
    model = zoo.build(policy, venv, network, trainer, seed)
    began = time.process_time()
    model.learn(steps)
    seconds = time.process_time() - began
    new = make_vec_env(task.make, n_envs=EPISODES, seed=EVALUATION_SEED)
    returns, _ = evaluate_policy(
        model, new, EPISODES, return_episode_rewards=True, warn=False
    )
    report(sp.__version__, seconds, returns)


if __name__ == "__main__":
    _, policy, name, seed, steps = sys.argv
    keep_freed_memory()
    main(policy, name, int(seed), int(steps))
