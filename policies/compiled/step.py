"""An environment step of a whole spiking network, for rollouts on the CPU: a few
compiled calls.

Networks that differ in parameters alone can be stepped side by side, from one network
whose parameters have a leading axis: [networks, ...].
"""

import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol
from weakref import WeakKeyDictionary

import numpy as np
import torch
from torch import Tensor, nn

from spikepropamine.policies.compiled import autograd
from spikepropamine.policies.compiled.derive import kernels_for
from spikepropamine.policies.compiled.parameters import COMPARTMENTS, FIELDS, TABLE
from spikepropamine.policies.compiled.rows import (
    modulate,
    read_out,
    sparse_currents,
    unchanged,
)
from spikepropamine.policies.config import NetworkConfig
from spikepropamine.policies.dense import places
from spikepropamine.policies.encoder import Encoder, at_ticks, with_delay
from spikepropamine.policies.reference import LayerOutput, LayerParameters, LayerSpec
from spikepropamine.policies.state import FLAGS, StateLayout

Parameters = dict[str, nn.Parameter | None]
Call = tuple[Callable[..., Any], tuple[Any, ...]]


class Layer(Protocol):
    """What is needed of a `SpikingLayer`."""

    spec: LayerSpec
    _parameters: Parameters

    def parameters_in_use(self) -> LayerParameters:
        """In the units of the equations."""


class Network(Protocol):
    """What is needed of a `SpikingNetwork`."""

    config: NetworkConfig
    layout: StateLayout
    encoder: Encoder
    readout_decay: nn.Parameter
    exogenous: Tensor
    input_size: int
    shown_size: int
    output_size: int
    _parameters: Parameters

    @property
    def layers(self) -> Sequence[Layer]:
        """In order."""


@dataclass
class Plan:
    """All that the kernels need besides observations and state, made once for given
    parameters.

    Attributes:
        shapes: of observations, starts and state.
        parameters: of the modules whose numbers are in the tables.
        places: addresses of these parameters; a new object for one whose numbers do not
            lie in order.
        compared: of each parameter its address, that of a copy, and the length in words
            of 32 bits.
        moving: entries of the tables that change from step to step: the state before
            and after, starts, the first layer's inputs, observations and features.
        calls: of each network its kernels and their arguments, in order.
        outputs: what the layers do, in the memory where they do it.
        keep_alive: what else lies at the addresses in the tables.
    """

    shapes: tuple[tuple[int, ...], ...]
    parameters: list[Parameters]
    places: list[Any]
    compared: np.ndarray
    moving: tuple[np.ndarray, ...]
    calls: list[list[Call]]
    outputs: list[LayerOutput]
    keep_alive: list[Any]

    def holds(self) -> bool:
        """Whether the parameters are still those in the tables, by whatever means they
        may have changed.
        """
        return self.places == _places(self.parameters) and unchanged(
            np.int32(0), self.compared
        )

    def enter(self, *tensors: Tensor) -> None:
        """Enters what changes from step to step, in the order of `moving`."""
        count = len(self.calls)
        for entry, x in zip(self.moving, tensors):
            entry.fill(x.data_ptr())
            if count > 1:
                entry += _parts(x, count)


class _Plans(threading.local):
    """Plans by network, and by batch and number type: of each thread, since a step
    writes to the memory of its plan.
    """

    def __init__(self) -> None:
        self.of: WeakKeyDictionary[Network, dict[tuple[int, torch.dtype], Plan]] = (
            WeakKeyDictionary()
        )


# Not in the network: a copy of it must not come with addresses of what belongs to the
# original.
_plans = _Plans()


