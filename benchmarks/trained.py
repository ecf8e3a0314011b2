"""Trained policies in episodes that a benchmark chooses, side by side."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np

from spikepropamine.common import UsageError
from spikepropamine.folder import RunFolder
from spikepropamine.policies.export import load_policy

FIRST_SEED = 1_000_000  # of the episodes, beyond those of any training


def policies_in(roots: Sequence[str]) -> Iterator[Any]:
    """The policies of runs.

    Args:
        roots: run folders, or folders of such.

    Raises:
        UsageError: there is no run, or one observes its previous action, too.
    """
    folders = [folder for root in roots for folder in RunFolder.below(Path(root))]
    if not folders:
        raise UsageError(f"no runs in {', '.join(roots)}")
    for folder in folders:
        policy = load_policy(folder.policy)
        if policy.metadata["settings"].get("previous"):
            raise UsageError(
                "policies that were trained with --previous are not measured here"
            )
        yield policy


def act(policy: Any, envs: Sequence[gym.Env]) -> Iterator[list[dict[str, Any]]]:
    """Runs an episode in each environment, with the likeliest actions.

    Args:
        policy: acts in all of them.
        envs: whose episodes are equally long; they differ in nothing but their seeds.

    Yields:
        The infos of all environments, after each step.
    """
    seen = np.stack([env.reset(seed=FIRST_SEED + k)[0] for k, env in enumerate(envs)])
    state = None
    starts = np.ones(len(envs), dtype=bool)
    has_ended = False
    while not has_ended:
        actions, state = policy.predict(seen, state, starts, deterministic=True)
        starts = np.zeros(len(envs), dtype=bool)
        infos = []
        for k, env in enumerate(envs):
            seen[k], _, has_ended, _, info = env.step(actions[k])
            infos.append(info)
        yield infos
