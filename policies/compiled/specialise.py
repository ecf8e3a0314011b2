"""Kernels for one kind of layer."""

import functools
import importlib
import sys
from types import ModuleType
from typing import Any

from spikepropamine.policies.compiled import numba_private, synapses
from spikepropamine.policies.compiled.derive import TERMS, derive
from spikepropamine.policies.compiled.synapses import kind as static
from spikepropamine.policies.reference import LayerSpec
from spikepropamine.policies.rules import RULES


def kernels_for(spec: LayerSpec) -> Any:
    """The module `synapses.sequence`, for layers such as this one."""
    retroactive = spec.modulation == "retroactive"
    contracting = spec.decay == "contracting" or not spec.plastic
    return _kernels(spec.rule, retroactive, contracting, spec.recurrent)


@functools.cache
def _kernels(rule: str, retroactive: bool, contracting: bool, recurrent: bool) -> Any:
    constants: dict[str, Any] = {
        "RETROACTIVE": retroactive,
        "CONTRACTING": contracting,
        "RECURRENT": recurrent,
    }
    source = ""
    if rule != "none":
        of, drive = RULES[rule], derive(RULES[rule])
        assert drive is not None  # or the backend would not have been chosen
        source = drive.source
        constants |= {f"HAS_{term.upper()}": term in drive.terms for term in (*TERMS, "g")}
        constants |= {
            "PLASTIC": True,
            "COEFFICIENTS": len(of.coefficients),
            "OWN": len(of.synaptic),
            "WEIGHTED_A": "a" in drive.weighted,
            "WEIGHTED_C": "c" in drive.weighted,
            "RECALLS": "y" in drive.variables,
            "NORMALISES": "pp" in drive.variables,
            "TARGETED": "v" in drive.variables,
            "PRE_MEAN": of.mean_of("p") is not None,
            "POST_MEAN": of.mean_of("q") is not None,
            "WEIGHS": of.weight is not None,
            "BIASES": of.bias is not None,
        }
    name = numba_private.digest(source + repr(constants))  # rules of one formula share it
    package = ModuleType(f"{synapses.__name__}_{name}")
    if package.__name__ not in sys.modules:
        kind = ModuleType(f"{package.__name__}.kind")
        plain = {key: x for key, x in vars(static).items() if not key.startswith("__")}
        vars(kind).update(plain | constants, NAME=name)
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
