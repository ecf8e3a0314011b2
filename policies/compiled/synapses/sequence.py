"""Layers over a sequence, and the gradients.

Sequences run environment by environment, and the fast weights of one lie in scratch memory while
its sequence is run. They are kept every `SEGMENT` ticks, and the backward pass recomputes what lies
between, so that nothing of size T x B x n x n is ever stored. Neurons of a layer that is not
recurrent do not see each other, so that each block runs its whole sequence by itself; of a
recurrent one, all blocks (a group) run side by side.

A kernel that is called without scratch memory only returns how many bytes of it it needs.
"""

from spikepropamine.policies.compiled import rows
from spikepropamine.policies.compiled.numba_private import at, carve, kernel
from spikepropamine.policies.compiled.rows import ONE, SEGMENT, ZERO

from . import block, tick
from .gradients import backward
from .kind import (
    BIASES,
    COEFFICIENTS,
    NAME,
    OWN,
    PLASTIC,
    POST_MEAN,
    PRE_MEAN,
    RECALLS,
    RECURRENT,
    RETROACTIVE,
    bias,
    matrices_of,
)  # fmt: skip
from .tick import LANES

__all__ = ["backward", "forward"]


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
    carried = at(row.scratch, ((end - row.scratch) // v.itemsize,), like)  # all so far as one row
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
    beta = at(row.beta, (neurons,), like)
    w = at(row.coefficients, (COEFFICIENTS,), like)
    feedback = at(row.feedback, (blocks, width, LANES), like)
    gains = at(row.gains, (blocks, width, LANES), like)
    own = at(row.own, (blocks, OWN, width, LANES), like)
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
            old_p = row.old + row.old_pre + b * row.old_pre_stride
            old_q = row.old + row.old_post + b * row.old_post_stride
            old_theta = row.old + row.old_threshold + b * row.old_threshold_stride
            old_pre_mean = row.old + row.old_pre_mean + b * row.old_pre_mean_stride
            old_post_mean = row.old + row.old_post_mean + b * row.old_post_mean_stride
            old_fast = row.old + row.old_fast_weights + b * row.old_fast_weights_stride
            old_e = row.old + row.old_eligibility + b * row.old_eligibility_stride
            new_fast = row.new + row.new_fast_weights + b * row.new_fast_weights_stride
            new_e = row.new + row.new_eligibility + b * row.new_eligibility_stride
            passes = single and not starts[0, b] > ZERO
            for k in range(group):
                low = (first + k) * LANES
                block.fetch(old_v, neurons, low, v[k : k + 1])
                rows.fire(v[k], s[k])
                rows.clear(theta[k])
                if PLASTIC:
                    block.fetch(old_q, neurons, low, q[k : k + 1])
                    if row.threshold_decay != 0:
                        block.fetch(old_theta, neurons, low, theta[k : k + 1])
                if POST_MEAN:
                    block.fetch(old_post_mean, neurons, low, post_mean[k : k + 1])
                if PLASTIC and not passes:
                    block.fetch(old_fast, neurons, low, fast[k])
                    if RETROACTIVE:
                        block.fetch(old_e, neurons, low, eligibility[k])
            if RECURRENT:
                rows.copy(s.reshape(group * LANES)[:neurons], fired)
            if PLASTIC:
                rows.copy(at(old_p, (width,), like), p)
            if PRE_MEAN:
                rows.copy(at(old_pre_mean, (width,), like), pre_mean)
            for t in range(ticks):
                if starts[t, b] > ZERO:
                    rows.clear(carried)
                (x,) = block.presynaptic(inputs, spikes, starts, fired, silent, t, b)
                for k in range(group):
                    if t > 0 and t % SEGMENT == 0 and row.saved_fast != 0:
                        block.copy(fast[k], saved_fast[t // SEGMENT - 1, b, first + k])
                        if RETROACTIVE:
                            block.copy(
                                eligibility[k], saved_eligibility[t // SEGMENT - 1, b, first + k]
                            )
                    rows.clear(current[k])
                    f = fast[k]
                    if passes:
                        (f,) = block.columns(old_fast, width, neurons, (first + k) * LANES, v)
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
                    low, high = (first + k) * LANES, min(neurons, (first + k + 1) * LANES)
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
                            rows.mean(decays[5], rate[t, b, low:high], q[k], post_mean[k])
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
