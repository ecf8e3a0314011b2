"""Videos of the policy while it trains."""

import sys
from collections.abc import Callable
from pathlib import Path

import torch
from tqdm import tqdm

from spikepropamine.agents.shown import deployed
from spikepropamine.common import reason
from spikepropamine.policies.export import DeployedPolicy
from spikepropamine.training.callbacks import BetweenSteps

Film = Callable[[DeployedPolicy, int], Path]
"""Makes a video of a policy after so many steps of training."""

CANNOT_SHOW = ("stdout", "log", "json", "csv", "tensorboard")  # formats of the logger


class Films(BetweenSteps):
    """Every so many steps, a video of the policy as it is now.

    Training is the same with it and without it. Whatever goes wrong with a video is told in one
    line, and training goes on without any more of them.

    Args:
        film: makes one.
        every: environment steps between two of them; the first comes after so many.
    """

    def __init__(self, film: Film, every: int) -> None:
        super().__init__()
        self.film: Film | None = film
        self.every = every

    def _on_training_start(self) -> None:
        self.filmed_at = self.num_timesteps

    def _on_rollout_start(self) -> None:
        due = self.num_timesteps // self.every > self.filmed_at // self.every
        if self.film is None or not due:
            return
        self.filmed_at = self.num_timesteps
        policy = self.model.policy
        was_training = policy.training
        try:
            with torch.random.fork_rng():
                path = self.film(DeployedPolicy(*deployed(self.model), {}), self.num_timesteps)
            self.logger.record("adaptation/videos", path, exclude=CANNOT_SHOW)
        except Exception as error:  # a video is never worth a training
            self.film = None
            tqdm.write(f"no videos from here on: {reason(error)}", file=sys.stderr)
        finally:
            policy.set_training_mode(was_training)
