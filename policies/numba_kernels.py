"""The compiled loops of the CPU: layers over sequences, both ways, and steps of whole networks.

Sequences run environment by environment. Neurons are taken in blocks of `LANES`, and the synapses
of a block are stored as [presynaptic, LANES], so that the inner loops run over neurons, need no
sum, and skip presynaptic channels that are silent.

The fast weights of one environment live in a scratch array while its whole sequence is run. The
forward pass keeps them every `SEGMENT` ticks, and the backward pass recomputes what lies between,
so that nothing of size T x B x n x n is ever stored. The update of tick t is applied on the way
to the currents of tick t+1, as F(t+1) = clip(C F(t) + A p(t)) with C and A one number a neuron.

All of it is one file, long as it is, because Numba's cache on disk notices only changes of a
kernel's own file: a kernel would go on with an old rule from a file beside it.
"""

import math
from typing import Any, cast

import numba
import numpy as np
from numba import types
from numba.core import cgutils
from numba.core.compiler import CompilerBase, DefaultPassBuilder
from numba.extending import intrinsic
from numba.np.arrayobj import populate_array

from spikepropamine.policies.neurons import THRESHOLD

LANES = 64  # a constant, so that the inner loops unroll into whole vectors
SEGMENT = 32  # ticks between two stored fast weights
TILE = 16  # neurons that are taken at once where fast weights are used in the state's own layout

# What a layer is made of comes to its kernels as a table of addresses, since handing over arrays
# takes longer than many a call. Entries of the table, 0 for what a layer does not have:
INPUTS, STARTS, RATE, SPIKES, POTENTIALS = 0, 1, 2, 3, 4
WEIGHT, BIAS, BETA, RECURRENT_WEIGHT, GAIN, DECAYS = 5, 6, 7, 8, 9, 10
# the state before and after, and the bytes from one environment to the next in each of its fields
OLD, NEW, OLD_STRIDES, NEW_STRIDES = 14, 20, 26, 32
SAVED_FAST, SAVED_TRACE = 38, 39
D_SPIKES, D_POTENTIALS, D_INPUTS, D_CURRENTS, D_RATE, D_BIAS, D_BETA, D_GAIN, D_DECAYS = range(
    40, 49
)
ENTRIES = 49
# In a step of a whole network a layer's table goes on: what kind of layer it is, the parameters of
# its neuromodulators, scratch, and where its fields and the neuromodulators begin in the flat state
RULE, KIND, IS_RECURRENT, CHANNELS, NEURONS = range(49, 54)
MODULATOR_WEIGHT, MODULATOR_EXOGENOUS, MODULATOR_BIAS = range(54, 57)
FIRED, OWN, ROWS, TILES, LINE = range(57, 62)
PLACES, MODULATION = 62, 68
STEP_ENTRIES = 69
# and the call has a table of its own
OBSERVATIONS, SIGNAL, STEP_STARTS, OLD_FLAT, NEW_FLAT, FEATURES = range(6)
FIELDS = ("potential", "pre", "post", "threshold", "fast_weights", "eligibility")
POTENTIAL, PRE, POST, THRESHOLD_TRACE, FAST, ELIGIBILITY = range(6)

HEBB, OJA, BCM, BCM_DECAY = 0, 1, 2, 3
RULE_CODES = {"none": HEBB, "hebb": HEBB, "oja": OJA, "bcm": BCM, "bcm_decay": BCM_DECAY}
CONTRACTING = 8  # added to the code of a rule
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
def _before(table, field, b):
    """Address of a field of the state of environment b before the first tick."""
    return table[OLD + field] + b * table[OLD_STRIDES + field]


@inlined
def _after(table, field, b):
    """Address of a field of the state of environment b after the last tick."""
    return table[NEW + field] + b * table[NEW_STRIDES + field]


@inlined
def _load_decays(table, decays):
    """Those of the traces, and eta."""
    for k in range(4):
        address = table[DECAYS + k]
        decays[k] = _at(address, (1,), decays[0])[0] if address != 0 else ZERO


@inlined
def _sign(x):
    return ONE if x > ZERO else (-ONE if x < ZERO else ZERO)


# A rule: its drive is D_ji = a_j p_i + c_j F_ji, with a and c functions of q_j and theta_j.


