"""Videos of the policy while it trains."""

import sys
from collections.abc import Callable
from pathlib import Path

import torch
from tqdm import tqdm

from spikepropamine.agents.shown import deployed
from spikepropamine.common import reason
from spikepropamine.policies.deployed import DeployedPolicy
from spikepropamine.training.callbacks import Periodic

Film = Callable[[DeployedPolicy, int], Path]
"""Makes a video of a policy after so many steps of training."""

CANNOT_SHOW = ("stdout", "log", "json", "csv", "tensorboard")  # formats of the logger


class Films(Periodic):
    """Every so many steps, a video of the policy as it is now.

    Training is the same with it and without it. Where a video fails, a line says so, and training
    goes on without any more of them.
    """

    def __init__(self, film: Film, every: int) -> None:
        super().__init__(every)
        self.film: Film | None = film

    def act(self) -> None:
        """Makes a video."""
        if self.film is None:
            return
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
