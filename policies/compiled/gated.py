"""Sequences of an LSTM or a GRU on the CPU: PyTorch's products, and compiled ticks
between them, with the gradient written out. `Row` steps one environment.

The states at the starts of episodes inside a sequence are zero, as nothing is cut:
`nn.LSTM` needs a call from each start to the next.
"""

# PyTorch's `Function.apply` has no annotations.
# mypy: allow-untyped-calls

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from spikepropamine.policies.compiled import cells
from spikepropamine.policies.compiled.autograd import number_type
from spikepropamine.policies.dense import places

ENTRIES = len(cells.CELL_TABLE.names or ())

Pair = tuple[Tensor, Tensor]
Kernel = Callable[..., None]


@dataclass(frozen=True)
class Cell:
    """What one tick is.

    Attributes:
        gates: how many there are.
        has_cell_state: whether a second state is carried beside the hidden one.
        forward, backward: kernels.
    """

    gates: int
    has_cell_state: bool
    forward: Kernel
    backward: Kernel


LSTM = Cell(4, True, cells.lstm_forward, cells.lstm_backward)
GRU = Cell(3, False, cells.gru_forward, cells.gru_backward)


def can_run(memory: Any, state: Pair) -> bool:
    """Whether `run` takes the place of an LSTM or a GRU. Not where ONNX is made of it,
    or a gradient is to reach the state before.
    """
    return (
        memory.bias
        and not memory.bidirectional
        and memory.proj_size == 0
        and not (memory.dropout and memory.training)
        and state[0].device.type == "cpu"
        and state[0].dtype == memory._flat_weights[0].dtype
        and not state[0].requires_grad
        and not state[1].requires_grad
        and not torch.jit.is_tracing()
    )


def run(
    memory: nn.RNNBase, inputs: Tensor, state: Pair, starts: Tensor
) -> tuple[Tensor, Pair]:
    """Steps of an LSTM or a GRU; no gradient reaches the state before, nor comes from
    that after.

    Args:
        memory: the LSTM or GRU.
        inputs: [T, B, channels].
        state: [layers, B, width] each.
        starts: [T, B], 1 where an episode starts.

    Returns:
        Outputs [T, B, width], and the next state; of a GRU its second part is zero.
    """
    cell = GRU if isinstance(memory, nn.GRU) else LSTM
    weights: Any = memory._flat_weights
    starts = starts.to(inputs.dtype).contiguous()
    before = state[0].contiguous(), state[1].contiguous()
    after = []
    for layer in range(memory.num_layers):
        arguments = (
            cell,
            starts,
            before[0][layer],
            before[1][layer],
            inputs.reshape(starts.numel(), -1),
            *weights[4 * layer : 4 * layer + 4],
        )
        if torch.is_grad_enabled():
            inputs, states = _Sequence.apply(*arguments)
        else:
            inputs, states = _Arrays(*arguments).forward()
        after.append(states)
    by_state = torch.stack(after, dim=1) if len(after) > 1 else after[0].unsqueeze(1)
    hidden, cell_state = by_state.unbind()
    return inputs, (hidden, cell_state)


