"""Trains with this project: `ours.py POLICY [STEPS OF A SEQUENCE] KIND`."""

import sys
from dataclasses import replace
from typing import Any

from equal import ENDLESS, HIDDEN, LSTM, PPO, PPO_ENVIRONMENTS, RECURRENT, SAC, TASK
from pace import Pace
from with_sb3 import Counted

import spikepropamine as sp
from spikepropamine.agents import zoo
from spikepropamine.agents.ppo import PlasticPPO
from spikepropamine.training.environments import make_envs
from spikepropamine.training.run import keep_freed_memory
from spikepropamine.training.sections import defaults


def make(policy: str, kind: str, sequence_length: int | None = None) -> Any:
    """An algorithm with a policy, ready to learn.

    Args:
        policy: name of an agent.
        kind: of training.
        sequence_length: of an LSTM; None: a minibatch is one sequence, as for
            RecurrentPPO.
    """
    if kind == "recurrent":
        return PlasticPPO(
            "MlpLstmPolicy",
            sp.make_vec(TASK, PPO_ENVIRONMENTS),
            policy_kwargs={"net_arch": HIDDEN, "lstm_hidden_size": LSTM},
            device="cpu",
            sequence_length=sequence_length,
            **RECURRENT,
        )
    settings = replace(
        defaults(TASK, policy, kind=kind),
        normalize_observations=False,
        normalize_rewards=False,
    )
    if kind == "ppo":
        trainer = replace(settings.trainer, critic=tuple(HIDDEN), **PPO)
        network = replace(settings.network, hidden=tuple(HIDDEN))
        settings = replace(
            settings, n_envs=PPO_ENVIRONMENTS, trainer=trainer, network=network
        )
    else:
        trainer = replace(settings.trainer, critic=(256, 256), policy_delay=1, **SAC)
        settings = replace(settings, n_envs=1, trainer=trainer)
    venv = make_envs(settings)
    return zoo.build(policy, venv, settings.network, settings.trainer)


if __name__ == "__main__":
    _, policy, *lengths, kind = sys.argv
    keep_freed_memory()
    model = make(policy, kind, *map(int, lengths))
    model.learn(ENDLESS, callback=Counted(Pace(kind, sp.__version__)))
