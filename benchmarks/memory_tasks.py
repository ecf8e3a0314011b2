"""What a trained memory holds: `python -m benchmarks.memory_tasks RUN... [--csv FILE]`.

Runs are of `train.py --env KeyValue-v0`. Each is asked in episodes of the lengths
`--steps` and with so many keys as `--keys` has; the same episodes for every run.
Printed is the share of right answers (chance is 0.25): all, by the number of steps
since the key was written ("lag"), and by how often it was written ("bound"). The file
is a results table, measure `accuracy`.
"""

import itertools
from argparse import Namespace
from collections.abc import Iterator
from typing import Any

import numpy as np

from benchmarks.rows import Rows, run
from benchmarks.trained import act, policies_in
from spikepropamine.envs.key_value import KeyValue

LAGS = {
    "lag 1": (1, 1),
    "lag 2 to 5": (2, 5),
    "lag 6 to 15": (6, 15),
    "lag 16 or more": (16, None),
}
BOUND = {"bound once": (1, 1), "bound twice": (2, 2), "bound more often": (3, None)}


def asked(policy: Any, steps: int, keys: int, episodes: int) -> dict[str, np.ndarray]:
    """What is known of every question in episodes of a policy's task, side by side.

    Args:
        policy: that answers.
        steps: of an episode.
        keys: of the task.
        episodes: how many.

    Returns:
        `correct`, `lag` and `bindings` of each question.
    """
    settings = policy.metadata["settings"]
    arguments = settings["env_kwargs"] | {"steps": steps, "keys": keys}
    envs = [KeyValue(**arguments) for _ in range(episodes)]
    questions = [
        (info["correct"], info["lag"], info["bindings"])
        for infos in act(policy, envs)
        for info in infos
        if info
    ]
    return dict(zip(("correct", "lag", "bindings"), np.array(questions).T))


def accuracies(questions: dict[str, np.ndarray]) -> Iterator[tuple[str, float]]:
    """Share of right answers to all questions, and to those of each group that was
    asked.
    """
    groups = [("all", "lag", (0, None))]
    groups += [(name, "lag", bounds) for name, bounds in LAGS.items()]
    groups += [(name, "bindings", bounds) for name, bounds in BOUND.items()]
    for name, by, (low, high) in groups:
        chosen = (questions[by] >= low) & (
            questions[by] <= (np.inf if high is None else high)
        )
        if chosen.any():
            yield name, float(questions["correct"][chosen].mean())


def measure(rows: Rows, options: Namespace) -> None:
    """Adds the accuracies of runs, in run folders or folders of such."""
    for policy in policies_in(options.runs):
        run_of = {
            name: policy.metadata["settings"][name]
            for name in ("policy", "seed", "steps")
        }
        for steps, keys in itertools.product(options.steps, options.keys):
            case = {
                "environment": "KeyValue-v0",
                "setting": f"{steps} steps, {keys} keys",
            } | run_of
            for name, share in accuracies(asked(policy, steps, keys, options.episodes)):
                rows.add({"accuracy": share}, **case, condition=name)


if __name__ == "__main__":
    run(measure, __doc__, runs=True, steps=[60, 240, 1000], keys=[8], episodes=64)
