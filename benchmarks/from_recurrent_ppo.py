"""sb3-contrib's RecurrentPPO beside PlasticPPO: return by the time that training takes.

python -m benchmarks.from_recurrent_ppo [--envs ENV...] [--learners NAME...]
    [--seeds 0 1] [--steps 40000] [--csv FILE] [--figure FILE.png]

Both train sb3-contrib's "MlpLstmPolicy" with the same arguments, on the same
environments, in one thread; on the cue task PlasticPPO also trains a plastic spiking
network. Algorithms take turns, seed by seed. A training that the file has, of as many
steps, is not run again, so the same command continues where it was stopped.

Time is that of one core, which is the time on the wall where nothing else runs: other
work on the machine does not count. Rows: by environment step, `training_return` and
`elapsed` (seconds since training began); the `seconds` of a training, and its
`wall_seconds`; and the `return` of deterministic actions in 40 new episodes.
"""

import itertools
import time
from argparse import Namespace
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
from sb3_contrib import RecurrentPPO
from stable_baselines3.common.env_util import make_vec_env
from stable_baselines3.common.evaluation import evaluate_policy

import spikepropamine  # noqa: F401  registers the environments
from benchmarks.rows import Rows, run
from spikepropamine import table
from spikepropamine.agents.ppo import PlasticPPO
from spikepropamine.common import CLEAN_KEY, UNSEEN_SEED, check_known
from spikepropamine.training.callbacks import BetweenSteps, Progress

EPISODES = 40
POINTS = 20  # of a learning curve
LSTM = "MlpLstmPolicy"
SPIKING = "PlasticSpikingPolicy"


@dataclass(frozen=True)
class Task:
    """A task, and the arguments that all its algorithms take."""

    n_envs: int
    arguments: dict[str, Any]
    network: dict[str, Any] = field(default_factory=dict)
    """Of the spiking policy; empty: it is not trained."""


TASKS = {
    # sb3-contrib's settings for its own test of this task, but for the critic's
    "CartPoleNoVelocity-v0": Task(
        n_envs=8,
        arguments={
            "n_steps": 128,
            "batch_size": 256,
            "learning_rate": 7e-4,
            "gae_lambda": 0.98,
            "max_grad_norm": 1.0,
            "policy_kwargs": {"lstm_hidden_size": 64},
        },
    ),
    # those of this project
    "CueAssociation-v0": Task(
        n_envs=64,
        arguments={
            "n_steps": 40,
            "batch_size": 640,
            "learning_rate": 2e-3,
            "n_epochs": 6,
            "gamma": 0.0,
            "ent_coef": 0.003,
        },
        network={"rule": "oja", "modulation": "direct", "ticks": 3},
    ),
}
LEARNERS: dict[str, tuple[type[RecurrentPPO], str]] = {
    "recurrent-ppo": (RecurrentPPO, LSTM),
    "plastic-ppo": (PlasticPPO, LSTM),
    "plastic-ppo-spiking": (PlasticPPO, SPIKING),
}
"""Algorithm and policy."""


class Curve(BetweenSteps):
    """Keeps the mean return of the last 100 episodes, and the seconds of a core since
    training began, `POINTS` times in a training.
    """

    def __init__(self, steps: int) -> None:
        super().__init__()
        self.every = steps / POINTS
        self.points: list[tuple[int, float, float]] = []
        """Environment steps, seconds and return."""

    def _on_training_start(self) -> None:
        self.began = time.process_time()

    def _on_rollout_end(self) -> None:
        episodes = self.model.ep_info_buffer
        is_due = self.num_timesteps >= self.every * (len(self.points) + 1)
        if is_due and episodes:
            mean = float(np.mean([episode["r"] for episode in episodes]))
            elapsed = time.process_time() - self.began
            self.points.append((self.num_timesteps, elapsed, mean))


def measure(rows: Rows, options: Namespace) -> None:
    """Adds every case that is not on file, and draws the figure."""
    for name in options.envs:
        check_known("task", name, TASKS)
    for name in options.learners:
        check_known("learner", name, LEARNERS)
    cases = itertools.product(options.envs, options.seeds, options.learners)
    for env, seed, learner in cases:
        _, policy = LEARNERS[learner]
        if policy == SPIKING and not TASKS[env].network:
            continue
        if is_on_file(options.csv, env, learner, seed, options.steps):
            print(f"{env} {learner} seed {seed}: on file")
            continue
        print(f"{env} {learner} seed {seed}:", flush=True)
        _train(rows, env, learner, seed, options.steps)
        rows.write(options.csv)
    if options.figure:
        _draw(options.csv, Path(options.figure))


def is_on_file(
    file: Path | None, env: str, learner: str, seed: int, steps: int
) -> bool:
    """Whether a file of results has a case to its end.

    Args:
        file: that may be missing; None: there is none.
        env: id of the task.
        learner: one of `LEARNERS`.
        seed: of the training.
        steps: environment steps that were to be trained.
    """
    if file is None or not file.is_file():
        return False
    case = {"environment": env, "policy": learner, "seed": seed}
    ends = table.where(table.read(file), measure="return", **case)
    return bool(len(ends)) and ends["at"].is_null().all() and ends["steps"][0] == steps


def _train(rows: Rows, env: str, learner: str, seed: int, steps: int) -> None:
    """Trains once, and adds what was measured."""
    task = TASKS[env]
    make, policy = LEARNERS[learner]
    venv = make_vec_env(lambda: gym.make(env), task.n_envs, seed)
    arguments = dict(task.arguments)
    if policy == SPIKING:
        arguments |= {"policy_kwargs": {"network": task.network}}
    model = make(policy, venv, seed=seed, device="cpu", **arguments)
    curve = Curve(steps)
    progress = Progress(steps)
    began = time.process_time()
    began_on_wall = time.perf_counter()
    try:
        model.learn(steps, callback=[curve, progress])
    finally:
        progress.close()
    taken = {
        "seconds": time.process_time() - began,
        "wall_seconds": time.perf_counter() - began_on_wall,
    }
    case = {"environment": env, "policy": learner, "seed": seed, "steps": steps}
    rows.add({name: round(seconds, 1) for name, seconds in taken.items()}, **case)
    for at, elapsed, value in curve.points:
        rows.add(
            {"training_return": value, "elapsed": round(elapsed, 2)}, **case, at=at
        )
    new = make_vec_env(lambda: gym.make(env), n_envs=8, seed=UNSEEN_SEED)
    returned: Any = evaluate_policy(model, new, EPISODES, warn=False)[0]
    rows.add({"return": returned}, **case, suite="standard", condition=CLEAN_KEY)
    venv.close()
    new.close()


def _draw(csv: Path | None, file: Path) -> None:
    from spikepropamine.report.figures import draw, times  # and the plots

    if csv is None:
        raise SystemExit("--figure shows the rows of --csv: name that file, too")
    draw(times([csv]), file)


if __name__ == "__main__":
    run(
        measure,
        __doc__,
        envs=list(TASKS),
        learners=list(LEARNERS),
        seeds=[0, 1],
        steps=40_000,
        figure="",
    )
