"""Steps of a spiking network whose fixed weights are drawn anew for every episode."""

from collections.abc import Callable, Iterable, Sequence
from copy import deepcopy
from typing import Any, Protocol
from weakref import WeakKeyDictionary

import torch
from torch import Tensor, nn

from spikepropamine.policies.layers import SpikingLayer
from spikepropamine.policies.reference import LayerOutput

MOST_DRAWN = 200
"""Copies that are kept of one network, each with the weights of one episode."""

SEEDS = 2**24
"""Seeds of weights are whole numbers below this, which float32 holds exactly."""

Pair = tuple[Tensor, Tensor]
Observer = Callable[[list[LayerOutput]], None]


class Network(Protocol):
    """What is needed of a `SpikingNetwork`."""

    layers: Sequence[SpikingLayer]
    observer: Observer | None

    def parameters(self) -> Iterable[nn.Parameter]:
        """All of its parameters."""

    def forward(
        self, observations: Tensor, states: Pair, starts: Tensor
    ) -> tuple[Tensor, Pair]:
        """See `SpikingNetwork`."""

    def keep_weights(self) -> None:
        """Weights are no longer drawn."""

    def redraw(self, seed: int) -> None:
        """Draws the weights of a seed."""


# not in the network: a copy of it is to have copies of its own
_copies: WeakKeyDictionary[Network, dict[int, Network]] = WeakKeyDictionary()


def step_with_drawn_weights(
    network: Network,
    observations: Tensor,
    states: Pair,
    starts: Tensor,
) -> tuple[Tensor, Pair]:
    """A step in which every environment has the weights of its episode.

    Args:
        network: has all other parameters. Its observer gets each layer's output,
            [ticks, B, neurons].
        observations: [1, B, channels].
        states: the flat state [1, B, D], and the seeds of the weights [1, B, 1], drawn
            from PyTorch's generator when an episode starts; 0 where none is drawn yet.
        starts: [1, B], 1 where an episode starts.

    Returns:
        Features [1, B, output_size], and the new pair of states.

    Raises:
        ValueError: several steps, or gradients are on.
    """
    if torch.is_grad_enabled() or len(observations) != 1:
        raise ValueError("fresh_weights random takes single steps, without gradients")
    flat, drawn_before = states
    drawn = _seeds_of_this_step(drawn_before, starts, flat)
    copies = _copies.setdefault(network, {})
    if drawn is not drawn_before and len(copies) > MOST_DRAWN:
        copies.clear()
    observer = network.observer
    features: list[Tensor] = []
    new_flat: list[Tensor] = []
    outputs: list[list[LayerOutput]] = []
    seeds = [int(seed) for seed in drawn.flatten().tolist()]
    for row, seed in enumerate(seeds):
        if seed not in copies:
            copies[seed] = _copy_with_weights(network, seed)
        copy = copies[seed]
        copy.observer = None if observer is None else outputs.append
        here = slice(row, row + 1)
        before = flat[:, here]
        feature, after = copy.forward(
            observations[:, here], (before, before), starts[:, here]
        )
        features.append(feature)
        new_flat.append(after[0])
    if observer is not None:
        observer([_joined(of_a_layer) for of_a_layer in zip(*outputs)])
    return torch.cat(features, dim=1), (torch.cat(new_flat, dim=1), drawn)


def _seeds_of_this_step(drawn: Tensor, starts: Tensor, like: Tensor) -> Tensor:
    """The seeds [1, B, 1], new ones where an episode starts or there is none.

    Before the first step `drawn` is a placeholder of zeros [1, B, any].
    """
    seeds = drawn.flatten().tolist()  # lists are faster here
    begins = starts.flatten().tolist()
    if not any(begins) and all(seeds):
        return drawn
    # as many as the placeholder has numbers: runs with a seed stay what they were
    fresh = torch.randint(1, SEEDS, (len(seeds),)).tolist()
    of_rows = seeds[: len(begins)]
    for row, begun in enumerate(begins):
        if begun or not of_rows[row]:
            of_rows[row] = fresh[row]
    return like.new_tensor(of_rows)[None, :, None]


def _copy_with_weights(network: Network, seed: int) -> Network:
    """A copy with the weights of a seed, which has all other parameters in common."""
    fixed = {id(x) for layer in network.layers for x in layer.fixed_weights()}
    shared: dict[int, Any] = {}
    for parameter in network.parameters():
        if id(parameter) not in fixed:
            shared[id(parameter)] = parameter
    if network.observer is not None:
        shared[id(network.observer)] = network.observer  # which may not be copied
    copy = deepcopy(network, shared)
    copy.keep_weights()
    copy.redraw(seed)
    return copy


def _joined(outputs: Sequence[LayerOutput]) -> LayerOutput:
    """One layer's outputs of all environments, of outputs of one environment each."""
    rates = [output.rate for output in outputs if output.rate is not None]
    return LayerOutput(
        torch.cat([output.spikes for output in outputs], dim=1),
        torch.cat([output.potentials for output in outputs], dim=1),
        torch.cat(rates, dim=1) if rates else None,
    )
