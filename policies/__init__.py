"""Plastic spiking policies for Stable-Baselines3."""

from spikepropamine.policies.network import NetworkConfig, SpikingNetwork
from spikepropamine.policies.policy import PlasticSpikingPolicy
from spikepropamine.policies.state import StateLayout

__all__ = ["NetworkConfig", "PlasticSpikingPolicy", "SpikingNetwork", "StateLayout"]
