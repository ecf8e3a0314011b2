"""The readable definition of a spiking layer: the equations of the model, tick by tick.

It is what the words "plastic spiking layer" mean in this project. Faster
implementations share its signature and are tested against it, value and gradient.
"""

# PyTorch's `Function.apply` has no annotations.
# mypy: allow-untyped-calls

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple

import torch
from torch import Tensor

from spikepropamine.policies.rules import OF_FAST_WEIGHTS, RULES, larger, log

THRESHOLD = 1.0
"""Of the membrane potential. Weights and biases scale with it, so one value serves."""


def fast_sigmoid(u: Tensor, slope: float) -> Tensor:
    """Derivative of a fast sigmoid, 1 / (1 + slope |u|)^2 (SuperSpike, Zenke and
    Ganguli 2018).
    """
    return (1.0 + slope * u.abs()).square().reciprocal()


def arctan(u: Tensor, slope: float) -> Tensor:
    """Derivative of an arctangent, 1 / (1 + (pi slope u / 2)^2) (Fang et al. 2021)."""
    return (1.0 + (0.5 * torch.pi * slope * u).square()).reciprocal()


def triangle(u: Tensor, slope: float) -> Tensor:
    """max(0, 1 - slope |u|) (Bellec et al. 2020, there damped by a factor 0.3)."""
    return (1.0 - slope * u.abs()).clamp_min(0.0)


def rectangle(u: Tensor, slope: float) -> Tensor:
    """1 where |u| < 1 / (2 slope), else 0 (PopSAN, Tang et al. 2020, with slope 1)."""
    return (u.abs() < 0.5 / slope).to(u.dtype)


SURROGATES: dict[str, Callable[[Tensor, float], Tensor]] = {
    "fast_sigmoid": fast_sigmoid,
    "arctan": arctan,
    "triangle": triangle,
    "rectangle": rectangle,
}


class _Spike(torch.autograd.Function):
    """Forwards exactly 0 or 1 (a straight-through sum would be off by rounding)."""

    @staticmethod
    def forward(ctx: Any, u: Tensor, surrogate: str, slope: float) -> Tensor:
        ctx.save_for_backward(u)
        ctx.surrogate = surrogate
        ctx.slope = slope
        return (u > 0).to(u.dtype)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None, None]:
        (u,) = ctx.saved_tensors
        return grad * SURROGATES[ctx.surrogate](u, ctx.slope), None, None


def fire(potential: Tensor, surrogate: str, slope: float) -> Tensor:
    """Spikes s = H(v - v_th), with a surrogate derivative, which peaks at 1 where v =
    v_th.

    Args:
        potential: v, any shape.
        surrogate: one of `SURROGATES`.
        slope: of the surrogate, in 1 / potential.

    Returns:
        1 where v > v_th, else 0.
    """
    spikes: Tensor = _Spike.apply(potential - THRESHOLD, surrogate, slope)
    return spikes


def integrate(
    potential: Tensor,
    spikes: Tensor,
    current: Tensor,
    decay: Tensor | float,
    soft_reset: bool,
) -> Tensor:
    """Membrane potentials v(t) from v(t-1), s(t-1) and I(t), all [B, n].

    v(t) = beta v(t-1) (1 - s(t-1)) + I(t), or with a soft reset v(t) = beta v(t-1) -
    v_th s(t-1) + I(t) (as in Bellec et al. 2020).

    Args:
        potential: v(t-1).
        spikes: s(t-1).
        current: I(t).
        decay: beta in (0, 1), [n] or a number.
        soft_reset: which of the two forms.
    """
    if soft_reset:
        return decay * potential - THRESHOLD * spikes + current
    return decay * potential * (1.0 - spikes) + current


LayerState = dict[str, Tensor]
Modulation = Literal["none", "direct", "retroactive"]
log.register(Tensor, torch.log)
larger.register(Tensor, torch.clamp_min)


