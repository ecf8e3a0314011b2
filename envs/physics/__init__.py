"""Gymnasium's MuJoCo tasks for many environments at once, equal to Gymnasium to the last bit."""

from spikepropamine.envs.physics.known import NotKnown
from spikepropamine.envs.physics.simulations import Simulations, Stepped, simulate

__all__ = ["NotKnown", "Simulations", "Stepped", "simulate"]
