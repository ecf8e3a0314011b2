"""The names that this module had before it was split, which older checkpoints hold."""

from spikepropamine.policies.baselines import (
    Gru,
    GruPolicy,
    LeadingLinear,
    ToldLstmPolicy,
    ToldMlpPolicy,
)
from spikepropamine.policies.parameter_groups import PLASTICITY, Group, parameter_group
from spikepropamine.policies.spiking import ADAM, Heads, PlasticSpikingPolicy

__all__ = [
    "ADAM",
    "PLASTICITY",
    "Group",
    "Gru",
    "GruPolicy",
    "Heads",
    "LeadingLinear",
    "PlasticSpikingPolicy",
    "ToldLstmPolicy",
    "ToldMlpPolicy",
    "parameter_group",
]
