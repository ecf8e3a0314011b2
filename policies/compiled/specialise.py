"""Kernels for one kind of layer."""

import functools
import importlib
import sys
from types import ModuleType
from typing import Any

from spikepropamine.policies.compiled import numba_private, rows, synapses
from spikepropamine.policies.compiled.derive import TERMS, derive
from spikepropamine.policies.reference import LayerSpec
from spikepropamine.policies.rules import RULES, Rule

STATIC = Rule("none", lambda: 0, (), {}, {})  # of synapses without plasticity


def kernels_for(spec: LayerSpec) -> Any:
    """The module `synapses.sequence`, for layers such as this one."""
    retroactive = spec.modulation == "retroactive"
    contracting = spec.decay == "contracting" or not spec.plastic
    return _kernels(spec.rule, retroactive, contracting, spec.recurrent)


@functools.cache
def _kernels(name: str, retroactive: bool, contracting: bool, recurrent: bool) -> Any:
    rule = RULES.get(name, STATIC)
    drive = derive(rule)
    assert drive is not None  # or the backend would not have been chosen
    constants: dict[str, Any] = {
        "PLASTIC": rule is not STATIC,
        "RETROACTIVE": retroactive,  # the neuromodulator multiplies an eligibility, or the drive
        "CONTRACTING": contracting,  # decay by |r|, or by r
        "RECURRENT": recurrent,
        "COEFFICIENTS": len(rule.coefficients),  # that the layer learns
        "OWN": len(rule.synaptic),  # that each synapse learns
        # the terms that have a factor of the synapse's own
        "WEIGHTED_A": "a" in drive.weighted,
        "WEIGHTED_C": "c" in drive.weighted,
        # whether the rule takes y, pp and v
        "RECALLS": "y" in drive.variables,
        "NORMALISES": "pp" in drive.variables,
        "TARGETED": "v" in drive.variables,
        # whether it has means and formulas of its own
        "PRE_MEAN": rule.mean_of("p") is not None,
        "POST_MEAN": rule.mean_of("q") is not None,
        "WEIGHS": rule.weight is not None,
        "BIASES": rule.bias is not None,
    }
    constants |= {f"HAS_{term.upper()}": term in drive.terms for term in (*TERMS, "g")}
    digest = numba_private.digest(drive.source + repr(constants))  # rules of one formula share it
    package = ModuleType(f"{synapses.__name__}_{digest}")
    if package.__name__ not in sys.modules:
        kind = ModuleType(f"{package.__name__}.kind")
        used = {"constant": numba_private.constant, "log": numba_private.log, "step": rows.step}
        vars(kind).update(constants, NAME=digest, **used)
        exec(drive.source, vars(kind))
        for function in FUNCTIONS:
            setattr(kind, function, numba_private.spliced(getattr(kind, function)))
        package.__path__ = synapses.__path__
        sys.modules |= {package.__name__: package, kind.__name__: kind}
    return importlib.import_module(f"{package.__name__}.sequence")


FUNCTIONS = (
    "drive", "drive_adjoint", "matrices_of", "weight_a", "weight_a_adjoint", "weight_c",
    "weight_c_adjoint", "weight", "weight_slopes", "bias", "bias_adjoint",
)  # fmt: skip
