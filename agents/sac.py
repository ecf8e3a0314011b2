"""`PlasticSAC`: soft actor-critic (Haarnoja et al. 2018) for actors with a memory."""

from dataclasses import dataclass
from typing import Any

import torch
from stable_baselines3 import SAC
from stable_baselines3.common.base_class import BaseAlgorithm
from stable_baselines3.common.policies import BasePolicy
from stable_baselines3.common.type_aliases import GymEnv
from torch import Tensor

from spikepropamine.agents import off_policy_record
from spikepropamine.agents.algorithm import (
    Actor,
    Algorithm,
    Arguments,
    Blueprint,
    Needs,
)
from spikepropamine.agents.off_policy import ActorLoss, SequenceLearning, Transitions
from spikepropamine.agents.settings import OffPolicySettings, Stochastic, WithTargets
from spikepropamine.policies.flat_adam import FlatAdam


@dataclass(frozen=True)
class SACSettings(WithTargets, OffPolicySettings, Stochastic):
    """Settings of soft actor-critic."""


class MaximumEntropy(SequenceLearning):
    """Learning of returns and entropy, over an algorithm with an entropy coefficient.

    The coefficient learns with the actor. Of several critics, the smallest value
    counts.
    """

    def _setup_model(self) -> None:
        super()._setup_model()
        if self.ent_coef_optimizer is not None:
            assert self.log_ent_coef is not None
            # a parameter of the policy, so that it is saved and resumed with it
            coefficient: Any = self.policy.log_ent_coef
            coefficient.data.copy_(self.log_ent_coef.detach())
            self.log_ent_coef = coefficient
            self.ent_coef_optimizer = FlatAdam([coefficient], self.lr_schedule(1))

    def _optimizers(self) -> list[torch.optim.Optimizer]:
        optimizers = super()._optimizers()
        if self.ent_coef_optimizer is not None:
            optimizers.append(self.ent_coef_optimizer)
        return optimizers

    def _entropy_coefficient(self) -> Tensor:
        """The entropy coefficient without gradients: [1] where it is learned, else a
        scalar.
        """
        if self.log_ent_coef is None:
            return self.ent_coef_tensor
        return self.log_ent_coef.detach().exp()

    @torch.no_grad()
    def _targets(self, transitions: Transitions, next_values: Tensor) -> Tensor:
        """R + gamma (1 - done) (Q(s', a') - coefficient log p(a'))."""
        log_probs = transitions.next_log_probs[:, None]
        soft_values = (
            self._pooled(next_values) - self._entropy_coefficient() * log_probs
        )
        return self._discounted(transitions, soft_values)

    def _pooled(self, next_values: Tensor) -> Tensor:
        """What target critics [critics, N, outputs] say together, [N, any]."""
        return next_values.squeeze(2).amin(dim=0).unsqueeze(1)

    def _critic_loss(
        self, values: Tensor, targets: Tensor, weights: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Half the squared errors."""
        errors = values - targets
        slopes = errors * weights[:, None]
        return 0.5 * (errors * slopes).sum(), slopes

    def _actor_loss(self, values: Tensor, transitions: Transitions) -> ActorLoss:
        """Coefficient log p(a) - Q(s, a)."""
        worth, of_values = self._for_actor(values)
        weights = transitions.weights
        coefficient = self._entropy_coefficient()
        costs = coefficient * transitions.new_log_probs - worth
        return ActorLoss(
            value=costs @ weights,
            of_values=of_values * -weights[:, None],
            of_log_probs=coefficient * weights,
        )

    def _for_actor(self, values: Tensor) -> tuple[Tensor, Tensor]:
        """What critics [critics, N, outputs] say for the actor's loss, [N], and its
        gradient to what they gave.
        """
        smallest = values.min(dim=0, keepdim=True)
        slopes = torch.zeros_like(values).scatter_(0, smallest.indices, 1.0)
        return smallest.values.flatten(), slopes

    def _after_actor(self, transitions: Transitions) -> dict[str, Tensor]:
        """Brings the actor's entropy nearer to `target_entropy`."""
        coefficient = self._entropy_coefficient()
        if self.ent_coef_optimizer is not None:
            log_probs = transitions.new_log_probs.detach() @ transitions.weights
            # of the loss -log_ent_coef (log p(a) + target_entropy)
            gradient = -(log_probs + float(self.target_entropy))
            self.log_ent_coef.grad = gradient.reshape(1)  # type: ignore[union-attr]
            self.ent_coef_optimizer.step()
        return {"ent_coef": coefficient.reshape(())}


class SoftActorCritic(MaximumEntropy):
    """Maximum entropy with target critics, over SB3's SAC or sb3-contrib's TQC.

    Args:
        policy, env, args, kwargs: as for `SequenceLearning`.
        policy_delay: critic updates for each of the actor and the entropy coefficient.
    """

    def __init__(
        self,
        policy: str | type[BasePolicy],
        env: GymEnv | str,
        *args: Any,
        policy_delay: int = 1,
        **kwargs: Any,
    ) -> None:
        self.policy_delay = policy_delay
        super().__init__(policy, env, *args, **kwargs)

    def _follow(self, actor_learned: bool) -> None:
        if self._gradient_step % self.target_update_interval == 0:
            self._move_critics()


class PlasticSAC(SoftActorCritic, SAC):
    """SB3's SAC for actors with a memory: spiking networks, plastic or not, LSTMs,
    GRUs, MLPs.

    Args:
        policy: "PlasticSpikingPolicy", "MlpLstmPolicy", "GruPolicy" or "MlpPolicy", for
            every space of observations; or SB3's and sb3-contrib's names for pictures
            ("CnnPolicy", "CnnLstmPolicy") and for a Dict ("MultiInputPolicy",
            "MultiInputLstmPolicy").
        env: environment, or its id.
        sequence_length: environment steps through which gradients flow back in time; a
            minibatch has `batch_size // sequence_length` sequences.
        burn_in: steps before these that only bring the stored state up to date with the
            network.
        policy_delay: critic updates for each of the actor and the entropy coefficient.
        args, kwargs: as for `SAC`.

    Raises:
        ValueError: lengths that are too small, n-step returns, another replay buffer,
            or gSDE.
    """


def arguments(blueprint: Blueprint) -> Arguments:
    """The arguments of the constructor of `PlasticSAC`, but for policy and
    environments.
    """
    return off_policy_record.arguments(blueprint) | {"tau": blueprint.trainer.tau}


def _make(actor: Actor, blueprint: Blueprint) -> BaseAlgorithm:
    return off_policy_record.make_off_policy(
        actor, blueprint, PlasticSAC, arguments(blueprint)
    )


ALGORITHM = Algorithm(
    name="sac",
    settings=SACSettings,
    arguments=arguments,
    make=_make,
    sections=("sac",),
    cue_section="sac-cue",
    needs=Needs(box_actions=True, steps=off_policy_record.fewest_steps),
    refuses={"critic_first": "--critic-first is for trainer.kind ppo"},
    ignores_without_memory=frozenset({"burn_in"}),
    rollout_steps=off_policy_record.rollout_steps,
    rollouts=off_policy_record.rollouts,
)
