"""Plastic spiking actors for Stable-Baselines3: agents whose synapses keep learning after training.

Importing this package registers its environments with Gymnasium. The names below load what they
need when they are first used, so that the import itself is quick.
"""

import importlib
from pathlib import Path
from typing import TYPE_CHECKING, Any

__version__ = "0.2.0"

_here = Path(__file__).parent
if not (_here / "envs").is_dir():  # a checkout, where the folders lie beside this one
    __path__.append(str(_here.parent))

from spikepropamine import envs  # noqa: E402  registers the environments

if TYPE_CHECKING:
    from spikepropamine.agents import PlasticPPO, PlasticSAC, PlasticTQC, save_run
    from spikepropamine.api import evaluate, load, train
    from spikepropamine.environments import make_gymnasium_vec, make_vec
    from spikepropamine.envs.perturbations import Perturbed
    from spikepropamine.policies import PlasticSpikingPolicy
    from spikepropamine.policies.export import load_policy

__all__ = [
    "Perturbed", "PlasticPPO", "PlasticSAC", "PlasticSpikingPolicy", "PlasticTQC", "envs",
    "evaluate", "load", "load_policy", "make_gymnasium_vec", "make_vec", "save_run", "train",
]  # fmt: skip

_HOMES = {
    "PlasticPPO": "agents", "PlasticSAC": "agents", "PlasticTQC": "agents", "save_run": "agents",
    "load": "api", "train": "api", "evaluate": "api", "PlasticSpikingPolicy": "policies",
    "load_policy": "policies.export", "Perturbed": "envs.perturbations",
    "make_vec": "environments", "make_gymnasium_vec": "environments",
}  # fmt: skip


def __dir__() -> list[str]:
    return __all__


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"spikepropamine.{_HOMES[name]}"), name)
