"""Layers over a sequence, and the gradients.

Sequences run environment by environment, and the fast weights of one lie in scratch memory while
its sequence is run. They are kept every `SEGMENT` ticks, and the backward pass recomputes what lies
between, so that nothing of size T x B x n x n is ever stored. Neurons of a layer that is not
recurrent do not see each other, so that each block runs its whole sequence by itself; of a
recurrent one, all blocks (a group) run side by side.

A kernel that is called without scratch memory only returns how many bytes of it it needs.
"""

from spikepropamine.policies.compiled import rows
from spikepropamine.policies.compiled.numba_private import at, carve, kernel, outlined
from spikepropamine.policies.compiled.rows import ONE, SEGMENT, ZERO

from . import block, tick
from .kind import (
    BIASES,
    COEFFICIENTS,
    NAME,
    NORMALISES,
    OWN,
    PLASTIC,
    POST_MEAN,
    PRE_MEAN,
    RECALLS,
    RECURRENT,
    RETROACTIVE,
    bias,
    bias_adjoint,
    matrices_of,
)  # fmt: skip
from .tick import LANES


@outlined
def fetch_traces(row, neurons, first, b, q, theta, p, pre_mean, post_mean):
    """Traces and means before a sequence: those of a group's neurons, and of what they see."""
    old_p = row.old + row.old_pre + b * row.old_pre_stride
    rows.copy(at(old_p, p.shape, p[0]), p)
    if PRE_MEAN:
        old_pre_mean = row.old + row.old_pre_mean + b * row.old_pre_mean_stride
        rows.copy(at(old_pre_mean, p.shape, p[0]), pre_mean)
    for k in range(q.shape[0]):
        low = (first + k) * LANES
        rows.clear(theta[k])
        old_q = row.old + row.old_post + b * row.old_post_stride
        block.fetch(old_q, neurons, low, q[k : k + 1])
        if row.threshold_decay != 0:
            old_theta = row.old + row.old_threshold + b * row.old_threshold_stride
            block.fetch(old_theta, neurons, low, theta[k : k + 1])
        if POST_MEAN:
            old_post_mean = row.old + row.old_post_mean + b * row.old_post_mean_stride
            block.fetch(old_post_mean, neurons, low, post_mean[k : k + 1])