@dataclass(frozen=True)
class LayerSpec:
    """What a layer is, apart from its numbers.

    Attributes:
        inputs: presynaptic channels n_in.
        neurons: LIF neurons n_out.
        rule: a key of `policies.rules.RULES`, or "none" for a static layer.
        modulation: "none" (the rule acts by itself), "direct" or "retroactive"
            (neuromodulated).
        recurrent: adds all-to-all synapses among the layer's neurons, with one tick of
            delay. In a recurrent plastic layer these are the plastic ones and the input
            synapses are static.
        units: "spiking", or "tanh": leaky units of which the output s = tanh(v) is
            graded.
        surrogate: a key of `SURROGATES`.
        slope: of the surrogate.
        soft_reset: a spike subtracts the threshold from the potential, instead of
            zeroing it.
        clip: bound c of the fast weights.
        decay: "contracting": what a rule subtracts in proportion to F shrinks F,
            whatever the sign of its rate; "plain": the rate multiplies the drive as a
            whole.
    """

    inputs: int
    neurons: int
    rule: str = "none"
    modulation: Modulation = "none"
    recurrent: bool = False
    units: Literal["spiking", "tanh"] = "spiking"
    surrogate: str = "fast_sigmoid"
    slope: float = 5.0
    soft_reset: bool = False
    clip: float = 1.0
    decay: Literal["contracting", "plain"] = "contracting"

    @property
    def plastic(self) -> bool:
        """Whether the layer has fast weights."""
        return self.rule != "none"

    @property
    def plastic_inputs(self) -> int:
        """Presynaptic channels n_pre of the plastic synapses."""
        return self.neurons if self.recurrent else self.inputs

    @property
    def has_target(self) -> bool:
        """Whether the rule uses v, the current of a second compartment."""
        return self.plastic and "v" in RULES[self.rule].variables

    @property
    def state_shapes(self) -> dict[str, tuple[int, ...]]:
        """Fields of the layer's state and their shapes, without the batch axis."""
        shapes: dict[str, tuple[int, ...]] = {"potential": (self.neurons,)}
        if self.plastic:
            shapes |= {"pre": (self.plastic_inputs,), "post": (self.neurons,)}
            if "theta" in RULES[self.rule].variables:
                shapes["threshold"] = (self.neurons,)
            if RULES[self.rule].mean_of("p") is not None:
                shapes["pre_mean"] = (self.plastic_inputs,)
            if RULES[self.rule].mean_of("q") is not None:
                shapes["post_mean"] = (self.neurons,)
            shapes["fast_weights"] = (self.neurons, self.plastic_inputs)
            if self.modulation == "retroactive":
                shapes["eligibility"] = (self.neurons, self.plastic_inputs)
        return shapes


class LayerParameters(NamedTuple):
    """The trainable parameters of a layer, in the units in which the equations use
    them.

    weight W [n_out, n_in]; bias b [n_out]; membrane_decay beta [n_out] in (0, 1);
    recurrent_weight [n_out, n_out] or None; and, for a plastic layer, plasticity_gain
    alpha [n_out, n_pre], the scalars in (0, 1) pre_decay lp, post_decay lq,
    threshold_decay lt, eta, and the rule's own coefficients [number of them]; those of
    each synapse, `synaptic` [number of them, n_out, n_pre]; and the shares in (0, 1) at
    which the rule's means of p and q move. Tensors all; None where the layer has no use
    for them.
    """

    weight: Tensor
    bias: Tensor
    membrane_decay: Tensor
    recurrent_weight: Any = None
    plasticity_gain: Any = None
    pre_decay: Any = None
    post_decay: Any = None
    threshold_decay: Any = None
    eta: Any = None
    coefficients: Any = None
    synaptic: Any = None
    pre_mean_share: Any = None
    post_mean_share: Any = None


class LayerOutput(NamedTuple):
    """What a layer did, tick by tick, each [T, B, n_out].

    spikes are 0 or 1; potentials are taken before the reset; rate is what multiplied
    the drive of the plasticity (eta or the neuromodulator, in [-1, 1]), or None in a
    static layer.
    """

    spikes: Tensor
    potentials: Tensor
    rate: Tensor | None


def may_start(starts: Tensor) -> list[bool]:
    """Of each tick, whether an episode may start there in some environment.

    Args:
        starts: [T, B], 1 where one does. Its numbers are not there yet where
            `torch.export` makes a graph: then one may start at every tick.
    """
    if torch.compiler.is_exporting():
        return [True] * len(starts)
    flags: list[bool] = (starts > 0).any(dim=1).tolist()
    return flags


