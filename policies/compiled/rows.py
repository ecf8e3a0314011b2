"""One tick of a row of neurons, and its adjoint: membrane, spikes, traces, leak.

An adjoint takes the gradients to what a function returns and gives those to what it took; `d_x` is
the gradient to `x`. Gradients through later ticks come in an argument, and leave in it as those
through this one.
"""

import numpy as np

from spikepropamine.policies.compiled.numba_private import inlined, spliced
from spikepropamine.policies.neurons import THRESHOLD

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
    """Slow mean P(t) = P(t-1) + a |r| (x(t) - P(t-1)), with a rate of each."""
    for i in range(rate.shape[0]):
        value[i] += share * abs(rate[i]) * (x[i] - value[i])


@inlined
def mean_adjoint(share, rate, x, before, d_value, d_x, d_rate):
    """Returns the gradient to the share, and adds that to the rate; d_value leaves as the gradient
    to P(t-1).
    """
    total = ZERO * share
    for i in range(rate.shape[0]):
        r = rate[i]
        d, error = d_value[i], x[i] - before[i]
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
    """Membrane potentials and spikes; `potentials` comes with the currents of static synapses,
    `synaptic` has the rest, v and s come with the values of the tick before.
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
    d_spikes, d_potentials, slopes, before, fired_before, beta, soft, d_v, d_s, d_bias, d_beta,
    d_current,
):  # fmt: skip
    """Takes d_v and d_s, the gradients to v(t) and s(t) through later ticks, and leaves in them
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
def surrogate_slopes(surrogate, slope, potentials, slopes):
    """Surrogate derivatives of the spikes."""
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
    """Readout z(t) = kappa z(t-1) + (1-kappa) s(t); keep is 0 where an episode starts."""
    for j in range(now.shape[0]):
        now[j] = decay[j] * (before[j] * keep) + (ONE - decay[j]) * s[j]


@inlined
def leak_adjoint(decay, keep, before, s, d_now, d_s, d_decay, through):
    """Adjoint of `leak`; `through` comes with the gradient to z(t), leaves with that to z(t-1)."""
    for j in range(s.shape[0]):
        d = d_now[j] + through[j]
        d_s[j] = (ONE - decay[j]) * d
        d_decay[j] += d * (before[j] * keep - s[j])
        through[j] = decay[j] * keep * d
