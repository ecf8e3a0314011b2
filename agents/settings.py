"""Settings that several learning algorithms have in common.

Names and meaning are those of Stable-Baselines3. An algorithm's own settings are in its
file; `agents.algorithms` puts all of them together.
"""

from dataclasses import dataclass
from typing import Literal

from spikepropamine.options import (
    Count,
    Few,
    Logarithm,
    NotNegative,
    Number,
    Positive,
    Share,
)
from spikepropamine.policies.parameter_groups import Group


@dataclass(frozen=True)
class Common:
    """Settings that are there whatever the algorithm."""

    kind: str = "ppo"
    """Name of the algorithm."""
    guided_steps: Number = 500_000
    """With a teacher: environment steps over which the share of episodes in which the
    teacher itself acts falls from 1 to 0."""
    guided_noise: NotNegative = 0.0
    """With a teacher: standard deviation of the noise on its actions where it acts,
    relative to half the range of an action."""
    opening: Number = 10
    """With a teacher: steps since a context began in which nothing is taught."""
    untrained: tuple[Group, ...] = ()
    """Parts of the policy that stay as they are initialised."""


@dataclass(frozen=True)
class ByGradients:
    """Settings of steps along gradients."""

    learning_rate: Positive = 3e-4
    """Step size of Adam."""
    learning_rate_schedule: Literal["constant", "linear"] = "constant"
    """Constant, or falling linearly to zero at the end of training."""
    batch_size: Count = 256
    """Environment steps per minibatch."""
    sequence_length: Count = 32
    """Environment steps through which gradients flow back in time."""


@dataclass(frozen=True)
class Stochastic:
    """Settings of actors that learn how much they explore."""

    log_std_init: Logarithm = -0.5
    """Initial log standard deviation of continuous actions."""


@dataclass(frozen=True)
class WithCritic:
    """Settings of what estimates returns."""

    gamma: Share = 0.99
    """Discount factor."""
    critic: tuple[Few, ...] = (64, 64)
    """Widths of the critic's layers."""


@dataclass(frozen=True)
class OnRollouts(ByGradients):
    """Settings of learning from each rollout, and then no more."""

    n_steps: Count = 512
    """Environment steps per rollout and environment."""
    n_epochs: Count = 5
    """Passes over each rollout."""
    max_grad_norm: Positive = 0.5
    """Bound of the gradient's norm."""


@dataclass(frozen=True)
class OffPolicySettings(ByGradients, WithCritic):
    """Settings of learning from a replay buffer."""

    critic_sees_state: bool = False
    """Off-policy: the critics also see what the actor's network gives, and train it;
    for tasks in which the observation does not tell all."""
    buffer_size: Count = 1_000_000
    """Off-policy: environment steps in the replay buffer."""
    learning_starts: Number = 5_000
    """Off-policy: environment steps of random actions before training begins."""
    train_freq: Count = 16
    """Off-policy: steps of each environment between updates."""
    gradient_steps: Count = 32
    """Off-policy: updates after these steps."""
    policy_delay: Count = 2
    """Off-policy: updates of the critics for each of the actor."""
    burn_in: Number = 0
    """Off-policy: environment steps before each sequence that bring its state up to
    date."""
    n_critics: Few = 2
    """Off-policy: how many critics there are."""


@dataclass(frozen=True)
class WithTargets:
    """Settings of target critics."""

    tau: Share = 0.01
    """Off-policy: how far target critics follow in an update."""
