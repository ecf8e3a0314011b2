"""Compiled loops of spiking layers on the CPU, over NumPy arrays, environment by environment.

Neurons are taken in blocks of `LANES`, and the synapses of a block are stored as
[presynaptic, LANES], so that the inner loops run over neurons, need no sum, and skip presynaptic
channels that are silent.

The fast weights of one environment live in a scratch array while its whole sequence is run. The
forward pass keeps them every `SEGMENT` ticks, and the backward pass recomputes what lies between,
so that nothing of size T x B x n x n is ever stored. The update of tick t is applied on the way
to the currents of tick t+1, as F(t+1) = clip(C F(t) + A p(t)) with C and A one number a neuron.

All of it is one file, because Numba's cache on disk notices only changes of a kernel's own file:
a kernel would go on with an old rule from a file beside it.
"""

from typing import Any, cast

import numba
import numpy as np
from numba import types
from numba.core import cgutils
from numba.core.compiler import CompilerBase, DefaultPassBuilder
from numba.extending import intrinsic
from numba.np.arrayobj import populate_array

from policies.neurons import THRESHOLD

LANES = 64  # a constant, so that the inner loops unroll into whole vectors
SEGMENT = 32  # ticks between two stored fast weights

HEBB, OJA, BCM = 0, 1, 2
RULE_CODES = {"none": HEBB, "hebb": HEBB, "oja": OJA, "bcm": BCM}
STATIC, DIRECT, RETROACTIVE = 0, 1, 2
FAST_SIGMOID, ARCTAN, TRIANGLE, RECTANGLE = 0, 1, 2, 3
SURROGATE_CODES = {
    "fast_sigmoid": FAST_SIGMOID, "arctan": ARCTAN, "triangle": TRIANGLE, "rectangle": RECTANGLE
}  # fmt: skip

# Literals are float64 to Numba and would widen float32 arithmetic; these widen nothing.
ZERO, HALF, ONE, TWO = np.float32(0), np.float32(0.5), np.float32(1), np.float32(2)
LEVEL, UNBOUNDED = np.float32(THRESHOLD), np.float32(1e30)


class _DistinctArguments(CompilerBase):
    """Tells LLVM that the arrays passed to a function do not overlap; without it, most loops
    below are not vectorised.
    """

    def define_pipelines(self) -> list[Any]:
        self.state.flags.noalias = True
        return [DefaultPassBuilder.define_nopython_pipeline(self.state)]


_OPTIONS: dict[str, Any] = {
    "error_model": "numpy",
    "fastmath": {"reassoc", "contract", "nsz", "arcp"},  # not nnan: a NaN must stay one
    "pipeline_class": _DistinctArguments,
    "_nrt": False,  # no counting of references, whose atomic operations took a third of the time
}
inlined = numba.njit(forceinline=True, **_OPTIONS)


def kernel(function: Any) -> Any:
    """Compiles a function on its first call; keeps the result on disk where a folder allows it."""
    try:
        return numba.njit(cache=True, **_OPTIONS)(function)
    except RuntimeError:  # no folder for the cache can be written
        return numba.njit(**_OPTIONS)(function)


# A rule: its drive is D_ji = a_j p_i + c_j F_ji, with a and c functions of q_j and theta_j.


@inlined
def drive(rule, q, theta):
    """Coefficients (a, c) of a rule's drive."""
    if rule == HEBB:
        return q, -ONE
    if rule == OJA:
        return q, -q * q
    return q * (q - theta), ZERO


@inlined
def drive_gradient(rule, q, theta):
    """Derivatives (da/dq, da/dtheta, dc/dq)."""
    if rule == HEBB:
        return ONE, ZERO, ZERO
    if rule == OJA:
        return ONE, ZERO, -TWO * q
    return TWO * q - theta, -q, ZERO


@inlined
def _slopes(surrogate, slope, potentials, slopes):
    """Surrogate derivatives of the spikes of a row of neurons."""
    # arctan's slope comes with its factor pi / 2, which must not be rounded to float32
    if surrogate == FAST_SIGMOID:
        for j in range(potentials.shape[0]):
            root = ONE + slope * abs(potentials[j] - LEVEL)
            slopes[j] = ONE / (root * root)
    elif surrogate == ARCTAN:
        for j in range(potentials.shape[0]):
            root = slope * (potentials[j] - LEVEL)
            slopes[j] = ONE / (ONE + root * root)
    elif surrogate == TRIANGLE:
        for j in range(potentials.shape[0]):
            slopes[j] = max(ZERO, ONE - slope * abs(potentials[j] - LEVEL))
    else:
        for j in range(potentials.shape[0]):
            slopes[j] = ONE if abs(potentials[j] - LEVEL) < HALF / slope else ZERO


