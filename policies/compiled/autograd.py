"""The compiled layers as PyTorch functions: tensors in, gradients out.

Kernels are told where things are by a table of addresses: to hand over arrays takes longer than
many a call.
"""

import functools
import math
import struct
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from spikepropamine.policies.compiled import rows
from spikepropamine.policies.compiled.derive import kernels_for
from spikepropamine.policies.compiled.rows import SEGMENT, SURROGATE_CODES
from spikepropamine.policies.reference import (
    THRESHOLD,
    LayerParameters,
    LayerSpec,
    LayerState,
)

DECAYS = (
    "pre_decay", "post_decay", "threshold_decay", "eta", "pre_mean_share", "post_mean_share",
)  # fmt: skip
"""Parameters whose gradients the kernels give side by side."""
SPARSE = 0.3  # up to so many inputs that are not zero, the sparse kernels beat a matrix product

FIELDS = (
    "potential", "pre", "post", "threshold", "pre_mean", "post_mean", "fast_weights", "eligibility"
)  # fmt: skip

COMPARTMENTS = (
    "modulator_weight", "modulator_exogenous", "modulator_bias", "target_exogenous", "target_bias",
)  # fmt: skip
"""Parameters of a layer, besides `LayerParameters`, that a step needs."""

TABLE = np.dtype(
    [
        (name, np.int64)
        for name in (
            # per tick
            *("inputs", "starts", "rate", "target", "spikes", "potentials"),
            # parameters; those of plastic and recurrent synapses in blocks, see `in_blocks`
            *LayerParameters._fields,
            # the state before and after: base addresses, and for each field the way from there to
            # that of the first environment, and from one environment to the next, in bytes
            *("old", "new"),
            *(f"{when}_{field}" for when in ("old", "new") for field in FIELDS),
            *(f"{when}_{field}_stride" for when in ("old", "new") for field in FIELDS),
            # what is kept for the backward pass, and gradients
            *("saved_fast", "saved_eligibility"),
            *(
                "d_spikes",
                "d_potentials",
                "d_inputs",
                "d_currents",
                "d_rate",
                "d_target",
            ),
            *(
                "d_bias",
                "d_membrane_decay",
                "d_plasticity_gain",
                "d_coefficients",
                "d_synaptic",
            ),
            *("d_decays", "scratch"),
            # in a step of a network: neuromodulators and readout; fields of the flat state by their
            # way from its start, and from one environment to the next
            *COMPARTMENTS,
            *("observations", "exogenous", "seen", "readout_decay", "features"),
            *("stride", "plasticity_off", "modulator_held"),
            *("old_modulation", "new_modulation", "old_readout", "new_readout"),
        )
    ]
)


_PLACES = {name: place for place, name in enumerate(TABLE.names or ())}
_PACKER = struct.Struct(f"{len(_PLACES)}q")


def table_of(**entries: int) -> np.ndarray:
    """A table of one row, with 0 for what is not given.

    An address does not keep its tensor alive: the caller must, until the kernel has run.
    """
    row = [0] * len(_PLACES)
    for name, entry in entries.items():
        row[_PLACES[name]] = entry
    return np.frombuffer(bytearray(_PACKER.pack(*row)), TABLE)


def state_entries(when: str, state: dict[str, Tensor]) -> dict[str, int]:
    """Entries of the fields of a state, "old" or "new", that has gaps between environments only."""
    entries = {}
    for name, x in state.items():
        entries[f"{when}_{name}"] = x.data_ptr()
        entries[f"{when}_{name}_stride"] = x.stride()[0] * x.itemsize
    return entries


def number_type(dtype: torch.dtype) -> Any:
    """NumPy's type of a PyTorch dtype, float32 or float64."""
    return np.float64 if dtype == torch.float64 else np.float32


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


def _blocked(matrices: Tensor, lanes: int) -> Tensor:
    """Matrices [..., neurons, presynaptic] in the blocks [..., blocks, presynaptic, lanes] of the
    kernels, of which the last one ends in zeros.
    """
    missing = -matrices.shape[-2] % lanes
    padded = (
        torch.nn.functional.pad(matrices, (0, 0, 0, missing)) if missing else matrices
    )
    return padded.unflatten(-2, (-1, lanes)).mT.contiguous()


