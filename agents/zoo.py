"""Every agent by name: the plastic policies and their baselines, through one door."""

from collections.abc import Callable, Collection
from dataclasses import dataclass, field, fields, replace
from functools import partial
from typing import Any, Literal

from gymnasium import spaces
from sb3_contrib import RecurrentPPO
from stable_baselines3.common.base_class import BaseAlgorithm
from stable_baselines3.common.policies import BasePolicy
from stable_baselines3.common.preprocessing import is_image_space
from stable_baselines3.common.vec_env import VecEnv

from spikepropamine.agents.evolution import Evolution
from spikepropamine.agents.helped import shown
from spikepropamine.agents.plastic_ppo import (
    PlasticPPO,
    SupervisedMlp,
    SupervisedPlastic,
)
from spikepropamine.agents.plastic_sac import PlasticSAC, PlasticTQC
from spikepropamine.common import unknown
from spikepropamine.folder import POLICY_NAME
from spikepropamine.options import (
    Count,
    Few,
    Logarithm,
    NotNegative,
    Number,
    Positive,
    Share,
)
from spikepropamine.policies import NetworkConfig
from spikepropamine.policies.fast.ppo import PPO
from spikepropamine.policies.off_policy import actor_of
from spikepropamine.policies.policy import (
    ADAM,
    Group,
    ToldLstmPolicy,
    ToldMlpPolicy,
    parameter_group,
)  # fmt: skip
from spikepropamine.policies.rules import RULES
from spikepropamine.policies.spaces import extractor_for


@dataclass(frozen=True)
class TrainerSettings:
    """Settings of the learning algorithm (names and meaning as in Stable-Baselines3)."""

    kind: Literal["ppo", "sac", "tqc", "supervised", "evolution"] = "ppo"
    """Reinforcement learning, on-policy (ppo) or off-policy (sac, tqc), supervised learning of the
    targets that a cue task or a teacher reports, or evolution strategies, without gradients."""
    guided_steps: Number = 500_000
    """With a teacher: environment steps over which the share of episodes in which the teacher
    itself acts falls from 1 to 0."""
    opening: Number = 10
    """With a teacher: steps since a context began in which nothing is taught."""
    learning_rate: Positive = 3e-4
    """Step size of Adam."""
    learning_rate_schedule: Literal["constant", "linear"] = "constant"
    """Constant, or falling linearly to zero at the end of training."""
    n_steps: Count = 512
    """Environment steps per rollout and environment."""
    batch_size: Count = 256
    """Environment steps per minibatch."""
    sequence_length: Count = 32
    """Environment steps through which gradients flow back in time."""
    n_epochs: Count = 5
    """Passes over each rollout."""
    gamma: Share = 0.99
    """Discount factor."""
    gae_lambda: Share = 0.95
    """Bias and variance of the advantage estimate."""
    clip_range: Positive = 0.2
    """Clipping of the policy ratio."""
    target_kl: Positive | None = None
    """Bound of the approximate Kullback-Leibler divergence, at 1.5 times which an update ends."""
    ent_coef: NotNegative = 0.0
    """Weight of the entropy bonus."""
    vf_coef: NotNegative = 0.5
    """Weight of the value loss."""
    max_grad_norm: Positive = 0.5
    """Bound of the gradient's norm."""
    log_std_init: Logarithm = -0.5
    """Initial log standard deviation of continuous actions."""
    critic: tuple[Few, ...] = (64, 64)
    """Widths of the critic's layers."""
    critic_sees_spikes: bool = True
    """The critic of a spiking actor also sees the spiking features, detached."""
    critic_sees_state: bool = False
    """Off-policy: the critics also see what the actor's network gives, and train it; for tasks in
    which the observation does not tell all."""
    buffer_size: Count = 1_000_000
    """Off-policy: environment steps in the replay buffer."""
    learning_starts: Number = 5_000
    """Off-policy: environment steps of random actions before training begins."""
    train_freq: Count = 16
    """Off-policy: steps of each environment between updates."""
    gradient_steps: Count = 32
    """Off-policy: updates after these steps."""
    tau: Share = 0.01
    """Off-policy: how far target critics follow in an update."""
    policy_delay: Count = 2
    """Off-policy: updates of the critics for each of the actor."""
    burn_in: Number = 0
    """Off-policy: environment steps before each sequence that bring its state up to date."""
    n_critics: Few = 2
    """Off-policy: how many critics there are."""
    n_quantiles: Few = 25
    """TQC: quantiles that each critic gives."""
    top_quantiles_to_drop_per_net: Number = 2
    """TQC: of these, the largest that the target leaves out."""
    population: Count = 100
    """Evolution: members of a generation, even; each has an episode in each environment."""
    spread: Positive = 0.05
    """Evolution: standard deviation of each parameter over the first population."""
    spread_rate: Share = 0.1
    """Evolution: rate at which these adapt."""
    speed: Positive = 0.07
    """Evolution: longest step of the centre, in initial radii of the population."""
    workers: Few = 1
    """Evolution: processes that evaluate members; the numbers are the same with any."""
    cluster: Literal["none", "ray"] = "none"
    """Evolution: ray: members are evaluated on the Ray cluster at RAY_ADDRESS, or on all cores
    here, instead; the numbers are the same."""
    untrained: tuple[Group, ...] = ()
    """Parts of the policy that stay as they are initialised."""


