"""Plastic spiking actors for Stable-Baselines3: agents that keep learning after
training.

Importing this package registers its environments with Gymnasium. The names below load
what they need when they are first used, so that the import itself is quick.
"""

import importlib
from pathlib import Path
from typing import TYPE_CHECKING, Any

__version__ = "0.2.0"

_here = Path(__file__).parent
IS_CHECKOUT = (_here / "envs").is_symlink() or not (_here / "envs").is_dir()
"""Whether the folders of this package lie beside it, as in a checkout, and not in it.
"""
# There, links stand in their places, so that editors, mypy and the site find them.
# Nothing is imported through a link: each file has one name, in tracebacks and for
# breakpoints.
if IS_CHECKOUT:
    __path__.insert(0, str(_here.parent))

from spikepropamine import envs  # noqa: E402  registers the environments

if TYPE_CHECKING:
    from spikepropamine.agents import (
        PlasticCrossQ,
        PlasticPPO,
        PlasticSAC,
        PlasticTD3,
        PlasticTQC,
        save_run,
    )
    from spikepropamine.agents.zoo import Agent
    from spikepropamine.agents.zoo import register as register_policy
    from spikepropamine.api import evaluate, load, train
    from spikepropamine.environments import make_gymnasium_vec, make_vec
    from spikepropamine.envs.perturbations import Family, Perturbed
    from spikepropamine.envs.perturbations import register as register_perturbation
    from spikepropamine.policies import PlasticSpikingPolicy
    from spikepropamine.policies.export import load_policy
    from spikepropamine.policies.rules import register as register_rule

__all__ = [
    "Agent",
    "Family",
    "Perturbed",
    "PlasticCrossQ",
    "PlasticPPO",
    "PlasticSAC",
    "PlasticSpikingPolicy",
    "PlasticTD3",
    "PlasticTQC",
    "envs",
    "evaluate",
    "load",
    "load_policy",
    "make_gymnasium_vec",
    "make_vec",
    "register_perturbation",
    "register_policy",
    "register_rule",
    "save_run",
    "train",
]

# where each name is loaded from when it is first used: the module, and its name there
_PLACES = {
    "Agent": ("agents.zoo", "Agent"),
    "Family": ("envs.perturbations", "Family"),
    "Perturbed": ("envs.perturbations", "Perturbed"),
    "PlasticCrossQ": ("agents", "PlasticCrossQ"),
    "PlasticPPO": ("agents", "PlasticPPO"),
    "PlasticSAC": ("agents", "PlasticSAC"),
    "PlasticSpikingPolicy": ("policies", "PlasticSpikingPolicy"),
    "PlasticTD3": ("agents", "PlasticTD3"),
    "PlasticTQC": ("agents", "PlasticTQC"),
    "evaluate": ("api", "evaluate"),
    "load": ("api", "load"),
    "load_policy": ("policies.export", "load_policy"),
    "make_gymnasium_vec": ("environments", "make_gymnasium_vec"),
    "make_vec": ("environments", "make_vec"),
    "register_perturbation": ("envs.perturbations", "register"),
    "register_policy": ("agents.zoo", "register"),
    "register_rule": ("policies.rules", "register"),
    "save_run": ("agents", "save_run"),
    "train": ("api", "train"),
}


def __dir__() -> list[str]:
    return __all__


def __getattr__(name: str) -> Any:
    if name not in _PLACES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    module, there = _PLACES[name]
    return getattr(importlib.import_module(f"spikepropamine.{module}"), there)
