"""One tick of plastic synapses, and its adjoint.

Neurons are taken in blocks of `LANES`, and the synapses of a block are stored as [presynaptic,
LANES], so that the inner loops run over neurons, need no sum, and skip presynaptic channels that
are silent. With r the rate, and D = A + C F the rule's drive (of a rule that recalls, C F with
what the recalled current y = F p adds along p), a tick is

    direct                    F <- clip(F + r A + |r| C F)
    retroactive               F <- clip(F + r e + |r| C F),  e <- (1-eta) e + eta A
    direct, plain decay       F <- clip(F + r (A + C F))
    retroactive, plain decay  F <- clip(F + r e),            e <- (1-eta) e + eta (A + C F)
"""

from typing import Any, NamedTuple

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

    k + a p + b x + o P is added to F, or to e where there is one; c + m p + y x multiplies F, where
    c comes with the 1 of what is kept; r multiplies e; g p is added to F where `APART`. An array
    for each, since Numba tells LLVM only of whole arrays that they do not overlap.
    """

    k: Any
    a: Any
    b: Any
    c: Any
    m: Any
    y: Any
    r: Any
    g: Any
    o: Any


@spliced
def terms_of(rows):
    """The terms in an array [TERMS, LANES]."""
    last = rows[TERMS - 1]  # of kinds without o any
    return Terms(
        rows[0], rows[1], rows[2], rows[3], rows[4], rows[5], rows[6], rows[7], last
    )


# One synapse.


@spliced
def added(u, own, i, j, p, x, mean):
    """Sum k + a p + b x + o P."""
    total = ZERO
    if HAS_K:
        total += u.k[j]
    if HAS_A:
        total += u.a[j] * p * weight_a(own, i, j) if WEIGHTED_A else u.a[j] * p
    if HAS_B:
        total += u.b[j] * x
    if HAS_O:
        total += u.o[j] * mean
    return total


@spliced
def factor(u, own, i, j, p, x):
    """Sum c + m p + y x."""
    total = ONE if SHRINKS else ZERO
    if WEIGHTED_C:
        total += u.c[j] * weight_c(own, i, j)
    elif HAS_C:
        total = u.c[j]
    if HAS_M:
        total += u.m[j] * p
    if HAS_Y:
        total += u.y[j] * x
    return total


@spliced
def moved(u, own, i, j, p, x, mean, f, e):
    """The fast weight after the tick, before the clip."""
    kept = factor(u, own, i, j, p, x) * f if SHRINKS else f
    if APART:
        kept += u.g[j] * p
    return kept + (u.r[j] * e if RETROACTIVE else added(u, own, i, j, p, x, mean))


@spliced
def remembered(u, own, i, j, p, x, mean, f, e, decay):
    """The eligibility after the tick."""
    new = decay * e + added(u, own, i, j, p, x, mean)
    return new if SHRINKS else new + factor(u, own, i, j, p, x) * f


@spliced
def added_adjoint(u, d, own, d_own, i, j, p, x, gradient):
    """Gradients to the terms, in d, to p and x, and to what is the synapse's own, from that to
    k + a p + b x.
    """
    d_p, d_x = ZERO, ZERO
    if HAS_K:
        d.k[j] += gradient
    if WEIGHTED_A:
        weighted = gradient * weight_a(own, i, j)
        d.a[j] += weighted * p
        d_p += weighted * u.a[j]
        weight_a_adjoint(own, d_own, i, j, gradient * u.a[j] * p)
    elif HAS_A:
        d.a[j] += gradient * p
        d_p += gradient * u.a[j]
    if HAS_B:
        d.b[j] += gradient * x
        d_x += gradient * u.b[j]
    return d_p, d_x


@spliced
def factor_adjoint(u, d, own, d_own, i, j, p, x, gradient):
    """The same from that to c + m p + y x."""
    d_p, d_x = ZERO, ZERO
    if WEIGHTED_C:
        d.c[j] += gradient * weight_c(own, i, j)
        weight_c_adjoint(own, d_own, i, j, gradient * u.c[j])
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
def update(fast, eligibility, u, own, p, x, means, decay, clip):
    """Fast weights and eligibilities of the next tick, in their places."""
    for i in range(fast.shape[0]):
        p_i, x_i, mean = p[i], x[i], means[i] if PRE_MEAN else p[i]
        for j in range(LANES):
            f = fast[i, j]
            e = eligibility[i, j] if RETROACTIVE else f
            fast[i, j] = min(
                max(moved(u, own, i, j, p_i, x_i, mean, f, e), -clip), clip
            )
            if RETROACTIVE:
                eligibility[i, j] = remembered(
                    u, own, i, j, p_i, x_i, mean, f, e, decay
                )


@inlined
def update_into(
    fast, eligibility, u, own, p, x, means, decay, clip, updated, updated_eligibility
):  # fmt: skip
    """The same, in other places (arrays that are handed to a function must not overlap)."""
    for i in range(fast.shape[0]):
        p_i, x_i, mean = p[i], x[i], means[i] if PRE_MEAN else p[i]
        for j in range(LANES):
            f = fast[i, j]
            e = eligibility[i, j] if RETROACTIVE else f
            updated[i, j] = min(
                max(moved(u, own, i, j, p_i, x_i, mean, f, e), -clip), clip
            )
            if RETROACTIVE:
                updated_eligibility[i, j] = remembered(
                    u, own, i, j, p_i, x_i, mean, f, e, decay
                )


@inlined
def update_adjoint(
    fast, eligibility, u, own, p, x, means, decay, clip, d_fast, d_eligibility, d, d_own, d_decay,
    d_p, d_x, d_means,
):  # fmt: skip
    """Takes fast weights and eligibilities before the tick. d_fast and d_eligibility come with the
    gradients to those after it, and leave with the gradients to those before it.
    """
    for i in range(fast.shape[0]):
        p_i, x_i, mean = p[i], x[i], means[i] if PRE_MEAN else p[i]
        sum_p, sum_x, sum_mean = ZERO * p_i, ZERO * p_i, ZERO * p_i
        for j in range(LANES):
            f = fast[i, j]
            e = eligibility[i, j] if RETROACTIVE else f
            unclipped = moved(u, own, i, j, p_i, x_i, mean, f, e)
            inside = min(max(unclipped, -clip), clip) == unclipped
            d_f = d_fast[i, j] if inside else ZERO * p_i
            d_e = d_eligibility[i, j] if RETROACTIVE else d_f
            through = d_f if SHRINKS else d_e  # the gradient to what C F goes to
            to_p, to_x = added_adjoint(u, d, own, d_own, i, j, p_i, x_i, d_e)
            decay_p, decay_x = factor_adjoint(
                u, d, own, d_own, i, j, p_i, x_i, through * f
            )
            sum_p += to_p + decay_p
            sum_x += to_x + decay_x
            if HAS_O:
                d.o[j] += d_e * mean
                sum_mean += d_e * u.o[j]
            if APART:
                d.g[j] += d_f * p_i
                sum_p += d_f * u.g[j]
            before = factor(u, own, i, j, p_i, x_i) * through
            fast_before = before if SHRINKS else d_f + before
            d_fast[i, j] = fast_before
            if RETROACTIVE:
                d.r[j] += d_f * e
                d_decay[j] += d_e * e
                d_eligibility[i, j] = d_f * u.r[j] + decay * d_e
        if HAS_A or HAS_M:
            d_p[i] += sum_p
        if HAS_B or HAS_Y:
            d_x[i] += sum_x
        if HAS_O:
            d_means[i] += sum_mean


@spliced
def effective(feedback, gain, fast, i, j, means, post_means):
    """Weight of a synapse that is not among the static ones of the inputs: V, alpha F, or both."""
    total = ZERO
    if RECURRENT:
        total += feedback[i, j]
    if WEIGHS:
        total += gain[i, j] * worth(fast[i, j], means, i, post_means, j)
    elif PLASTIC:
        total += gain[i, j] * fast[i, j]
    return total


@spliced
def worth(f, means, i, post_means, j):
    """What a fast weight does, of a rule that says so."""
    return weight(f, means[i] if PRE_MEAN else f, post_means[j] if POST_MEAN else f)


@spliced
def worth_slopes(f, means, i, post_means, j):
    """Its derivatives to f and to the means."""
    return weight_slopes(
        f, means[i] if PRE_MEAN else f, post_means[j] if POST_MEAN else f
    )


@inlined
def currents(feedback, gain, fast, x, means, post_means, current):
    """Adds what the synapses give."""
    for i in range(x.shape[0]):
        x_i = x[i]
        if x_i != ZERO:
            for j in range(LANES):
                current[j] += x_i * effective(
                    feedback, gain, fast, i, j, means, post_means
                )


@inlined
def currents_adjoint(
    feedback, gain, fast, x, means, post_means, d_current, d_gain, d_fast, d_x, d_means,
    d_post_means, wanted,
):  # fmt: skip
    """Gradients to gains, fast weights, means and, if wanted, x; those to static weights are taken
    elsewhere.
    """
    for i in range(x.shape[0]):
        x_i = x[i]
        if wanted:
            total = ZERO * x_i
            for j in range(LANES):
                total += d_current[j] * effective(
                    feedback, gain, fast, i, j, means, post_means
                )
            d_x[i] += total
        if WEIGHS and x_i != ZERO:
            sum_mean = ZERO * x_i
            for j in range(LANES):
                d, f = d_current[j] * x_i, fast[i, j]
                d_gain[i, j] += d * worth(f, means, i, post_means, j)
                to_f, to_mean, to_post_mean = worth_slopes(f, means, i, post_means, j)
                d *= gain[i, j]
                d_fast[i, j] += d * to_f
                sum_mean += d * to_mean
                if POST_MEAN:
                    d_post_means[j] += d * to_post_mean
            if PRE_MEAN:
                d_means[i] += sum_mean
        elif PLASTIC and x_i != ZERO:
            for j in range(LANES):
                d = d_current[j] * x_i
                d_gain[i, j] += d * fast[i, j]
                d_fast[i, j] += d * gain[i, j]


@inlined
def recall(fast, p, recalled):
    """What the fast weights give where the traces are their input, y = F p."""
    for j in range(LANES):
        recalled[j] = ZERO
    for i in range(p.shape[0]):
        p_i = p[i]
        for j in range(LANES):
            recalled[j] += fast[i, j] * p_i


@inlined
def recall_adjoint(fast, p, d_recalled, d_power, d_fast, d_p):
    """Gradients to fast weights and traces, from those to y and to |p|^2."""
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


@inlined
def terms(decays, w, rate, s, q, theta, recalled, power, target, post_means, u):
    """The terms of the update after a tick, from traces after it."""
    eta = decays[3]
    for j in range(rate.shape[0]):
        n = post_means[j] if POST_MEAN else q[j]
        k, a, b, c, m, y, o, g = drive(
            q[j], theta[j], s[j], recalled[j], power, target[j], n, w
        )
        r = rate[j]
        up = eta if RETROACTIVE else r
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
def terms_adjoint(
    decays, w, rate, s, q, theta, recalled, power, target, post_means, d, d_decay, d_w, d_q,
    d_theta, d_s, d_recalled, d_target, d_post_means, d_rate, d_eta,
):  # fmt: skip
    """Adds the gradients to q, theta, s, w, eta, the mean and the rate; puts those to y and v in
    their places, and returns that to pp.
    """
    eta, d_power = decays[3], ZERO * power
    for j in range(rate.shape[0]):
        n = post_means[j] if POST_MEAN else q[j]
        k, a, b, c, m, y, o, g = drive(
            q[j], theta[j], s[j], recalled[j], power, target[j], n, w
        )
        r = rate[j]
        up = eta if RETROACTIVE else r
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
            d_eta[j] += d_up - d_decay[j]
            d_rate[j] += d_r + d.r[j]
        else:
            d_rate[j] += d_r + d_up
        to_q, to_theta, to_s, to_y, to_pp, to_v, to_post_mean = drive_adjoint(
            q[j], theta[j], s[j], recalled[j], power, target[j], n, w, up * d.k[j], up * d.a[j],
            up * d.b[j], down * d.c[j], down * d.m[j], down * d.y[j], up * d_o, down * d_g, d_w, j,
        )  # fmt: skip
        d_q[j] += to_q
        d_theta[j] += to_theta
        d_s[j] += to_s
        if RECALLS:
            d_recalled[j] = to_y
        if NORMALISES:
            d_power += to_pp
        if TARGETED:
            d_target[j] = to_v
        if POST_MEAN:
            d_post_means[j] += to_post_mean
    return d_power


@inlined
def traces(decays, s, q, theta):
    """Postsynaptic trace, and the sliding mean of its square."""
    trace(decays[1], s, q)
    for j in range(s.shape[0]):
        theta[j] = decays[2] * theta[j] + (ONE - decays[2]) * q[j] * q[j]


@inlined
def traces_adjoint(
    decays, s, q, q_before, theta_before, d_q, d_theta, d_s, d_post_decay, d_threshold_decay
):  # fmt: skip
    """d_q and d_theta come with the gradients to q(t) and theta(t), leave with those of t-1."""
    for j in range(s.shape[0]):
        to_theta = d_theta[j]
        to_q = d_q[j] + TWO * (ONE - decays[2]) * q[j] * to_theta
        d_threshold_decay[j] += to_theta * (theta_before[j] - q[j] * q[j])
        d_post_decay[j] += to_q * (q_before[j] - s[j])
        d_theta[j] = decays[2] * to_theta
        d_q[j] = decays[1] * to_q
        d_s[j] += (ONE - decays[1]) * to_q
