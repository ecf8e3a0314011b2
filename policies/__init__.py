"""Plastic spiking policies for Stable-Baselines3."""

from spikepropamine.policies.network import NetworkConfig, SpikingNetwork, StateLayout
from spikepropamine.policies.policy import PlasticSpikingPolicy

__all__ = ["NetworkConfig", "PlasticSpikingPolicy", "SpikingNetwork", "StateLayout"]
