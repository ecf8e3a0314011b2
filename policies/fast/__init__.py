"""The layer for speed: what a policy's methods give, in a few calls of functions.

A step of a few environments is little arithmetic, and so is a minibatch of a small
network: most of the time goes into modules, distributions and checks of arguments.
`fast(policy)` is the one door to the shorter way. It gives Stable-Baselines3's numbers:
to the last bit where actions are chosen, but for the order of sums in updates and for
the rounding of LSTMs and GRUs. Where it is None, Stable-Baselines3's own methods do the
work.
"""

import operator
import weakref
from collections.abc import Callable, Sequence
from copy import deepcopy
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

from spikepropamine.policies.backends import BACKENDS, choose, choose_step
from spikepropamine.policies.fast.networks import (
    DISTRIBUTIONS,
    NETWORKS,
    Actor,
    Pair,
)
from spikepropamine.policies.spaces import LstmFlattenExtractor

__all__ = ["DISTRIBUTIONS", "NETWORKS", "Fast", "fast", "obstacle", "way"]

HOOKS = (
    "_forward_hooks",
    "_forward_pre_hooks",
    "_backward_hooks",
    "_backward_pre_hooks",
)
FLAT = (FlattenExtractor, LstmFlattenExtractor)


def fast(policy: Any) -> "Fast | None":
    """The shorter way through a policy, or None where there is none (`obstacle` says
    why).

    What it gives may be kept for a rollout or an update. It sees every change of
    parameters. After a change of modules, hooks or methods, this function gives another
    one.
    """
    made = _made.get(policy)
    if made is not None and made.holds(policy):
        return made
    _made.pop(policy, None)
    if obstacle(policy) is not None:
        return None
    return _made.setdefault(policy, Fast(policy))


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
    if why is not None:
        return f"Stable-Baselines3's own, because {why}"
    network = getattr(policy, "network", None)
    if network is not None:
        for layer in network.layers:
            runs = choose(network.backend, layer.spec, policy.device.type)
            if runs.__name__ == BACKENDS["reference"]:
                return (
                    "by the fast path, but layers by the reference, many times slower"
                )
    return "by the fast path"


