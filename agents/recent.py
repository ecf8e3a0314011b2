"""What an algorithm without a rollout buffer says of the time since its last update."""

from typing import Any, NamedTuple

import numpy as np


class Recent(NamedTuple):
    """What happened since the last update, each [T, n_envs, ...], where readers of
    on-policy algorithms look for it (`rollout_buffer`).
    """

    observations: Any
    """As the actor saw them, or a dict of such."""
    means: np.ndarray
    """Of the actions' distribution, between -1 and 1."""
    episode_starts: np.ndarray
    """1 where an episode starts."""
