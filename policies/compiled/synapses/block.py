"""Groups of arrays at the addresses in a table, blocks of fast weights in and out of
memory, a rule's means, and what synapses see at a tick.
"""

# Numba finds out the types of what it compiles.
# mypy: allow-untyped-defs, allow-incomplete-defs, allow-untyped-decorators
# mypy: allow-untyped-calls

import numpy as np

from spikepropamine.policies.compiled.numba_private import (
    at,
    constant,
    inlined,
    outlined,
    spliced,
)
from spikepropamine.policies.compiled.parameters import (
    Decays,
    Parameters,
    Signals,
    Synapses,
)
from spikepropamine.policies.compiled.rows import ONE, SEGMENT, ZERO

from .kind import (
    COEFFICIENTS,
    PLASTIC,
    POST_MEAN,
    PRE_MEAN,
    RECURRENT,
    SYNAPTIC,
    TARGETED,
)
from .tick import LANES


@spliced
def signals_at(row, ticks, batch, channels, neurons, like):
    """`Signals` of a table's row."""
    return Signals(
        at(row.inputs, (ticks, batch, channels), like),
        at(row.rate, (ticks, batch, neurons), like),
        at(row.target, (ticks, batch, neurons), like),
        at(row.spikes, (ticks, batch, neurons), like),
        at(row.potentials, (ticks, batch, neurons), like),
    )


@spliced
def signal_gradients_at(row, ticks, batch, channels, neurons, like):
    """The gradients to them."""
    return Signals(
        at(row.d_inputs, (ticks, batch, channels), like),
        at(row.d_rate, (ticks, batch, neurons), like),
        at(row.d_target, (ticks, batch, neurons), like),
        at(row.d_spikes, (ticks, batch, neurons), like),
        at(row.d_potentials, (ticks, batch, neurons), like),
    )


@spliced
def parameters_at(row, blocks, width, neurons, like):
    """`Parameters` of a table's row."""
    return Parameters(
        at(row.bias, (neurons,), like),
        at(row.membrane_decay, (neurons,), like),
        at(row.recurrent_weight, (blocks, width, LANES), like),
        at(row.plasticity_gain, (blocks, width, LANES), like),
        at(row.coefficients, (COEFFICIENTS,), like),
        at(row.synaptic, (blocks, SYNAPTIC, width, LANES), like),
    )


@spliced
def parameter_gradients_at(row, blocks, width, neurons, like):
    """The gradients to them; that to recurrent weights is taken elsewhere."""
    return Parameters(
        at(row.d_bias, (neurons,), like),
        at(row.d_membrane_decay, (neurons,), like),
        at(row.d_recurrent_weight, (blocks, width, LANES), like),
        at(row.d_plasticity_gain, (blocks, width, LANES), like),
        at(row.d_coefficients, (COEFFICIENTS,), like),
        at(row.d_synaptic, (blocks, SYNAPTIC, width, LANES), like),
    )