class _Arrays:
    """What the ticks of one layer work with; see `cells.CELL_TABLE`."""

    def __init__(
        self,
        cell: Cell,
        starts: Tensor,
        hidden_before: Tensor,
        cell_before: Tensor,
        inputs: Tensor,
        input_weight: Tensor,
        hidden_weight: Tensor,
        input_bias: Tensor,
        hidden_bias: Tensor,
    ) -> None:
        self.cell = cell
        self.ticks, self.batch = ticks, batch = starts.shape
        self.width = width = hidden_weight.shape[1]
        self.starts = starts
        self.inputs = inputs
        self.input_weight = input_weight
        self.hidden_weight = hidden_weight
        self.hidden_bias = hidden_bias
        self.input_bias = input_bias
        self.gates = torch.addmm(input_bias, inputs, input_weight.t())
        # h and c before each tick and after the last, outputs, and what is saved
        self.rows = inputs.new_empty(2 * (ticks + 1) + 2 * ticks, batch, width)
        row = batch * width * inputs.itemsize
        hidden = self.rows.data_ptr()
        cells_at = hidden + (ticks + 1) * row
        outputs = cells_at + (ticks + 1) * row
        recurrent = inputs.new_empty(batch, cell.gates * width)
        self.recurrent = recurrent
        self.sizes = (number_type(inputs.dtype)(0), ticks, batch, width)
        self.addresses = [  # in the order of `cells.CELL_TABLE`
            starts.data_ptr(),
            hidden_before.data_ptr(),
            cell_before.data_ptr(),
            self.gates.data_ptr(),
            recurrent.data_ptr(),
            hidden,
            cells_at,
            outputs,
            outputs + ticks * row,
        ]

    def forward(self) -> tuple[Tensor, Tensor]:
        """Outputs [T, B, width], and both states after them, [2, B, width]."""
        ticks = self.ticks
        table = _table(self.addresses)
        cells.begin(*self.sizes, table)
        weight = self.hidden_weight.t()
        for t in range(ticks):
            torch.addmm(self.hidden_bias, self.rows[t], weight, out=self.recurrent)
            self.cell.forward(*self.sizes, t, table)
        return self.outputs, self.after

    def backward(self, d_outputs: Tensor) -> tuple[Tensor, Tensor]:
        """Gradients to a and to u, [T * B, gates * width], from that to outputs."""
        d_gates = torch.empty_like(self.gates)
        d_recurrent = d_gates
        if not self.cell.has_cell_state:
            d_recurrent = torch.empty_like(d_gates)
        d_hidden, d_cell = self.gates.new_zeros(2, self.batch, self.width)
        gradients = (d_outputs, d_gates, d_recurrent, d_hidden, d_cell)
        table = _table(self.addresses + [x.data_ptr() for x in gradients])
        by_tick = d_recurrent.view(self.ticks, self.batch, -1)
        for t in range(self.ticks - 1, -1, -1):
            self.cell.backward(*self.sizes, t, table)
            if t > 0:
                torch.mm(by_tick[t], self.hidden_weight, out=d_hidden)
        return d_gates, d_recurrent

    @property
    def outputs(self) -> Tensor:
        """[T, B, width]."""
        first = 2 * (self.ticks + 1)
        return self.rows[first : first + self.ticks]

    @property
    def after(self) -> Tensor:
        """Both states after the last tick, [2, B, width]."""
        end = 2 * (self.ticks + 1)
        return self.rows[self.ticks : end : self.ticks + 1]

    @property
    def hidden(self) -> Tensor:
        """The hidden state h before each tick, [T * B, width]."""
        return self.rows[: self.ticks].flatten(0, 1)


class Row:
    """An LSTM or a GRU that is stepped in one environment, in arrays that are kept.

    Args:
        memory: the LSTM or GRU, one that `can_run` takes.
        features: [1, channels or more], read at every step.

    Attributes:
        begins: whether an episode begins with the next step.
        outputs: of the latest step, [1, width].
    """

    def __init__(self, memory: nn.RNNBase, features: Tensor) -> None:
        self._memory = memory
        self._features = features[:, : memory.input_size]
        self._starts = features.new_ones(1, 1)
        self._began = True
        self.begins = True
        self.outputs = features.new_empty(1, memory.hidden_size)
        self._make()

    def _make(self) -> None:
        weights: Any = self._memory._flat_weights
        self._places = places(weights)
        nothing = self._features.new_zeros(1, self._memory.hidden_size)
        inputs = self._features
        self._layers = []
        for layer in range(self._memory.num_layers):
            parameters = [x.detach() for x in weights[4 * layer : 4 * layer + 4]]
            arrays = _Arrays(
                GRU if isinstance(self._memory, nn.GRU) else LSTM,
                self._starts,
                nothing,
                nothing,
                inputs,
                *parameters,
            )
            self._layers.append(_RowOfLayer(arrays))
            inputs = arrays.outputs[0]
        self._last = inputs

    @property
    def state(self) -> tuple[np.ndarray, np.ndarray]:
        """Hidden and cell state after the latest step, [layers, 1, width] each; of no
        meaning where an episode begins.
        """
        hidden, cell = torch.stack([x.after for x in self._layers], dim=1)
        return hidden.numpy(), cell.numpy()

    @state.setter
    def state(self, state: tuple[np.ndarray, ...]) -> None:
        for index, layer in enumerate(self._layers):
            for after, part in zip(layer.after, state, strict=True):
                after.copy_(torch.as_tensor(part[index]))

    def is_finite(self) -> bool:
        """Whether all numbers of the state are finite."""
        return all(np.isfinite(layer.sum_of_state()) for layer in self._layers)

    def step(self) -> Tensor:
        """One environment step; returns `outputs`."""
        weights: Any = self._memory._flat_weights
        if places(weights) != self._places:
            state = self.state
            self._make()
            self.state = state
        if self.begins != self._began:
            self._starts.fill_(self.begins)
        self._began = self.begins
        for layer in self._layers:
            layer.step()
        self.begins = False
        return self.outputs.copy_(self._last)


