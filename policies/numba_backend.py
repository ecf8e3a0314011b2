"""Spiking layers in compiled loops on the CPU: whole sequences, environment by environment.

Needs Numba. The functions below that are marked `@kernel` know NumPy arrays only; the module ends
with the PyTorch side. Neurons are taken in blocks of `LANES`, and the synapses of a block are
stored as [presynaptic, LANES], so that the inner loops run over neurons, need no sum, and skip
presynaptic channels that are silent.

The fast weights of one environment live in a scratch array while its whole sequence is run. The
forward pass keeps them every `SEGMENT` ticks, and the backward pass recomputes what lies between,
so that nothing of size T x B x n x n is ever stored. The update of tick t is applied on the way
to the currents of tick t+1, as F(t+1) = clip(C F(t) + A p(t)) with C and A one number a neuron.
"""

from functools import partial
from typing import Any

import numba
import numpy as np
import torch
from numba import types
from numba.core import cgutils
from numba.core.compiler import CompilerBase, DefaultPassBuilder
from numba.extending import intrinsic
from torch import Tensor
from torch.autograd.function import once_differentiable

from policies.neurons import THRESHOLD
from policies.reference import LayerParameters, LayerSpec, LayerState
from policies.surrogates import SURROGATES

LANES = 64  # a constant, so that the inner loops unroll into whole vectors
SEGMENT = 32  # ticks between two stored fast weights
FEW_TICKS = 4  # up to so many, and without gradients, the rollout kernel is the faster one

HEBB, OJA, BCM = 0, 1, 2
RULE_CODES = {"none": HEBB, "hebb": HEBB, "oja": OJA, "bcm": BCM}
STATIC, DIRECT, RETROACTIVE = 0, 1, 2

# Literals are float64 to Numba and would widen float32 arithmetic; these widen nothing.
ZERO, ONE, TWO, LEVEL = np.float32(0), np.float32(1), np.float32(2), np.float32(THRESHOLD)
UNBOUNDED = np.float32(1e30)


class _DistinctArguments(CompilerBase):
    """Tells LLVM that the arrays passed to a function do not overlap; without it, most loops
    below are not vectorised."""

    def define_pipelines(self) -> list[Any]:
        self.state.flags.noalias = True
        return [DefaultPassBuilder.define_nopython_pipeline(self.state)]


def kernel(function: Any) -> Any:
    """Compiles a function on its first call; keeps the result on disk where a folder allows it."""
    options = {
        "error_model": "numpy",
        "fastmath": {"reassoc", "contract", "nsz", "arcp"},  # not nnan: a NaN must stay one
        "pipeline_class": _DistinctArguments,
    }
    try:
        return numba.njit(cache=True, **options)(function)
    except RuntimeError:  # no folder for the cache can be written
        return numba.njit(**options)(function)


# A rule: its drive is D_ji = a_j p_i + c_j F_ji, with a and c functions of q_j and theta_j.


@kernel
def drive(rule, q, theta):
    """Coefficients (a, c) of a rule's drive."""
    if rule == HEBB:
        return q, -ONE
    if rule == OJA:
        return q, -q * q
    return q * (q - theta), ZERO


@kernel
def drive_gradient(rule, q, theta):
    """Derivatives (da/dq, da/dtheta, dc/dq)."""
    if rule == HEBB:
        return ONE, ZERO, ZERO
    if rule == OJA:
        return ONE, ZERO, -TWO * q
    return TWO * q - theta, -q, ZERO


# Synapses: one block and one tick each. Sums into their last arguments.


@kernel
def _static_forward(weight, x, current):
    for i in range(weight.shape[0]):
        x_i = x[i]
        if x_i != ZERO:
            for j in range(LANES):
                current[j] += x_i * weight[i, j]


@kernel
def _static_backward(weight, d_current, d_x):
    for i in range(weight.shape[0]):
        total = ZERO * d_current[0]
        for j in range(LANES):
            total += d_current[j] * weight[i, j]
        d_x[i] += total


@kernel
def _direct_update(fast, p, a, c, clip, updated):
    for i in range(fast.shape[0]):
        p_i = p[i]
        for j in range(LANES):
            updated[i, j] = min(max(c[j] * fast[i, j] + a[j] * p_i, -clip), clip)


