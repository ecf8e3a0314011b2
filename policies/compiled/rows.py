"""What is the same for all kinds of layers: one tick of a row of neurons and its
adjoint (membrane, spikes, traces, leak), and kernels of static synapses, of the leaky
readout, and of the neuromodulators of a step.

An adjoint takes the gradients to what a function returns and gives those to what it
took; `d_x` is the gradient to `x`. Gradients through later ticks come in an argument,
and leave in it as those through this one.
"""

# Numba finds out the types of what it compiles.
# mypy: allow-untyped-defs, allow-incomplete-defs, allow-untyped-decorators
# mypy: allow-untyped-calls

import math

import numpy as np

from spikepropamine.policies.compiled.numba_private import at, inlined, kernel, spliced
from spikepropamine.policies.reference import THRESHOLD

# Literals are float64 to Numba and would widen float32 arithmetic; these widen nothing.
ZERO, HALF, ONE, TWO = np.float32(0), np.float32(0.5), np.float32(1), np.float32(2)
LEVEL = np.float32(THRESHOLD)

SEGMENT = 32  # ticks between two stored fast weights
SURROGATE_CODES = {"fast_sigmoid": 0, "arctan": 1, "triangle": 2, "rectangle": 3}


@spliced
def step(x):
    """1 above 0."""
    return ONE if x > ZERO else ZERO


@inlined
def mean(share, rate, x, value):
    """Slow mean P(t) = P(t-1) + a |r| (x(t) - P(t-1)), with a rate for each entry.

    Args:
        share: a, one number in (0, 1).
        rate: r, [n].
        x: what is averaged, [n].
        value: comes with P(t-1), leaves with P(t), [n].
    """
    for i in range(rate.shape[0]):
        value[i] += share * abs(rate[i]) * (x[i] - value[i])


@inlined
def mean_adjoint(share, rate, x, before, d_value, d_x, d_rate):
    """Adjoint of `mean`.

    Args:
        share: a, one number in (0, 1).
        rate: r, [n].
        x: what is averaged, [n].
        before: P(t-1), [n].
        d_value: comes with the gradient to P(t), leaves with that to P(t-1).
        d_x: the gradient to x is added.
        d_rate: the gradient to r is added.

    Returns:
        The gradient to the share.
    """
    total = ZERO * share
    for i in range(rate.shape[0]):
        r = rate[i]
        d = d_value[i]
        error = x[i] - before[i]
        total += d * abs(r) * error
        d_r = d * share * error
        d_rate[i] += d_r if r > ZERO else (-d_r if r < ZERO else ZERO)
        d_x[i] += share * abs(r) * d
        d_value[i] = (ONE - share * abs(r)) * d
    return total


@inlined
def clear(row):
    """Zeros."""
    for i in range(row.shape[0]):
        row[i] = ZERO


@inlined
def copy(source, target):
    """A row into another that is at least as long."""
    for i in range(source.shape[0]):
        target[i] = source[i]


@inlined
def add_multiple(factor, source, target):
    """Adds a multiple of a row to another."""
    for i in range(source.shape[0]):
        target[i] += factor * source[i]


@inlined
def fire(potential, spikes):
    """Spikes s = H(v - v_th)."""
    for j in range(potential.shape[0]):
        spikes[j] = ONE if potential[j] > LEVEL else ZERO


