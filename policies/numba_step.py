"""An environment step of a whole spiking network in one compiled call, for rollouts on the CPU."""

import struct
from typing import Any, NamedTuple
from weakref import WeakKeyDictionary

import numpy as np
import torch
from torch import Tensor
from torch.optim.optimizer import register_optimizer_step_post_hook

from spikepropamine.policies import numba_kernels as kernels
from spikepropamine.policies.numba_backend import aligned, kind_of, number_type, rule_code
from spikepropamine.policies.reference import LayerParameters

_CALL = struct.Struct("6q")
_optimizer_steps = 0


def _count_step(*_: Any) -> None:
    global _optimizer_steps
    _optimizer_steps += 1


# a fused optimiser changes parameters without a new version of them
register_optimizer_step_post_hook(_count_step)


class _Plan(NamedTuple):
    """All that the kernel needs besides observations and state, made once for given parameters."""

    shapes: tuple[tuple[int, ...], ...]  # of observations, starts and state
    parameters: list[dict[str, Any]]  # of the modules whose numbers are in the tables
    versions: list[int]
    encoder: Any  # None where observations are the first layer's inputs as they are
    call: Any
    arguments: tuple[Any, ...]
    keep_alive: list[Any]  # what lies at the addresses in the tables


# Not in the network: a copy of it must not come with addresses of what belongs to the original.
_plans: WeakKeyDictionary[Any, dict[Any, _Plan]] = WeakKeyDictionary()


def step(
    network: Any, observations: Tensor, starts: Tensor, state: Tensor
) -> tuple[Tensor, Tensor]:
    """One environment step of a `SpikingNetwork`, without gradients.

    Args:
        network: the network, on the CPU.
        observations: [1, B, channels].
        starts: [1, B], 1 where an episode starts.
        state: flat, [B, D]; not changed.

    Returns:
        Features [1, B, output_size], and the new flat state.

    Raises:
        ValueError: a shape or dtype that the network does not have.
    """
    batch, ticks, dtype = len(state), network.config.ticks, state.dtype
    observations, state = observations.to(dtype).contiguous(), state.contiguous()
    starts = starts.to(dtype).contiguous()
    plans = _plans.get(network)
    if plans is None:
        plans = _plans[network] = {}
    plan = plans.get((batch, dtype))
    if plan is None or plan.versions != _versions(plan.parameters):
        plan = plans[batch, dtype] = _plan(network, batch, dtype)
    shapes = tuple(observations.shape), tuple(starts.shape), tuple(state.shape)
    if shapes != plan.shapes:  # the kernel would not notice
        raise ValueError(f"shapes of observations, starts and state: {shapes}, not {plan.shapes}")
    signal = observations
    if ticks > 1:
        signal = signal.expand(ticks, -1, -1).contiguous()
    features = observations.new_empty(1, batch, network.output_size)
    new = torch.empty_like(state)
    if plan.encoder is not None:
        fields = [(name, f"encoder.{name}") for name in plan.encoder.state_shapes]
        before = {name: network.layout.get(state, field) for name, field in fields}
        first_tick = torch.cat([starts, starts.new_zeros(ticks - 1, batch)])
        signal, after = plan.encoder(signal, first_tick, before)
        for name, field in fields:
            network.layout.get(new, field).copy_(after[name])
    addressed = (observations, signal, starts, state, new, features)
    _CALL.pack_into(plan.call, 0, *[x.data_ptr() for x in addressed])
    kernels.network_step(*plan.arguments)
    return features, new


def _versions(parameters: list[dict[str, Any]]) -> list[int]:
    """Numbers that change with every change of a parameter."""
    versions = [_optimizer_steps]
    for named in parameters:
        for x in named.values():  # `Module.parameters` takes longer than all of this
            if x is not None:
                versions += (x.data_ptr(), x._version)
    return versions


def _plan(network: Any, batch: int, dtype: torch.dtype) -> _Plan:
    config, layout, number = network.config, network.layout, number_type(dtype)
    if dtype != network.readout_decay.dtype:
        raise ValueError(f"the state is {dtype}, the network {network.readout_decay.dtype}")
    tables = np.zeros((len(network.layers), kernels.STEP_ENTRIES), np.int64)
    call = np.zeros(_CALL.size // 8, np.int64)
    keep_alive: list[Any] = []

    def address(x: Tensor | np.ndarray | None) -> int:
        if x is None:
            return 0
        x = x.detach().contiguous() if isinstance(x, Tensor) else x
        keep_alive.append(x)
        return x.data_ptr() if isinstance(x, Tensor) else x.ctypes.data

    def scratch(*shape: int) -> int:
        return address(aligned(shape, number))

    names = LayerParameters._fields[:-1]  # rules with coefficients do not come here
    parameter_entries = {name: kernels.WEIGHT + i for i, name in enumerate(names)}
    for index, (layer, table) in enumerate(zip(network.layers, tables)):
        spec = layer.spec
        neurons, width = spec.neurons, spec.plastic_inputs
        parameters = layer.parameters_in_use()
        if spec.recurrent or not spec.plastic:
            parameters = parameters._replace(weight=parameters.weight.t())
        if spec.recurrent and not spec.plastic:
            parameters = parameters._replace(recurrent_weight=parameters.recurrent_weight.t())
        for name in names:
            table[parameter_entries[name]] = address(getattr(parameters, name))
        if spec.modulation != "none":
            table[kernels.MODULATOR_WEIGHT] = address(layer.modulator_weight.t())
            table[kernels.MODULATOR_EXOGENOUS] = address(layer.modulator_exogenous.t())
            table[kernels.MODULATOR_BIAS] = address(layer.modulator_bias)
        for place, name in enumerate((*kernels.FIELDS, "modulation")):
            if (field := layout.slices.get(f"layer{index}.{name}")) is not None:
                table[kernels.PLACES + place] = field.start
        entries: dict[int, int] = {
            kernels.RULE: rule_code(spec),
            kernels.KIND: kind_of(spec),
            kernels.IS_RECURRENT: int(spec.recurrent),
            kernels.CHANNELS: spec.inputs,
            kernels.NEURONS: neurons,
            kernels.RATE: scratch(config.ticks, batch, neurons),
            kernels.SPIKES: scratch(config.ticks, batch, neurons),
            kernels.POTENTIALS: scratch(config.ticks, batch, neurons),
            kernels.FIRED: scratch(batch, neurons),
            kernels.OWN: scratch(batch, neurons),
            kernels.ROWS: scratch(8, kernels.TILE),
            kernels.TILES: scratch(2, kernels.TILE, width),
            kernels.LINE: scratch(width),
        }
        for entry, value in entries.items():
            table[entry] = value
    exogenous = network.exogenous.numpy()
    decay = torch.sigmoid(network.readout_decay.detach()).numpy()
    starts = [layout.slices[name].start for name in ("plasticity_off", "modulator_held", "readout")]
    arguments = (
        number(config.clip), config.soft_reset, config.ticks, batch, layout.size,
        network.input_size, network.output_size, *starts, call, tables, exogenous,
        aligned((batch, len(exogenous)), number), decay,
    )  # fmt: skip
    numbers = [module._parameters for module in (network, *network.layers)]
    encoder = network.encoder if network.encoder.state_shapes else None
    shapes = (1, batch, network.input_size), (1, batch), (batch, layout.size)
    return _Plan(shapes, numbers, _versions(numbers), encoder, call, arguments, keep_alive)
