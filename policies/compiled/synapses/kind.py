"""The kind of layer for which this package is compiled; here as an example, Hebb's rule."""

from spikepropamine.policies.compiled.numba_private import constant, inlined

NAME = "example"
PLASTIC = True  # or static synapses, which then are recurrent
RETROACTIVE = False  # the neuromodulator multiplies an eligibility, or the drive itself
CONTRACTING = True  # decay by |r|, or by r
RECURRENT = False
# terms that the rule has, see `derive`
HAS_K, HAS_A, HAS_B, HAS_C, HAS_M, HAS_Y = False, True, False, True, False, False
COEFFICIENTS = 0  # that the rule learns


@inlined
def drive(q, theta, s, w):
    """Coefficients of the terms, of one neuron."""
    zero = constant(0.0, q)
    return zero, q, zero, constant(-1.0, q), zero, zero


@inlined
def drive_adjoint(q, theta, s, w, d_k, d_a, d_b, d_c, d_m, d_y, d_w, j):
    """Gradients to q, theta and s; adds those to the learned coefficients to column j of d_w."""
    return d_a, constant(0.0, q), constant(0.0, q)
