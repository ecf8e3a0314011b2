"""One tick of an LSTM and of a GRU, and its adjoint, after the products with weights.

With a = W x + b of the inputs, u = U h(t-1) + b' of the hidden state, and s the
logistic function, as in PyTorch:

    LSTM (Hochreiter and Schmidhuber 1997; Gers et al. 2000)
        i, f, o = s(a + u),  g = tanh(a + u),  each with its own a and u
        c(t) = f c(t-1) + i g
        h(t) = o tanh(c(t))
    GRU (Cho et al. 2014)
        r, z = s(a + u),  n = tanh(a + r u)
        h(t) = (1 - z) n + z h(t-1)

Where an episode starts, h(t-1) and c(t-1) are zero. Adjoints are written as in `rows`.
"""

# Numba finds out the types of what it compiles.
# mypy: allow-untyped-defs, allow-incomplete-defs, allow-untyped-decorators
# mypy: allow-untyped-calls

import numpy as np

from spikepropamine.policies.compiled.numba_private import (
    at,
    exp,
    inlined,
    kernel,
    spliced,
)
from spikepropamine.policies.compiled.rows import ONE, TWO, ZERO, clear, copy

CELL_TABLE = np.dtype(
    [
        (name, np.int64)
        for name in (
            # [T, B]
            "starts",
            # [B, width]: h and c before the first tick, as they were left
            "hidden_before",
            "cell_before",
            # [T, B, gates, width]: a, and after the tick the gates themselves
            "gates",
            # [B, gates, width]: u of one tick
            "recurrent",
            # [T + 1, B, width]: h and c before each tick, and after the last
            "hidden",
            "cells",
            # [T, B, width]: h after each tick
            "outputs",
            # [T, B, width]: what the adjoint needs besides, tanh(c) or u of n
            "saved",
            # gradients: to outputs, to a and to u of all ticks; to h of the tick before
            # through u, and to c, or to h past the gates
            "d_outputs",
            "d_gates",
            "d_recurrent",
            "d_hidden",
            "d_cell",
        )
    ]
)
"""Addresses for the kernels."""


@spliced
def logistic(x):
    """s(x) = 1 / (1 + exp(-x))."""
    return ONE / (ONE + exp(-x))


@spliced
def tanh(x):
    """Hyperbolic tangent, 2 s(2 x) - 1."""
    return TWO / (ONE + exp(-TWO * x)) - ONE


@inlined
def lstm(i, f, g, o, u_i, u_f, u_g, u_o, before, cell, squashed, hidden):
    """A tick of one environment; i, f, g and o come with a, and leave as the gates."""
    for j in range(before.shape[0]):
        i_j = logistic(i[j] + u_i[j])
        f_j = logistic(f[j] + u_f[j])
        g_j = tanh(g[j] + u_g[j])
        o_j = logistic(o[j] + u_o[j])
        c_j = f_j * before[j] + i_j * g_j
        s_j = tanh(c_j)
        i[j] = i_j
        f[j] = f_j
        g[j] = g_j
        o[j] = o_j
        cell[j] = c_j
        squashed[j] = s_j
        hidden[j] = o_j * s_j


@inlined
def lstm_adjoint(
    i, f, g, o, before, squashed, d_output, d_hidden, d_cell, d_i, d_f, d_g, d_o
):
    """d_cell comes with the gradient to c(t), and leaves with that to c(t-1)."""
    for j in range(before.shape[0]):
        d_h = d_output[j] + d_hidden[j]
        d_c = d_cell[j] + d_h * o[j] * (ONE - squashed[j] * squashed[j])
        d_i[j] = d_c * g[j] * i[j] * (ONE - i[j])
        d_f[j] = d_c * before[j] * f[j] * (ONE - f[j])
        d_g[j] = d_c * i[j] * (ONE - g[j] * g[j])
        d_o[j] = d_h * squashed[j] * o[j] * (ONE - o[j])
        d_cell[j] = d_c * f[j]


@inlined
def gru(r, z, n, u_r, u_z, u_n, before, kept, hidden):
    """A tick of one environment; r, z and n come with a, and leave as the gates."""
    for j in range(before.shape[0]):
        r_j = logistic(r[j] + u_r[j])
        z_j = logistic(z[j] + u_z[j])
        n_j = tanh(n[j] + r_j * u_n[j])
        r[j] = r_j
        z[j] = z_j
        n[j] = n_j
        kept[j] = u_n[j]
        hidden[j] = (ONE - z_j) * n_j + z_j * before[j]


@inlined
def gru_adjoint(
    r, z, n, before, u_n, d_output, d_hidden, d_past, d_r, d_z, d_n, d_u_r, d_u_z, d_u_n
):
    """d_past comes with the gradient to h(t) past the gates of the next tick, and
    leaves with that to h(t-1) past these.
    """
    for j in range(before.shape[0]):
        d_h = d_output[j] + d_hidden[j] + d_past[j]
        of_n = d_h * (ONE - z[j]) * (ONE - n[j] * n[j])
        of_r = of_n * u_n[j] * r[j] * (ONE - r[j])
        of_z = d_h * (before[j] - n[j]) * z[j] * (ONE - z[j])
        d_r[j] = of_r
        d_z[j] = of_z
        d_n[j] = of_n
        d_u_r[j] = of_r
        d_u_z[j] = of_z
        d_u_n[j] = of_n * r[j]
        d_past[j] = d_h * z[j]


