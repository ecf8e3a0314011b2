"""Policies of SAC and TQC: an actor that may have a memory, and critics as one batched product."""

import math
from itertools import pairwise
from typing import Any, ClassVar

import torch
from gymnasium import spaces
from stable_baselines3.common.policies import BasePolicy
from stable_baselines3.common.preprocessing import get_action_dim
from stable_baselines3.common.type_aliases import Schedule
from stable_baselines3.sac.policies import SACPolicy
from torch import Tensor, nn

from spikepropamine.policies import squashed
from spikepropamine.policies.fast.networks import Dense

FUSED = {"fused": True}
"""Adam's argument: all parameters in one call."""


class Critics(nn.Module):
    """Some MLPs of the same widths, from (state, action) to `outputs` numbers each.

    Args:
        inputs: width of the state and the action together.
        widths: of the hidden layers, which are rectified.
        outputs: 1 for a value, more for quantiles.
        count: how many there are.
    """

    def __init__(self, inputs: int, widths: list[int], outputs: int, count: int) -> None:
        super().__init__()
        sizes = [inputs, *widths, outputs]
        self.layers = nn.ParameterList()
        for fan_in, fan_out in pairwise(sizes):  # as `nn.Linear` begins
            bound = 1 / math.sqrt(fan_in)
            weights = torch.empty(count, fan_in, fan_out).uniform_(-bound, bound)
            self.layers.append(weights.mT.contiguous())
            self.layers.append(torch.empty(count, 1, fan_out).uniform_(-bound, bound))

    def forward(self, states: Tensor, actions: Tensor, learn: bool = True) -> Tensor:
        """[N, ...] and [N, actions] to [count, N, outputs]; without gradients to their own
        parameters unless they `learn`.
        """
        parameters = self.layers if learn else [x.detach() for x in self.layers]
        inputs = torch.cat([states, actions], dim=1)
        return Dense.apply(True, inputs.expand(len(parameters[0]), -1, -1), *parameters)


