"""One tick of plastic synapses, and its adjoint.

Neurons are taken in blocks of `LANES`, and the synapses of a block are stored as
[presynaptic, LANES], so that the inner loops run over neurons, need no sum, and skip
presynaptic channels that are silent. With r the rate, and D = A + C F the rule's drive
(of a rule that recalls, C F with what the recalled current y = F p adds along p), a
tick is

    direct                    F <- clip(F + r A + |r| C F)
    retroactive               F <- clip(F + r e + |r| C F)
                              e <- (1-eta) e + eta A
    direct, plain decay       F <- clip(F + r (A + C F))
    retroactive, plain decay  F <- clip(F + r e)
                              e <- (1-eta) e + eta (A + C F)
"""

# Numba finds out the types of what it compiles.
# mypy: allow-untyped-defs, allow-incomplete-defs, allow-untyped-decorators
# mypy: allow-untyped-calls

from typing import NamedTuple

import numpy as np

from spikepropamine.policies.compiled.numba_private import inlined, spliced
from spikepropamine.policies.compiled.rows import ONE, TWO, ZERO, trace

from .kind import (
    CONTRACTING,
    HAS_A,
    HAS_B,
    HAS_C,
    HAS_G,
    HAS_K,
    HAS_M,
    HAS_O,
    HAS_Y,
    NORMALISES,
    PLASTIC,
    POST_MEAN,
    PRE_MEAN,
    RECALLS,
    RECURRENT,
    RETROACTIVE,
    TARGETED,
    WEIGHS,
    WEIGHTED_A,
    WEIGHTED_C,
    drive,
    drive_adjoint,
    weight,
    weight_a,
    weight_a_adjoint,
    weight_c,
    weight_c_adjoint,
    weight_slopes,
)  # fmt: skip

LANES = 64  # a constant, so that the inner loops unroll into whole vectors
SHRINKS = (
    CONTRACTING or not RETROACTIVE
)  # C F goes to F itself, and not to the eligibility
APART = HAS_G and SHRINKS and RETROACTIVE  # so does g p; else it is part of a p
TERMS = 9 if HAS_O else 8


class Terms(NamedTuple):
    """The terms of an update, or the gradients to them, one number a neuron.

    k + a p + b x + o P is added to F, or to e where there is one; c + m p + y x
    multiplies F, where c comes with the 1 of what is kept; r multiplies e; g p is added
    to F where `APART`. An array for each, since Numba tells LLVM only of whole arrays
    that they do not overlap.
    """

    k: np.ndarray
    a: np.ndarray
    b: np.ndarray
    c: np.ndarray
    m: np.ndarray
    y: np.ndarray
    r: np.ndarray
    g: np.ndarray
    o: np.ndarray


@spliced
def terms_of(rows):
    """The terms in an array [TERMS, LANES]."""
    last = rows[TERMS - 1]  # of kinds without o any
    return Terms(
        rows[0], rows[1], rows[2], rows[3], rows[4], rows[5], rows[6], rows[7], last
    )


# One synapse, from presynaptic channel i to the neuron of lane j. `u` are the `Terms`
# of the update, `d` the gradients to them; `synaptic` the coefficients of synapses; p,
# x and `mean` what channel i has in `Presynaptic`; f and e the fast weight and the
# eligibility.


@spliced
def added(u, synaptic, i, j, p, x, mean):
    """Sum k + a p + b x + o P."""
    total = ZERO
    if HAS_K:
        total += u.k[j]
    if HAS_A:
        total += u.a[j] * p * weight_a(synaptic, i, j) if WEIGHTED_A else u.a[j] * p
    if HAS_B:
        total += u.b[j] * x
    if HAS_O:
        total += u.o[j] * mean
    return total


@spliced
def factor(u, synaptic, i, j, p, x):
    """Sum c + m p + y x."""
    total = ONE if SHRINKS else ZERO
    if WEIGHTED_C:
        total += u.c[j] * weight_c(synaptic, i, j)
    elif HAS_C:
        total = u.c[j]
    if HAS_M:
        total += u.m[j] * p
    if HAS_Y:
        total += u.y[j] * x
    return total


