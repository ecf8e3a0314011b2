"""Agents by name: kinds of actors, and the plastic policies' baselines.

An agent says how a policy's name builds its network; which algorithm trains it is
another matter (`agents.algorithms`).
"""

from collections.abc import Callable, Collection
from dataclasses import dataclass, fields, replace
from typing import Any

from gymnasium import spaces
from sb3_contrib import RecurrentPPO
from stable_baselines3.common.base_class import BaseAlgorithm
from stable_baselines3.common.preprocessing import is_image_space
from stable_baselines3.common.vec_env import VecEnv

from spikepropamine.agents.algorithm import Actor, Arguments, Blueprint, Policy
from spikepropamine.policies import NetworkConfig
from spikepropamine.policies.baselines import ToldLstmPolicy, ToldMlpPolicy
from spikepropamine.policies.spaces import extractor_for
from spikepropamine.policies.spiking import ADAM

Create = Callable[[VecEnv, NetworkConfig, Any, str, Arguments], BaseAlgorithm]
"""A learning algorithm, of: training environments; settings of the actor and of the
algorithm; the backend of spiking layers; and the arguments of SB3's constructor for
this kind of training, among them `policy_kwargs`."""


def without_plasticity(network: NetworkConfig) -> NetworkConfig:
    """The network with fixed weights alone."""
    return replace(network, rule="none", modulation="none")


def with_recurrence(network: NetworkConfig) -> NetworkConfig:
    """The network with fixed weights alone, its last layer recurrent."""
    recurrent = [False] * len(network.hidden)
    recurrent[-1] = True
    return replace(without_plasticity(network), recurrent=tuple(recurrent))


@dataclass(frozen=True)
class Agent:
    """An agent by name.

    Attributes:
        summary: one line for lists.
        create: makes its learning algorithm; None: the one of `trainer.kind`, for the
            `actor`.
        network: gives the network the rule and modulation that the agent's name stands
            for; of `ndp-*` a modulation that is set ("retroactive") stays, and
            otherwise is "direct".
        ignores: dotted names of settings that do not concern it.
        one_width: whether it has one layer, of the last width in the settings of the
            network.
        actor: its kind of network.
    """

    summary: str
    create: Create | None = None
    network: Callable[[NetworkConfig], NetworkConfig] = without_plasticity
    ignores: Collection[str] = ()
    one_width: bool = False
    actor: Actor | None = None


def _named(space: spaces.Space[Any], policy: str) -> str:
    """SB3's name of a policy for observations in a Dict, pictures (a CNN), or
    numbers.
    """
    if isinstance(space, spaces.Dict):
        return f"MultiInput{policy}"
    if is_image_space(space):
        return f"Cnn{policy}"
    return f"Mlp{policy}"


def _mlp_actor_critic(blueprint: Blueprint) -> Policy:
    """The on-policy policy of an MLP, whose critic may see what is hidden from the
    actor.
    """
    trainer = blueprint.trainer
    told = blueprint.told
    arguments: Arguments = {
        "log_std_init": trainer.log_std_init,
        "optimizer_kwargs": ADAM,
        "net_arch": {
            "pi": list(blueprint.network.hidden),
            "vf": list(trainer.critic),
        },
    }
    if told:
        return Policy(ToldMlpPolicy, arguments | {"told": told})
    return Policy(_named(blueprint.venv.observation_space, "Policy"), arguments)


def _mlp_off_policy(blueprint: Blueprint) -> Policy:
    """The off-policy policy of an MLP."""
    arguments: Arguments = {
        "log_std_init": blueprint.trainer.log_std_init,
        "net_arch": {"pi": list(blueprint.network.hidden)},
    }
    return Policy("MlpPolicy", arguments)


HEADS = (64, 64)
"""Widths between an LSTM or a GRU and the actions, those of sb3-contrib's
`MlpLstmPolicy`. Its critic has as many, see `trainer.critic`."""
LINEAR: tuple[int, ...] = ()
"""The actions are linear in what an LSTM or a GRU gives."""


def _gated_arguments(blueprint: Blueprint, heads: tuple[int, ...]) -> Arguments:
    """The arguments of an on-policy policy with an LSTM or a GRU."""
    arguments: Arguments = {
        "log_std_init": blueprint.trainer.log_std_init,
        "lstm_hidden_size": blueprint.network.hidden[-1],
        "features_extractor_class": extractor_for(blueprint.venv.observation_space),
        "net_arch": {"pi": list(heads), "vf": list(blueprint.trainer.critic)},
    }
    if blueprint.told:
        arguments["told"] = blueprint.told
    return arguments


def _lstm_policy(blueprint: Blueprint) -> Any:
    """The name or the class of the policy with an LSTM."""
    if blueprint.told:
        return ToldLstmPolicy
    return _named(blueprint.venv.observation_space, "LstmPolicy")


def _gru_policy(blueprint: Blueprint) -> str:
    """The name of the policy with a GRU, for all observations."""
    return "GruPolicy"