KINDS: dict[str, tuple[Any, Any]] = {
    "ppo": (PPO, PlasticPPO),
    "supervised": (SupervisedMlp, SupervisedPlastic),
    "evolution": (Evolution, Evolution),
    "sac": (PlasticSAC, PlasticSAC),
    "tqc": (PlasticTQC, PlasticTQC),
}
"""Algorithms for policies without and with memory."""
OFF_POLICY = ("sac", "tqc")
TQC = ("n_quantiles", "top_quantiles_to_drop_per_net")
OF_SAC = (
    "buffer_size", "learning_starts", "batch_size", "tau", "gamma", "train_freq",
    "gradient_steps", "sequence_length", "burn_in", "policy_delay",
)  # fmt: skip
OF_PPO = (
    "n_steps", "batch_size", "n_epochs", "gamma", "gae_lambda", "clip_range", "target_kl",
    "ent_coef", "vf_coef", "max_grad_norm",
)  # fmt: skip
OF_EVOLUTION = ("population", "spread", "spread_rate", "speed", "workers", "cluster")
OF_ALL = ("kind", "untrained", "guided_steps", "opening")
BY_GRADIENTS = (
    "learning_rate",
    "learning_rate_schedule",
    "log_std_init",
    "sequence_length",
)
CONCERNED = {
    "ppo": (*BY_GRADIENTS, *OF_PPO, "critic", "critic_sees_spikes"),
    "supervised": (*BY_GRADIENTS, "n_steps", "batch_size", "n_epochs", "max_grad_norm"),
    "sac": (*BY_GRADIENTS, *OF_SAC, "critic", "n_critics", "critic_sees_state"),
    "tqc": (*BY_GRADIENTS, *OF_SAC, *TQC, "critic", "n_critics", "critic_sees_state"),
    "evolution": OF_EVOLUTION,
}
IGNORED = {
    "supervised": ("normalize_rewards", "critic_told"),  # no critic learns
    # nothing is differentiated
    "evolution": ("normalize_rewards", "cue", "critic_told", "critic_first", "threads",
                  "network.slope", "network.surrogate"),
}  # fmt: skip
"""Of the other settings, those that do not concern a kind of training."""

Kwargs = dict[str, Any]
Create = Callable[[VecEnv, NetworkConfig, TrainerSettings, str, Kwargs], BaseAlgorithm]
"""A learning algorithm, of: training environments; settings of the actor and of the algorithm; the
backend of spiking layers; and the arguments that all of SB3's constructors share, among them
`policy_kwargs`."""


