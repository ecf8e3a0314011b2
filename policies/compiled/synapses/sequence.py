"""Layers over a sequence, and the gradients.

Sequences run environment by environment, and the fast weights of one lie in scratch
memory while its sequence is run. They are kept every `SEGMENT` ticks, and the backward
pass recomputes what lies between, so that nothing of size T x B x n x n is ever stored.
Neurons of a layer that is not recurrent do not see each other, so that each block runs
its whole sequence by itself; of a recurrent one, all blocks (a group) run side by side.

A kernel that is called without scratch memory only returns how many bytes of it it
needs.
"""

# Numba finds out the types of what it compiles.
# mypy: allow-untyped-defs, allow-incomplete-defs, allow-untyped-decorators
# mypy: allow-untyped-calls

from spikepropamine.policies.compiled import rows
from spikepropamine.policies.compiled.numba_private import at, carve, kernel, outlined
from spikepropamine.policies.compiled.parameters import (
    DECAYS,
    PLACE,
    Beginnings,
    Membrane,
    Postsynaptic,
    Presynaptic,
    Segment,
    Sums,
    Synapses,
    Traces,
    Weights,
)
from spikepropamine.policies.compiled.rows import ONE, SEGMENT, ZERO

from . import block, tick, unit
from .kind import (
    BIASES,
    COEFFICIENTS,
    NAME,
    NORMALISES,
    PLASTIC,
    POST_MEAN,
    PRE_MEAN,
    RECALLS,
    RECURRENT,
    RETROACTIVE,
    SYNAPTIC,
    bias,
    bias_adjoint,
    matrices_of,
)
from .tick import LANES

DECAY_COUNT = len(DECAYS)


@outlined
def fetch_traces(row, neurons, first, b, traces):
    """Traces and means before a sequence: those of a group's neurons, and of what they
    see.

    Args:
        row: of the layer's table.
        neurons: of the layer.
        first: block that the group begins with.
        b: the environment.
        traces: `Traces` to fill.
    """
    p = traces.pre
    old_p = row.old + row.old_pre + b * row.old_pre_stride
    rows.copy(at(old_p, p.shape, p[0]), p)
    if PRE_MEAN:
        old_pre_mean = row.old + row.old_pre_mean + b * row.old_pre_mean_stride
        rows.copy(at(old_pre_mean, p.shape, p[0]), traces.pre_mean)
    for k in range(traces.post.shape[0]):
        low = (first + k) * LANES
        rows.clear(traces.threshold[k])
        old_q = row.old + row.old_post + b * row.old_post_stride
        block.fetch(old_q, neurons, low, traces.post[k : k + 1])
        if row.threshold_decay != 0:
            old_theta = row.old + row.old_threshold + b * row.old_threshold_stride
            block.fetch(old_theta, neurons, low, traces.threshold[k : k + 1])
        if POST_MEAN:
            old_post_mean = row.old + row.old_post_mean + b * row.old_post_mean_stride
            block.fetch(old_post_mean, neurons, low, traces.post_mean[k : k + 1])