@kernel(NAME)
def forward(clip, soft, ticks, batch, channels, neurons, table):
    """Spikes, potentials (which come with the currents of the inputs' static synapses), new state.

    Fast weights and eligibilities are saved at each segment but the first, if there is room:
    [segments - 1, B, blocks, n_pre, LANES]. The new state is left out if it has no address.
    """
    row, like = table[0], clip
    width, blocks = neurons if RECURRENT else channels, (neurons + LANES - 1) // LANES
    group = blocks if RECURRENT else 1
    plastic, retroactive = group if PLASTIC else 0, group if RETROACTIVE else 0
    v, end = carve(row.scratch, (group, LANES), like)
    s, end = carve(end, (group, LANES), like)
    q, end = carve(end, (group, LANES), like)
    theta, end = carve(end, (group, LANES), like)
    p, end = carve(end, (width,), like)
    pre_mean, end = carve(end, (width if PRE_MEAN else 0,), like)
    post_mean, end = carve(end, (group if POST_MEAN else 0, LANES), like)
    fast, end = carve(end, (plastic, width, LANES), like)
    eligibility, end = carve(end, (retroactive, width, LANES), like)
    carried = at(
        row.scratch, ((end - row.scratch) // v.itemsize,), like
    )  # all so far as one row
    updates, end = carve(end, (group, tick.TERMS, LANES), like)
    current, end = carve(end, (group, LANES), like)
    recalled, end = carve(end, (LANES,), like)
    fired, end = carve(end, (width,), like)
    silent, end = carve(end, (max(width, LANES),), like)
    decays, end = carve(end, (6,), like)
    if row.scratch == 0:
        return end
    inputs = at(row.inputs, (ticks, batch, channels), like)
    starts = at(row.starts, (ticks, batch), like)
    rate = at(row.rate, (ticks, batch, neurons), like)
    target = at(row.target, (ticks, batch, neurons), like)
    spikes = at(row.spikes, (ticks, batch, neurons), like)
    potentials = at(row.potentials, (ticks, batch, neurons), like)
    beta = at(row.membrane_decay, (neurons,), like)
    w = at(row.coefficients, (COEFFICIENTS,), like)
    feedback = at(row.recurrent_weight, (blocks, width, LANES), like)
    gains = at(row.plasticity_gain, (blocks, width, LANES), like)
    own = at(row.synaptic, (blocks, OWN, width, LANES), like)
    saved = ((ticks - 1) // SEGMENT, batch, blocks, width, LANES)
    saved_fast = at(row.saved_fast, saved, like)
    saved_eligibility = at(row.saved_eligibility, saved, like)
    block.load_decays(row, decays)
    rows.clear(silent)
    rows.clear(recalled)
    wanted = row.new != 0 or row.new_potential != 0
    # a tick by itself goes from one state to the next, where the blocks are whole
    single = PLASTIC and ticks == 1 and wanted and neurons % LANES == 0
    for k in range(group):
        block.clear(updates[k])
    for first in range(0, blocks, group):
        for b in range(batch):
            old_v = row.old + row.old_potential + b * row.old_potential_stride
            old_fast = row.old + row.old_fast_weights + b * row.old_fast_weights_stride
            old_e = row.old + row.old_eligibility + b * row.old_eligibility_stride
            new_fast = row.new + row.new_fast_weights + b * row.new_fast_weights_stride
            new_e = row.new + row.new_eligibility + b * row.new_eligibility_stride
            passes = single and not starts[0, b] > ZERO
            for k in range(group):
                low = (first + k) * LANES
                block.fetch(old_v, neurons, low, v[k : k + 1])
                rows.fire(v[k], s[k])
                if PLASTIC and not passes:
                    block.fetch(old_fast, neurons, low, fast[k])
                    if RETROACTIVE:
                        block.fetch(old_e, neurons, low, eligibility[k])
            if RECURRENT:
                rows.copy(s.reshape(group * LANES)[:neurons], fired)
            if PLASTIC:
                fetch_traces(row, neurons, first, b, q, theta, p, pre_mean, post_mean)
            for t in range(ticks):
                if starts[t, b] > ZERO:
                    rows.clear(carried)
                (x,) = block.presynaptic(inputs, spikes, starts, fired, silent, t, b)
                for k in range(group):
                    if t > 0 and t % SEGMENT == 0 and row.saved_fast != 0:
                        block.copy(fast[k], saved_fast[t // SEGMENT - 1, b, first + k])
                        if RETROACTIVE:
                            block.copy(
                                eligibility[k],
                                saved_eligibility[t // SEGMENT - 1, b, first + k],
                            )
                    rows.clear(current[k])
                    f = fast[k]
                    if passes:
                        (f,) = block.columns(
                            old_fast, width, neurons, (first + k) * LANES, v
                        )
                    if PLASTIC or RECURRENT:
                        tick.currents(
                            feedback[first + k], gains[first + k], f, x, pre_mean, post_mean[k],
                            current[k],
                        )  # fmt: skip
                    if BIASES:
                        for j in range(LANES):
                            current[k, j] += bias(post_mean[k, j], w)
                if PLASTIC:
                    rows.trace(decays[0], x, p)
                power = tick.power_of(p)
                for k in range(group):
                    low, high = (
                        (first + k) * LANES,
                        min(neurons, (first + k + 1) * LANES),
                    )
                    rows.membrane(
                        potentials[t, b, low:high], current[k], beta[low:high], soft,
                        v[k], s[k], spikes[t, b, low:high],
                    )  # fmt: skip
                    if PLASTIC:
                        tick.traces(decays, s[k, : high - low], q[k], theta[k])
                        u = tick.terms_of(updates[k])
                        f = fast[k]
                        if passes:
                            (f,) = block.columns(old_fast, width, neurons, low, v)
                        if RECALLS:
                            tick.recall(f, p, recalled)
                        (goal,) = block.target_of(target, silent, t, b, low, high)
                        tick.terms(
                            decays, w, rate[t, b, low:high], s[k], q[k], theta[k], recalled,
                            power, goal, post_mean[k], u,
                        )  # fmt: skip
                        if passes:
                            (f_after,) = block.columns(new_fast, width, neurons, low, v)
                            (e,) = block.columns(old_e, width, neurons, low, v)
                            (e_after,) = block.columns(new_e, width, neurons, low, v)
                            tick.update_into(
                                f, e, u, matrices_of(own[first + k]), p, x, pre_mean,
                                ONE - decays[3], clip, f_after, e_after,
                            )  # fmt: skip
                        else:
                            tick.update(
                                fast[k], eligibility[k], u, matrices_of(own[first + k]), p, x,
                                pre_mean, ONE - decays[3], clip,
                            )  # fmt: skip
                        if POST_MEAN:
                            rows.mean(
                                decays[5], rate[t, b, low:high], q[k], post_mean[k]
                            )
                if PRE_MEAN:
                    block.step_means(decays, rate[t, b], p, pre_mean)
            if not wanted:
                continue
            new_v = row.new + row.new_potential + b * row.new_potential_stride
            new_p = row.new + row.new_pre + b * row.new_pre_stride
            new_q = row.new + row.new_post + b * row.new_post_stride
            new_theta = row.new + row.new_threshold + b * row.new_threshold_stride
            new_pre_mean = row.new + row.new_pre_mean + b * row.new_pre_mean_stride
            new_post_mean = row.new + row.new_post_mean + b * row.new_post_mean_stride
            for k in range(group):
                low = (first + k) * LANES
                block.store(v[k : k + 1], new_v, neurons, low)
                if PLASTIC:
                    block.store(q[k : k + 1], new_q, neurons, low)
                    if row.threshold_decay != 0:
                        block.store(theta[k : k + 1], new_theta, neurons, low)
                if POST_MEAN:
                    block.store(post_mean[k : k + 1], new_post_mean, neurons, low)
                if PLASTIC and not passes:
                    block.store(fast[k], new_fast, neurons, low)
                    if RETROACTIVE:
                        block.store(eligibility[k], new_e, neurons, low)
            if PLASTIC:
                rows.copy(p, at(new_p, (width,), like))
            if PRE_MEAN:
                rows.copy(pre_mean, at(new_pre_mean, (width,), like))
    return end


@outlined
def recall_traces(
    row, decays, inputs, rate, spikes, starts, fired, zeros, first, b, q, theta, p, pre_mean,
    post_mean,
):  # fmt: skip
    """Traces and means before every tick, from the spikes."""
    ticks, _, neurons = spikes.shape
    group = fired.shape[0]
    fetch_traces(
        row, neurons, first, b, q[0], theta[0], p[0], pre_mean[0], post_mean[0]
    )
    for t in range(ticks):
        if starts[t, b] > ZERO:
            rows.clear(p[t])
            if PRE_MEAN:
                rows.clear(pre_mean[t])
            for k in range(group):
                rows.clear(q[t, k])
                rows.clear(theta[t, k])
                if POST_MEAN:
                    rows.clear(post_mean[t, k])
        rows.copy(p[t], p[t + 1])
        (x,) = block.presynaptic(inputs, spikes, starts, fired, zeros, t, b)
        rows.trace(decays[0], x, p[t + 1])
        for k in range(group):
            low, high = (first + k) * LANES, min(neurons, (first + k + 1) * LANES)
            rows.copy(q[t, k], q[t + 1, k])
            rows.copy(theta[t, k], theta[t + 1, k])
            tick.traces(decays, spikes[t, b, low:high], q[t + 1, k], theta[t + 1, k])
            if POST_MEAN:
                rows.copy(post_mean[t, k], post_mean[t + 1, k])
                rows.mean(
                    decays[5], rate[t, b, low:high], q[t + 1, k], post_mean[t + 1, k]
                )
        if PRE_MEAN:
            rows.copy(pre_mean[t], pre_mean[t + 1])
            block.step_means(decays, rate[t, b], p[t + 1], pre_mean[t + 1])


@outlined
def recall_segment(
    row, clip, decays, w, own, inputs, rate, target, spikes, starts, saved_fast, saved_eligibility,
    fired, zeros, first, b, t_0, t_1, q, theta, p, pre_mean, post_mean, recalled, updates, fast,
    eligibility,
):  # fmt: skip
    """Fast weights before, and what they recall and terms of the updates after, the ticks t_0 to
    t_1.
    """
    neurons = spikes.shape[2]
    for k in range(fired.shape[0]):
        low, high = (first + k) * LANES, min(neurons, (first + k + 1) * LANES)
        if t_0 > 0:
            block.copy(saved_fast[t_0 // SEGMENT - 1, b, first + k], fast[0, k])
            if RETROACTIVE:
                block.copy(
                    saved_eligibility[t_0 // SEGMENT - 1, b, first + k],
                    eligibility[0, k],
                )
        else:
            old_fast = row.old + row.old_fast_weights + b * row.old_fast_weights_stride
            block.fetch(old_fast, neurons, low, fast[0, k])
            if RETROACTIVE:
                old_e = row.old + row.old_eligibility + b * row.old_eligibility_stride
                block.fetch(old_e, neurons, low, eligibility[0, k])
        for t in range(t_0, t_1 + 1):
            h = t - t_0
            if starts[t, b] > ZERO:
                block.clear(fast[h, k])
                if RETROACTIVE:
                    block.clear(eligibility[h, k])
            u = tick.terms_of(updates[h, k])
            if RECALLS:
                tick.recall(fast[h, k], p[t + 1], recalled[h, k])
            (goal,) = block.target_of(target, zeros, t, b, low, high)
            tick.terms(
                decays, w, rate[t, b, low:high], spikes[t, b, low:high], q[t + 1, k],
                theta[t + 1, k], recalled[h, k], tick.power_of(p[t + 1]), goal, post_mean[t, k], u,
            )  # fmt: skip
            if t < t_1:
                (x,) = block.presynaptic(inputs, spikes, starts, fired, zeros, t, b)
                # without eligibilities, that of the first tick stands for those that are not there
                e, e_after = (h, h + 1) if RETROACTIVE else (0, 0)
                tick.update_into(
                    fast[h, k], eligibility[e, k], u, matrices_of(own[first + k]), p[t + 1], x,
                    pre_mean[t], ONE - decays[3], clip,
                    fast[h + 1, k], eligibility[e_after, k],
                )  # fmt: skip


@kernel(NAME)
def backward(clip, soft, surrogate, slope, ticks, batch, channels, neurons, table):
    """Gradients of `forward`; that to the inputs comes with zeros and is left out if it has no
    address, that to gains is in block.
    """
    row, like = table[0], clip
    width, blocks = neurons if RECURRENT else channels, (neurons + LANES - 1) // LANES
    group = blocks if RECURRENT else 1
    plastic, retroactive = group if PLASTIC else 0, group if RETROACTIVE else 0
    length = min(ticks, SEGMENT)
    d_v, end = carve(row.scratch, (group, LANES), like)
    d_s, end = carve(end, (group, LANES), like)
    d_q, end = carve(end, (group, LANES), like)
    d_theta, end = carve(end, (group, LANES), like)
    d_p, end = carve(end, (width,), like)
    d_pre_mean, end = carve(end, (width if PRE_MEAN else 0,), like)
    d_post_mean, end = carve(end, (group if POST_MEAN else 0, LANES), like)
    d_fast, end = carve(end, (plastic, width, LANES), like)
    d_eligibility, end = carve(end, (retroactive, width, LANES), like)
    carried = at(
        row.scratch, ((end - row.scratch) // d_v.itemsize,), like
    )  # all so far as one row
    first_sum = end
    d_current, end = carve(end, (group, LANES), like)
    d_decay, end = carve(end, (group, LANES), like)
    d_recalled, end = carve(end, (LANES,), like)
    d_updates, end = carve(end, (group, tick.TERMS, LANES), like)
    d_post_decay, end = carve(end, (LANES,), like)
    d_threshold_decay, end = carve(end, (LANES,), like)
    d_eta, end = carve(end, (LANES,), like)
    d_w, end = carve(end, (COEFFICIENTS, LANES), like)
    zeros, end = carve(end, (max(width, LANES),), like)
    updates, end = carve(end, (length, plastic, tick.TERMS, LANES), like)
    recalled, end = carve(end, (length, plastic, LANES), like)
    summed = at(
        first_sum, ((end - first_sum) // d_v.itemsize,), like
    )  # from d_current on
    # before each tick of a segment, and before each tick of all
    fast, end = carve(end, (length, plastic, width, LANES), like)
    eligibility, end = carve(end, (length, retroactive, width, LANES), like)
    q, end = carve(end, (ticks + 1, plastic, LANES), like)
    theta, end = carve(end, (ticks + 1, plastic, LANES), like)
    p, end = carve(end, (ticks + 1, width), like)
    pre_mean, end = carve(end, (ticks + 1, width if PRE_MEAN else 0), like)
    post_mean, end = carve(end, (ticks + 1, group if POST_MEAN else 0, LANES), like)
    slopes, end = carve(end, (group, LANES), like)
    fired, end = carve(end, (group, LANES), like)
    d_x, end = carve(end, (width,), like)
    decays, end = carve(end, (6,), like)
    if row.scratch == 0:
        return end
    inputs = at(row.inputs, (ticks, batch, channels), like)
    starts = at(row.starts, (ticks, batch), like)
    rate = at(row.rate, (ticks, batch, neurons), like)
    target = at(row.target, (ticks, batch, neurons), like)
    spikes = at(row.spikes, (ticks, batch, neurons), like)
    potentials = at(row.potentials, (ticks, batch, neurons), like)
    beta = at(row.membrane_decay, (neurons,), like)
    w = at(row.coefficients, (COEFFICIENTS,), like)
    feedback = at(row.recurrent_weight, (blocks, width, LANES), like)
    gains = at(row.plasticity_gain, (blocks, width, LANES), like)
    own = at(row.synaptic, (blocks, OWN, width, LANES), like)
    saved = ((ticks - 1) // SEGMENT, batch, blocks, width, LANES)
    saved_fast = at(row.saved_fast, saved, like)
    saved_eligibility = at(row.saved_eligibility, saved, like)
    d_spikes = at(row.d_spikes, (ticks, batch, neurons), like)
    d_potentials = at(row.d_potentials, (ticks, batch, neurons), like)
    d_inputs = at(row.d_inputs, (ticks, batch, channels), like)
    d_currents = at(row.d_currents, (ticks, batch, neurons), like)
    d_rate = at(row.d_rate, (ticks, batch, neurons), like)
    d_target = at(row.d_target, (ticks, batch, neurons), like)
    d_bias, d_beta = (
        at(row.d_bias, (neurons,), like),
        at(row.d_membrane_decay, (neurons,), like),
    )
    d_gains = at(row.d_plasticity_gain, (blocks, width, LANES), like)
    d_coefficients = at(row.d_coefficients, (COEFFICIENTS,), like)
    d_own = at(row.d_synaptic, (blocks, OWN, width, LANES), like)
    d_decays = at(row.d_decays, (6,), like)
    block.load_decays(row, decays)
    wanted = RECURRENT or row.d_inputs != 0
    for k in range(blocks):
        if PLASTIC:
            block.clear(d_gains[k])
            for n in range(OWN):
                block.clear(d_own[k, n])
    rows.clear(d_bias)
    rows.clear(d_beta)
    rows.clear(d_decays)
    rows.clear(summed)
    for first in range(0, blocks, group):
        for b in range(batch):
            old_v = row.old + row.old_potential + b * row.old_potential_stride
            before_first = at(old_v, (neurons,), like)
            for k in range(group):
                low, high = (first + k) * LANES, min(neurons, (first + k + 1) * LANES)
                rows.fire(before_first[low:high], fired[k])
            if PLASTIC:
                recall_traces(
                    row, decays, inputs, rate, spikes, starts, fired, zeros, first, b, q, theta, p,
                    pre_mean, post_mean,
                )  # fmt: skip
            rows.clear(carried)
            for t in range(ticks - 1, -1, -1):
                h = t % SEGMENT
                if PLASTIC and (t == ticks - 1 or h == SEGMENT - 1):
                    recall_segment(
                        row, clip, decays, w, own, inputs, rate, target, spikes, starts, saved_fast,
                        saved_eligibility, fired, zeros, first, b, t - h, t, q, theta, p, pre_mean,
                        post_mean, recalled, updates, fast, eligibility,
                    )  # fmt: skip
                started = starts[t, b] > ZERO
                (x,) = block.presynaptic(inputs, spikes, starts, fired, zeros, t, b)
                if PLASTIC or RECURRENT:
                    rows.clear(d_x)
                if PRE_MEAN:
                    d_decays[4] += block.step_means_adjoint(
                        decays,
                        rate[t, b],
                        p[t + 1],
                        pre_mean[t],
                        d_pre_mean,
                        d_p,
                        d_rate[t, b],
                    )
                if PLASTIC:
                    for k in range(group):
                        low, high = (
                            (first + k) * LANES,
                            min(neurons, (first + k + 1) * LANES),
                        )
                        d = tick.terms_of(d_updates[k])
                        if POST_MEAN:
                            d_decays[5] += rows.mean_adjoint(
                                decays[5], rate[t, b, low:high], q[t + 1, k], post_mean[t, k],
                                d_post_mean[k], d_q[k], d_rate[t, b, low:high],
                            )  # fmt: skip
                        if t < ticks - 1:  # after the last tick nobody sees the update
                            e = h if RETROACTIVE else 0
                            tick.update_adjoint(
                                fast[h, k], eligibility[e, k], tick.terms_of(updates[h, k]),
                                matrices_of(own[first + k]), p[t + 1], x, pre_mean[t],
                                ONE - decays[3], clip, d_fast[k], d_eligibility[k], d,
                                matrices_of(d_own[first + k]), d_decay[k], d_p, d_x, d_pre_mean,
                            )  # fmt: skip
                        (goal,) = block.target_of(target, zeros, t, b, low, high)
                        (d_goal,) = block.target_of(d_target, zeros, t, b, low, high)
                        rows.clear(d_recalled)  # lanes without a neuron
                        d_power = tick.terms_adjoint(
                            decays, w, rate[t, b, low:high], spikes[t, b, low:high],
                            q[t + 1, k], theta[t + 1, k], recalled[h, k], tick.power_of(p[t + 1]),
                            goal, post_mean[t, k], d, d_decay[k], d_w, d_q[k], d_theta[k], d_s[k],
                            d_recalled, d_goal, d_post_mean[k], d_rate[t, b, low:high], d_eta,
                        )  # fmt: skip
                        if RECALLS or NORMALISES:
                            tick.recall_adjoint(
                                fast[h, k],
                                p[t + 1],
                                d_recalled,
                                d_power,
                                d_fast[k],
                                d_p,
                            )
                        block.clear(d_updates[k])
                        rows.clear(d_decay[k])
                        tick.traces_adjoint(
                            decays, spikes[t, b, low:high], q[t + 1, k], q[t, k],
                            theta[t, k], d_q[k], d_theta[k], d_s[k],
                            d_post_decay, d_threshold_decay,
                        )  # fmt: skip
                    d_decays[0] += rows.trace_adjoint(decays[0], x, p[t], d_p, d_x)
                for k in range(group):
                    low, high = (
                        (first + k) * LANES,
                        min(neurons, (first + k + 1) * LANES),
                    )
                    before, fired_before = zeros[:LANES], zeros[:LANES]
                    if not started and t > 0:
                        before = potentials[t - 1, b, low:high]
                        fired_before = spikes[t - 1, b, low:high]
                    elif not started:
                        before, fired_before = before_first[low:high], fired[k]
                    inner = (
                        d_spikes[t, b, low:high] if row.d_spikes != 0 else zeros[:LANES]
                    )
                    outer = (
                        d_potentials[t, b, low:high]
                        if row.d_potentials != 0
                        else zeros[:LANES]
                    )
                    rows.surrogate_slopes(
                        surrogate, slope, potentials[t, b, low:high], slopes[k]
                    )
                    rows.membrane_adjoint(
                        inner, outer, slopes[k], before, fired_before, beta[low:high], soft,
                        d_v[k], d_s[k], d_bias[low:high], d_beta[low:high],
                        d_current[k],
                    )  # fmt: skip
                    rows.copy(d_current[k, : high - low], d_currents[t, b, low:high])
                for k in range(group if PLASTIC or RECURRENT else 0):
                    e = h if PLASTIC else 0
                    tick.currents_adjoint(
                        feedback[first + k], gains[first + k], fast[e, k], x, pre_mean[t],
                        post_mean[t, k], d_current[k], d_gains[first + k], d_fast[k], d_x,
                        d_pre_mean, d_post_mean[k], wanted,
                    )  # fmt: skip
                    if BIASES:
                        for j in range(LANES):
                            d_post_mean[k, j] += bias_adjoint(
                                post_mean[t, k, j], w, d_current[k, j], d_w, j
                            )
                if RECURRENT:
                    rows.add_multiple(ONE, d_x, d_s.reshape(group * LANES))
                elif wanted:
                    rows.add_multiple(ONE, d_x, d_inputs[t, b])
                if started:
                    rows.clear(carried)
    for j in range(LANES):
        d_decays[1] += d_post_decay[j]
        d_decays[2] += d_threshold_decay[j]
        d_decays[3] += d_eta[j]
    rows.clear(d_coefficients)
    for n in range(COEFFICIENTS):
        for j in range(LANES):
            d_coefficients[n] += d_w[n, j]
    return end
