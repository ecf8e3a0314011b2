"""Evaluations of the policy while it trains, and the best one kept."""

import sys
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import torch
from stable_baselines3.common.evaluation import evaluate_policy
from stable_baselines3.common.vec_env import VecEnv
from tqdm import tqdm

from spikepropamine.agents.shown import deployed
from spikepropamine.policies.deployed import DeployedPolicy
from spikepropamine.policies.export import load_policy
from spikepropamine.training.callbacks import Periodic

EPISODES = 10
"""Of each evaluation; one in each of as many environments, the same ones each time."""
SEED = 2**30
"""Of these environments: neither training nor `evaluate` has their episodes."""


class Evaluations(Periodic):
    """As SB3's `EvalCallback`: every so many steps the return of deterministic actions, in
    environments of their own, and the policy with the highest mean return kept. Training is the
    same with it and without it.

    `venv` has `EPISODES` environments, not normalised; one more evaluation follows the last update.
    `save` saves the present policy in a folder, `best`, with metadata.
    """

    def __init__(
        self, venv: VecEnv, every: int, best: Path, save: Callable[[Path, dict[str, Any]], None]
    ) -> None:
        super().__init__(every)
        self.venv, self.best, self.save = venv, best, save
        self.highest = -np.inf

    def _on_training_start(self) -> None:
        super()._on_training_start()
        with suppress(FileNotFoundError, ValueError, KeyError, TypeError):
            self.highest = float(load_policy(self.best).metadata["evaluation"]["mean_reward"])

    def _on_training_end(self) -> None:
        if self.num_timesteps > self.acted_at:
            self.act()
        self.venv.close()

    def act(self) -> None:
        """Evaluates the policy now."""
        policy: Any = self.model.policy
        was_training = policy.training
        self.venv.seed(SEED)
        with torch.random.fork_rng():
            torch.manual_seed(SEED)
            returns, lengths = evaluate_policy(
                DeployedPolicy(*deployed(self.model), {}),  # type: ignore[arg-type]
                self.venv,
                EPISODES,
                return_episode_rewards=True,
                warn=False,
            )
        policy.set_training_mode(was_training)
        means = map(float, (np.mean(returns), np.mean(lengths)))
        found = dict(zip(("mean_reward", "mean_ep_length"), means))
        for name, value in found.items():
            self.logger.record(f"eval/{name}", value)
        line = f"evaluation at step {self.num_timesteps:,}: return {found['mean_reward']:.1f}"
        if found["mean_reward"] > self.highest:
            self.highest = found["mean_reward"]
            with torch.random.fork_rng():  # where a policy is made smaller, it is made anew
                self.save(self.best, {"evaluation": found})
            line += ", the best so far"
        tqdm.write(line, file=sys.stderr)
