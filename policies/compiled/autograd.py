"""The compiled layers as PyTorch functions: tensors in, gradients out."""

# PyTorch's `Function.apply` has no annotations.
# mypy: allow-untyped-calls

import functools
import math
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from spikepropamine.policies.compiled import rows
from spikepropamine.policies.compiled.derive import kernels_for
from spikepropamine.policies.compiled.parameters import (
    DECAYS,
    LEAKY_TABLE,
    table_of,
)
from spikepropamine.policies.compiled.rows import SEGMENT, SURROGATE_CODES
from spikepropamine.policies.reference import (
    LayerParameters,
    LayerSpec,
    LayerState,
    outputs_of,
)

SPARSE = 0.3
"""Up to this share of inputs that are not zero, the sparse kernels beat a matrix
product."""


def state_entries(when: str, state: LayerState) -> dict[str, int]:
    """Entries in a table of a state's fields.

    Args:
        when: "old" or "new".
        state: fields with gaps between environments only.

    Returns:
        Address of each field, and the way from one environment to the next in bytes.
    """
    entries = {}
    for name, x in state.items():
        entries[f"{when}_{name}"] = x.data_ptr()
        entries[f"{when}_{name}_stride"] = x.stride()[0] * x.itemsize
    return entries


def number_type(dtype: torch.dtype) -> Callable[[float], Any]:
    """NumPy's type of a PyTorch dtype, float32 or float64."""
    return np.float64 if dtype == torch.float64 else np.float32


def aligned(size: int) -> np.ndarray:
    """Bytes that start on a cache line: rows across two lines cost a factor of 1.4."""
    raw = np.zeros(size + 64, np.uint8)
    first = -raw.ctypes.data % 64
    return raw[first : first + size]


@functools.lru_cache(maxsize=64, typed=True)  # a float32 0 equals a float64 0
def scratch(kernel: Callable[..., int], *arguments: Any) -> tuple[int, np.ndarray]:
    """Work memory of a kernel with these arguments, kept from call to call: a kernel
    holds the interpreter's lock while it runs.

    Returns:
        Its address, and the memory.
    """
    memory = aligned(kernel(*arguments, table_of()))
    return memory.ctypes.data, memory


def _blocked(matrices: Tensor, lanes: int) -> Tensor:
    """Matrices [..., neurons, presynaptic] in the blocks [..., blocks, presynaptic,
    lanes] of the kernels, of which the last one ends in zeros.
    """
    missing = -matrices.shape[-2] % lanes
    if missing:
        matrices = torch.nn.functional.pad(matrices, (0, 0, 0, missing))
    blocks: Tensor = matrices.unflatten(-2, (-1, lanes))
    return blocks.mT.contiguous()


def _from_blocks(blocks: Tensor, neurons: int) -> Tensor:
    """The way back."""
    return blocks.mT.flatten(-3, -2)[..., :neurons, :]


def in_blocks(p: LayerParameters, lanes: int) -> LayerParameters:
    """Parameters with the matrices of plastic and recurrent synapses in blocks.

    Args:
        p: of a layer.
        lanes: neurons of a block.

    Returns:
        Coefficients of synapses [number, neurons, presynaptic] become [blocks, number,
        presynaptic, lanes].
    """
    changed = {}
    for name in ("recurrent_weight", "plasticity_gain", "synaptic"):
        matrices = getattr(p, name)
        if matrices is not None:
            changed[name] = _blocked(matrices, lanes)
    if p.synaptic is not None:
        changed["synaptic"] = changed["synaptic"].transpose(-4, -3).contiguous()
    return p._replace(**changed)


def _packed(state: LayerState) -> LayerState:
    """The state with gaps between environments only, and in the fast weights and
    eligibilities with the neurons of one presynaptic channel side by side.
    """
    packed = {}
    for name, x in state.items():
        stride = x.stride()
        if x.dim() == 2:
            packed[name] = x if stride[1] == 1 else x.contiguous()
        elif stride[1:] == (1, x.shape[1]):
            packed[name] = x
        else:
            packed[name] = x.transpose(1, 2).contiguous().transpose(1, 2)
    return packed


def _contiguous(x: Tensor | None) -> Tensor | None:
    return x if x is None or x.is_contiguous() else x.contiguous()


def _weight_gradient(inputs: Tensor, d_currents: Tensor, sparse: bool) -> Tensor:
    """Gradient to W, from inputs [T, B, n_in] and that to currents [T, B, n_out]."""
    channels = inputs.shape[2]
    neurons = d_currents.shape[2]
    if not sparse:
        return d_currents.flatten(0, 1).t() @ inputs.flatten(0, 1)
    d_weight = inputs.new_empty(channels, neurons)
    indices = np.empty(channels + 1, np.int64)
    rows.sparse_weight_gradient(
        number_type(inputs.dtype)(0),
        inputs.numel() // channels,
        channels,
        neurons,
        inputs.data_ptr(),
        d_currents.data_ptr(),
        d_weight.data_ptr(),
        indices,
    )
    return d_weight.t()