@dataclass(frozen=True)
class Agent:
    """An agent by name.

    Attributes:
        summary: one line for lists.
        create: makes the learning algorithm.
        network: gives the network the rule and modulation that the agent's name stands for; of
            `ndp-*` a modulation that is set ("retroactive") stays, and otherwise is "direct".
        ignores: dotted names of settings that do not concern it.
        one_width: whether it has one layer, of the last width in the settings of the network.
    """

    summary: str
    create: Create
    network: Callable[[NetworkConfig], NetworkConfig] = field(
        default=lambda network: replace(network, rule="none", modulation="none")
    )
    ignores: Collection[str] = ()
    one_width: bool = False


def _mlp(
    venv: VecEnv,
    network: NetworkConfig,
    trainer: TrainerSettings,
    backend: str,
    arguments: Kwargs,
) -> BaseAlgorithm:
    policy: Any = "MlpPolicy"
    if trainer.kind not in OFF_POLICY:
        policy, kwargs = _named(venv, "Policy"), arguments["policy_kwargs"]
        kwargs["optimizer_kwargs"] = ADAM
        if told := _told(venv):
            policy, kwargs["told"] = ToldMlpPolicy, told
    return _algorithm(
        policy, {"pi": list(network.hidden)}, False, venv, trainer, arguments
    )


def _lstm(
    venv: VecEnv,
    network: NetworkConfig,
    trainer: TrainerSettings,
    backend: str,
    arguments: Kwargs,
    stock: bool = False,
    gru: bool = False,
) -> BaseAlgorithm:
    if stock and trainer.kind != "ppo":
        raise ValueError("lstm-stock is for trainer.kind ppo; use lstm")
    if stock and isinstance(venv.action_space, spaces.MultiBinary):
        raise ValueError("lstm-stock cannot take MultiBinary actions; use lstm")
    policy: Any = "GruPolicy" if gru else "MlpLstmPolicy"
    kwargs = arguments["policy_kwargs"]
    kwargs["lstm_hidden_size"] = network.hidden[-1]
    if trainer.kind in OFF_POLICY:
        return _algorithm(policy, {}, True, venv, trainer, arguments)
    policy = policy if gru else _named(venv, "LstmPolicy")
    kwargs["features_extractor_class"] = extractor_for(venv.observation_space)
    if told := _told(venv):
        policy, kwargs["told"] = policy if gru else ToldLstmPolicy, told
    if stock:
        kwargs["net_arch"] = {"pi": [], "vf": list(trainer.critic)}
        return RecurrentPPO(policy, venv, **arguments)
    kwargs["optimizer_kwargs"] = ADAM
    return _algorithm(policy, {"pi": []}, True, venv, trainer, arguments)


def _spiking(
    venv: VecEnv,
    network: NetworkConfig,
    trainer: TrainerSettings,
    backend: str,
    arguments: Kwargs,
) -> BaseAlgorithm:
    kwargs = arguments["policy_kwargs"]
    kwargs |= {"network": network, "backend": backend}
    if trainer.kind not in OFF_POLICY:
        kwargs |= {
            "critic_sees_spikes": trainer.critic_sees_spikes,
            "told": _told(venv),
        }
    return _algorithm("PlasticSpikingPolicy", {}, True, venv, trainer, arguments)


def _algorithm(
    policy: Any,
    widths: Kwargs,
    memory: bool,
    venv: VecEnv,
    trainer: TrainerSettings,
    arguments: Kwargs,
) -> BaseAlgorithm:
    """What learns a policy, with or without memory, the actor of which has layers of its own."""
    kwargs, critic = arguments["policy_kwargs"], list(trainer.critic)
    if trainer.kind in OFF_POLICY:
        kwargs |= {
            name: getattr(trainer, name) for name in ("n_critics", "critic_sees_state")
        }
        kwargs |= {"net_arch": widths | {"qf": critic}, "told": _told(venv)}
        arguments["burn_in"] *= (
            memory  # without a state there is none to bring up to date
        )
        if trainer.kind == "tqc":
            kwargs["n_quantiles"] = trainer.n_quantiles
            dropped = trainer.top_quantiles_to_drop_per_net
            arguments["top_quantiles_to_drop_per_net"] = dropped
    else:
        kwargs["net_arch"] = widths | {"vf": critic}
        if memory and trainer.kind != "evolution":
            arguments["sequence_length"] = trainer.sequence_length
    return KINDS[trainer.kind][memory](policy, venv, **arguments)