def step(
    network: Network,
    observations: Tensor,
    starts: Tensor,
    state: Tensor,
    plan: Plan | None = None,
    running: Sequence[int] = (0,),
) -> tuple[Tensor, Tensor, list[LayerOutput]]:
    """One environment step of a network on the CPU, without gradients.

    Args:
        network: as it is now.
        observations: [1, B, channels].
        starts: [1, B], 1 where an episode starts.
        state: the flat state [1, B, D], which is not changed.
        plan: by `plan_of`, for these parameters; rows are then those of the first
            network, then of the second, ... None: the plan that is kept of this
            network.
        running: the networks of the plan that are stepped; others get no numbers.

    Returns:
        Features [1, B, output_size], the new flat state, and each layer's output
        [ticks, B, neurons], which the next step overwrites.

    Raises:
        ValueError: a shape or dtype that the network does not have.
    """
    dtype = state.dtype
    batch = state.shape[1]
    if plan is None:
        plan = _plan_that_is_kept(network, batch, dtype)
    # checked first, since conversions that do nothing take a microsecond
    if observations.dtype is not dtype or not observations.is_contiguous():
        observations = observations.to(dtype).contiguous()
    if starts.dtype is not dtype or not starts.is_contiguous():
        starts = starts.to(dtype).contiguous()
    if not state.is_contiguous():
        state = state.contiguous()
    shapes = (observations.shape, starts.shape, state.shape)
    if shapes != plan.shapes:  # the kernels would not notice
        sizes = tuple(tuple(shape) for shape in shapes)
        raise ValueError(
            f"shapes of observations, starts and state: {sizes}, not {plan.shapes}"
        )
    new = torch.empty_like(state)
    features = observations.new_empty(1, batch, network.output_size)
    shown, first_tick, signal = _shown(
        network, observations, starts, state, new, len(plan.calls)
    )
    plan.enter(state, new, first_tick, signal, shown, features)
    for index in running:
        for kernel, arguments in plan.calls[index]:
            kernel(*arguments)
    return features, new, plan.outputs


def _shown(
    network: Network,
    observations: Tensor,
    starts: Tensor,
    state: Tensor,
    new: Tensor,
    count: int,
) -> tuple[Tensor, Tensor, Tensor]:
    """What a step's kernels see of observations.

    Args:
        network: or several of them.
        observations: [1, B, channels].
        starts: [1, B].
        state: [1, B, D].
        new: the same after the step, which gets the observation where it is kept.
        count: how many networks there are.

    Returns:
        Observations at each tick, starts at each tick, and what the first layer sees.
    """
    ticks = network.config.ticks
    rows = state.shape[1] // count
    shown = observations
    first_tick = starts
    if network.config.delay:
        before = network.layout.get(state[0], "observation")
        shown = with_delay(observations, starts, before)
        network.layout.get(new, "observation").copy_(observations)
    if ticks > 1:
        by_network = shown.view(count, rows, -1)
        shown = at_ticks(by_network, ticks, network.config.phases)
        first_tick = starts.new_zeros(count * ticks, rows)
        first_tick[::ticks] = starts.view(count, rows)
    signal = shown
    if network.config.encoder:
        signal = network.encoder(shown.view(count, ticks * rows, -1))
    return shown, first_tick, signal


class Row:
    """A network that is stepped in one environment, in arrays that are kept.

    Args:
        network: as it is at every step.
        observations: [1, 1, channels], is read at every step.

    Attributes:
        begins: whether an episode begins with the next step.
        state: after the latest step, [1, 1, D]; of no meaning where one begins.
        features: [1, 1, output_size], of the latest step.
    """

    def __init__(self, network: Network, observations: Tensor) -> None:
        self._network = network
        self._observations = observations
        config = network.config
        self._shows_as_it_is = config.ticks == 1 and not config.delay
        if config.encoder:
            self._shows_as_it_is = False
        self._starts = observations.new_ones(1, 1)
        self._began = True
        self.begins = True
        self.state = observations.new_zeros(1, 1, network.layout.size)
        self._other = torch.zeros_like(self.state)
        self.features = observations.new_empty(1, 1, network.output_size)
        self._make_plan()

    def _make_plan(self) -> None:
        self._plan = plan_of(self._network, 1, self.state.dtype)
        seen = self._observations
        states = self.state, self._other
        self._plan.enter(*states, self._starts, seen, seen, self.features)

    def sum_of_state(self) -> np.floating[Any]:
        """Of all its numbers: finite where they are."""
        total: np.floating[Any] = np.add.reduce(self.state.numpy(), axis=None)
        return total

    def step(self) -> list[LayerOutput]:
        """One environment step; returns each layer's output [ticks, 1, neurons], which
        the next step overwrites.
        """
        if not self._plan.holds():
            self._make_plan()
        old = self.state
        new = self._other
        if self.begins:
            old.zero_()
        if self.begins != self._began:
            self._starts.fill_(self.begins)
        self._began = self.begins
        if self._shows_as_it_is:
            self._plan.enter(old, new)  # nothing else changes
            self._run()
        else:
            with torch.no_grad():
                shown, first_tick, signal = _shown(
                    self._network, self._observations, self._starts, old, new, 1
                )
            self._plan.enter(old, new, first_tick, signal, shown)
            self._run()
        self.begins = False
        self.state = new
        self._other = old
        return self._plan.outputs

    def _run(self) -> None:
        for kernel, arguments in self._plan.calls[0]:
            kernel(*arguments)


