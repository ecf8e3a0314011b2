"""The neurons of a layer at one tick, and the adjoint: spiking ones, of `rows`, or
graded ones, leaky units without spikes.

    v(t) = beta v(t-1) + I(t)
    s(t) = tanh(v(t))
"""

# Numba finds out the types of what it compiles.
# mypy: allow-untyped-defs, allow-incomplete-defs, allow-untyped-decorators
# mypy: allow-untyped-calls

from spikepropamine.policies.compiled import rows
from spikepropamine.policies.compiled.cells import tanh
from spikepropamine.policies.compiled.numba_private import inlined
from spikepropamine.policies.compiled.rows import ONE, ZERO

from .kind import GRADED


@inlined
def fire(potential, s):
    """What neurons give at these potentials: spikes, or graded outputs."""
    if GRADED:
        for j in range(potential.shape[0]):
            s[j] = tanh(potential[j])
    else:
        rows.fire(potential, s)


@inlined
def membrane(potentials, synaptic, beta, soft, v, s, outputs):
    """`rows.membrane`, for the neurons of this kind; graded ones are not reset."""
    if GRADED:
        for j in range(potentials.shape[0]):
            new = beta[j] * v[j] + (potentials[j] + synaptic[j])
            v[j] = new
            potentials[j] = new
        for j in range(potentials.shape[0]):
            output = tanh(v[j])
            s[j] = output
            outputs[j] = output
    else:
        rows.membrane(potentials, synaptic, beta, soft, v, s, outputs)


@inlined
def slopes_of(surrogate, slope, now, slopes):
    """Derivatives of the outputs with respect to the potentials.

    Args:
        surrogate: as of `rows.surrogate_slopes`.
        slope: of the surrogate, in 1 / potential.
        now: `Membrane` of this tick.
        slopes: gets the derivatives, [n].
    """
    if GRADED:
        s = now.spikes
        for j in range(s.shape[0]):
            slopes[j] = ONE - s[j] * s[j]
    else:
        rows.surrogate_slopes(surrogate, slope, now.potential, slopes)


@inlined
def membrane_adjoint(
    d_now, slopes, before, beta, soft, d_through, d_bias, d_beta, d_current
):
    """`rows.membrane_adjoint`, for the neurons of this kind."""
    if GRADED:
        v = before.potential
        d_v, d_s = d_through.potential, d_through.spikes
        for j in range(beta.shape[0]):
            d = d_now.potential[j] + d_v[j] + slopes[j] * (d_now.spikes[j] + d_s[j])
            d_current[j] = d
            d_bias[j] += d
            d_beta[j] += d * v[j]
            d_v[j] = d * beta[j]
            d_s[j] = ZERO
    else:
        rows.membrane_adjoint(
            d_now, slopes, before, beta, soft, d_through, d_bias, d_beta, d_current
        )
