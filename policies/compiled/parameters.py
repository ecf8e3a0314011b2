"""What the kernels are given: one list of names, from which come the table of addresses
that they are called with, and the named groups that they work with.

A gradient has the name of what it is with respect to, and its group is of the same
class. Numba takes a group apart where it is handed to a function: to LLVM its arrays
are separate arguments, which do not overlap.
"""

import struct
from typing import NamedTuple

import numpy as np

from spikepropamine.policies.reference import LayerParameters

# Sequences


class Signals(NamedTuple):
    """What is known of every tick, [T, B, channels or neurons]."""

    inputs: np.ndarray
    rate: np.ndarray
    target: np.ndarray
    spikes: np.ndarray
    potentials: np.ndarray


class Beginnings(NamedTuple):
    """What comes before a tick: starts [T, B]; fired, a layer's spikes before the first
    tick; silent, zeros.
    """

    starts: np.ndarray
    fired: np.ndarray
    silent: np.ndarray


class Parameters(NamedTuple):
    """Those parameters of a layer that ticks use one by one; matrices are in blocks
    [blocks, ..., presynaptic, LANES].
    """

    bias: np.ndarray
    membrane_decay: np.ndarray
    recurrent_weight: np.ndarray
    plasticity_gain: np.ndarray
    coefficients: np.ndarray
    synaptic: np.ndarray


class Decays(NamedTuple):
    """The scalars in (0, 1) that a plastic layer learns."""

    pre_decay: float
    post_decay: float
    threshold_decay: float
    eta: float
    pre_mean_share: float
    post_mean_share: float


# State


class Membrane(NamedTuple):
    """A row of neurons: potential v, and whether it has fired, s."""

    potential: np.ndarray
    spikes: np.ndarray


class Traces(NamedTuple):
    """p, q, theta, and the rule's means P and Q of p and q."""

    pre: np.ndarray
    post: np.ndarray
    threshold: np.ndarray
    pre_mean: np.ndarray
    post_mean: np.ndarray


class Synapses(NamedTuple):
    """F and e, in blocks [..., presynaptic, LANES]."""

    fast_weights: np.ndarray
    eligibility: np.ndarray


# One tick of a block of neurons


class Presynaptic(NamedTuple):
    """What a synapse knows of the side where it begins, one number a channel: the trace
    p, the activity x of this tick, and the mean P of p.
    """

    pre: np.ndarray
    x: np.ndarray
    pre_mean: np.ndarray


class Postsynaptic(NamedTuple):
    """What it knows of the side where it ends, one number a neuron: r, s, q, theta, the
    recalled current y, the target v, and the mean Q of q.
    """

    rate: np.ndarray
    spikes: np.ndarray
    post: np.ndarray
    threshold: np.ndarray
    recalled: np.ndarray
    target: np.ndarray
    post_mean: np.ndarray


class Weights(NamedTuple):
    """What a synapse that is not among the static ones of the inputs gives: V and alpha
    F.
    """

    recurrent: np.ndarray
    gain: np.ndarray
    fast: np.ndarray


class Segment(NamedTuple):
    """What the backward pass recomputes of the ticks between two saved fast weights."""

    fast_weights: np.ndarray
    eligibility: np.ndarray
    recalled: np.ndarray
    updates: np.ndarray


class Sums(NamedTuple):
    """Gradients to what a layer has once, summed for each lane [LANES]; those to the
    coefficients are [number, LANES].
    """

    post_decay: np.ndarray
    threshold_decay: np.ndarray
    eta: np.ndarray
    coefficients: np.ndarray


# Tables

DECAYS = Decays._fields
PLACE = Decays(*range(len(DECAYS)))
"""Where the gradient to each lies, of those that the kernels give side by side."""

FIELDS = (*Membrane._fields[:1], *Traces._fields, *Synapses._fields)
"""Fields of a layer's state."""

COMPARTMENTS = (
    "modulator_weight",
    "modulator_exogenous",
    "modulator_bias",
    "target_exogenous",
    "target_bias",
)
"""Parameters of a layer, besides `LayerParameters`, that a step needs."""

NAMES = (
    *Signals._fields,
    "starts",
    *LayerParameters._fields,
    # the state before and after: base addresses, and for each field the way from there
    # to that of the first environment, and from one environment to the next, in bytes
    *("old", "new"),
    *(f"{when}_{field}" for when in ("old", "new") for field in FIELDS),
    *(f"{when}_{field}_stride" for when in ("old", "new") for field in FIELDS),
    # what is kept for the backward pass
    *(f"saved_{field}" for field in Synapses._fields),
    # gradients
    *(f"d_{name}" for name in (*Signals._fields, "currents")),
    *(f"d_{name}" for name in (*Parameters._fields, "decays")),
    "scratch",
    # a step of a network: neuromodulators and readout; fields of the flat state by
    # their way from its start, and from one environment to the next
    *COMPARTMENTS,
    *("observations", "exogenous", "seen", "readout_decay", "features"),
    *("stride", "plasticity_off", "modulator_held"),
    *("old_modulation", "new_modulation", "old_readout", "new_readout"),
)
TABLE = np.dtype([(name, np.int64) for name in NAMES])
"""Addresses and ways for the kernels of a layer: to hand over arrays takes longer than
many a call.
"""

LEAKY_TABLE = np.dtype(
    [
        (name, np.int64)
        for name in (
            *("spikes", "starts", "decay", "before", "values"),
            # gradients, and that to a value through later ticks
            *("d_values", "d_spikes", "d_decay", "through"),
        )
    ]
)
"""The same for the kernels of the leaky readout."""

_PLACES = {name: place for place, name in enumerate(NAMES)}
_PACKER = struct.Struct(f"{len(NAMES)}q")


def table_of(**entries: int) -> np.ndarray:
    """A table of one row, with 0 for what is not given.

    An address does not keep its tensor alive: the caller must, until the kernel has
    run.
    """
    row = [0] * len(NAMES)
    for name, entry in entries.items():
        row[_PLACES[name]] = entry
    return np.frombuffer(bytearray(_PACKER.pack(*row)), TABLE)