@kernel
def _direct_forward(fast, p, a, c, clip, gain, x, current):
    for i in range(fast.shape[0]):
        p_i = p[i]
        for j in range(LANES):
            fast[i, j] = min(max(c[j] * fast[i, j] + a[j] * p_i, -clip), clip)
        x_i = x[i]
        if x_i != ZERO:
            for j in range(LANES):
                current[j] += x_i * gain[i, j] * fast[i, j]


@kernel
def _direct_backward(
    fast, p, a, c, clip, gain, x, next_c, d_current, d_update, d_gain, d_x, d_p, d_a, d_c
):
    """From tick t to the update before it. `fast` is F before that update; `d_update` is the
    gradient to the unclipped update after tick t, and becomes that to the one before."""
    for i in range(fast.shape[0]):
        p_i, x_i = p[i], x[i]
        zero = ZERO * p_i
        sum_x, sum_p = zero, zero
        if x_i != ZERO:
            for j in range(LANES):
                unclipped = c[j] * fast[i, j] + a[j] * p_i
                clipped = min(max(unclipped, -clip), clip)
                d_j = d_current[j] * x_i
                sum_x += d_current[j] * gain[i, j] * clipped
                d_gain[i, j] += d_j * clipped
                d = next_c[j] * d_update[i, j] + d_j * gain[i, j]
                d = d if unclipped == clipped else zero
                d_update[i, j] = d
                sum_p += d * a[j]
                d_a[j] += d * p_i
                d_c[j] += d * fast[i, j]
        else:
            for j in range(LANES):
                unclipped = c[j] * fast[i, j] + a[j] * p_i
                clipped = min(max(unclipped, -clip), clip)
                sum_x += d_current[j] * gain[i, j] * clipped
                d = next_c[j] * d_update[i, j]
                d = d if unclipped == clipped else zero
                d_update[i, j] = d
                sum_p += d * a[j]
                d_a[j] += d * p_i
                d_c[j] += d * fast[i, j]
        d_x[i] += sum_x
        d_p[i] += sum_p


@kernel
def _retro_update(fast, trace, p, a, c, r, keep, decay, clip, updated, updated_trace):
    for i in range(fast.shape[0]):
        p_i = p[i]
        for j in range(LANES):
            f, e = fast[i, j], trace[i, j]
            updated[i, j] = min(max(keep * f + r[j] * e, -clip), clip)
            updated_trace[i, j] = decay * e + a[j] * p_i + c[j] * f


@kernel
def _retro_forward(fast, trace, p, a, c, r, keep, decay, clip, gain, x, current):
    for i in range(fast.shape[0]):
        p_i = p[i]
        for j in range(LANES):
            f, e = fast[i, j], trace[i, j]
            fast[i, j] = min(max(keep * f + r[j] * e, -clip), clip)
            trace[i, j] = decay * e + a[j] * p_i + c[j] * f
        x_i = x[i]
        if x_i != ZERO:
            for j in range(LANES):
                current[j] += x_i * gain[i, j] * fast[i, j]


@kernel
def _retro_backward(
    fast, trace, p, a, c, r, keep, clip, gain, x, next_c, next_r, next_keep, next_decay,
    d_current, d_update, d_trace, d_gain, d_x, d_p, d_a, d_c, d_r, d_decay,
):  # fmt: skip
    """As `_direct_backward`; `d_trace` is the gradient to the eligibility trace."""
    for i in range(fast.shape[0]):
        p_i, x_i = p[i], x[i]
        zero = ZERO * p_i
        sum_x, sum_p = zero, zero
        for j in range(LANES):
            unclipped = keep * fast[i, j] + r[j] * trace[i, j]
            clipped = min(max(unclipped, -clip), clip)
            d_j = d_current[j] * x_i
            sum_x += d_current[j] * gain[i, j] * clipped
            d_gain[i, j] += d_j * clipped
            d, d_e = d_update[i, j], d_trace[i, j]
            new = next_keep * d + next_c[j] * d_e + d_j * gain[i, j]
            new = new if unclipped == clipped else zero
            new_e = next_r[j] * d + next_decay * d_e
            d_update[i, j] = new
            d_trace[i, j] = new_e
            sum_p += new_e * a[j]
            d_a[j] += new_e * p_i
            d_c[j] += new_e * fast[i, j]
            d_r[j] += new * trace[i, j]
            d_decay[j] += new_e * trace[i, j]
        d_x[i] += sum_x
        d_p[i] += sum_p


