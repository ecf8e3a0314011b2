"""Implementations of a spiking layer, and which of them to use."""

import functools
import importlib.util
import logging
from collections.abc import Callable
from types import ModuleType
from typing import Any

import torch
from torch import Tensor

from spikepropamine.policies.reference import LayerSpec
from spikepropamine.policies.rules import RULES

BACKENDS = {
    "numba": "spikepropamine.policies.compiled.autograd",
    "reference": "spikepropamine.policies.reference",
}
"""Modules with a `layer_sequence` and a `leaky_sequence` of the same meaning. "auto" is
numba on a CPU; the reference elsewhere, and where Numba is missing or cannot take the
rule."""

Step = Callable[[Any, Tensor, Tensor, Tensor], tuple[Tensor, Tensor, list[Any]]]

STATIC = LayerSpec(1, 1)

logger = logging.getLogger(__name__)


def obstacle(name: str, spec: LayerSpec, device: torch.device | str) -> str | None:
    """Why a backend cannot run layers.

    Args:
        name: a key of `BACKENDS`.
        spec: the kind of layer.
        device: where.

    Returns:
        The reason, or None if it can.
    """
    if name == "reference":
        return None
    if torch.device(device).type != "cpu":
        return f"it runs on the CPU, not on {device}"
    if importlib.util.find_spec("numba") is None:
        return "Numba is not installed"
    if spec.plastic:
        # slow to import
        from spikepropamine.policies.compiled.derive import NoKernels, derive

        try:
            derive(RULES[spec.rule])
        except NoKernels as error:
            return f"the rule {spec.rule} cannot be compiled: {error}"
    return None


@functools.cache  # called at every step, worked out and logged once
def choose(
    name: str = "auto", spec: LayerSpec = STATIC, device: str = "cpu"
) -> ModuleType:
    """The module that runs layers of a kind.

    Args:
        name: a key of `BACKENDS`, or "auto" for the fastest.
        spec: the kind of layer.
        device: a type of device.

    Returns:
        The backend of this name, or the reference where that cannot run such layers,
        with one line in the log.

    Raises:
        ValueError: an unknown name.
    """
    if name != "auto" and name not in BACKENDS:
        raise ValueError(
            f"unknown backend {name!r}; choose from auto, {', '.join(BACKENDS)}"
        )
    chosen = "numba" if name == "auto" else name
    why = obstacle(chosen, spec, device)
    if why is not None:
        # where no backend was named, Numba is not expected on other devices
        expected = name != "auto" or torch.device(device).type == "cpu"
        level = logging.WARNING if expected else logging.INFO
        logger.log(
            level, "backend %s cannot be used (%s); the reference is", chosen, why
        )
        chosen = "reference"
    return importlib.import_module(BACKENDS[chosen])


@functools.cache
def choose_step(name: str, specs: frozenset[LayerSpec], device: str) -> Step | None:
    """The backend's call for one environment step of a whole network; see
    `compiled.step.step`.

    Args:
        name: of the backend, or "auto".
        specs: of the network's layers.
        device: of the tensors, such as "cpu".

    Returns:
        None where it has no such call.
    """
    if any(choose(name, x, device).__name__ != BACKENDS["numba"] for x in specs):
        return None
    from spikepropamine.policies.compiled.step import step

    return step
