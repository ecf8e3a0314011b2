"""Kernels that are the same for all kinds of layers: static synapses, the leaky readout, and the
neuromodulators of a step.
"""

import math

import numpy as np

from spikepropamine.policies.compiled.numba_private import at, inlined, kernel
from spikepropamine.policies.compiled.rows import (
    ONE,
    ZERO,
    add_multiple,
    clear,
    copy,
    leak,
    leak_adjoint,
)

# Static synapses of all ticks at once, where few of the inputs are not zero. Their weights come as
# [presynaptic, neurons].


@kernel()
def count_active(like, length, address):
    """How many of the numbers at an address are not zero."""
    x, count = at(address, (length,), like), 0
    for i in range(length):
        count += 1 if x[i] != ZERO else 0
    return count


@kernel()
def unchanged(like, compared):
    """Whether the bits of each (place, copy, length in words of 32 bits) agree."""
    for k in range(compared.shape[0]):
        length = compared[k, 2]
        now, before = at(compared[k, 0], (length,), like), at(compared[k, 1], (length,), like)
        differing = like
        for i in range(length):
            differing |= now[i] ^ before[i]
        if differing != 0:
            return False
    return True


@inlined
def list_active(x, indices):
    """Lists the entries that are not zero and returns how many there are."""
    count = 0
    for i in range(x.shape[0]):  # without a branch, which would be mispredicted
        indices[count] = i
        count += 1 if x[i] != ZERO else 0
    return count


@inlined
def add_four(x_0, w_0, x_1, w_1, x_2, w_2, x_3, w_3, target):
    """Adds multiples of four rows."""
    for j in range(target.shape[0]):
        target[j] += (x_0 * w_0[j] + x_1 * w_1[j]) + (x_2 * w_2[j] + x_3 * w_3[j])


@inlined
def add_active(weights, x, indices, sums):
    """Adds the rows of weights [presynaptic, neurons] whose channel is not silent."""
    active = list_active(x, indices)
    whole = active - active % 4
    for k in range(0, whole, 4):
        i_0, i_1, i_2, i_3 = indices[k], indices[k + 1], indices[k + 2], indices[k + 3]
        add_four(
            x[i_0], weights[i_0], x[i_1], weights[i_1], x[i_2], weights[i_2], x[i_3], weights[i_3],
            sums,
        )  # fmt: skip
    for k in range(whole, active):
        add_multiple(x[indices[k]], weights[indices[k]], sums)


@kernel()
def sparse_currents(like, rows, channels, neurons, table, indices):
    """Currents W x + b, [rows, neurons], to where the potentials are; indices [channels + 1] is
    scratch memory.
    """
    row = table[0]
    inputs = at(row.inputs, (rows, channels), like)
    weights = at(row.weight, (channels, neurons), like)
    bias = at(row.bias, (neurons,), like)
    sums = at(row.potentials, (rows, neurons), like)
    for n in range(rows):
        copy(bias, sums[n])
        add_active(weights, inputs[n], indices, sums[n])


@kernel()
def sparse_weight_gradient(
    like, rows, channels, neurons, inputs, d_currents, d_weight, indices
):  # fmt: skip
    """Gradient to the weights, from inputs and the gradient to currents; all by address."""
    x, d = at(inputs, (rows, channels), like), at(d_currents, (rows, neurons), like)
    gradient = at(d_weight, (channels, neurons), like)
    for i in range(channels):
        clear(gradient[i])
    for n in range(rows):
        for k in range(list_active(x[n], indices)):
            add_multiple(x[n, indices[k]], d[n], gradient[indices[k]])


# The leaky readout.


@kernel()
def leaky_forward(like, ticks, batch, neurons, addresses):
    """addresses: of spikes, starts, decay, value before, and values."""
    spikes = at(addresses[0], (ticks, batch, neurons), like)
    starts = at(addresses[1], (ticks, batch), like)
    decay = at(addresses[2], (neurons,), like)
    value = at(addresses[3], (batch, neurons), like)
    values = at(addresses[4], (ticks, batch, neurons), like)
    for t in range(ticks):
        for b in range(batch):
            before = value[b] if t == 0 else values[t - 1, b]
            keep = ZERO if starts[t, b] > ZERO else ONE
            leak(decay, keep, before, spikes[t, b], values[t, b])