def _plan_that_is_kept(network: Network, batch: int, dtype: torch.dtype) -> Plan:
    """The plan for a network's parameters as they are now, by whatever means they
    changed.
    """
    plans = _plans.of.get(network)
    if plans is None:
        plans = _plans.of[network] = {}
    plan = plans.get((batch, dtype))
    if plan is not None and plan.holds():
        return plan
    plan = plans[batch, dtype] = plan_of(network, batch, dtype)
    return plan


def _parts(x: Tensor, count: int) -> np.ndarray:
    """The way to each network's part, in bytes."""
    return np.arange(count) * (x.numel() // count * x.itemsize)


def plan_of(network: Network, batch: int, dtype: torch.dtype, count: int = 1) -> Plan:
    """A plan for several networks.

    Args:
        network: has the parameters of all, [networks, ...] where there are several.
        batch: environments of each network.
        dtype: of the state.
        count: how many networks there are.

    Raises:
        ValueError: the network is of another dtype.
    """
    if dtype != network.readout_decay.dtype:
        raise ValueError(
            f"the state is {dtype}, the network {network.readout_decay.dtype}"
        )
    tables = _Tables(network, batch, dtype, count)
    outputs: list[LayerOutput] = []
    for index in range(len(network.layers)):
        inputs = outputs[-1].spikes if outputs else None
        outputs.append(tables.enter_layer(index, inputs))
    tables.enter_readout(outputs[-1])
    tables.keep_alive.append(outputs)
    rows = count * batch
    shapes = (
        (1, rows, network.input_size),
        (1, rows),
        (1, rows, network.layout.size),
    )
    table = tables.table
    moving = (
        *(table[name] for name in ("old", "new", "starts")),
        table["inputs"][:1],
        *(table[name] for name in ("observations", "features")),
    )
    modules: list[Network | Layer] = [network, *network.layers]
    # `Module.parameters` takes longer than all of a step
    parameters = [module._parameters for module in modules]
    compared: list[tuple[int, int, int]] = []
    for named in parameters:
        for x in named.values():
            if x is not None:
                copy = x.detach().clone(memory_format=torch.contiguous_format)
                tables.keep_alive.append(copy)
                words = x.numel() * x.itemsize // 4
                compared.append((x.data_ptr(), copy.data_ptr(), words))
    return Plan(
        shapes,
        parameters,
        _places(parameters),
        np.array(compared, np.int64),
        moving,
        tables.calls,
        outputs,
        tables.keep_alive,
    )


def _places(parameters: list[Parameters]) -> list[Any]:
    """See `dense.places`."""
    return places(x for named in parameters for x in named.values() if x is not None)


class _Tables:
    """The tables of a plan while they are filled: a row for each layer and one for the
    readout, [rows, networks].
    """

    def __init__(
        self, network: Network, batch: int, dtype: torch.dtype, count: int
    ) -> None:
        self.network = network
        self.batch = batch
        self.dtype = dtype
        self.count = count
        self.number = autograd.number_type(dtype)
        self.itemsize = network.readout_decay.itemsize
        self.seen = len(network.exogenous)  # channels that neuromodulators see
        rows = len(network.layers) + 1
        memory = autograd.aligned(rows * count * TABLE.itemsize)
        self.table = memory.view(TABLE).reshape(rows, count)
        self.table["stride"] = network.layout.size * self.itemsize
        for flag in FLAGS:
            start = network.layout.slices[flag].start
            self.table[flag] = start * self.itemsize
        self.keep_alive: list[Any] = []
        self.calls: list[list[Call]] = [[] for _ in range(count)]

    def enter_layer(self, index: int, inputs: Tensor | None) -> LayerOutput:
        """Enters a layer.

        Args:
            index: of the layer, from 0 on.
            inputs: spikes of the layer before; None: it is the first.
        """
        network = self.network
        ticks = self.network.config.ticks
        batch = self.batch
        layer = network.layers[index]
        spec = layer.spec
        neurons = spec.neurons
        spikes = torch.zeros(self.count * ticks, batch, neurons, dtype=self.dtype)
        potentials = torch.zeros_like(spikes)
        rate = torch.zeros_like(spikes) if spec.plastic else None
        kernels = kernels_for(spec)
        p = autograd.in_blocks(layer.parameters_in_use(), kernels.LANES)
        p = p._replace(weight=p.weight.mT)
        self._enter(index, spikes=spikes, potentials=potentials, rate=rate)
        self._enter(index, inputs=inputs, **p._asdict())
        for name in (*FIELDS, "modulation"):
            field = f"layer{index}.{name}"
            if field in network.layout.slices:
                self._enter_state(index, name, field)
        indices = np.empty(max(spec.inputs, self.seen) + 1, np.int64)
        zero = self.number(0)
        sizes = (ticks * batch, spec.inputs, neurons)
        self._call(index, sparse_currents, (zero, *sizes), (indices,))
        if spec.plastic:
            self._enter(
                index,
                exogenous=network.exogenous.repeat(self.count),
                seen=torch.zeros(self.count * self.seen, dtype=self.dtype),
                target=torch.zeros_like(spikes) if spec.has_target else None,
            )
            for name in COMPARTMENTS:
                x: Tensor | None = getattr(layer, name, None)
                if x is not None:
                    x = x if name.endswith("_bias") else x.mT
                self._enter(index, **{name: x})
            widths = (spec.inputs, neurons, network.shown_size, self.seen)
            self._call(index, modulate, (zero, ticks, batch, *widths), (indices,))
        arguments = (
            self.number(spec.clip),
            spec.soft_reset,
            *(ticks, batch, spec.inputs, neurons),
        )
        address, memory = autograd.scratch(kernels.forward, *arguments)
        self.table["scratch"][index] = address
        self.keep_alive.append(memory)
        self._call(index, kernels.forward, arguments)
        return LayerOutput(spikes, potentials, rate)

    def enter_readout(self, output: LayerOutput) -> None:
        """Enters the readout of the last layer's output."""
        network = self.network
        row = len(network.layers)
        self._enter(
            row,
            spikes=output.spikes,
            potentials=output.potentials,
            readout_decay=torch.sigmoid(network.readout_decay),
        )
        self._enter_state(row, "readout", "readout")
        neurons = output.spikes.shape[-1]
        sizes = (network.config.ticks, self.batch, neurons, network.output_size)
        self._call(row, read_out, (self.number(0), *sizes))

    def _enter(self, row: int, **tensors: Tensor | None) -> None:
        """Enters addresses, of several networks those of their parts."""
        for name, x in tensors.items():
            if x is not None:
                x = x.detach().contiguous()
                self.keep_alive.append(x)
                self.table[name][row] = x.data_ptr() + _parts(x, self.count)

    def _enter_state(self, row: int, name: str, field: str) -> None:
        """Enters where a field of the layout lies before and after a step."""
        layout = self.network.layout
        for when in ("old", "new"):
            start = layout.slices[field].start
            self.table[f"{when}_{name}"][row] = start * self.itemsize
            if name in FIELDS:
                self.table[f"{when}_{name}_stride"][row] = layout.size * self.itemsize

    def _call(
        self,
        row: int,
        kernel: Callable[..., Any],
        before: tuple[Any, ...],
        after: tuple[Any, ...] = (),
    ) -> None:
        """Adds a call of a kernel to every network's, with its row of the table between
        these arguments.
        """
        for index, calls in enumerate(self.calls):
            table = self.table[row, index : index + 1]
            calls.append((kernel, (*before, table, *after)))
