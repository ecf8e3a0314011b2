"""Trains with Stable-Baselines3, sb3-contrib or SBX: `with_sb3.py LIBRARY KIND`."""

import sys
from importlib import import_module
from importlib.metadata import version
from typing import Any

from equal import (
    ENDLESS,
    HIDDEN,
    LSTM,
    PPO,
    PPO_ENVIRONMENTS,
    RECURRENT,
    SAC,
    SAC_HIDDEN,
    TASK,
)
from pace import Pace
from stable_baselines3.common.callbacks import BaseCallback
from stable_baselines3.common.env_util import make_vec_env

MODULES = {"stable_baselines3": "stable-baselines3", "sb3_contrib": "sb3-contrib",
           "sbx": "sbx-rl"}  # fmt: skip
"""Distributions by module."""


class Counted(BaseCallback):
    """Counts steps of environments."""

    def __init__(self, pace: Pace) -> None:
        super().__init__()
        self._pace = pace

    def _on_step(self) -> bool:
        self._pace.step(self.training_env.num_envs)
        return True


def make(library: str, kind: str) -> Any:
    """An algorithm of a library, ready to learn."""
    module = import_module(library)
    if kind == "ppo":
        return module.PPO(
            "MlpPolicy",
            make_vec_env(TASK, PPO_ENVIRONMENTS),
            policy_kwargs={"net_arch": HIDDEN},
            device="cpu",
            **PPO,
        )
    if kind == "recurrent":
        return module.RecurrentPPO(
            "MlpLstmPolicy",
            make_vec_env(TASK, PPO_ENVIRONMENTS),
            policy_kwargs={"net_arch": HIDDEN, "lstm_hidden_size": LSTM},
            device="cpu",
            **RECURRENT,
        )
    return module.SAC(
        "MlpPolicy",
        make_vec_env(TASK),
        policy_kwargs={"net_arch": SAC_HIDDEN},
        device="cpu",
        **SAC,
    )


if __name__ == "__main__":
    _, library, kind = sys.argv
    pace = Pace(kind, version(MODULES[library]))
    make(library, kind).learn(ENDLESS, callback=Counted(pace))
