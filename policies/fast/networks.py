"""Policies' parts as functions: `NETWORKS` makes an actor and a critic of a policy,
`DISTRIBUTIONS` its actions.

The actor maps features, its state and starts to what the action network gives, to what
its memory says, and to the next state. The critic maps features, what the actor's
memory says, the actor's next state, its own state and starts to values [N, 1] and its
own next state. Features are [T * B, channels], one step after the other, and starts [T,
B]; T is 1 in a rollout. The functions hold modules and parameters, and no copies of
them; they do not hold the policy.

Distributions are Stable-Baselines3's: `draw`, `mode`, and `evaluate` with gradients.
Each takes what the action network gives, [batch, channels]. None keeps what it is
given, so that threads can share it.
"""

import functools
import importlib
import importlib.util
import itertools
import math
from collections.abc import Callable
from types import ModuleType
from typing import Any, NamedTuple

import numpy as np
import torch
from sb3_contrib.common.recurrent import policies as recurrent
from stable_baselines3.common import distributions
from stable_baselines3.common import policies as sb3
from torch import Tensor, nn

from spikepropamine.policies.dense import Function, chain

HALF_LOG_TWO_PI = math.log(math.sqrt(2 * math.pi))

Pair = tuple[Tensor, Tensor]
Actor = Callable[..., tuple[Tensor, Tensor | None, Any]]
Critic = Callable[..., tuple[Tensor, Any]]


def mlp(policy: Any) -> tuple[Actor, Critic]:
    """Actor and critic of an `ActorCriticPolicy`."""
    mean, value = _heads(policy)
    return (
        lambda features, state, starts: (mean(features), None, None),
        lambda features, memory, after, state, starts: (value(features), None),
    )


def lstm(policy: Any) -> tuple[Actor, Critic]:
    """Actor and critic of a `RecurrentActorCriticPolicy`."""
    mean, value = _heads(policy)
    of_actor = policy.lstm_actor
    of_critic = policy.lstm_critic
    linear = policy.critic  # of a critic without memory

    def actor(
        features: Tensor, state: Pair, starts: Tensor
    ) -> tuple[Tensor, Tensor, Pair]:
        memory, after = remember(of_actor, features, state, starts)
        return mean(memory), memory, after

    def critic(
        features: Tensor, memory: Tensor, after: Pair, state: Pair, starts: Tensor
    ) -> tuple[Tensor, Pair]:
        if of_critic is not None:
            memory, after = remember(of_critic, features, state, starts)
        elif linear is not None:
            memory = linear(features)
        return value(memory), after

    return actor, critic


def spiking(policy: Any) -> tuple[Actor, Critic]:
    """Actor and critic of a `PlasticSpikingPolicy`."""
    mean, value = _heads(policy)
    network: Any = policy.network
    sees_spikes = policy.mlp_extractor.sees_spikes

    def actor(
        features: Tensor, state: Pair, starts: Tensor
    ) -> tuple[Tensor, Tensor, Pair]:
        observations = features.view(*starts.shape, -1)
        after = state
        # of drawn weights there are no gradients: `forward` says so
        if torch.is_grad_enabled() and network.config.fresh_weights != "random":
            fields = network.layout.unpack(state[0][0])
            memory, _, _ = network.run(observations, starts, fields, state_wanted=False)
        else:
            memory, after = network.forward(observations, state, starts)
        memory = memory.flatten(0, 1)
        return mean(memory), memory, after

    def critic(
        features: Tensor, memory: Tensor, after: Pair, state: Pair, starts: Tensor
    ) -> tuple[Tensor, Pair]:
        # with a shared memory the critic trains no extractor
        features = features.detach()
        if sees_spikes:
            features = torch.cat([memory, features], dim=1)
        return value(features), after

    return actor, critic


