"""Wirings that change within an episode: `python -m benchmarks.motor_maps RUN...
[--csv FILE]`.

Runs are of `train.py --env MotorMap-v0`. Each acts in episodes of `--steps`, in which
the wiring changes `--changes` times; the same episodes for every run. Printed is, for
each wiring, the share of the commands that is explained in the last quarter of its
time. The file is a results table, measure `explained`.
"""

from argparse import Namespace
from collections.abc import Iterator
from typing import Any

import numpy as np

from benchmarks.rows import Rows, run
from benchmarks.trained import act, policies_in
from spikepropamine.envs.motor_map import MotorMap
from spikepropamine.evaluation.run.episodes import explained_late


def explained(policy: Any, envs: list[MotorMap]) -> Iterator[float]:
    """For each wiring, the share that is explained late, as a mean over episodes.

    Args:
        policy: acts in all episodes, side by side.
        envs: one for each episode, which differ in nothing but their seeds.
    """
    of_steps = list(act(policy, envs))
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
    for policy in policies_in(options.runs):
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
