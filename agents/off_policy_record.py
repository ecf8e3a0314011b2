"""What the records of off-policy algorithms have in common: the arguments of their
constructors, how they are made, and how their steps are counted.
"""

from typing import Any

from stable_baselines3.common.off_policy_algorithm import OffPolicyAlgorithm

from spikepropamine.agents.algorithm import (
    Actor,
    Arguments,
    Blueprint,
    FewestSteps,
    Policy,
)
from spikepropamine.agents.settings import OffPolicySettings


def arguments(blueprint: Blueprint) -> Arguments:
    """The arguments that the constructors of all off-policy algorithms take, but for
    policy and environments.
    """
    trainer = blueprint.trainer
    return {
        "seed": blueprint.seed,
        "device": blueprint.device,
        "learning_rate": blueprint.learning_rate,
        "buffer_size": trainer.buffer_size,
        "learning_starts": trainer.learning_starts,
        "batch_size": trainer.batch_size,
        "gamma": trainer.gamma,
        "train_freq": trainer.train_freq,
        "gradient_steps": trainer.gradient_steps,
        "sequence_length": trainer.sequence_length,
        "burn_in": trainer.burn_in,
        "policy_delay": trainer.policy_delay,
    }


def make_off_policy(
    actor: Actor, blueprint: Blueprint, cls: Any, given: Arguments, **critics: Any
) -> OffPolicyAlgorithm:
    """An off-policy algorithm.

    Args:
        actor: the kind of network that acts.
        blueprint: what it is made from.
        cls: its class, of `SequenceLearning`.
        given: the arguments of its constructor, but for policy and environments.
        critics: further arguments of `OffPolicy`.
    """
    trainer = blueprint.trainer
    policy: Policy = actor.off_policy(blueprint)
    widths = policy.arguments.get("net_arch", {})
    policy_kwargs = {
        **policy.arguments,
        "net_arch": widths | {"qf": list(trainer.critic)},
        "n_critics": trainer.n_critics,
        "critic_sees_state": trainer.critic_sees_state,
        "told": blueprint.told,
        **critics,
    }
    if not actor.memory:  # without a state there is none to bring up to date
        given = given | {"burn_in": 0}
    algorithm: OffPolicyAlgorithm = cls(
        policy.name, blueprint.venv, policy_kwargs=policy_kwargs, **given
    )
    return algorithm


def fewest_steps(trainer: OffPolicySettings, n_envs: int) -> list[FewestSteps]:
    """The environment steps that must be exceeded before there is a first update.

    Args:
        trainer: settings of the algorithm.
        n_envs: environments side by side.
    """
    entries = trainer.burn_in + trainer.sequence_length + 1
    return [
        FewestSteps("learning_starts", trainer.learning_starts),
        FewestSteps("sequence_length", n_envs * entries),
    ]


def rollout_steps(model: Any, longest: int = 0) -> int:
    """Environment steps from one update to the next.

    Args:
        model: the algorithm.
        longest: steps of the longest episode, which make no difference.
    """
    steps: int = model.train_freq.frequency * model.n_envs
    return steps


def rollouts(model: OffPolicyAlgorithm) -> int:
    """Rollouts since the start of the run."""
    return model.num_timesteps // rollout_steps(model)
