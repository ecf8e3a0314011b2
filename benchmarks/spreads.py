"""Measures how much each channel of a task's observation varies: the scale of its
sensors' noise.

    python -m benchmarks.spreads

writes `envs/spreads.json`. Where there is a trained policy of the robot, its
deterministic actions lead through the task, as they would where it matters how much a
sensor errs; elsewhere actions are random. A policy of a robot's plain task sees those
channels of its variants that it knows.
"""

import argparse
import json
from pathlib import Path

import numpy as np

from spikepropamine.envs import making
from spikepropamine.envs.task import task_attribute
from spikepropamine.policies.export import load_policy
from spikepropamine.training.sections import CONFIGS, defaults

EPISODES = 10
FIRST_SEED = 50_000  # far from those of training and evaluation
TRAINED = Path("trained/spreads")
ROBOTS = ("HalfCheetah", "Ant", "Hopper", "Walker2d", "Swimmer")
RANDOM_STEPS = 20_000


def tasks() -> list[str]:
    """The tasks that have a configuration of their own, and one of this project that
    has none.
    """
    return sorted(
        {"CartPoleNoVelocity-v0", *(file.stem for file in CONFIGS.glob("*-v*.yaml"))}
    )


def measure(task: str) -> dict[str, object]:
    """The spread of a task, to four digits, and how it was measured."""
    arguments = dict(defaults(task, "snn").env_kwargs)
    env = making.make(task, arguments)
    if task_attribute(env, "told") is not None:
        arguments["told"] = 0.0
        env = making.make(task, arguments)
    robot = next((name for name in ROBOTS if task.startswith(name)), None)
    if robot is not None and task.endswith("NoVelocity-v0"):
        robot = None  # which a trained robot could not see
    # A trained robot moves much alike under any arguments, random actions do not.
    limited = None if robot else arguments
    if robot is None:
        measured = f"{RANDOM_STEPS} random actions, seed {making.SPREAD_SEED}"
        spread = making.measured_spread(env, RANDOM_STEPS)
    else:
        run = TRAINED / f"{robot}-v5" / "snn" / "seed-0"
        measured = f"{run}, {EPISODES} episodes from seed {FIRST_SEED}"
        policy = load_policy(run / "policy")
        seen = []
        channels = policy.policy.observation_space.shape[0]
        for seed in range(FIRST_SEED, FIRST_SEED + EPISODES):
            observation, _ = env.reset(seed=seed)
            state = None
            starts = np.ones(1, dtype=bool)
            done = False
            while not done:
                seen.append(observation)
                actions, state = policy.predict(
                    observation[None, :channels], state, starts, deterministic=True
                )
                observation, _, terminated, truncated, _ = env.step(actions[0])
                starts = np.zeros(1, dtype=bool)
                done = terminated or truncated
        spread = np.std(np.asarray(seen, dtype=np.float64), axis=0)
    digits = [float(f"{value:.4g}") for value in spread]
    return {"measured": measured, "arguments": limited, "spread": digits}


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--env", nargs="+", default=tasks(), help="Gymnasium ids (all)")
    options = parser.parse_args()
    stored = json.loads(making.SPREADS.read_text()) if making.SPREADS.is_file() else {}
    for task in options.env:
        stored[task] = measure(task)
        print(f"{task}: {stored[task]['measured']}", flush=True)
    lines = [
        f"{json.dumps(name)}: {json.dumps(stored[name])}" for name in sorted(stored)
    ]
    making.SPREADS.write_text("{\n" + ",\n".join(lines) + "\n}\n")


if __name__ == "__main__":
    main()
