"""What a spiking network's first layer sees at each tick of an environment step: the
observation, by a pathway of each tick (phases), and what layers of tanh units make of
it (an encoder).
"""

import math
from collections.abc import Sequence
from typing import Any, cast

import torch
from torch import Tensor, nn

from spikepropamine.policies.dense import tanh


def at_ticks(observations: Tensor, ticks: int, phases: bool) -> Tensor:
    """Observations held constant over the ticks of their environment step.

    With phases each tick has a pathway of its own, a block of channels that is silent
    at all other ticks. What is learned on these channels thus has weights W^k and a
    bias b^k for each tick k: what comes in at one tick may be a key to store under, and
    at the next a query to recall by. In the hippocampus, Hasselmo, Bodelon and Wyble
    (2002) propose such phases of encoding and retrieval within a theta cycle.

    Args:
        observations: [T, B, channels].
        ticks: network ticks for each environment step.
        phases: whether each tick has a pathway of its own.

    Returns:
        [T * ticks, B, channels]; with phases [T * ticks, B, ticks * (channels + 1)], of
        which at tick k the k-th block is the observation and a 1, and the rest is 0.
    """
    if not phases:
        return (
            observations.repeat_interleave(ticks, dim=0) if ticks > 1 else observations
        )
    with_one = torch.cat([observations, torch.ones_like(observations[..., :1])], dim=2)
    is_open = torch.eye(ticks, dtype=observations.dtype, device=observations.device)
    shown = with_one[:, None, :, None] * is_open[:, None, :, None]
    return shown.flatten(0, 1).flatten(2, 3)


def pathways(channels: Sequence[int], width: int, ticks: int) -> list[int]:
    """Where channels of an observation, and the 1, lie in all blocks of `at_ticks` with
    phases.

    Args:
        channels: of the observation.
        width: of the observation.
        ticks: blocks.
    """
    block = width + 1
    return [k * block + channel for k in range(ticks) for channel in (*channels, width)]


def with_delay(observations: Tensor, starts: Tensor, before: Tensor) -> Tensor:
    """Each observation, and beside it the one of the step before.

    Args:
        observations: [T, B, channels].
        starts: [T, B], 1 where an episode starts, before which there are zeros.
        before: [B, channels], the observation before the first of these.

    Returns:
        [T, B, 2 * channels].
    """
    past = torch.cat([before.unsqueeze(0), observations[:-1]])
    past = past * (1.0 - starts).unsqueeze(2)
    return torch.cat([observations, past], dim=2)


class Encoder(nn.Module):
    """Layers of tanh units without state: y = tanh(W x + b), one after the other.

    Args:
        inputs: channels of the first layer.
        widths: units of each layer.
        active: how many of the inputs are not silent at a time; initial weights have a
            standard deviation of 1 / sqrt(active), and in later layers of 1 /
            sqrt(units before).
    """

    layers: Sequence[nn.Linear]

    def __init__(self, inputs: int, widths: Sequence[int], active: int) -> None:
        super().__init__()
        layers = []
        for units in widths:
            layer = nn.Linear(inputs, units)
            nn.init.normal_(layer.weight, std=1.0 / math.sqrt(active))
            nn.init.zeros_(layer.bias)
            layers.append(layer)
            inputs = active = units
        self.layers = cast(Sequence[nn.Linear], nn.ModuleList(layers))
        self.output_size = inputs

    def forward(self, x: Tensor) -> Tensor:
        """[..., rows, inputs] to [..., rows, output_size].

        Parameters may have a leading axis [networks, ...], for networks side by side;
        then x is [networks, rows, inputs].
        """
        for layer in self.layers:
            weight: Any = layer.weight
            x = tanh(x @ weight.transpose(-2, -1) + layer.bias.unsqueeze(-2))
        return x
