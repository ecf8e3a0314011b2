"""Every agent by name, with every learning algorithm, through one door."""

from collections.abc import Callable, Collection
from dataclasses import dataclass, fields, replace
from functools import partial

from gymnasium import spaces
from stable_baselines3.common.base_class import BaseAlgorithm
from stable_baselines3.common.policies import BasePolicy
from stable_baselines3.common.vec_env import VecEnv
from torch import nn

from spikepropamine.agents.algorithm import Blueprint
from spikepropamine.agents.algorithms import ALGORITHMS, TrainerSettings
from spikepropamine.agents.baselines import (
    BASELINES,
    MODULATOR,
    SPIKING,
    Agent,
    without_plasticity,
)
from spikepropamine.agents.settings import Common
from spikepropamine.common import unknown
from spikepropamine.folder import POLICY_NAME
from spikepropamine.policies import NetworkConfig
from spikepropamine.policies.critics import OffPolicy, actor_of
from spikepropamine.policies.parameter_groups import Group, parameter_group
from spikepropamine.policies.rules import RULES, Rule

_registered: dict[str, Agent] = {}


def _with_rule(rule: str, network: NetworkConfig) -> NetworkConfig:
    """The network with a rule by itself."""
    return replace(without_plasticity(network), rule=rule)


def _with_modulated_rule(rule: str, network: NetworkConfig) -> NetworkConfig:
    """The network with a rule that neuromodulators gate."""
    if network.modulation == "none":
        return replace(network, rule=rule, modulation="direct")
    return replace(network, rule=rule)


def _plastic(name: str, rule: Rule) -> Agent:
    """The agent `dp-NAME`."""
    ignores = MODULATOR | {"network.rule"}
    if "v" in rule.variables:  # which exogenous signals drive
        ignores -= {"network.exogenous"}
    return Agent(
        f"plastic spiking network, the rule {name} by itself",
        network=partial(_with_rule, name),
        ignores=ignores,
        actor=SPIKING,
    )


def _modulated(name: str) -> Agent:
    """The agent `ndp-NAME`."""
    return Agent(
        f"plastic spiking network, the rule {name} neuromodulated",
        network=partial(_with_modulated_rule, name),
        ignores={"network.rule"},
        actor=SPIKING,
    )


def agents() -> dict[str, Agent]:
    """All agents by name: the baselines, two for every registered rule, and those that
    users registered.
    """
    plastic = {f"dp-{name}": _plastic(name, rule) for name, rule in RULES.items()}
    modulated = {f"ndp-{name}": _modulated(name) for name in RULES}
    return BASELINES | plastic | modulated | _registered


def register(name: str, agent: Agent) -> None:
    """Adds an agent, so that `--policy NAME` trains it.

    Where its policy is of a class of your own, add that to `policies.export.POLICIES`
    too.

    Args:
        name: letters, digits, _, + and -.
        agent: what it stands for.

    Raises:
        ValueError: the name will not do for a folder, or is taken.
    """
    if not POLICY_NAME.fullmatch(name):
        raise ValueError(
            f"a policy's name has letters, digits, _, + and - only, not {name!r}"
        )
    if name in agents() and agents()[name] is not agent:
        raise ValueError(
            f"there is a policy {name} already; register yours under another name"
        )
    _registered[name] = agent


def concerned(policy: str, taught: bool, kind: str) -> Callable[[str], bool]:
    """Whether a setting, by its dotted name, matters to a training.

    Args:
        policy: name of the agent.
        taught: whether there is a teacher.
        kind: name of the algorithm.
    """
    agent = agents()[policy]
    algorithm = ALGORITHMS[kind]
    ignored = {*agent.ignores, *algorithm.ignores}
    if agent.actor is not None and not agent.actor.memory:
        ignored |= {f"trainer.{name}" for name in algorithm.ignores_without_memory}
    if not taught:
        ignored |= {"trainer.guided_steps", "trainer.guided_noise", "trainer.opening"}
    known: set[str] = set()
    for part in (Common, algorithm.settings):
        known |= {field.name for field in fields(part)}
    for field in fields(TrainerSettings):
        if field.name not in known:
            ignored.add(f"trainer.{field.name}")
    return lambda name: name not in ignored


