"""What a spiking network's first layer sees at each tick of an environment step: the observation,
which tick of the step it is (phases), and what layers of tanh units make of both (an encoder).
"""

import math
from collections.abc import Sequence
from typing import Any, cast

import torch
from torch import Tensor, nn

from spikepropamine.policies.fast.networks import tanh


def at_ticks(observations: Tensor, ticks: int, phases: bool) -> Tensor:
    """Observations held constant over the ticks of their environment step.

    Args:
        observations: [T, B, channels].
        ticks: network ticks for each environment step.
        phases: whether channels that tell the tick are appended.

    Returns:
        [T * ticks, B, channels]; with phases [T * ticks, B, channels + ticks], of which the last
        `ticks` channels are 1 at their tick of the step and else 0.
    """
    if ticks > 1:
        held = observations.repeat_interleave(ticks, dim=0)
    else:
        held = observations
    if not phases:
        return held
    steps, batch, _ = observations.shape
    tick = torch.eye(ticks, dtype=observations.dtype, device=observations.device)
    phase = tick.view(1, ticks, 1, ticks).expand(steps, ticks, batch, ticks)
    return torch.cat([held, phase.reshape(steps * ticks, batch, ticks)], dim=2)


class Encoder(nn.Module):
    """Layers of tanh units without state: y = tanh(W x + b), one after the other.

    Args:
        inputs: channels of the first layer.
        widths: units of each layer.
    """

    layers: Sequence[nn.Linear]

    def __init__(self, inputs: int, widths: Sequence[int]) -> None:
        super().__init__()
        layers = []
        for units in widths:
            layer = nn.Linear(inputs, units)
            nn.init.normal_(layer.weight, std=1.0 / math.sqrt(inputs))
            nn.init.zeros_(layer.bias)
            layers.append(layer)
            inputs = units
        self.layers = cast(Sequence[nn.Linear], nn.ModuleList(layers))
        self.output_size = inputs

    def forward(self, x: Tensor) -> Tensor:
        """[..., rows, inputs] to [..., rows, output_size].

        Parameters may have a leading axis [networks, ...], for networks side by side; then x is
        [networks, rows, inputs].
        """
        for layer in self.layers:
            weight: Any = layer.weight
            x = tanh(x @ weight.mT + layer.bias.unsqueeze(-2))
        return x
