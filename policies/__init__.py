"""Plastic spiking policies for Stable-Baselines3."""

from spikepropamine.policies.config import NetworkConfig
from spikepropamine.policies.network import SpikingNetwork
from spikepropamine.policies.spiking import PlasticSpikingPolicy
from spikepropamine.policies.state import StateLayout

__all__ = ["NetworkConfig", "PlasticSpikingPolicy", "SpikingNetwork", "StateLayout"]
