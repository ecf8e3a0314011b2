"""Policies of off-policy learning: actors, a squashed Gaussian or a squashed number over
each kind of network, which may have a memory; and critics as one batched product.
"""

import math
import weakref
from collections.abc import Callable
from itertools import pairwise
from typing import TYPE_CHECKING, Any, ClassVar

import torch
from gymnasium import spaces
from sb3_contrib.common.recurrent.policies import RecurrentActorCriticPolicy
from stable_baselines3.common.distributions import SquashedDiagGaussianDistribution
from stable_baselines3.common.policies import ActorCriticPolicy, BasePolicy
from stable_baselines3.common.preprocessing import get_action_dim
from stable_baselines3.common.type_aliases import Schedule
from stable_baselines3.sac.policies import SACPolicy
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from spikepropamine.policies.fast import DISTRIBUTIONS, NETWORKS
from spikepropamine.policies.fast.networks import Dense, Pair, remember
from spikepropamine.policies.policy import GruPolicy, PlasticSpikingPolicy
from spikepropamine.policies.spaces import extractor_for

FUSED = {"fused": True}
"""Adam's argument: all parameters in one call."""

LOG_STD = (-20.0, 2.0)
"""Range of the log standard deviation, as in SB3's SAC."""

if TYPE_CHECKING:
    _Base = (
        ActorCriticPolicy  # a mixin over three policies; to the type checker over one
    )
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

    widths: ClassVar[list[int]] = []
    """Of hidden layers, by default."""

    action_net: nn.Linear

    def __init__(
        self, observation_space: spaces.Space, *args: Any, **kwargs: Any
    ) -> None:
        extractor = extractor_for(
            observation_space, kwargs.get("normalize_images", True)
        )
        given = {"features_extractor_class": extractor} | kwargs
        super().__init__(observation_space, *args, **given)

    def _build(self, lr_schedule: Schedule) -> None:
        self._build_mlp_extractor()
        features = self.mlp_extractor.latent_dim_pi
        self._build_heads(features, get_action_dim(self.action_space))
        self._squash_output = True
        make: Any = self.optimizer_class
        self.optimizer = make(
            self.parameters(), lr=lr_schedule(1), **self.optimizer_kwargs
        )

    def _build_heads(self, features: int, actions: int) -> None:
        """What comes after the network, and the distribution of actions."""
        self.action_dist: Any = SquashedDiagGaussianDistribution(actions)
        self.action_net = nn.Linear(features, actions)
        self.log_std_net = nn.Linear(features, actions)
        for head in (self.action_net, self.log_std_net):  # means near 0 at first
            nn.init.uniform_(head.weight, -0.01, 0.01)
            nn.init.zeros_(head.bias)
        nn.init.constant_(self.log_std_net.bias, self.log_std_init)

    def _get_action_dist_from_latent(self, latent_pi: Tensor) -> Any:
        return self.action_dist.proba_distribution(*self.gaussian(latent_pi))

    def gaussian(self, features: Tensor) -> Pair:
        """Mean and log standard deviation [..., actions] before squashing, of what the network
        gives [..., features].
        """
        return self.action_net(features), self.log_std_net(features).clamp(*LOG_STD)

    def logits(self, features: Tensor) -> Tensor:
        """All that the distribution of actions is made of, [..., numbers], for
        `policies.fast`.
        """
        return torch.cat(self.gaussian(features), dim=-1)

    def mode(self, features: Tensor) -> Tensor:
        """The likeliest actions before squashing, squashed: [..., actions]."""
        return torch.tanh(self.action_net(features))

    def explore(self, features: Tensor) -> tuple[Tensor, Tensor]:
        """The mode and a draw of actions, each [..., actions] between -1 and 1."""
        mean, log_std = self.gaussian(features)
        drawn = torch.tanh(mean + log_std.exp() * torch.randn_like(mean))
        return torch.tanh(mean), drawn

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

    widths: ClassVar[list[int]] = [256, 256]


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

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        critic = {"shared_lstm": True, "enable_critic_lstm": False}  # there is none
        super().__init__(*args, **(kwargs | critic))

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
        return self.mlp_extractor.forward_actor(outputs).unflatten(
            0, starts.shape
        ), state


class SquashedLstm(_Recurrent, RecurrentActorCriticPolicy):
    """sb3-contrib's LSTM."""


class SquashedGru(_Recurrent, GruPolicy):
    """The same with a GRU."""