@inlined
def drive(rule, q, theta):
    """Coefficients (a, c) of a rule's drive."""
    if rule == HEBB:
        return q, -ONE
    if rule == OJA:
        return q, -q * q
    return q * (q - theta), -ONE if rule == BCM_DECAY else ZERO


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
    d_spikes, d_potentials, slopes, before, fired_before, beta, soft, d_v, d_s, d_bias, d_beta,
    d_current,
):  # fmt: skip
    """d_v and d_s come with the gradients to v(t) and s(t) through later ticks, and leave with
    those to v(t-1) and s(t-1); d_current gets that to I(t).
    """
    for j in range(beta.shape[0]):
        d = d_potentials[j] + d_v[j] + slopes[j] * (d_spikes[j] + d_s[j])
        d_current[j] = d
        d_bias[j] += d
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
        drive_a, drive_c = drive(rule & 7, q_j, theta_j)
        q[j], theta[j] = q_j, theta_j
        r[j] = rate[j]
        a[j] = (rate[j] if direct else eta) * drive_a
        decay = abs(rate[j]) if rule & CONTRACTING else rate[j]
        c[j] = ONE + decay * drive_c if direct else eta * drive_c


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
        drive_a, drive_c = drive(rule & 7, q[j], theta[j])
        a_q, a_theta, c_q = drive_gradient(rule & 7, q[j], theta[j])
        d_c_j = d_c[j]
        if rule & CONTRACTING:
            d_c_j *= _sign(rate[j])
        along = d_a[j] * drive_a + d_c_j * drive_c
        factor = rate[j] if direct else eta
        d_rate[j] = along if direct else d_r[j]
        d_eta[j] += ZERO if direct else along - d_decay[j]
        dtheta = d_theta[j] + factor * d_a[j] * a_theta
        dq = d_q[j] + factor * (d_a[j] * a_q + d_c_j * c_q)
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
    lanes = min(LANES, matrix.shape[0] - first)
    for i in range(matrix.shape[1]):  # in this order it gathers, which is faster than to scatter
        for j in range(lanes):
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


# Static synapses of all ticks at once, where few of the inputs are not zero.


@kernel
def count_active(like, length, address):
    """How many of the numbers at an address are not zero."""
    x, count = _at(address, (length,), like), 0
    for i in range(length):
        count += 1 if x[i] != ZERO else 0
    return count


@inlined
def _list_active(x, indices):
    """Lists the entries that are not zero and returns how many there are."""
    count = 0
    for i in range(x.shape[0]):  # without a branch, which would be mispredicted
        indices[count] = i
        count += 1 if x[i] != ZERO else 0
    return count


@inlined
def _add_multiple(factor, source, target):
    for j in range(target.shape[0]):
        target[j] += factor * source[j]


@inlined
def _add_four(x_0, w_0, x_1, w_1, x_2, w_2, x_3, w_3, target):
    for j in range(target.shape[0]):
        target[j] += (x_0 * w_0[j] + x_1 * w_1[j]) + (x_2 * w_2[j] + x_3 * w_3[j])


@inlined
def _transpose(matrix, transposed):
    for i in range(transposed.shape[0]):
        for j in range(transposed.shape[1]):
            transposed[i, j] = matrix[j, i]


@kernel
def sparse_currents(rows, channels, neurons, table, transposed, indices):
    """Currents W x + b, [rows, neurons]. transposed [channels, neurons], indices are scratch."""
    like = transposed[0, 0]
    inputs = _at(table[INPUTS], (rows, channels), like)
    bias = _at(table[BIAS], (neurons,), like)
    currents = _at(table[POTENTIALS], (rows, neurons), like)
    _transpose(_at(table[WEIGHT], (neurons, channels), like), transposed)
    for row in range(rows):
        x, sums = inputs[row], currents[row]
        active = _list_active(x, indices)
        _copy(bias, sums)
        whole = active - active % 4
        for k in range(0, whole, 4):
            i_0, i_1, i_2, i_3 = indices[k], indices[k + 1], indices[k + 2], indices[k + 3]
            _add_four(
                x[i_0], transposed[i_0], x[i_1], transposed[i_1], x[i_2], transposed[i_2],
                x[i_3], transposed[i_3], sums,
            )  # fmt: skip
        for k in range(whole, active):
            _add_multiple(x[indices[k]], transposed[indices[k]], sums)


