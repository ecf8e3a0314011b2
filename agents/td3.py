"""`PlasticTD3`: twin delayed deterministic policy gradients (Fujimoto et al. 2018) for
actors with a memory.
"""

from dataclasses import dataclass, replace
from typing import Any, ClassVar

import numpy as np
import torch
from stable_baselines3 import TD3
from stable_baselines3.common.base_class import BaseAlgorithm
from stable_baselines3.common.noise import NormalActionNoise
from torch import Tensor

from spikepropamine.agents import off_policy_record, sac
from spikepropamine.agents.algorithm import Actor, Arguments, Blueprint
from spikepropamine.agents.off_policy import (
    ActorLoss,
    SequenceLearning,
    Transitions,
    features_of,
)
from spikepropamine.agents.replay_buffer import Sequences
from spikepropamine.agents.settings import OffPolicySettings, WithTargets
from spikepropamine.options import NotNegative
from spikepropamine.policies.actors import DETERMINISTIC_ACTORS, Squashed


@dataclass(frozen=True)
class TD3Settings(WithTargets, OffPolicySettings):
    """Settings of twin delayed deterministic policy gradients."""

    exploration_noise: NotNegative = 0.1
    """TD3: standard deviation of the noise of actions, which are between -1 and 1."""
    target_policy_noise: NotNegative = 0.2
    """TD3: standard deviation of the noise of the actions in targets."""
    target_noise_clip: NotNegative = 0.5
    """TD3: bound of that noise."""


class PlasticTD3(SequenceLearning, TD3):
    """SB3's TD3 for actors with a memory: spiking networks, plastic or not, LSTMs,
    GRUs, MLPs.

    The target actor goes through a sequence from the states that the actor had.

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
        args, kwargs: as for `TD3`.

    Raises:
        ValueError: lengths that are too small, n-step returns, or another replay
            buffer.
    """

    actors: ClassVar[dict[str, type[Squashed]]] = DETERMINISTIC_ACTORS
    actor_target: Squashed

    def _setup_model(self) -> None:
        self.policy_kwargs = {"target_actor": True} | self.policy_kwargs
        super()._setup_model()

    def _transitions(self, batch: Sequences) -> Transitions:
        """The transitions of a minibatch, in which the target actor acts after each
        step, with clipped noise.
        """
        transitions = super()._transitions(batch)
        with torch.no_grad():
            inputs = self._inputs(batch, self.actor_target)
            features = features_of(self.actor_target, inputs)
            actions = self.actor_target.mode(features[1:]).flatten(0, 1)
            noise = torch.empty_like(actions).normal_(0, self.target_policy_noise)
            bound = self.target_noise_clip
            blurred = (actions + noise.clamp(-bound, bound)).clamp(-1, 1)
        return transitions._replace(next_actions=blurred)

    def _targets(self, transitions: Transitions, next_values: Tensor) -> Tensor:
        """The targets of the critics, r + gamma (1 - done) min Q(s', a'), [N, 1]."""
        smallest = next_values.amin(dim=0)
        return self._discounted(transitions, smallest)

    def _critic_loss(
        self, values: Tensor, targets: Tensor, weights: Tensor
    ) -> tuple[Tensor, Tensor]:
        """The squared errors."""
        errors = values - targets
        slopes = 2 * errors * weights[:, None]
        return 0.5 * (errors * slopes).sum(), slopes

    def _actor_loss(self, values: Tensor, transitions: Transitions) -> ActorLoss:
        """-Q(s, a) of the first critic."""
        slopes = torch.zeros_like(values)
        slopes[0, :, 0] = -transitions.weights
        return ActorLoss((values * slopes).sum(), slopes, None)

    def _follow(self, actor_learned: bool) -> None:
        if actor_learned:
            self._move_critics()
            self._move(
                list(self.actor_target.parameters()), list(self.actor.parameters())
            )
            for target, source in zip(
                self.actor_target.buffers(), self.actor.buffers(), strict=True
            ):
                target.copy_(source)


def arguments(blueprint: Blueprint) -> Arguments:
    """The arguments of the constructor of `PlasticTD3`, but for policy and
    environments.
    """
    trainer: Any = blueprint.trainer
    size = int(np.prod(blueprint.venv.action_space.shape or ()))
    deviation = np.full(size, trainer.exploration_noise)
    return off_policy_record.arguments(blueprint) | {
        "tau": trainer.tau,
        "action_noise": NormalActionNoise(np.zeros(size), deviation),
        "target_policy_noise": trainer.target_policy_noise,
        "target_noise_clip": trainer.target_noise_clip,
    }


def _make(actor: Actor, blueprint: Blueprint) -> BaseAlgorithm:
    return off_policy_record.make_off_policy(
        actor, blueprint, PlasticTD3, arguments(blueprint)
    )


ALGORITHM = replace(
    sac.ALGORITHM,
    name="td3",
    settings=TD3Settings,
    arguments=arguments,
    make=_make,
    sections=("sac", "td3"),
)
