"""Learning algorithms for plastic spiking policies and their baselines."""

from spikepropamine.agents.plastic_ppo import PlasticPPO
from spikepropamine.agents.saving import save_run

__all__ = ["PlasticPPO", "save_run"]