# Synapses: one block and one tick each. Sums into their last arguments.


@inlined
def _static_forward(weight, x, current):
    for i in range(weight.shape[0]):
        x_i = x[i]
        if x_i != ZERO:
            for j in range(LANES):
                current[j] += x_i * weight[i, j]


@inlined
def _static_backward(weight, d_current, d_x):
    for i in range(weight.shape[0]):
        total = ZERO * d_current[0]
        for j in range(LANES):
            total += d_current[j] * weight[i, j]
        d_x[i] += total


@inlined
def _direct_update(fast, p, a, c, clip, updated):
    for i in range(fast.shape[0]):
        p_i = p[i]
        for j in range(LANES):
            updated[i, j] = min(max(c[j] * fast[i, j] + a[j] * p_i, -clip), clip)


@inlined
def _direct_forward(fast, p, a, c, clip, gain, x, current):
    for i in range(fast.shape[0]):
        p_i = p[i]
        for j in range(LANES):
            fast[i, j] = min(max(c[j] * fast[i, j] + a[j] * p_i, -clip), clip)
        x_i = x[i]
        if x_i != ZERO:
            for j in range(LANES):
                current[j] += x_i * gain[i, j] * fast[i, j]


@inlined
def _direct_backward(
    fast, p, a, c, clip, gain, x, next_c, d_current, d_update, d_gain, d_x, d_p, d_a, d_c
):
    """From tick t to the update before it. `fast` is F before that update; `d_update` is the
    gradient to the unclipped update after tick t, and becomes that to the one before.
    """
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


@inlined
def _retro_update(fast, trace, p, a, c, r, keep, decay, clip, updated, updated_trace):
    for i in range(fast.shape[0]):
        p_i = p[i]
        for j in range(LANES):
            f, e = fast[i, j], trace[i, j]
            updated[i, j] = min(max(keep * f + r[j] * e, -clip), clip)
            updated_trace[i, j] = decay * e + a[j] * p_i + c[j] * f


@inlined
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


@inlined
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


@inlined
def _copy(source, target):
    for i in range(source.shape[0]):
        target[i] = source[i]


@inlined
def _add(source, target):
    for i in range(source.shape[0]):
        target[i] += source[i]


@inlined
def _fire(potential, spikes):
    for j in range(potential.shape[0]):
        spikes[j] = ONE if potential[j] > LEVEL else ZERO


@inlined
def _trace(decay, before, x, value):
    for i in range(x.shape[0]):
        value[i] = decay * before[i] + (ONE - decay) * x[i]


@inlined
def _neurons(potentials, synaptic, beta, soft, v, s, spikes):
    """Membrane potentials and spikes; `potentials` comes with the currents, v and s with the
    values of the tick before.
    """
    for j in range(potentials.shape[0]):
        decayed = beta[j] * v[j]
        decayed = decayed - LEVEL * s[j] if soft else decayed * (ONE - s[j])
        new = decayed + (potentials[j] + synaptic[j])
        fired = ONE if new > LEVEL else ZERO
        v[j] = new
        s[j] = fired
        potentials[j] = new
        spikes[j] = fired


@inlined
def _neurons_backward(
    d_spikes, d_potentials, slopes, before, fired_before, beta, soft, d_v, d_s, d_beta, d_current
):
    """d_v and d_s come with the gradients to v(t) and s(t) through later ticks, and leave with
    those to v(t-1) and s(t-1); d_current gets that to I(t).
    """
    for j in range(beta.shape[0]):
        d = d_potentials[j] + d_v[j] + slopes[j] * (d_spikes[j] + d_s[j])
        d_current[j] = d
        kept = ONE if soft else ONE - fired_before[j]
        d_beta[j] += d * before[j] * kept
        d_v[j] = d * beta[j] * kept
        d_s[j] = -LEVEL * d if soft else -d * beta[j] * before[j]


@inlined
def _postsynaptic(rule, direct, decays, rate, s, q_before, theta_before, q, theta, a, c, r):
    """Traces of the neurons, and the coefficients of the update after this tick."""
    post_decay, threshold_decay, eta = decays[1], decays[2], decays[3]
    for j in range(rate.shape[0]):
        q_j = post_decay * q_before[j] + (ONE - post_decay) * s[j]
        theta_j = threshold_decay * theta_before[j] + (ONE - threshold_decay) * q_j * q_j
        drive_a, drive_c = drive(rule, q_j, theta_j)
        q[j], theta[j] = q_j, theta_j
        r[j] = rate[j]
        a[j] = (rate[j] if direct else eta) * drive_a
        c[j] = ONE + rate[j] * drive_c if direct else eta * drive_c


