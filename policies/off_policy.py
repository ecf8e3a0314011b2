"""The names that this module had before it was split, which older checkpoints hold."""

from spikepropamine.policies.actors import (
    ACTORS,
    DETERMINISTIC_ACTORS,
    LOG_STD,
    Certain,
    Deterministic,
    DeterministicGru,
    DeterministicLstm,
    DeterministicMlp,
    DeterministicSpiking,
    Squashed,
    SquashedGru,
    SquashedLstm,
    SquashedMlp,
    SquashedSpiking,
)
from spikepropamine.policies.critics import Critics, OffPolicy, actor_of

__all__ = [
    "ACTORS",
    "DETERMINISTIC_ACTORS",
    "LOG_STD",
    "Certain",
    "Critics",
    "Deterministic",
    "DeterministicGru",
    "DeterministicLstm",
    "DeterministicMlp",
    "DeterministicSpiking",
    "OffPolicy",
    "Squashed",
    "SquashedGru",
    "SquashedLstm",
    "SquashedMlp",
    "SquashedSpiking",
    "actor_of",
]