class Certain(SquashedDiagGaussianDistribution):
    """The distribution of an actor that does not explore: a draw is the mode."""

    def sample(self) -> Tensor:
        """The mode."""
        return self.mode()

    def log_prob(self, actions: Tensor, gaussian_actions: Any = None) -> Tensor:
        """Of a certain action: zero, [batch]."""
        return actions.new_zeros(len(actions))


class Deterministic(Squashed):
    """Makes an actor-critic policy the actor of TD3: actions are tanh of what the network
    gives.
    """

    def _build_heads(self, features: int, actions: int) -> None:
        self.action_dist = Certain(actions)
        self.action_net = nn.Linear(features, actions)
        nn.init.uniform_(self.action_net.weight, -0.01, 0.01)
        nn.init.zeros_(self.action_net.bias)

    def gaussian(self, features: Tensor) -> Pair:
        """Before squashing, and zeros, each [..., actions]."""
        mean = self.action_net(features)
        return mean, torch.zeros_like(mean)

    def logits(self, features: Tensor) -> Tensor:
        """Actions before squashing, [..., actions]."""
        return self.action_net(features)

    def explore(self, features: Tensor) -> tuple[Tensor, Tensor]:
        """The actions, twice: noise is the algorithm's."""
        mode = self.mode(features)
        return mode, mode

    def draw(self, features: Tensor) -> tuple[Tensor, Tensor]:
        """The actions, [..., actions], and their log-likelihoods, zeros [...]."""
        mode = self.mode(features)
        return mode, torch.zeros_like(mode[..., 0])


class DeterministicMlp(Deterministic, SquashedMlp):
    """The actor of SB3's TD3: an MLP."""


class DeterministicSpiking(Deterministic, SquashedSpiking):
    """A spiking network, plastic or not."""


class DeterministicLstm(Deterministic, SquashedLstm):
    """sb3-contrib's LSTM."""


class DeterministicGru(Deterministic, SquashedGru):
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


class _Certain(_SquashedGaussian):
    """Actions before squashing, for `policies.fast`."""

    def mode(self, logits: Tensor) -> Tensor:
        """Between the bounds."""
        return self.low + (torch.tanh(logits) + 1.0) * self.half

    def draw(self, logits: Tensor) -> tuple[Tensor, Tensor]:
        """The mode, and log-likelihoods of zero."""
        return self.mode(logits), logits.new_zeros(len(logits))


def _networks(policy: Any) -> tuple[Any, Any]:
    policy = weakref.proxy(policy)

    def actor(
        features: Tensor, state: Any, starts: Tensor
    ) -> tuple[Tensor, Tensor, Any]:
        memory, state = policy.unroll(features.view(*starts.shape, -1), starts, state)
        memory = memory.flatten(0, 1)
        return policy.logits(memory), memory, state

    return actor, None  # there is no critic


NETWORKS |= dict.fromkeys(
    (SquashedMlp, SquashedSpiking, SquashedLstm, SquashedGru), _networks
)
NETWORKS |= dict.fromkeys(
    (DeterministicMlp, DeterministicSpiking, DeterministicLstm, DeterministicGru),
    _networks,
)
DISTRIBUTIONS[SquashedDiagGaussianDistribution] = _SquashedGaussian
DISTRIBUTIONS[Certain] = _Certain