def _named(venv: VecEnv, policy: str) -> Any:
    """SB3's name of a policy for observations in a Dict, pictures (a CNN), or numbers."""
    space = venv.observation_space
    if isinstance(space, spaces.Dict):
        return f"MultiInput{policy}"
    return f"Cnn{policy}" if is_image_space(space) else f"Mlp{policy}"


def _told(venv: VecEnv) -> int:
    """How many of the last channels the critic alone sees."""
    helped = shown(venv)
    return 0 if helped is None else helped.told


def _recurrent(network: NetworkConfig) -> NetworkConfig:
    recurrent = (*[False] * (len(network.hidden) - 1), True)
    return replace(network, rule="none", modulation="none", recurrent=recurrent)


def _plastic(rule: str, modulated: bool, network: NetworkConfig) -> NetworkConfig:
    if not modulated:
        return replace(network, rule=rule, modulation="none")
    modulation = "direct" if network.modulation == "none" else network.modulation
    return replace(network, rule=rule, modulation=modulation)


def _of_network(*names: str) -> set[str]:
    return {f"network.{name}" for name in names}


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
SPIKING = NETWORK | {"trainer.critic_sees_spikes", "backend"}
SEQUENCES = {"trainer.sequence_length", "trainer.burn_in"}

BASELINES = {
    "mlp": Agent("Stable-Baselines3's PPO", _mlp, ignores=SPIKING | SEQUENCES),
    "lstm": Agent(
        "sb3-contrib's LSTM, in sequences", _lstm, ignores=SPIKING, one_width=True
    ),
    "gru": Agent(
        "the same with a GRU", partial(_lstm, gru=True), ignores=SPIKING, one_width=True
    ),
    "lstm-stock": Agent(
        "the LSTM policy through sb3-contrib's own buffer",
        partial(_lstm, stock=True),
        ignores=SPIKING | SEQUENCES,
        one_width=True,
    ),
    "snn": Agent(
        "the spiking network without plasticity", _spiking, ignores=PLASTICITY
    ),
    "rsnn": Agent(
        "the same, its last layer recurrent: memory without plasticity",
        _spiking,
        _recurrent,
        PLASTICITY | {"network.recurrent"},
    ),
}
_registered: dict[str, Agent] = {}


def agents() -> dict[str, Agent]:
    """All agents by name: the baselines, two for every registered rule, and those that users
    registered.
    """
    plastic, modulated = {}, {}
    for name, rule in RULES.items():
        summary = f"plastic spiking network, the rule {name}"
        ignored = MODULATOR | {"network.rule"}
        ignored -= {"network.exogenous"} if "v" in rule.variables else set()
        network = partial(_plastic, name, False)
        plastic[f"dp-{name}"] = Agent(
            f"{summary} by itself", _spiking, network, ignored
        )
        network = partial(_plastic, name, True)
        modulated[f"ndp-{name}"] = Agent(
            f"{summary} neuromodulated", _spiking, network, {"network.rule"}
        )
    return BASELINES | plastic | modulated | _registered


def concerned(policy: str, taught: bool, kind: str) -> Callable[[str], bool]:
    """Whether a setting, by its dotted name, matters to a policy and its kind of training."""
    of_others = {f.name for f in fields(TrainerSettings)} - {*OF_ALL, *CONCERNED[kind]}
    ignored = {*agents()[policy].ignores, *IGNORED.get(kind, ())}
    ignored |= {f"trainer.{name}" for name in of_others}
    if kind in OFF_POLICY:
        ignored.discard("trainer.sequence_length")
    if not taught:
        ignored |= {"trainer.guided_steps", "trainer.opening"}
    return lambda name: name not in ignored


