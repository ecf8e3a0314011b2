"""Actors of off-policy learning: a squashed Gaussian over each kind of network."""

import math
import weakref
from typing import TYPE_CHECKING, Any

import torch
from gymnasium import spaces
from sb3_contrib.common.recurrent.policies import RecurrentActorCriticPolicy
from stable_baselines3.common.distributions import SquashedDiagGaussianDistribution
from stable_baselines3.common.policies import ActorCriticPolicy
from stable_baselines3.common.preprocessing import get_action_dim
from stable_baselines3.common.type_aliases import Schedule
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from spikepropamine.policies.baselines import GruPolicy
from spikepropamine.policies.fast import DISTRIBUTIONS, NETWORKS
from spikepropamine.policies.fast.networks import Pair, remember
from spikepropamine.policies.policy import PlasticSpikingPolicy
from spikepropamine.policies.spaces import extractor_for

LOG_STD = (-20.0, 2.0)
"""Range of the log standard deviation, as in SB3's SAC."""

if TYPE_CHECKING:
    _Base = ActorCriticPolicy  # a mixin over three policies; to the type checker over one
else:
    _Base = object


class _Draw(torch.autograd.Function):
    """Actions a = tanh(u), u = mean + exp(log_std) noise, and their log-likelihoods,

        log p(a) = sum(log N(u) - log(1 - a^2)),
        log(1 - tanh(u)^2) = 2 (log 2 - u - softplus(-2 u)),

    which is exact for every u; its slope is -2 a.
    """

    @staticmethod
    def forward(ctx, mean, log_std, noise):
        deviation = log_std.exp().mul_(noise)
        u = mean + deviation
        actions = torch.tanh(u)
        squash = (u + nn.functional.softplus(-2.0 * u)).mul_(2.0)
        each = squash.sub_(log_std).add_(noise * noise, alpha=-0.5)
        constant = mean.shape[-1] * (2 * math.log(2) + 0.5 * math.log(2 * math.pi))
        ctx.save_for_backward(actions, deviation)
        return actions, each.sum(dim=-1).sub_(constant)

    @staticmethod
    @once_differentiable
    def backward(ctx, d_actions, d_log_probs):
        actions, deviation = ctx.saved_tensors
        d_log_probs = d_log_probs.unsqueeze(-1)
        d_u = d_actions * (1 - actions * actions) + 2.0 * d_log_probs * actions
        return d_u, d_u * deviation - d_log_probs, None


class Squashed(_Base):
    """Makes an actor-critic policy the actor of SAC: actions are tanh of a Gaussian whose mean and
    standard deviation depend on the state, and there is no critic.

    `predict` works as for any SB3 policy; `unroll` and `draw` are what learning calls.
    """

    state_size = 0
    """Width of the state of one environment as a flat vector; 0 for a network without memory."""

    action_net: nn.Linear

    def _build(self, lr_schedule: Schedule) -> None:
        self._build_mlp_extractor()
        actions, features = get_action_dim(self.action_space), self.mlp_extractor.latent_dim_pi
        self.action_dist: Any = SquashedDiagGaussianDistribution(actions)
        self.action_net = nn.Linear(features, actions)
        self.log_std_net = nn.Linear(features, actions)
        for head in (self.action_net, self.log_std_net):  # means near 0 at first
            nn.init.uniform_(head.weight, -0.01, 0.01)
            nn.init.zeros_(head.bias)
        nn.init.constant_(self.log_std_net.bias, self.log_std_init)
        self._squash_output = True
        make: Any = self.optimizer_class
        self.optimizer = make(self.parameters(), lr=lr_schedule(1), **self.optimizer_kwargs)

    def _get_action_dist_from_latent(self, latent_pi: Tensor) -> Any:
        return self.action_dist.proba_distribution(*self.gaussian(latent_pi))

    def gaussian(self, features: Tensor) -> Pair:
        """Mean and log standard deviation [..., actions] before squashing, of what the network
        gives [..., features].
        """
        return self.action_net(features), self.log_std_net(features).clamp(*LOG_STD)

    def draw(self, features: Tensor) -> tuple[Tensor, Tensor]:
        """Actions [..., actions] between -1 and 1, and their log-likelihoods [...], with gradients
        through both (the reparameterisation of Haarnoja et al. 2018).
        """
        mean, log_std = self.gaussian(features)
        return _Draw.apply(mean, log_std, torch.randn_like(mean))

    def pair(self, flat: Tensor) -> Pair | None:
        """The state as `unroll` takes it, of one vector for each environment [B, state_size]."""
        return None

    def flat(self, state: Pair | None) -> Tensor | None:
        """A state as one vector for each environment, [B, state_size]."""
        return None

    def unroll(self, inputs: Tensor, starts: Tensor, state: Any) -> tuple[Tensor, Any]:
        """Sequences: from inputs [T, B, channels], starts [T, B] and the state before them to
        features [T, B, F] and the state after them.
        """
        return self.mlp_extractor.forward_actor(inputs), None