NETWORKS: dict[type, Callable[[Any], tuple[Actor, Any]]] = {
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
    hidden, head = hidden_and_head(policy)
    mean = chain([*hidden, *head])
    value = chain([*policy.mlp_extractor.value_net, policy.value_net])
    return mean, value


def hidden_and_head(policy: Any) -> tuple[list[nn.Module], list[nn.Module]]:
    """The actor's hidden layers, of which a spiking network has none, and its head."""
    hidden = getattr(policy.mlp_extractor, "policy_net", ())
    return list(hidden), [policy.action_net]


def remember(
    memory: nn.RNNBase, features: Tensor, state: Pair, starts: Tensor
) -> tuple[Tensor, Pair]:
    """Steps of an LSTM or a GRU.

    Args:
        memory: the LSTM or GRU.
        features: [T * B, channels or more], one step after the other.
        state: [layers, B, width] each; a GRU leaves the second at zero.
        starts: [T, B], 1 where an episode starts.

    Returns:
        Outputs [T * B, width], and the next state.
    """
    inputs = features.view(*starts.shape, -1)[..., : memory.input_size]
    run = choose_memory(memory, state)
    outputs, after = run(memory, inputs, state, starts)
    return outputs.flatten(0, 1), after


def by_pytorch(
    memory: nn.RNNBase, inputs: Tensor, state: Pair, starts: Tensor
) -> tuple[Tensor, Pair]:
    """What `compiled.gated.run` does, by PyTorch's own LSTM or GRU."""
    is_gru = isinstance(memory, nn.GRU)
    function: Any = torch.gru if is_gru else torch.lstm
    weights: Any = memory._flat_weights
    begun = starts.any(dim=1).tolist()
    # one call from each start of an episode to the next
    cuts = [0, *(t for t in range(1, len(begun)) if begun[t]), len(begun)]
    outputs = []
    for first, last in itertools.pairwise(cuts):
        if begun[first]:
            kept = (1.0 - starts[first]).view(1, -1, 1)
            state = kept * state[0], kept * state[1]
        out, *after = function(
            inputs[first:last],
            state[0] if is_gru else state,
            weights,
            memory.bias,
            memory.num_layers,
            memory.dropout,
            memory.training,
            memory.bidirectional,
            False,  # the batch does not come first
        )
        outputs.append(out)
        hidden = after[0]
        state = hidden, torch.zeros_like(hidden) if is_gru else after[1]
    whole = outputs[0] if len(outputs) == 1 else torch.cat(outputs)
    return whole, state


def choose_memory(
    memory: nn.RNNBase, state: Pair
) -> Callable[..., tuple[Tensor, Pair]]:
    """What runs an LSTM or a GRU: compiled ticks where they can, see
    `compiled.gated.can_run`; else PyTorch.
    """
    gated = _compiled()
    if gated is not None and gated.can_run(memory, state):
        compiled: Callable[..., tuple[Tensor, Pair]] = gated.run
        return compiled
    return by_pytorch


@functools.cache  # called at every step
def _compiled() -> ModuleType | None:
    if importlib.util.find_spec("numba") is None:
        return None
    return importlib.import_module("spikepropamine.policies.compiled.gated")


class Spread(NamedTuple):
    """What follows from a log standard deviation: arrays [batch, channels]."""

    log_std: Tensor
    deviation: np.ndarray
    twice_variance: np.ndarray
    log_deviation: np.ndarray


class Gaussian:
    """Independent Gaussians around means (Box actions)."""

    def __init__(self, policy: Any) -> None:
        self.log_std: Tensor = policy.log_std
        self._spread: Spread | None = None

    def mode(self, means: Tensor) -> Tensor:
        """The means."""
        return means

    def draw(self, means: Tensor) -> tuple[Tensor, Tensor]:
        """Actions [batch, channels] from PyTorch's generator, and their log-likelihoods
        [batch].
        """
        spread = self._spread_of(means)
        # in NumPy, where calls are cheaper; single operations are the same, but not
        # sums
        middle = means.numpy()
        actions = middle + torch.randn(means.shape).numpy() * spread.deviation
        off = actions - middle
        each = -(off * off) / spread.twice_variance
        each = each - spread.log_deviation - HALF_LOG_TWO_PI
        return torch.from_numpy(actions), torch.from_numpy(each).sum(dim=1)

    def _spread_of(self, means: Tensor) -> Spread:
        log_std = self.log_std.detach()
        spread = self._spread
        if (
            spread is None
            or len(spread.deviation) != len(means)
            or not torch.equal(spread.log_std, log_std)
        ):
            # for the whole batch, since functions of one row differ in the last bit
            # from many's
            deviation = torch.ones_like(means) * log_std.exp()
            spread = self._spread = Spread(
                log_std.clone(),
                deviation.numpy(),
                (2 * deviation**2).numpy(),
                deviation.log().numpy(),
            )
        return spread

    def evaluate(self, means: Tensor, actions: Tensor) -> tuple[Tensor, Tensor]:
        """Log-likelihoods and entropies, each [N].

        Args:
            means: [N, actions].
            actions: [N, actions].
        """
        scaled = (actions - means) * torch.exp(-self.log_std)
        constant = (self.log_std + HALF_LOG_TWO_PI).sum()
        entropy = constant + 0.5 * len(self.log_std)
        return -0.5 * scaled.square().sum(dim=1) - constant, entropy.expand(len(means))


class Categorical:
    """One categorical distribution after the other (Discrete and MultiDiscrete
    actions).
    """

    def __init__(self, policy: Any) -> None:
        several = getattr(policy.action_dist, "action_dims", None)
        if several is None:
            self.sizes: list[int] = [policy.action_net.out_features]
        else:
            self.sizes = list(several)

    def mode(self, logits: Tensor) -> Tensor:
        """The likeliest actions, [batch, distributions]."""
        _, likelihoods = self._likelihoods(logits)
        return torch.cat([p.argmax(dim=1, keepdim=True) for p in likelihoods], dim=1)

    def draw(self, logits: Tensor) -> tuple[Tensor, Tensor]:
        """Actions [batch, distributions] from PyTorch's generator, log-likelihoods
        [batch].
        """
        logs, likelihoods = self._likelihoods(logits)
        drawn = [torch.multinomial(p, 1, True) for p in likelihoods]
        actions = torch.cat(drawn, dim=1)
        return actions, _of_actions(logs, actions)

    def _likelihoods(self, logits: Tensor) -> tuple[list[Tensor], list[Tensor]]:
        """Their logarithms and themselves, each [batch, actions] of a distribution, in
        Stable-Baselines3's steps.
        """
        parts = logits.split(self.sizes, dim=1)
        logs = [part - part.logsumexp(dim=1, keepdim=True) for part in parts]
        return logs, [log_p.softmax(dim=1) for log_p in logs]

    def evaluate(self, logits: Tensor, actions: Tensor) -> tuple[Tensor, Tensor]:
        """Log-likelihoods and entropies, each [N].

        Args:
            logits: of all choices, side by side, [N, choices].
            actions: [N, choices made].
        """
        logs = [part.log_softmax(dim=1) for part in logits.split(self.sizes, dim=1)]
        entropies = torch.stack([(log_p * log_p.exp()).sum(dim=1) for log_p in logs])
        return _of_actions(logs, actions.long()), -entropies.sum(dim=0)


def _of_actions(logs: list[Tensor], actions: Tensor) -> Tensor:
    """Log-likelihoods [batch] of actions [batch, distributions]."""
    columns = actions.split(1, dim=1)
    each = [log_p.gather(1, index) for log_p, index in zip(logs, columns)]
    return torch.cat(each, dim=1).sum(dim=1)


class Bernoulli:
    """Independent yes or no (MultiBinary actions)."""

    def __init__(self, policy: Any) -> None:
        pass

    def mode(self, logits: Tensor) -> Tensor:
        """The likelier answers, [batch, channels]."""
        return logits.sigmoid().round()

    def draw(self, logits: Tensor) -> tuple[Tensor, Tensor]:
        """Actions [batch, channels] by PyTorch's generator, log-likelihoods [batch]."""
        actions = logits.sigmoid().bernoulli()
        log_probs, _ = self.evaluate(logits, actions)
        return actions, log_probs

    def evaluate(self, logits: Tensor, actions: Tensor) -> tuple[Tensor, Tensor]:
        """Log-likelihoods and entropies, each [N].

        Args:
            logits: [N, bits].
            actions: 0 or 1, [N, bits].
        """
        loss = nn.functional.binary_cross_entropy_with_logits
        log_probs = -loss(logits, actions, reduction="none")
        entropies = loss(logits, logits.sigmoid(), reduction="none")
        return log_probs.sum(dim=1), entropies.sum(dim=1)


DISTRIBUTIONS: dict[type, type[Any]] = {
    distributions.DiagGaussianDistribution: Gaussian,
    distributions.CategoricalDistribution: Categorical,
    distributions.MultiCategoricalDistribution: Categorical,
    distributions.BernoulliDistribution: Bernoulli,
}
"""By Stable-Baselines3's class."""
