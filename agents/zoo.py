"""Every agent by name: the plastic policies and their baselines, through one door."""

import difflib
import itertools
from dataclasses import dataclass, replace
from typing import Any, Literal

from gymnasium import spaces
from sb3_contrib import RecurrentPPO
from stable_baselines3 import PPO
from stable_baselines3.common.on_policy_algorithm import OnPolicyAlgorithm
from stable_baselines3.common.policies import ActorCriticPolicy
from stable_baselines3.common.vec_env import VecEnv

from spikepropamine.agents.plastic_ppo import PlasticPPO
from spikepropamine.agents.supervised import SupervisedMlp, SupervisedPlastic
from spikepropamine.policies import NetworkConfig, PlasticSpikingPolicy
from spikepropamine.policies.rules import RULES


def agents() -> list[str]:
    """Names of all agents.

    mlp: SB3's PPO. lstm: sb3-contrib's LSTM policy through this project's sequence buffer;
    lstm-stock: through its own. snn: the spiking network, static. dp-RULE: plastic; ndp-RULE:
    plastic and neuromodulated; for every rule that is registered.
    """
    plastic = [f"{kind}-{rule}" for kind, rule in itertools.product(("dp", "ndp"), RULES)]
    return ["mlp", "lstm", "lstm-stock", "snn", *plastic]


@dataclass(frozen=True)
class TrainerSettings:
    """Settings of the learning algorithm (names and meaning as in Stable-Baselines3)."""

    kind: Literal["ppo", "supervised"] = "ppo"
    """Reinforcement learning, or supervised learning of the targets that a cue task or a teacher
    reports."""
    guided_steps: int = 500_000
    """With a teacher: environment steps over which the share of episodes in which the teacher
    itself acts falls from 1 to 0."""
    opening: int = 10
    """With a teacher: steps since a context began in which nothing is taught, since nobody can
    know it yet."""
    learning_rate: float = 3e-4
    """Step size of Adam."""
    learning_rate_schedule: Literal["constant", "linear"] = "constant"
    """Constant, or falling linearly to zero at the end of training."""
    n_steps: int = 512
    """Environment steps per rollout and environment."""
    batch_size: int = 256
    """Environment steps per minibatch."""
    sequence_length: int = 32
    """Environment steps through which gradients flow back in time."""
    n_epochs: int = 5
    """Passes over each rollout."""
    gamma: float = 0.99
    """Discount factor."""
    gae_lambda: float = 0.95
    """Bias and variance of the advantage estimate."""
    clip_range: float = 0.2
    """Clipping of the policy ratio."""
    ent_coef: float = 0.0
    """Weight of the entropy bonus."""
    vf_coef: float = 0.5
    """Weight of the value loss."""
    max_grad_norm: float = 0.5
    """Bound of the gradient's norm."""
    log_std_init: float = -0.5
    """Initial log standard deviation of continuous actions."""
    critic: tuple[int, ...] = (64, 64)
    """Widths of the critic's layers."""
    critic_sees_spikes: bool = True
    """The critic of a spiking actor also sees the spiking features, detached."""


def check_agent(name: str) -> None:
    """Raises ValueError, with the nearest names, unless `name` is one of `agents()`."""
    if name not in agents():
        near = difflib.get_close_matches(name, agents(), n=1)
        hint = f"did you mean {near[0]!r}? " if near else ""
        raise ValueError(f"unknown policy {name!r}; {hint}choose from {', '.join(agents())}")


def network_of(agent: str, network: NetworkConfig) -> NetworkConfig:
    """The network with the rule and modulation that the agent's name stands for.

    `ndp-*` keeps a modulation that is already set ("retroactive") and otherwise gets "direct".
    """
    if "-" not in agent or agent == "lstm-stock":
        return replace(network, rule="none", modulation="none")
    kind, rule = agent.split("-")
    if kind == "dp":
        return replace(network, rule=rule, modulation="none")
    if network.modulation == "none":
        return replace(network, rule=rule, modulation="direct")
    return replace(network, rule=rule)


