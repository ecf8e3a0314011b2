"""The list of learning algorithms, and the settings of all of them together.

Another algorithm needs a file here, like `agents.td3`, with its settings and its
record; a section in `configs/`; and its entries below.
"""

from dataclasses import dataclass
from typing import Literal

from spikepropamine.agents import crossq, evolution, ppo, sac, supervised, td3, tqc
from spikepropamine.agents.algorithm import Algorithm
from spikepropamine.agents.settings import Common

ALGORITHMS: dict[str, Algorithm] = {
    record.name: record
    for record in (
        ppo.ALGORITHM,
        sac.ALGORITHM,
        tqc.ALGORITHM,
        td3.ALGORITHM,
        crossq.ALGORITHM,
        supervised.ALGORITHM,
        evolution.ALGORITHM,
    )
}
"""By `trainer.kind`."""

TAUGHT = supervised.ALGORITHM.name
"""`trainer.kind` where there is a teacher."""


@dataclass(frozen=True)
class TrainerSettings(
    evolution.EvolutionSettings,
    crossq.CrossQSettings,
    td3.TD3Settings,
    tqc.TQCSettings,
    sac.SACSettings,
    supervised.SupervisedSettings,
    ppo.PPOSettings,
    Common,
):
    """Settings of the learning algorithm (names and meaning as in
    Stable-Baselines3).
    """

    kind: Literal["ppo", "sac", "tqc", "td3", "crossq", "supervised", "evolution"] = (
        "ppo"
    )
    """Reinforcement learning, on-policy (ppo) or off-policy (sac, tqc, td3, crossq),
    supervised learning of the targets that a cue task or a teacher reports, or
    evolution strategies, without gradients."""