def _from_blocks(blocks: Tensor, neurons: int) -> Tensor:
    """The way back."""
    return blocks.mT.flatten(-3, -2)[..., :neurons, :]


def in_blocks(p: LayerParameters, lanes: int) -> LayerParameters:
    """Parameters with the matrices of plastic and recurrent synapses in blocks; what synapses have
    for themselves [number, neurons, presynaptic] in [blocks, number, presynaptic, lanes].
    """
    changed = {}
    for name in ("recurrent_weight", "plasticity_gain", "synaptic"):
        if (matrices := getattr(p, name)) is not None:
            changed[name] = _blocked(matrices, lanes)
    if p.synaptic is not None:
        changed["synaptic"] = changed["synaptic"].transpose(-4, -3).contiguous()
    return p._replace(**changed)


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
    rows.sparse_weight_gradient(
        number_type(inputs.dtype)(0), inputs.numel() // channels, channels, neurons,
        inputs.data_ptr(), d_currents.data_ptr(), d_weight.data_ptr(), indices,
    )  # fmt: skip
    return d_weight.t()


class _Sequence(torch.autograd.Function):
    """`layer_sequence`, with gradients to all but the incoming state and from all but the new."""

    @staticmethod
    def forward(ctx, spec, state, new, inputs, starts, rate, target, *parameters):
        ctx.set_materialize_grads(False)
        inputs, starts, rate, target = map(_contiguous, (inputs, starts, rate, target))
        ticks, batch, channels = inputs.shape
        neurons, count, number = spec.neurons, ticks * batch, number_type(inputs.dtype)
        train = any(ctx.needs_input_grad)
        kernels = kernels_for(spec)
        arguments = number(spec.clip), spec.soft_reset, ticks, batch, channels, neurons
        p = in_blocks(LayerParameters(*map(_contiguous, parameters)), kernels.LANES)
        spikes = inputs.new_empty(ticks, batch, neurons)
        potentials = torch.empty_like(spikes)
        saved_fast = saved_eligibility = None
        if spec.plastic and train and ticks > SEGMENT:
            shape = ((ticks - 1) // SEGMENT, batch, *p.plasticity_gain.shape)
            saved_fast = spikes.new_empty(shape)
            if spec.modulation == "retroactive":
                saved_eligibility = spikes.new_empty(shape)
        active = rows.count_active(number(0), inputs.numel(), inputs.data_ptr())
        sparse = active <= SPARSE * inputs.numel()
        if sparse:
            p = p._replace(weight=p.weight.t().contiguous())
        outputs = {"spikes": spikes, "potentials": potentials}
        tensors = p._asdict() | {
            "inputs": inputs, "starts": starts, "rate": rate, "target": target,
            "saved_fast": saved_fast, "saved_eligibility": saved_eligibility,
        }  # fmt: skip
        addresses = {
            k: x.data_ptr() for k, x in (tensors | outputs).items() if x is not None
        }
        table = table_of(
            **addresses, **state_entries("old", state), **state_entries("new", new),
            scratch=scratch(kernels.forward, *arguments)[0],
        )  # fmt: skip
        if sparse:
            indices = np.empty(channels + 1, np.int64)
            rows.sparse_currents(number(0), count, channels, neurons, table, indices)
        else:
            torch.addmm(
                p.bias, inputs.view(count, channels), p.weight.t(),
                out=potentials.view(count, neurons),
            )  # fmt: skip
        kernels.forward(*arguments, table)
        if train:
            ctx.spec, ctx.sparse, ctx.table, ctx.in_blocks = spec, sparse, table, p
            # what the table points at; outputs would hold this graph, and it them, for ever
            ctx.alive = (*tensors.values(), *state.values())
            ctx.save_for_backward(
                spikes, potentials, inputs, starts, state["potential"], *parameters
            )
        return spikes, potentials

    @staticmethod
    @once_differentiable
    def backward(ctx, d_spikes, d_potentials):
        spec = ctx.spec
        spikes, _, inputs, starts, potential, *parameters = ctx.saved_tensors
        weight, p = parameters[0], ctx.in_blocks
        ticks, batch, channels = inputs.shape
        neurons, number = spec.neurons, number_type(inputs.dtype)
        factor = 0.5 * math.pi if spec.surrogate == "arctan" else 1.0
        surrogate = SURROGATE_CODES[spec.surrogate], number(factor * spec.slope)
        kernel = kernels_for(spec).backward
        sizes = ticks, batch, channels, neurons
        arguments = number(spec.clip), spec.soft_reset, *surrogate, *sizes
        # with respect to what is named
        d: dict[str, Any] = {
            "spikes": _contiguous(d_spikes), "potentials": _contiguous(d_potentials),
            "currents": torch.empty_like(spikes), "bias": torch.empty_like(p.bias),
            "membrane_decay": torch.empty_like(p.bias), "decays": spikes.new_empty(len(DECAYS)),
        }  # fmt: skip
        if spec.plastic:
            d["rate"] = torch.zeros_like(spikes)
            d["target"] = torch.empty_like(spikes) if spec.has_target else None
            for name in ("plasticity_gain", "synaptic", "coefficients"):
                x = getattr(p, name)
                d[name] = None if x is None else torch.empty_like(x)
            if not spec.recurrent and ctx.needs_input_grad[3]:
                d["inputs"] = torch.zeros_like(inputs)
        for name, x in d.items():
            ctx.table[f"d_{name}"] = 0 if x is None else x.data_ptr()
        ctx.table["scratch"] = scratch(kernel, *arguments)[0]
        kernel(*arguments, ctx.table)
        # the static synapses, for all ticks at once
        d["weight"] = _weight_gradient(inputs, d["currents"], ctx.sparse)
        if ctx.needs_input_grad[3]:
            flat = d["currents"].flatten(0, 1)
            if "inputs" in d:
                d["inputs"].flatten(0, 1).addmm_(flat, weight)
            else:
                d["inputs"] = (flat @ weight).view_as(inputs)
        if spec.recurrent:
            fired = (potential > THRESHOLD).to(spikes.dtype).unsqueeze(0)
            before = torch.cat([fired, spikes[:-1]]).mul_((1.0 - starts).unsqueeze(2))
            d["recurrent_weight"] = _weight_gradient(before, d["currents"], sparse=True)
        if spec.plastic:
            d["plasticity_gain"] = _from_blocks(d["plasticity_gain"], neurons)
            if p.synaptic is not None:
                d["synaptic"] = _from_blocks(d["synaptic"].transpose(0, 1), neurons)
            d |= zip(DECAYS, d["decays"].unbind())
        named = zip(LayerParameters._fields, parameters)
        of_parameters = [None if x is None else d[name] for name, x in named]
        of_signals = d.get("inputs"), None, d.get("rate"), d.get("target")
        return None, None, None, *of_signals, *of_parameters


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
        raise ValueError(
            "the state must not require gradients; detach it, or use the reference"
        )
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
        _leaky(rows.leaky_forward, *arguments, values)
        ctx.save_for_backward(*arguments, values)
        return values

    @staticmethod
    @once_differentiable
    def backward(ctx, d_values):
        spikes, _, decay, value, _ = ctx.saved_tensors
        d_spikes, d_decay = torch.empty_like(spikes), torch.zeros_like(decay)
        d_values, through = d_values.contiguous(), torch.zeros_like(value)
        _leaky(
            rows.leaky_backward,
            *ctx.saved_tensors,
            d_values,
            d_spikes,
            d_decay,
            through,
        )
        return d_spikes, None, d_decay, None


def _leaky(kernel: Callable[..., None], spikes: Tensor, *more: Tensor) -> None:
    addresses = np.array([x.data_ptr() for x in (spikes, *more)])
    kernel(number_type(spikes.dtype)(0), *spikes.shape, addresses)


def leaky_sequence(
    spikes: Tensor, starts: Tensor, decay: Tensor, value: Tensor
) -> Tensor:
    """`policies.reference.leaky_sequence`; no gradient reaches the value before the first tick."""
    return _Leaky.apply(spikes, starts.to(spikes.dtype), decay, value)