def build(
    agent: str,
    venv: VecEnv,
    network: NetworkConfig,
    trainer: TrainerSettings,
    seed: int = 0,
    device: str = "cpu",
    backend: str = "auto",
) -> OnPolicyAlgorithm:
    """A learning algorithm, ready to `learn`.

    Args:
        agent: one of `agents()`.
        venv: vectorised training environments.
        network: widths of the actor for every agent; the rest for the spiking ones.
        trainer: settings of the algorithm.
        seed: of the weights, the exploration and the environments.
        device: PyTorch device.
        backend: what runs spiking layers, see `PlasticSpikingPolicy`.

    Raises:
        ValueError: an unknown agent, or settings that do not fit.
    """
    check_agent(agent)
    supervised = trainer.kind == "supervised"
    rate = trainer.learning_rate
    critic = list(trainer.critic)
    is_dict = isinstance(venv.observation_space, spaces.Dict)
    arguments: dict[str, Any] = {
        "learning_rate": (lambda left: left * rate)
        if trainer.learning_rate_schedule == "linear"
        else rate,
        "seed": seed,
        "device": device,
    }
    for name in ("n_steps", "batch_size", "n_epochs", "gamma", "gae_lambda", "clip_range"):
        arguments[name] = getattr(trainer, name)
    for name in ("ent_coef", "vf_coef", "max_grad_norm"):
        arguments[name] = getattr(trainer, name)
    policy_kwargs: dict[str, Any] = {"log_std_init": trainer.log_std_init}
    if agent == "mlp":
        cls: type[OnPolicyAlgorithm] = SupervisedMlp if supervised else PPO
        policy = "MultiInputPolicy" if is_dict else "MlpPolicy"
        policy_kwargs["net_arch"] = {"pi": list(network.hidden), "vf": critic}
    elif agent == "lstm-stock":
        if supervised:
            raise ValueError("lstm-stock is for trainer.kind ppo; use lstm for supervised training")
        cls = RecurrentPPO
    else:
        cls = SupervisedPlastic if supervised else PlasticPPO
        arguments["sequence_length"] = trainer.sequence_length
    if agent.startswith("lstm"):
        policy = "MultiInputLstmPolicy" if is_dict else "MlpLstmPolicy"
        policy_kwargs |= {"lstm_hidden_size": network.hidden[-1]}
        policy_kwargs["net_arch"] = {"pi": [], "vf": critic}
    elif agent != "mlp":
        policy = "PlasticSpikingPolicy"
        policy_kwargs["network"] = network_of(agent, network)
        policy_kwargs["net_arch"] = {"vf": critic}
        policy_kwargs["critic_sees_spikes"] = trainer.critic_sees_spikes
        policy_kwargs["backend"] = backend
    return cls(policy, venv, policy_kwargs=policy_kwargs, **arguments)


def actor_parameters(policy: ActorCriticPolicy) -> int:
    """Number of learned numbers in the actor: all but the critic's."""
    parts: list[Any]
    if isinstance(policy, PlasticSpikingPolicy):
        parts = [policy.lstm_actor, policy.action_net]
    elif hasattr(policy, "lstm_actor"):
        parts = [policy.lstm_actor, policy.mlp_extractor.policy_net, policy.action_net]
    else:
        parts = [policy.mlp_extractor.policy_net, policy.action_net]
    return sum(p.numel() for part in parts for p in part.parameters())


def match_hidden(
    agent: str, target: int, venv: VecEnv, network: NetworkConfig, trainer: TrainerSettings
) -> NetworkConfig:
    """Scales `network.hidden` so that the agent's actor has nearly `target` learned numbers.

    All layers are scaled by one factor, found by bisection.
    """

    def scaled(factor: float) -> NetworkConfig:
        hidden = tuple(max(1, round(width * factor)) for width in network.hidden)
        return replace(network, hidden=hidden)

    def count(factor: float) -> int:
        return actor_parameters(build(agent, venv, scaled(factor), trainer).policy)

    low, high = 1 / 64, 1.0
    while count(high) < target:
        high *= 2
    for _ in range(12):
        middle = (low * high) ** 0.5
        low, high = (middle, high) if count(middle) < target else (low, middle)
    return scaled(min((low, high), key=lambda factor: abs(count(factor) - target)))