# Neurons: the rows of one tick, any number of neurons.


@kernel
def _trace(decay, value, x):
    for i in range(x.shape[0]):
        value[i] = decay * value[i] + (ONE - decay) * x[i]


@kernel
def _neurons(current, synaptic, beta, soft, v, s, spikes, potentials):
    """Membrane potentials and spikes; v and s hold those of the tick before, then the new ones."""
    for j in range(current.shape[0]):
        decayed = beta[j] * v[j]
        decayed = decayed - LEVEL * s[j] if soft else decayed * (ONE - s[j])
        new = decayed + current[j] + synaptic[j]
        fired = ONE if new > LEVEL else ZERO
        v[j] = new
        s[j] = fired
        potentials[j] = new
        spikes[j] = fired


@kernel
def _neurons_backward(
    d_spikes, d_potentials, slope, before, fired_before, beta, soft, d_v, d_s, d_beta, d_current
):
    """d_v and d_s hold the gradients to v(t) and s(t) through later ticks, then those to
    v(t-1) and s(t-1); d_current gets that to I(t)."""
    for j in range(slope.shape[0]):
        d = d_potentials[j] + d_v[j] + slope[j] * (d_spikes[j] + d_s[j])
        d_current[j] = d
        kept = ONE if soft else ONE - fired_before[j]
        d_beta[j] += d * before[j] * kept
        d_v[j] = d * beta[j] * kept
        d_s[j] = -LEVEL * d if soft else -d * beta[j] * before[j]


@kernel
def _postsynaptic(rule, direct, decays, rate, s, q, theta, a, c, r):
    """Traces of the neurons, and the coefficients of the update after this tick."""
    post_decay, threshold_decay, eta = decays[1], decays[2], decays[3]
    for j in range(rate.shape[0]):
        q[j] = post_decay * q[j] + (ONE - post_decay) * s[j]
        theta[j] = threshold_decay * theta[j] + (ONE - threshold_decay) * q[j] * q[j]
        drive_a, drive_c = drive(rule, q[j], theta[j])
        if direct:
            a[j] = rate[j] * drive_a
            c[j] = ONE + rate[j] * drive_c
        else:
            a[j] = eta * drive_a
            c[j] = eta * drive_c
            r[j] = rate[j]


@kernel
def _postsynaptic_backward(
    rule, direct, decays, rate, s, q, theta, q_before, theta_before,
    d_a, d_c, d_r, d_decay, d_q, d_theta, d_s, d_rate, d_decays,
):  # fmt: skip
    post_decay, threshold_decay, eta = decays[1], decays[2], decays[3]
    for j in range(rate.shape[0]):
        drive_a, drive_c = drive(rule, q[j], theta[j])
        a_q, a_theta, c_q = drive_gradient(rule, q[j], theta[j])
        along = d_a[j] * drive_a + d_c[j] * drive_c
        factor = rate[j] if direct else eta
        d_rate[j] = along if direct else d_r[j]
        d_decays[3, j] += ZERO if direct else along - d_decay[j]
        dq = d_q[j] + factor * (d_a[j] * a_q + d_c[j] * c_q)
        dtheta = d_theta[j] + factor * d_a[j] * a_theta
        dq += TWO * (ONE - threshold_decay) * q[j] * dtheta
        d_decays[2, j] += dtheta * (theta_before[j] - q[j] * q[j])
        d_decays[1, j] += dq * (q_before[j] - s[j])
        d_theta[j] = threshold_decay * dtheta
        d_q[j] = post_decay * dq
        d_s[j] += (ONE - post_decay) * dq


@kernel
def _presynaptic_backward(decay, x, before, d_p, d_x):
    """Returns the gradient to the decay; d_p then is that to p(t-1)."""
    total = ZERO * decay
    for i in range(x.shape[0]):
        total += d_p[i] * (before[i] - x[i])
        d_x[i] += (ONE - decay) * d_p[i]
        d_p[i] = decay * d_p[i]
    return total


# Scratch arrays, and the layout of blocks.