@inlined
def _postsynaptic_backward(
    rule, direct, decays, rate, s, q, theta, q_before, theta_before,
    d_a, d_c, d_r, d_decay, d_q, d_theta, d_s, d_rate, d_post_decay, d_threshold_decay, d_eta,
):  # fmt: skip
    """d_q and d_theta come with the gradients to q(t) and theta(t) through later ticks, and leave
    with those to q(t-1) and theta(t-1).
    """
    post_decay, threshold_decay, eta = decays[1], decays[2], decays[3]
    for j in range(rate.shape[0]):
        drive_a, drive_c = drive(rule, q[j], theta[j])
        a_q, a_theta, c_q = drive_gradient(rule, q[j], theta[j])
        along = d_a[j] * drive_a + d_c[j] * drive_c
        factor = rate[j] if direct else eta
        d_rate[j] = along if direct else d_r[j]
        d_eta[j] += ZERO if direct else along - d_decay[j]
        dtheta = d_theta[j] + factor * d_a[j] * a_theta
        dq = d_q[j] + factor * (d_a[j] * a_q + d_c[j] * c_q)
        dq += TWO * (ONE - threshold_decay) * q[j] * dtheta
        d_threshold_decay[j] += dtheta * (theta_before[j] - q[j] * q[j])
        d_post_decay[j] += dq * (q_before[j] - s[j])
        d_theta[j] = threshold_decay * dtheta
        d_q[j] = post_decay * dq
        d_s[j] += (ONE - post_decay) * dq


@inlined
def _presynaptic_backward(decay, x, before, d_p, d_x):
    """Returns the gradient to the decay; d_p leaves as the gradient to p(t-1)."""
    total = ZERO
    for i in range(x.shape[0]):
        total += d_p[i] * (before[i] - x[i])
        d_x[i] += (ONE - decay) * d_p[i]
        d_p[i] = decay * d_p[i]
    return total


# The layout of blocks.


@inlined
def _load(matrix, block, first):
    """Neurons first.. of [neurons, presynaptic] into a block [presynaptic, LANES]."""
    for j in range(min(LANES, matrix.shape[0] - first)):
        for i in range(matrix.shape[1]):
            block[i, j] = matrix[first + j, i]


@inlined
def _store(block, matrix, first):
    for j in range(min(LANES, matrix.shape[0] - first)):
        for i in range(matrix.shape[1]):
            matrix[first + j, i] = block[i, j]


@inlined
def _copy_block(source, target):
    for i in range(source.shape[0]):
        for j in range(source.shape[1]):
            target[i, j] = source[i, j]


# Whole sequences. Arrays are named as in `layer_sequence`, and those that a layer does not have
# are empty. `potentials` comes with the currents; fields of the state are replaced by new ones.


@kernel
def static_sequence(starts, beta, soft, potential, spikes, potentials, fired, silent):
    """Neurons without plastic or recurrent synapses. fired [B, n] is scratch, silent [n] zero."""
    ticks, batch, _ = spikes.shape
    for b in range(batch):
        _fire(potential[b], fired[b])
    for t in range(ticks):
        for b in range(batch):
            if starts[t, b] > ZERO:
                potential[b] = ZERO
                fired[b] = ZERO
            _neurons(potentials[t, b], silent, beta, soft, potential[b], fired[b], spikes[t, b])


@kernel
def static_sequence_backward(
    starts, beta, soft, surrogate, slope, potential, spikes, potentials, d_spikes, d_potentials,
    d_currents, d_beta, fired, d_v, d_s, slopes, zeros,
):  # fmt: skip
    """fired, d_v, d_s [B, n] and slopes [n] are scratch; zeros [n] is zero."""
    ticks, batch, _ = spikes.shape
    for b in range(batch):
        _fire(potential[b], fired[b])
        d_v[b] = ZERO
        d_s[b] = ZERO
    for t in range(ticks - 1, -1, -1):
        for b in range(batch):
            started = starts[t, b] > ZERO
            before, fired_before = potential[b], fired[b]
            if started:
                before, fired_before = zeros, zeros
            elif t > 0:
                before, fired_before = potentials[t - 1, b], spikes[t - 1, b]
            outer = d_potentials[t, b] if d_potentials.shape[0] > 0 else zeros
            _slopes(surrogate, slope, potentials[t, b], slopes)
            _neurons_backward(
                d_spikes[t, b], outer, slopes, before, fired_before, beta, soft, d_v[b], d_s[b],
                d_beta, d_currents[t, b],
            )  # fmt: skip
            if started:
                d_v[b] = ZERO
                d_s[b] = ZERO