@spliced
def moved(u, synaptic, i, j, p, x, mean, f, e):
    """The fast weight after the tick, before the clip."""
    kept = factor(u, synaptic, i, j, p, x) * f if SHRINKS else f
    if APART:
        kept += u.g[j] * p
    return kept + (u.r[j] * e if RETROACTIVE else added(u, synaptic, i, j, p, x, mean))


@spliced
def remembered(u, synaptic, i, j, p, x, mean, f, e, decay):
    """The eligibility after the tick."""
    new = decay * e + added(u, synaptic, i, j, p, x, mean)
    return new if SHRINKS else new + factor(u, synaptic, i, j, p, x) * f


@spliced
def added_adjoint(u, d, synaptic, d_synaptic, i, j, p, x, gradient):
    """Gradients to the terms, in d, to p and x, and to what is one synapse's, from
    that to k + a p + b x.
    """
    d_p, d_x = ZERO, ZERO
    if HAS_K:
        d.k[j] += gradient
    if WEIGHTED_A:
        weighted = gradient * weight_a(synaptic, i, j)
        d.a[j] += weighted * p
        d_p += weighted * u.a[j]
        weight_a_adjoint(synaptic, d_synaptic, i, j, gradient * u.a[j] * p)
    elif HAS_A:
        d.a[j] += gradient * p
        d_p += gradient * u.a[j]
    if HAS_B:
        d.b[j] += gradient * x
        d_x += gradient * u.b[j]
    return d_p, d_x


@spliced
def factor_adjoint(u, d, synaptic, d_synaptic, i, j, p, x, gradient):
    """The same from that to c + m p + y x."""
    d_p, d_x = ZERO, ZERO
    if WEIGHTED_C:
        d.c[j] += gradient * weight_c(synaptic, i, j)
        weight_c_adjoint(synaptic, d_synaptic, i, j, gradient * u.c[j])
    elif HAS_C:
        d.c[j] += gradient
    if HAS_M:
        d.m[j] += gradient * p
        d_p += gradient * u.m[j]
    if HAS_Y:
        d.y[j] += gradient * x
        d_x += gradient * u.y[j]
    return d_p, d_x


# A block of synapses.


@inlined
def update(synapses, u, synaptic, before, keep, clip):
    """Fast weights and eligibilities of the next tick, in their places.

    Args:
        synapses: `Synapses` of a block; changed.
        u: `Terms` of the update.
        synaptic: coefficients of the block's synapses.
        before: `Presynaptic` before the tick.
        keep: what an eligibility keeps, 1 - eta.
        clip: bound of the fast weights.
    """
    fast = synapses.fast_weights
    eligibility = synapses.eligibility
    for i in range(fast.shape[0]):
        p_i, x_i = before.pre[i], before.x[i]
        mean = before.pre_mean[i] if PRE_MEAN else p_i
        for j in range(LANES):
            f = fast[i, j]
            e = eligibility[i, j] if RETROACTIVE else f
            f_after = moved(u, synaptic, i, j, p_i, x_i, mean, f, e)
            fast[i, j] = min(max(f_after, -clip), clip)
            if RETROACTIVE:
                eligibility[i, j] = remembered(
                    u, synaptic, i, j, p_i, x_i, mean, f, e, keep
                )


@inlined
def update_into(synapses, u, synaptic, before, keep, clip, updated):
    """`update` in other places, since arrays that a function gets must not overlap."""
    fast = synapses.fast_weights
    eligibility = synapses.eligibility
    for i in range(fast.shape[0]):
        p_i, x_i = before.pre[i], before.x[i]
        mean = before.pre_mean[i] if PRE_MEAN else p_i
        for j in range(LANES):
            f = fast[i, j]
            e = eligibility[i, j] if RETROACTIVE else f
            f_after = moved(u, synaptic, i, j, p_i, x_i, mean, f, e)
            updated.fast_weights[i, j] = min(max(f_after, -clip), clip)
            if RETROACTIVE:
                updated.eligibility[i, j] = remembered(
                    u, synaptic, i, j, p_i, x_i, mean, f, e, keep
                )