@kernel(NAME)
def forward(clip, soft, ticks, batch, channels, neurons, table):
    """Spikes, potentials and the new state of a sequence.

    Potentials come with the currents of the inputs' static synapses. Fast weights and
    eligibilities are saved at each segment but the first, if there is room. The new
    state is left out if it has no address.

    Args:
        clip: bound of the fast weights.
        soft: as of `rows.membrane`.
        ticks: T.
        batch: B.
        channels: of the inputs.
        neurons: of the layer.
        table: addresses, a `TABLE`.
    """
    row = table[0]
    like = clip
    width = neurons if RECURRENT else channels
    blocks = (neurons + LANES - 1) // LANES
    group = blocks if RECURRENT else 1
    plastic = group if PLASTIC else 0
    retroactive = group if RETROACTIVE else 0
    v, end = carve(row.scratch, (group, LANES), like)
    s, end = carve(end, (group, LANES), like)
    q, end = carve(end, (group, LANES), like)
    theta, end = carve(end, (group, LANES), like)
    p, end = carve(end, (width,), like)
    pre_mean, end = carve(end, (width if PRE_MEAN else 0,), like)
    post_mean, end = carve(end, (group if POST_MEAN else 0, LANES), like)
    fast, end = carve(end, (plastic, width, LANES), like)
    eligibility, end = carve(end, (retroactive, width, LANES), like)
    # all so far as one row
    carried = at(row.scratch, ((end - row.scratch) // v.itemsize,), like)
    updates, end = carve(end, (group, tick.TERMS, LANES), like)
    current, end = carve(end, (group, LANES), like)
    recalled, end = carve(end, (LANES,), like)
    fired, end = carve(end, (width,), like)
    silent, end = carve(end, (max(width, LANES),), like)
    if row.scratch == 0:
        return end
    signals = block.signals_at(row, ticks, batch, channels, neurons, like)
    parameters = block.parameters_at(row, blocks, width, neurons, like)
    saved = block.saved_at(row, ticks, batch, blocks, width, like)
    decays = block.decays_at(row, like)
    starts = at(row.starts, (ticks, batch), like)
    begin = Beginnings(starts, fired, silent)
    traces = Traces(p, q, theta, pre_mean, post_mean)
    beta = parameters.membrane_decay
    w = parameters.coefficients
    keep = ONE - decays.eta
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
                unit.fire(v[k], s[k])
                if PLASTIC and not passes:
                    block.fetch(old_fast, neurons, low, fast[k])
                    if RETROACTIVE:
                        block.fetch(old_e, neurons, low, eligibility[k])
            if RECURRENT:
                rows.copy(s.reshape(group * LANES)[:neurons], fired)
            if PLASTIC:
                fetch_traces(row, neurons, first, b, traces)
            for t in range(ticks):
                if starts[t, b] > ZERO:
                    rows.clear(carried)
                (x,) = block.presynaptic(signals, begin, t, b)
                before = Presynaptic(p, x, pre_mean)
                for k in range(group):
                    if t > 0 and t % SEGMENT == 0 and row.saved_fast_weights != 0:
                        n = t // SEGMENT - 1
                        block.copy(fast[k], saved.fast_weights[n, b, first + k])
                        if RETROACTIVE:
                            block.copy(
                                eligibility[k], saved.eligibility[n, b, first + k]
                            )
                    rows.clear(current[k])
                    f = fast[k]
                    if passes:
                        (f,) = block.columns(
                            old_fast, width, neurons, (first + k) * LANES, v
                        )
                    if PLASTIC or RECURRENT:
                        weights = Weights(
                            parameters.recurrent_weight[first + k],
                            parameters.plasticity_gain[first + k],
                            f,
                        )
                        tick.currents(weights, before, post_mean[k], current[k])
                    if BIASES:
                        for j in range(LANES):
                            current[k, j] += bias(post_mean[k, j], w)
                if PLASTIC:
                    rows.trace(decays.pre_decay, x, p)
                power = tick.power_of(p)
                for k in range(group):
                    low = (first + k) * LANES
                    high = min(neurons, low + LANES)
                    unit.membrane(
                        signals.potentials[t, b, low:high],
                        current[k],
                        beta[low:high],
                        soft,
                        v[k],
                        s[k],
                        signals.spikes[t, b, low:high],
                    )
                    if PLASTIC:
                        tick.traces(decays, s[k, : high - low], q[k], theta[k])
                        u = tick.terms_of(updates[k])
                        f = fast[k]
                        if passes:
                            (f,) = block.columns(old_fast, width, neurons, low, v)
                        if RECALLS:
                            tick.recall(f, p, recalled)
                        (goal,) = block.target_of(signals, begin, t, b, low, high)
                        rate = signals.rate[t, b, low:high]
                        after = Postsynaptic(
                            rate, s[k], q[k], theta[k], recalled, goal, post_mean[k]
                        )
                        tick.terms(decays, w, after, power, u)
                        synaptic = matrices_of(parameters.synaptic[first + k])
                        if passes:
                            (e,) = block.columns(old_e, width, neurons, low, v)
                            (f_after,) = block.columns(new_fast, width, neurons, low, v)
                            (e_after,) = block.columns(new_e, width, neurons, low, v)
                            old, new = Synapses(f, e), Synapses(f_after, e_after)
                            tick.update_into(old, u, synaptic, before, keep, clip, new)
                        else:
                            here = Synapses(fast[k], eligibility[k])
                            tick.update(here, u, synaptic, before, keep, clip)
                        if POST_MEAN:
                            rows.mean(decays.post_mean_share, rate, q[k], post_mean[k])
                if PRE_MEAN:
                    block.step_means(decays, signals.rate[t, b], p, pre_mean)
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
def recall_traces(row, decays, signals, begin, first, b, traces):
    """Traces and means before every tick, recomputed from the spikes.

    Args:
        row: of the layer's table.
        decays: `Decays` of the layer.
        signals: `Signals` of the layer.
        begin: `Beginnings` of the sequence.
        first: block that the group begins with.
        b: the environment.
        traces: `Traces` to fill, [ticks + 1, ...].
    """
    ticks, _, neurons = signals.spikes.shape
    group = begin.fired.shape[0]
    p, q, theta = traces.pre, traces.post, traces.threshold
    pre_mean = traces.pre_mean
    post_mean = traces.post_mean
    at_first = Traces(p[0], q[0], theta[0], pre_mean[0], post_mean[0])
    fetch_traces(row, neurons, first, b, at_first)
    for t in range(ticks):
        if begin.starts[t, b] > ZERO:
            rows.clear(p[t])
            if PRE_MEAN:
                rows.clear(pre_mean[t])
            for k in range(group):
                rows.clear(q[t, k])
                rows.clear(theta[t, k])
                if POST_MEAN:
                    rows.clear(post_mean[t, k])
        rows.copy(p[t], p[t + 1])
        (x,) = block.presynaptic(signals, begin, t, b)
        rows.trace(decays.pre_decay, x, p[t + 1])
        for k in range(group):
            low = (first + k) * LANES
            high = min(neurons, low + LANES)
            spikes = signals.spikes[t, b, low:high]
            rate = signals.rate[t, b, low:high]
            rows.copy(q[t, k], q[t + 1, k])
            rows.copy(theta[t, k], theta[t + 1, k])
            tick.traces(decays, spikes, q[t + 1, k], theta[t + 1, k])
            if POST_MEAN:
                rows.copy(post_mean[t, k], post_mean[t + 1, k])
                rows.mean(
                    decays.post_mean_share, rate, q[t + 1, k], post_mean[t + 1, k]
                )
        if PRE_MEAN:
            rows.copy(pre_mean[t], pre_mean[t + 1])
            block.step_means(decays, signals.rate[t, b], p[t + 1], pre_mean[t + 1])


@outlined
def recall_segment(
    row,
    clip,
    decays,
    parameters,
    signals,
    begin,
    saved,
    traces,
    first,
    b,
    t_0,
    t_1,
    segment,
):
    """Recomputes fast weights before, and terms of the updates after, the ticks of a
    segment.

    Args:
        row: of the layer's table.
        clip: bound of the fast weights.
        decays: `Decays` of the layer.
        parameters: `Parameters` of the layer.
        signals: `Signals` of the layer.
        begin: `Beginnings` of the sequence.
        saved: `Synapses` before each segment but the first.
        traces: before every tick, as `recall_traces` leaves them.
        first: block that the group begins with.
        b: the environment.
        t_0: first tick of the segment.
        t_1: its last.
        segment: `Segment` to fill.
    """
    neurons = signals.spikes.shape[2]
    fast = segment.fast_weights
    eligibility = segment.eligibility
    for k in range(begin.fired.shape[0]):
        low = (first + k) * LANES
        high = min(neurons, low + LANES)
        if t_0 > 0:
            n = t_0 // SEGMENT - 1
            block.copy(saved.fast_weights[n, b, first + k], fast[0, k])
            if RETROACTIVE:
                block.copy(saved.eligibility[n, b, first + k], eligibility[0, k])
        else:
            old_fast = row.old + row.old_fast_weights + b * row.old_fast_weights_stride
            block.fetch(old_fast, neurons, low, fast[0, k])
            if RETROACTIVE:
                old_e = row.old + row.old_eligibility + b * row.old_eligibility_stride
                block.fetch(old_e, neurons, low, eligibility[0, k])
        for t in range(t_0, t_1 + 1):
            h = t - t_0
            p = traces.pre[t + 1]
            if begin.starts[t, b] > ZERO:
                block.clear(fast[h, k])
                if RETROACTIVE:
                    block.clear(eligibility[h, k])
            u = tick.terms_of(segment.updates[h, k])
            if RECALLS:
                tick.recall(fast[h, k], p, segment.recalled[h, k])
            (goal,) = block.target_of(signals, begin, t, b, low, high)
            after = Postsynaptic(
                signals.rate[t, b, low:high],
                signals.spikes[t, b, low:high],
                traces.post[t + 1, k],
                traces.threshold[t + 1, k],
                segment.recalled[h, k],
                goal,
                traces.post_mean[t, k],
            )
            tick.terms(decays, parameters.coefficients, after, tick.power_of(p), u)
            if t < t_1:
                (x,) = block.presynaptic(signals, begin, t, b)
                # without eligibilities, that of the first tick stands for those not
                # there
                e, e_after = (h, h + 1) if RETROACTIVE else (0, 0)
                tick.update_into(
                    Synapses(fast[h, k], eligibility[e, k]),
                    u,
                    matrices_of(parameters.synaptic[first + k]),
                    Presynaptic(p, x, traces.pre_mean[t]),
                    ONE - decays.eta,
                    clip,
                    Synapses(fast[h + 1, k], eligibility[e_after, k]),
                )


@kernel(NAME)
def backward(clip, soft, surrogate, slope, ticks, batch, channels, neurons, table):
    """Gradients of `forward`.

    The gradient to the inputs comes with zeros and is left out if it has no address;
    that to gains is in blocks.

    Args:
        clip: bound of the fast weights.
        soft: as of `rows.membrane`.
        surrogate: a number of `SURROGATE_CODES`.
        slope: of the surrogate, in 1 / potential.
        ticks: T.
        batch: B.
        channels: of the inputs.
        neurons: of the layer.
        table: addresses, a `TABLE`.
    """
    row = table[0]
    like = clip
    width = neurons if RECURRENT else channels
    blocks = (neurons + LANES - 1) // LANES
    group = blocks if RECURRENT else 1
    plastic = group if PLASTIC else 0
    retroactive = group if RETROACTIVE else 0
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
    # all so far as one row
    carried = at(row.scratch, ((end - row.scratch) // d_v.itemsize,), like)
    first_sum = end
    d_current, end = carve(end, (group, LANES), like)
    d_keep, end = carve(end, (group, LANES), like)
    d_recalled, end = carve(end, (LANES,), like)
    d_updates, end = carve(end, (group, tick.TERMS, LANES), like)
    sum_post_decay, end = carve(end, (LANES,), like)
    sum_threshold_decay, end = carve(end, (LANES,), like)
    sum_eta, end = carve(end, (LANES,), like)
    sum_w, end = carve(end, (COEFFICIENTS, LANES), like)
    zeros, end = carve(end, (max(width, LANES),), like)
    updates, end = carve(end, (length, plastic, tick.TERMS, LANES), like)
    recalled, end = carve(end, (length, plastic, LANES), like)
    # from d_current on
    summed = at(first_sum, ((end - first_sum) // d_v.itemsize,), like)
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
    if row.scratch == 0:
        return end
    signals = block.signals_at(row, ticks, batch, channels, neurons, like)
    d_signals = block.signal_gradients_at(row, ticks, batch, channels, neurons, like)
    d_currents = at(row.d_currents, (ticks, batch, neurons), like)
    parameters = block.parameters_at(row, blocks, width, neurons, like)
    d_parameters = block.parameter_gradients_at(row, blocks, width, neurons, like)
    d_decays = at(row.d_decays, (DECAY_COUNT,), like)
    saved = block.saved_at(row, ticks, batch, blocks, width, like)
    decays = block.decays_at(row, like)
    starts = at(row.starts, (ticks, batch), like)
    begin = Beginnings(starts, fired, zeros)
    traces = Traces(p, q, theta, pre_mean, post_mean)
    segment = Segment(fast, eligibility, recalled, updates)
    sums = Sums(sum_post_decay, sum_threshold_decay, sum_eta, sum_w)
    d_before = Presynaptic(d_p, d_x, d_pre_mean)
    beta = parameters.membrane_decay
    w = parameters.coefficients
    keep = ONE - decays.eta
    wanted = RECURRENT or row.d_inputs != 0
    for k in range(blocks):
        if PLASTIC:
            block.clear(d_parameters.plasticity_gain[k])
            for n in range(SYNAPTIC):
                block.clear(d_parameters.synaptic[k, n])
    rows.clear(d_parameters.bias)
    rows.clear(d_parameters.membrane_decay)
    rows.clear(d_decays)
    rows.clear(summed)
    for first in range(0, blocks, group):
        for b in range(batch):
            old_v = row.old + row.old_potential + b * row.old_potential_stride
            before_first = at(old_v, (neurons,), like)
            for k in range(group):
                low, high = (first + k) * LANES, min(neurons, (first + k + 1) * LANES)
                unit.fire(before_first[low:high], fired[k])
            if PLASTIC:
                recall_traces(row, decays, signals, begin, first, b, traces)
            rows.clear(carried)
            for t in range(ticks - 1, -1, -1):
                h = t % SEGMENT
                if PLASTIC and (t == ticks - 1 or h == SEGMENT - 1):
                    recall_segment(
                        row,
                        clip,
                        decays,
                        parameters,
                        signals,
                        begin,
                        saved,
                        traces,
                        first,
                        b,
                        t - h,
                        t,
                        segment,
                    )
                started = starts[t, b] > ZERO
                (x,) = block.presynaptic(signals, begin, t, b)
                before = Presynaptic(p[t + 1], x, pre_mean[t])
                if PLASTIC or RECURRENT:
                    rows.clear(d_x)
                if PRE_MEAN:
                    d_decays[PLACE.pre_mean_share] += block.step_means_adjoint(
                        decays,
                        signals.rate[t, b],
                        p[t + 1],
                        pre_mean[t],
                        d_pre_mean,
                        d_p,
                        d_signals.rate[t, b],
                    )
                if PLASTIC:
                    for k in range(group):
                        low = (first + k) * LANES
                        high = min(neurons, low + LANES)
                        rate = signals.rate[t, b, low:high]
                        d_rate = d_signals.rate[t, b, low:high]
                        d = tick.terms_of(d_updates[k])
                        if POST_MEAN:
                            d_decays[PLACE.post_mean_share] += rows.mean_adjoint(
                                decays.post_mean_share,
                                rate,
                                q[t + 1, k],
                                post_mean[t, k],
                                d_post_mean[k],
                                d_q[k],
                                d_rate,
                            )
                        if t < ticks - 1:  # after the last tick nobody sees the update
                            e = h if RETROACTIVE else 0
                            tick.update_adjoint(
                                Synapses(fast[h, k], eligibility[e, k]),
                                tick.terms_of(updates[h, k]),
                                matrices_of(parameters.synaptic[first + k]),
                                before,
                                keep,
                                clip,
                                Synapses(d_fast[k], d_eligibility[k]),
                                d,
                                matrices_of(d_parameters.synaptic[first + k]),
                                d_keep[k],
                                d_before,
                            )
                        (goal,) = block.target_of(signals, begin, t, b, low, high)
                        (d_goal,) = block.target_of(d_signals, begin, t, b, low, high)
                        after = Postsynaptic(
                            rate,
                            signals.spikes[t, b, low:high],
                            q[t + 1, k],
                            theta[t + 1, k],
                            recalled[h, k],
                            goal,
                            post_mean[t, k],
                        )
                        d_after = Postsynaptic(
                            d_rate,
                            d_s[k],
                            d_q[k],
                            d_theta[k],
                            d_recalled,
                            d_goal,
                            d_post_mean[k],
                        )
                        rows.clear(d_recalled)  # lanes without a neuron
                        power = tick.power_of(p[t + 1])
                        d_power = tick.terms_adjoint(
                            decays, w, after, power, d, d_keep[k], d_after, sums
                        )
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
                        rows.clear(d_keep[k])
                        tick.traces_adjoint(
                            decays, after, q[t, k], theta[t, k], d_after, sums
                        )
                    d_decays[PLACE.pre_decay] += rows.trace_adjoint(
                        decays.pre_decay, x, p[t], d_p, d_x
                    )
                for k in range(group):
                    low = (first + k) * LANES
                    high = min(neurons, low + LANES)
                    v_before = zeros[:LANES]
                    s_before = zeros[:LANES]
                    if not started and t > 0:
                        v_before = signals.potentials[t - 1, b, low:high]
                        s_before = signals.spikes[t - 1, b, low:high]
                    elif not started:
                        v_before = before_first[low:high]
                        s_before = fired[k]
                    d_potentials = zeros[:LANES]
                    d_spikes = zeros[:LANES]
                    if row.d_potentials != 0:
                        d_potentials = d_signals.potentials[t, b, low:high]
                    if row.d_spikes != 0:
                        d_spikes = d_signals.spikes[t, b, low:high]
                    now = Membrane(
                        signals.potentials[t, b, low:high],
                        signals.spikes[t, b, low:high],
                    )
                    unit.slopes_of(surrogate, slope, now, slopes[k])
                    unit.membrane_adjoint(
                        Membrane(d_potentials, d_spikes),
                        slopes[k],
                        Membrane(v_before, s_before),
                        beta[low:high],
                        soft,
                        Membrane(d_v[k], d_s[k]),
                        d_parameters.bias[low:high],
                        d_parameters.membrane_decay[low:high],
                        d_current[k],
                    )
                    rows.copy(d_current[k, : high - low], d_currents[t, b, low:high])
                for k in range(group if PLASTIC or RECURRENT else 0):
                    e = h if PLASTIC else 0
                    weights = Weights(
                        parameters.recurrent_weight[first + k],
                        parameters.plasticity_gain[first + k],
                        fast[e, k],
                    )
                    tick.currents_adjoint(
                        weights,
                        before,
                        post_mean[t, k],
                        d_current[k],
                        d_parameters.plasticity_gain[first + k],
                        d_fast[k],
                        d_before,
                        d_post_mean[k],
                        wanted,
                    )
                    if BIASES:
                        for j in range(LANES):
                            d_post_mean[k, j] += bias_adjoint(
                                post_mean[t, k, j], w, d_current[k, j], sum_w, j
                            )
                if RECURRENT:
                    rows.add_multiple(ONE, d_x, d_s.reshape(group * LANES))
                elif wanted:
                    rows.add_multiple(ONE, d_x, d_signals.inputs[t, b])
                if started:
                    rows.clear(carried)
    for j in range(LANES):
        d_decays[PLACE.post_decay] += sum_post_decay[j]
        d_decays[PLACE.threshold_decay] += sum_threshold_decay[j]
        d_decays[PLACE.eta] += sum_eta[j]
    rows.clear(d_parameters.coefficients)
    for n in range(COEFFICIENTS):
        for j in range(LANES):
            d_parameters.coefficients[n] += sum_w[n, j]
    return end
