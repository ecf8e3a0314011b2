"""Plastic spiking policies for Stable-Baselines3."""

from policies.network import NetworkConfig, SpikingNetwork
from policies.policy import PlasticSpikingPolicy
from policies.state import StateLayout

__all__ = ["NetworkConfig", "PlasticSpikingPolicy", "SpikingNetwork", "StateLayout"]