class Fast:
    """The methods of a policy without an `obstacle` as calls of functions; safe to
    share between threads.

    Args:
        policy: is referred to weakly.
        actor: takes the place of the policy's, see `networks`.
    """

    def __init__(self, policy: Any, actor: Actor | None = None) -> None:
        # no reference to the policy itself, which would keep it for ever
        self._policy = weakref.ref(policy)
        self._read = _reader_of(policy)
        own_actor, self._critic = NETWORKS[type(policy)](policy)
        self._actor = actor or own_actor
        self.actions = DISTRIBUTIONS[type(policy.action_dist)](policy)
        self._space = policy.action_space
        self.recurrent = isinstance(policy, RecurrentActorCriticPolicy)
        modules = list(policy.modules())
        self._attributes = [vars(m) for m in modules]
        self._hooks = [getattr(m, hooks) for m in modules for hooks in HOOKS]
        parts = [part for m in modules for part in (m._modules, m._parameters)]
        # a module without parts, such as an activation, uses none
        self._parts = [part for part in parts if part]
        # kept, so that nothing else gets their identity
        self._values = [x for part in self._parts for x in part.values()]
        self._action_dist = policy.action_dist
        self._probe = next(policy.parameters())
        self._device = self._probe.device
        self._sizes = self._sizes_now()

    def _sizes_now(self) -> list[int]:
        return [*map(len, self._attributes), *map(len, self._parts)]

    def holds(self, policy: Any) -> bool:
        """Whether modules, parameters (not their values), hooks and methods are those
        that this was made for.
        """
        if any(self._hooks) or self._sizes_now() != self._sizes:
            return False
        values = chain.from_iterable(map(dict.values, self._parts))
        return (
            all(map(operator.is_, values, self._values))
            and policy.action_dist is self._action_dist
            and self._probe.device == self._device
        )

    @torch.no_grad()
    def step(
        self, observations: Any, states: Any = None, starts: Tensor | None = None
    ) -> tuple[Any, ...]:
        """The `forward` of the policy, which explores.

        Args:
            observations: [batch, ...], or a dict of such.
            states: `RNNStates` of a policy with a memory.
            starts: [batch], 1 where an episode starts, of a policy with a memory.

        Returns:
            Actions [batch, ...], values [batch, 1], log-likelihoods [batch], and of a
            policy with a memory its next states.
        """
        features = self._read(observations)
        if states is None or starts is None:
            logits, memory, after = self._actor(features, None, None)
            actions, log_probs = self.actions.draw(logits)
            values, _ = self._critic(features, memory, after, None, None)
            return actions.reshape(-1, *self._space.shape), values, log_probs
        starts = starts[None]
        logits, memory, pi = self._actor(features, states.pi, starts)
        actions, log_probs = self.actions.draw(logits)
        values, vf = self._critic(features, memory, pi, states.vf, starts)
        shaped = actions.reshape(-1, *self._space.shape)
        return shaped, values, log_probs, RNNStates(pi, vf)

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
            observations = torch.as_tensor(observation)
            several = True
        else:
            observations, several = policy.obs_to_tensor(observation)
        features = self._read(observations)
        before: Any = None
        starts = torch.zeros(1, len(features))
        if self.recurrent:
            if episode_start is not None:
                starts[0] = torch.as_tensor(episode_start)
            layers, _, width = policy.lstm_hidden_state_shape
            parts = state or (torch.zeros(layers, len(features), width),) * 2
            before = tuple(torch.as_tensor(part, dtype=torch.float32) for part in parts)
        logits, _, after = self._actor(features, before, starts)
        if deterministic:
            drawn = self.actions.mode(logits)
        else:
            drawn, _ = self.actions.draw(logits)
        actions: np.ndarray = drawn.numpy().reshape(-1, *self._space.shape)
        if isinstance(self._space, spaces.Box):
            actions = np.minimum(np.maximum(actions, self._space.low), self._space.high)
        if after is not None:
            state = tuple(part.numpy() for part in after)
        return actions if several else actions.squeeze(axis=0), state

    def evaluate(self, batch: Any) -> tuple[Tensor, Tensor, Tensor]:
        """`evaluate_actions` of the policy, nearly to the last bit.

        Args:
            batch: a minibatch of a rollout buffer; of a recurrent policy it has equal
                sequences, one after the other.

        Returns:
            Values, log-likelihoods of the actions and entropies, each [count], with
            gradients.
        """
        features = self._read(batch.observations)
        actions = batch.actions
        states = getattr(batch, "lstm_states", None)
        if states is None:
            logits, memory, after = self._actor(features, None, None)
            memory = None if memory is None else memory.detach()
            values, _ = self._critic(features, memory, after, None, None)
            return values.flatten(), *self.actions.evaluate(logits, actions)
        sequences = states.pi[0].shape[1]
        starts = by_time(batch.episode_starts, sequences)
        features = by_time(features, sequences).flatten(0, 1)
        actions = by_time(actions, sequences).flatten(0, 1)
        logits, memory, after = self._actor(features, states.pi, starts)
        memory = None if memory is None else memory.detach()
        values, _ = self._critic(features, memory, after, states.vf, starts)
        outputs = (values.flatten(), *self.actions.evaluate(logits, actions))
        by_row = by_sequence(torch.stack(outputs, 1), sequences)
        values, log_probs, entropies = by_row.unbind(1)
        return values, log_probs, entropies


def _reader_of(policy: Any) -> Callable[[Any], Tensor]:
    """From observations to features, [N, channels]."""
    extractor = policy.features_extractor
    space = policy.observation_space
    images = policy.normalize_images

    def preprocessed(x: Any) -> Tensor:
        features: Tensor = extractor(preprocess_obs(x, space, normalize_images=images))
        return features

    if not reads_numbers(policy):
        return preprocessed
    if len(space.shape) == 1:
        return Tensor.float
    return lambda x: x.float().flatten(1)


def reads_numbers(policy: Any) -> bool:
    """Whether features are the numbers of an observation, an array of floats."""
    space = policy.observation_space
    return (
        type(policy.features_extractor) in FLAT
        and isinstance(space, spaces.Box)
        and np.issubdtype(space.dtype, np.floating)
    )


def can_differ(policy: Any, names: Sequence[str]) -> bool:
    """Whether policies that differ in some parameters can be stepped by `Several`.

    They have to run on compiled kernels, and to differ in the network and its head
    alone.

    Args:
        policy: one of them.
        names: of the parameters that differ.
    """
    network = getattr(policy, "network", None)
    return (
        network is not None
        and obstacle(policy) is None
        and choose_step(network.backend, network.specs, "cpu") is not None
        and all(name.startswith(("lstm_actor.", "action_net.")) for name in names)
    )


