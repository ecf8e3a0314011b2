"""An environment step of a whole spiking network, for rollouts on the CPU: a few compiled calls.

Networks that differ in parameters alone can be stepped side by side, from one network whose
parameters have a leading axis: [networks, ...].
"""

import threading
from collections.abc import Sequence
from typing import Any, NamedTuple
from weakref import WeakKeyDictionary

import numpy as np
import torch
from torch import Tensor

from spikepropamine.policies.compiled import autograd
from spikepropamine.policies.compiled.derive import kernels_for
from spikepropamine.policies.compiled.rows import (
    modulate,
    read_out,
    sparse_currents,
    unchanged,
)
from spikepropamine.policies.encoder import at_ticks
from spikepropamine.policies.reference import LayerOutput


class _Plan(NamedTuple):
    """All that the kernels need besides observations and state, made once for given parameters."""

    shapes: tuple[tuple[int, ...], ...]  # of observations, starts and state
    parameters: list[dict[str, Any]]  # of the modules whose numbers are in the tables
    places: list[Any]  # of their memory
    compared: np.ndarray  # place, copy and length of each
    moving: tuple[
        np.ndarray, ...
    ]  # entries of the tables that change from step to step
    calls: list[
        list[tuple[Any, tuple[Any, ...]]]
    ]  # each network's kernels and arguments, in order
    outputs: list[LayerOutput]  # what the layers do, in the memory where they do it
    keep_alive: list[Any]  # what else lies at the addresses in the tables


class _Plans(threading.local):
    """Plans by network, and by batch and number type: of each thread, since a step writes to the
    memory of its plan.
    """

    def __init__(self) -> None:
        self.of: WeakKeyDictionary[Any, dict[Any, _Plan]] = WeakKeyDictionary()


# Not in the network: a copy of it must not come with addresses of what belongs to the original.
_plans = _Plans()


def step(
    network: Any, observations: Tensor, starts: Tensor, state: Tensor
) -> tuple[Tensor, Tensor, list[LayerOutput]]:
    """One environment step of a `SpikingNetwork` on the CPU, without gradients: from observations
    [1, B, channels], starts [1, B], 1 where an episode starts, and the flat state [1, B, D], which
    is not changed, to features [1, B, output_size], the new flat state, and each layer's output
    [ticks, B, neurons], which the next step overwrites. Raises ValueError: a shape or dtype that
    the network does not have.
    """
    batch, dtype = state.shape[1], state.dtype
    plans = _plans.of.get(network)
    if plans is None:
        plans = _plans.of[network] = {}
    plan = plans.get((batch, dtype))
    if not (  # the parameters are what they were, by whatever means they are changed
        plan is not None
        and plan.places == _places(plan.parameters)
        and unchanged(np.int32(0), plan.compared)
    ):
        plan = plans[batch, dtype] = plan_of(network, batch, dtype)
    return go(network, plan, observations, starts, state)


def go(
    network: Any,
    plan: _Plan,
    observations: Tensor,
    starts: Tensor,
    state: Tensor,
    running: Sequence[int] = (0,),
) -> tuple[Tensor, Tensor, list[LayerOutput]]:
    """A step by a plan for these parameters, as `step`. Of several networks the rows are those of
    the first, then of the second, ...; those that are not `running` get no numbers.
    """
    batch, ticks, dtype, count = (
        state.shape[1],
        network.config.ticks,
        state.dtype,
        len(plan.calls),
    )
    observations, starts, state = (
        _plain(x, dtype) for x in (observations, starts, state)
    )
    shapes = observations.shape, starts.shape, state.shape
    if shapes != plan.shapes:  # the kernels would not notice
        given = tuple(map(tuple, shapes))
        raise ValueError(
            f"shapes of observations, starts and state: {given}, not {plan.shapes}"
        )
    rows = batch // count
    held, first_tick = observations, starts
    if ticks > 1:
        held = at_ticks(
            observations.view(count, rows, -1), ticks, network.config.phases
        )
        first_tick = starts.new_zeros(count * ticks, rows)
        first_tick[::ticks] = starts.view(count, rows)
    signal = held
    if network.config.encoder:
        signal = network.encoder(held.view(count, ticks * rows, -1))
    features = observations.new_empty(1, batch, network.output_size)
    new = torch.empty_like(state)
    for entry, x in zip(plan.moving, (state, new, first_tick, signal, held, features)):
        entry.fill(x.data_ptr())
        if count > 1:
            entry += _parts(x, count)
    for index in running:
        for kernel, arguments in plan.calls[index]:
            kernel(*arguments)
    return features, new, plan.outputs