@kernel()
def leaky_backward(like, ticks, batch, neurons, addresses):
    """addresses: as for `leaky_forward`, then of the gradients to values, spikes and decay, and of
    [B, n] for the gradient to a value through later ticks. The last two come with zeros.
    """
    spikes = at(addresses[0], (ticks, batch, neurons), like)
    starts = at(addresses[1], (ticks, batch), like)
    decay = at(addresses[2], (neurons,), like)
    value = at(addresses[3], (batch, neurons), like)
    values = at(addresses[4], (ticks, batch, neurons), like)
    d_values = at(addresses[5], (ticks, batch, neurons), like)
    d_spikes = at(addresses[6], (ticks, batch, neurons), like)
    d_decay = at(addresses[7], (neurons,), like)
    through = at(addresses[8], (batch, neurons), like)
    for t in range(ticks - 1, -1, -1):
        for b in range(batch):
            before = value[b] if t == 0 else values[t - 1, b]
            keep = ZERO if starts[t, b] > ZERO else ONE
            leak_adjoint(
                decay, keep, before, spikes[t, b], d_values[t, b], d_spikes[t, b], d_decay,
                through[b],
            )  # fmt: skip


# What a step of a whole network, without gradients, needs besides.


@kernel()
def modulate(like, ticks, batch, channels, neurons, observed, seen, table, indices):
    """What multiplies the drive: eta, or the neuromodulators, which the new state keeps; and the
    current v of second compartments, the same at all ticks, where the rule uses it. observed and
    seen: how many channels the observation has, and how many of them the neuromodulators see.
    indices is scratch memory, longer by one than channels or seen.
    """
    row = table[0]
    rate = at(row.rate, (ticks, batch, neurons), like)
    observations = at(row.observations, (batch, observed), like)
    exogenous = at(row.exogenous, (seen,), np.int64(0))
    signals = at(row.seen, (seen,), like)
    inputs = at(row.inputs, (ticks, batch, channels), like)
    synapses = at(row.modulator_weight, (channels, neurons), like)
    weights = at(row.modulator_exogenous, (seen, neurons), like)
    bias = at(row.modulator_bias, (neurons,), like)
    target = at(row.target, (ticks, batch, neurons), like)
    target_weights = at(row.target_exogenous, (seen, neurons), like)
    target_bias = at(row.target_bias, (neurons,), like)
    for b in range(batch):
        offset = b * row.stride
        active = ONE - at(row.old + row.plasticity_off + offset, (1,), like)[0]
        held = at(row.old + row.modulator_held + offset, (1,), like)[0] > ZERO
        for i in range(seen):
            signals[i] = observations[b, exogenous[i]]
        if row.target != 0:
            for t in range(ticks):
                copy(target_bias, target[t, b])
                add_active(target_weights, signals, indices, target[t, b])
        for t in range(ticks):
            m = rate[t, b]
            if row.modulator_bias == 0:
                m[:] = at(row.eta, (1,), like)[0] * active
                continue
            before = at(row.old + row.old_modulation + offset, (ticks, neurons), like)[t]
            after = at(row.new + row.new_modulation + offset, (ticks, neurons), like)[t]
            copy(bias, m)
            add_active(weights, signals, indices, m)
            add_active(synapses, inputs[t, b], indices, m)
            for j in range(neurons):
                after[j] = before[j] if held else math.tanh(m[j])
                m[j] = after[j] * active


@kernel()
def read_out(like, ticks, batch, neurons, width, table):
    """The leaky readout, and the features [B, width]: its value, and where there is room for them
    the membrane potentials. Copies the flags, which no step changes.
    """
    row = table[0]
    starts = at(row.starts, (batch,), like)
    spikes = at(row.spikes, (ticks, batch, neurons), like)
    potentials = at(row.potentials, (ticks, batch, neurons), like)
    decay = at(row.readout_decay, (neurons,), like)
    features = at(row.features, (batch, width), like)
    for b in range(batch):
        old, new = row.old + b * row.stride, row.new + b * row.stride
        for flag in (row.plasticity_off, row.modulator_held):
            at(new + flag, (1,), like)[0] = at(old + flag, (1,), like)[0]
        before = at(old + row.old_readout, (neurons,), like)
        value = at(new + row.new_readout, (neurons,), like)
        now = features[b, :neurons]
        leak(decay, ZERO if starts[b] > ZERO else ONE, before, spikes[0, b], now)
        copy(now, value)
        for t in range(1, ticks):
            leak(decay, ONE, value, spikes[t, b], now)
            copy(now, value)
        if width > neurons:
            copy(potentials[ticks - 1, b], features[b, neurons:])
