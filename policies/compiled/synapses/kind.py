"""The kind of layer for which this package is compiled; here, one whose synapses are static.

`specialise` replaces the constants, and the functions by those that `derive` makes of a rule.
"""

from spikepropamine.policies.compiled.numba_private import constant, log
from spikepropamine.policies.compiled.rows import step

__all__ = ["constant", "log", "step"]  # for code of `derive`

NAME = "static"
PLASTIC = False  # or static synapses
RETROACTIVE = False  # the neuromodulator multiplies an eligibility, or the drive itself
CONTRACTING = True  # decay by |r|, or by r
RECURRENT = False
# terms that the rule has, see `derive`
HAS_K, HAS_A, HAS_B, HAS_C, HAS_M, HAS_Y, HAS_G = False, False, False, False, False, False, False
HAS_O = False
RECALLS, NORMALISES, TARGETED = False, False, False  # whether it takes y, pp and v
PRE_MEAN, POST_MEAN = False, False  # whether it has means of its own
WEIGHS, BIASES = False, False  # whether it has such formulas of its own
COEFFICIENTS, OWN = 0, 0  # that the layer and each synapse learn
WEIGHTED_A, WEIGHTED_C = False, False  # the terms that have a factor of the synapse's own


def drive(q, theta, s, y, pp, v, post_mean, w):
    """Coefficients of the terms, of one neuron."""
    return q, q, q, q, q, q, q, q


def drive_adjoint(
    q, theta, s, y, pp, v, post_mean, w, d_k, d_a, d_b, d_c, d_m, d_y, d_o, d_g, d_w, j
):  # fmt: skip
    """Gradients to q to post_mean; adds those to the learned coefficients to column j of d_w."""
    return q, q, q, q, q, q, q


def matrices_of(own):
    """An array for each of the synapses' coefficients [number, presynaptic, LANES], since Numba
    tells LLVM only of whole arrays that they do not overlap.
    """
    return (own[0],)


def weight_a(own, i, j):
    """Factor of the term with a, of a synapse."""
    return 1


def weight_a_adjoint(own, d_own, i, j, d):
    """Adds to d_own what the gradient d to that factor means."""


weight_c, weight_c_adjoint = weight_a, weight_a_adjoint


def weight(f, pre_mean, post_mean):
    """What a fast weight does."""
    return f


def weight_slopes(f, pre_mean, post_mean):
    """Its derivatives."""
    return f, f, f


def bias(post_mean, w):
    """What is added to the neuron's current."""
    return post_mean


def bias_adjoint(post_mean, w, d, d_w, j):
    """Gradient to the mean; adds those to the learned coefficients to column j of d_w."""
    return post_mean
