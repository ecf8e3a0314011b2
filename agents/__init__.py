"""Learning algorithms for plastic spiking policies and their baselines."""

from spikepropamine.agents.plastic_ppo import PlasticPPO

__all__ = ["PlasticPPO"]
