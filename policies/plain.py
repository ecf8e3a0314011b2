"""A policy as plain calls of functions: what its methods give, sooner.

An environment step of a few environments is little arithmetic, and so is a minibatch of a small
network; most of the time goes into modules, distributions and checks of arguments, each of which
asks again what has not changed since the call before.
"""

import itertools
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
from torch.autograd.function import once_differentiable

from spikepropamine.policies.dense import Dense
from spikepropamine.policies.extractors import LstmFlattenExtractor
from spikepropamine.policies.policy import Critic, PlasticSpikingPolicy, by_sequence, by_time
from spikepropamine.policies.told import ToldLstmPolicy, ToldMlpPolicy

Function = Callable[[Tensor], Tensor]
Step = Callable[[Tensor, Any, Tensor], tuple[Tensor, Tensor, Tensor, Any]]
Predict = Callable[[np.ndarray, Any, np.ndarray], tuple[np.ndarray, Any]]
Evaluate = Callable[[Any], tuple[Tensor, Tensor, Tensor]]
Pair = tuple[Tensor, Tensor]
HOOKS = ("_forward_hooks", "_forward_pre_hooks", "_backward_hooks", "_backward_pre_hooks")
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
    if not known(policy):
        return None
    actor, critic = KINDS[type(policy)](policy)
    shape = (-1, *policy.action_space.shape)
    without_gradients = torch.no_grad()
    exploration, log_std = None, None

    def step(
        observations: Tensor, states: Any, starts: Tensor
    ) -> tuple[Tensor, Tensor, Tensor, Any]:
        nonlocal exploration, log_std
        with without_gradients:
            if log_std is None or not torch.equal(log_std, policy.log_std):
                log_std = policy.log_std.clone()
                exploration = _Gaussian(log_std, batch)
            features = observations.float().flatten(1)
            means, memory, pi = actor(features, states and states.pi, starts[None])
            actions, log_probs = exploration.draw(means)
            values, vf = critic(features, memory, pi, states and states.vf, starts[None])
            states = None if states is None else RNNStates(pi, vf)
            return actions.reshape(shape), values, log_probs, states

    return step


def plain_predict(policy: Any) -> Predict | None:
    """The deterministic `predict` of a policy, as long as its parameters are the same tensors.

    Returns:
        From observations [batch, ...], the state (the actor's pair of arrays; None for policies
        without) and episode starts [batch] to actions [batch, ...] and the next state. None for
        policies that `plain_step` does not know either.
    """
    if not known(policy):
        return None
    actor, _ = KINDS[type(policy)](policy)
    space = policy.action_space

    @torch.no_grad()
    def predict(observations: np.ndarray, state: Any, starts: np.ndarray) -> tuple[Any, Any]:
        features = torch.as_tensor(observations).float().flatten(1)
        pair = state and tuple(torch.as_tensor(part, dtype=torch.float32) for part in state)
        first = torch.as_tensor(starts, dtype=torch.float32)
        means, _, pair = actor(features, pair, first[None])
        actions = means.numpy().reshape(-1, *space.shape)
        actions = np.minimum(np.maximum(actions, space.low), space.high)
        return actions, pair and tuple(part.numpy() for part in pair)

    return predict


