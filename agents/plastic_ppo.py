"""`PlasticPPO`: recurrent PPO for policies with a large structured state; and supervised training:
backpropagation through time on the likelihood of the right actions.

The latter's networks, environments and rollouts are those of reinforcement learning: the agent
acts, and sees what comes of its own actions. Only the loss differs: where the environment says
which action was right, its likelihood is raised. A cue task says so in `info["target"]` where a
response was due, a teacher in `info["taught"]` (see `agents.helped`).
"""

from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
import torch
from gymnasium import spaces
from sb3_contrib import RecurrentPPO
from sb3_contrib.common.recurrent.type_aliases import RNNStates
from stable_baselines3.common.policies import BasePolicy
from stable_baselines3.common.type_aliases import GymEnv

from spikepropamine.agents.buffer import (
    SequenceDictRolloutBuffer,
    SequenceRolloutBuffer,
)
from spikepropamine.common import UsageError
from spikepropamine.policies import PlasticSpikingPolicy
from spikepropamine.policies.fast import fast
from spikepropamine.policies.fast.ppo import PPO, FastPPO, Gradients, NotFinite
from spikepropamine.policies.policy import GruPolicy

EXPLODED = 1e4
"""Norm of a gradient, before clipping, from which on a minibatch is left out. One of its sequences
has exploded on the way through its episode, and clipping would keep that one's direction alone."""

PATIENCE = 10
"""Minibatches in a row that may be left out. With the next one a step is made, whatever it is."""


class PlasticPPO(FastPPO, RecurrentPPO):
    """sb3-contrib's RecurrentPPO with a buffer of equal sequences.

    Rollout, loss, saving and loading are RecurrentPPO's; every argument of it works here too.

    Args:
        policy: "PlasticSpikingPolicy", or any recurrent policy of sb3-contrib ("MlpLstmPolicy").
        env: environment, or its id.
        sequence_length: environment steps through which gradients flow back in time; None makes it
            `n_steps`, or `batch_size` where that is less. Where it does not divide `n_steps`, the
            last sequences of a rollout are shorter, and where it does not divide `batch_size`, so
            are minibatches. Through hundreds of steps of plasticity that runs against its rule,
            gradients can overflow.

    Raises:
        ValueError: `sequence_length` is less than 1, or larger than `n_steps` or `batch_size`.
    """

    policy_aliases: ClassVar[dict[str, type[BasePolicy]]] = {
        **RecurrentPPO.policy_aliases,
        "PlasticSpikingPolicy": PlasticSpikingPolicy,
        "GruPolicy": GruPolicy,
    }

    def __init__(
        self,
        policy: str | type[BasePolicy],
        env: GymEnv | str | None,
        *args: Any,
        sequence_length: int | None = None,
        **kwargs: Any,
    ) -> None:
        self.sequence_length = sequence_length
        super().__init__(policy, env, *args, **kwargs)

    def _setup_model(self) -> None:
        limits = {
            "n_steps": self.n_steps,
            "batch_size": self.batch_size or self.n_steps,
        }
        length = (
            min(limits.values())
            if self.sequence_length is None
            else self.sequence_length
        )
        if length < 1:
            raise ValueError(f"sequence_length must be at least 1, got {length}")
        for name, limit in limits.items():
            if length > limit:
                more = f"{length} is more than {limit}"
                raise ValueError(f"sequence_length must be at most {name}, but {more}")
        # its buffer, which is replaced below, would hold the state of every step
        steps, self.n_steps = self.n_steps, 1
        super()._setup_model()
        self.n_steps = steps
        is_dict = isinstance(self.observation_space, spaces.Dict)
        buffer_class = SequenceDictRolloutBuffer if is_dict else SequenceRolloutBuffer
        self.rollout_buffer = buffer_class(
            self.n_steps,
            self.observation_space,
            self.action_space,
            device=self.device,
            gamma=self.gamma,
            gae_lambda=self.gae_lambda,
            n_envs=self.n_envs,
            sequence_length=length,
        )
        if isinstance(self.policy, PlasticSpikingPolicy):
            state = self.policy.initial_state(self.n_envs)
            pair = tuple(torch.as_tensor(x, device=self.device) for x in state)
            self._last_lstm_states = RNNStates(pair, pair)


class NothingToLearn(UsageError, ValueError):
    """Supervised training without anything that says what is right."""


if TYPE_CHECKING:
    _Base = PlasticPPO  # a mixin over either of two algorithms; to the type checker it is over one
else:
    _Base = object


class _Supervised(_Base):
    """Replaces PPO's update; `n_steps` must be a whole number of episodes for exact gradients."""

    _left_out_in_a_row = 0  # minibatches until now
    _episode_ended = _was_told = False  # whether any did, and whether any target came

    def collect_rollouts(self, *args: Any, **kwargs: Any) -> bool:
        """PPO's, and keeps the targets that the environment reports."""
        self._targets: list[list[Any]] = []
        return super().collect_rollouts(*args, **kwargs)

    def _update_info_buffer(
        self, infos: list[dict[str, Any]], dones: Any = None
    ) -> None:
        super()._update_info_buffer(infos, dones)
        self._targets.append([info.get("taught", info.get("target")) for info in infos])
        self._episode_ended |= bool(np.any(dones))

    def train(self) -> None:
        """One pass per epoch over the rollout, raising the likelihood of the targets. A rollout
        that ends before the first response is due has none, and changes nothing. Raises
        NothingToLearn: an episode has ended, and there was no target yet; ValueError: targets that
        are no actions.
        """
        self.policy.set_training_mode(True)
        self._update_learning_rate(self.policy.optimizer)
        due = np.array(
            [[target is not None for target in row] for row in self._targets]
        )
        self._was_told |= bool(due.any())
        if self._episode_ended and not self._was_told:
            raise NothingToLearn(
                "an episode ended, and no info['target'] said what was right, so there is nothing "
                "to learn from; supervised training is for the cue tasks, or with a teacher, in "
                "episodes longer than trainer.opening"
            )
        if due.any():
            # what the buffer calls an action and its advantage are here a target and its weight
            targets = np.array(
                [t for row in self._targets for t in row if t is not None]
            )
            targets = targets.reshape(len(targets), -1)
            if targets.shape[1] != self.rollout_buffer.actions.shape[2]:
                raise ValueError(
                    f"the environment's targets are no actions of {self.action_space}; "
                    "supervised training is for the cue tasks, or with a teacher"
                )
            self.rollout_buffer.actions[due] = targets
        self.rollout_buffer.advantages[...] = due
        compiled, gradients = (
            fast(self.policy),
            Gradients(self.policy, self.max_grad_norm),
        )
        evaluate = self._evaluate if compiled is None else compiled.evaluate
        losses, left_out = [], 0
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

    def _evaluate(self, batch: Any) -> tuple[Any, ...]:
        """`Fast.evaluate` by the method of the policy."""
        is_discrete = isinstance(self.action_space, spaces.Discrete)
        actions = batch.actions.long().flatten() if is_discrete else batch.actions
        memory = (
            (batch.lstm_states, batch.episode_starts) if hasattr(batch, "mask") else ()
        )
        return self.policy.evaluate_actions(batch.observations, actions, *memory)

    def _excluded_save_params(self) -> list[str]:
        return [*super()._excluded_save_params(), "_targets"]


class SupervisedPlastic(_Supervised, PlasticPPO):
    """Supervised training of recurrent policies; arguments as for `PlasticPPO`."""


class SupervisedMlp(_Supervised, PPO):
    """Supervised training of policies without memory; arguments as for SB3's `PPO`."""
