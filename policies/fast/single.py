"""A policy in one environment: what is needed of it is found once, and each step runs
in arrays that are kept.

It gives what `Fast.predict` gives for a batch of one: the state to the last bit, since
it calls the same kernels, and actions to rounding errors, since linear layers have a
kernel of their own. What is left out is all that `predict` makes anew.
"""

import importlib.util
import math
from typing import Any, Protocol

import numpy as np
import torch
from gymnasium import spaces
from torch import Tensor, nn

from spikepropamine.policies.backends import choose_step
from spikepropamine.policies.dense import is_dense, places
from spikepropamine.policies.fast import Fast, reads_numbers
from spikepropamine.policies.fast.networks import (
    by_pytorch,
    choose_memory,
    hidden_and_head,
)
from spikepropamine.policies.spaces import (
    LARGEST_NUMBER,
    batch_of_one,
    check_observations,
)

State = tuple[np.ndarray, ...] | None


class StateNotFinite(ValueError):
    """The state of a policy has a number with which it cannot go on."""

    def __init__(self) -> None:
        super().__init__(
            "the state has a number that is not finite; begin the episode anew"
        )


FLOATS = (np.dtype(np.float64), np.dtype(np.float32))
"""Types of observations that are copied as they come."""


class Statistics(Protocol):
    """What is needed of a `Normalisation`."""

    statistics: dict[str, tuple[np.ndarray, np.ndarray]]
    clip: float
    epsilon: float


class Actor(Protocol):
    """From the features of one environment to what the action network gives.

    Attributes:
        state: what is carried to the next step, as `predict` takes and gives it; None
            where there is nothing, and before an episode.
        before_head: what the action network reads, [1, width], after a call.
    """

    state: State
    before_head: Tensor

    def __call__(self) -> Tensor:
        """[1, channels], in memory that the next call overwrites; of the features in
        the tensor [1, width] that the actor was made with.
        """


class DenseActor:
    """Hidden layers without memory, in one call of a compiled kernel.

    Args:
        modules: linear ones, and between them hyperbolic tangents or rectifiers.
        features: float32 [1, width].

    Raises:
        TypeError: parameters of another type, here or in a call.
    """

    state: State = None

    def __init__(self, modules: list[nn.Module], features: Tensor) -> None:
        from spikepropamine.policies.compiled.dense import dense

        self._kernel = dense
        linear = modules[::2]
        self._rectified = any(type(module) is nn.ReLU for module in modules)
        self._parameters = [x for module in linear for x in module.parameters()]
        self._features = features
        self._outputs = [features.new_empty(1, len(x)) for x in self._parameters[1::2]]
        self.before_head = [features, *self._outputs][-2]
        self._find()

    def _find(self) -> None:
        """Looks up the parameters' memory."""
        from spikepropamine.policies.compiled.dense import DENSE_TABLE

        for x in self._parameters:
            if x.dtype != self._features.dtype:
                raise TypeError(
                    f"parameters are {x.dtype}, and observations {self._features.dtype}"
                )
        self._places = places(self._parameters)
        # the table has addresses alone
        self._kept = [x.detach().contiguous() for x in self._parameters]
        weights = self._kept[::2]
        biases = self._kept[1::2]
        inputs = [self._features, *self._outputs[:-1]]
        layers = zip(inputs, weights, biases, self._outputs, strict=True)
        rows = [
            (*arrays[1].shape[::-1], *(x.data_ptr() for x in arrays))
            for arrays in layers
        ]
        self._table = np.array(rows, DENSE_TABLE)

    def __call__(self) -> Tensor:
        """See `Actor`."""
        if places(self._parameters) != self._places:
            self._find()
        self._kernel(np.float32(0), len(self._table), self._rectified, self._table)
        return self._outputs[-1]


class SpikingActor:
    """A spiking network whose kernels are compiled, and its head.

    Args:
        network: a `SpikingNetwork`.
        head: what follows it, a linear module.
        features: [1, width], of which the network sees the leading ones.
    """

    def __init__(self, network: Any, head: list[nn.Module], features: Tensor) -> None:
        from spikepropamine.policies.compiled.step import Row

        observations = features[:, : network.input_size]
        self._network = network
        self._row = Row(network, observations[None])
        self._head = DenseActor(head, self._row.features[0])
        self.before_head = self._head.before_head

    @property
    def state(self) -> State:
        """See `Actor`."""
        if self._row.begins:
            return None
        flat = self._row.state.numpy().copy()
        return flat, flat[..., :1].copy()

    @state.setter
    def state(self, state: State) -> None:
        self._row.begins = state is None
        if state is not None:
            self._row.state.copy_(torch.as_tensor(state[0]))

    def __call__(self) -> Tensor:
        """See `Actor`."""
        row = self._row
        if not row.begins and not np.isfinite(row.sum_of_state()):
            raise StateNotFinite
        outputs = row.step()
        if self._network.observer is not None:
            self._network.observer(outputs)
        return self._head()


class GatedActor:
    """An LSTM or a GRU whose ticks are compiled, and what follows it.

    Args:
        memory: the LSTM or GRU.
        modules: linear ones, and between them hyperbolic tangents or rectifiers.
        features: [1, width], of which the memory sees the leading ones.
    """

    def __init__(
        self, memory: nn.RNNBase, modules: list[nn.Module], features: Tensor
    ) -> None:
        from spikepropamine.policies.compiled.gated import Row

        self._row = Row(memory, features)
        self._head = DenseActor(modules, self._row.outputs)
        self.before_head = self._head.before_head

    @property
    def state(self) -> State:
        """See `Actor`."""
        return None if self._row.begins else self._row.state

    @state.setter
    def state(self, state: State) -> None:
        self._row.begins = state is None
        if state is not None:
            self._row.state = state

    def __call__(self) -> Tensor:
        """See `Actor`."""
        if not self._row.begins and not self._row.is_finite():
            raise StateNotFinite
        self._row.step()
        return self._head()