def plain_evaluate(policy: Any) -> Evaluate | None:
    """`evaluate_actions` of a policy, nearly to the last bit, on minibatches of a rollout buffer.

    Returns:
        From a minibatch of `count` steps (of a recurrent policy: of equal sequences, one after the
        other) to values, log-likelihoods of the actions and entropies, each [count], with
        gradients. None for policies that `plain_step` does not know either.
    """
    if not known(policy):
        return None
    actor, critic = KINDS[type(policy)](policy)
    log_std = policy.log_std

    def evaluate(batch: Any) -> tuple[Tensor, Tensor, Tensor]:
        features, actions = batch.observations.float().flatten(1), batch.actions
        states, starts, sequences = getattr(batch, "lstm_states", None), None, None
        if states is not None:
            sequences = states.pi[0].shape[1]
            starts = by_time(batch.episode_starts, sequences)
            features = by_time(features, sequences).flatten(0, 1)
            actions = by_time(actions, sequences).flatten(0, 1)
        means, memory, after = actor(features, states and states.pi, starts)
        memory = None if memory is None else memory.detach()
        values, _ = critic(features, memory, after, states and states.vf, starts)
        values, log_probs = values.flatten(), _LogLikelihood.apply(means, log_std, actions)
        if sequences is not None:
            values, log_probs = by_sequence(values, sequences), by_sequence(log_probs, sequences)
        entropy = (log_std + (0.5 + HALF_LOG_TWO_PI)).sum().expand(len(values))
        return values, log_probs, entropy

    return evaluate


