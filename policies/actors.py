"""Actors of off-policy learning: a squashed Gaussian or a squashed number over each
kind of network, which may have a memory.
"""

import math
import weakref
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, ClassVar, NamedTuple

import torch
from gymnasium import spaces
from sb3_contrib.common.recurrent.policies import RecurrentActorCriticPolicy
from stable_baselines3.common.distributions import SquashedDiagGaussianDistribution
from stable_baselines3.common.policies import ActorCriticPolicy
from stable_baselines3.common.preprocessing import get_action_dim
from stable_baselines3.common.torch_layers import BaseFeaturesExtractor, NatureCNN
from stable_baselines3.common.type_aliases import Schedule
from torch import Tensor, nn

from spikepropamine.policies.baselines import GruPolicy
from spikepropamine.policies.fast import DISTRIBUTIONS, NETWORKS
from spikepropamine.policies.fast.networks import Pair, remember
from spikepropamine.policies.lstm_arguments import refuse_lstm_arguments
from spikepropamine.policies.spaces import LstmCombinedExtractor, extractor_for
from spikepropamine.policies.spiking import PlasticSpikingPolicy

LOG_STD = (-20.0, 2.0)
"""Range of the log standard deviation, as in SB3's SAC."""

if TYPE_CHECKING:
    # a mixin over three policies; to the type checker over one
    _Base = ActorCriticPolicy
else:
    _Base = object


class SquashedDraw(NamedTuple):
    """Actions a = tanh(u), u = mean + exp(log_std) noise, and their log-likelihoods,

        log p(a) = sum(log N(u) - log(1 - a^2)),
        log(1 - tanh(u)^2) = 2 (log 2 - u - softplus(-2 u)),

    which is exact for every u; its slope is -2 a.
    """

    actions: Tensor
    """[..., actions]."""
    log_probs: Tensor
    """[...]."""
    deviation: Tensor
    """exp(log_std) noise, [..., actions]."""

    @classmethod
    def of(cls, mean: Tensor, log_std: Tensor, noise: Tensor) -> "SquashedDraw":
        """A draw with this noise, each [..., actions]."""
        deviation = log_std.exp().mul_(noise)
        u = mean + deviation
        actions = torch.tanh(u)
        squash = (u + nn.functional.softplus(-2.0 * u)).mul_(2.0)
        each = squash.sub_(log_std).add_(noise * noise, alpha=-0.5)
        of_each_action = 2 * math.log(2) + 0.5 * math.log(2 * math.pi)
        log_probs = each.sum(dim=-1).sub_(mean.shape[-1] * of_each_action)
        return cls(actions, log_probs, deviation)

    def slopes(
        self, of_actions: Tensor, of_log_probs: Tensor | None
    ) -> tuple[Tensor, Tensor]:
        """The gradients to mean and log standard deviation, of those to the actions and
        log-likelihoods (None: zeros).
        """
        actions = self.actions
        if of_log_probs is None:
            of_log_probs = torch.zeros_like(self.log_probs)
        of_log_probs = of_log_probs.unsqueeze(-1)
        of_mean = of_actions * (1 - actions * actions) + 2.0 * of_log_probs * actions
        return of_mean, of_mean * self.deviation - of_log_probs

    def first(self, rows: int) -> "SquashedDraw":
        """The first rows."""
        return SquashedDraw(*(x[:rows] for x in self))


WayBack = Callable[[Tensor, Tensor | None], Tensor]
"""From gradients to the first rows of actions, [up to N, actions], and to their
log-likelihoods, [up to N] (None: zeros), to that of what they were drawn from."""