@inlined
def membrane(potentials, synaptic, beta, soft, v, s, spikes):
    """Membrane potentials and spikes of a tick.

    Args:
        potentials: comes with the currents of static synapses, leaves with v(t), [n].
        synaptic: currents of all other synapses, [n].
        beta: membrane decays, [n].
        soft: whether spikes lower the potential by the threshold, instead of to zero.
        v: comes with v(t-1), leaves with v(t), [n].
        s: comes with s(t-1), leaves with s(t), [n].
        spikes: gets s(t), [n].
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
def membrane_adjoint(
    d_now, slopes, before, beta, soft, d_through, d_bias, d_beta, d_current
):
    """Gradients of a tick of the membrane.

    Args:
        d_now: `Membrane` of gradients to what the layer gives at this tick.
        slopes: surrogate derivatives, [n].
        before: `Membrane` of the tick before.
        beta: membrane decays, [n].
        soft: as of `membrane`.
        d_through: comes with the gradients to v(t) and s(t) through later ticks, leaves
            with those to v(t-1) and s(t-1).
        d_bias: the gradient to the bias is added, [n].
        d_beta: the gradient to beta is added, [n].
        d_current: gets the gradient to I(t), [n].
    """
    v, s = before.potential, before.spikes
    d_v, d_s = d_through.potential, d_through.spikes
    for j in range(beta.shape[0]):
        d = d_now.potential[j] + d_v[j] + slopes[j] * (d_now.spikes[j] + d_s[j])
        d_current[j] = d
        d_bias[j] += d
        kept = ONE if soft else ONE - s[j]
        d_beta[j] += d * v[j] * kept
        d_v[j] = d * beta[j] * kept
        d_s[j] = -LEVEL * d if soft else -d * beta[j] * v[j]


@inlined
def surrogate_slopes(surrogate, slope, potentials, slopes):
    """Surrogate derivatives of spikes.

    Args:
        surrogate: a number of `SURROGATE_CODES`.
        slope: of the surrogate, in 1 / potential.
        potentials: v, [n].
        slopes: gets the derivatives, [n].
    """
    # arctan's slope comes with its factor pi / 2, which must not be rounded to float32
    if surrogate == 0:
        for j in range(potentials.shape[0]):
            root = ONE + slope * abs(potentials[j] - LEVEL)
            slopes[j] = ONE / (root * root)
    elif surrogate == 1:
        for j in range(potentials.shape[0]):
            root = slope * (potentials[j] - LEVEL)
            slopes[j] = ONE / (ONE + root * root)
    elif surrogate == 2:
        for j in range(potentials.shape[0]):
            slopes[j] = max(ZERO, ONE - slope * abs(potentials[j] - LEVEL))
    else:
        for j in range(potentials.shape[0]):
            slopes[j] = ONE if abs(potentials[j] - LEVEL) < HALF / slope else ZERO


@inlined
def trace(decay, x, value):
    """Leaky mean p(t) = lp p(t-1) + (1-lp) x(t)."""
    for i in range(x.shape[0]):
        value[i] = decay * value[i] + (ONE - decay) * x[i]


@inlined
def trace_adjoint(decay, x, before, d_p, d_x):
    """Returns the gradient to the decay; d_p leaves as the gradient to p(t-1)."""
    total = ZERO
    for i in range(x.shape[0]):
        total += d_p[i] * (before[i] - x[i])
        d_x[i] += (ONE - decay) * d_p[i]
        d_p[i] = decay * d_p[i]
    return total


@inlined
def leak(decay, keep, before, s, now):
    """Readout z(t) = kappa z(t-1) + (1-kappa) s(t).

    Args:
        decay: kappa, [n].
        keep: 0 at an episode's start, else 1.
        before: z(t-1), [n].
        s: spikes, [n].
        now: gets z(t), [n].
    """
    for j in range(now.shape[0]):
        now[j] = decay[j] * (before[j] * keep) + (ONE - decay[j]) * s[j]


@inlined
def leak_adjoint(decay, keep, before, s, d_now, d_s, d_decay, through):
    """Adjoint of `leak`.

    Args:
        decay: kappa, [n].
        keep: 0 at an episode's start, else 1.
        before: z(t-1), [n].
        s: spikes, [n].
        d_now: gradient to z(t) at this tick, [n].
        d_s: gets the gradient to s(t), [n].
        d_decay: the gradient to kappa is added, [n].
        through: comes with the gradient to z(t) through later ticks, leaves with that
            to z(t-1).
    """
    for j in range(s.shape[0]):
        d = d_now[j] + through[j]
        d_s[j] = (ONE - decay[j]) * d
        d_decay[j] += d * (before[j] * keep - s[j])
        through[j] = decay[j] * keep * d


# Static synapses of all ticks at once, where few of the inputs are not zero. Their
# weights come as [presynaptic, neurons].


@kernel()
def count_active(like, length, address):
    """How many numbers are not zero.

    Args:
        like: a number of their type.
        length: how many there are.
        address: of the first.
    """
    x = at(address, (length,), like)
    count = 0
    for i in range(length):
        count += 1 if x[i] != ZERO else 0
    return count


@kernel()
def unchanged(like, compared):
    """Whether places in memory hold the bits that they held before.

    Args:
        like: a number of the type of a word, 32 bits.
        compared: int64 [places, 3]: address, address of a copy, length in words.
    """
    for k in range(compared.shape[0]):
        length = compared[k, 2]
        now = at(compared[k, 0], (length,), like)
        before = at(compared[k, 1], (length,), like)
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
            x[i_0],
            weights[i_0],
            x[i_1],
            weights[i_1],
            x[i_2],
            weights[i_2],
            x[i_3],
            weights[i_3],
            sums,
        )
    for k in range(whole, active):
        add_multiple(x[indices[k]], weights[indices[k]], sums)


@kernel()
def sparse_currents(like, rows, channels, neurons, table, indices):
    """Currents W x + b of static synapses, to where the potentials are.

    Args:
        like: a number of the type of all arrays.
        rows: how many inputs, ticks and environments together.
        channels: of the inputs.
        neurons: of the layer.
        table: addresses, a `TABLE`.
        indices: scratch memory, int [channels + 1].
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
):
    """Gradient to the static weights.

    Args:
        like: a number of the type of all arrays.
        rows: how many inputs, ticks and environments together.
        channels: of the inputs.
        neurons: of the layer.
        inputs: address of x, [rows, channels].
        d_currents: address of the gradient to currents, [rows, neurons].
        d_weight: address of what is written, [channels, neurons].
        indices: scratch memory, int [channels + 1].
    """
    x = at(inputs, (rows, channels), like)
    d = at(d_currents, (rows, neurons), like)
    gradient = at(d_weight, (channels, neurons), like)
    for i in range(channels):
        clear(gradient[i])
    for n in range(rows):
        for k in range(list_active(x[n], indices)):
            add_multiple(x[n, indices[k]], d[n], gradient[indices[k]])


