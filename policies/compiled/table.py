"""What a layer is made of, by address: to hand over arrays takes longer than many a call."""

import struct
from typing import Any

import numpy as np
import torch
from torch import Tensor

from spikepropamine.policies.reference import LayerParameters

FIELDS = (
    "potential", "pre", "post", "threshold", "pre_mean", "post_mean", "fast_weights", "eligibility"
)  # fmt: skip

COMPARTMENTS = (
    "modulator_weight", "modulator_exogenous", "modulator_bias", "target_exogenous", "target_bias",
)  # fmt: skip
"""Parameters of a layer, besides `LayerParameters`, that a step needs."""

TABLE = np.dtype(
    [
        (name, np.int64)
        for name in (
            # per tick
            *("inputs", "starts", "rate", "target", "spikes", "potentials"),
            # parameters; those of plastic and recurrent synapses in blocks, see `in_blocks`
            *LayerParameters._fields,
            # the state before and after: base addresses, and for each field the way from there to
            # that of the first environment, and from one environment to the next, in bytes
            *("old", "new"),
            *(f"{when}_{field}" for when in ("old", "new") for field in FIELDS),
            *(f"{when}_{field}_stride" for when in ("old", "new") for field in FIELDS),
            # what is kept for the backward pass, and gradients
            *("saved_fast", "saved_eligibility"),
            *("d_spikes", "d_potentials", "d_inputs", "d_currents", "d_rate", "d_target"),
            *("d_bias", "d_membrane_decay", "d_plasticity_gain", "d_coefficients", "d_synaptic"),
            "d_decays",
            "scratch",
            # in a step of a network: neuromodulators and readout; fields of the flat state by their
            # way from its start, and from one environment to the next
            *COMPARTMENTS,
            *("observations", "exogenous", "seen", "readout_decay", "features"),
            *("stride", "plasticity_off", "modulator_held"),
            *("old_modulation", "new_modulation", "old_readout", "new_readout"),
        )
    ]
)


_PLACES = {name: place for place, name in enumerate(TABLE.names or ())}
_PACKER = struct.Struct(f"{len(_PLACES)}q")


def table_of(**entries: int) -> np.ndarray:
    """A table of one row, with 0 for what is not given.

    An address does not keep its tensor alive: the caller must, until the kernel has run.
    """
    row = [0] * len(_PLACES)
    for name, entry in entries.items():
        row[_PLACES[name]] = entry
    return np.frombuffer(bytearray(_PACKER.pack(*row)), TABLE)


def state_entries(when: str, state: dict[str, Tensor]) -> dict[str, int]:
    """Entries of the fields of a state, "old" or "new", that has gaps between environments only."""
    entries = {}
    for name, x in state.items():
        entries[f"{when}_{name}"] = x.data_ptr()
        entries[f"{when}_{name}_stride"] = x.stride()[0] * x.itemsize
    return entries


def number_type(dtype: torch.dtype) -> Any:
    """NumPy's type of a PyTorch dtype, float32 or float64."""
    return np.float64 if dtype == torch.float64 else np.float32