@kernel()
def begin(like, ticks, batch, width, table):
    """What the first tick sees of the state before it."""
    row = table[0]
    starts = at(row.starts, (ticks, batch), like)
    hidden_before = at(row.hidden_before, (batch, width), like)
    cell_before = at(row.cell_before, (batch, width), like)
    hidden = at(row.hidden, (ticks + 1, batch, width), like)
    cells = at(row.cells, (ticks + 1, batch, width), like)
    for b in range(batch):
        if starts[0, b] > ZERO:
            clear(hidden[0, b])
            clear(cells[0, b])
        else:
            copy(hidden_before[b], hidden[0, b])
            copy(cell_before[b], cells[0, b])


@kernel()
def lstm_forward(like, ticks, batch, width, t, table):
    """Tick t of an LSTM; the table is a `CELL_TABLE`."""
    row = table[0]
    starts = at(row.starts, (ticks, batch), like)
    gates = at(row.gates, (ticks, batch, 4, width), like)
    recurrent = at(row.recurrent, (batch, 4, width), like)
    hidden = at(row.hidden, (ticks + 1, batch, width), like)
    cells = at(row.cells, (ticks + 1, batch, width), like)
    outputs = at(row.outputs, (ticks, batch, width), like)
    squashed = at(row.saved, (ticks, batch, width), like)
    for b in range(batch):
        gate, u = gates[t, b], recurrent[b]
        lstm(
            gate[0],
            gate[1],
            gate[2],
            gate[3],
            u[0],
            u[1],
            u[2],
            u[3],
            cells[t, b],
            cells[t + 1, b],
            squashed[t, b],
            outputs[t, b],
        )
        if t + 1 < ticks and starts[t + 1, b] > ZERO:
            clear(hidden[t + 1, b])
            clear(cells[t + 1, b])
        else:
            copy(outputs[t, b], hidden[t + 1, b])


@kernel()
def lstm_backward(like, ticks, batch, width, t, table):
    """Gradients of tick t, from those to its outputs and those through later ticks."""
    row = table[0]
    starts = at(row.starts, (ticks, batch), like)
    gates = at(row.gates, (ticks, batch, 4, width), like)
    cells = at(row.cells, (ticks + 1, batch, width), like)
    squashed = at(row.saved, (ticks, batch, width), like)
    d_outputs = at(row.d_outputs, (ticks, batch, width), like)
    d_gates = at(row.d_gates, (ticks, batch, 4, width), like)
    d_hidden = at(row.d_hidden, (batch, width), like)
    d_cell = at(row.d_cell, (batch, width), like)
    for b in range(batch):
        if t + 1 < ticks and starts[t + 1, b] > ZERO:
            clear(d_hidden[b])
            clear(d_cell[b])
        gate, d_gate = gates[t, b], d_gates[t, b]
        lstm_adjoint(
            gate[0],
            gate[1],
            gate[2],
            gate[3],
            cells[t, b],
            squashed[t, b],
            d_outputs[t, b],
            d_hidden[b],
            d_cell[b],
            d_gate[0],
            d_gate[1],
            d_gate[2],
            d_gate[3],
        )


@kernel()
def gru_forward(like, ticks, batch, width, t, table):
    """Tick t of a GRU; the table is a `CELL_TABLE`."""
    row = table[0]
    starts = at(row.starts, (ticks, batch), like)
    gates = at(row.gates, (ticks, batch, 3, width), like)
    recurrent = at(row.recurrent, (batch, 3, width), like)
    hidden = at(row.hidden, (ticks + 1, batch, width), like)
    cells = at(row.cells, (ticks + 1, batch, width), like)
    outputs = at(row.outputs, (ticks, batch, width), like)
    kept = at(row.saved, (ticks, batch, width), like)
    for b in range(batch):
        clear(cells[t + 1, b])  # a GRU has none
        gate, u = gates[t, b], recurrent[b]
        gru(
            gate[0],
            gate[1],
            gate[2],
            u[0],
            u[1],
            u[2],
            hidden[t, b],
            kept[t, b],
            outputs[t, b],
        )
        if t + 1 < ticks and starts[t + 1, b] > ZERO:
            clear(hidden[t + 1, b])
        else:
            copy(outputs[t, b], hidden[t + 1, b])


@kernel()
def gru_backward(like, ticks, batch, width, t, table):
    """Gradients of tick t, from those to its outputs and those through later ticks."""
    row = table[0]
    starts = at(row.starts, (ticks, batch), like)
    gates = at(row.gates, (ticks, batch, 3, width), like)
    hidden = at(row.hidden, (ticks + 1, batch, width), like)
    kept = at(row.saved, (ticks, batch, width), like)
    d_outputs = at(row.d_outputs, (ticks, batch, width), like)
    d_gates = at(row.d_gates, (ticks, batch, 3, width), like)
    d_recurrent = at(row.d_recurrent, (ticks, batch, 3, width), like)
    d_hidden = at(row.d_hidden, (batch, width), like)
    d_past = at(row.d_cell, (batch, width), like)
    for b in range(batch):
        if t + 1 < ticks and starts[t + 1, b] > ZERO:
            clear(d_hidden[b])
            clear(d_past[b])
        gate, d_gate, d_u = gates[t, b], d_gates[t, b], d_recurrent[t, b]
        gru_adjoint(
            gate[0],
            gate[1],
            gate[2],
            hidden[t, b],
            kept[t, b],
            d_outputs[t, b],
            d_hidden[b],
            d_past[b],
            d_gate[0],
            d_gate[1],
            d_gate[2],
            d_u[0],
            d_u[1],
            d_u[2],
        )