def _parts(x: Tensor, count: int) -> np.ndarray:
    """The way to each network's part, in bytes."""
    return np.arange(count) * (x.numel() // count * x.itemsize)


def _plain(x: Tensor, dtype: torch.dtype) -> Tensor:
    # asked first, since conversions that do nothing take a microsecond
    return x if x.dtype is dtype and x.is_contiguous() else x.to(dtype).contiguous()


def _places(parameters: list[dict[str, Any]]) -> list[Any]:
    """Addresses of parameters, a new object for one whose numbers do not lie in order."""
    return [
        x.data_ptr() if x.is_contiguous() else object()
        for named in parameters  # `Module.parameters` takes longer than all of this
        for x in named.values()
        if x is not None
    ]


def _compared(parameters: list[dict[str, Any]], keep_alive: list[Any]) -> np.ndarray:
    """For `unchanged`, of copies that are kept alive."""
    rows = []
    for x in (x for named in parameters for x in named.values() if x is not None):
        copy = x.detach().clone(memory_format=torch.contiguous_format)
        keep_alive.append(copy)
        rows.append((x.data_ptr(), copy.data_ptr(), x.numel() * x.itemsize // 4))
    return np.array(rows, np.int64)


def plan_of(network: Any, batch: int, dtype: torch.dtype, count: int = 1) -> _Plan:
    """A plan for so many networks, each with `batch` environments."""
    config, layout, number = network.config, network.layout, autograd.number_type(dtype)
    if dtype != network.readout_decay.dtype:
        raise ValueError(
            f"the state is {dtype}, the network {network.readout_decay.dtype}"
        )
    ticks, bytes_each = config.ticks, network.readout_decay.itemsize
    layers = list(network.layers)
    size = (len(layers) + 1) * count * autograd.TABLE.itemsize
    tables = autograd.aligned(size).view(autograd.TABLE).reshape(len(layers) + 1, count)
    tables["stride"] = layout.size * bytes_each
    for flag in ("plasticity_off", "modulator_held"):
        tables[flag] = layout.slices[flag].start * bytes_each
    keep_alive: list[Any] = []
    calls: list[list[tuple[Any, tuple[Any, ...]]]] = [[] for _ in range(count)]
    outputs: list[LayerOutput] = []
    seen = len(network.exogenous)

    def enter(row: int, **entries: Tensor | None) -> None:
        for name, x in entries.items():
            if x is not None:
                x = x.detach().contiguous()
                keep_alive.append(x)
                tables[name][row] = x.data_ptr() + _parts(x, count)

    def call(
        row: int, kernel: Any, before: tuple[Any, ...], after: tuple[Any, ...] = ()
    ) -> None:
        for own, of_network in enumerate(calls):
            of_network.append((kernel, (*before, tables[row, own : own + 1], *after)))

    def enter_state(row: int, name: str, field: str) -> None:
        for when in ("old", "new"):
            tables[f"{when}_{name}"][row] = layout.slices[field].start * bytes_each
            if name in autograd.FIELDS:
                tables[f"{when}_{name}_stride"][row] = layout.size * bytes_each

    for index, layer in enumerate(layers):
        spec, neurons = layer.spec, layer.spec.neurons
        spikes = torch.zeros(count * ticks, batch, neurons, dtype=dtype)
        potentials = torch.zeros_like(spikes)
        rate = torch.zeros_like(spikes) if spec.plastic else None
        outputs.append(
            LayerOutput(spikes, potentials, rate)
        )  # of several networks: one by one
        kernels = kernels_for(spec)
        p = autograd.in_blocks(layer.parameters_in_use(), kernels.LANES)
        p = p._replace(weight=p.weight.mT)
        enter(index, spikes=spikes, potentials=potentials, rate=rate, **p._asdict())
        if index:
            enter(index, inputs=outputs[index - 1].spikes)
        for name in (*autograd.FIELDS, "modulation"):
            if (field := f"layer{index}.{name}") in layout.slices:
                enter_state(index, name, field)
        indices = np.empty(max(spec.inputs, seen) + 1, np.int64)
        sizes: Any = number(0), ticks * batch, spec.inputs, neurons
        call(index, sparse_currents, sizes, (indices,))
        if spec.plastic:
            enter(
                index, exogenous=network.exogenous.repeat(count),
                seen=torch.zeros(count * seen, dtype=dtype),
                target=torch.zeros_like(spikes) if spec.has_target else None,
            )  # fmt: skip
            for name in autograd.COMPARTMENTS:
                if (x := getattr(layer, name, None)) is not None:
                    enter(index, **{name: x if name.endswith("_bias") else x.mT})
            sizes = (
                number(0),
                ticks,
                batch,
                spec.inputs,
                neurons,
                network.shown_size,
                seen,
            )
            call(index, modulate, sizes, (indices,))
        arguments = (
            number(spec.clip),
            spec.soft_reset,
            ticks,
            batch,
            spec.inputs,
            neurons,
        )
        tables["scratch"][index], memory = autograd.scratch(kernels.forward, *arguments)
        keep_alive.append(memory)
        call(index, kernels.forward, arguments)
    enter(
        len(layers), spikes=outputs[-1].spikes, potentials=outputs[-1].potentials,
        readout_decay=torch.sigmoid(network.readout_decay),
    )  # fmt: skip
    enter_state(len(layers), "readout", "readout")
    sizes = number(0), ticks, batch, layers[-1].spec.neurons, network.output_size
    call(len(layers), read_out, sizes)
    numbers = [module._parameters for module in (network, *layers)]
    rows = count * batch
    shapes = (1, rows, network.input_size), (1, rows), (1, rows, layout.size)
    keep_alive.append(outputs)
    moving = (
        *(tables[name] for name in ("old", "new", "starts")), tables["inputs"][:1],
        tables["observations"], tables["features"],
    )  # fmt: skip
    places, compared = _places(numbers), _compared(numbers, keep_alive)
    return _Plan(shapes, numbers, places, compared, moving, calls, outputs, keep_alive)
