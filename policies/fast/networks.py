"""Policies' parts as functions: `NETWORKS` makes an actor and a critic of a policy, `DISTRIBUTIONS`
its actions.

The actor maps features, its state and starts to what the action network gives, to what its memory
says, and to the next state. The critic maps features, what the actor's memory says, the actor's
next state, its own state and starts to values [N, 1] and its own next state. Features are
[T * B, channels], one step after the other, and starts [T, B]; T is 1 in a rollout. The functions
hold modules and parameters, and no copies of them; they do not hold the policy.

Distributions are Stable-Baselines3's: `draw`, `mode`, and `evaluate` with gradients. Each takes
what the action network gives, [batch, channels]. None keeps what it is given, so that threads can
share it.
"""

import itertools
import math
from collections.abc import Callable
from typing import Any, cast

import torch
from sb3_contrib.common.recurrent import policies as recurrent
from stable_baselines3.common import distributions
from stable_baselines3.common import policies as sb3
from torch import Tensor, nn

from spikepropamine.policies.dense import Function, chain

HALF_LOG_TWO_PI = math.log(math.sqrt(2 * math.pi))

Pair = tuple[Tensor, Tensor]
Valued = tuple[Tensor, Pair]


def mlp(policy: Any) -> tuple[Any, Any]:
    """Actor and critic of an `ActorCriticPolicy`."""
    mean, value = _heads(policy)
    return (
        lambda features, state, starts: (mean(features), None, None),
        lambda features, memory, after, state, starts: (value(features), None),
    )


def lstm(policy: Any) -> tuple[Any, Any]:
    """Actor and critic of a `RecurrentActorCriticPolicy`."""
    mean, value = _heads(policy)
    shared, own, linear = policy.lstm_actor, policy.lstm_critic, policy.critic

    def actor(
        features: Tensor, state: Pair, starts: Tensor
    ) -> tuple[Tensor, Tensor, Pair]:
        memory, state = remember(shared, features, state, starts)
        return mean(memory), memory, state

    def critic(
        features: Any, memory: Any, after: Pair, state: Pair, starts: Any
    ) -> Valued:
        if own is not None:
            memory, after = remember(own, features, state, starts)
        elif linear is not None:
            memory = linear(features)
        return value(memory), after

    return actor, critic


def spiking(policy: Any) -> tuple[Any, Any]:
    """Actor and critic of a `PlasticSpikingPolicy`."""
    mean, value = _heads(policy)
    network: Any = policy.network
    sees_spikes = policy.mlp_extractor.sees_spikes

    def actor(
        features: Tensor, state: Pair, starts: Tensor
    ) -> tuple[Tensor, Tensor, Pair]:
        observations = features.view(*starts.shape, -1)
        # of drawn weights there are no gradients: `forward` says so
        if torch.is_grad_enabled() and network.config.fresh_weights != "random":
            fields = network.layout.unpack(state[0][0])
            memory = network.run(observations, starts, fields, state_wanted=False)[0]
        else:
            memory, state = network.forward(observations, state, starts)
        memory = memory.flatten(0, 1)
        return mean(memory), memory, state

    def critic(
        features: Any, memory: Any, after: Pair, state: Pair, starts: Any
    ) -> Valued:
        features = (
            features.detach()
        )  # with a shared memory the critic trains no extractor
        return value(
            torch.cat([memory, features], dim=1) if sees_spikes else features
        ), after

    return actor, critic


NETWORKS: dict[type, Callable[[Any], tuple[Any, Any]]] = {
    sb3.ActorCriticPolicy: mlp,
    sb3.ActorCriticCnnPolicy: mlp,
    sb3.MultiInputActorCriticPolicy: mlp,
    recurrent.RecurrentActorCriticPolicy: lstm,
    recurrent.RecurrentActorCriticCnnPolicy: lstm,
    recurrent.RecurrentMultiInputActorCriticPolicy: lstm,
}
"""By the class of the policy; other modules enter theirs."""


def _heads(policy: Any) -> tuple[Function, Function]:
    """Hidden layers and heads of actor and critic."""
    hidden = policy.mlp_extractor
    actor = getattr(hidden, "policy_net", ())  # a spiking network has none
    return chain([*actor, policy.action_net]), chain(
        [*hidden.value_net, policy.value_net]
    )


def remember(
    memory: nn.RNNBase, features: Tensor, state: Pair, starts: Tensor
) -> tuple[Tensor, Pair]:
    """Steps of an LSTM or a GRU, from features [T * B, channels or more], state (whose second part
    a GRU leaves at zero) and starts [T, B] to outputs [T * B, width] and the next state.
    """
    form, end = (
        (memory.bias, memory.num_layers, memory.dropout),
        (memory.bidirectional, False),
    )
    gated, weights = isinstance(memory, nn.GRU), cast(Any, memory._flat_weights)
    function: Any = torch.gru if gated else torch.lstm
    inputs = features.view(*starts.shape, -1)[..., : memory.input_size]
    begun = starts.any(dim=1).tolist()
    cuts = [0, *(t for t in range(1, len(begun)) if begun[t]), len(begun)]
    outputs = []
    for first, last in itertools.pairwise(cuts):
        if begun[first]:
            kept = (1.0 - starts[first]).view(1, -1, 1)
            state = kept * state[0], kept * state[1]
        before = state[0] if gated else state
        out, *after = function(
            inputs[first:last], before, weights, *form, memory.training, *end
        )
        outputs.append(out)
        state = after[0], torch.zeros_like(after[0]) if gated else after[1]
    whole = outputs[0] if len(outputs) == 1 else torch.cat(outputs)
    return whole.flatten(0, 1), state


