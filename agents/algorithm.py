"""What a learning algorithm is to the rest of the project: one record, `Algorithm`.

All that differs between algorithms is said here, so that no other module asks which one
it has. `agents.algorithms` is the list of them.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, NamedTuple

from stable_baselines3.common.base_class import BaseAlgorithm
from stable_baselines3.common.on_policy_algorithm import OnPolicyAlgorithm
from stable_baselines3.common.policies import BasePolicy
from stable_baselines3.common.type_aliases import Schedule
from stable_baselines3.common.vec_env import VecEnv

from spikepropamine.agents.cue import columns_told
from spikepropamine.policies import NetworkConfig

if TYPE_CHECKING:
    from spikepropamine.agents.algorithms import TrainerSettings

Arguments = dict[str, Any]
"""Of a constructor of Stable-Baselines3, by name."""


class Policy(NamedTuple):
    """A policy to be made."""

    name: str | type[BasePolicy]
    """Its class, or the name that the algorithm knows it by."""
    arguments: Arguments
    """Of its constructor (`policy_kwargs`)."""


@dataclass(frozen=True)
class Blueprint:
    """All that an algorithm and its policy are made from."""

    venv: VecEnv
    """The training environments."""
    network: NetworkConfig
    """The actor's; actors that do not spike take the widths alone."""
    trainer: "TrainerSettings"
    """Of the algorithm."""
    seed: int = 0
    device: str = "cpu"
    backend: str = "auto"
    """What runs spiking layers, as for `PlasticSpikingPolicy`."""

    @property
    def told(self) -> int:
        """How many of the last columns of the observations the critic alone sees."""
        return columns_told(self.venv)

    @property
    def learning_rate(self) -> float | Schedule:
        """The step size, or its schedule over the remaining progress."""
        rate = self.trainer.learning_rate
        if self.trainer.learning_rate_schedule == "linear":
            # the last rollout may go beyond the end of training
            return lambda left: max(left, 0.0) * rate
        return rate


@dataclass(frozen=True)
class Actor:
    """A kind of network that acts, as each family of algorithms has it."""

    actor_critic: Callable[[Blueprint], Policy]
    """For on-policy algorithms and evolution."""
    off_policy: Callable[[Blueprint], Policy]
    """For off-policy algorithms, without what these add for their critics."""
    memory: bool
    """Whether it has a state that is carried from step to step."""


class FewestSteps(NamedTuple):
    """A number of environment steps that must be exceeded before anything is
    learned.
    """

    setting: str
    """Of the trainer, the one that could be lowered."""
    steps: int


def _no_fewest_steps(trainer: object, n_envs: int) -> list[FewestSteps]:
    return []


@dataclass(frozen=True)
class Needs:
    """What has to be there so that an algorithm can learn."""

    package: str = ""
    """A package that has to be installed, of the extra of the algorithm's name."""
    box_actions: bool = False
    """Actions in a Box."""
    whole_episodes: bool = False
    """A task with a time limit."""
    targets: bool = False
    """A task that says which action was right, or a teacher."""
    processors_only: bool = False
    """No GPU."""
    steps: Callable[[Any, int], list[FewestSteps]] = _no_fewest_steps
    """From the trainer's settings and the number of environments."""


def _steps_of_rollout(model: OnPolicyAlgorithm, longest: int) -> int:
    return model.n_steps * model.n_envs


def _rollouts(model: OnPolicyAlgorithm) -> int:
    return model.num_timesteps // _steps_of_rollout(model, 0)


@dataclass(frozen=True)
class Algorithm:
    """A learning algorithm."""

    name: str
    """`trainer.kind`."""
    settings: type
    """A dataclass with the trainer's settings that concern it, besides `Common`."""
    arguments: Callable[[Blueprint], Arguments]
    """Those of its constructor, but for policy, environments and `policy_kwargs`."""
    make: Callable[[Actor, Blueprint], BaseAlgorithm]
    """Makes it, ready to `learn`, for a kind of actor."""
    sections: tuple[str, ...] = ()
    """Sections of the configurations in `configs/`, which are read after those of the
    policy, in this order."""
    cue_section: str = "cue"
    """The section that is read where the policy has a cue."""
    needs: Needs = field(default_factory=Needs)
    refuses: dict[str, str] = field(default_factory=dict)
    """Settings of a training that must not be given, with what is said then."""
    ignores: frozenset[str] = frozenset()
    """Dotted names of settings outside the trainer's that do not concern it."""
    ignores_without_memory: frozenset[str] = frozenset()
    """Of the trainer's, those that do not concern it where the actor has no memory."""
    draws_weights: bool = False
    """Whether networks may draw their weights anew in each episode: then the initial
    values count, even where a policy starts from another."""
    raw_rewards: bool = False
    """Whether rewards are never normalised."""
    rollout_steps: Callable[[Any, int], int] = _steps_of_rollout
    """Environment steps from one update to the next, of a model, where the longest
    episode that there can be has so many steps."""
    rollouts: Callable[[Any], int] = _rollouts
    """Rollouts since the start of the run, of a model."""
