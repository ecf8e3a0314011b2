"""The layer for speed: what a policy's methods give, in a few calls of functions.

A step of a few environments is little arithmetic, and so is a minibatch of a small network: most of
the time goes into modules, distributions and checks of arguments. `fast(policy)` is the one door to
the shorter way. It gives Stable-Baselines3's numbers: to the last bit where actions are chosen, but
for the order of sums in updates. Where it is None, Stable-Baselines3's own methods do the work.
"""

import weakref
from collections.abc import Callable
from itertools import chain
from typing import Any

import numpy as np
import torch
from gymnasium import spaces
from sb3_contrib.common.recurrent.policies import RecurrentActorCriticPolicy
from sb3_contrib.common.recurrent.type_aliases import RNNStates
from stable_baselines3.common.preprocessing import preprocess_obs
from stable_baselines3.common.torch_layers import FlattenExtractor
from torch import Tensor, nn

from spikepropamine.policies.fast.distributions import DISTRIBUTIONS
from spikepropamine.policies.fast.networks import NETWORKS
from spikepropamine.policies.spaces import LstmFlattenExtractor

__all__ = ["DISTRIBUTIONS", "NETWORKS", "Fast", "fast", "obstacle", "way"]

HOOKS = ("_forward_hooks", "_forward_pre_hooks", "_backward_hooks", "_backward_pre_hooks")
FLAT = (FlattenExtractor, LstmFlattenExtractor)


def fast(policy: Any) -> "Fast | None":
    """The shorter way through a policy, or None where there is none (`obstacle` says why).

    What it gives may be kept for a rollout or an update. It sees every change of parameters. After
    a change of modules, hooks or methods, this function gives another one.
    """
    made = _made.get(policy)
    if made is None or made.fingerprint(policy) != made.print:
        _made.pop(policy, None)
        made = None if obstacle(policy) else _made.setdefault(policy, Fast(policy))
    return made


def obstacle(policy: Any) -> str | None:
    """Why `fast` knows no shorter way through a policy, or None."""
    name = type(policy).__name__
    if type(policy) not in NETWORKS:
        return f"{name} is not one of {', '.join(kind.__name__ for kind in NETWORKS)}"
    if type(policy.action_dist) not in DISTRIBUTIONS:
        return f"its actions are of a {type(policy.action_dist).__name__}"
    if policy.device.type != "cpu":
        return f"{name} is on {policy.device}"
    if not policy.share_features_extractor:
        return "actor and critic have a features extractor each"
    for path, module in policy.named_modules():
        where = path or name
        if any(getattr(module, hooks) for hooks in HOOKS):
            return f"{where} has a hook"
        for attribute in vars(module):
            if callable(getattr(type(module), attribute, None)):
                return f"{where} has a method of its own, {attribute}"
    return None


def way(policy: Any) -> str:
    """Which code rolls out and updates a policy, in words."""
    why = obstacle(policy)
    return "compiled" if why is None else f"Stable-Baselines3's own, because {why}"


