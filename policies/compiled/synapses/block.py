"""Blocks of fast weights in and out of memory, a rule's means, and what synapses see at a tick."""

import numpy as np

from spikepropamine.policies.compiled.numba_private import (
    at,
    inlined,
    outlined,
    spliced,
)
from spikepropamine.policies.compiled.rows import ONE, ZERO

from .kind import PLASTIC, POST_MEAN, PRE_MEAN, RECURRENT, TARGETED
from .tick import LANES


@spliced
def columns(address, width, neurons, first, block):
    """A matrix [presynaptic, neurons], of the type of a block, from its column `first` on."""
    # such an address, since an index that is a sum might be negative to Numba
    matrix = at(address + first * block.itemsize, (width, neurons), block[0, 0])
    return (
        matrix,
    )  # Numba without counting of references returns an array in a tuple only


@outlined
def fetch(address, neurons, first, block):
    """Columns first.. of a matrix [presynaptic, neurons], into a block [presynaptic, LANES]."""
    width, lanes = block.shape[0], min(LANES, neurons - first)
    (matrix,) = columns(address, width, neurons, first, block)
    for i in range(width):
        for j in range(lanes):
            block[i, j] = matrix[i, j]
        for j in range(lanes, LANES):
            block[i, j] = ZERO


@outlined
def store(block, address, neurons, first):
    """A block into such columns of a matrix."""
    width, lanes = block.shape[0], min(LANES, neurons - first)
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


@outlined
def load_decays(row, decays):
    """Those of the traces, and eta, of which a kind may have none."""
    if PLASTIC:
        like = decays[0]
        decays[0], decays[1] = (
            at(row.pre_decay, (1,), like)[0],
            at(row.post_decay, (1,), like)[0],
        )
        decays[2] = (
            at(row.threshold_decay, (1,), like)[0] if row.threshold_decay != 0 else ZERO
        )
        decays[3] = at(row.eta, (1,), like)[0] if row.eta != 0 else ZERO
        decays[4] = at(row.pre_mean_share, (1,), like)[0] if PRE_MEAN else ZERO
        decays[5] = at(row.post_mean_share, (1,), like)[0] if POST_MEAN else ZERO


@inlined
def step_means(decays, rate, p, pre_mean):
    """A tick of the mean of p."""
    share = decays[4] * common(rate)
    for i in range(p.shape[0]):
        pre_mean[i] += share * (p[i] - pre_mean[i])


@inlined
def step_means_adjoint(decays, rate, p, before, d_pre_mean, d_p, d_rate):
    """Returns the gradient to the share; d_pre_mean leaves as that to the mean before."""
    level = common(rate)
    share, total = decays[4] * level, ZERO * level
    for i in range(p.shape[0]):
        total += d_pre_mean[i] * (p[i] - before[i])
        d_p[i] += share * d_pre_mean[i]
        d_pre_mean[i] *= ONE - share
    each = decays[4] * total / np.float32(rate.shape[0])
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
def presynaptic(inputs, spikes, starts, fired, zeros, t, b):
    """What the synapses see at a tick: inputs, or the layer's own spikes of the tick before."""
    neurons = spikes.shape[2]
    x = zeros[:neurons]
    if not RECURRENT:
        x = inputs[t, b]
    elif not starts[t, b] > ZERO:
        x = spikes[t - 1, b] if t > 0 else fired.reshape(fired.size)[:neurons]
    return (x,)  # as in `columns`


@spliced
def target_of(target, zeros, t, b, low, high):
    """What v is, of the neurons of a block at a tick."""
    v = zeros[:LANES]
    if TARGETED:
        v = target[t, b, low:high]
    return (v,)  # as in `columns`