@spliced
def saved_at(row, ticks, batch, blocks, width, like):
    """Fast weights and eligibilities before each segment but the first."""
    shape = ((ticks - 1) // SEGMENT, batch, blocks, width, LANES)
    return Synapses(
        at(row.saved_fast_weights, shape, like),
        at(row.saved_eligibility, shape, like),
    )


@outlined
def decays_at(row, like):
    """`Decays` of a table's row; 0 for those that a kind does not have."""
    pre = post = threshold = eta = pre_mean = post_mean = constant(0.0, like)
    if PLASTIC:
        pre = at(row.pre_decay, (1,), like)[0]
        post = at(row.post_decay, (1,), like)[0]
        if row.threshold_decay != 0:
            threshold = at(row.threshold_decay, (1,), like)[0]
        if row.eta != 0:
            eta = at(row.eta, (1,), like)[0]
        if PRE_MEAN:
            pre_mean = at(row.pre_mean_share, (1,), like)[0]
        if POST_MEAN:
            post_mean = at(row.post_mean_share, (1,), like)[0]
    return Decays(pre, post, threshold, eta, pre_mean, post_mean)


@spliced
def columns(address, width, neurons, first, block):
    """A matrix from one of its columns on, in a tuple.

    Args:
        address: of the matrix [width, neurons].
        width: presynaptic channels.
        neurons: of the whole matrix.
        first: the column.
        block: any of the matrix's type.
    """
    # such an address, since an index that is a sum might be negative to Numba
    matrix = at(address + first * block.itemsize, (width, neurons), block[0, 0])
    # Numba without counting of references returns an array in a tuple only
    return (matrix,)


@outlined
def fetch(address, neurons, first, block):
    """Copies columns of a matrix into a block.

    Args:
        address: of the matrix [presynaptic, neurons].
        neurons: of the whole matrix.
        first: column that the block begins with.
        block: [presynaptic, LANES]; lanes without a neuron get 0.
    """
    width = block.shape[0]
    lanes = min(LANES, neurons - first)
    (matrix,) = columns(address, width, neurons, first, block)
    for i in range(width):
        for j in range(lanes):
            block[i, j] = matrix[i, j]
        for j in range(lanes, LANES):
            block[i, j] = ZERO


@outlined
def store(block, address, neurons, first):
    """Copies a block into columns of a matrix; see `fetch`."""
    width = block.shape[0]
    lanes = min(LANES, neurons - first)
    (matrix,) = columns(address, width, neurons, first, block)
    for i in range(width):
        for j in range(lanes):
            matrix[i, j] = block[i, j]


@inlined
def copy(source, target):
    """A block [presynaptic, LANES] into another."""
    for i in range(source.shape[0]):
        for j in range(LANES):
            target[i, j] = source[i, j]


@inlined
def clear(block):
    """Zeros."""
    for i in range(block.shape[0]):
        for j in range(LANES):
            block[i, j] = ZERO


@inlined
def step_means(decays, rate, p, pre_mean):
    """A tick of the mean of p.

    Args:
        decays: `Decays` of the layer.
        rate: of the layer's neurons, [neurons].
        p: traces, [presynaptic].
        pre_mean: comes with the mean of the tick before, leaves with that of this tick.
    """
    share = decays.pre_mean_share * common(rate)
    for i in range(p.shape[0]):
        pre_mean[i] += share * (p[i] - pre_mean[i])


@inlined
def step_means_adjoint(decays, rate, p, before, d_pre_mean, d_p, d_rate):
    """Adjoint of `step_means`.

    Args:
        decays: `Decays` of the layer.
        rate: of the layer's neurons, [neurons].
        p: traces, [presynaptic].
        before: the mean of the tick before, [presynaptic].
        d_pre_mean: comes with the gradient to the mean, leaves with that to the mean
            before.
        d_p: the gradient to p is added.
        d_rate: the gradient to the rate is added.

    Returns:
        The gradient to the share.
    """
    level = common(rate)
    share = decays.pre_mean_share * level
    total = ZERO * level
    for i in range(p.shape[0]):
        total += d_pre_mean[i] * (p[i] - before[i])
        d_p[i] += share * d_pre_mean[i]
        d_pre_mean[i] *= ONE - share
    each = decays.pre_mean_share * total / np.float32(rate.shape[0])
    for j in range(rate.shape[0]):
        d_rate[j] += each if rate[j] > ZERO else (-each if rate[j] < ZERO else ZERO)
    return level * total


@inlined
def common(rate):
    """Mean of all neurons' |r|."""
    total = ZERO * rate[0]
    for j in range(rate.shape[0]):
        total += abs(rate[j])
    return total / np.float32(rate.shape[0])


@spliced
def presynaptic(signals, begin, t, b):
    """What the synapses see at a tick: inputs, or the layer's spikes of the tick
    before.

    Args:
        signals: `Signals` of the layer.
        begin: `Beginnings` of the sequence.
        t: the tick.
        b: the environment.
    """
    neurons = signals.spikes.shape[2]
    x = begin.silent[:neurons]
    if not RECURRENT:
        x = signals.inputs[t, b]
    elif not begin.starts[t, b] > ZERO:
        x = begin.fired.reshape(begin.fired.size)[:neurons]
        if t > 0:
            x = signals.spikes[t - 1, b]
    return (x,)  # as in `columns`


@spliced
def target_of(signals, begin, t, b, low, high):
    """What v is, or the gradient to it, of the neurons of a block at a tick.

    Args:
        signals: `Signals` of the layer, or the gradients to them.
        begin: `Beginnings` of the sequence.
        t: the tick.
        b: the environment.
        low: first neuron of the block.
        high: the neuron after its last.
    """
    v = begin.silent[:LANES]
    if TARGETED:
        v = signals.target[t, b, low:high]
    return (v,)  # as in `columns`