@kernel
def sparse_weight_gradient(
    rows, channels, neurons, inputs_at, currents_at, weight_at, transposed, indices
):
    """Gradient to W, at an address, from the inputs and the gradient to the currents."""
    like = transposed[0, 0]
    inputs = _at(inputs_at, (rows, channels), like)
    d_currents = _at(currents_at, (rows, neurons), like)
    transposed[:] = ZERO
    for row in range(rows):
        x, d = inputs[row], d_currents[row]
        for k in range(_list_active(x, indices)):
            _add_multiple(x[indices[k]], d, transposed[indices[k]])
    _transpose(transposed, _at(weight_at, (neurons, channels), like))


# Whole sequences. Arrays are named as in `layer_sequence`; `potentials` comes with the currents.


@kernel
def static_sequence(soft, ticks, batch, neurons, table, v, fired, silent):
    """Neurons without plastic or recurrent synapses. v, fired [B, n]: scratch; silent [n]: zero."""
    like = silent[0]
    starts = _at(table[STARTS], (ticks, batch), like)
    spikes = _at(table[SPIKES], (ticks, batch, neurons), like)
    potentials = _at(table[POTENTIALS], (ticks, batch, neurons), like)
    beta = _at(table[BETA], (neurons,), like)
    for b in range(batch):
        _copy(_at(_before(table, POTENTIAL, b), (neurons,), like), v[b])
        _fire(v[b], fired[b])
    for t in range(ticks):
        for b in range(batch):
            if starts[t, b] > ZERO:
                v[b] = ZERO
                fired[b] = ZERO
            _neurons(potentials[t, b], silent, beta, soft, v[b], fired[b], spikes[t, b])
    if table[NEW] != 0:
        for b in range(batch):
            _copy(v[b], _at(_after(table, POTENTIAL, b), (neurons,), like))


@kernel
def static_sequence_backward(
    soft, surrogate, slope, ticks, batch, neurons, table, fired, d_v, d_s, slopes, zeros
):
    """fired, d_v, d_s [B, n] and slopes [n] are scratch; zeros [n] is zero."""
    like = zeros[0]
    starts = _at(table[STARTS], (ticks, batch), like)
    spikes = _at(table[SPIKES], (ticks, batch, neurons), like)
    potentials = _at(table[POTENTIALS], (ticks, batch, neurons), like)
    beta = _at(table[BETA], (neurons,), like)
    d_spikes = _at(table[D_SPIKES], (ticks, batch, neurons), like)
    d_potentials = _at(table[D_POTENTIALS], (ticks, batch, neurons), like)
    d_currents = _at(table[D_CURRENTS], (ticks, batch, neurons), like)
    d_bias, d_beta = _at(table[D_BIAS], (neurons,), like), _at(table[D_BETA], (neurons,), like)
    for b in range(batch):
        _fire(_at(_before(table, POTENTIAL, b), (neurons,), like), fired[b])
        d_v[b] = ZERO
        d_s[b] = ZERO
    d_bias[:] = ZERO
    d_beta[:] = ZERO
    for t in range(ticks - 1, -1, -1):
        for b in range(batch):
            started = starts[t, b] > ZERO
            before, fired_before = zeros, zeros
            if not started and t > 0:
                before, fired_before = potentials[t - 1, b], spikes[t - 1, b]
            elif not started:
                before, fired_before = _at(_before(table, POTENTIAL, b), (neurons,), like), fired[b]
            inner = d_spikes[t, b] if table[D_SPIKES] != 0 else zeros
            outer = d_potentials[t, b] if table[D_POTENTIALS] != 0 else zeros
            _slopes(surrogate, slope, potentials[t, b], slopes)
            _neurons_backward(
                inner, outer, slopes, before, fired_before, beta, soft, d_v[b], d_s[b], d_bias,
                d_beta, d_currents[t, b],
            )  # fmt: skip
            if started:
                d_v[b] = ZERO
                d_s[b] = ZERO