def build(
    agent: str,
    venv: VecEnv,
    network: NetworkConfig,
    trainer: TrainerSettings,
    seed: int = 0,
    device: str = "cpu",
    backend: str = "auto",
) -> BaseAlgorithm:
    """A learning algorithm, ready to `learn`.

    Args:
        agent: name of one of `agents()`.
        venv: the training environments.
        network: of the actor; agents that do not spike take the widths alone.
        trainer: settings of the algorithm, which `trainer.kind` names.
        seed: of weights and exploration.
        device: where to train.
        backend: what runs spiking layers, as for `PlasticSpikingPolicy`.

    Raises:
        ValueError: an unknown agent, or settings that do not fit.
    """
    if agent not in agents():
        raise ValueError(unknown("policy", agent, agents()))
    made_of = agents()[agent]
    algorithm = ALGORITHMS[trainer.kind]
    if algorithm.needs.box_actions and not isinstance(venv.action_space, spaces.Box):
        raise ValueError(
            f"{algorithm.name} needs actions in a Box, not {venv.action_space}; use ppo"
        )
    network = made_of.network(network)
    if network.fresh_weights == "random" and not algorithm.draws_weights:
        raise ValueError("network.fresh_weights random is for trainer.kind evolution")
    blueprint = Blueprint(venv, network, trainer, seed, device, backend)
    model = _make(made_of, blueprint)
    _leave_untrained(model.policy, trainer.untrained, agent)
    return model


def _make(agent: Agent, blueprint: Blueprint) -> BaseAlgorithm:
    """The algorithm with all parameters to be trained."""
    trainer = blueprint.trainer
    algorithm = ALGORITHMS[trainer.kind]
    if agent.create is None:
        assert agent.actor is not None
        return algorithm.make(agent.actor, blueprint)
    arguments = algorithm.arguments(blueprint)
    arguments["policy_kwargs"] = {"log_std_init": trainer.log_std_init}
    return agent.create(
        blueprint.venv, blueprint.network, trainer, blueprint.backend, arguments
    )


def _leave_untrained(policy: BasePolicy, groups: Collection[Group], agent: str) -> None:
    """Takes groups of parameters out of training. Raises ValueError where there are
    none, or none would be left.
    """
    named = list(policy.named_parameters())
    for group in groups:
        parameters = [x for name, x in named if parameter_group(name) == group]
        if not parameters:
            raise ValueError(f"{agent} has no {group} that could be left untrained")
        for parameter in parameters:
            parameter.requires_grad_(False)
    for name, part in _trained_parts(policy, agent).items():
        # another library's policy may have none that PyTorch knows
        parameters = list(part.parameters())
        if parameters and not any(x.requires_grad for x in parameters):
            raise ValueError(
                f"trainer.untrained: nothing of {name} would be left to train"
            )


def _trained_parts(policy: BasePolicy, agent: str) -> dict[str, nn.Module]:
    """What has an optimiser, by what it is called in messages."""
    if isinstance(policy, OffPolicy):
        return {
            f"the actor of {agent}": policy.actor,
            f"the critics of {agent}": policy.critic,
        }
    return {agent: policy}


def actor_parameters(policy: BasePolicy, untrained: Collection[Group] = ()) -> int:
    """How many trainable parameters an actor has: all but the critic's and those of
    exploration.

    Args:
        policy: that has the actor.
        untrained: groups that were not trained, which do not count.
    """
    count = 0
    for name, parameter in actor_of(policy).named_parameters():
        explores = name.startswith("log_std")
        is_left_out = parameter_group(name) in ("critic", *untrained)
        if parameter.requires_grad and not explores and not is_left_out:
            count += parameter.numel()
    return count


@dataclass(frozen=True)
class _Sized:
    """Networks of an agent whose widths are scaled by one factor."""

    agent: str
    venv: VecEnv
    network: NetworkConfig
    trainer: TrainerSettings

    def scaled(self, factor: float) -> NetworkConfig:
        """The network with its widths scaled."""
        hidden = [max(1, round(width * factor)) for width in self.network.hidden]
        return replace(self.network, hidden=tuple(hidden))

    def size(self, factor: float) -> int:
        """How many trainable parameters the actor has then."""
        model = build(self.agent, self.venv, self.scaled(factor), self.trainer)
        return actor_parameters(model.policy)


def match_hidden(
    agent: str,
    target: int,
    venv: VecEnv,
    network: NetworkConfig,
    trainer: TrainerSettings,
) -> NetworkConfig:
    """Scales `network.hidden` by one factor, by bisection, so that the agent's actor
    has nearly `target` trainable parameters.

    Args:
        agent: name of one of `agents()`.
        target: how many trainable parameters.
        venv: the training environments.
        network: whose widths are scaled.
        trainer: settings of the algorithm.

    Raises:
        ValueError: the actor's parameters do not grow with the widths.
    """
    sized = _Sized(agent, venv, network, trainer)
    low = 1 / 64
    high = 1.0
    size = sized.size(high)
    while size < target:
        smaller = size
        high *= 2
        size = sized.size(high)
        if size <= smaller:
            raise ValueError(
                f"{agent} has {size} trainable parameters however wide it is, so it "
                f"cannot have {target}; leave out trainer.untrained, or "
                "match_parameters"
            )
    for _ in range(12):
        middle = (low * high) ** 0.5
        if sized.size(middle) < target:
            low = middle
        else:
            high = middle
    nearest = min((low, high), key=lambda factor: abs(sized.size(factor) - target))
    return sized.scaled(nearest)