@kernel
def _lanes(rows, like):
    """Zeros [rows, LANES] of the type of `like`; rows start on cache lines, worth a factor 1.4."""
    line = 64 // like.itemsize
    raw = np.zeros(rows * LANES + line, like.dtype)
    first = -(raw.ctypes.data // like.itemsize) % line
    return raw[first : first + rows * LANES].reshape((rows, LANES))


@kernel
def _load(matrix, first, block):
    """Neurons first.. of [neurons, presynaptic] into a block [presynaptic, LANES]."""
    for j in range(min(LANES, matrix.shape[0] - first)):
        for i in range(matrix.shape[1]):
            block[i, j] = matrix[first + j, i]


@kernel
def _store(block, first, matrix):
    for j in range(min(LANES, matrix.shape[0] - first)):
        for i in range(matrix.shape[1]):
            matrix[first + j, i] = block[i, j]


@kernel
def _blocks(matrix):
    """[neurons, presynaptic] as blocks [blocks, presynaptic, LANES], padded with zeros."""
    neurons, channels = matrix.shape
    blocks = (neurons + LANES - 1) // LANES
    result = _lanes(blocks * channels, matrix).reshape((blocks, channels, LANES))
    for k in range(blocks):
        _load(matrix, k * LANES, result[k])
    return result


# Whole sequences. Arrays are those of `layer_sequence`; fields of the state are overwritten.


@kernel
def static_sequence(currents, starts, beta, soft, potential, spikes, potentials):
    """Neurons without plastic or recurrent synapses."""
    ticks, batch, neurons = currents.shape
    silent = np.zeros(neurons, currents.dtype)
    fired = np.empty_like(potential)
    for b in range(batch):
        for j in range(neurons):
            fired[b, j] = ONE if potential[b, j] > LEVEL else ZERO
    for t in range(ticks):
        for b in range(batch):
            if starts[t, b] > ZERO:
                potential[b] = ZERO
                fired[b] = ZERO
            _neurons(
                currents[t, b], silent, beta, soft, potential[b], fired[b],
                spikes[t, b], potentials[t, b],
            )  # fmt: skip


@kernel
def static_sequence_backward(
    starts, beta, soft, potential, spikes, potentials, slopes, d_spikes, d_potentials,
    d_currents, d_beta,
):  # fmt: skip
    ticks, batch, neurons = slopes.shape
    zeros = np.zeros(neurons, slopes.dtype)
    fired = np.empty_like(potential)
    for b in range(batch):
        for j in range(neurons):
            fired[b, j] = ONE if potential[b, j] > LEVEL else ZERO
    d_v, d_s = np.zeros_like(potential), np.zeros_like(potential)
    for t in range(ticks - 1, -1, -1):
        for b in range(batch):
            started = starts[t, b] > ZERO
            before, fired_before = potential[b], fired[b]
            if started:
                before, fired_before = zeros, zeros
            elif t > 0:
                before, fired_before = potentials[t - 1, b], spikes[t - 1, b]
            _neurons_backward(
                d_spikes[t, b], d_potentials[t, b], slopes[t, b], before, fired_before, beta, soft,
                d_v[b], d_s[b], d_beta, d_currents[t, b],
            )  # fmt: skip
            if started:
                d_v[b] = ZERO
                d_s[b] = ZERO


@kernel
def sequence(
    rule, kind, recurrent, soft, clip, decays, inputs, currents, starts, rate, beta,
    recurrent_weight, gain, potential, pre, post, threshold, fast_weights, eligibility,
    spikes, potentials, saved_fast, saved_trace,
):  # fmt: skip
    """Plastic or recurrent layers. saved_* [segments, B, blocks, n_pre, LANES] get the fast
    weights and eligibilities before the first update of each segment, if there are segments."""
    ticks, batch, neurons = currents.shape
    channels = pre.shape[1]
    blocks = (neurons + LANES - 1) // LANES
    plastic, retroactive = kind != STATIC, kind == RETROACTIVE
    # feedforward neurons do not see each other, so that a block can run its whole sequence
    group = blocks if recurrent else 1
    shape = (blocks, channels, LANES)
    static = _blocks(recurrent_weight)
    gains = _blocks(gain)
    fast = _lanes(blocks * channels if plastic else 0, beta)
    fast = fast.reshape((blocks if plastic else 0, channels, LANES))
    trace = _lanes(blocks * channels if retroactive else 0, beta)
    trace = trace.reshape((blocks if retroactive else 0, channels, LANES))
    rows = _lanes(8 * blocks, beta).reshape((8, blocks, LANES))
    v, s, q, theta, a, c, r, current = (
        rows[0], rows[1], rows[2], rows[3], rows[4], rows[5], rows[6], rows[7]
    )  # fmt: skip
    x, p = np.zeros(channels, beta.dtype), np.zeros(channels, beta.dtype)
    all_s = s.reshape(blocks * LANES)
    for first in range(0, blocks, group):
        for b in range(batch):
            keep = ONE
            for k in range(first, first + group):
                for j in range(min(LANES, neurons - k * LANES)):
                    v[k, j] = potential[b, k * LANES + j]
                    s[k, j] = ONE if v[k, j] > LEVEL else ZERO
                    if plastic:
                        q[k, j] = post[b, k * LANES + j]
                        theta[k, j] = threshold[b, k * LANES + j]
                if plastic:
                    _load(fast_weights[b], k * LANES, fast[k])
                if retroactive:
                    _load(eligibility[b], k * LANES, trace[k])
                a[k], r[k] = ZERO, ZERO
                c[k] = ZERO if retroactive else ONE
            if plastic:
                p[:] = pre[b]
            decay = ONE
            bound = UNBOUNDED * clip  # nothing to clip before the first tick
            for t in range(ticks):
                if starts[t, b] > ZERO:
                    p[:] = ZERO
                    keep, decay = ZERO, ZERO
                    for k in range(first, first + group):
                        v[k], s[k], q[k], theta[k] = ZERO, ZERO, ZERO, ZERO
                        a[k], c[k], r[k] = ZERO, ZERO, ZERO
                if recurrent:
                    x[:] = all_s[:neurons]
                else:
                    x[:] = inputs[t, b]
                for k in range(first, first + group):
                    current[k] = ZERO
                    if recurrent:
                        _static_forward(static[k], x, current[k])
                    if plastic and t % SEGMENT == 0 and saved_fast.shape[0] > 0:
                        saved_fast[t // SEGMENT, b, k] = fast[k]
                        if retroactive:
                            saved_trace[t // SEGMENT, b, k] = trace[k]
                    if kind == DIRECT:
                        _direct_forward(fast[k], p, a[k], c[k], bound, gains[k], x, current[k])
                    elif kind == RETROACTIVE:
                        _retro_forward(
                            fast[k], trace[k], p, a[k], c[k], r[k], keep, decay, bound, gains[k],
                            x, current[k],
                        )  # fmt: skip
                if plastic:
                    _trace(decays[0], p, x)
                for k in range(first, first + group):
                    low, high = k * LANES, min(neurons, (k + 1) * LANES)
                    _neurons(
                        currents[t, b, low:high], current[k], beta[low:high], soft, v[k], s[k],
                        spikes[t, b, low:high], potentials[t, b, low:high],
                    )  # fmt: skip
                    if plastic:
                        _postsynaptic(
                            rule, kind == DIRECT, decays, rate[t, b, low:high], s[k], q[k],
                            theta[k], a[k], c[k], r[k],
                        )  # fmt: skip
                bound, keep, decay = clip, ONE, ONE - decays[3]
            x[:] = ZERO
            for k in range(first, first + group):
                if kind == DIRECT:
                    _direct_forward(fast[k], p, a[k], c[k], bound, gains[k], x, current[k])
                elif kind == RETROACTIVE:
                    _retro_forward(
                        fast[k], trace[k], p, a[k], c[k], r[k], keep, decay, bound, gains[k], x,
                        current[k],
                    )  # fmt: skip
                for j in range(min(LANES, neurons - k * LANES)):
                    potential[b, k * LANES + j] = v[k, j]
                    if plastic:
                        post[b, k * LANES + j] = q[k, j]
                        threshold[b, k * LANES + j] = theta[k, j]
                if plastic:
                    _store(fast[k], k * LANES, fast_weights[b])
                if retroactive:
                    _store(trace[k], k * LANES, eligibility[b])
            if plastic and first + group == blocks:
                pre[b] = p