@kernel
def leaky(spikes, starts, decay, value, values):
    """Leaky integration; arrays are named as in `leaky_sequence`."""
    ticks, batch, neurons = spikes.shape
    for t in range(ticks):
        for b in range(batch):
            before = value[b] if t == 0 else values[t - 1, b]
            keep = ZERO if starts[t, b] > ZERO else ONE
            now, s = values[t, b], spikes[t, b]
            for j in range(neurons):
                now[j] = decay[j] * (before[j] * keep) + (ONE - decay[j]) * s[j]


@kernel
def leaky_backward(spikes, starts, decay, value, values, d_values, d_spikes, d_decay, d_before):
    """d_before [B, n] is scratch, zero at first: the gradient to a value through later ticks."""
    ticks, batch, neurons = spikes.shape
    for t in range(ticks - 1, -1, -1):
        for b in range(batch):
            before = value[b] if t == 0 else values[t - 1, b]
            keep = ZERO if starts[t, b] > ZERO else ONE
            d_now, d_s, through, s = d_values[t, b], d_spikes[t, b], d_before[b], spikes[t, b]
            for j in range(neurons):
                d = d_now[j] + through[j]
                d_s[j] = (ONE - decay[j]) * d
                d_decay[j] += d * (before[j] * keep - s[j])
                through[j] = decay[j] * keep * d


