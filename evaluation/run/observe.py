"""What a policy sees in an episode, for what is counted of it afterwards."""

from contextlib import closing
from typing import Any

import numpy as np

from spikepropamine.evaluation.ask.conditions import CLEAN, make_env
from spikepropamine.evaluation.ask.runs import Run
from spikepropamine.evaluation.ask.task import Task
from spikepropamine.policies.spaces import stacked

STEPS = 1000  # that are kept, at most


def observed(run: Run, task: Task, seed: int) -> Any:
    """Normalised observations of a clean episode with deterministic actions, from its start,
    [T, ...] or a dict of them.
    """
    seen: list[Any] = []
    state: Any = None
    policy, normalise = run.policy, run.policy.normalisation
    with closing(make_env(task, CLEAN, run.previous, run.revealed)) as env:
        observation, _ = env.reset(seed=seed)
        over = False
        while not over and len(seen) < STEPS:
            batch = stacked([observation])
            starts = np.array([not seen])
            actions, state = policy.predict(batch, state, starts, deterministic=True)
            seen.append(batch if normalise is None else normalise(batch))
            observation, _, terminated, truncated, _ = env.step(actions[0])
            over = terminated or truncated
    if isinstance(seen[0], dict):
        return {key: np.concatenate([batch[key] for batch in seen]) for key in seen[0]}
    return np.concatenate(seen)
