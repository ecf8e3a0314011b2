"""Learning algorithms for plastic spiking policies and their baselines."""

from spikepropamine.agents.evolution import Evolution
from spikepropamine.agents.plastic_ppo import PlasticPPO
from spikepropamine.agents.plastic_sac import PlasticSAC, PlasticTQC
from spikepropamine.agents.saving import save_run

__all__ = ["Evolution", "PlasticPPO", "PlasticSAC", "PlasticTQC", "save_run"]