@kernel
def sequence(
    rule, kind, recurrent, soft, clip, decays, inputs, starts, rate, beta, recurrent_weight, gain,
    potential, pre, post, threshold, fast_weights, eligibility,
    spikes, potentials, saved_fast, saved_trace, scratch,
):  # fmt: skip
    """Plastic or recurrent layers. saved_* [segments, B, blocks, n_pre, LANES] get the fast
    weights and eligibilities before the update that precedes each segment, if any are asked.
    """
    ticks, batch, neurons = spikes.shape
    static, gains, fast, trace, rows, lines = scratch
    v, s, q, theta = rows[0], rows[1], rows[2], rows[3]
    a, c, r, current = rows[4], rows[5], rows[6], rows[7]
    q_before, theta_before = rows[8, 0], rows[9, 0]
    x, p, p_before = lines[0], lines[1], lines[2]
    blocks = rows.shape[1]
    all_s = s.reshape(blocks * LANES)
    direct, retroactive, plastic = kind == DIRECT, kind == RETROACTIVE, kind != STATIC
    for k in range(blocks):
        if recurrent:
            _load(recurrent_weight, static[k], k * LANES)
        if plastic:
            _load(gain, gains[k], k * LANES)
    # feedforward neurons do not see each other, so that each block can run its whole sequence
    group = blocks if recurrent else 1
    for first in range(0, blocks, group):
        for b in range(batch):
            for k in range(first, first + group):
                low, high = k * LANES, min(neurons, (k + 1) * LANES)
                _copy(potential[b, low:high], v[k])
                _fire(potential[b, low:high], s[k])
                # before the first tick, an update that changes nothing
                a[k], r[k] = ZERO, ZERO
                c[k] = ONE if direct else ZERO
                if plastic:
                    _copy(post[b, low:high], q[k])
                    _copy(threshold[b, low:high], theta[k])
                    _load(fast_weights[b], fast[k], low)
                if retroactive:
                    _load(eligibility[b], trace[k], low)
            keep, decay, bound = ONE, ONE + ZERO * clip, UNBOUNDED * clip
            if plastic:
                _copy(pre[b], p)
            for t in range(ticks):
                if starts[t, b] > ZERO:
                    p[:] = ZERO
                    keep, decay = ZERO, ZERO * clip
                    for k in range(first, first + group):
                        v[k], s[k], q[k], theta[k] = ZERO, ZERO, ZERO, ZERO
                        a[k], c[k], r[k] = ZERO, ZERO, ZERO
                if recurrent:
                    _copy(all_s[:neurons], x)
                else:
                    _copy(inputs[t, b], x)
                for k in range(first, first + group):
                    current[k] = ZERO
                    if plastic and t % SEGMENT == 0 and saved_fast.shape[0] > 0:
                        _copy_block(fast[k], saved_fast[t // SEGMENT, b, k])
                        if retroactive:
                            _copy_block(trace[k], saved_trace[t // SEGMENT, b, k])
                    if recurrent:
                        _static_forward(static[k], x, current[k])
                    if direct:
                        _direct_forward(fast[k], p, a[k], c[k], bound, gains[k], x, current[k])
                    elif retroactive:
                        _retro_forward(
                            fast[k], trace[k], p, a[k], c[k], r[k], keep, decay, bound, gains[k],
                            x, current[k],
                        )  # fmt: skip
                keep, decay, bound = ONE, ONE - decays[3], clip
                if plastic:
                    _copy(p, p_before)
                    _trace(decays[0], p_before, x, p)
                for k in range(first, first + group):
                    low, high = k * LANES, min(neurons, (k + 1) * LANES)
                    _neurons(
                        potentials[t, b, low:high], current[k], beta[low:high], soft, v[k], s[k],
                        spikes[t, b, low:high],
                    )  # fmt: skip
                    if plastic:
                        _copy(q[k], q_before)
                        _copy(theta[k], theta_before)
                        _postsynaptic(
                            rule, direct, decays, rate[t, b, low:high], s[k], q_before,
                            theta_before, q[k], theta[k], a[k], c[k], r[k],
                        )  # fmt: skip
            x[:] = ZERO
            for k in range(first, first + group):
                low, high = k * LANES, min(neurons, (k + 1) * LANES)
                _copy(v[k, : high - low], potential[b, low:high])
                if direct:
                    _direct_forward(fast[k], p, a[k], c[k], bound, gains[k], x, current[k])
                elif retroactive:
                    _retro_forward(
                        fast[k], trace[k], p, a[k], c[k], r[k], keep, decay, bound, gains[k], x,
                        current[k],
                    )  # fmt: skip
                    _store(trace[k], eligibility[b], low)
                if plastic:
                    _copy(q[k, : high - low], post[b, low:high])
                    _copy(theta[k, : high - low], threshold[b, low:high])
                    _store(fast[k], fast_weights[b], low)
            if plastic and first + group == blocks:
                _copy(p, pre[b])


@inlined
def _recall(
    rule, kind, recurrent, decays, inputs, starts, rate, first, b, pre, post, threshold, spikes,
    fired, xs, ps, q, theta, a, c, r,
):  # fmt: skip
    """Traces of one environment, and the coefficients of its updates, for all ticks.

    xs[t] are the presynaptic activities of tick t; ps[t], q[t], theta[t] the traces before tick t
    (zero at a start), and a[t], c[t], r[t] the coefficients of the update that precedes it.
    """
    ticks, _, neurons = spikes.shape
    direct, plastic = kind == DIRECT, kind != STATIC
    group = fired.shape[0]
    for k in range(group):
        low, high = (first + k) * LANES, min(neurons, (first + k + 1) * LANES)
        a[0, k], r[0, k] = ZERO, ZERO
        c[0, k] = ONE if direct else ZERO
        if plastic:
            _copy(post[b, low:high], q[0, k])
            _copy(threshold[b, low:high], theta[0, k])
    if plastic:
        _copy(pre[b], ps[0])
    for t in range(ticks):
        started = starts[t, b] > ZERO
        if started:
            ps[t] = ZERO
            for k in range(group):
                q[t, k], theta[t, k] = ZERO, ZERO
                a[t, k], c[t, k], r[t, k] = ZERO, ZERO, ZERO
        if not recurrent:
            _copy(inputs[t, b], xs[t])
        elif started:
            xs[t] = ZERO
        elif t > 0:
            _copy(spikes[t - 1, b], xs[t])
        else:
            _copy(fired.reshape(group * LANES)[:neurons], xs[t])
        if plastic:
            _trace(decays[0], ps[t], xs[t], ps[t + 1])
            for k in range(group):
                low, high = (first + k) * LANES, min(neurons, (first + k + 1) * LANES)
                _postsynaptic(
                    rule, direct, decays, rate[t, b, low:high], spikes[t, b, low:high], q[t, k],
                    theta[t, k], q[t + 1, k], theta[t + 1, k], a[t + 1, k], c[t + 1, k],
                    r[t + 1, k],
                )  # fmt: skip


@inlined
def _recompute(
    kind, clip, eta, starts, start, last, b, first, saved_fast, saved_trace, ps, a, c, r,
    fast, trace,
):  # fmt: skip
    """Fast weights before the updates that precede the ticks start..last, from the saved ones."""
    for k in range(a.shape[1]):
        _copy_block(saved_fast[start // SEGMENT, b, first + k], fast[0, k])
        if kind == RETROACTIVE:
            _copy_block(saved_trace[start // SEGMENT, b, first + k], trace[0, k])
        for t in range(start, last):
            h = t - start
            bound = clip if t > 0 else UNBOUNDED * clip
            if kind == DIRECT:
                _direct_update(fast[h, k], ps[t], a[t, k], c[t, k], bound, fast[h + 1, k])
            else:
                keep = ZERO if starts[t, b] > ZERO else ONE
                decay = keep * (ONE - eta) if t > 0 else keep
                _retro_update(
                    fast[h, k], trace[h, k], ps[t], a[t, k], c[t, k], r[t, k], keep, decay, bound,
                    fast[h + 1, k], trace[h + 1, k],
                )  # fmt: skip


@kernel
def sequence_backward(
    rule, kind, recurrent, soft, surrogate, slope, clip, decays, inputs, starts, rate, beta,
    recurrent_weight, gain, potential, pre, post, threshold, spikes, potentials, saved_fast,
    saved_trace, d_spikes, d_potentials, d_inputs, d_currents, d_rate, d_beta, d_gain, d_decays,
    scratch, history,
):  # fmt: skip
    """Gradients of `sequence`; d_inputs, d_beta and d_decays come with zeros."""
    ticks, batch, neurons = spikes.shape
    static, gains, d_gains, fast, trace, d_fast, d_trace, rows, lines = scratch
    coefficients, xs, ps = history
    q, theta, a = coefficients[0], coefficients[1], coefficients[2]
    c, r = coefficients[3], coefficients[4]
    d_v, d_s, d_q, d_theta, d_a = rows[0], rows[1], rows[2], rows[3], rows[4]
    d_c, d_r, d_decay = rows[5], rows[6], rows[7]
    fired, d_current, slopes = rows[8], rows[9], rows[10]
    d_post_decay, d_threshold_decay, d_eta, zeros = rows[11], rows[12], rows[13], rows[14, 0]
    d_x, d_p = lines[0], lines[1]
    group = rows.shape[1]
    blocks = (neurons + LANES - 1) // LANES
    all_d_s = d_s.reshape(group * LANES)
    direct, retroactive, plastic = kind == DIRECT, kind == RETROACTIVE, kind != STATIC
    for k in range(blocks):
        if recurrent:
            _load(recurrent_weight, static[k], k * LANES)
        if plastic:
            _load(gain, gains[k], k * LANES)
            d_gains[k] = ZERO
    for row in range(15):
        rows[row] = ZERO
    for first in range(0, blocks, group):
        for b in range(batch):
            for k in range(group):
                low, high = (first + k) * LANES, min(neurons, (first + k + 1) * LANES)
                _fire(potential[b, low:high], fired[k])
            _recall(
                rule, kind, recurrent, decays, inputs, starts, rate, first, b, pre, post, threshold,
                spikes, fired, xs, ps, q, theta, a, c, r,
            )  # fmt: skip
            for row in range(8):
                rows[row] = ZERO
            d_p[:] = ZERO
            for k in range(group):
                if plastic:
                    d_fast[k] = ZERO
                if retroactive:
                    d_trace[k] = ZERO
            next_keep, next_decay = ONE, ONE - decays[3]
            for t in range(ticks - 1, -1, -1):
                h = t % SEGMENT
                if plastic and (t == ticks - 1 or h == SEGMENT - 1):
                    _recompute(
                        kind, clip, decays[3], starts, t - h, t, b, first, saved_fast, saved_trace,
                        ps, a, c, r, fast, trace,
                    )  # fmt: skip
                started = starts[t, b] > ZERO
                d_x[:] = ZERO
                for k in range(group):
                    low, high = (first + k) * LANES, min(neurons, (first + k + 1) * LANES)
                    if plastic:
                        _postsynaptic_backward(
                            rule, direct, decays, rate[t, b, low:high], spikes[t, b, low:high],
                            q[t + 1, k], theta[t + 1, k], q[t, k], theta[t, k], d_a[k], d_c[k],
                            d_r[k], d_decay[k], d_q[k], d_theta[k], d_s[k], d_rate[t, b, low:high],
                            d_post_decay[k], d_threshold_decay[k], d_eta[k],
                        )  # fmt: skip
                        d_a[k], d_c[k], d_r[k], d_decay[k] = ZERO, ZERO, ZERO, ZERO
                    before, fired_before = zeros, zeros
                    if not started and t > 0:
                        before = potentials[t - 1, b, low:high]
                        fired_before = spikes[t - 1, b, low:high]
                    elif not started:
                        before, fired_before = potential[b, low:high], fired[k]
                    outer = d_potentials[t, b, low:high] if d_potentials.shape[0] > 0 else zeros
                    _slopes(surrogate, slope, potentials[t, b, low:high], slopes[k])
                    _neurons_backward(
                        d_spikes[t, b, low:high], outer, slopes[k], before, fired_before,
                        beta[low:high], soft, d_v[k], d_s[k], d_beta[low:high], d_current[k],
                    )  # fmt: skip
                    _copy(d_current[k, : high - low], d_currents[t, b, low:high])
                if plastic:
                    d_decays[0] += _presynaptic_backward(decays[0], xs[t], ps[t], d_p, d_x)
                bound = clip if t > 0 else UNBOUNDED * clip
                keep = ZERO if started else ONE
                for k in range(group):
                    if recurrent:
                        _static_backward(static[k], d_current[k], d_x)
                    if direct:
                        _direct_backward(
                            fast[h, k], ps[t], a[t, k], c[t, k], bound, gains[first + k], xs[t],
                            c[t + 1, k], d_current[k], d_fast[k], d_gains[first + k], d_x, d_p,
                            d_a[k], d_c[k],
                        )  # fmt: skip
                    elif retroactive:
                        _retro_backward(
                            fast[h, k], trace[h, k], ps[t], a[t, k], c[t, k], r[t, k], keep, bound,
                            gains[first + k], xs[t], c[t + 1, k], r[t + 1, k], next_keep,
                            next_decay, d_current[k], d_fast[k], d_trace[k], d_gains[first + k],
                            d_x, d_p, d_a[k], d_c[k], d_r[k], d_decay[k],
                        )  # fmt: skip
                next_keep, next_decay = keep, keep * (ONE - decays[3])
                if recurrent:
                    _add(d_x, all_d_s)
                else:
                    _add(d_x, d_inputs[t, b])
                if started:
                    for row in range(8):
                        rows[row] = ZERO
                    d_p[:] = ZERO
    for k in range(blocks):
        if plastic:
            _store(d_gains[k], d_gain, k * LANES)
    for k in range(group):
        for j in range(LANES):
            d_decays[1] += d_post_decay[k, j]
            d_decays[2] += d_threshold_decay[k, j]
            d_decays[3] += d_eta[k, j]


# A few ticks without gradients, in the arrays' own layout. Most of the time of such a call goes
# into handing over arrays, so that they come as addresses.


@cast(Any, intrinsic)
def _at(typing_context, address, shape, like) -> Any:
    """The C-contiguous array of a shape at an address, of the type of the number `like`."""
    axes = len(shape)

    def generate(context, builder, signature, arguments):
        item = context.get_data_type(like)
        array = context.make_array(signature.return_type)(context, builder)
        lengths = cgutils.unpack_tuple(builder, arguments[1], axes)
        strides = [context.get_constant(types.intp, context.get_abi_sizeof(item))]
        for length in reversed(lengths):
            strides.insert(0, builder.mul(strides[0], length))
        data = builder.inttoptr(arguments[0], item.as_pointer())
        populate_array(array, data, lengths, strides[1:], strides[-1], None)
        return array._getvalue()

    return types.Array(like, axes, "C")(address, shape, like), generate


@inlined
def _take(address, target, fresh):
    """Copies an array from an address, or zeros if the episode is fresh."""
    source = _at(address, (target.shape[0],), target[0])
    for i in range(target.shape[0]):
        target[i] = ZERO if fresh else source[i]


@inlined
def _static_currents(weight, x, currents):
    for j in range(weight.shape[0]):
        total = ZERO
        for i in range(x.shape[0]):
            total += weight[j, i] * x[i]
        currents[j] += total


@inlined
def _plastic_currents(weight, gain, fast, x, currents):
    for j in range(weight.shape[0]):
        total = ZERO
        for i in range(x.shape[0]):
            total += (weight[j, i] + gain[j, i] * fast[j, i]) * x[i]
        currents[j] += total


@inlined
def _direct_rows(fast, p, a, c, clip, updated):
    for j in range(fast.shape[0]):
        a_j, c_j = a[j], c[j]
        for i in range(p.shape[0]):
            updated[j, i] = min(max(c_j * fast[j, i] + a_j * p[i], -clip), clip)


@inlined
def _retro_rows(fast, trace, p, a, c, r, decay, clip, updated, updated_trace):
    for j in range(fast.shape[0]):
        a_j, c_j, r_j = a[j], c[j], r[j]
        for i in range(p.shape[0]):
            f, e = fast[j, i], trace[j, i]
            updated[j, i] = min(max(f + r_j * e, -clip), clip)
            updated_trace[j, i] = decay * e + a_j * p[i] + c_j * f


@kernel
def rollout(
    clip, rule, kind, recurrent, soft, ticks, batch, channels, neurons, addresses, rows, line,
    before,
):  # fmt: skip
    """addresses: those of the arrays unpacked below, and of the state before and after; then, for
    the fields of the state before, the numbers from one environment to the next. rows [10, n],
    line [n_pre] and before [2, n, n_pre] are scratch.
    """
    like = clip
    plastic, direct, retroactive = kind != STATIC, kind == DIRECT, kind == RETROACTIVE
    width = neurons if recurrent else channels
    inputs = _at(addresses[0], (ticks, batch, channels), like)
    starts = _at(addresses[1], (ticks, batch), like)
    rate = _at(addresses[2], (ticks, batch, neurons), like)
    spikes = _at(addresses[3], (ticks, batch, neurons), like)
    potentials = _at(addresses[4], (ticks, batch, neurons), like)
    weight = _at(addresses[5], (neurons, channels), like)
    bias = _at(addresses[6], (neurons,), like)
    beta = _at(addresses[7], (neurons,), like)
    recurrent_weight = _at(addresses[8], (neurons, neurons), like)
    gain = _at(addresses[9], (neurons, width), like)
    decays = rows[9]
    for k in range(4):
        decays[k] = _at(addresses[10 + k], (1,), like)[0] if addresses[10 + k] else ZERO
    old, strides = addresses[14:20], addresses[26:32]
    potential = _at(addresses[20], (batch, neurons), like)
    pre = _at(addresses[21], (batch, width), like)
    post = _at(addresses[22], (batch, neurons), like)
    threshold = _at(addresses[23], (batch, neurons), like)
    fast = _at(addresses[24], (batch, neurons, width), like)
    trace = _at(addresses[25], (batch, neurons, width), like)
    fired, a, c, r, q_before, theta_before = rows[0], rows[1], rows[2], rows[3], rows[4], rows[5]
    theta, silent = rows[6], rows[7]
    theta[:] = ZERO
    silent[:] = ZERO
    size = rows.itemsize
    for b in range(batch):
        for t in range(ticks):
            fresh = starts[t, b] > ZERO
            if t == 0:
                _take(old[0] + b * strides[0] * size, potential[b], fresh)
                _fire(potential[b], fired)
                if plastic:
                    _take(old[1] + b * strides[1] * size, pre[b], fresh)
                    _take(old[2] + b * strides[2] * size, post[b], fresh)
                if rule == BCM:
                    _take(old[3] + b * strides[3] * size, theta, fresh)
            elif fresh:
                potential[b], fired[:], theta[:] = ZERO, ZERO, ZERO
                if plastic:
                    pre[b], post[b] = ZERO, ZERO
            old_fast, old_trace = before[0], before[1]
            if fresh:
                before[:] = ZERO
            elif plastic and t == 0:
                old_fast = _at(old[4] + b * strides[4] * size, (neurons, width), like)
                if retroactive:
                    old_trace = _at(old[5] + b * strides[5] * size, (neurons, width), like)
            elif plastic:
                _copy_block(fast[b], old_fast)
                if retroactive:
                    _copy_block(trace[b], old_trace)
            currents = potentials[t, b]
            _copy(bias, currents)
            x = fired if recurrent else inputs[t, b]
            if recurrent or not plastic:
                _static_currents(weight, inputs[t, b], currents)
            if plastic:
                static = recurrent_weight if recurrent else weight
                _plastic_currents(static, gain, old_fast, x, currents)
                _copy(pre[b], line)
                _trace(decays[0], line, x, pre[b])
            elif recurrent:
                _static_currents(recurrent_weight, x, currents)
            _neurons(currents, silent, beta, soft, potential[b], fired, spikes[t, b])
            if plastic:
                _copy(post[b], q_before)
                _copy(theta, theta_before)
                _postsynaptic(
                    rule, direct, decays, rate[t, b], fired, q_before, theta_before, post[b],
                    theta, a, c, r,
                )  # fmt: skip
            if direct:
                _direct_rows(old_fast, pre[b], a, c, clip, fast[b])
            elif retroactive:
                _retro_rows(
                    old_fast, old_trace, pre[b], a, c, r, ONE - decays[3], clip, fast[b], trace[b]
                )  # fmt: skip
        if rule == BCM:
            _copy(theta, threshold[b])