class OffPolicy(SACPolicy):
    """Actor and critics of `PlasticSAC` and `PlasticTQC`.

    Args:
        observation_space: Box, Discrete, MultiDiscrete, MultiBinary, or a Dict of these.
        action_space: Box, bounded.
        lr_schedule: learning rate as a function of the remaining progress.
        net_arch: widths: `dict(pi=[...], qf=[...])`, of the actor (a network without memory; what
            comes after an LSTM) and of the critics.
        n_critics: how many critics there are.
        n_quantiles: what each gives: 1 for SAC.
        critic_sees_state: the critics see what the actor's network gives, too, and train it with
            their loss: in a partially observed task, this alone tells what the actor has found out
            (Lambrechts et al. 2025).
        told: how many of the last channels of a Box the critics alone see.
        log_std_init: initial log standard deviation of actions before squashing.
        optimizer_class, optimizer_kwargs: of both, as in SB3; the default is a fused Adam.
        more: arguments of the actor, such as `network` for a spiking one.

    Raises:
        ValueError: gSDE asked for.
    """

    actor_class: type[squashed.Squashed]
    default_arch: ClassVar[dict[str, list[int]]] = {"pi": [], "qf": [256, 256]}

    def __init__(
        self,
        observation_space: spaces.Space,
        action_space: spaces.Box,
        lr_schedule: Schedule,
        net_arch: dict[str, list[int]] | None = None,
        n_critics: int = 2,
        n_quantiles: int = 1,
        critic_sees_state: bool = False,
        told: int = 0,
        log_std_init: float = 0.0,
        use_sde: bool = False,
        optimizer_class: type[torch.optim.Optimizer] = torch.optim.Adam,
        optimizer_kwargs: dict[str, Any] | None = None,
        **more: Any,
    ) -> None:
        if use_sde:
            raise ValueError("gSDE (use_sde=True) is not supported here: leave it out")
        if optimizer_kwargs is None:
            optimizer_kwargs = FUSED if optimizer_class is torch.optim.Adam else {}
        optimizer: Any = {"optimizer_class": optimizer_class, "optimizer_kwargs": optimizer_kwargs}
        BasePolicy.__init__(self, observation_space, action_space, squash_output=True, **optimizer)
        widths = self.default_arch | (net_arch or {})
        self.given = {
            "net_arch": widths, "n_critics": n_critics, "n_quantiles": n_quantiles,
            "critic_sees_state": critic_sees_state, "told": told, "log_std_init": log_std_init,
        } | more  # fmt: skip
        self.critic_sees_state, self.told = critic_sees_state, told
        seen: Any = observation_space
        if told:
            seen = spaces.Box(seen.low[:-told], seen.high[:-told], dtype=seen.dtype)
        self.actor = actor = self.actor_class(
            seen,
            action_space,
            lr_schedule,
            net_arch={"pi": widths["pi"], "vf": []},
            log_std_init=log_std_init,
            **optimizer,
            **({"activation_fn": nn.ReLU} | more),
        )
        inputs: int = actor.features_dim + told
        if critic_sees_state:
            inputs += actor.action_net.in_features
        sizes = inputs + get_action_dim(action_space), widths["qf"], n_quantiles, n_critics
        self.critic: Any = Critics(*sizes)
        self.critic_target: Any = Critics(*sizes)
        self.critic_target.load_state_dict(self.critic.state_dict())
        self.critic_target.requires_grad_(False)
        self.log_ent_coef = nn.Parameter(torch.zeros(1))  # where the algorithm learns it
        make: Any = optimizer_class
        self.critic.optimizer = make(
            self.critic.parameters(), lr=lr_schedule(1), **optimizer_kwargs
        )

    def predict(self, observation: Any, *args: Any, **kwargs: Any) -> Any:
        """The actor's."""
        return self.actor.predict(self.split(observation)[0], *args, **kwargs)

    def split(self, observations: Any) -> tuple[Any, Any]:
        """What the actor sees of observations [..., channels], and what the critics alone are told
        (None: nothing).
        """
        if not self.told:
            return observations, None
        return observations[..., : -self.told], observations[..., -self.told :]

    def set_training_mode(self, mode: bool) -> None:
        """As in SB3."""
        self.actor.set_training_mode(mode)
        self.critic.train(mode)
        self.training = mode

    def _get_constructor_parameters(self) -> dict[str, Any]:
        return self.given | {
            "observation_space": self.observation_space,
            "action_space": self.action_space,
            "lr_schedule": self._dummy_schedule,
            "optimizer_class": self.optimizer_class,
            "optimizer_kwargs": self.optimizer_kwargs,
        }


def actor_of(policy: BasePolicy) -> Any:
    """What of a policy acts after training, and is saved for others: the actor of off-policy
    learning; otherwise the policy itself.
    """
    return policy.actor if isinstance(policy, OffPolicy) else policy


class OffPolicyMlp(OffPolicy):
    """With an MLP."""

    actor_class = squashed.SquashedMlp
    default_arch: ClassVar = {"pi": [256, 256], "qf": [256, 256]}


class OffPolicyLstm(OffPolicy):
    """With an LSTM."""

    actor_class = squashed.SquashedLstm


class OffPolicyGru(OffPolicy):
    """With a GRU."""

    actor_class = squashed.SquashedGru


class OffPolicySpiking(OffPolicy):
    """With a spiking network, plastic or not."""

    actor_class = squashed.SquashedSpiking


ALIASES: dict[str, type[BasePolicy]] = {
    "MlpPolicy": OffPolicyMlp,
    "MlpLstmPolicy": OffPolicyLstm,
    "GruPolicy": OffPolicyGru,
    "PlasticSpikingPolicy": OffPolicySpiking,
}
"""SB3's names, for `PlasticSAC` and `PlasticTQC`."""