class Gaussian:
    """Independent Gaussians around means (Box actions)."""

    def __init__(self, policy: Any) -> None:
        self.log_std = policy.log_std
        self._spread: tuple[Any, ...] = (None,)  # as it was, and what follows from it

    def mode(self, means: Tensor) -> Tensor:
        """The means."""
        return means

    def draw(self, means: Tensor) -> tuple[Tensor, Tensor]:
        """Actions [batch, channels] from PyTorch's generator, and their log-likelihoods [batch]."""
        log_std = self.log_std.detach()
        spread = self._spread
        if (
            spread[0] is None
            or len(spread[1]) != len(means)
            or not torch.equal(spread[0], log_std)
        ):
            # for the whole batch, since functions of one row differ in the last bit from many's
            deviation = torch.ones_like(means) * log_std.exp()
            parts = (x.numpy() for x in (deviation, 2 * deviation**2, deviation.log()))
            spread = self._spread = log_std.clone(), *parts
        _, deviation, twice_variance, log_deviation = spread
        # in NumPy, where calls are cheaper; single operations are the same, but not sums
        middle = means.numpy()
        actions = middle + torch.randn(means.shape).numpy() * deviation
        off = actions - middle
        each = -(off * off) / twice_variance - log_deviation - HALF_LOG_TWO_PI
        return torch.from_numpy(actions), torch.from_numpy(each).sum(dim=1)

    def evaluate(self, means: Tensor, actions: Tensor) -> tuple[Tensor, Tensor]:
        """Log-likelihoods and entropies, each [N]."""
        scaled = (actions - means) * torch.exp(-self.log_std)
        constant = (self.log_std + HALF_LOG_TWO_PI).sum()
        entropy = constant + 0.5 * len(self.log_std)
        return -0.5 * scaled.square().sum(dim=1) - constant, entropy.expand(len(means))


class Categorical:
    """One categorical distribution after the other (Discrete and MultiDiscrete actions)."""

    def __init__(self, policy: Any) -> None:
        several = getattr(policy.action_dist, "action_dims", None)
        self.sizes = (
            [policy.action_net.out_features] if several is None else list(several)
        )

    def mode(self, logits: Tensor) -> Tensor:
        """The likeliest actions, [batch, distributions]."""
        parts = self._likelihoods(logits)
        return torch.cat([p.argmax(dim=1, keepdim=True) for _, p in parts], dim=1)

    def draw(self, logits: Tensor) -> tuple[Tensor, Tensor]:
        """Actions [batch, distributions] from PyTorch's generator, log-likelihoods [batch]."""
        parts = self._likelihoods(logits)
        actions = torch.cat([torch.multinomial(p, 1, True) for _, p in parts], dim=1)
        return actions, _of_actions([log_p for log_p, _ in parts], actions)

    def _likelihoods(self, logits: Tensor) -> list[tuple[Tensor, Tensor]]:
        """Their logarithms and themselves, each [batch, actions], in Stable-Baselines3's steps."""
        parts = logits.split(self.sizes, dim=1)
        logs = [part - part.logsumexp(dim=1, keepdim=True) for part in parts]
        return [(log_p, log_p.softmax(dim=1)) for log_p in logs]

    def evaluate(self, logits: Tensor, actions: Tensor) -> tuple[Tensor, Tensor]:
        """Log-likelihoods and entropies, each [N]."""
        logs = [part.log_softmax(dim=1) for part in logits.split(self.sizes, dim=1)]
        entropies = torch.stack([(log_p * log_p.exp()).sum(dim=1) for log_p in logs])
        return _of_actions(logs, actions.long()), -entropies.sum(dim=0)


def _of_actions(logs: list[Tensor], actions: Tensor) -> Tensor:
    """Log-likelihoods [batch] of actions [batch, distributions]."""
    columns = zip(logs, actions.split(1, dim=1))
    return torch.cat([log_p.gather(1, index) for log_p, index in columns], dim=1).sum(
        dim=1
    )


class Bernoulli:
    """Independent yes or no (MultiBinary actions)."""

    def __init__(self, policy: Any) -> None:
        pass

    def mode(self, logits: Tensor) -> Tensor:
        """The likelier answers, [batch, channels]."""
        return logits.sigmoid().round()

    def draw(self, logits: Tensor) -> tuple[Tensor, Tensor]:
        """Actions [batch, channels] from PyTorch's generator, log-likelihoods [batch]."""
        actions = logits.sigmoid().bernoulli()
        return actions, self.evaluate(logits, actions)[0]

    def evaluate(self, logits: Tensor, actions: Tensor) -> tuple[Tensor, Tensor]:
        """Log-likelihoods and entropies, each [N]."""
        loss = nn.functional.binary_cross_entropy_with_logits
        log_probs = -loss(logits, actions, reduction="none")
        return log_probs.sum(dim=1), loss(
            logits, logits.sigmoid(), reduction="none"
        ).sum(dim=1)


DISTRIBUTIONS: dict[type, type[Any]] = {
    distributions.DiagGaussianDistribution: Gaussian,
    distributions.CategoricalDistribution: Categorical,
    distributions.MultiCategoricalDistribution: Categorical,
    distributions.BernoulliDistribution: Bernoulli,
}
"""By Stable-Baselines3's class."""
