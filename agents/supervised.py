"""Supervised training: backpropagation through time on the likelihood of the right
actions.

Networks, environments and rollouts are those of reinforcement learning: the agent acts,
and sees what comes of its actions. Only the loss differs: where the environment says
which action was right, its likelihood is raised. A cue task says so in `info["target"]`
where a response was due, a teacher in `info["taught"]` (see `agents.teacher`).
"""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
import torch
from gymnasium import spaces
from stable_baselines3.common.base_class import BaseAlgorithm
from torch import Tensor

from spikepropamine.agents.algorithm import Actor, Algorithm, Blueprint, Needs
from spikepropamine.agents.ppo import PlasticPPO, arguments, make_on_rollouts
from spikepropamine.agents.settings import OnRollouts, Stochastic
from spikepropamine.common import UsageError
from spikepropamine.policies.fast import fast
from spikepropamine.policies.fast.ppo import PPO, Gradients, NotFinite

EXPLODED = 1e4
"""Norm of a gradient, before clipping, from which on a minibatch is left out. One of
its sequences has exploded on the way through its episode, and clipping would keep that
one's direction alone."""

PATIENCE = 10
"""Minibatches in a row that may be left out. With the next one a step is made, whatever
it is."""


@dataclass(frozen=True)
class SupervisedSettings(OnRollouts, Stochastic):
    """Settings of supervised training."""


class NothingToLearn(UsageError, ValueError):
    """Supervised training without anything that says what is right."""


if TYPE_CHECKING:
    # a mixin over either of two algorithms; to the type checker it is over one
    _Base = PlasticPPO
else:
    _Base = object


class _Supervised(_Base):
    """Replaces PPO's update; `n_steps` must be a whole number of episodes for exact
    gradients.
    """

    kept_numbers: ClassVar[tuple[str, ...]] = (
        "_left_out_in_a_row",
        "_episode_ended",
        "_was_told",
    )
    """What a checkpoint keeps of it, besides what it keeps of every algorithm."""

    _left_out_in_a_row = 0
    """Minibatches until now."""
    _episode_ended = False
    """Whether any episode has ended."""
    _was_told = False
    """Whether any target has come."""

    def collect_rollouts(self, *args: Any, **kwargs: Any) -> bool:
        """PPO's, and keeps the targets that the environment reports."""
        self._targets: list[list[Any]] = []
        return super().collect_rollouts(*args, **kwargs)

    def _update_info_buffer(
        self, infos: list[dict[str, Any]], dones: np.ndarray | None = None
    ) -> None:
        """Takes in infos, and keeps the right answers that they name."""
        super()._update_info_buffer(infos, dones)
        self._targets.append([info.get("taught", info.get("target")) for info in infos])
        self._episode_ended |= bool(np.any(dones))

    def train(self) -> None:
        """Raises the likelihood of the targets, in `n_epochs` passes over the rollout.

        A rollout that ends before the first response is due has no target, and changes
        nothing.

        Raises:
            NothingToLearn: an episode has ended, and there was no target yet.
            ValueError: targets that are no actions.
            NotFinite: the loss is not a finite number.
        """
        self.policy.set_training_mode(True)
        self._update_learning_rate(self.policy.optimizer)
        due = self._due()
        if due.any():
            self._put_targets(due)
        # what the buffer calls an action and its advantage are a target and its weight
        self.rollout_buffer.advantages[...] = due
        compiled = fast(self.policy)
        evaluate = self._evaluate if compiled is None else compiled.evaluate
        gradients = Gradients(self.policy, self.max_grad_norm)
        losses: list[Tensor] = []
        left_out = 0
        for _ in range(self.n_epochs):
            for batch in self.rollout_buffer.get(self.batch_size):
                if not batch.advantages.any():
                    continue
                log_probs = evaluate(batch)[1]
                weights = batch.advantages / batch.advantages.sum()
                loss = -(log_probs.detach() @ weights)
                norm = gradients.backward([log_probs], [weights.neg_()])
                if not norm < EXPLODED and self._left_out_in_a_row < PATIENCE:
                    left_out += 1
                    self._left_out_in_a_row += 1
                    continue
                self._left_out_in_a_row = 0
                losses.append(loss)
                self.policy.optimizer.step()
            self._n_updates += 1
        if losses:
            mean = torch.stack(losses).mean().item()
            if not np.isfinite(mean):
                raise NotFinite
            self.logger.record("train/cross_entropy", mean)
        self.logger.record("train/left_out", left_out)
        self.logger.record("train/n_updates", self._n_updates, exclude="tensorboard")

    def _due(self) -> np.ndarray:
        """Where in the rollout [n_steps, n_envs] there is a target. Raises
        NothingToLearn.
        """
        due = np.array(
            [[target is not None for target in row] for row in self._targets]
        )
        self._was_told |= bool(due.any())
        if self._episode_ended and not self._was_told:
            raise NothingToLearn(
                "an episode ended, and no info['target'] said what was right, so there "
                "is nothing to learn from; supervised training is for the cue tasks, "
                "or with a teacher, in episodes longer than trainer.opening"
            )
        return due

    def _put_targets(self, due: np.ndarray) -> None:
        """Puts targets in the place of the actions. Raises ValueError where they are
        none.
        """
        targets = np.array(
            [target for row in self._targets for target in row if target is not None]
        )
        targets = targets.reshape(len(targets), -1)
        if targets.shape[1] != self.rollout_buffer.actions.shape[2]:
            raise ValueError(
                f"the environment's targets are no actions of {self.action_space}; "
                "supervised training is for the cue tasks, or with a teacher"
            )
        self.rollout_buffer.actions[due] = targets

    def _evaluate(self, batch: Any) -> Any:
        """`Fast.evaluate` by the method of the policy."""
        actions = batch.actions
        if isinstance(self.action_space, spaces.Discrete):
            actions = actions.long().flatten()
        policy: Any = self.policy
        if hasattr(batch, "mask"):  # a policy with memory
            return policy.evaluate_actions(
                batch.observations, actions, batch.lstm_states, batch.episode_starts
            )
        return policy.evaluate_actions(batch.observations, actions)

    def _excluded_save_params(self) -> list[str]:
        return [*super()._excluded_save_params(), "_targets"]


class SupervisedPlastic(_Supervised, PlasticPPO):
    """Supervised training of recurrent policies; arguments as for `PlasticPPO`."""


class SupervisedMlp(_Supervised, PPO):
    """Supervised training of policies without memory; arguments as for SB3's `PPO`."""


def _make(actor: Actor, blueprint: Blueprint) -> BaseAlgorithm:
    return make_on_rollouts(actor, blueprint, SupervisedMlp, SupervisedPlastic)


ALGORITHM = Algorithm(
    name="supervised",
    settings=SupervisedSettings,
    arguments=arguments,
    make=_make,
    needs=Needs(targets=True),
    refuses={"critic_first": "--critic-first is for trainer.kind ppo"},
    # no critic learns
    ignores=frozenset({"normalize_rewards", "critic_told"}),
    ignores_without_memory=frozenset({"sequence_length"}),
)