class Single:
    """A policy that acts in one environment, step by step.

    Args:
        policy: is referred to for as long as this lives.
        way: its shorter way.
        normalisation: of observations, or None.
        actor: of the features [1, width] in `features`.
        features: what the actor reads.
    """

    def __init__(
        self,
        policy: Any,
        way: Fast,
        normalisation: Statistics | None,
        actor: Actor,
        features: Tensor,
    ) -> None:
        self.way = way
        self.normalisation = normalisation
        self.actor = actor
        self._policy = policy
        self._beside = [
            DenseActor([layer], actor.before_head) for layer in _beside(way)
        ]
        self._features = features.numpy()[0]
        self._space = policy.observation_space
        actions = policy.action_space
        self._action_shape = actions.shape
        self._drawn: Tensor | None = None
        self._numbers = np.empty(0)
        self._bounds = None
        if isinstance(actions, spaces.Box):
            self._bounds = actions.low, actions.high
        self._seen = np.zeros(self._space.shape)
        self._flat = self._seen.reshape(-1)
        largest = np.finfo(np.float64).max / LARGEST_NUMBER
        self._scales = np.full_like(self._flat, largest)
        self._mean: np.ndarray | None = None
        if normalisation is not None:
            mean, variance = normalisation.statistics[""]
            self._mean = mean
            self._deviation = np.sqrt(variance + normalisation.epsilon)
            self._highest = np.full_like(self._seen, normalisation.clip)
            self._lowest = -self._highest

    def holds(self, normalisation: Statistics | None) -> bool:
        """Whether the policy, which may have another normalisation, is still the same,
        but for the numbers in its parameters.
        """
        return normalisation is self.normalisation and self.way.holds(self._policy)

    def act(self, observation: Any, deterministic: bool) -> Any:
        """The action for the next observation.

        Args:
            observation: as the environment gives it.
            deterministic: the mode of the distribution of actions, or a sample of it.

        Raises:
            ValueError: see `DeployedPolicy.predict`; nothing has come of it, and the
                state still holds.
        """
        if self._policy.training:
            self._policy.set_training_mode(False)
        self._see(observation)
        logits = self.actor()
        if deterministic:
            drawn = self.way.actions.mode(logits)
        else:
            if self._beside:
                others = [layer() for layer in self._beside]
                logits = torch.cat([logits, *others], dim=1)
            drawn, _ = self.way.actions.draw(logits)
        if drawn is self._drawn:
            numbers = self._numbers
        else:
            numbers = drawn.numpy().reshape(-1, *self._action_shape)
            # the mode of Gaussians is what the actor gives, always in the same memory
            self._drawn = drawn
            self._numbers = numbers
        action = numbers[0]
        if self._bounds is None:
            return action
        low, high = self._bounds
        return np.minimum(np.maximum(action, low), high)

    def _see(self, observation: Any) -> None:
        """Puts an observation, normalised, where the actor reads it."""
        space = self._space
        seen = self._seen
        is_plain = (
            type(observation) is np.ndarray
            and observation.dtype in FLOATS
            and observation.shape == space.shape
        )
        if not is_plain:
            batch = batch_of_one(observation, space)
            check_observations(batch)
            observation = batch[0]
        np.copyto(seen, observation)
        # one product instead of many comparisons: what is too large overflows here
        if not math.isfinite(self._flat.dot(self._scales)):
            check_observations(observation[None])
        if self._mean is not None:
            np.subtract(seen, self._mean, out=seen)
            np.divide(seen, self._deviation, out=seen)
            np.maximum(seen, self._lowest, out=seen)
            np.minimum(seen, self._highest, out=seen)
        self._features[:] = self._flat


def single(policy: Any, way: Fast, normalisation: Statistics | None) -> Single | None:
    """A policy in one environment, or None where it has to be called by `predict`: one
    that observes something else than an array of floats, whose weights are drawn for
    each episode, or that is stepped by the readable reference.

    Args:
        policy: to act.
        way: its shorter way.
        normalisation: of observations, or None.
    """
    if not reads_numbers(policy) or importlib.util.find_spec("numba") is None:
        return None
    features = torch.zeros(1, int(np.prod(policy.observation_space.shape)))
    hidden, head = hidden_and_head(policy)
    chains = [[*hidden, *head], *([layer] for layer in _beside(way))]
    if not all(map(is_dense, chains)):
        return None
    actor: Actor
    if not way.recurrent:
        actor = DenseActor([*hidden, *head], features)
    elif _ticks_are_compiled(policy.lstm_actor, features):
        actor = GatedActor(policy.lstm_actor, [*hidden, *head], features)
    elif _is_compiled(policy.lstm_actor):
        actor = SpikingActor(policy.lstm_actor, head, features)
    else:
        return None
    return Single(policy, way, normalisation, actor, features)


def _beside(way: Fast) -> list[nn.Linear]:
    """Layers whose outputs a draw of actions needs beside the action network's."""
    return list(getattr(way.actions, "beside", ()))


def _ticks_are_compiled(memory: Any, features: Tensor) -> bool:
    """Whether a memory is an LSTM or a GRU whose ticks are compiled."""
    if not isinstance(memory, nn.RNNBase):
        return False
    nothing = features.new_zeros(0)
    return choose_memory(memory, (nothing, nothing)) is not by_pytorch


def _is_compiled(network: Any) -> bool:
    """Whether kernels step a spiking network, which keeps its weights."""
    if network.config.fresh_weights == "random":
        return False
    return choose_step(network.backend, network.specs, "cpu") is not None
