"""The compiled layers as PyTorch functions: tensors in, gradients out."""

import functools
import math
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from spikepropamine.policies.compiled import static
from spikepropamine.policies.compiled.rows import SEGMENT, SURROGATE_CODES
from spikepropamine.policies.compiled.specialise import kernels_for
from spikepropamine.policies.compiled.table import number_type, state_entries, table_of
from spikepropamine.policies.neurons import THRESHOLD
from spikepropamine.policies.reference import LayerParameters, LayerSpec, LayerState

SPARSE = 0.3  # up to so many inputs that are not zero, the sparse kernels beat a matrix product


def aligned(size: int) -> np.ndarray:
    """Bytes that start on a cache line: rows across two lines cost a factor of 1.4."""
    raw = np.zeros(size + 64, np.uint8)
    first = -raw.ctypes.data % 64
    return raw[first : first + size]


@functools.lru_cache(maxsize=64, typed=True)  # a float32 0 equals a float64 0
def scratch(kernel: Callable[..., int], *arguments: Any) -> tuple[int, np.ndarray]:
    """Address of work memory of a kernel, and the memory, kept from call to call: a kernel holds
    the interpreter's lock while it runs.
    """
    memory = aligned(kernel(*arguments, table_of()))
    return memory.ctypes.data, memory


