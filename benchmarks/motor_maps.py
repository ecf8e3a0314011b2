"""Wirings that change within an episode: `python -m benchmarks.motor_maps RUN...
[--csv FILE]`.

Runs are of `train.py --env MotorMap-v0`. Each acts in episodes of `--steps`, in which
the wiring changes `--changes` times; the same episodes for every run. Printed is, for
each wiring, the share of the commands that is explained in the last quarter of its
time. The file is a results table, measure `explained`.
"""

from argparse import Namespace
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.rows import Rows, run
from spikepropamine.common import UsageError
from spikepropamine.envs.motor_map import MotorMap
from spikepropamine.evaluation.run.episodes import explained_late
from spikepropamine.folder import RunFolder
from spikepropamine.policies.export import load_policy

FIRST_SEED = 1_000_000  # of the episodes, beyond those of any training


def explained(policy: Any, envs: list[MotorMap]) -> Iterator[float]:
    """For each wiring, the share that is explained late, as a mean over episodes.

    Args:
        policy: acts in all episodes, side by side.
        envs: one for each episode, which differ in nothing but their seeds.
    """
    seen = np.stack([env.reset(seed=FIRST_SEED + k)[0] for k, env in enumerate(envs)])
    state = None
    starts = np.ones(len(envs), dtype=bool)
    of_steps: list[list[dict[str, Any]]] = []
    for _ in range(envs[0].episode_steps):
        actions, state = policy.predict(seen, state, starts, deterministic=True)
        starts = np.zeros(len(envs), dtype=bool)
        of_steps.append([])
        for k, env in enumerate(envs):
            seen[k], *_, info = env.step(actions[k])
            of_steps[-1].append(info)
    for wiring in range(envs[0].changes + 1):
        steps = [infos for infos in of_steps if infos[0]["wiring"] == wiring]
        yield np.mean(
            [
                explained_late(
                    [info["squared_error"] for info in episode],
                    [info["squared_target"] for info in episode],
                )
                for episode in zip(*steps, strict=True)
            ]
        ).item()


def measure(rows: Rows, options: Namespace) -> None:
    """Adds what runs explain, in run folders or folders of such."""
    folders = [
        folder for root in options.runs for folder in RunFolder.below(Path(root))
    ]
    if not folders:
        raise UsageError(f"no runs in {', '.join(options.runs)}")
    for folder in folders:
        policy = load_policy(folder.policy)
        settings = policy.metadata["settings"]
        trained = MotorMap(**settings["env_kwargs"])
        arguments = settings["env_kwargs"] | {
            "steps": options.steps,
            "changes": options.changes,
        }
        envs = [MotorMap(**arguments) for _ in range(options.episodes)]
        changes = {0: "none", 1: "one"}.get(trained.changes, str(trained.changes))
        case = {
            "environment": "MotorMap-v0",
            "setting": f"{trained.motors} motors, {changes} in training",
        } | {name: settings[name] for name in ("policy", "seed", "steps")}
        for wiring, share in enumerate(explained(policy, envs), start=1):
            rows.add({"explained": share}, **case, condition=f"wiring {wiring}")


if __name__ == "__main__":
    run(measure, __doc__, runs=True, steps=480, changes=9, episodes=64)
