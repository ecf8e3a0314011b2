"""One tick of leaky integrate-and-fire neurons."""

from torch import Tensor

from spikepropamine.policies.surrogates import spike

THRESHOLD = 1.0  # of the membrane potential; weights and biases scale with it, so one value serves


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
