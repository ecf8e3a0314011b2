"""What a policy sees in an episode, for what is counted of it afterwards."""

from typing import Any

import gymnasium as gym
import numpy as np

from spikepropamine.evaluation.run.episodes import stacked
from spikepropamine.policies.export import DeployedPolicy

STEPS = 1000  # that are kept, at most


def observed(deployed: DeployedPolicy, env: gym.Env, seed: int) -> Any:
    """Normalised observations of an episode with deterministic actions, from its start, [T, ...] or
    a dict of them.

    Args:
        deployed: the policy.
        env: reset with `seed`; not closed.
        seed: of the episode.
    """
    seen: list[Any] = []
    state: Any = None
    observation, _ = env.reset(seed=seed)
    over = False
    while not over and len(seen) < STEPS:
        batch = stacked([observation])
        starts = np.array([not seen])
        actions, state = deployed.predict(batch, state, starts, deterministic=True)
        seen.append(batch if deployed.normalisation is None else deployed.normalisation(batch))
        observation, _, terminated, truncated, _ = env.step(actions[0])
        over = terminated or truncated
    if isinstance(seen[0], dict):
        return {key: np.concatenate([batch[key] for batch in seen]) for key in seen[0]}
    return np.concatenate(seen)