# The leaky readout.


@kernel()
def leaky_forward(like, ticks, batch, neurons, table):
    """The readout at all ticks.

    Args:
        like: a number of the type of all arrays.
        ticks: T.
        batch: B.
        neurons: n.
        table: addresses, a `LEAKY_TABLE`.
    """
    row = table[0]
    spikes = at(row.spikes, (ticks, batch, neurons), like)
    starts = at(row.starts, (ticks, batch), like)
    decay = at(row.decay, (neurons,), like)
    value = at(row.before, (batch, neurons), like)
    values = at(row.values, (ticks, batch, neurons), like)
    for t in range(ticks):
        for b in range(batch):
            before = value[b] if t == 0 else values[t - 1, b]
            keep = ZERO if starts[t, b] > ZERO else ONE
            leak(decay, keep, before, spikes[t, b], values[t, b])


@kernel()
def leaky_backward(like, ticks, batch, neurons, table):
    """Gradients of `leaky_forward`, whose arguments it has.

    Gradients to the decay and through later ticks come with zeros.
    """
    row = table[0]
    spikes = at(row.spikes, (ticks, batch, neurons), like)
    starts = at(row.starts, (ticks, batch), like)
    decay = at(row.decay, (neurons,), like)
    value = at(row.before, (batch, neurons), like)
    values = at(row.values, (ticks, batch, neurons), like)
    d_values = at(row.d_values, (ticks, batch, neurons), like)
    d_spikes = at(row.d_spikes, (ticks, batch, neurons), like)
    d_decay = at(row.d_decay, (neurons,), like)
    through = at(row.through, (batch, neurons), like)
    for t in range(ticks - 1, -1, -1):
        for b in range(batch):
            before = value[b] if t == 0 else values[t - 1, b]
            keep = ZERO if starts[t, b] > ZERO else ONE
            leak_adjoint(
                decay,
                keep,
                before,
                spikes[t, b],
                d_values[t, b],
                d_spikes[t, b],
                d_decay,
                through[b],
            )


# What a step of a whole network, without gradients, needs besides.


@kernel()
def modulate(like, ticks, batch, channels, neurons, observed, seen, table, indices):
    """What multiplies the drive, and the targets of the rule.

    The drive is multiplied by eta, or by the neuromodulators, which the new state
    keeps. The target is the current v of second compartments, where the rule uses it.

    Args:
        like: a number of the type of all arrays.
        ticks: of an environment step.
        batch: environments.
        channels: of the layer's inputs.
        neurons: of the layer.
        observed: channels of the observation with its phases.
        seen: how many of them the neuromodulators see.
        table: addresses, a `TABLE`.
        indices: scratch memory, longer by one than `channels` and `seen`.
    """
    row = table[0]
    rate = at(row.rate, (ticks, batch, neurons), like)
    observations = at(row.observations, (ticks, batch, observed), like)
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
        for t in range(ticks):
            for i in range(seen):
                signals[i] = observations[t, b, exogenous[i]]
            if row.target != 0:
                copy(target_bias, target[t, b])
                add_active(target_weights, signals, indices, target[t, b])
            m = rate[t, b]
            if row.modulator_bias == 0:
                m[:] = at(row.eta, (1,), like)[0] * active
                continue
            old_m = row.old + row.old_modulation + offset
            new_m = row.new + row.new_modulation + offset
            before = at(old_m, (ticks, neurons), like)[t]
            after = at(new_m, (ticks, neurons), like)[t]
            copy(bias, m)
            add_active(weights, signals, indices, m)
            add_active(synapses, inputs[t, b], indices, m)
            for j in range(neurons):
                after[j] = before[j] if held else math.tanh(m[j])
                m[j] = after[j] * active


@kernel()
def read_out(like, ticks, batch, neurons, width, table):
    """The leaky readout, and the features; copies the flags, which no step changes.

    Args:
        like: a number of the type of all arrays.
        ticks: of an environment step.
        batch: environments.
        neurons: of the last layer.
        width: of the features [batch, width]: the readout, and where there is room for
            them the membrane potentials.
        table: addresses, a `TABLE`.
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
