"""Spiking layers on the CPU by the compiled kernels of `policies.numba_kernels`; needs Numba."""

import math
import struct
from collections.abc import Callable, Sequence
from functools import lru_cache
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from spikepropamine.policies.neurons import THRESHOLD
from spikepropamine.policies.numba_kernels import (
    CONTRACTING,
    DIRECT,
    ENTRIES,
    FIELDS,
    LANES,
    RETROACTIVE,
    RULE_CODES,
    SAVED_FAST,
    SEGMENT,
    STATIC,
    SURROGATE_CODES,
    count_active,
    leaky,
    leaky_backward,
    sequence,
    sequence_backward,
    sparse_currents,
    sparse_weight_gradient,
    static_sequence,
    static_sequence_backward,
)
from spikepropamine.policies.reference import LayerParameters, LayerSpec, LayerState

SPARSE = 0.3  # up to so many inputs that are not zero, the sparse kernels beat a matrix product


def aligned(shape: tuple[int, ...], dtype: Any) -> np.ndarray:
    """Zeros that start on a cache line: rows across two lines cost a factor of 1.4."""
    size, line = math.prod(shape), 64 // np.dtype(dtype).itemsize
    raw = np.zeros(size + line, dtype)
    first = -(raw.ctypes.data // raw.itemsize) % line
    return raw[first : first + size].reshape(shape)


@lru_cache(maxsize=16)
def _scratch(dtype: Any, *shapes: tuple[int, ...]) -> tuple[np.ndarray, ...]:
    """Work arrays, kept from call to call; a kernel holds the interpreter's lock while it runs."""
    return tuple(aligned(shape, dtype) for shape in shapes)


def number_type(dtype: torch.dtype) -> Any:
    """NumPy's type of a PyTorch dtype, float32 or float64."""
    return np.float64 if dtype == torch.float64 else np.float32


def kind_of(spec: LayerSpec) -> int:
    """The kernels' code for how a layer is plastic."""
    if spec.rule == "none":
        return STATIC
    return RETROACTIVE if spec.modulation == "retroactive" else DIRECT


def rule_code(spec: LayerSpec) -> int:
    """The kernels' code for a layer's rule and how it decays."""
    direct = kind_of(spec) == DIRECT
    return RULE_CODES[spec.rule] | (CONTRACTING if direct and spec.decay == "contracting" else 0)


_OLD = {name: index for index, name in enumerate(FIELDS)}
_NEW = {name: index + len(FIELDS) for name, index in _OLD.items()}
_TABLE = struct.Struct(f"{ENTRIES}q")
_PARAMETERS = len(LayerParameters._fields) - 1  # without coefficients, which no rule here has


def _table(
    layer: Sequence[Tensor | None], old: LayerState, new: LayerState, *more: Tensor | None
) -> np.ndarray:
    """The kernels' table of addresses.

    An address does not keep its tensor alive: the caller must, until the kernel has run.

    Args:
        layer: inputs, starts, rate, spikes, potentials, and the parameters, all contiguous.
        old: the state before, with gaps between environments only.
        new: the state after; an empty one is not written.
        more: the rest of the table, from saved fast weights on, as far as it is needed.
    """
    addresses, strides = [0] * 12, [0] * 12
    for index, fields in ((_OLD, old), (_NEW, new)):
        for name, x in fields.items():
            addresses[index[name]] = x.data_ptr()
            strides[index[name]] = x.stride()[0] * x.itemsize
    entries = [0 if x is None else x.data_ptr() for x in layer]
    rest = [0 if x is None else x.data_ptr() for x in more]
    unused = [0] * (ENTRIES - SAVED_FAST - len(rest))
    return np.frombuffer(_TABLE.pack(*entries, *addresses, *strides, *rest, *unused), np.int64)


def _contiguous(x: Any) -> Any:
    return x if x is None or x.is_contiguous() else x.contiguous()


def _packed(state: LayerState) -> LayerState:
    """The state with gaps between environments only."""
    for name, x in state.items():
        if not x.is_contiguous():
            stride = x.stride()
            if stride[-1] != 1 or (x.dim() == 3 and stride[1] != x.shape[2]):
                state = state | {name: x.contiguous()}
    return state


def _currents(inputs: Tensor, p: LayerParameters, potentials: Tensor) -> bool:
    """Writes W x + b to `potentials`; returns whether the inputs are sparse."""
    channels, neurons, dtype = inputs.shape[2], len(p.bias), number_type(inputs.dtype)
    length = inputs.numel()
    if count_active(dtype(0), length, inputs.data_ptr()) > SPARSE * length:
        rows = potentials.shape[0] * potentials.shape[1]
        torch.addmm(
            p.bias, inputs.view(rows, channels), p.weight.t(), out=potentials.view(rows, neurons)
        )
        return False
    table = _table((inputs, None, None, None, potentials, *p[:-1]), {}, {})
    sparse_currents(
        length // channels, channels, neurons, table, *_sparse(dtype, channels, neurons)
    )
    return True


def _weight_gradient(inputs: Tensor, d_currents: Tensor, sparse: bool) -> Tensor:
    """Gradient to W, of inputs [T, B, n_in] and the gradient to currents [T, B, n_out]."""
    channels, neurons = inputs.shape[2], d_currents.shape[2]
    if not sparse:
        return d_currents.flatten(0, 1).t() @ inputs.flatten(0, 1)
    d_weight = inputs.new_empty(neurons, channels)
    sparse_weight_gradient(
        inputs.numel() // channels, channels, neurons, inputs.data_ptr(), d_currents.data_ptr(),
        d_weight.data_ptr(), *_sparse(number_type(inputs.dtype), channels, neurons),
    )  # fmt: skip
    return d_weight


@lru_cache(maxsize=16)
def _sparse(dtype: Any, channels: int, neurons: int) -> tuple[np.ndarray, np.ndarray]:
    return aligned((channels, neurons), dtype), np.zeros(channels, np.int64)


class _Sequence(torch.autograd.Function):
    """`layer_sequence`, with gradients to all but the incoming state and from all but the new."""

    @staticmethod
    def forward(ctx, spec, state, new, inputs, starts, rate, *parameters):
        ctx.set_materialize_grads(False)
        p = LayerParameters(*[_contiguous(x) for x in parameters])
        inputs, starts, rate = _contiguous(inputs), _contiguous(starts), _contiguous(rate)
        ticks, batch, channels = inputs.shape
        neurons, dtype = spec.neurons, number_type(inputs.dtype)
        spikes = inputs.new_empty(ticks, batch, neurons)
        potentials = torch.empty_like(spikes)
        sparse = _currents(inputs, p, potentials)
        train, saved_fast, saved_trace = any(ctx.needs_input_grad), None, None
        blocks = -(-neurons // LANES)
        if train and spec.plastic and ticks > SEGMENT:
            shape = ((ticks - 1) // SEGMENT, batch, blocks, spec.plastic_inputs, LANES)
            saved_fast = spikes.new_empty(shape)
            if spec.modulation == "retroactive":
                saved_trace = spikes.new_empty(shape)
        layer = (inputs, starts, rate, spikes, potentials, *p[:-1])
        table = _table(layer, state, new, saved_fast, saved_trace)
        if not spec.plastic and not spec.recurrent:
            scratch = _scratch(dtype, (batch, neurons), (batch, neurons), (neurons,))
            static_sequence(spec.soft_reset, ticks, batch, neurons, table, *scratch)
        else:
            width, (synapses, eligible) = spec.plastic_inputs, _shapes(spec, blocks)
            scratch = _scratch(
                dtype, (blocks if spec.recurrent else 0, width, LANES), synapses, synapses,
                eligible, (10, blocks, LANES), (3, width), (4,),
            )  # fmt: skip
            sequence(
                dtype(spec.clip), rule_code(spec), kind_of(spec), spec.recurrent,
                spec.soft_reset, ticks, batch, channels, neurons, table, scratch,
            )  # fmt: skip
        if train:
            ctx.spec, ctx.names, ctx.sparse = spec, tuple(state), sparse
            ctx.save_for_backward(*layer, saved_fast, saved_trace, *state.values())
        return spikes, potentials

    @staticmethod
    @once_differentiable
    def backward(ctx, d_spikes, d_potentials):
        spec = ctx.spec
        *layer, saved_fast, saved_trace = ctx.saved_tensors[: 5 + _PARAMETERS + 2]
        state = dict(zip(ctx.names, ctx.saved_tensors[5 + _PARAMETERS + 2 :]))
        inputs, starts, _, spikes, _, *parameters = layer
        p = LayerParameters(*parameters)
        ticks, batch, channels = inputs.shape
        neurons, dtype = spec.neurons, number_type(inputs.dtype)
        factor = 0.5 * math.pi if spec.surrogate == "arctan" else 1.0
        surrogate = SURROGATE_CODES[spec.surrogate], dtype(factor * spec.slope)
        d_spikes, d_potentials = _contiguous(d_spikes), _contiguous(d_potentials)
        d_currents = torch.empty_like(spikes)
        d_bias, d_beta = torch.empty_like(p.bias), torch.empty_like(p.bias)
        d_inputs = d_gain = d_rate = d_recurrent = None
        d_decays: Any = [None] * 4
        if not spec.plastic and not spec.recurrent:
            table = _table(
                layer, state, {}, None, None, d_spikes, d_potentials, None, d_currents, None,
                d_bias, d_beta,
            )  # fmt: skip
            scratch = _scratch(dtype, *[(batch, neurons)] * 3, (neurons,), (neurons,))
            static_sequence_backward(
                spec.soft_reset, *surrogate, ticks, batch, neurons, table, *scratch
            )
        else:
            if spec.plastic:
                d_gain, d_rate = torch.empty_like(p.plasticity_gain), torch.empty_like(spikes)
            if not spec.recurrent:
                d_inputs = torch.zeros_like(inputs)
            decays = spikes.new_empty(4)
            d_decays = decays.unbind(0)
            table = _table(
                layer, state, {}, saved_fast, saved_trace, d_spikes, d_potentials, d_inputs,
                d_currents, d_rate, d_bias, d_beta, d_gain, decays,
            )  # fmt: skip
            blocks, width = -(-neurons // LANES), spec.plastic_inputs
            group = blocks if spec.recurrent else 1
            synapses, _ = _shapes(spec, blocks)
            group_synapses, group_eligible = _shapes(spec, group)
            length = min(ticks, SEGMENT)
            scratch = _scratch(
                dtype, (blocks if spec.recurrent else 0, width, LANES), synapses, synapses,
                (length, *group_synapses), (length, *group_eligible), group_synapses,
                group_eligible, (15, group, LANES), (2, width), (4,),
            )  # fmt: skip
            history = _scratch(
                dtype, (5, ticks + 1, group, LANES), (ticks, width), (ticks + 1, width)
            )
            sequence_backward(
                dtype(spec.clip), rule_code(spec), kind_of(spec), spec.recurrent,
                spec.soft_reset, *surrogate, ticks, batch, channels, neurons, table, scratch,
                history,
            )  # fmt: skip
        # the static synapses, for all ticks at once
        if ctx.needs_input_grad[3]:
            flat = d_currents.flatten(0, 1)
            if d_inputs is None:
                d_inputs = (flat @ p.weight).view_as(inputs)
            else:
                d_inputs.flatten(0, 1).addmm_(flat, p.weight)
        if spec.recurrent:
            fired = (state["potential"] > THRESHOLD).to(spikes.dtype).unsqueeze(0)
            before = torch.cat([fired, spikes[:-1]]).mul_((1.0 - starts).unsqueeze(2))
            d_recurrent = _weight_gradient(before, d_currents, sparse=True)
        gradients = LayerParameters(
            _weight_gradient(inputs, d_currents, ctx.sparse), d_bias, d_beta, d_recurrent, d_gain,
            *[None if x is None else d for x, d in zip(p[-5:-1], d_decays)], None,
        )  # fmt: skip
        return None, None, None, d_inputs, None, d_rate, *gradients


def _shapes(spec: LayerSpec, blocks: int) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """Shapes of fast weights and of eligibilities, in blocks; without any if not needed."""
    tail = (spec.plastic_inputs, LANES)
    eligible = spec.modulation == "retroactive"
    return (blocks if spec.plastic else 0, *tail), (blocks if eligible else 0, *tail)


def layer_sequence(
    spec: LayerSpec,
    parameters: LayerParameters,
    inputs: Tensor,
    starts: Tensor,
    rate: Tensor | None,
    state: LayerState,
    state_wanted: bool = True,
) -> tuple[Tensor, Tensor, LayerState]:
    """`policies.reference.layer_sequence` for float32 and float64 tensors on the CPU.

    It differs in one point: no gradient reaches the incoming state, nor comes from the new one
    (sequences are where backpropagation through time is truncated).

    Raises:
        ValueError: a field of the state requires a gradient.
    """
    if starts.dtype != inputs.dtype:
        starts = starts.to(inputs.dtype)
    state = _packed(state)
    new = {name: torch.empty_like(x) for name, x in state.items()} if state_wanted else {}
    if torch.is_grad_enabled() and any(x.requires_grad for x in state.values()):
        raise ValueError("the state must not require gradients; detach it, or use the reference")
    spikes, potentials = _Sequence.apply(spec, state, new, inputs, starts, rate, *parameters)
    return spikes, potentials, new


class _Leaky(torch.autograd.Function):
    """`leaky_sequence`, with gradients to the spikes and the decay."""

    @staticmethod
    def forward(ctx, *arguments):
        arguments = tuple(x.contiguous() for x in arguments)
        values = torch.empty_like(arguments[0])
        _leaky(leaky, *arguments, values)
        ctx.save_for_backward(*arguments, values)
        return values

    @staticmethod
    @once_differentiable
    def backward(ctx, d_values):
        spikes, _, decay, value, _ = ctx.saved_tensors
        d_spikes, d_decay = torch.empty_like(spikes), torch.zeros_like(decay)
        d_values, before = d_values.contiguous(), torch.zeros_like(value)
        _leaky(leaky_backward, *ctx.saved_tensors, d_values, d_spikes, d_decay, before)
        return d_spikes, None, d_decay, None


def _leaky(kernel: Callable[..., None], spikes: Tensor, *more: Tensor) -> None:
    addresses = np.array([x.data_ptr() for x in (spikes, *more)])
    kernel(number_type(spikes.dtype)(0), *spikes.shape, addresses)


def leaky_sequence(spikes: Tensor, starts: Tensor, decay: Tensor, value: Tensor) -> Tensor:
    """`policies.reference.leaky_sequence`; no gradient reaches the value before the first tick."""
    return _Leaky.apply(spikes, starts.to(spikes.dtype), decay, value)