class Fast:
    """The methods of a policy as calls of functions; safe to share between threads.

    Args:
        policy: one without an `obstacle`.
        actor: in place of its own, see `networks`.
    """

    def __init__(self, policy: Any, actor: Callable[..., Any] | None = None) -> None:
        # no reference to the policy itself, which would keep it for ever
        self._policy = weakref.ref(policy)
        extractor, space = policy.features_extractor, policy.observation_space
        floats = isinstance(space, spaces.Box) and np.issubdtype(space.dtype, np.floating)
        images = policy.normalize_images
        # from observations to features, [N, channels]
        self._read: Callable[[Any], Tensor] = (
            (lambda x: x.float().flatten(1))
            if floats and type(extractor) in FLAT
            else lambda x: extractor(preprocess_obs(x, space, normalize_images=images))
        )
        own, self._critic = NETWORKS[type(policy)](policy)
        self._actor = actor or own
        self._actions = DISTRIBUTIONS[type(policy.action_dist)](policy)
        self._space = policy.action_space
        self._recurrent = isinstance(policy, RecurrentActorCriticPolicy)
        modules = list(policy.modules())
        self._attributes = [vars(m) for m in modules]
        self._attributes += [getattr(m, hooks) for m in modules for hooks in HOOKS]
        self._parts = [part for m in modules for part in (m._modules, m._parameters)]
        self._probe = next(policy.parameters())
        self._kept = modules, policy.action_dist  # so that nothing else gets their identity
        self.print = self.fingerprint(policy)

    def fingerprint(self, policy: Any) -> list[Any]:
        """The same as long as modules, parameters (not their values), hooks and methods are."""
        parts = map(id, chain.from_iterable(map(dict.values, self._parts)))
        device = self._probe.device.type
        return [*map(len, self._attributes), *parts, id(policy.action_dist), device]

    @torch.no_grad()
    def step(
        self, observations: Any, states: Any, starts: Tensor
    ) -> tuple[Tensor, Tensor, Tensor, Any]:
        """The `forward` of the policy, which explores.

        Args:
            observations: [batch, ...], or a dict of such.
            states: `RNNStates`; None for policies without memory.
            starts: [batch], 1 where an episode starts.

        Returns:
            Actions [batch, ...], values [batch, 1], log-likelihoods [batch], the next states.
        """
        features = self._read(observations)
        logits, memory, pi = self._actor(features, states and states.pi, starts[None])
        actions, log_probs = self._actions.draw(logits)
        values, vf = self._critic(features, memory, pi, states and states.vf, starts[None])
        states = None if states is None else RNNStates(pi, vf)
        return actions.reshape(-1, *self._space.shape), values, log_probs, states

    @torch.no_grad()
    def predict(
        self,
        observation: Any,
        state: tuple[np.ndarray, ...] | None = None,
        episode_start: np.ndarray | None = None,
        deterministic: bool = False,
    ) -> tuple[np.ndarray, tuple[np.ndarray, ...] | None]:
        """The `predict` of the policy."""
        policy: Any = self._policy()
        if policy.training:
            policy.set_training_mode(False)
        shape = policy.observation_space.shape
        if type(observation) is np.ndarray and observation.shape[1:] == shape and shape:
            observations, several = torch.as_tensor(observation), True
        else:
            observations, several = policy.obs_to_tensor(observation)
        features = self._read(observations)
        before: Any = None
        starts = torch.zeros(1, len(features))
        if self._recurrent and episode_start is not None:
            starts[0] = torch.as_tensor(episode_start)
        if self._recurrent and state is None:
            layers, _, width = policy.lstm_hidden_state_shape
            before = (torch.zeros(layers, len(features), width),) * 2
        elif state is not None and self._recurrent:
            before = tuple(torch.as_tensor(part, dtype=torch.float32) for part in state)
        logits, _, after = self._actor(features, before, starts)
        drawn = self._actions.mode(logits) if deterministic else self._actions.draw(logits)[0]
        actions = within(self._space, drawn.numpy().reshape(-1, *self._space.shape))
        if after is not None:
            state = tuple(part.numpy() for part in after)
        return actions if several else actions.squeeze(axis=0), state

    def evaluate(self, batch: Any) -> tuple[Tensor, Tensor, Tensor]:
        """`evaluate_actions` of the policy, nearly to the last bit.

        Args:
            batch: a minibatch of a rollout buffer, of `count` steps; of a recurrent policy equal
                sequences, one after the other.

        Returns:
            Values, log-likelihoods of the actions and entropies, each [count], with gradients.
        """
        features, actions = self._read(batch.observations), batch.actions
        states, starts, sequences = getattr(batch, "lstm_states", None), None, None
        if states is not None:
            sequences = states.pi[0].shape[1]
            starts = by_time(batch.episode_starts, sequences)
            features = by_time(features, sequences).flatten(0, 1)
            actions = by_time(actions, sequences).flatten(0, 1)
        logits, memory, after = self._actor(features, states and states.pi, starts)
        memory = None if memory is None else memory.detach()
        values, _ = self._critic(features, memory, after, states and states.vf, starts)
        outputs = values.flatten(), *self._actions.evaluate(logits, actions)
        if sequences is None:
            return outputs
        values, log_probs, entropies = by_sequence(torch.stack(outputs, 1), sequences).unbind(1)
        return values, log_probs, entropies


_made: "weakref.WeakKeyDictionary[nn.Module, Fast]" = weakref.WeakKeyDictionary()


def within(space: spaces.Space, actions: np.ndarray) -> np.ndarray:
    """Actions inside the bounds of their space, if it has any."""
    if not isinstance(space, spaces.Box):
        return actions
    return np.minimum(np.maximum(actions, space.low), space.high)


def by_time(x: Tensor, sequences: int) -> Tensor:
    """[n_seq * T, ...], one sequence after the other, to [T, n_seq, ...]."""
    return x.unflatten(0, (sequences, -1)).transpose(0, 1).contiguous()


def by_sequence(x: Tensor, sequences: int) -> Tensor:
    """[T * n_seq, ...], one tick after the other, to [n_seq * T, ...]."""
    return x.unflatten(0, (-1, sequences)).transpose(0, 1).flatten(0, 1)