@kernel
def leaky(like, ticks, batch, neurons, addresses):
    """Leaky integration. addresses: of spikes, starts, decay, value before, and values."""
    spikes = _at(addresses[0], (ticks, batch, neurons), like)
    starts = _at(addresses[1], (ticks, batch), like)
    decay = _at(addresses[2], (neurons,), like)
    value = _at(addresses[3], (batch, neurons), like)
    values = _at(addresses[4], (ticks, batch, neurons), like)
    for t in range(ticks):
        for b in range(batch):
            before = value[b] if t == 0 else values[t - 1, b]
            keep = ZERO if starts[t, b] > ZERO else ONE
            _leak(decay, keep, before, spikes[t, b], values[t, b])


@inlined
def _leak(decay, keep, before, s, now):
    for j in range(now.shape[0]):
        now[j] = decay[j] * (before[j] * keep) + (ONE - decay[j]) * s[j]


@kernel
def leaky_backward(like, ticks, batch, neurons, addresses):
    """addresses: as for `leaky`, then of the gradients to values, spikes and decay, and of
    [B, n] for the gradient to a value through later ticks. The last two come with zeros.
    """
    spikes = _at(addresses[0], (ticks, batch, neurons), like)
    starts = _at(addresses[1], (ticks, batch), like)
    decay = _at(addresses[2], (neurons,), like)
    value = _at(addresses[3], (batch, neurons), like)
    values = _at(addresses[4], (ticks, batch, neurons), like)
    d_values = _at(addresses[5], (ticks, batch, neurons), like)
    d_spikes = _at(addresses[6], (ticks, batch, neurons), like)
    d_decay = _at(addresses[7], (neurons,), like)
    d_before = _at(addresses[8], (batch, neurons), like)
    for t in range(ticks - 1, -1, -1):
        for b in range(batch):
            before = value[b] if t == 0 else values[t - 1, b]
            keep = ZERO if starts[t, b] > ZERO else ONE
            _leak_backward(
                decay, keep, before, spikes[t, b], d_values[t, b], d_spikes[t, b], d_decay,
                d_before[b],
            )  # fmt: skip


@inlined
def _leak_backward(decay, keep, before, s, d_now, d_s, d_decay, through):
    for j in range(s.shape[0]):
        d = d_now[j] + through[j]
        d_s[j] = (ONE - decay[j]) * d
        d_decay[j] += d * (before[j] * keep - s[j])
        through[j] = decay[j] * keep * d