def layer_sequence(
    spec: LayerSpec,
    parameters: LayerParameters,
    inputs: Tensor,
    starts: Tensor,
    rate: Tensor | None,
    state: LayerState,
    state_wanted: bool = True,
    target: Tensor | None = None,
) -> tuple[Tensor, Tensor, LayerState]:
    """Runs a layer over a whole sequence of ticks.

        I(t) = W s_in(t) + b + (V + alpha F(t)) s_pre(t)  V: recurrent weights, if any
        v(t) = beta v(t-1) (1 - s(t-1)) + I(t)
                     soft reset: beta v(t-1) - v_th s(t-1) + I(t)
        s(t) = H(v(t) - v_th)
        units tanh: v(t) = beta v(t-1) + I(t), s(t) = tanh(v(t))
        p(t) = lp p(t-1) + (1-lp) s_pre(t)     q(t) = lq q(t-1) + (1-lq) s(t)
        theta(t) = lt theta(t-1) + (1-lt) q(t)^2
        F(t+1) = clip(F(t) + r D0 + |r| (D - D0))
                     r(t): eta, or the neuromodulator; D(t): the rule's drive, of p, q,
                     theta, y = F(t) p(t), ... of this tick; D0: where F, and so y, is 0
        retroactive:      F(t+1) = clip(F(t) + r e + |r| (D - D0))
                          e(t+1) = (1-eta) e + eta D0
        with plain decay: F(t+1) = clip(F(t) + r D)
        and retroactive:  F(t+1) = clip(F(t) + r e)
                          e(t+1) = (1-eta) e + eta D

    A rule's means P and Q of p and q move with shares a and b of the rate,
    P(t+1) = P + a mean(|r|) (p - P) and Q(t+1) = Q + b |r| (q - Q); its weight(F, P, Q)
    takes the place of F in the current, to which its bias(Q) is added.

    The part of D that depends on F, which is decay, thus shrinks F whatever the sign of
    r. Hebb's rule becomes gated forgetting, F(t+1) = (1 - |r|) F + r q p, whose
    gradients stay bounded through long sequences; those of Oja's rule may grow.

    s_pre is the input, or in a recurrent layer the layer's own spikes of the tick
    before.

    Args:
        spec: the kind of layer.
        parameters: its numbers.
        inputs: [T, B, n_in] spikes or currents.
        starts: [T, B], 1 where an episode starts: the state is zeroed before that tick.
        rate: [T, B, n_out], per neuron and tick, what multiplies the drive: eta for a
            plain rule, the neuromodulator m for a modulated one. None for a static
            layer.
        state: fields of `spec.state_shapes`, each [B, ...]; not changed.
        state_wanted: False: the new state may be left out, as a faster implementation
            does.
        target: [T, B, n_out], v of rules that use it.

    Returns:
        Spikes [T, B, n_out] (0 or 1), membrane potentials before reset [T, B, n_out],
        new state.
    """
    p = parameters
    currents = torch.nn.functional.linear(inputs, p.weight, p.bias)
    has_start = may_start(starts)
    state = dict(state)
    spikes = outputs_of(spec, state["potential"])
    all_spikes = []
    all_potentials = []
    # unbind, since indexing a tensor inside the loop has a backward that is quadratic
    # in T
    rates, targets = (
        [None] * len(has_start) if x is None else x.unsqueeze(3).unbind(0)
        for x in (rate, target)
    )
    ticks = zip(
        inputs.unbind(0),
        currents.unbind(0),
        starts.unbind(0),
        has_start,
        rates,
        targets,
    )
    for presynaptic, current, start, started, tick_rate, tick_target in ticks:
        if started:
            keep = 1.0 - start
            state = {
                k: x * keep.view(-1, *[1] * (x.dim() - 1)) for k, x in state.items()
            }
            spikes = spikes * keep.unsqueeze(1)
        if spec.recurrent:
            presynaptic = spikes
            current = current + torch.nn.functional.linear(
                presynaptic, p.recurrent_weight
            )
        if spec.plastic:
            rule = RULES[spec.rule]
            means = _means(state)
            effective = p.plasticity_gain * rule.effective(state["fast_weights"], means)
            gathered = torch.bmm(presynaptic.unsqueeze(1), effective.transpose(1, 2))
            current = current + gathered.squeeze(1)
            if rule.bias is not None:
                current = current + rule.excitability(means, p.coefficients).squeeze(2)
        if spec.units == "spiking":
            potential = integrate(
                state["potential"], spikes, current, p.membrane_decay, spec.soft_reset
            )
        else:
            potential = p.membrane_decay * state["potential"] + current
        spikes = outputs_of(spec, potential)
        state["potential"] = potential
        if spec.plastic:
            _plasticity(spec, p, presynaptic, spikes, tick_rate, tick_target, state)
        all_spikes.append(spikes)
        all_potentials.append(potential)
    return torch.stack(all_spikes), torch.stack(all_potentials), state


