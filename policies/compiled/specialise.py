"""Kernels for one kind of layer with plastic or recurrent synapses."""

import functools
import importlib
import sys
from types import ModuleType
from typing import Any

from spikepropamine.policies.compiled import numba_private, rows, synapses
from spikepropamine.policies.compiled.derive import TERMS, derive
from spikepropamine.policies.reference import LayerSpec
from spikepropamine.policies.rules import RULES


def kernels_for(spec: LayerSpec) -> Any:
    """The module `synapses.sequence`, for layers such as this one."""
    retroactive = spec.modulation == "retroactive"
    contracting = spec.decay == "contracting"
    return _kernels(spec.rule, retroactive, contracting, spec.recurrent)


@functools.cache
def _kernels(rule: str, retroactive: bool, contracting: bool, recurrent: bool) -> Any:
    plastic = rule != "none"
    drive = derive(RULES[rule]) if plastic else None
    terms = drive.terms if drive is not None else ()
    variables = drive.variables if drive is not None else ()
    weighted = drive.weighted if drive is not None else ()
    constants: dict[str, Any] = {f"HAS_{name.upper()}": name in terms for name in (*TERMS, "g")}
    constants |= {
        "OWN": len(RULES[rule].synaptic) if plastic else 0,
        "WEIGHTED_A": "a" in weighted,
        "WEIGHTED_C": "c" in weighted,
        "RECALLS": "y" in variables,
        "NORMALISES": "pp" in variables,
        "TARGETED": "v" in variables,
        "PRE_MEAN": plastic and RULES[rule].mean_of("p") is not None,
        "POST_MEAN": plastic and RULES[rule].mean_of("q") is not None,
        "WEIGHS": plastic and RULES[rule].weight is not None,
        "BIASES": plastic and RULES[rule].bias is not None,
        "PLASTIC": plastic,
        "RETROACTIVE": retroactive,
        "CONTRACTING": contracting,
        "RECURRENT": recurrent,
        "COEFFICIENTS": len(RULES[rule].coefficients) if plastic else 0,
    }
    source = drive.source if drive is not None else _NO_DRIVE
    name = numba_private.digest(source + repr(constants))  # rules of one formula share it
    package = ModuleType(f"{synapses.__name__}_{name}")
    if package.__name__ not in sys.modules:
        kind = ModuleType(f"{package.__name__}.kind")
        vars(kind).update(
            constants,
            NAME=name,
            constant=numba_private.constant,
            log=numba_private.log,
            step=rows.step,
        )
        exec(source, vars(kind))
        for function in FUNCTIONS:
            setattr(kind, function, numba_private.spliced(getattr(kind, function)))
        package.__path__ = synapses.__path__
        sys.modules |= {package.__name__: package, kind.__name__: kind}
    return importlib.import_module(f"{package.__name__}.sequence")


FUNCTIONS = (
    "drive", "drive_adjoint", "matrices_of", "weight_a", "weight_a_adjoint", "weight_c",
    "weight_c_adjoint", "weight", "weight_slopes", "bias", "bias_adjoint",
)  # fmt: skip
_NO_DRIVE = """
def drive(q, theta, s, y, pp, v, n, w):
    return q, q, q, q, q, q, q, q
def drive_adjoint(q, theta, s, y, pp, v, n, w, d_k, d_a, d_b, d_c, d_m, d_y, d_o, d_g, d_w, j):
    return q, q, q, q, q, q, q
def matrices_of(own):
    return (own[0],)
def weight_a(own, i, j):
    return 1
def weight_a_adjoint(own, d_own, i, j, d):
    return
weight_c, weight_c_adjoint = weight_a, weight_a_adjoint
def weight(f, m, n):
    return f
def weight_slopes(f, m, n):
    return f, f, f
def bias(n, w):
    return n
def bias_adjoint(n, w, d, d_w, j):
    return n
"""