class _RowOfLayer:
    """One layer of a `Row`; the state lies where the next tick looks for it.

    Attributes:
        after: hidden and cell state after the latest tick, [2, 1, width].
    """

    def __init__(self, arrays: _Arrays) -> None:
        self._cell = arrays.cell
        self._sizes = arrays.sizes
        self._table = _table(arrays.addresses)
        self.after = arrays.after
        self.after.zero_()
        for name, part in zip(("hidden_before", "cell_before"), self.after):
            self._table[name] = part.data_ptr()
        self._states = self.after.numpy()
        hidden = arrays.rows[0]  # before the tick
        of_inputs = arrays.input_bias, arrays.inputs, arrays.input_weight.t()
        of_hidden = arrays.hidden_bias, hidden, arrays.hidden_weight.t()
        self._of_inputs = of_inputs
        self._of_hidden = of_hidden
        self._gates = arrays.gates
        self._recurrent = arrays.recurrent

    def sum_of_state(self) -> np.floating[Any]:
        """Of all its numbers: finite where they are."""
        total: np.floating[Any] = np.add.reduce(self._states, axis=None)
        return total

    def step(self) -> None:
        """One tick."""
        torch.addmm(*self._of_inputs, out=self._gates)
        cells.begin(*self._sizes, self._table)
        torch.addmm(*self._of_hidden, out=self._recurrent)
        self._cell.forward(*self._sizes, 0, self._table)


def _table(addresses: list[int]) -> np.ndarray:
    """A `CELL_TABLE` of one row: the leading entries, and 0 for those left out."""
    table = np.zeros(ENTRIES, np.int64)
    table[: len(addresses)] = addresses
    return table.view(cells.CELL_TABLE)


class _Sequence(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        cell: Cell,
        starts: Tensor,
        hidden: Tensor,
        cell_state: Tensor,
        inputs: Tensor,
        *parameters: Tensor,
    ) -> tuple[Tensor, Tensor]:
        arrays = _Arrays(cell, starts, hidden, cell_state, inputs, *parameters)
        outputs, states = arrays.forward()
        ctx.arrays = arrays
        ctx.mark_non_differentiable(states)
        return outputs, states

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, d_outputs: Tensor, _: Any) -> tuple[Tensor | None, ...]:
        arrays = ctx.arrays
        d_gates, d_recurrent = arrays.backward(d_outputs.contiguous())
        d_inputs = None
        if ctx.needs_input_grad[4]:
            d_inputs = d_gates @ arrays.input_weight
        d_bias = d_gates.sum(dim=0)
        d_hidden_bias = d_bias
        if d_recurrent is not d_gates:
            d_hidden_bias = d_recurrent.sum(dim=0)
        of_parameters = (
            d_gates.t() @ arrays.inputs,
            d_recurrent.t() @ arrays.hidden,
            d_bias,
            d_hidden_bias,
        )
        return None, None, None, None, d_inputs, *of_parameters
