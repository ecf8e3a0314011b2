"""Implementations of a spiking layer, and which of them to use."""

import functools
import importlib.util
import logging
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from spikepropamine.policies.reference import LayerSpec
from spikepropamine.policies.rules import RULES

BACKENDS = {
    "numba": "spikepropamine.policies.compiled.autograd",
    "reference": "spikepropamine.policies.reference",
}
"""Modules with a `layer_sequence` and a `leaky_sequence` of the same meaning. "auto" is numba on a
CPU; the reference elsewhere, and where Numba is missing or cannot take the rule."""

Step = Callable[[Any, Tensor, Tensor, Tensor], tuple[Tensor, Tensor, list[Any]]]

STATIC = LayerSpec(1, 1)

logger = logging.getLogger(__name__)


def obstacle(name: str, spec: LayerSpec, device: torch.device | str) -> str | None:
    """Why a backend cannot run layers of a kind on a device, or None if it can."""
    if name == "reference":
        return None
    if torch.device(device).type != "cpu":
        return f"it runs on the CPU, not on {device}"
    if importlib.util.find_spec("numba") is None:
        return "Numba is not installed"
    if spec.units != "spiking":
        return f"its units are {spec.units}, not spiking"
    from spikepropamine.policies.compiled.derive import derive  # slow to import

    if spec.plastic and derive(RULES[spec.rule]) is None:
        return f"the rule {spec.rule} is not linear in p, x and f"
    return None


@functools.cache  # asked at every step, answered and logged once
def choose(name: str = "auto", spec: LayerSpec = STATIC, device: str = "cpu") -> Any:
    """The module of the backend of this name, a key of `BACKENDS` or "auto" for the fastest, that
    runs layers of a kind on a type of device; or the reference where it cannot, with one line in
    the log. Raises ValueError: an unknown name.
    """
    if name != "auto" and name not in BACKENDS:
        raise ValueError(
            f"unknown backend {name!r}; choose from auto, {', '.join(BACKENDS)}"
        )
    chosen = "numba" if name == "auto" else name
    if (why := obstacle(chosen, spec, device)) is not None:
        asked = (
            name != "auto" or torch.device(device).type == "cpu"
        )  # elsewhere Numba never runs
        level = logging.WARNING if asked else logging.INFO
        logger.log(
            level, "backend %s cannot be used (%s); the reference is", chosen, why
        )
        chosen = "reference"
    return importlib.import_module(BACKENDS[chosen])


@functools.cache
def choose_step(name: str, specs: frozenset[LayerSpec], device: str) -> Step | None:
    """The backend's call for one environment step of a whole network, where it has such a one."""
    if {choose(name, spec, device).__name__ for spec in specs} != {BACKENDS["numba"]}:
        return None
    from spikepropamine.policies.compiled.step import step

    return step