class Critics(nn.Module):
    """So many MLPs (`count`) with hidden layers of the same widths, which are rectified: from state
    and action, `inputs` numbers together, to `outputs` numbers each, 1 for a value, more for
    quantiles.
    """

    def __init__(
        self, inputs: int, widths: list[int], outputs: int, count: int
    ) -> None:
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
        actor_class: one of `ACTORS`.
        net_arch: widths: `dict(pi=[...], qf=[...])`, of the actor (a network without memory; what
            comes after an LSTM) and of the critics, or a list for both.
        n_critics: how many critics there are.
        n_quantiles: what each gives: 1 for SAC.
        critic_sees_state: the critics see what the actor's network gives, too, and train it with
            their loss: in a partially observed task, this alone tells what the actor has found out
            (Lambrechts et al. 2025).
        told: how many of the last channels of a Box the critics alone see.
        critics_class: makes the critics, of the arguments of `Critics`.
        target_critics: whether there are critics that follow the others.
        target_actor: whether there is an actor that follows the other.
        log_std_init: initial log standard deviation of actions before squashing.
        optimizer_class, optimizer_kwargs: of both, as in SB3; the default is a fused Adam.
        more: arguments of the actor, such as `network` for a spiking one, or `activation_fn`.

    Raises:
        ValueError: gSDE or several features extractors asked for.
    """

    def __init__(
        self,
        observation_space: spaces.Space,
        action_space: spaces.Box,
        lr_schedule: Schedule,
        actor_class: type[Squashed] = SquashedMlp,
        net_arch: list[int] | dict[str, list[int]] | None = None,
        n_critics: int = 2,
        n_quantiles: int = 1,
        critic_sees_state: bool = False,
        told: int = 0,
        critics_class: Callable[[int, list[int], int, int], nn.Module] = Critics,
        target_critics: bool = True,
        target_actor: bool = False,
        log_std_init: float = 0.0,
        use_sde: bool = False,
        optimizer_class: type[torch.optim.Optimizer] = torch.optim.Adam,
        optimizer_kwargs: dict[str, Any] | None = None,
        **more: Any,
    ) -> None:
        if use_sde or not more.get("share_features_extractor", True):
            given = (
                "gSDE (use_sde=True)" if use_sde else "share_features_extractor=False"
            )
            raise ValueError(f"{given} is not supported here: leave it out")
        if isinstance(net_arch, list):
            net_arch = {"pi": net_arch, "qf": net_arch}
        if optimizer_kwargs is None:
            optimizer_kwargs = FUSED if optimizer_class is torch.optim.Adam else {}
        optimizer: Any = {
            "optimizer_class": optimizer_class,
            "optimizer_kwargs": optimizer_kwargs,
        }
        BasePolicy.__init__(
            self, observation_space, action_space, squash_output=True, **optimizer
        )
        widths = {"pi": actor_class.widths, "qf": [256, 256]} | (net_arch or {})
        self.given = {
            "actor_class": actor_class, "net_arch": widths, "n_critics": n_critics,
            "n_quantiles": n_quantiles, "critic_sees_state": critic_sees_state, "told": told,
            "critics_class": critics_class, "target_critics": target_critics,
            "target_actor": target_actor, "log_std_init": log_std_init,
        } | more  # fmt: skip
        self.critic_sees_state, self.told = critic_sees_state, told
        seen: Any = observation_space
        if told:
            seen = spaces.Box(seen.low[:-told], seen.high[:-told], dtype=seen.dtype)

        def make_actor() -> Squashed:
            return actor_class(
                seen,
                action_space,
                lr_schedule,
                net_arch={"pi": widths["pi"], "vf": []},
                log_std_init=log_std_init,
                **optimizer,
                **({"activation_fn": nn.ReLU} | more),
            )

        self.actor = actor = make_actor()
        inputs: int = actor.features_dim + told
        if critic_sees_state:
            inputs += actor.action_net.in_features
        sizes = (
            inputs + get_action_dim(action_space),
            widths["qf"],
            n_quantiles,
            n_critics,
        )
        self.critic: Any = critics_class(*sizes)
        if target_critics:
            self.critic_target: Any = _following(critics_class(*sizes), self.critic)
        if target_actor:
            self.actor_target: Any = _following(make_actor(), actor)
        self.log_ent_coef = nn.Parameter(
            torch.zeros(1)
        )  # where the algorithm learns it
        make: Any = optimizer_class
        self.critic.optimizer = make(
            self.critic.parameters(), lr=lr_schedule(1), **optimizer_kwargs
        )

    def _predict(self, observation: Any, *args: Any, **kwargs: Any) -> Tensor:
        return self.actor._predict(self.split(observation)[0], *args, **kwargs)

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


def _following(target: nn.Module, source: nn.Module) -> nn.Module:
    """A target network, which begins as the other one and is not trained itself."""
    target.load_state_dict(source.state_dict())
    return target.requires_grad_(False)


def actor_of(policy: BasePolicy) -> Any:
    """What of a policy acts after training, and is saved for others: the actor of off-policy
    learning; otherwise the policy itself.
    """
    return policy.actor if isinstance(policy, OffPolicy) else policy


ACTORS: dict[str, type[Squashed]] = {
    "MlpPolicy": SquashedMlp,
    "MlpLstmPolicy": SquashedLstm,
    "GruPolicy": SquashedGru,
    "PlasticSpikingPolicy": SquashedSpiking,
}
"""Of an `OffPolicy`, by SB3's names of policies."""

DETERMINISTIC_ACTORS: dict[str, type[Squashed]] = {
    "MlpPolicy": DeterministicMlp,
    "MlpLstmPolicy": DeterministicLstm,
    "GruPolicy": DeterministicGru,
    "PlasticSpikingPolicy": DeterministicSpiking,
}
"""The same without exploration of their own."""