@kernel
def sequence(
    clip, rule, kind, recurrent, soft, ticks, batch, channels, neurons, table, scratch
):  # fmt: skip
    """Plastic or recurrent layers. Before the update that precedes each segment but the first,
    the fast weights and eligibilities [segments - 1, B, blocks, n_pre, LANES] are saved, if asked.
    """
    like, width = clip, neurons if recurrent else channels
    static, gains, fast, trace, rows, lines, decays = scratch
    v, s, q, theta = rows[0], rows[1], rows[2], rows[3]
    a, c, r, current = rows[4], rows[5], rows[6], rows[7]
    q_before, theta_before = rows[8, 0], rows[9, 0]
    x, p, p_before = lines[0], lines[1], lines[2]
    blocks = rows.shape[1]
    all_s = s.reshape(blocks * LANES)
    inputs = _at(table[INPUTS], (ticks, batch, channels), like)
    starts = _at(table[STARTS], (ticks, batch), like)
    rate = _at(table[RATE], (ticks, batch, neurons), like)
    spikes = _at(table[SPIKES], (ticks, batch, neurons), like)
    potentials = _at(table[POTENTIALS], (ticks, batch, neurons), like)
    beta = _at(table[BETA], (neurons,), like)
    recurrent_weight = _at(table[RECURRENT_WEIGHT], (neurons, neurons), like)
    gain = _at(table[GAIN], (neurons, width), like)
    saved = ((ticks - 1) // SEGMENT, batch, blocks, width, LANES)
    saved_fast = _at(table[SAVED_FAST], saved, like)
    saved_trace = _at(table[SAVED_TRACE], saved, like)
    _load_decays(table, decays)
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
                v_before = _at(_before(table, POTENTIAL, b), (neurons,), like)[low:high]
                _copy(v_before, v[k])
                _fire(v_before, s[k])
                # before the first tick, an update that changes nothing
                a[k], r[k] = ZERO, ZERO
                c[k] = ONE if direct else ZERO
                theta[k] = ZERO
                if plastic:
                    _copy(_at(_before(table, POST, b), (neurons,), like)[low:high], q[k])
                    _load(_at(_before(table, FAST, b), (neurons, width), like), fast[k], low)
                if (rule & 7) >= BCM:
                    _copy(
                        _at(_before(table, THRESHOLD_TRACE, b), (neurons,), like)[low:high],
                        theta[k],
                    )
                if retroactive:
                    _load(
                        _at(_before(table, ELIGIBILITY, b), (neurons, width), like), trace[k], low
                    )
            keep, decay, bound = ONE, ONE + ZERO * clip, UNBOUNDED * clip
            if plastic:
                _copy(_at(_before(table, PRE, b), (width,), like), p)
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
                    if t > 0 and t % SEGMENT == 0 and table[SAVED_FAST] != 0:
                        _copy_block(fast[k], saved_fast[t // SEGMENT - 1, b, k])
                        if retroactive:
                            _copy_block(trace[k], saved_trace[t // SEGMENT - 1, b, k])
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
            if table[NEW] == 0:  # the new state is not wanted
                continue
            x[:] = ZERO
            for k in range(first, first + group):
                low, high = k * LANES, min(neurons, (k + 1) * LANES)
                v_after = _at(_after(table, POTENTIAL, b), (neurons,), like)[low:high]
                _copy(v[k, : high - low], v_after)
                if direct:
                    _direct_forward(fast[k], p, a[k], c[k], bound, gains[k], x, current[k])
                elif retroactive:
                    _retro_forward(
                        fast[k], trace[k], p, a[k], c[k], r[k], keep, decay, bound, gains[k], x,
                        current[k],
                    )  # fmt: skip
                    _store(
                        trace[k], _at(_after(table, ELIGIBILITY, b), (neurons, width), like), low
                    )
                if plastic:
                    q_after = _at(_after(table, POST, b), (neurons,), like)[low:high]
                    _copy(q[k, : high - low], q_after)
                    _store(fast[k], _at(_after(table, FAST, b), (neurons, width), like), low)
                if (rule & 7) >= BCM:
                    theta_after = _at(_after(table, THRESHOLD_TRACE, b), (neurons,), like)[low:high]
                    _copy(theta[k, : high - low], theta_after)
            if plastic and first + group == blocks:
                _copy(p, _at(_after(table, PRE, b), (width,), like))


@inlined
def _recall(
    rule, kind, recurrent, decays, table, inputs, starts, rate, first, b, spikes, fired, xs, ps, q,
    theta, a, c, r,
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
        a[0, k], r[0, k], theta[0, k] = ZERO, ZERO, ZERO
        c[0, k] = ONE if direct else ZERO
        if plastic:
            _copy(_at(_before(table, POST, b), (neurons,), decays[0])[low:high], q[0, k])
        if (rule & 7) >= BCM:
            threshold = _at(_before(table, THRESHOLD_TRACE, b), (neurons,), decays[0])
            _copy(threshold[low:high], theta[0, k])
    if plastic:
        _copy(_at(_before(table, PRE, b), (xs.shape[1],), decays[0]), ps[0])
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
    kind, clip, eta, table, starts, start, last, b, first, saved_fast, saved_trace, ps, a, c, r,
    fast, trace, shape,
):  # fmt: skip
    """Fast weights before the updates that precede the ticks start..last, from the saved ones."""
    for k in range(a.shape[1]):
        if start == 0:
            _load(_at(_before(table, FAST, b), shape, clip), fast[0, k], (first + k) * LANES)
            if kind == RETROACTIVE:
                _load(
                    _at(_before(table, ELIGIBILITY, b), shape, clip),
                    trace[0, k],
                    (first + k) * LANES,
                )
        else:
            _copy_block(saved_fast[start // SEGMENT - 1, b, first + k], fast[0, k])
            if kind == RETROACTIVE:
                _copy_block(saved_trace[start // SEGMENT - 1, b, first + k], trace[0, k])
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
    clip, rule, kind, recurrent, soft, surrogate, slope, ticks, batch, channels, neurons, table,
    scratch, history,
):  # fmt: skip
    """Gradients of `sequence`; that to the inputs comes with zeros."""
    like, width = clip, neurons if recurrent else channels
    static, gains, d_gains, fast, trace, d_fast, d_trace, rows, lines, decays = scratch
    inputs = _at(table[INPUTS], (ticks, batch, channels), like)
    starts = _at(table[STARTS], (ticks, batch), like)
    rate = _at(table[RATE], (ticks, batch, neurons), like)
    spikes = _at(table[SPIKES], (ticks, batch, neurons), like)
    potentials = _at(table[POTENTIALS], (ticks, batch, neurons), like)
    beta = _at(table[BETA], (neurons,), like)
    recurrent_weight = _at(table[RECURRENT_WEIGHT], (neurons, neurons), like)
    gain = _at(table[GAIN], (neurons, width), like)
    saved = ((ticks - 1) // SEGMENT, batch, (neurons + LANES - 1) // LANES, width, LANES)
    saved_fast = _at(table[SAVED_FAST], saved, like)
    saved_trace = _at(table[SAVED_TRACE], saved, like)
    d_spikes = _at(table[D_SPIKES], (ticks, batch, neurons), like)
    d_potentials = _at(table[D_POTENTIALS], (ticks, batch, neurons), like)
    d_inputs = _at(table[D_INPUTS], (ticks, batch, channels), like)
    d_currents = _at(table[D_CURRENTS], (ticks, batch, neurons), like)
    d_rate = _at(table[D_RATE], (ticks, batch, neurons), like)
    d_bias, d_beta = _at(table[D_BIAS], (neurons,), like), _at(table[D_BETA], (neurons,), like)
    d_gain = _at(table[D_GAIN], (neurons, width), like)
    d_decays = _at(table[D_DECAYS], (4,), like)
    _load_decays(table, decays)
    d_bias[:] = ZERO
    d_beta[:] = ZERO
    d_decays[:] = ZERO
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
                _fire(_at(_before(table, POTENTIAL, b), (neurons,), like)[low:high], fired[k])
            _recall(
                rule, kind, recurrent, decays, table, inputs, starts, rate, first, b, spikes, fired,
                xs, ps, q, theta, a, c, r,
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
                        kind, clip, decays[3], table, starts, t - h, t, b, first, saved_fast,
                        saved_trace, ps, a, c, r, fast, trace, (neurons, width),
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
                        before = _at(_before(table, POTENTIAL, b), (neurons,), like)[low:high]
                        fired_before = fired[k]
                    inner = d_spikes[t, b, low:high] if table[D_SPIKES] != 0 else zeros
                    outer = d_potentials[t, b, low:high] if table[D_POTENTIALS] != 0 else zeros
                    _slopes(surrogate, slope, potentials[t, b, low:high], slopes[k])
                    _neurons_backward(
                        inner, outer, slopes[k], before, fired_before, beta[low:high], soft,
                        d_v[k], d_s[k], d_bias[low:high], d_beta[low:high], d_current[k],
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


# A step of a whole network without gradients, in the layout of the flat state.


@inlined
def _take(source, target, fresh):
    """Copies an array, or zeros if the episode is fresh."""
    for i in range(target.shape[0]):
        target[i] = ZERO if fresh else source[i]


@inlined
def _add_active(weights, x, sums):
    """Adds the rows of weights [presynaptic, neurons] whose channel is not silent."""
    for i in range(x.shape[0]):
        if x[i] != ZERO:
            _add_multiple(x[i], weights[i], sums)


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


@inlined
def _modulate(like, table, ticks, batch, size, plasticity_off, held, call, exogenous, seen, rate):
    """What multiplies the drive: eta, or the neuromodulators, which the new state keeps."""
    channels, neurons = table[CHANNELS], table[NEURONS]
    old = _at(call[OLD_FLAT], (batch, size), like)
    if table[MODULATOR_BIAS] == 0:
        eta = _at(table[DECAYS + 3], (1,), like)[0]
        for b in range(batch):
            for t in range(ticks):
                for j in range(neurons):
                    rate[t, b, j] = eta * (ONE - old[b, plasticity_off])
        return
    inputs = _at(table[INPUTS], (ticks, batch, channels), like)
    synapses = _at(table[MODULATOR_WEIGHT], (channels, neurons), like)
    weights = _at(table[MODULATOR_EXOGENOUS], (exogenous.shape[0], neurons), like)
    bias = _at(table[MODULATOR_BIAS], (neurons,), like)
    for b in range(batch):
        for t in range(ticks):
            _copy(bias, rate[t, b])
            _add_active(weights, seen[b], rate[t, b])
            _add_active(synapses, inputs[t, b], rate[t, b])
    new, place = _at(call[NEW_FLAT], (batch, size), like), table[MODULATION]
    for b in range(batch):
        for t in range(ticks):
            for j in range(neurons):
                m = math.tanh(rate[t, b, j])
                if old[b, held] > ZERO:
                    m = old[b, place + t * neurons + j]
                new[b, place + t * neurons + j] = m
                rate[t, b, j] = m * (ONE - old[b, plasticity_off])


@inlined
def _layer_step(clip, soft, ticks, batch, table, starts, rate):
    """All ticks of a layer; leaves spikes, potentials, and its part of the new state."""
    like, rule, kind, recurrent = clip, table[RULE], table[KIND], table[IS_RECURRENT] != 0
    channels, neurons = table[CHANNELS], table[NEURONS]
    width = neurons if recurrent else channels
    plastic, direct, retroactive = kind != STATIC, kind == DIRECT, kind == RETROACTIVE
    inputs = _at(table[INPUTS], (ticks, batch, channels), like)
    spikes = _at(table[SPIKES], (ticks, batch, neurons), like)
    potentials = _at(table[POTENTIALS], (ticks, batch, neurons), like)
    bias, beta = _at(table[BIAS], (neurons,), like), _at(table[BETA], (neurons,), like)
    # static synapses come as [presynaptic, neurons], plastic ones as [neurons, presynaptic]
    static_inputs = _at(table[WEIGHT], (channels, neurons), like)
    static_recurrent = _at(table[RECURRENT_WEIGHT], (neurons, neurons), like)
    weight = _at(table[RECURRENT_WEIGHT if recurrent else WEIGHT], (neurons, width), like)
    gain = _at(table[GAIN], (neurons, width), like)
    fired = _at(table[FIRED], (batch, neurons), like)
    own = _at(table[OWN], (batch, neurons), like)
    rows, line = _at(table[ROWS], (8, TILE), like), _at(table[LINE], (width,), like)
    tiles = _at(table[TILES], (2, TILE, width), like)
    a, c, r, q_before, theta_before = rows[0], rows[1], rows[2], rows[3], rows[4]
    no_theta, silent, decays = rows[5], rows[6], rows[7]
    silent[:] = ZERO
    _load_decays(table, decays)
    for t in range(ticks):
        # the new state is where the ticks do their work
        for b in range(batch):
            fresh = starts[b] > ZERO
            v, p = _at(_after(table, POTENTIAL, b), (neurons,), like), line
            if t == 0:
                _take(_at(_before(table, POTENTIAL, b), (neurons,), like), v, fresh)
                _fire(v, fired[b])
            if plastic:
                p = _at(_after(table, PRE, b), (width,), like)
                q = _at(_after(table, POST, b), (neurons,), like)
                if t == 0:
                    _take(_at(_before(table, PRE, b), (width,), like), line, fresh)
                    _take(_at(_before(table, POST, b), (neurons,), like), q, fresh)
                else:
                    _copy(p, line)
                _trace(decays[0], line, fired[b] if recurrent else inputs[t, b], p)
            if plastic and (rule & 7) >= BCM and t == 0:
                theta = _at(_after(table, THRESHOLD_TRACE, b), (neurons,), like)
                _take(_at(_before(table, THRESHOLD_TRACE, b), (neurons,), like), theta, fresh)
            _copy(bias, potentials[t, b])
            if recurrent or not plastic:
                _add_active(static_inputs, inputs[t, b], potentials[t, b])
            if recurrent and not plastic:
                _add_active(static_recurrent, fired[b], potentials[t, b])
            _copy(fired[b], own[b])
        # tile by tile, so that weights stay in the cache for all environments, and fast weights
        # until they are updated
        for low in range(0, neurons, TILE):
            high = min(neurons, low + TILE)
            for b in range(batch):
                currents = potentials[t, b, low:high]
                x = own[b] if recurrent else inputs[t, b]
                old_fast, old_trace = tiles[0, : high - low], tiles[1, : high - low]
                fast = _at(_after(table, FAST, b), (neurons, width), like)[low:high]
                trace = _at(_after(table, ELIGIBILITY, b), (neurons, width), like)[low:high]
                if t == 0 and starts[b] > ZERO:
                    tiles[:] = ZERO
                elif plastic and t == 0:
                    old_fast = _at(_before(table, FAST, b), (neurons, width), like)[low:high]
                    if retroactive:
                        before = _before(table, ELIGIBILITY, b)
                        old_trace = _at(before, (neurons, width), like)[low:high]
                elif plastic:
                    _copy_block(fast, old_fast)
                    if retroactive:
                        _copy_block(trace, old_trace)
                if plastic:
                    _plastic_currents(weight[low:high], gain[low:high], old_fast, x, currents)
                v = _at(_after(table, POTENTIAL, b), (neurons,), like)[low:high]
                s = fired[b, low:high]
                _neurons(currents, silent, beta[low:high], soft, v, s, spikes[t, b, low:high])
                if not plastic:
                    continue
                p = _at(_after(table, PRE, b), (width,), like)
                q = _at(_after(table, POST, b), (neurons,), like)[low:high]
                theta = no_theta
                if (rule & 7) >= BCM:
                    theta = _at(_after(table, THRESHOLD_TRACE, b), (neurons,), like)[low:high]
                    _copy(theta, theta_before)
                _copy(q, q_before)
                _postsynaptic(
                    rule, direct, decays, rate[t, b, low:high], s, q_before, theta_before, q, theta,
                    a, c, r,
                )  # fmt: skip
                if direct:
                    _direct_rows(old_fast, p, a, c, clip, fast)
                else:
                    _retro_rows(old_fast, old_trace, p, a, c, r, ONE - decays[3], clip, fast, trace)


@kernel
def network_step(
    clip, soft, ticks, batch, size, channels, width, plasticity_off, held, readout, call, layers,
    exogenous, seen, decay,
):  # fmt: skip
    """One environment step of a network, from one flat state [batch, size] to the next.

    size, channels and width are those of the state, the observation and the features;
    plasticity_off, held and readout are where these fields begin in the flat state. call has the
    addresses that change from call to call, layers a table for each layer, exogenous the indices of
    the channels that neuromodulators see. seen is scratch, [batch, exogenous channels].
    """
    like = clip
    observations = _at(call[OBSERVATIONS], (batch, channels), like)
    starts = _at(call[STEP_STARTS], (batch,), like)
    old, new = _at(call[OLD_FLAT], (batch, size), like), _at(call[NEW_FLAT], (batch, size), like)
    features = _at(call[FEATURES], (batch, width), like)
    for b in range(batch):
        new[b, plasticity_off] = old[b, plasticity_off]
        new[b, held] = old[b, held]
        for i in range(exogenous.shape[0]):
            seen[b, i] = observations[b, exogenous[i]]
    for number in range(layers.shape[0]):
        table = layers[number]
        table[INPUTS] = layers[number - 1, SPIKES] if number > 0 else call[SIGNAL]
        for field in range(len(FIELDS)):
            place = table[PLACES + field] * old.itemsize
            table[OLD + field], table[NEW + field] = call[OLD_FLAT] + place, call[NEW_FLAT] + place
            table[OLD_STRIDES + field] = table[NEW_STRIDES + field] = size * old.itemsize
        rate = _at(table[RATE], (ticks, batch, table[NEURONS]), like)
        if table[KIND] != STATIC:
            _modulate(
                like, table, ticks, batch, size, plasticity_off, held, call, exogenous, seen, rate
            )
        _layer_step(clip, soft, ticks, batch, table, starts, rate)
    neurons = table[NEURONS]
    spikes = _at(table[SPIKES], (ticks, batch, neurons), like)
    potentials = _at(table[POTENTIALS], (ticks, batch, neurons), like)
    for b in range(batch):
        value = new[b, readout : readout + neurons]
        _take(old[b, readout : readout + neurons], value, starts[b] > ZERO)
        for t in range(ticks):
            s = spikes[t, b]
            for j in range(neurons):
                value[j] = decay[j] * value[j] + (ONE - decay[j]) * s[j]
        _copy(value, features[b, :neurons])
        if width > neurons:
            _copy(potentials[ticks - 1, b], features[b, neurons:])
