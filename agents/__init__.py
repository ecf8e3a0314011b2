"""Learning algorithms for plastic spiking policies and their baselines."""

from spikepropamine.agents.crossq import PlasticCrossQ
from spikepropamine.agents.evolution import Evolution
from spikepropamine.agents.ppo import PlasticPPO
from spikepropamine.agents.sac import PlasticSAC
from spikepropamine.agents.saving import save_run
from spikepropamine.agents.td3 import PlasticTD3
from spikepropamine.agents.tqc import PlasticTQC

__all__ = [
    "Evolution",
    "PlasticCrossQ",
    "PlasticPPO",
    "PlasticSAC",
    "PlasticTD3",
    "PlasticTQC",
    "save_run",
]
