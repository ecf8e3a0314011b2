"""One tick of leaky integrate-and-fire neurons; spikes, with a surrogate gradient backwards."""

from collections.abc import Callable

import torch
from torch import Tensor

THRESHOLD = 1.0  # of the membrane potential; weights and biases scale with it, so one value serves


def fast_sigmoid(u: Tensor, slope: float) -> Tensor:
    """Derivative of a fast sigmoid, 1 / (1 + slope |u|)^2 (SuperSpike, Zenke and Ganguli 2018)."""
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
    def forward(ctx, u: Tensor, surrogate: str, slope: float) -> Tensor:
        ctx.save_for_backward(u)
        ctx.surrogate, ctx.slope = surrogate, slope
        return (u > 0).to(u.dtype)

    @staticmethod
    def backward(ctx, grad: Tensor) -> tuple[Tensor, None, None]:
        (u,) = ctx.saved_tensors
        return grad * SURROGATES[ctx.surrogate](u, ctx.slope), None, None


def spike(u: Tensor, surrogate: str, slope: float) -> Tensor:
    """Spikes H(u), 1 where u > 0 and else 0, with a surrogate derivative.

    Args:
        u: membrane potential above threshold, any shape.
        surrogate: a key of `SURROGATES`; each derivative peaks at 1 where u = 0.
        slope: sharpness of the surrogate, above 0, in 1 / potential.
    """
    return _Spike.apply(u, surrogate, slope)


def fire(potential: Tensor, surrogate: str, slope: float) -> Tensor:
    """Spikes s = H(v - v_th) of membrane potentials v, with a surrogate gradient."""
    return spike(potential - THRESHOLD, surrogate, slope)


def integrate(
    potential: Tensor, spikes: Tensor, current: Tensor, decay: Tensor | float, soft_reset: bool
) -> Tensor:
    """Membrane potentials v(t) from v(t-1), s(t-1) and I(t), all [B, n].

    v(t) = beta v(t-1) (1 - s(t-1)) + I(t), or with a soft reset
    v(t) = beta v(t-1) - v_th s(t-1) + I(t)   (as in Bellec et al. 2020).
    """
    if soft_reset:
        return decay * potential - THRESHOLD * spikes + current
    return decay * potential * (1.0 - spikes) + current