def blocked(matrix: Tensor, lanes: int) -> Tensor:
    """A matrix [neurons, presynaptic] in the blocks [blocks, presynaptic, lanes] of the kernels."""
    matrix = _contiguous(matrix)
    neurons, width = matrix.shape
    blocks = matrix.new_empty(-(-neurons // lanes), width, lanes)
    like = number_type(matrix.dtype)(0)
    static.to_blocks(like, neurons, width, lanes, matrix.data_ptr(), blocks.data_ptr())
    return blocks


def blocked_own(synaptic: Tensor, lanes: int) -> Tensor:
    """What each synapse has for itself, [number, neurons, presynaptic], in blocks [blocks, number,
    presynaptic, lanes].
    """
    return torch.stack([blocked(matrix, lanes) for matrix in synaptic], dim=1)


def _from_blocks(blocks: Tensor, neurons: int) -> Tensor:
    """The matrix that lies in blocks."""
    _, width, lanes = blocks.shape
    matrix = blocks.new_empty(neurons, width)
    like = number_type(matrix.dtype)(0)
    static.from_blocks(like, neurons, width, lanes, blocks.data_ptr(), matrix.data_ptr())
    return matrix


def _packed(state: LayerState) -> LayerState:
    """The state with gaps between environments only, and in the fast weights and eligibilities
    with the neurons of one presynaptic channel side by side.
    """
    for name, x in state.items():
        stride = x.stride()
        if x.dim() == 2:
            packed = x if stride[1] == 1 else x.contiguous()
        elif stride[1:] == (1, x.shape[1]):
            packed = x
        else:
            packed = x.transpose(1, 2).contiguous().transpose(1, 2)
        if packed is not x:
            state = state | {name: packed}
    return state


def _contiguous(x: Any) -> Any:
    return x if x is None or x.is_contiguous() else x.contiguous()


def _weight_gradient(inputs: Tensor, d_currents: Tensor, sparse: bool) -> Tensor:
    """Gradient to W, of inputs [T, B, n_in] and the gradient to currents [T, B, n_out]."""
    channels, neurons = inputs.shape[2], d_currents.shape[2]
    if not sparse:
        return d_currents.flatten(0, 1).t() @ inputs.flatten(0, 1)
    d_weight = inputs.new_empty(channels, neurons)
    indices = np.empty(channels + 1, np.int64)
    static.sparse_weight_gradient(
        number_type(inputs.dtype)(0), inputs.numel() // channels, channels, neurons,
        inputs.data_ptr(), d_currents.data_ptr(), d_weight.data_ptr(), indices,
    )  # fmt: skip
    return d_weight.t()


class _Sequence(torch.autograd.Function):
    """`layer_sequence`, with gradients to all but the incoming state and from all but the new."""

    @staticmethod
    def forward(ctx, spec, state, new, inputs, starts, rate, target, *parameters):
        ctx.set_materialize_grads(False)
        p = LayerParameters(*[_contiguous(x) for x in parameters])
        inputs, starts, rate, target = map(_contiguous, (inputs, starts, rate, target))
        ticks, batch, channels = inputs.shape
        neurons, number = spec.neurons, number_type(inputs.dtype)
        train = any(ctx.needs_input_grad)
        spikes = inputs.new_empty(ticks, batch, neurons)
        potentials = torch.empty_like(spikes)
        gains: Any = None
        own: Any = None
        feedback = saved_fast = saved_eligibility = None
        kernels = kernels_for(spec)
        arguments = number(spec.clip), spec.soft_reset, ticks, batch, channels, neurons
        if spec.recurrent:
            feedback = blocked(p.recurrent_weight, kernels.LANES)
        if spec.plastic:
            gains = blocked(p.plasticity_gain, kernels.LANES)
            if p.synaptic is not None:
                own = blocked_own(p.synaptic, kernels.LANES)
            if train and ticks > SEGMENT:
                shape = ((ticks - 1) // SEGMENT, batch, *gains.shape)
                saved_fast = spikes.new_empty(shape)
                if spec.modulation == "retroactive":
                    saved_eligibility = spikes.new_empty(shape)
        active = static.count_active(number(0), inputs.numel(), inputs.data_ptr())
        sparse = active <= SPARSE * inputs.numel()
        weight = p.weight.t().contiguous() if sparse else p.weight
        outputs = {"spikes": spikes, "potentials": potentials}
        tensors = {
            "inputs": inputs, "starts": starts, "rate": rate, "target": target, "weight": weight,
            "bias": p.bias, "beta": p.membrane_decay, "feedback": feedback, "gains": gains,
            "coefficients": p.coefficients, "own": own, "pre_decay": p.pre_decay,
            "post_decay": p.post_decay, "threshold_decay": p.threshold_decay, "eta": p.eta,
            "pre_mean_share": p.pre_mean_share, "post_mean_share": p.post_mean_share,
            "saved_fast": saved_fast, "saved_eligibility": saved_eligibility,
        }  # fmt: skip
        addresses = {k: x.data_ptr() for k, x in (tensors | outputs).items() if x is not None}
        table = table_of(
            **addresses, **state_entries("old", state), **state_entries("new", new),
            scratch=scratch(kernels.forward, *arguments)[0],
        )  # fmt: skip
        rows = ticks * batch
        if sparse:
            indices = np.empty(channels + 1, np.int64)
            static.sparse_currents(number(0), rows, channels, neurons, table, indices)
        else:
            torch.addmm(
                p.bias, inputs.view(rows, channels), p.weight.t(),
                out=potentials.view(rows, neurons),
            )  # fmt: skip
        kernels.forward(*arguments, table)
        if train:
            ctx.spec, ctx.sparse, ctx.table = spec, sparse, table
            ctx.own_shape = None if own is None else own.shape
            # what the table points at; outputs would hold this graph, and it them, for ever
            ctx.alive = (*tensors.values(), *state.values())
            ctx.save_for_backward(
                *outputs.values(), inputs, starts, p.weight, p.bias, state["potential"], gains,
                p.coefficients, *parameters,
            )  # fmt: skip
        return spikes, potentials

    @staticmethod
    @once_differentiable
    def backward(ctx, d_spikes, d_potentials):
        spec = ctx.spec
        spikes, _, inputs, starts, weight, bias, potential, gains, coefficients, *parameters = (
            ctx.saved_tensors
        )
        ticks, batch, channels = inputs.shape
        neurons, number = spec.neurons, number_type(inputs.dtype)
        factor = 0.5 * math.pi if spec.surrogate == "arctan" else 1.0
        surrogate = SURROGATE_CODES[spec.surrogate], number(factor * spec.slope)
        d_spikes, d_potentials = _contiguous(d_spikes), _contiguous(d_potentials)
        d_currents = torch.empty_like(spikes)
        d_bias, d_beta = torch.empty_like(bias), torch.empty_like(bias)
        d_inputs = d_rate = d_target = d_gains = d_coefficients = None
        d_gain = d_recurrent = d_own = d_synaptic = None
        kernel = kernels_for(spec).backward
        sizes = ticks, batch, channels, neurons
        arguments = number(spec.clip), spec.soft_reset, *surrogate, *sizes
        d_decays = spikes.new_empty(6)
        if spec.plastic:
            d_rate, d_gains = torch.zeros_like(spikes), torch.empty_like(gains)
            if not spec.recurrent and ctx.needs_input_grad[3]:
                d_inputs = torch.zeros_like(inputs)
            if ctx.own_shape is not None:
                d_own = spikes.new_empty(ctx.own_shape)
            if spec.has_target:
                d_target = torch.empty_like(spikes)
            if coefficients is not None:
                d_coefficients = torch.empty_like(coefficients)
        table = ctx.table
        for name, x in (
            ("d_spikes", d_spikes), ("d_potentials", d_potentials), ("d_inputs", d_inputs),
            ("d_currents", d_currents), ("d_rate", d_rate), ("d_target", d_target),
            ("d_bias", d_bias), ("d_beta", d_beta), ("d_gains", d_gains),
            ("d_coefficients", d_coefficients), ("d_own", d_own), ("d_decays", d_decays),
        ):  # fmt: skip
            table[name] = 0 if x is None else x.data_ptr()
        table["scratch"] = scratch(kernel, *arguments)[0]
        kernel(*arguments, table)
        # the static synapses, for all ticks at once
        if ctx.needs_input_grad[3]:
            flat = d_currents.flatten(0, 1)
            if d_inputs is None:
                d_inputs = (flat @ weight).view_as(inputs)
            else:
                d_inputs.flatten(0, 1).addmm_(flat, weight)
        if spec.recurrent:
            fired = (potential > THRESHOLD).to(spikes.dtype).unsqueeze(0)
            before = torch.cat([fired, spikes[:-1]]).mul_((1.0 - starts).unsqueeze(2))
            d_recurrent = _weight_gradient(before, d_currents, sparse=True)
        if d_gains is not None:
            d_gain = _from_blocks(d_gains, neurons)
        if d_own is not None:
            matrices = d_own.transpose(0, 1).contiguous()
            d_synaptic = torch.stack([_from_blocks(x, neurons) for x in matrices])
        decays = d_decays.unbind(0) if spec.plastic else [None] * 6
        of_layer, of_means = decays[:4], decays[4:]
        d_weight = _weight_gradient(inputs, d_currents, ctx.sparse)
        gradients = (
            d_weight, d_bias, d_beta, d_recurrent, d_gain, *of_layer, d_coefficients, d_synaptic,
            *of_means,
        )  # in the order of LayerParameters  # fmt: skip
        given = [d if x is not None else None for x, d in zip(parameters, gradients)]
        return None, None, None, d_inputs, None, d_rate, d_target, *given


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
    """`policies.reference.layer_sequence` for float32 and float64 tensors on the CPU.

    It differs in one point: no gradient reaches the incoming state, nor comes from the new one
    (sequences are where backpropagation through time is truncated). Raises ValueError where a field
    of the state requires a gradient.
    """
    if starts.dtype != inputs.dtype:
        starts = starts.to(inputs.dtype)
    state = _packed(state)
    new = {k: torch.empty_like(x) for k, x in state.items()} if state_wanted else {}
    if torch.is_grad_enabled() and any(x.requires_grad for x in state.values()):
        raise ValueError("the state must not require gradients; detach it, or use the reference")
    spikes, potentials = _Sequence.apply(
        spec, state, new, inputs, starts, rate, target, *parameters
    )
    return spikes, potentials, new


class _Leaky(torch.autograd.Function):
    """`leaky_sequence`, with gradients to the spikes and the decay."""

    @staticmethod
    def forward(ctx, *arguments):
        arguments = tuple(x.contiguous() for x in arguments)
        values = torch.empty_like(arguments[0])
        _leaky(static.leaky_forward, *arguments, values)
        ctx.save_for_backward(*arguments, values)
        return values

    @staticmethod
    @once_differentiable
    def backward(ctx, d_values):
        spikes, _, decay, value, _ = ctx.saved_tensors
        d_spikes, d_decay = torch.empty_like(spikes), torch.zeros_like(decay)
        d_values, through = d_values.contiguous(), torch.zeros_like(value)
        _leaky(static.leaky_backward, *ctx.saved_tensors, d_values, d_spikes, d_decay, through)
        return d_spikes, None, d_decay, None


def _leaky(kernel: Callable[..., None], spikes: Tensor, *more: Tensor) -> None:
    addresses = np.array([x.data_ptr() for x in (spikes, *more)])
    kernel(number_type(spikes.dtype)(0), *spikes.shape, addresses)


def leaky_sequence(spikes: Tensor, starts: Tensor, decay: Tensor, value: Tensor) -> Tensor:
    """`policies.reference.leaky_sequence`; no gradient reaches the value before the first tick."""
    return _Leaky.apply(spikes, starts.to(spikes.dtype), decay, value)