@inlined
def update_adjoint(
    synapses,
    u,
    synaptic,
    before,
    keep,
    clip,
    d_synapses,
    d,
    d_synaptic,
    d_keep,
    d_before,
):
    """Adjoint of `update`.

    Args:
        synapses: `Synapses` before the tick.
        u: `Terms` of the update.
        synaptic: coefficients of the block's synapses.
        before: `Presynaptic` before the tick.
        keep: what an eligibility keeps, 1 - eta.
        clip: bound of the fast weights.
        d_synapses: comes with the gradients to those after the tick, leaves with those
            to those before it.
        d: gradients to the terms are added.
        d_synaptic: gradients to the coefficients of synapses are added.
        d_keep: the gradient to `keep` is added, [LANES].
        d_before: gradients to the presynaptic side are added.
    """
    fast = synapses.fast_weights
    eligibility = synapses.eligibility
    d_fast = d_synapses.fast_weights
    d_eligibility = d_synapses.eligibility
    for i in range(fast.shape[0]):
        p_i, x_i = before.pre[i], before.x[i]
        mean = before.pre_mean[i] if PRE_MEAN else p_i
        sum_p, sum_x, sum_mean = ZERO * p_i, ZERO * p_i, ZERO * p_i
        for j in range(LANES):
            f = fast[i, j]
            e = eligibility[i, j] if RETROACTIVE else f
            unclipped = moved(u, synaptic, i, j, p_i, x_i, mean, f, e)
            inside = min(max(unclipped, -clip), clip) == unclipped
            d_f = d_fast[i, j] if inside else ZERO * p_i
            d_e = d_eligibility[i, j] if RETROACTIVE else d_f
            through = d_f if SHRINKS else d_e  # the gradient to what C F goes to
            to_p, to_x = added_adjoint(u, d, synaptic, d_synaptic, i, j, p_i, x_i, d_e)
            decay_p, decay_x = factor_adjoint(
                u, d, synaptic, d_synaptic, i, j, p_i, x_i, through * f
            )
            sum_p += to_p + decay_p
            sum_x += to_x + decay_x
            if HAS_O:
                d.o[j] += d_e * mean
                sum_mean += d_e * u.o[j]
            if APART:
                d.g[j] += d_f * p_i
                sum_p += d_f * u.g[j]
            through_f = factor(u, synaptic, i, j, p_i, x_i) * through
            d_fast[i, j] = through_f if SHRINKS else d_f + through_f
            if RETROACTIVE:
                d.r[j] += d_f * e
                d_keep[j] += d_e * e
                d_eligibility[i, j] = d_f * u.r[j] + keep * d_e
        if HAS_A or HAS_M:
            d_before.pre[i] += sum_p
        if HAS_B or HAS_Y:
            d_before.x[i] += sum_x
        if HAS_O:
            d_before.pre_mean[i] += sum_mean


@spliced
def effective(weights, i, j, pre_mean, post_mean):
    """Weight of a synapse that is not among the static ones of the inputs: V, alpha F,
    or both.
    """
    total = ZERO
    if RECURRENT:
        total += weights.recurrent[i, j]
    if WEIGHS:
        total += weights.gain[i, j] * worth(
            weights.fast[i, j], pre_mean, i, post_mean, j
        )
    elif PLASTIC:
        total += weights.gain[i, j] * weights.fast[i, j]
    return total


@spliced
def worth(f, pre_mean, i, post_mean, j):
    """What a fast weight does, of a rule that says so."""
    return weight(f, pre_mean[i] if PRE_MEAN else f, post_mean[j] if POST_MEAN else f)


@spliced
def worth_slopes(f, pre_mean, i, post_mean, j):
    """Its derivatives to f and to the means."""
    return weight_slopes(
        f, pre_mean[i] if PRE_MEAN else f, post_mean[j] if POST_MEAN else f
    )


@inlined
def currents(weights, before, post_mean, current):
    """Adds the currents that the synapses of a block give.

    Args:
        weights: `Weights` of the block.
        before: `Presynaptic` at this tick.
        post_mean: Q, [LANES].
        current: to which they are added, [LANES].
    """
    for i in range(before.x.shape[0]):
        x_i = before.x[i]
        if x_i != ZERO:
            for j in range(LANES):
                current[j] += x_i * effective(weights, i, j, before.pre_mean, post_mean)


