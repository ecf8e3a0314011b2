"""The readable layer with less memory, for any device: it forgets, and runs twice."""

import math
from typing import Any

import torch
from torch import Tensor
from torch.utils.checkpoint import checkpoint

from spikepropamine.policies import reference
from spikepropamine.policies.reference import LayerParameters, LayerSpec, LayerState


def layer_sequence(
    spec: LayerSpec,
    parameters: LayerParameters,
    inputs: Tensor,
    starts: Tensor,
    rate: Tensor | None,
    state: LayerState,
    state_wanted: bool = True,
    target: Tensor | None = None,
) -> tuple[Tensor, Tensor, LayerState]:
    """`policies.reference.layer_sequence`, in pieces of about sqrt(T) ticks.

    Only the state between pieces is kept; the backward pass runs each piece once more.
    """
    ticks = len(inputs)
    length = math.isqrt(ticks)
    if not torch.is_grad_enabled() or length < 2:
        return reference.layer_sequence(
            spec, parameters, inputs, starts, rate, state, target=target
        )
    spikes, potentials = [], []
    for first in range(0, ticks, length):
        now = slice(first, first + length)
        piece: Any = checkpoint(
            reference.layer_sequence, spec, parameters, inputs[now], starts[now],
            None if rate is None else rate[now], state,
            target=None if target is None else target[now], use_reentrant=False,
        )  # fmt: skip
        spikes.append(piece[0])
        potentials.append(piece[1])
        state = piece[2]
    return torch.cat(spikes), torch.cat(potentials), state