def known(policy: Any) -> bool:
    """Whether `plain_step` and the others know a policy."""
    space = policy.observation_space
    return (
        type(policy) in KINDS
        and policy.device.type == "cpu"
        and isinstance(space, spaces.Box)
        and np.issubdtype(space.dtype, np.floating)
        and type(policy.features_extractor) in (FlattenExtractor, LstmFlattenExtractor)
        and policy.share_features_extractor
        and type(policy.action_dist) is DiagGaussianDistribution
        and type(policy.mlp_extractor) in (MlpExtractor, Critic)
        and "forward" not in vars(policy)
        and not any(getattr(m, hooks) for m in policy.modules() for hooks in HOOKS)
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


class _LogLikelihood(torch.autograd.Function):
    """Log-likelihoods [N] of actions under independent Gaussians around means, each [N, channels],
    with gradients to means and log standard deviations [channels].
    """

    @staticmethod
    def forward(ctx, means, log_std, actions):
        off = actions - means
        scaled = off * torch.exp(-2 * log_std)
        squares = off.mul_(scaled)
        ctx.save_for_backward(scaled, squares)
        constant = log_std.sum() + len(log_std) * HALF_LOG_TWO_PI
        return squares.sum(dim=1).mul_(-0.5).sub_(constant)

    @staticmethod
    @once_differentiable
    def backward(ctx, d_log_probs):
        scaled, squares = ctx.saved_tensors
        return d_log_probs[:, None] * scaled, d_log_probs @ (squares - 1), None


def _chain(modules: Iterable[nn.Module]) -> Function:
    """Modules, one after the other."""
    modules = list(modules)
    functions = [_function(module) for module in modules]
    dense = _is_dense(modules)
    parameters = [x for module in modules for x in module.parameters()]

    def call(x: Tensor) -> Tensor:
        if dense and torch.is_grad_enabled():
            return Dense.apply(x, *parameters)
        for function in functions:
            x = function(x)
        return x

    return call


def _is_dense(modules: list[nn.Module]) -> bool:
    """Whether these are linear modules with biases, and a hyperbolic tangent between each two."""
    kinds = [type(module) for module in modules]
    return (
        kinds[::2] == [nn.Linear] * len(kinds[::2])
        and all(kind is nn.Tanh for kind in kinds[1::2])
        and len(kinds) % 2 == 1
        and all(module.bias is not None for module in modules[::2])
    )


def _function(module: nn.Module) -> Function:
    """What a module does, as a function; the module itself where that is not known."""
    if type(module) is nn.Linear:
        weight, bias, linear = module.weight, module.bias, nn.functional.linear
        return lambda x: linear(x, weight, bias)
    known: dict[type, Function] = {nn.Tanh: torch.tanh, nn.ReLU: torch.relu}
    return known.get(type(module), module)


# From a policy to two functions. Of the actor: features, state and starts to the means of actions,
# what its memory says, and the next state. Of the critic: features, what the actor's memory says,
# the actor's next state, the critic's own and starts to values and the next state. Features are
# [T * B, channels], one step after the other, and starts [T, B]; T is 1 in a rollout.


def _heads(policy: Any) -> tuple[Function, Function]:
    """Hidden layers and heads of actor and critic."""
    hidden = policy.mlp_extractor
    actor = getattr(hidden, "policy_net", ())  # a spiking network has none
    return _chain([*actor, policy.action_net]), _chain([*hidden.value_net, policy.value_net])


def _mlp(policy: ActorCriticPolicy) -> tuple[Any, Any]:
    mean, value = _heads(policy)
    return (
        lambda features, state, starts: (mean(features), None, None),
        lambda features, memory, after, state, starts: (value(features), None),
    )


def _lstm(policy: RecurrentActorCriticPolicy) -> tuple[Any, Any]:
    mean, value = _heads(policy)
    own = None if policy.lstm_critic is None else _memory(policy.lstm_critic)
    shared = _memory(policy.lstm_actor)

    def actor(features: Tensor, state: Pair, starts: Tensor) -> tuple[Tensor, Tensor, Pair]:
        memory, state = shared(features, state, starts)
        return mean(memory), memory, state

    def critic(
        features: Tensor, memory: Tensor, after: Pair, state: Pair, starts: Tensor
    ) -> tuple[Tensor, Pair]:
        if own is not None:
            memory, after = own(features, state, starts)
        elif not policy.shared_lstm:
            assert policy.critic is not None
            memory = policy.critic(features)
        return value(memory), after

    return actor, critic


def _memory(lstm: nn.LSTM) -> Callable[[Tensor, Pair, Tensor], tuple[Tensor, Pair]]:
    """Steps of an LSTM, from features, state and starts."""
    weights: Any = lstm._flat_weights
    form = lstm.bias, lstm.num_layers, lstm.dropout

    def run(features: Tensor, state: Pair, starts: Tensor) -> tuple[Tensor, Pair]:
        steps, batch = starts.shape
        inputs = features.view(steps, batch, -1)[..., : lstm.input_size]  # the critic may see more
        begun = starts.any(dim=1).tolist()
        cuts = [0, *(t for t in range(1, steps) if begun[t]), steps]
        outputs = []
        for first, last in itertools.pairwise(cuts):
            if begun[first]:
                kept = (1.0 - starts[first]).view(1, -1, 1)
                state = kept * state[0], kept * state[1]
            out, *after = torch.lstm(
                inputs[first:last], state, weights, *form, lstm.training, lstm.bidirectional, False
            )
            outputs.append(out)
            state = after[0], after[1]
        whole = outputs[0] if len(outputs) == 1 else torch.cat(outputs)
        return whole.flatten(0, 1), state

    return run


def _spiking(policy: PlasticSpikingPolicy) -> tuple[Any, Any]:
    mean, value = _heads(policy)
    network: Any = policy.network
    sees_spikes = policy.mlp_extractor.sees_spikes

    def actor(features: Tensor, state: Pair, starts: Tensor) -> tuple[Tensor, Tensor, Pair]:
        observations = features.view(*starts.shape, -1)
        if torch.is_grad_enabled():
            fields = network.layout.unpack(state[0][0])
            spiking = network.run(observations, starts, fields, state_wanted=False)[0]
        else:
            spiking, state = network.forward(observations, state, starts)
        spiking = spiking.flatten(0, 1)
        return mean(spiking), spiking, state

    def critic(
        features: Tensor, memory: Tensor, after: Pair, state: Pair, starts: Tensor
    ) -> tuple[Tensor, Pair]:
        return value(torch.cat([memory, features], dim=1) if sees_spikes else features), after

    return actor, critic


KINDS: dict[type, Callable[[Any], tuple[Any, Any]]] = {
    ActorCriticPolicy: _mlp,
    ToldMlpPolicy: _mlp,
    RecurrentActorCriticPolicy: _lstm,
    ToldLstmPolicy: _lstm,
    PlasticSpikingPolicy: _spiking,
}
