"""Says while a policy trains, once each, what will come to nothing though every number is sound."""

import sys
from typing import Any

import numpy as np
import torch
from gymnasium import spaces
from torch import Tensor
from tqdm import tqdm

from spikepropamine.policies.groups import parameter_group
from spikepropamine.training.callbacks import BetweenSteps

STILL = 1e-8
"""Relative change of an actor's parameters in an update from which on it does not move."""
STEERED = 0.005
"""Share of the actions' variance that has to come from the states, in the second half of training;
the rest is exploration."""


class Health(BetweenSteps):
    """Reports a silent layer, saturated fast weights, a policy that updates leave where it is, and
    one that acts alike in all states. What it goes by is logged: `spikes/silent` and
    `plasticity/clipped` (see `training.diagnostics`, whose callback comes before this one), and

        learning/policy_change    |change of the actor's parameters in an update| / |parameters|
        learning/steered          share of the actions' variance that comes from the states, or
                                  where actions are discrete, of actions that are not the commonest
    """

    def __init__(self, total: int) -> None:
        super().__init__()
        self.total = total
        self.said: set[str] = set()
        self.before: Tensor | None = None

    def _on_rollout_end(self) -> None:
        found = self.logger.name_to_value
        for name, value in found.items():
            layer = name.rsplit("/", 1)[-1].replace("layer", "layer ")
            if name.startswith("spikes/silent/") and value == 1.0:
                self._say("silent", f"{layer} is silent: raise network.gain or network.input_gain")
            if name.startswith("plasticity/clipped/") and value > 0.9:
                self._say(
                    "saturated",
                    f"{value:.0%} of the fast weights of {layer} are at their bound: "
                    "lower network.eta or raise network.clip",
                )
        steered = self._steered()
        self.logger.record("learning/steered", steered, exclude="stdout")
        if steered < STEERED and 2 * self.num_timesteps > self.total:
            self._say("steered", "the policy does not move: it acts alike in all states")
        self.before, self.updates = self._actor(), self.model._n_updates  # type: ignore[attr-defined]

    def _on_rollout_start(self) -> None:
        if self.before is None:
            return
        if self.model._n_updates == self.updates:  # type: ignore[attr-defined]
            return  # off-policy, random actions come first
        change = (self._actor() - self.before).norm() / self.before.norm()
        self.logger.record("learning/policy_change", change.item(), exclude="stdout")
        if change < STILL:
            self._say(
                "still", "the policy does not move: updates leave it as it is; is there a reward?"
            )

    def _actor(self) -> Tensor:
        """All parameters of the actor, in one vector."""
        named = self.model.policy.named_parameters()
        return torch.cat([p.detach().flatten() for n, p in named if parameter_group(n) != "critic"])

    def _steered(self) -> float:
        buffer: Any = self.model.rollout_buffer  # type: ignore[attr-defined]
        actions = np.asarray(buffer.actions)
        actions = actions.reshape(-1, actions.shape[-1])
        policy: Any = self.model.policy
        if hasattr(buffer, "means"):  # off-policy, where the noise depends on the state
            variance = buffer.means.reshape(actions.shape).var(axis=0)
            return float(np.clip(variance / np.maximum(actions.var(axis=0), 1e-12), 0, 1).mean())
        if isinstance(self.model.action_space, spaces.Box):
            noise = np.exp(2 * policy.log_std.detach().cpu().numpy().ravel())
            return float(np.clip(1 - noise / actions.var(axis=0), 0, 1).mean())
        counts = np.unique(actions, axis=0, return_counts=True)[1]
        return float(1 - counts.max() / counts.sum())

    def _say(self, kind: str, line: str) -> None:
        if kind not in self.said:
            self.said.add(kind)
            tqdm.write(f"warning, at step {self.num_timesteps:,}: {line}", file=sys.stderr)