@inlined
def currents_adjoint(
    weights, before, post_mean, d_current, d_gain, d_fast, d_before, d_post_mean, wanted
):
    """Gradients to gains, fast weights, means and x; those to static weights are taken
    elsewhere.

    Args:
        weights: `Weights` of the block.
        before: `Presynaptic` at this tick.
        post_mean: Q, [LANES].
        d_current: gradient to the currents, [LANES].
        d_gain: the gradient to gains is added.
        d_fast: the gradient to fast weights is added.
        d_before: gradients to the presynaptic side are added.
        d_post_mean: the gradient to Q is added.
        wanted: whether the gradient to x is.
    """
    gain = weights.gain
    fast = weights.fast
    for i in range(before.x.shape[0]):
        x_i = before.x[i]
        if wanted:
            total = ZERO * x_i
            for j in range(LANES):
                total += d_current[j] * effective(
                    weights, i, j, before.pre_mean, post_mean
                )
            d_before.x[i] += total
        if WEIGHS and x_i != ZERO:
            sum_mean = ZERO * x_i
            for j in range(LANES):
                d = d_current[j] * x_i
                f = fast[i, j]
                d_gain[i, j] += d * worth(f, before.pre_mean, i, post_mean, j)
                to_f, to_mean, to_post_mean = worth_slopes(
                    f, before.pre_mean, i, post_mean, j
                )
                d *= gain[i, j]
                d_fast[i, j] += d * to_f
                sum_mean += d * to_mean
                if POST_MEAN:
                    d_post_mean[j] += d * to_post_mean
            if PRE_MEAN:
                d_before.pre_mean[i] += sum_mean
        elif PLASTIC and x_i != ZERO:
            for j in range(LANES):
                d = d_current[j] * x_i
                d_gain[i, j] += d * fast[i, j]
                d_fast[i, j] += d * gain[i, j]


@inlined
def recall(fast, p, recalled):
    """What the fast weights give where the traces are their input, y = F p.

    Args:
        fast: F of a block, [presynaptic, LANES].
        p: [presynaptic].
        recalled: gets y, [LANES].
    """
    for j in range(LANES):
        recalled[j] = ZERO
    for i in range(p.shape[0]):
        p_i = p[i]
        for j in range(LANES):
            recalled[j] += fast[i, j] * p_i


@inlined
def recall_adjoint(fast, p, d_recalled, d_power, d_fast, d_p):
    """Adjoint of `recall` and of |p|^2.

    Args:
        fast: F of a block, [presynaptic, LANES].
        p: [presynaptic].
        d_recalled: gradient to y, [LANES].
        d_power: gradient to |p|^2.
        d_fast: the gradient to F is added.
        d_p: the gradient to p is added.
    """
    for i in range(p.shape[0]):
        p_i = p[i]
        total = ZERO * p_i
        if RECALLS:
            for j in range(LANES):
                total += d_recalled[j] * fast[i, j]
                d_fast[i, j] += d_recalled[j] * p_i
        d_p[i] += total + TWO * d_power * p_i


@inlined
def power_of(p):
    """Sum of squares |p|^2."""
    total = ZERO * p[0]
    if NORMALISES:
        for i in range(p.shape[0]):
            total += p[i] * p[i]
    return total


# A row of neurons.


@spliced
def drive_of(after, power, w, j):
    """The coefficients of neuron j's drive, in the order of `derive.TERMS`, and g."""
    return drive(
        after.post[j],
        after.threshold[j],
        after.spikes[j],
        after.recalled[j],
        power,
        after.target[j],
        after.post_mean[j] if POST_MEAN else after.post[j],
        w,
    )


@inlined
def terms(decays, w, after, power, u):
    """The terms of the update after a tick, from traces after it.

    Args:
        decays: `Decays` of the layer.
        w: the rule's coefficients.
        after: `Postsynaptic` of the block.
        power: |p|^2.
        u: `Terms` to fill.
    """
    for j in range(after.rate.shape[0]):
        k, a, b, c, m, y, o, g = drive_of(after, power, w, j)
        r = after.rate[j]
        up = decays.eta if RETROACTIVE else r
        down = abs(r) if CONTRACTING else up
        u.k[j], u.a[j], u.b[j] = up * k, up * a, up * b
        kept = ONE if SHRINKS and not WEIGHTED_C else ZERO
        u.c[j], u.m[j], u.y[j] = kept + down * c, down * m, down * y
        u.r[j] = r
        if HAS_O:
            u.o[j] = up * o
        if APART:
            u.g[j] = down * g
        elif HAS_G:
            u.a[j] += down * g