def register(name: str, agent: Agent) -> None:
    """Adds an agent, so that `--policy NAME` trains it. Raises ValueError where the name will not
    do for a folder, or is taken.

    Where its policy is of a class of your own, add that to `policies.export.POLICIES` too.
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


def build(
    agent: str,
    venv: VecEnv,
    network: NetworkConfig,
    trainer: TrainerSettings,
    seed: int = 0,
    device: str = "cpu",
    backend: str = "auto",
) -> BaseAlgorithm:
    """A learning algorithm, ready to `learn`, of one of `agents()`. Of the network, agents that do
    not spike take the widths alone; `backend` is as for `PlasticSpikingPolicy`. Raises ValueError:
    an unknown agent, or settings that do not fit.
    """
    if agent not in agents():
        raise ValueError(unknown("policy", agent, agents()))
    rate = trainer.learning_rate
    arguments: dict[str, Any] = {
        "seed": seed,
        "device": device,
        "policy_kwargs": {"log_std_init": trainer.log_std_init},
    }
    if trainer.kind in OFF_POLICY and not isinstance(venv.action_space, spaces.Box):
        raise ValueError(
            f"{trainer.kind} needs actions in a Box, not {venv.action_space}; use ppo"
        )
    network, evolves = agents()[agent].network(network), trainer.kind == "evolution"
    if not evolves:
        if network.fresh_weights == "random":
            raise ValueError(
                "network.fresh_weights random is for trainer.kind evolution"
            )
        # the last rollout may go beyond the end of training
        falls = trainer.learning_rate_schedule == "linear"
        arguments["learning_rate"] = (
            (lambda left: max(left, 0.0) * rate) if falls else rate
        )
    for name in (
        OF_EVOLUTION if evolves else OF_SAC if trainer.kind in OFF_POLICY else OF_PPO
    ):
        arguments[name] = getattr(trainer, name)
    algorithm = agents()[agent].create(venv, network, trainer, backend, arguments)
    named = list(algorithm.policy.named_parameters())
    for group in trainer.untrained:
        parameters = [x for name, x in named if parameter_group(name) == group]
        if not parameters:
            raise ValueError(f"{agent} has no {group} that could be left untrained")
        for parameter in parameters:
            parameter.requires_grad_(False)
    made: Any = algorithm.policy
    parts = {agent: made}
    if trainer.kind in OFF_POLICY:  # which updates both
        parts = {
            f"the actor of {agent}": made.actor,
            f"the critics of {agent}": made.critic,
        }
    for name, part in parts.items():
        if not any(x.requires_grad for x in part.parameters()):
            raise ValueError(
                f"trainer.untrained: nothing of {name} would be left to train"
            )
    return algorithm


def actor_parameters(policy: BasePolicy, untrained: Collection[Group] = ()) -> int:
    """Trainable parameters of the actor: all but the critic's, those of exploration, and those of
    groups that were not trained.
    """
    actor = actor_of(policy).named_parameters()
    named = [
        (n, p) for n, p in actor if p.requires_grad and not n.startswith("log_std")
    ]
    return sum(
        p.numel() for n, p in named if parameter_group(n) not in ("critic", *untrained)
    )


def match_hidden(
    agent: str,
    target: int,
    venv: VecEnv,
    network: NetworkConfig,
    trainer: TrainerSettings,
) -> NetworkConfig:
    """Scales `network.hidden` by one factor, found by bisection, so that the agent's actor has
    nearly `target` trainable parameters. Raises ValueError where these do not grow with the widths.
    """

    def scaled(factor: float) -> NetworkConfig:
        hidden = tuple(max(1, round(width * factor)) for width in network.hidden)
        return replace(network, hidden=hidden)

    def count(factor: float) -> int:
        return actor_parameters(build(agent, venv, scaled(factor), trainer).policy)

    low, high = 1 / 64, 1.0
    size = count(high)
    while size < target:
        high *= 2
        size, smaller = count(high), size
        if size <= smaller:
            raise ValueError(
                f"{agent} has {size} trainable parameters however wide it is, so it cannot have "
                f"{target}; leave out trainer.untrained, or match_parameters"
            )
    for _ in range(12):
        middle = (low * high) ** 0.5
        low, high = (middle, high) if count(middle) < target else (low, middle)
    return scaled(min((low, high), key=lambda factor: abs(count(factor) - target)))
