"""Spiking layers with a hand-written backward pass in PyTorch operations, for any device and dtype.

The fast weights are updated in place and kept every few ticks; the backward pass recomputes what
lies between. `policies.reference` states the equations; the letters here are the same.
"""

import math
from collections.abc import Callable
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from spikepropamine.policies.neurons import THRESHOLD, integrate
from spikepropamine.policies.reference import LayerParameters, LayerSpec, LayerState
from spikepropamine.policies.surrogates import SURROGATES


class Drive(NamedTuple):
    """A rule whose drive is D_ji = a_j p_i + c_j F_ji.

    coefficients gives (a, c) for traces q and thresholds theta [B, n], and gradient gives
    (da/dq, da/dtheta, dc/dq), each a tensor [B, n] or a number.
    """

    coefficients: Callable[[Tensor, Tensor], tuple]
    gradient: Callable[[Tensor, Tensor], tuple]


DRIVES: dict[str, Drive] = {
    "hebb": Drive(lambda q, theta: (q, -torch.ones_like(q)), lambda q, theta: (1.0, 0.0, 0.0)),
    "oja": Drive(lambda q, theta: (q, -q.square()), lambda q, theta: (1.0, 0.0, -2.0 * q)),
    "bcm": Drive(
        lambda q, theta: (q * (q - theta), torch.zeros_like(q)),
        lambda q, theta: (2.0 * q - theta, -q, 0.0),
    ),
    "bcm_decay": Drive(
        lambda q, theta: (q * (q - theta), -torch.ones_like(q)),
        lambda q, theta: (2.0 * q - theta, -q, 0.0),
    ),
}


class _Update(NamedTuple):
    """One tick's update of the fast weights F and eligibilities e, all [B, n] but decay.

    F <- clip(keep F + r e), e <- decay e + a p + c F with an eligibility, else
    F <- clip(c F + a p).
    """

    a: Tensor
    c: Tensor
    r: Any
    decay: Any
    clip: float

    def unclipped(self, fast: Tensor, trace: Tensor | None, p: Tensor) -> Tensor:
        if trace is not None:
            return torch.addcmul(fast, self.r.unsqueeze(2), trace)
        return torch.addcmul(self.c.unsqueeze(2) * fast, self.a.unsqueeze(2), p.unsqueeze(1))

    def next_trace(self, fast: Tensor, trace: Tensor | None, p: Tensor) -> Tensor | None:
        if trace is None:
            return None
        driven = torch.addcmul(self.c.unsqueeze(2) * fast, self.a.unsqueeze(2), p.unsqueeze(1))
        return torch.addcmul(driven, self.decay, trace)


class _Layer:
    """Spec and parameters of a layer, and the steps that both passes take."""

    def __init__(self, spec: LayerSpec, parameters: LayerParameters) -> None:
        self.spec = spec
        # fields that the layer does not have are None, and are not used
        self.p: Any = parameters
        self.retroactive = spec.modulation == "retroactive"
        self.drive: Any = DRIVES[spec.rule] if spec.plastic else None

    def traces(self, pre, post, theta, x, s):
        """Traces after a tick from those before it."""
        p = self.p
        pre = torch.lerp(x, pre, p.pre_decay)
        post = torch.lerp(s, post, p.post_decay)
        if "threshold" in self.spec.state_shapes:
            theta = torch.lerp(post.square(), theta, p.threshold_decay)
        return pre, post, theta

    def update(self, post: Tensor, theta: Tensor, rate: Tensor) -> _Update:
        a, c = self.drive.coefficients(post, theta)
        if self.retroactive:
            eta = self.p.eta
            return _Update(eta * a, eta * c, rate, 1.0 - eta, self.spec.clip)
        decay = rate.abs() if self.spec.decay == "contracting" else rate
        return _Update(rate * a, 1.0 + decay * c, None, None, self.spec.clip)