class Squashed(_Base):
    """Makes an actor-critic policy the actor of SAC: actions are tanh of a Gaussian
    whose mean and standard deviation depend on the state, and there is no critic.

    `predict` works as for any SB3 policy; `unroll`, `heads` and `draw` are what
    learning calls.
    """

    state_size = 0
    """Width of the state of one environment as a flat vector; 0 for a network without
    memory."""

    widths: ClassVar[list[int]] = []
    """Of hidden layers, by default."""

    action_net: nn.Linear

    def __init__(
        self, observation_space: spaces.Space[Any], *args: Any, **kwargs: Any
    ) -> None:
        images = kwargs.get("normalize_images", True)
        extractor = extractor_for(observation_space, images)
        kwargs.setdefault("features_extractor_class", extractor)
        super().__init__(observation_space, *args, **kwargs)

    def _build(self, lr_schedule: Schedule) -> None:
        self._build_mlp_extractor()
        features = self.mlp_extractor.latent_dim_pi
        self._build_heads(features, get_action_dim(self.action_space))
        self._squash_output = True
        make_optimizer: Any = self.optimizer_class
        self.optimizer = make_optimizer(
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
        """Mean and log standard deviation [..., actions] before squashing, of what the
        network gives [..., features].
        """
        return self.action_net(features), self.log_std_net(features).clamp(*LOG_STD)

    def logits(self, features: Tensor) -> Tensor:
        """What the heads give, side by side, [..., numbers], for `policies.fast`."""
        return torch.cat([head(features) for head in self.heads()], dim=-1)

    def mode(self, features: Tensor) -> Tensor:
        """The likeliest actions before squashing, squashed: [..., actions]."""
        return torch.tanh(self.action_net(features))

    def explore(self, features: Tensor) -> tuple[Tensor, Tensor]:
        """The mode and a draw of actions, each [..., actions] between -1 and 1."""
        mean, log_std = self.gaussian(features)
        drawn = torch.tanh(mean + log_std.exp() * torch.randn_like(mean))
        return torch.tanh(mean), drawn

    def heads(self) -> list[nn.Linear]:
        """The layers that give what `draw` takes, side by side."""
        return [self.action_net, self.log_std_net]

    def draw(self, logits: Tensor) -> tuple[Tensor, Tensor, WayBack]:
        """Draws actions (the reparameterisation of Haarnoja et al. 2018).

        Args:
            logits: what the heads give, [..., numbers].

        Returns:
            Actions [..., actions] between -1 and 1, their log-likelihoods [...], and
            the way back from both.
        """
        mean, free_log_std = logits.chunk(2, dim=-1)
        log_std = free_log_std.clamp(*LOG_STD)
        draw = SquashedDraw.of(mean, log_std, torch.randn_like(mean))

        def to_logits(of_actions: Tensor, of_log_probs: Tensor | None) -> Tensor:
            rows = len(of_actions)
            of_mean, of_log_std = draw.first(rows).slopes(of_actions, of_log_probs)
            is_within = log_std[:rows] == free_log_std[:rows]
            return torch.cat([of_mean, of_log_std * is_within], dim=-1)

        return draw.actions, draw.log_probs, to_logits

    def rectified_layers(self) -> list[nn.Linear]:
        """The linear layers of a network that consists of these and a rectifier after
        each; none of any other network.
        """
        return []

    def pair(self, flat: Tensor) -> Pair | None:
        """The state as `unroll` takes it, of one vector for each environment [B,
        state_size].
        """
        return None

    def flat(self, state: Pair | None) -> Tensor | None:
        """A state as one vector for each environment, [B, state_size]."""
        return None

    @property
    def memory_width(self) -> int:
        """Numbers that the memory gives at a step."""
        return self.action_net.in_features

    def run_memory(
        self, inputs: Tensor, starts: Tensor, state: Any
    ) -> tuple[Tensor, Any]:
        """Runs sequences through the memory.

        Args:
            inputs: [T, B, channels].
            starts: [T, B], 1 where an episode starts.
            state: before them, as `pair` gives it.

        Returns:
            What the memory gives, or where there is none the network, [T, B,
            memory_width], and the state after them.
        """
        return self.mlp_extractor.forward_actor(inputs), None

    def features_of(self, memory: Tensor) -> Tensor:
        """What the heads see, [..., F], of what `run_memory` gives: the same where no
        layers follow.
        """
        return memory

    def unroll(self, inputs: Tensor, starts: Tensor, state: Any) -> tuple[Tensor, Any]:
        """Runs sequences, as `run_memory` does: features [T, B, F], and the state after
        them.
        """
        memory, after = self.run_memory(inputs, starts, state)
        return self.features_of(memory), after


class SquashedMlp(Squashed, ActorCriticPolicy):
    """The actor of SB3's SAC: an MLP."""

    widths: ClassVar[list[int]] = [256, 256]

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        refuse_lstm_arguments(
            kwargs,
            "an MLP, which has no memory",
            "give the widths as net_arch=dict(pi=[...])",
        )
        super().__init__(*args, **kwargs)

    def rectified_layers(self) -> list[nn.Linear]:
        """See `Squashed`."""
        modules = list(self.mlp_extractor.policy_net)
        linear = modules[::2]
        activations = modules[1::2]
        is_rectified = all(type(x) is nn.ReLU for x in activations)
        return linear if is_rectified else []


class SquashedSpiking(Squashed, PlasticSpikingPolicy):
    """A spiking network, plastic or not."""

    @property
    def state_size(self) -> int:
        """Of all fields of `layout`."""
        return self.layout.size

    def pair(self, flat: Tensor) -> Pair:
        """The state as it is, and a placeholder."""
        return flat[None], flat[None, :, :1]

    def flat(self, state: Any) -> Tensor:
        """The state as it is."""
        whole: Tensor = state[0][0]
        return whole

    def run_memory(
        self, inputs: Tensor, starts: Tensor, state: Any
    ) -> tuple[Tensor, Any]:
        """See `Squashed`."""
        memory, after = self.network(inputs, state, starts)
        return memory, after


class _Recurrent(Squashed):
    """With the surface of `nn.LSTM` as its memory."""

    lstm_actor: nn.LSTM
    mlp_extractor: Any

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        kwargs["shared_lstm"] = True  # there is no critic
        kwargs["enable_critic_lstm"] = False
        super().__init__(*args, **kwargs)

    @property
    def state_size(self) -> int:
        """Of hidden and cell state, in all layers."""
        return 2 * self.lstm_actor.num_layers * self.lstm_actor.hidden_size

    def pair(self, flat: Tensor) -> Pair:
        """Hidden and cell state, each [layers, B, width]."""
        shape = (self.lstm_actor.num_layers, self.lstm_actor.hidden_size)
        hidden, cell = flat.chunk(2, dim=1)
        return (
            hidden.unflatten(1, shape).transpose(0, 1).contiguous(),
            cell.unflatten(1, shape).transpose(0, 1).contiguous(),
        )

    def flat(self, state: Any) -> Tensor:
        """Hidden and cell state of all layers side by side."""
        return torch.cat([part.transpose(0, 1).flatten(1) for part in state], dim=1)

    @property
    def memory_width(self) -> int:
        """Units of the memory."""
        return self.lstm_actor.hidden_size

    def run_memory(
        self, inputs: Tensor, starts: Tensor, state: Any
    ) -> tuple[Tensor, Any]:
        """See `Squashed`."""
        outputs, after = remember(self.lstm_actor, inputs.flatten(0, 1), state, starts)
        return outputs.unflatten(0, starts.shape), after

    def features_of(self, memory: Tensor) -> Tensor:
        """See `Squashed`: layers follow the memory."""
        features: Tensor = self.mlp_extractor.forward_actor(memory)
        return features


class SquashedLstm(_Recurrent, RecurrentActorCriticPolicy):
    """sb3-contrib's LSTM."""


class SquashedGru(_Recurrent, GruPolicy):
    """The same with a GRU."""


class Certain(SquashedDiagGaussianDistribution):
    """The distribution of an actor that does not explore: a draw is the mode."""

    def sample(self) -> Tensor:
        """The mode."""
        return self.mode()

    def log_prob(
        self, actions: Tensor, gaussian_actions: Tensor | None = None
    ) -> Tensor:
        """Of a certain action: zero, [batch].

        Args:
            actions: [batch, ...].
            gaussian_actions: not used; there is no Gaussian.
        """
        return actions.new_zeros(len(actions))


class Deterministic(Squashed):
    """Makes an actor-critic policy the actor of TD3: actions are tanh of what the
    network gives.
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

    def explore(self, features: Tensor) -> tuple[Tensor, Tensor]:
        """The actions, twice: noise is the algorithm's."""
        mode = self.mode(features)
        return mode, mode

    def heads(self) -> list[nn.Linear]:
        """See `Squashed`."""
        return [self.action_net]

    def draw(self, logits: Tensor) -> tuple[Tensor, Tensor, WayBack]:
        """See `Squashed`; log-likelihoods are zeros."""
        actions = torch.tanh(logits)

        def to_logits(of_actions: Tensor, of_log_probs: Tensor | None) -> Tensor:
            drawn = actions[: len(of_actions)]
            return of_actions * (1 - drawn * drawn)

        return actions, torch.zeros_like(actions[..., 0]), to_logits


class DeterministicMlp(Deterministic, SquashedMlp):
    """The actor of SB3's TD3: an MLP."""


class DeterministicSpiking(Deterministic, SquashedSpiking):
    """A spiking network, plastic or not."""


class DeterministicLstm(Deterministic, SquashedLstm):
    """sb3-contrib's LSTM."""


class DeterministicGru(Deterministic, SquashedGru):
    """The same with a GRU."""


class _SquashedGaussian:
    """Actions of mean and log standard deviation side by side, for `policies.fast`.

    Attributes:
        beside: layers that give what stands beside the mean.
    """

    def __init__(self, policy: Any) -> None:
        self.beside: list[nn.Linear] = policy.heads()[1:]
        space = policy.action_space
        self.low = torch.as_tensor(space.low).flatten()
        self.half = 0.5 * (torch.as_tensor(space.high).flatten() - self.low)

    def mode(self, logits: Tensor) -> Tensor:
        """The action of the mean, [batch, actions] between the bounds; what is beside
        the mean may be left out.
        """
        mean = logits[:, : len(self.low)]
        return self.low + (torch.tanh(mean) + 1.0) * self.half

    def draw(self, logits: Tensor) -> tuple[Tensor, Tensor]:
        """Actions between the bounds, and their log-likelihoods before scaling."""
        mean, free_log_std = logits.chunk(2, dim=1)
        log_std = free_log_std.clamp(*LOG_STD)
        draw = SquashedDraw.of(mean, log_std, torch.randn_like(mean))
        return self.low + (draw.actions + 1.0) * self.half, draw.log_probs


class _Certain(_SquashedGaussian):
    """Actions before squashing, for `policies.fast`."""

    def mode(self, logits: Tensor) -> Tensor:
        """Between the bounds."""
        return self.low + (torch.tanh(logits) + 1.0) * self.half

    def draw(self, logits: Tensor) -> tuple[Tensor, Tensor]:
        """The mode, and log-likelihoods of zero."""
        return self.mode(logits), logits.new_zeros(len(logits))


def _networks(policy: Any) -> tuple[Callable[..., Any], None]:
    """The actor as a function, and no critic, for `policies.fast`."""
    held_weakly = weakref.proxy(policy)

    def actor(
        features: Tensor, state: Any, starts: Tensor
    ) -> tuple[Tensor, Tensor, Any]:
        inputs = features.view(*starts.shape, -1)
        unrolled, after = held_weakly.unroll(inputs, starts, state)
        memory = unrolled.flatten(0, 1)
        return held_weakly.logits(memory), memory, after

    return actor, None


DISTRIBUTIONS[SquashedDiagGaussianDistribution] = _SquashedGaussian
DISTRIBUTIONS[Certain] = _Certain


def _by_name(
    mlp: type[Squashed],
    lstm: type[Squashed],
    gru: type[Squashed],
    spiking: type[Squashed],
) -> dict[str, type[Squashed]]:
    """Actors by SB3's and sb3-contrib's names of policies, and by ours."""
    return {
        "MlpPolicy": mlp,
        "CnnPolicy": mlp,
        "MultiInputPolicy": mlp,
        "MlpLstmPolicy": lstm,
        "CnnLstmPolicy": lstm,
        "MultiInputLstmPolicy": lstm,
        "GruPolicy": gru,
        "PlasticSpikingPolicy": spiking,
    }


ACTORS = _by_name(SquashedMlp, SquashedLstm, SquashedGru, SquashedSpiking)
"""Actors of an `OffPolicy`, by the names of policies."""

DETERMINISTIC_ACTORS = _by_name(
    DeterministicMlp, DeterministicLstm, DeterministicGru, DeterministicSpiking
)
"""The same without exploration of their own."""

EXTRACTORS: dict[str, type[BaseFeaturesExtractor]] = {
    "CnnPolicy": NatureCNN,
    "CnnLstmPolicy": NatureCNN,
    "MultiInputPolicy": LstmCombinedExtractor,
    "MultiInputLstmPolicy": LstmCombinedExtractor,
}
"""Features extractors of names that demand a kind of observation. All other policies
have the one that suits their observations."""

for _actor_class in (*ACTORS.values(), *DETERMINISTIC_ACTORS.values()):
    NETWORKS[_actor_class] = _networks
