"""A policy's step as plain calls of functions: what its `forward` gives, to the last bit, sooner.

An environment step of a few environments is little arithmetic; most of its time goes into modules,
distributions and checks of arguments, each of which asks again what has not changed since the step
before.
"""

import math
from collections.abc import Callable, Iterable
from typing import Any

import numpy as np
import torch
from gymnasium import spaces
from sb3_contrib.common.recurrent.policies import RecurrentActorCriticPolicy
from sb3_contrib.common.recurrent.type_aliases import RNNStates
from stable_baselines3.common.distributions import DiagGaussianDistribution
from stable_baselines3.common.policies import ActorCriticPolicy
from stable_baselines3.common.torch_layers import FlattenExtractor, MlpExtractor
from torch import Tensor, nn

from spikepropamine.policies.policy import PlasticSpikingPolicy

Function = Callable[[Tensor], Tensor]
Step = Callable[[Tensor, Any, Tensor], tuple[Tensor, Tensor, Tensor, Any]]
HALF_LOG_TWO_PI = math.log(math.sqrt(2 * math.pi))


def plain_step(policy: Any, batch: int) -> Step | None:
    """The `forward` of a policy, for as long as its parameters stay as they are.

    Args:
        policy: any of SB3's or of this project's.
        batch: how many environments there are.

    Returns:
        From observations [batch, ...], the state (`RNNStates`; None for policies without) and
        episode starts [batch] to actions [batch, ...], values [batch, 1], log-likelihoods [batch]
        and the next state, without gradients; exploration is drawn from PyTorch's generator. None
        for policies that are not known here: of other classes or distributions, for observations
        other than arrays of floats, elsewhere than on the CPU, or with hooks.
    """
    kinds: dict[type, Any] = {
        ActorCriticPolicy: (_mlp, MlpExtractor),
        RecurrentActorCriticPolicy: (_lstm, MlpExtractor),
        PlasticSpikingPolicy: (_spiking, None),
    }
    if type(policy) not in kinds or policy.device.type != "cpu":
        return None
    latents, extractor = kinds[type(policy)]
    space = policy.observation_space
    known = (
        isinstance(space, spaces.Box)
        and np.issubdtype(space.dtype, np.floating)
        and type(policy.features_extractor) is FlattenExtractor
        and policy.share_features_extractor
        and type(policy.action_dist) is DiagGaussianDistribution
        and extractor in (None, type(policy.mlp_extractor))
    )
    if not known or any(m._forward_hooks or m._forward_pre_hooks for m in policy.modules()):
        return None
    with torch.no_grad():
        latents = latents(policy)
        exploration = _Gaussian(policy.log_std, batch)
    mean, value = _chain([policy.action_net]), _chain([policy.value_net])
    shape = (-1, *policy.action_space.shape)

    def step(
        observations: Tensor, states: Any, starts: Tensor
    ) -> tuple[Tensor, Tensor, Tensor, Any]:
        with torch.no_grad():
            features = observations.float().flatten(1)
            latent_pi, latent_vf, states = latents(features, states, starts)
            actions, log_probs = exploration.draw(mean(latent_pi))
            return actions.reshape(shape), value(latent_vf), log_probs, states

    return step


class _Gaussian:
    """Independent Gaussians around means [batch, channels], as SB3's `DiagGaussianDistribution`."""

    def __init__(self, log_std: Tensor, batch: int) -> None:
        # for the whole batch, since functions of one row differ in the last bit from those of many
        self.deviation = torch.ones(batch, len(log_std)) * log_std.exp()
        self.twice_variance = 2 * self.deviation**2
        self.log_deviation = self.deviation.log()

    def draw(self, means: Tensor) -> tuple[Tensor, Tensor]:
        """Actions [batch, channels], and their log-likelihoods [batch]."""
        actions = means + torch.randn(means.shape) * self.deviation
        squares = -((actions - means) ** 2) / self.twice_variance
        return actions, (squares - self.log_deviation - HALF_LOG_TWO_PI).sum(dim=1)


def _chain(modules: Iterable[nn.Module]) -> Function:
    """Modules, one after the other."""
    functions = [_function(module) for module in modules]

    def call(x: Tensor) -> Tensor:
        for function in functions:
            x = function(x)
        return x

    return call


def _function(module: nn.Module) -> Function:
    """What a module does, as a function; the module itself where that is not known."""
    if type(module) is nn.Linear:
        weight, bias, linear = module.weight, module.bias, nn.functional.linear
        return lambda x: linear(x, weight, bias)
    known: dict[type, Function] = {nn.Tanh: torch.tanh, nn.ReLU: torch.relu}
    return known.get(type(module), module)


# From a policy to what leads from features, states and starts to the latent features of actor and
# critic, and the next states.


def _mlp(policy: ActorCriticPolicy) -> Any:
    actor = _chain(policy.mlp_extractor.policy_net)
    critic = _chain(policy.mlp_extractor.value_net)
    return lambda features, states, starts: (actor(features), critic(features), states)


def _lstm(policy: RecurrentActorCriticPolicy) -> Any:
    actor = _chain(policy.mlp_extractor.policy_net)
    critic = _chain(policy.mlp_extractor.value_net)
    lstm: Any = policy._process_sequence

    def latents(features: Tensor, states: RNNStates, starts: Tensor) -> tuple[Any, Any, RNNStates]:
        out, pi = lstm(features, states.pi, starts, policy.lstm_actor)
        if policy.lstm_critic is not None:
            seen, vf = lstm(features, states.vf, starts, policy.lstm_critic)
        elif policy.shared_lstm:
            seen, vf = out, pi
        else:
            assert policy.critic is not None
            seen, vf = policy.critic(features), pi
        return actor(out), critic(seen), RNNStates(pi, vf)

    return latents


def _spiking(policy: PlasticSpikingPolicy) -> Any:
    critic = _chain(policy.mlp_extractor.value_net)
    network: Any = policy.network
    sees_spikes = policy.mlp_extractor.sees_spikes

    def latents(features: Tensor, states: RNNStates, starts: Tensor) -> tuple[Any, Any, RNNStates]:
        spiking, pair = network.forward(features[None], states.pi, starts[None])
        latent = spiking[0]
        seen = torch.cat([latent, features], dim=1) if sees_spikes else features
        return latent, critic(seen), RNNStates(pair, pair)

    return latents