def _gated(
    on_policy: Callable[[Blueprint], Any], off_policy: str, heads: tuple[int, ...]
) -> Actor:
    """An actor with an LSTM or a GRU.

    Args:
        on_policy: gives the name or the class of its on-policy policy.
        off_policy: the name of its off-policy one.
        heads: widths between the memory and the actions.
    """

    def make_actor_critic(blueprint: Blueprint) -> Policy:
        arguments = _gated_arguments(blueprint, heads) | {"optimizer_kwargs": ADAM}
        return Policy(on_policy(blueprint), arguments)

    def make_off_policy(blueprint: Blueprint) -> Policy:
        arguments: Arguments = {
            "log_std_init": blueprint.trainer.log_std_init,
            "lstm_hidden_size": blueprint.network.hidden[-1],
            "net_arch": {"pi": list(heads)},
        }
        return Policy(off_policy, arguments)

    return Actor(make_actor_critic, make_off_policy, memory=True)


def _spiking_actor_critic(blueprint: Blueprint) -> Policy:
    """The on-policy policy of a spiking network."""
    trainer = blueprint.trainer
    arguments: Arguments = {
        "log_std_init": trainer.log_std_init,
        "network": blueprint.network,
        "backend": blueprint.backend,
        "critic_sees_spikes": trainer.critic_sees_spikes,
        "told": blueprint.told,
        "net_arch": {"vf": list(trainer.critic)},
    }
    return Policy("PlasticSpikingPolicy", arguments)


def _spiking_off_policy(blueprint: Blueprint) -> Policy:
    """The off-policy policy of a spiking network."""
    arguments: Arguments = {
        "log_std_init": blueprint.trainer.log_std_init,
        "network": blueprint.network,
        "backend": blueprint.backend,
    }
    return Policy("PlasticSpikingPolicy", arguments)


MLP = Actor(_mlp_actor_critic, _mlp_off_policy, memory=False)
LSTM = _gated(_lstm_policy, "MlpLstmPolicy", HEADS)
LINEAR_LSTM = _gated(_lstm_policy, "MlpLstmPolicy", LINEAR)
GRU = _gated(_gru_policy, "GruPolicy", HEADS)
LINEAR_GRU = _gated(_gru_policy, "GruPolicy", LINEAR)
SPIKING = Actor(_spiking_actor_critic, _spiking_off_policy, memory=True)


def _stock_lstm(
    venv: VecEnv,
    network: NetworkConfig,
    trainer: Any,
    backend: str,
    arguments: Arguments,
) -> BaseAlgorithm:
    """sb3-contrib's own algorithm and buffer."""
    if trainer.kind != "ppo":
        raise ValueError("lstm-stock is for trainer.kind ppo; use lstm")
    if isinstance(venv.action_space, spaces.MultiBinary):
        raise ValueError("lstm-stock cannot take MultiBinary actions; use lstm")
    blueprint = Blueprint(venv, network, trainer)
    policy_kwargs = arguments["policy_kwargs"] | _gated_arguments(blueprint, HEADS)
    given = arguments | {"policy_kwargs": policy_kwargs}
    return RecurrentPPO(_lstm_policy(blueprint), venv, **given)


def _of_network(*names: str) -> frozenset[str]:
    return frozenset(f"network.{name}" for name in names)


MODULATOR = _of_network("modulation", "modulator_gain", "exogenous")
PLASTICITY = MODULATOR | _of_network(
    "rule",
    "plastic",
    "clip",
    "decay",
    "plasticity_gain",
    "trace_decay",
    "threshold_decay",
    "eta",
)
NETWORK = _of_network(*(f.name for f in fields(NetworkConfig))) - {"network.hidden"}
SPIKING_ALONE = NETWORK | {"trainer.critic_sees_spikes", "backend"}
"""Settings that concern spiking actors alone."""

BASELINES = {
    "mlp": Agent("Stable-Baselines3's PPO", ignores=SPIKING_ALONE, actor=MLP),
    "lstm": Agent(
        "sb3-contrib's LSTM policy, in sequences",
        ignores=SPIKING_ALONE,
        one_width=True,
        actor=LSTM,
    ),
    "gru": Agent(
        "the same with a GRU", ignores=SPIKING_ALONE, one_width=True, actor=GRU
    ),
    "lstm-linear": Agent(
        "an LSTM whose actions are linear in it, without layers between them",
        ignores=SPIKING_ALONE,
        one_width=True,
        actor=LINEAR_LSTM,
    ),
    "gru-linear": Agent(
        "the same with a GRU", ignores=SPIKING_ALONE, one_width=True, actor=LINEAR_GRU
    ),
    "lstm-stock": Agent(
        "the LSTM policy through sb3-contrib's own buffer",
        _stock_lstm,
        ignores=SPIKING_ALONE | {"trainer.sequence_length", "trainer.burn_in"},
        one_width=True,
    ),
    "snn": Agent(
        "the spiking network without plasticity", ignores=PLASTICITY, actor=SPIKING
    ),
    "rsnn": Agent(
        "the same, its last layer recurrent: memory without plasticity",
        network=with_recurrence,
        ignores=PLASTICITY | {"network.recurrent"},
        actor=SPIKING,
    ),
}
