"""Learning algorithms for plastic spiking policies and their baselines."""

from spikepropamine.agents.evolution import Evolution
from spikepropamine.agents.ppo import PlasticPPO
from spikepropamine.agents.sac import PlasticSAC
from spikepropamine.agents.saving import save_run
from spikepropamine.agents.tqc import PlasticTQC

__all__ = ["Evolution", "PlasticPPO", "PlasticSAC", "PlasticTQC", "save_run"]