class Several:
    """Spiking policies that differ in parameters, each with some environments, stepped
    in one call: members of a population, from the start of their episodes on.

    All have equally many environments; rows are those of the first member, then of the
    second, ...

    Args:
        policy: one that `can_differ`; its drawn weights are changed.
        names: of the parameters in which members differ.
        members: [members, parameters], the named parameters of each, in their order.
        environments: of each member.
        seeds: where weights are drawn, one for each of these environments, the same of
            all members.
    """

    @torch.no_grad()
    def __init__(
        self,
        policy: Any,
        names: Sequence[str],
        members: Tensor,
        environments: int,
        seeds: Sequence[int] = (),
    ) -> None:
        from spikepropamine.policies.compiled.step import plan_of

        count = len(members)
        draws = len(seeds) or 1  # networks of each member
        self.environments = environments
        self.each = environments // draws  # rows of a network
        named = dict(policy.named_parameters())
        parts = members.split([named[name].numel() for name in names], dim=1)
        of_members = {name: x.expand(count, *x.shape) for name, x in named.items()}
        for name, part in zip(names, parts):
            of_members[name] = part.view(count, *named[name].shape)
        self.network = network = deepcopy(policy.network)
        for name, x in network.named_parameters():
            x.data = of_members[f"lstm_actor.{name}"].repeat_interleave(draws, dim=0)
        if seeds:
            _set_drawn_weights(network, policy.network, seeds, count)
        self.weight = of_members["action_net.weight"].mT
        self.bias = of_members["action_net.bias"][:, None]
        dtype = network.readout_decay.dtype
        self.plan = plan_of(network, self.each, dtype, count * draws)
        self.way = Fast(policy, self._actor)
        self.state: tuple[np.ndarray, ...] | None = None
        of_a_member = torch.tensor(seeds or [0.0] * environments)
        self.drawn = of_a_member.repeat(count)[None, :, None]
        self.running: Sequence[int] = ()

    def act(
        self, observations: Any, starts: np.ndarray, rows: Sequence[int]
    ) -> np.ndarray:
        """The next deterministic actions.

        Args:
            observations: [rows of all members, ...].
            starts: [rows of all members], whether an episode starts.
            rows: those that are to be stepped.

        Returns:
            Actions [rows of all members, ...], of no meaning in other rows.
        """
        self.running = sorted({row // self.each for row in rows})
        actions, self.state = self.way.predict(observations, self.state, starts, True)
        return actions

    def _actor(
        self, features: Tensor, state: Pair, starts: Tensor
    ) -> tuple[Tensor, None, Pair]:
        from spikepropamine.policies.compiled.step import step

        out, after, _ = step(
            self.network, features[None], starts, state[0], self.plan, self.running
        )
        memory = out.view(len(self.bias), self.environments, -1)
        logits = torch.baddbmm(self.bias, memory, self.weight)
        return logits.flatten(0, 1), None, (after, self.drawn)


def _set_drawn_weights(
    network: Any, source: Any, seeds: Sequence[int], count: int
) -> None:
    """Gives a network of `count` members the weights that `source` draws by seeds."""
    drawn = []
    for seed in seeds:
        source.redraw(seed)
        weights = [x for layer in source.layers for x in layer.fixed_weights()]
        drawn.append([x.detach().clone() for x in weights])
    fixed = [x for layer in network.layers for x in layer.fixed_weights()]
    for x, of_seeds in zip(fixed, zip(*drawn)):
        x.data = torch.stack(of_seeds).repeat(count, 1, 1)


_made: "weakref.WeakKeyDictionary[nn.Module, Fast]" = weakref.WeakKeyDictionary()


def by_time(x: Tensor, sequences: int) -> Tensor:
    """Puts ticks first.

    Args:
        x: [n_seq * T, ...], one sequence after the other.
        sequences: n_seq.

    Returns:
        [T, n_seq, ...].
    """
    whole_sequences: Tensor = x.unflatten(0, (sequences, -1))
    return whole_sequences.transpose(0, 1).contiguous()


def by_sequence(x: Tensor, sequences: int) -> Tensor:
    """Puts sequences first; undoes `by_time`.

    Args:
        x: [T * n_seq, ...], one tick after the other.
        sequences: n_seq.

    Returns:
        [n_seq * T, ...].
    """
    ticks: Tensor = x.unflatten(0, (-1, sequences))
    return ticks.transpose(0, 1).flatten(0, 1)