@inlined
def terms_adjoint(decays, w, after, power, d, d_keep, d_after, sums):
    """Adjoint of `terms`.

    Args:
        decays: `Decays` of the layer.
        w: the rule's coefficients.
        after: `Postsynaptic` of the block.
        power: |p|^2.
        d: gradients to the terms.
        d_keep: gradient to what an eligibility keeps, [LANES].
        d_after: gradients to q, theta, s, the mean and the rate are added; those to y
            and v are written.
        sums: `Sums`; gradients to eta and w are added.

    Returns:
        The gradient to the power.
    """
    d_power = ZERO * power
    for j in range(after.rate.shape[0]):
        k, a, b, c, m, y, o, g = drive_of(after, power, w, j)
        r = after.rate[j]
        up = decays.eta if RETROACTIVE else r
        down = abs(r) if CONTRACTING else up
        d_up = d.k[j] * k + d.a[j] * a + d.b[j] * b
        d_o = d.o[j] if HAS_O else ZERO * r
        if HAS_O:
            d_up += d_o * o
        d_down = d.c[j] * c + d.m[j] * m + d.y[j] * y
        d_g = d.g[j] if APART else d.a[j]
        if HAS_G:
            d_down += d_g * g
        if CONTRACTING:
            d_r = d_down if r > ZERO else (-d_down if r < ZERO else ZERO)
        else:
            d_up, d_r = d_up + d_down, ZERO
        if RETROACTIVE:
            sums.eta[j] += d_up - d_keep[j]
            d_after.rate[j] += d_r + d.r[j]
        else:
            d_after.rate[j] += d_r + d_up
        to_q, to_theta, to_s, to_y, to_pp, to_v, to_post_mean = drive_adjoint(
            after.post[j],
            after.threshold[j],
            after.spikes[j],
            after.recalled[j],
            power,
            after.target[j],
            after.post_mean[j] if POST_MEAN else after.post[j],
            w,
            up * d.k[j],
            up * d.a[j],
            up * d.b[j],
            down * d.c[j],
            down * d.m[j],
            down * d.y[j],
            up * d_o,
            down * d_g,
            sums.coefficients,
            j,
        )
        d_after.post[j] += to_q
        d_after.threshold[j] += to_theta
        d_after.spikes[j] += to_s
        if RECALLS:
            d_after.recalled[j] = to_y
        if NORMALISES:
            d_power += to_pp
        if TARGETED:
            d_after.target[j] = to_v
        if POST_MEAN:
            d_after.post_mean[j] += to_post_mean
    return d_power


@inlined
def traces(decays, s, q, theta):
    """Postsynaptic trace, and the sliding mean of its square."""
    trace(decays.post_decay, s, q)
    decay = decays.threshold_decay
    for j in range(s.shape[0]):
        theta[j] = decay * theta[j] + (ONE - decay) * q[j] * q[j]


@inlined
def traces_adjoint(decays, after, q_before, theta_before, d_after, sums):
    """Adjoint of `traces`.

    Args:
        decays: `Decays` of the layer.
        after: `Postsynaptic` of the block.
        q_before: q(t-1), [LANES].
        theta_before: theta(t-1), [LANES].
        d_after: comes with gradients to q(t) and theta(t), leaves with those to q(t-1)
            and theta(t-1); that to s(t) is added.
        sums: `Sums`; gradients to the decays are added.
    """
    q, s = after.post, after.spikes
    post_decay = decays.post_decay
    threshold_decay = decays.threshold_decay
    for j in range(s.shape[0]):
        to_theta = d_after.threshold[j]
        to_q = d_after.post[j] + TWO * (ONE - threshold_decay) * q[j] * to_theta
        sums.threshold_decay[j] += to_theta * (theta_before[j] - q[j] * q[j])
        sums.post_decay[j] += to_q * (q_before[j] - s[j])
        d_after.threshold[j] = threshold_decay * to_theta
        d_after.post[j] = post_decay * to_q
        d_after.spikes[j] += (ONE - post_decay) * to_q