def leaky_sequence(
    spikes: Tensor, starts: Tensor, decay: Tensor, value: Tensor
) -> Tensor:
    """Leaky integration z(t) = kappa z(t-1) + (1 - kappa) s(t) (readout of Bellec et
    al. 2020).

    Args:
        spikes: s, [T, B, n].
        starts: [T, B], 1 where an episode starts: z is zeroed before that tick.
        decay: kappa, [n], in (0, 1).
        value: z before the first tick, [B, n].

    Returns:
        z, [T, B, n].
    """
    values = []
    for step, keep in zip(((1.0 - decay) * spikes).unbind(0), (1.0 - starts).unbind(0)):
        value = decay * (value * keep.unsqueeze(1)) + step
        values.append(value)
    return torch.stack(values)


def outputs_of(spec: LayerSpec, potential: Tensor) -> Tensor:
    """What a layer's neurons give at membrane potentials: spikes, or with units tanh
    s = tanh(v).

    Args:
        spec: the kind of layer.
        potential: v, of any shape.

    Returns:
        s, of the same shape.
    """
    if spec.units == "tanh":
        return torch.tanh(potential)
    return fire(potential, spec.surrogate, spec.slope)


def _means(state: LayerState) -> dict[str, Tensor]:
    """A rule's own means, shaped as what they are means of, for all synapses."""
    means = {}
    if "pre_mean" in state:
        means["p"] = state["pre_mean"].unsqueeze(1)
    if "post_mean" in state:
        means["q"] = state["post_mean"].unsqueeze(2)
    return means


def _plasticity(
    spec: LayerSpec,
    p: LayerParameters,
    presynaptic: Tensor,
    spikes: Tensor,
    rate: Any,
    target: Any,
    state: LayerState,
) -> None:
    """Traces, then fast weights, of one tick; replaces the fields of `state` (a private
    copy).
    """
    pre = state["pre"] = p.pre_decay * state["pre"] + (1.0 - p.pre_decay) * presynaptic
    post = state["post"] = p.post_decay * state["post"] + (1.0 - p.post_decay) * spikes
    fast = state["fast_weights"]
    values: dict[str, Any] = {"p": pre.unsqueeze(1), "q": post.unsqueeze(2), "f": fast}
    values |= {"x": presynaptic.unsqueeze(1), "s": spikes.unsqueeze(2)}
    if "threshold" in state:
        decay = p.threshold_decay
        threshold = state["threshold"] = (
            decay * state["threshold"] + (1.0 - decay) * post.square()
        )
        values["theta"] = threshold.unsqueeze(2)
    rule = RULES[spec.rule]
    if "y" in rule.variables:
        values["y"] = torch.bmm(fast, pre.unsqueeze(2))
    if "pp" in rule.variables:
        values["pp"] = pre.square().sum(dim=1).view(-1, 1, 1)
    values["v"] = target
    values |= rule.named(_means(state))
    values |= zip(rule.synaptic, () if p.synaptic is None else p.synaptic)
    if "pre_mean" in state:
        share = p.pre_mean_share * rate.abs().mean(dim=1)
        mean = state["pre_mean"]
        state["pre_mean"] = mean + share * (pre - mean)
    if "post_mean" in state:
        share = p.post_mean_share * rate.abs().squeeze(2)
        mean = state["post_mean"]
        state["post_mean"] = mean + share * (post - mean)
    drive = rule(values, p.coefficients)
    change: Any = 0.0
    if spec.decay == "contracting":
        free = rule(values | dict.fromkeys(OF_FAST_WEIGHTS, 0.0), p.coefficients)
        change = rate.abs() * (drive - free)
        drive = free
    if spec.modulation == "retroactive":
        change = (
            change + rate * state["eligibility"]
        )  # the eligibility of the tick before
        state["eligibility"] = (1.0 - p.eta) * state["eligibility"] + p.eta * drive
    else:
        change = change + rate * drive
    state["fast_weights"] = (fast + change).clamp(-spec.clip, spec.clip)