def _static_currents(
    inputs: Tensor,
    p: LayerParameters,
    table: np.ndarray,
    currents: Tensor,
    sparse: bool,
) -> None:
    """Currents W x + b of all ticks at once, to where the kernels expect them."""
    ticks, batch, channels = inputs.shape
    neurons = currents.shape[2]
    count = ticks * batch
    if sparse:
        zero = number_type(inputs.dtype)(0)
        indices = np.empty(channels + 1, np.int64)
        rows.sparse_currents(zero, count, channels, neurons, table, indices)
    else:
        torch.addmm(
            p.bias,
            inputs.view(count, channels),
            p.weight.t(),
            out=currents.view(count, neurons),
        )


class _Sequence(torch.autograd.Function):
    """`layer_sequence`, with gradients to all but the incoming state and from all but
    the new.
    """

    @staticmethod
    def forward(
        ctx: Any,
        spec: LayerSpec,
        state: LayerState,
        new: LayerState,
        inputs: Tensor,
        starts: Tensor,
        rate: Tensor | None,
        target: Tensor | None,
        *parameters: Tensor | None,
    ) -> tuple[Tensor, Tensor]:
        ctx.set_materialize_grads(False)
        inputs = inputs.contiguous()
        starts = starts.contiguous()
        ticks, batch, channels = inputs.shape
        number = number_type(inputs.dtype)
        is_training = any(ctx.needs_input_grad)
        kernels = kernels_for(spec)
        laid_out: Any = [_contiguous(x) for x in parameters]
        p = in_blocks(LayerParameters(*laid_out), kernels.LANES)
        spikes = inputs.new_empty(ticks, batch, spec.neurons)
        potentials = torch.empty_like(spikes)
        active = rows.count_active(number(0), inputs.numel(), inputs.data_ptr())
        sparse = active <= SPARSE * inputs.numel()
        if sparse:
            p = p._replace(weight=p.weight.t().contiguous())
        tensors = p._asdict() | {
            "inputs": inputs,
            "starts": starts,
            "rate": _contiguous(rate),
            "target": _contiguous(target),
        }
        if spec.plastic and is_training and ticks > SEGMENT:
            shape = ((ticks - 1) // SEGMENT, batch, *p.plasticity_gain.shape)
            tensors["saved_fast_weights"] = spikes.new_empty(shape)
            if spec.modulation == "retroactive":
                tensors["saved_eligibility"] = spikes.new_empty(shape)
        outputs = {"spikes": spikes, "potentials": potentials}
        addresses = {
            name: x.data_ptr()
            for name, x in (tensors | outputs).items()
            if x is not None
        }
        sizes = (ticks, batch, channels, spec.neurons)
        arguments = (number(spec.clip), spec.soft_reset, *sizes)
        table = table_of(
            **addresses,
            **state_entries("old", state),
            **state_entries("new", new),
            scratch=scratch(kernels.forward, *arguments)[0],
        )
        _static_currents(inputs, p, table, potentials, sparse)
        kernels.forward(*arguments, table)
        if is_training:
            ctx.spec = spec
            ctx.sparse = sparse
            ctx.table = table
            ctx.in_blocks = p
            # what the table points at; outputs would hold this graph, and it them, for
            # ever
            ctx.alive = (*tensors.values(), *state.values())
            ctx.save_for_backward(
                spikes, potentials, inputs, starts, state["potential"], *parameters
            )
        return spikes, potentials

    @staticmethod
    @once_differentiable
    def backward(
        ctx: Any, d_spikes: Tensor | None, d_potentials: Tensor | None
    ) -> tuple[Tensor | None, ...]:
        spec = ctx.spec
        p = ctx.in_blocks
        spikes, _, inputs, starts, potential, *parameters = ctx.saved_tensors
        ticks, batch, channels = inputs.shape
        number = number_type(inputs.dtype)
        inputs_learn = ctx.needs_input_grad[3]
        # gradients with respect to what is named
        d: dict[str, Any] = {
            "spikes": _contiguous(d_spikes),
            "potentials": _contiguous(d_potentials),
            "currents": torch.empty_like(spikes),
            "bias": torch.empty_like(p.bias),
            "membrane_decay": torch.empty_like(p.bias),
            "decays": spikes.new_empty(len(DECAYS)),
        }
        if spec.plastic:
            d["rate"] = torch.zeros_like(spikes)
            if spec.has_target:
                d["target"] = torch.empty_like(spikes)
            for name in ("plasticity_gain", "synaptic", "coefficients"):
                parameter = getattr(p, name)
                if parameter is not None:
                    d[name] = torch.empty_like(parameter)
            if not spec.recurrent and inputs_learn:
                d["inputs"] = torch.zeros_like(inputs)
        table = ctx.table
        for name, gradient in d.items():
            table[f"d_{name}"] = 0 if gradient is None else gradient.data_ptr()
        # the kernel's arctan takes pi / 2 times the slope
        factor = 0.5 * math.pi if spec.surrogate == "arctan" else 1.0
        arguments = (
            number(spec.clip),
            spec.soft_reset,
            SURROGATE_CODES[spec.surrogate],
            number(factor * spec.slope),
            *(ticks, batch, channels, spec.neurons),
        )
        kernel = kernels_for(spec).backward
        table["scratch"] = scratch(kernel, *arguments)[0]
        kernel(*arguments, table)
        _add_static_gradients(d, spec, ctx.sparse, inputs, parameters[0], inputs_learn)
        if spec.recurrent:
            first = outputs_of(spec, potential).unsqueeze(0)
            before = torch.cat([first, spikes[:-1]]).mul_((1.0 - starts).unsqueeze(2))
            sparse = spec.units == "spiking"
            d["recurrent_weight"] = _weight_gradient(before, d["currents"], sparse)
        if spec.plastic:
            d["plasticity_gain"] = _from_blocks(d["plasticity_gain"], spec.neurons)
            if p.synaptic is not None:
                by_number = d["synaptic"].transpose(0, 1)
                d["synaptic"] = _from_blocks(by_number, spec.neurons)
            d |= zip(DECAYS, d["decays"].unbind())
        of_parameters = [
            None if parameter is None else d[name]
            for name, parameter in zip(LayerParameters._fields, parameters)
        ]
        of_signals = (d.get("inputs"), None, d.get("rate"), d.get("target"))
        return None, None, None, *of_signals, *of_parameters


def _add_static_gradients(
    d: dict[str, Any],
    spec: LayerSpec,
    sparse: bool,
    inputs: Tensor,
    weight: Tensor,
    inputs_learn: bool,
) -> None:
    """Adds the gradients that pass the static synapses, for all ticks at once."""
    d["weight"] = _weight_gradient(inputs, d["currents"], sparse)
    if inputs_learn:
        flat = d["currents"].flatten(0, 1)
        if "inputs" in d:  # those that pass the plastic synapses
            d["inputs"].flatten(0, 1).addmm_(flat, weight)
        else:
            d["inputs"] = (flat @ weight).view_as(inputs)


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

    It differs in one point: no gradient reaches the incoming state, nor comes from the
    new one (sequences are where backpropagation through time is truncated).

    Raises:
        ValueError: a field of the state requires a gradient.
    """
    if torch.is_grad_enabled() and any(x.requires_grad for x in state.values()):
        raise ValueError(
            "the state must not require gradients; detach it, or use the reference"
        )
    if starts.dtype != inputs.dtype:
        starts = starts.to(inputs.dtype)
    state = _packed(state)
    new: LayerState = {}
    if state_wanted:
        new = {name: torch.empty_like(x) for name, x in state.items()}
    spikes, potentials = _Sequence.apply(
        spec, state, new, inputs, starts, rate, target, *parameters
    )
    return spikes, potentials, new


class _Leaky(torch.autograd.Function):
    """`leaky_sequence`, with gradients to the spikes and the decay."""

    @staticmethod
    def forward(
        ctx: Any, spikes: Tensor, starts: Tensor, decay: Tensor, before: Tensor
    ) -> Tensor:
        arguments = {
            "spikes": spikes.contiguous(),
            "starts": starts.contiguous(),
            "decay": decay.contiguous(),
            "before": before.contiguous(),
            "values": torch.empty_like(spikes, memory_format=torch.contiguous_format),
        }
        _call_leaky(rows.leaky_forward, arguments)
        ctx.save_for_backward(*arguments.values())
        return arguments["values"]

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, d_values: Tensor) -> tuple[Tensor, None, Tensor, None]:
        spikes, starts, decay, before, values = ctx.saved_tensors
        d_spikes = torch.empty_like(spikes)
        d_decay = torch.zeros_like(decay)
        _call_leaky(
            rows.leaky_backward,
            {
                "spikes": spikes,
                "starts": starts,
                "decay": decay,
                "before": before,
                "values": values,
                "d_values": d_values.contiguous(),
                "d_spikes": d_spikes,
                "d_decay": d_decay,
                "through": torch.zeros_like(before),
            },
        )
        return d_spikes, None, d_decay, None


def _call_leaky(kernel: Callable[..., None], tensors: dict[str, Tensor]) -> None:
    table = np.zeros(1, LEAKY_TABLE)
    for name, x in tensors.items():
        table[name] = x.data_ptr()
    spikes = tensors["spikes"]
    kernel(number_type(spikes.dtype)(0), *spikes.shape, table)


def leaky_sequence(
    spikes: Tensor, starts: Tensor, decay: Tensor, value: Tensor
) -> Tensor:
    """`policies.reference.leaky_sequence`, compiled.

    No gradient reaches the value before the first tick.

    Args:
        spikes: [T, B, n].
        starts: [T, B], True where an episode begins.
        decay: kappa of each neuron, [n].
        value: of the readout before the first tick, [B, n].

    Returns:
        The readout after each tick, [T, B, n].
    """
    values: Tensor = _Leaky.apply(spikes, starts.to(spikes.dtype), decay, value)
    return values