def _keep(starts: Tensor) -> list[Tensor | None]:
    """For each tick [B, 1], 0 where an episode starts, or None if none does."""
    has_start = (starts > 0).any(dim=1).tolist()
    keep = (1.0 - starts).unsqueeze(2).unbind(0)
    return [k if started else None for k, started in zip(keep, has_start)]


def _masked(keep: Tensor | None, *tensors: Tensor | None) -> list[Any]:
    if keep is None:
        return list(tensors)
    return [None if x is None else x * keep.view(-1, *[1] * (x.dim() - 1)) for x in tensors]


class _Sequence(torch.autograd.Function):
    """`layer_sequence`, with gradients to all but the incoming state and from all but the new."""

    @staticmethod
    def forward(ctx, spec, names, inputs, starts, rate, *tensors):
        p: Any = LayerParameters(*tensors[: len(LayerParameters._fields)])
        layer = _Layer(spec, p)
        state: dict[str, Any] = dict(zip(names, tensors[len(p) :]))
        ctx.set_materialize_grads(False)
        currents = torch.nn.functional.linear(inputs, p.weight, p.bias)
        ticks = len(currents)
        length = max(1, math.isqrt(ticks))
        v = state["potential"]
        s = (v > THRESHOLD).to(v.dtype)
        pre, post = state.get("pre"), state.get("post")
        theta = state.get("threshold", post)
        fast, trace = state.get("fast_weights"), state.get("eligibility")
        all_spikes, all_potentials, saved = [], [], []
        keeps = _keep(starts)
        for t, (keep, x, current) in enumerate(zip(keeps, inputs.unbind(0), currents.unbind(0))):
            if spec.plastic and t % length == 0 and any(ctx.needs_input_grad):
                saved += [fast, trace]
            v, s, pre, post, theta, fast, trace = _masked(keep, v, s, pre, post, theta, fast, trace)
            if spec.recurrent:
                x = s
                current = current + torch.nn.functional.linear(x, p.recurrent_weight)
            if spec.plastic:
                effective = (p.plasticity_gain * fast).transpose(1, 2)
                current = current + torch.bmm(x.unsqueeze(1), effective).squeeze(1)
            v = integrate(v, s, current, p.membrane_decay, spec.soft_reset)
            s = (v > THRESHOLD).to(v.dtype)
            if spec.plastic:
                pre, post, theta = layer.traces(pre, post, theta, x, s)
                update = layer.update(post, theta, rate[t])
                new_trace = update.next_trace(fast, trace, pre)
                fast = update.unclipped(fast, trace, pre).clamp_(-spec.clip, spec.clip)
                trace = new_trace
            all_spikes.append(s)
            all_potentials.append(v)
        new = {
            "potential": v.clone(),
            "pre": pre,
            "post": post,
            "threshold": theta,
            "fast_weights": fast,
            "eligibility": trace,
        }
        spikes, potentials = torch.stack(all_spikes), torch.stack(all_potentials)
        ctx.spec, ctx.names, ctx.length = spec, names, length
        first = [x for k, x in state.items() if k not in ("fast_weights", "eligibility")]
        ctx.save_for_backward(inputs, starts, rate, *p, spikes, potentials, *first, *saved)
        results = [new[k] for k in names]
        ctx.mark_non_differentiable(*results)
        return spikes, potentials, *results

    @staticmethod
    @once_differentiable
    def backward(ctx, d_spikes, d_potentials, *_):
        spec, length = ctx.spec, ctx.length
        inputs, starts, rate, *rest = ctx.saved_tensors
        p: Any = LayerParameters(*rest[: len(LayerParameters._fields)])
        layer = _Layer(spec, p)
        spikes, potentials, *rest = rest[len(p) :]
        fields = [k for k in ctx.names if k not in ("fast_weights", "eligibility")]
        state, saved = dict(zip(fields, rest)), rest[len(fields) :]
        ticks = len(spikes)
        keeps = _keep(starts)

        # what was known before each tick, and the traces after it
        v = state["potential"]
        before_v = [*_masked_list(keeps, [v, *potentials.unbind(0)[:-1]])]
        fired = (v > THRESHOLD).to(v.dtype)
        before_s = [*_masked_list(keeps, [fired, *spikes.unbind(0)[:-1]])]
        xs = before_s if spec.recurrent else inputs.unbind(0)
        traces, updates = [], []
        if spec.plastic:
            values: Any = state["pre"], state["post"], state.get("threshold", state["post"])
            for keep, x, s, r in zip(keeps, xs, spikes.unbind(0), rate.unbind(0)):
                before = pre, post, theta = _masked(keep, *values)
                values = layer.traces(pre, post, theta, x, s)
                traces.append((before, values))
                updates.append(layer.update(values[1], values[2], r))

        slopes = SURROGATES[spec.surrogate](potentials - THRESHOLD, spec.slope).unbind(0)
        d_currents = torch.empty_like(spikes)
        d_x_all: Any = None if spec.recurrent or not spec.plastic else torch.empty_like(inputs)
        d_rate: Any = torch.empty_like(spikes) if spec.plastic else None
        d = {k: torch.zeros_like(x) for k, x in p._asdict().items() if x is not None}
        d_v = d_s = torch.zeros_like(v)
        d_pre: Any = None
        d_post = d_theta = d_fast = d_trace = d_pre
        if spec.plastic:
            d_pre, d_post = torch.zeros_like(state["pre"]), torch.zeros_like(state["post"])
            d_theta = torch.zeros_like(state["post"])
            d_fast = saved[0].new_zeros(saved[0].shape)
            d_trace = torch.zeros_like(d_fast) if layer.retroactive else None
        history: list[tuple[Tensor, Tensor | None, Tensor]] = []
        for t in reversed(range(ticks)):
            keep, x = keeps[t], xs[t]
            ds = d_s if d_spikes is None else d_s + d_spikes[t]
            dv = d_v if d_potentials is None else d_v + d_potentials[t]
            if spec.plastic:
                if not history:
                    start = t - t % length
                    fast, trace = saved[2 * (start // length) : 2 * (start // length) + 2]
                    for u in range(start, t + 1):
                        fast, trace = _masked(keeps[u], fast, trace)
                        pre_u = traces[u][1][0]
                        raw = updates[u].unclipped(fast, trace, pre_u)
                        history.append((fast, trace, raw.abs() <= spec.clip))
                        trace = updates[u].next_trace(fast, trace, pre_u)
                        fast = raw.clamp_(-spec.clip, spec.clip)
                fast, trace, inside = history.pop()
                (pre_before, post_before, theta_before), (pre, post, theta) = traces[t]
                update = updates[t]
                d_raw = d_fast * inside
                driven = d_trace if layer.retroactive else d_raw  # gradient to the drive's sum
                d_a = torch.bmm(driven, pre.unsqueeze(2)).squeeze(2)
                d_c = (driven * fast).sum(2)
                d_pre = d_pre + torch.bmm(update.a.unsqueeze(1), driven).squeeze(1)
                a, c = layer.drive.coefficients(post, theta)
                a_q, a_theta, c_q = layer.drive.gradient(post, theta)
                sign: Any = 1.0
                if spec.decay == "contracting" and not layer.retroactive:
                    sign = rate[t].sign()
                d_c = sign * d_c
                along = d_a * a + d_c * c
                if layer.retroactive:
                    factor = p.eta
                    d_rate[t] = (d_raw * trace).sum(2)
                    d["eta"] += along.sum() - (d_trace * trace).sum()
                    d_trace = torch.addcmul(update.decay * d_trace, update.r.unsqueeze(2), d_raw)
                    d_fast = torch.addcmul(d_raw, update.c.unsqueeze(2), driven)
                else:
                    factor = rate[t]
                    d_rate[t] = along
                    d_fast = update.c.unsqueeze(2) * d_raw
                d_post = d_post + factor * (d_a * a_q + d_c * c_q)
                if "threshold" in spec.state_shapes:
                    d_theta = d_theta + factor * d_a * a_theta
                    d_post = d_post + 2.0 * (1.0 - p.threshold_decay) * post * d_theta
                    d["threshold_decay"] += (d_theta * (theta_before - post.square())).sum()
                    d_theta = p.threshold_decay * d_theta
                d["post_decay"] += (d_post * (post_before - spikes[t])).sum()
                ds = ds + (1.0 - p.post_decay) * d_post
                d_post = p.post_decay * d_post
                d["pre_decay"] += (d_pre * (pre_before - x)).sum()
                d_x = (1.0 - p.pre_decay) * d_pre
                d_pre = p.pre_decay * d_pre
            d_current = d_currents[t] = torch.addcmul(dv, ds, slopes[t])
            if spec.soft_reset:
                d["membrane_decay"] += (d_current * before_v[t]).sum(0)
                d_v, d_s = p.membrane_decay * d_current, -THRESHOLD * d_current
            else:
                kept = d_current * (1.0 - before_s[t])
                d["membrane_decay"] += (kept * before_v[t]).sum(0)
                d_v = p.membrane_decay * kept
                d_s = -p.membrane_decay * d_current * before_v[t]
            if spec.plastic:
                outer = d_current.unsqueeze(2) * x.unsqueeze(1)
                d["plasticity_gain"] += (outer * fast).sum(0)
                effective = p.plasticity_gain * fast
                d_x = d_x + torch.bmm(d_current.unsqueeze(1), effective).squeeze(1)
                d_fast = torch.addcmul(d_fast, outer, p.plasticity_gain)
            if spec.recurrent:
                d_s = d_s + d_current @ p.recurrent_weight
                if spec.plastic:
                    d_s = d_s + d_x
            elif spec.plastic:
                d_x_all[t] = d_x
            d_v, d_s, d_pre, d_post, d_theta, d_fast, d_trace = _masked(
                keep, d_v, d_s, d_pre, d_post, d_theta, d_fast, d_trace
            )
        # the static synapses, for all ticks at once
        flat = d_currents.flatten(0, 1)
        d_inputs = d_currents @ p.weight
        if d_x_all is not None:
            d_inputs += d_x_all
        d["weight"], d["bias"] = flat.t() @ inputs.flatten(0, 1), flat.sum(0)
        if spec.recurrent:
            d["recurrent_weight"] = flat.t() @ torch.stack(before_s).flatten(0, 1)
        gradients = [d.get(k) for k in LayerParameters._fields]
        return None, None, d_inputs, None, d_rate, *gradients, *[None] * len(ctx.names)


def _masked_list(keeps: list[Tensor | None], values: list[Tensor]) -> list[Tensor]:
    return [_masked(keep, value)[0] for keep, value in zip(keeps, values)]


def layer_sequence(
    spec: LayerSpec,
    parameters: LayerParameters,
    inputs: Tensor,
    starts: Tensor,
    rate: Tensor | None,
    state: LayerState,
    state_wanted: bool = True,
) -> tuple[Tensor, Tensor, LayerState]:
    """`policies.reference.layer_sequence`, for tensors of any device and floating dtype.

    It differs in one point: no gradient reaches the incoming state, nor comes from the new one
    (sequences are where backpropagation through time is truncated).

    Raises:
        ValueError: a field of the state requires a gradient.
    """
    if any(x.requires_grad for x in state.values()):
        raise ValueError("the state must not require gradients; detach it, or use the reference")
    names = tuple(state)
    starts = (starts > 0).to(inputs.dtype)
    spikes, potentials, *new = _Sequence.apply(
        spec, names, inputs, starts, rate, *parameters, *state.values()
    )
    return spikes, potentials, dict(zip(names, new))
