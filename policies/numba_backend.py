"""Spiking layers on the CPU by the compiled kernels of `policies.numba_kernels`; needs Numba."""

import math
import struct
from functools import cache, lru_cache
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from policies import reference
from policies.neurons import THRESHOLD
from policies.numba_kernels import (
    DIRECT,
    LANES,
    RETROACTIVE,
    RULE_CODES,
    SEGMENT,
    STATIC,
    SURROGATE_CODES,
    leaky,
    leaky_backward,
    rollout,
    sequence,
    sequence_backward,
    static_sequence,
    static_sequence_backward,
)
from policies.reference import LayerParameters, LayerSpec, LayerState

FEW_TICKS = 4  # up to so many, and without gradients, the rollout kernel is the faster one


def _aligned(shape: tuple[int, ...], dtype: Any) -> np.ndarray:
    """Zeros that start on a cache line: rows across two lines cost a factor of 1.4."""
    size, line = math.prod(shape), 64 // np.dtype(dtype).itemsize
    raw = np.zeros(size + line, dtype)
    first = -(raw.ctypes.data // raw.itemsize) % line
    return raw[first : first + size].reshape(shape)


@lru_cache(maxsize=16)
def _scratch(dtype: Any, *shapes: tuple[int, ...]) -> tuple[np.ndarray, ...]:
    """Work arrays, kept from call to call; a kernel holds the interpreter's lock while it runs."""
    return tuple(_aligned(shape, dtype) for shape in shapes)


def _dtype(tensor: Tensor) -> Any:
    return np.float64 if tensor.dtype == torch.float64 else np.float32


@cache
def _nothing(axes: int, dtype: Any) -> np.ndarray:
    """What stands for an array that a layer does not have."""
    return np.empty((0,) * axes, dtype)


def _arrays(like: Tensor, *tensors: tuple[Tensor | None, int]) -> list[np.ndarray]:
    """Contiguous arrays of tensors, each given with its number of axes; empty ones for None."""
    arrays = []
    for x, axes in tensors:
        if x is None:
            arrays.append(_nothing(axes, _dtype(like)))
            continue
        if x.requires_grad:
            x = x.detach()
        arrays.append(x.numpy() if x.is_contiguous() else x.contiguous().numpy())
    return arrays


class _Setting(NamedTuple):
    """What the kernels need to know of a layer besides its tensors."""

    rule: int
    kind: int
    recurrent: bool
    soft: bool
    clip: Any
    decays: np.ndarray

    @classmethod
    def of(cls, spec: LayerSpec, p: LayerParameters, dtype: Any) -> "_Setting":
        kind = RETROACTIVE if spec.modulation == "retroactive" else DIRECT
        decays = (p.pre_decay, p.post_decay, p.threshold_decay, p.eta)
        return cls(
            RULE_CODES[spec.rule],
            kind if spec.plastic else STATIC,
            spec.recurrent,
            spec.soft_reset,
            dtype(spec.clip),
            np.array([0.0 if x is None else x.item() for x in decays], dtype),
        )


def _fields(state: LayerState, names: tuple[str, ...], like: Tensor) -> list[np.ndarray]:
    """Fields of the state; for a rule without a sliding threshold, zeros in its place."""
    if "post" in state and "threshold" not in state:
        state = state | {"threshold": torch.zeros_like(state["post"])}
    axes = {"fast_weights": 3, "eligibility": 3}
    return _arrays(like, *[(state.get(k), axes.get(k, 2)) for k in names])


_ROWS = ("potential", "pre", "post", "threshold")


class _Sequence(torch.autograd.Function):
    """`layer_sequence`, with gradients to all but the incoming state and from all but the new."""

    @staticmethod
    def forward(ctx, spec, names, inputs, starts, rate, *tensors):
        p = LayerParameters(*tensors[: len(LayerParameters._fields)])
        fields = zip(names, tensors[len(p) :])
        state = {k: x.clone(memory_format=torch.contiguous_format) for k, x in fields}
        ctx.set_materialize_grads(False)
        ctx.spec = spec
        train = any(ctx.needs_input_grad)
        if train:
            rows = {k: x.clone() for k, x in state.items() if k in _ROWS}
            ctx.rows = tuple(rows)
        inputs, starts = inputs.contiguous(), starts.contiguous()
        potentials = torch.nn.functional.linear(inputs, p.weight, p.bias)
        spikes = torch.empty_like(potentials)
        ticks, batch, neurons = spikes.shape
        dtype, channels = _dtype(spikes), spec.plastic_inputs
        beta, starts_array = _arrays(spikes, (p.membrane_decay, 1), (starts, 2))
        saved: list[Tensor | None] = [None, None]
        if not spec.plastic and not spec.recurrent:
            scratch = _scratch(dtype, (batch, neurons), (neurons,))
            static_sequence(
                starts_array, beta, spec.soft_reset, state["potential"].numpy(), spikes.numpy(),
                potentials.numpy(), *scratch,
            )  # fmt: skip
        else:
            blocks = -(-neurons // LANES)
            if train and spec.plastic:
                shape = (-(-ticks // SEGMENT), batch, blocks, channels, LANES)
                saved[0] = spikes.new_empty(shape)
                if spec.modulation == "retroactive":
                    saved[1] = spikes.new_empty(shape)
            synapses, eligible = _shapes(spec, blocks)
            scratch = _scratch(
                dtype, (blocks if spec.recurrent else 0, channels, LANES), synapses, synapses,
                eligible, (10, blocks, LANES), (3, channels),
            )  # fmt: skip
            setting = _Setting.of(spec, p, dtype)
            sequence(
                *setting,
                *_arrays(spikes, (inputs, 3), (starts, 2), (rate, 3)),
                *_arrays(spikes, (p.membrane_decay, 1), (p.recurrent_weight, 2)),
                *_arrays(spikes, (p.plasticity_gain, 2)),
                *_fields(state, (*_ROWS, "fast_weights", "eligibility"), spikes),
                *_arrays(spikes, (spikes, 3), (potentials, 3), (saved[0], 5), (saved[1], 5)),
                scratch,
            )
        if train:
            ctx.save_for_backward(
                inputs, starts, rate, *p, spikes, potentials, *saved, *rows.values()
            )
        new = [state[k] for k in names]
        ctx.mark_non_differentiable(*new)
        return spikes, potentials, *new

    @staticmethod
    @once_differentiable
    def backward(ctx, d_spikes, d_potentials, *_):
        spec = ctx.spec
        inputs, starts, rate, *rest = ctx.saved_tensors
        p = LayerParameters(*rest[: len(LayerParameters._fields)])
        spikes, potentials, saved_fast, saved_trace, *rows = rest[len(p) :]
        state = dict(zip(ctx.rows, rows))
        d_spikes = torch.zeros_like(spikes) if d_spikes is None else d_spikes
        ticks, batch, neurons = spikes.shape
        dtype, channels = _dtype(spikes), spec.plastic_inputs
        factor = 0.5 * math.pi if spec.surrogate == "arctan" else 1.0
        surrogate = SURROGATE_CODES[spec.surrogate], dtype(factor * spec.slope)
        d_currents, d_beta = torch.empty_like(spikes), spikes.new_zeros(neurons)
        d_inputs = d_gain = d_rate = d_recurrent = None
        d_decays = np.zeros(4, dtype)
        if not spec.plastic and not spec.recurrent:
            scratch = _scratch(dtype, *[(batch, neurons)] * 3, (neurons,), (neurons,))
            static_sequence_backward(
                *_arrays(spikes, (starts, 2), (p.membrane_decay, 1)), spec.soft_reset, *surrogate,
                *_arrays(spikes, (state["potential"], 2), (spikes, 3), (potentials, 3)),
                *_arrays(spikes, (d_spikes, 3), (d_potentials, 3), (d_currents, 3), (d_beta, 1)),
                *scratch,
            )  # fmt: skip
        else:
            if spec.plastic:
                d_gain, d_rate = spikes.new_empty(neurons, channels), torch.empty_like(spikes)
            if not spec.recurrent:
                d_inputs = torch.zeros_like(inputs)
            blocks = -(-neurons // LANES)
            group = blocks if spec.recurrent else 1
            synapses, _ = _shapes(spec, blocks)
            group_synapses, group_eligible = _shapes(spec, group)
            length = min(ticks, SEGMENT)
            scratch = _scratch(
                dtype, (blocks if spec.recurrent else 0, channels, LANES), synapses, synapses,
                (length, *group_synapses), (length, *group_eligible), group_synapses,
                group_eligible, (15, group, LANES), (2, channels),
            )  # fmt: skip
            history = _scratch(
                dtype, (5, ticks + 1, group, LANES), (ticks, channels), (ticks + 1, channels)
            )
            *codes, clip, decays = _Setting.of(spec, p, dtype)
            sequence_backward(
                *codes, *surrogate, clip, decays,
                *_arrays(spikes, (inputs, 3), (starts, 2), (rate, 3), (p.membrane_decay, 1)),
                *_arrays(spikes, (p.recurrent_weight, 2), (p.plasticity_gain, 2)),
                *_fields(state, _ROWS, spikes),
                *_arrays(spikes, (spikes, 3), (potentials, 3), (saved_fast, 5), (saved_trace, 5)),
                *_arrays(spikes, (d_spikes, 3), (d_potentials, 3), (d_inputs, 3), (d_currents, 3)),
                *_arrays(spikes, (d_rate, 3), (d_beta, 1), (d_gain, 2)), d_decays, scratch, history,
            )  # fmt: skip
        # the static synapses, for all ticks at once
        flat = d_currents.flatten(0, 1)
        if ctx.needs_input_grad[2]:
            if d_inputs is None:
                d_inputs = (flat @ p.weight).view_as(inputs)
            else:
                d_inputs.flatten(0, 1).addmm_(flat, p.weight)
        if spec.recurrent:
            fired = (state["potential"] > THRESHOLD).to(spikes.dtype).unsqueeze(0)
            before = torch.cat([fired, spikes[:-1]]) * (1.0 - starts).unsqueeze(2)
            d_recurrent = flat.t() @ before.flatten(0, 1)
        gradients = LayerParameters(
            flat.t() @ inputs.flatten(0, 1), flat.sum(0), d_beta, d_recurrent, d_gain,
            *[
                None if x is None else torch.full_like(x, d)
                for x, d in zip((p.pre_decay, p.post_decay, p.threshold_decay, p.eta), d_decays)
            ],
        )  # fmt: skip
        return None, None, d_inputs, None, d_rate, *gradients, *[None] * len(spec.state_shapes)


def _shapes(spec: LayerSpec, blocks: int) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """Shapes of fast weights and of eligibilities, in blocks; without any if not needed."""
    tail = (spec.plastic_inputs, LANES)
    eligible = spec.modulation == "retroactive"
    return (blocks if spec.plastic else 0, *tail), (blocks if eligible else 0, *tail)


_FIELDS = {
    name: index
    for index, name in enumerate(
        ("potential", "pre", "post", "threshold", "fast_weights", "eligibility")
    )
}
_ADDRESSES = struct.Struct("32q")


@lru_cache(maxsize=16)
def _rollout_scratch(neurons: int, channels: int, dtype: Any) -> tuple[np.ndarray, ...]:
    rows = _aligned((10, max(neurons, 4)), dtype)  # one of them holds four decays
    before = _aligned((2, neurons, channels), dtype)
    return np.zeros(32, np.int64), rows, _aligned((channels,), dtype), before


def _rollout(
    spec: LayerSpec,
    p: LayerParameters,
    inputs: Tensor,
    starts: Tensor,
    rate: Tensor | None,
    state: LayerState,
) -> tuple[Tensor, Tensor, LayerState]:
    """`layer_sequence` without gradients, made for few ticks: a call costs microseconds."""
    ticks, batch, channels = inputs.shape
    neurons, recurrent, kind = spec.neurons, spec.recurrent, STATIC
    if spec.rule != "none":
        kind = RETROACTIVE if spec.modulation == "retroactive" else DIRECT
    spikes = torch.empty(ticks, batch, neurons, dtype=inputs.dtype)
    potentials = torch.empty_like(spikes)
    arrays = [inputs, starts, rate, spikes, potentials, *p]
    arrays = [x if x is None or x.is_contiguous() else x.contiguous() for x in arrays]
    old: list[Any] = [None] * 6
    new, strides = old.copy(), [0] * 6
    for name, x in state.items():
        index = _FIELDS[name]
        if x.stride(-1) != 1 or (x.dim() == 3 and x.stride(1) != x.shape[2]):
            x = x.contiguous()
        old[index], new[index], strides[index] = x, torch.empty_like(x), x.stride(0)
    dtype = _dtype(inputs)
    addresses, *scratch = _rollout_scratch(neurons, neurons if recurrent else channels, dtype)
    _ADDRESSES.pack_into(
        addresses.data, 0, *[0 if x is None else x.data_ptr() for x in arrays + old + new], *strides
    )
    # an address does not keep its array alive: the lists above do
    rollout(
        dtype(spec.clip), RULE_CODES[spec.rule], kind, recurrent, spec.soft_reset, ticks, batch,
        channels, neurons, addresses, *scratch,
    )  # fmt: skip
    return spikes, potentials, {name: new[_FIELDS[name]] for name in state}


def layer_sequence(
    spec: LayerSpec,
    parameters: LayerParameters,
    inputs: Tensor,
    starts: Tensor,
    rate: Tensor | None,
    state: LayerState,
) -> tuple[Tensor, Tensor, LayerState]:
    """`policies.reference.layer_sequence` for float32 and float64 tensors on the CPU.

    It differs in one point: no gradient reaches the incoming state, nor comes from the new one
    (sequences are where backpropagation through time is truncated).

    Raises:
        ValueError: a field of the state requires a gradient.
    """
    for x in state.values():
        if x.requires_grad:
            raise ValueError(
                "the state must not require gradients; detach it, or use the reference"
            )
    if starts.dtype != inputs.dtype:
        starts = starts.to(inputs.dtype)
    if inputs.shape[0] <= FEW_TICKS and not torch.is_grad_enabled():
        return _rollout(spec, parameters, inputs, starts, rate, state)
    names = tuple(state)
    spikes, potentials, *new = _Sequence.apply(
        spec, names, inputs, starts, rate, *parameters, *state.values()
    )
    return spikes, potentials, dict(zip(names, new))


class _Leaky(torch.autograd.Function):
    """`leaky_sequence`, with gradients to the spikes and the decay."""

    @staticmethod
    def forward(ctx, spikes, starts, decay, value):
        spikes, starts, value = spikes.contiguous(), starts.contiguous(), value.contiguous()
        values = torch.empty_like(spikes)
        tensors = (spikes, 3), (starts, 2), (decay, 1), (value, 2), (values, 3)
        leaky(*_arrays(spikes, *tensors))
        ctx.save_for_backward(spikes, starts, decay, value, values)
        return values

    @staticmethod
    @once_differentiable
    def backward(ctx, d_values):
        spikes, starts, decay, value, values = ctx.saved_tensors
        d_spikes, d_decay = torch.empty_like(spikes), torch.zeros_like(decay)
        tensors = (spikes, 3), (starts, 2), (decay, 1), (value, 2), (values, 3), (d_values, 3)
        results = (d_spikes, 3), (d_decay, 1), (torch.zeros_like(value), 2)
        leaky_backward(*_arrays(spikes, *tensors, *results))
        return d_spikes, None, d_decay, None


def leaky_sequence(spikes: Tensor, starts: Tensor, decay: Tensor, value: Tensor) -> Tensor:
    """`policies.reference.leaky_sequence`; no gradient reaches the value before the first tick."""
    if len(spikes) == 1:  # a tick costs less than handing over the arrays
        return reference.leaky_sequence(spikes, starts, decay, value)
    return _Leaky.apply(spikes, starts.to(spikes.dtype), decay, value)
