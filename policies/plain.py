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

from spikepropamine.policies.policy import Critic, PlasticSpikingPolicy

Function = Callable[[Tensor], Tensor]
Step = Callable[[Tensor, Any, Tensor], tuple[Tensor, Tensor, Tensor, Any]]
Predict = Callable[[np.ndarray, Any, np.ndarray], tuple[np.ndarray, Any]]
Pair = tuple[Tensor, Tensor]
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
    if not _known(policy):
        return None
    actor, critic = KINDS[type(policy)](policy)
    with torch.no_grad():
        exploration = _Gaussian(policy.log_std, batch)
    mean, value = _chain([policy.action_net]), _chain([policy.value_net])
    shape = (-1, *policy.action_space.shape)
    without_gradients = torch.no_grad()

    def step(
        observations: Tensor, states: Any, starts: Tensor
    ) -> tuple[Tensor, Tensor, Tensor, Any]:
        with without_gradients:
            features = observations.float().flatten(1)
            latent, memory, pi = actor(features, states and states.pi, starts)
            actions, log_probs = exploration.draw(mean(latent))
            seen, vf = critic(features, memory, pi, states and states.vf, starts)
            states = None if states is None else RNNStates(pi, vf)
            return actions.reshape(shape), value(seen), log_probs, states

    return step


def plain_predict(policy: Any) -> Predict | None:
    """The deterministic `predict` of a policy, as long as its parameters are the same tensors.

    Returns:
        From observations [batch, ...], the state (the actor's pair of arrays; None for policies
        without) and episode starts [batch] to actions [batch, ...] and the next state. None for
        policies that `plain_step` does not know either.
    """
    if not _known(policy):
        return None
    actor, _ = KINDS[type(policy)](policy)
    mean, space = _chain([policy.action_net]), policy.action_space

    @torch.no_grad()
    def predict(observations: np.ndarray, state: Any, starts: np.ndarray) -> tuple[Any, Any]:
        features = torch.as_tensor(observations).float().flatten(1)
        pair = state and tuple(torch.as_tensor(part, dtype=torch.float32) for part in state)
        first = torch.as_tensor(starts, dtype=torch.float32)
        latent, _, pair = actor(features, pair, first)
        actions = mean(latent).numpy().reshape(-1, *space.shape)
        actions = np.minimum(np.maximum(actions, space.low), space.high)
        return actions, pair and tuple(part.numpy() for part in pair)

    return predict


def _known(policy: Any) -> bool:
    space = policy.observation_space
    return (
        type(policy) in KINDS
        and policy.device.type == "cpu"
        and isinstance(space, spaces.Box)
        and np.issubdtype(space.dtype, np.floating)
        and type(policy.features_extractor) is FlattenExtractor
        and policy.share_features_extractor
        and type(policy.action_dist) is DiagGaussianDistribution
        and type(policy.mlp_extractor) in (MlpExtractor, Critic)
        and "forward" not in vars(policy)
        and not any(m._forward_hooks or m._forward_pre_hooks for m in policy.modules())
    )


class _Gaussian:
    """Independent Gaussians around means [batch, channels], as SB3's `DiagGaussianDistribution`.

    In NumPy, where calls are cheaper; single operations are the same to the last bit, but not sums.
    """

    def __init__(self, log_std: Tensor, batch: int) -> None:
        # for the whole batch, since functions of one row differ in the last bit from those of many
        deviation = torch.ones(batch, len(log_std)) * log_std.exp()
        self.deviation, self.log_deviation = deviation.numpy(), deviation.log().numpy()
        self.twice_variance = (2 * deviation**2).numpy()

    def draw(self, means: Tensor) -> tuple[Tensor, Tensor]:
        """Actions [batch, channels], and their log-likelihoods [batch]."""
        middle = means.numpy()
        actions = middle + torch.randn(means.shape).numpy() * self.deviation
        off = actions - middle
        each = -(off * off) / self.twice_variance - self.log_deviation - HALF_LOG_TWO_PI
        return torch.from_numpy(actions), torch.from_numpy(each).sum(dim=1)


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


# From a policy to two functions. Of the actor: features, state and starts to latent features, what
# its memory says, and the next state. Of the critic: features, what the actor's memory says, the
# actor's next state, the critic's own and starts to latent features and the next state.


def _mlp(policy: ActorCriticPolicy) -> tuple[Any, Any]:
    hidden = _chain(policy.mlp_extractor.policy_net)
    valued = _chain(policy.mlp_extractor.value_net)
    return (
        lambda features, state, starts: (hidden(features), None, None),
        lambda features, memory, after, state, starts: (valued(features), None),
    )


def _lstm(policy: RecurrentActorCriticPolicy) -> tuple[Any, Any]:
    hidden = _chain(policy.mlp_extractor.policy_net)
    valued = _chain(policy.mlp_extractor.value_net)
    own = None if policy.lstm_critic is None else _memory(policy.lstm_critic)
    shared = _memory(policy.lstm_actor)

    def actor(features: Tensor, state: Pair, starts: Tensor) -> tuple[Tensor, Tensor, Pair]:
        memory, state = shared(features, state, starts)
        return hidden(memory), memory, state

    def critic(
        features: Tensor, memory: Tensor, after: Pair, state: Pair, starts: Tensor
    ) -> tuple[Tensor, Pair]:
        if own is not None:
            memory, after = own(features, state, starts)
        elif not policy.shared_lstm:
            assert policy.critic is not None
            memory = policy.critic(features)
        return valued(memory), after

    return actor, critic


def _memory(lstm: nn.LSTM) -> Callable[[Tensor, Pair, Tensor], tuple[Tensor, Pair]]:
    """A step of an LSTM, from features [batch, channels], state and starts."""
    weights: Any = lstm._flat_weights
    form = lstm.bias, lstm.num_layers, lstm.dropout

    def run(features: Tensor, state: Pair, starts: Tensor) -> tuple[Tensor, Pair]:
        if starts.any():
            kept = (1.0 - starts).view(1, -1, 1)
            state = kept * state[0], kept * state[1]
        out, *after = torch.lstm(
            features[None], state, weights, *form, False, lstm.bidirectional, False
        )
        return out[0], (after[0], after[1])

    return run


def _spiking(policy: PlasticSpikingPolicy) -> tuple[Any, Any]:
    valued = _chain(policy.mlp_extractor.value_net)
    network: Any = policy.network
    sees_spikes = policy.mlp_extractor.sees_spikes

    def actor(features: Tensor, state: Pair, starts: Tensor) -> tuple[Tensor, Tensor, Pair]:
        spiking, state = network.forward(features[None], state, starts[None])
        return spiking[0], spiking[0], state

    def critic(
        features: Tensor, memory: Tensor, after: Pair, state: Pair, starts: Tensor
    ) -> tuple[Tensor, Pair]:
        return valued(torch.cat([memory, features], dim=1) if sees_spikes else features), after

    return actor, critic


KINDS: dict[type, Callable[[Any], tuple[Any, Any]]] = {
    ActorCriticPolicy: _mlp,
    RecurrentActorCriticPolicy: _lstm,
    PlasticSpikingPolicy: _spiking,
}