class SquashedMlp(Squashed, ActorCriticPolicy):
    """The actor of SB3's SAC: an MLP."""

    def __init__(self, observation_space: spaces.Space, *args: Any, **kwargs: Any) -> None:
        extractor = {"features_extractor_class": extractor_for(observation_space)}
        super().__init__(observation_space, *args, **(extractor | kwargs))


class SquashedSpiking(Squashed, PlasticSpikingPolicy):
    """A spiking network, plastic or not."""

    @property
    def state_size(self) -> int:  # type: ignore[override]
        """Of all fields of `layout`."""
        return self.layout.size

    def pair(self, flat: Tensor) -> Pair:
        """The state as it is, and a placeholder."""
        return flat[None], flat[None, :, :1]

    def flat(self, state: Any) -> Tensor:
        """The state as it is."""
        return state[0][0]

    def unroll(self, inputs: Tensor, starts: Tensor, state: Any) -> tuple[Tensor, Any]:
        """See `Squashed`."""
        return self.network(inputs, state, starts)


class _Recurrent(Squashed):
    """With the surface of `nn.LSTM` as its memory."""

    lstm_actor: nn.LSTM
    mlp_extractor: Any

    def __init__(self, observation_space: spaces.Space, *args: Any, **kwargs: Any) -> None:
        extractor = {"features_extractor_class": extractor_for(observation_space, lstm=True)}
        critic = {"shared_lstm": True, "enable_critic_lstm": False}  # there is none
        super().__init__(observation_space, *args, **(extractor | kwargs | critic))

    @property
    def state_size(self) -> int:  # type: ignore[override]
        """Of hidden and cell state, in all layers."""
        return 2 * self.lstm_actor.num_layers * self.lstm_actor.hidden_size

    def pair(self, flat: Tensor) -> Pair:
        """Hidden and cell state, each [layers, B, width]."""
        width = (self.lstm_actor.num_layers, self.lstm_actor.hidden_size)
        parts = (x.unflatten(1, width).transpose(0, 1) for x in flat.chunk(2, dim=1))
        hidden, cell = (x.contiguous() for x in parts)
        return hidden, cell

    def flat(self, state: Any) -> Tensor:
        """Hidden and cell state of all layers side by side."""
        return torch.cat([part.transpose(0, 1).flatten(1) for part in state], dim=1)

    def unroll(self, inputs: Tensor, starts: Tensor, state: Any) -> tuple[Tensor, Any]:
        """See `Squashed`."""
        outputs, state = remember(self.lstm_actor, inputs.flatten(0, 1), state, starts)
        return self.mlp_extractor.forward_actor(outputs).unflatten(0, starts.shape), state


class SquashedLstm(_Recurrent, RecurrentActorCriticPolicy):
    """sb3-contrib's LSTM."""


class SquashedGru(_Recurrent, GruPolicy):
    """The same with a GRU."""


class _SquashedGaussian:
    """Actions of mean and log standard deviation side by side, for `policies.fast`."""

    def __init__(self, policy: Any) -> None:
        space = policy.action_space
        low, high = (torch.as_tensor(x).flatten() for x in (space.low, space.high))
        self.low, self.half = low, 0.5 * (high - low)

    def mode(self, logits: Tensor) -> Tensor:
        """Of the mean, between the bounds."""
        return self.low + (torch.tanh(logits.chunk(2, dim=1)[0]) + 1.0) * self.half

    def draw(self, logits: Tensor) -> tuple[Tensor, Tensor]:
        """Actions between the bounds, and their log-likelihoods before scaling."""
        mean, log_std = logits.chunk(2, dim=1)
        actions, log_probs = _Draw.apply(mean, log_std, torch.randn_like(mean))
        return self.low + (actions + 1.0) * self.half, log_probs


def _networks(policy: Any) -> tuple[Any, Any]:
    policy = weakref.proxy(policy)

    def actor(features: Tensor, state: Any, starts: Tensor) -> tuple[Tensor, Tensor, Any]:
        memory, state = policy.unroll(features.view(*starts.shape, -1), starts, state)
        memory = memory.flatten(0, 1)
        return torch.cat(policy.gaussian(memory), dim=1), memory, state

    return actor, None  # there is no critic


NETWORKS |= dict.fromkeys((SquashedMlp, SquashedSpiking, SquashedLstm, SquashedGru), _networks)
DISTRIBUTIONS[SquashedDiagGaussianDistribution] = _SquashedGaussian
