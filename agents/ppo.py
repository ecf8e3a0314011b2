"""`PlasticPPO`: recurrent PPO for policies with a large structured state."""

from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from gymnasium import spaces
from sb3_contrib import RecurrentPPO
from sb3_contrib.common.recurrent.policies import (
    RecurrentActorCriticPolicy,
    RecurrentMultiInputActorCriticPolicy,
)
from sb3_contrib.common.recurrent.type_aliases import RNNStates
from stable_baselines3.common.base_class import BaseAlgorithm
from stable_baselines3.common.policies import BasePolicy
from stable_baselines3.common.type_aliases import GymEnv

from spikepropamine.agents.algorithm import Actor, Algorithm, Arguments, Blueprint
from spikepropamine.agents.predicting import Predicting
from spikepropamine.agents.rollout_buffer import sequence_buffer
from spikepropamine.agents.settings import OnRollouts, Stochastic, WithCritic
from spikepropamine.common import check_known
from spikepropamine.options import NotNegative, Positive, Share
from spikepropamine.policies import PlasticSpikingPolicy
from spikepropamine.policies.baselines import GruPolicy
from spikepropamine.policies.fast.ppo import PPO, FastPPO
from spikepropamine.policies.spaces import (
    LstmCombinedExtractor,
    LstmFlattenExtractor,
)

EXTRACTORS: dict[Any, Any] = {
    RecurrentActorCriticPolicy: LstmFlattenExtractor,
    RecurrentMultiInputActorCriticPolicy: LstmCombinedExtractor,
}
"""The extractors of policies of sb3-contrib, with a width that `nn.LSTM` takes."""


@dataclass(frozen=True)
class PPOSettings(OnRollouts, WithCritic, Stochastic):
    """Settings of PPO."""

    gae_lambda: Share = 0.95
    """Bias and variance of the advantage estimate."""
    clip_range: Positive = 0.2
    """Clipping of the policy ratio."""
    target_kl: Positive | None = None
    """Bound of the approximate Kullback-Leibler divergence, at 1.5 times which an
    update ends."""
    ent_coef: NotNegative = 0.0
    """Weight of the entropy bonus."""
    vf_coef: NotNegative = 0.5
    """Weight of the value loss."""
    critic_sees_spikes: bool = True
    """The critic of a spiking actor also sees the spiking features, detached."""


class PlasticPPO(Predicting, FastPPO, RecurrentPPO):
    """sb3-contrib's RecurrentPPO with a buffer of equal sequences.

    Rollout, loss, saving and loading are RecurrentPPO's; every argument of it works
    here too.

    Args:
        policy: "PlasticSpikingPolicy", or any recurrent policy of sb3-contrib
            ("MlpLstmPolicy").
        env: environment, or its id.
        sequence_length: environment steps through which gradients flow back in time;
            None makes it `n_steps`, or `batch_size` where that is less. Where it does
            not divide `n_steps`, the last sequences of a rollout are shorter, and where
            it does not divide `batch_size`, so are minibatches. Through hundreds of
            steps of plasticity that runs against its rule, gradients can overflow.

    Raises:
        ValueError: an unknown name of a policy, a policy without memory, or a
            `sequence_length` that is less than 1, or larger than `n_steps` or
            `batch_size`.
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
        if isinstance(policy, str):
            check_known("policy", policy, self.policy_aliases, error=ValueError)
        elif not issubclass(policy, RecurrentActorCriticPolicy):
            raise ValueError(
                f"policy {policy.__name__} has no memory: use one of "
                f"{', '.join(self.policy_aliases)}, or a subclass of theirs"
            )
        self.sequence_length = sequence_length
        super().__init__(policy, env, *args, **kwargs)

    def _setup_model(self) -> None:
        length = self._checked_length()
        self._choose_extractor()
        # the buffer of RecurrentPPO, which is replaced below, would hold the state of
        # every step
        n_steps = self.n_steps
        self.n_steps = 1
        super()._setup_model()
        self.n_steps = n_steps
        self.rollout_buffer = sequence_buffer(self.observation_space)(
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

    def _choose_extractor(self) -> None:
        """Has LSTMs of sb3-contrib take MultiDiscrete observations, of which SB3's
        extractors say their width in an integer of NumPy; PyTorch's LSTM refuses that.
        """
        space = self.observation_space
        parts = space.values() if isinstance(space, spaces.Dict) else [space]
        has_choices = any(isinstance(part, spaces.MultiDiscrete) for part in parts)
        if has_choices and self.policy_class in EXTRACTORS:
            extractor = EXTRACTORS[self.policy_class]
            default = {"features_extractor_class": extractor}
            self.policy_kwargs = default | self.policy_kwargs

    def _checked_length(self) -> int:
        """The length of sequences. Raises ValueError where it does not fit."""
        batch_size = self.batch_size or self.n_steps
        length = self.sequence_length
        if length is None:
            length = min(self.n_steps, batch_size)
        if length < 1:
            raise ValueError(f"sequence_length must be at least 1, got {length}")
        for name, limit in (("n_steps", self.n_steps), ("batch_size", batch_size)):
            if length > limit:
                raise ValueError(
                    f"sequence_length must be at most {name}, but {length} is more "
                    f"than {limit}"
                )
        return length


def arguments(blueprint: Blueprint) -> Arguments:
    """The arguments of the constructor of PPO, but for policy and environments."""
    trainer = blueprint.trainer
    return {
        "seed": blueprint.seed,
        "device": blueprint.device,
        "learning_rate": blueprint.learning_rate,
        "n_steps": trainer.n_steps,
        "batch_size": trainer.batch_size,
        "n_epochs": trainer.n_epochs,
        "gamma": trainer.gamma,
        "gae_lambda": trainer.gae_lambda,
        "clip_range": trainer.clip_range,
        "target_kl": trainer.target_kl,
        "ent_coef": trainer.ent_coef,
        "vf_coef": trainer.vf_coef,
        "max_grad_norm": trainer.max_grad_norm,
    }


def make_on_rollouts(
    actor: Actor,
    blueprint: Blueprint,
    plain: type[BaseAlgorithm],
    recurrent: type[BaseAlgorithm],
) -> BaseAlgorithm:
    """An on-policy algorithm.

    Args:
        actor: the kind of network that acts.
        blueprint: what it is made from.
        plain: the class for actors without memory, which takes PPO's arguments.
        recurrent: the class for actors with memory, which takes `sequence_length` too.
    """
    policy = actor.actor_critic(blueprint)
    given = arguments(blueprint) | {"policy_kwargs": policy.arguments}
    make: Any = plain
    if actor.memory:
        make = recurrent
        given["sequence_length"] = blueprint.trainer.sequence_length
    algorithm: BaseAlgorithm = make(policy.name, blueprint.venv, **given)
    return algorithm


def _make(actor: Actor, blueprint: Blueprint) -> BaseAlgorithm:
    return make_on_rollouts(actor, blueprint, PPO, PlasticPPO)


ALGORITHM = Algorithm(
    name="ppo",
    settings=PPOSettings,
    arguments=arguments,
    make=_make,
    ignores_without_memory=frozenset({"sequence_length"}),
)
