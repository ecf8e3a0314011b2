"""Defaults for a task without a configuration, such as one's own.

What decides them can be seen before training: the time limit, and the spaces. A setting
that is given, on the command line or in a file, is never touched; nor is any task that
has a configuration in `configs/`.

- Observations that are numbers are normalised (`configs/default.yaml`): their scale is
  not known, and a neuron hardly fires for positions of a tenth.
- Gradients reach back over a whole episode, where it is short: what is seen at its
  beginning may decide its end.
- The discount looks ahead over a tenth of an episode, where it is long.
- The first spread of continuous actions is a share of their range: PPO's actions are
  not scaled to it.
"""

import math
from collections.abc import Collection
from contextlib import closing
from dataclasses import dataclass, replace
from typing import Any

import gymnasium as gym
import numpy as np
from gymnasium import spaces

from spikepropamine.common import bad_input
from spikepropamine.envs.making import horizon_of
from spikepropamine.policies.spaces import is_partly_normalised
from spikepropamine.training.environments import env_maker
from spikepropamine.training.sections import is_configured
from spikepropamine.training.settings import Settings, has_effect
from spikepropamine.words import number

LONGEST_SEQUENCE = 64
"""Steps; through hundreds of them gradients of plasticity can overflow."""
PART_OF_EPISODE = 0.1
"""That a discount looks ahead at least."""
LARGEST_GAMMA = 0.999


@dataclass(frozen=True)
class OwnTask:
    """What a task without a configuration decides by."""

    horizon: int | None
    """Steps of its longest episode; None: it has no limit."""
    half_range: float | None
    """Half the range of a continuous action, the geometric mean over channels; None:
    actions are discrete, or have no bounds."""
    normalisable: bool
    """Whether observations, or some parts of a Dict, are numbers and no pictures."""

    @classmethod
    def of(cls, env: gym.Env) -> "OwnTask":
        """What an environment has."""
        return cls(
            horizon_of(env),
            _half_range(env.action_space),
            is_partly_normalised(env.observation_space),
        )

    def sequence_length(self, default: int, most: int) -> int:
        """Steps through which gradients flow: an episode rounded up to a power of two,
        at least the default, at most `LONGEST_SEQUENCE`.

        Args:
            default: what there is where nothing decides.
            most: that a rollout and a minibatch can hold.
        """
        if self.horizon is None:
            return default
        whole = 2 ** math.ceil(math.log2(max(self.horizon, 1)))
        return min(max(default, min(whole, LONGEST_SEQUENCE)), most)

    def gamma(self, default: float) -> float:
        """Discount that looks ahead, 1 / (1 - gamma) steps, over a part of an episode.

        Args:
            default: what there is at least.
        """
        if self.horizon is None:
            return default
        enough = 1 - 1 / max(1.0, PART_OF_EPISODE * self.horizon)
        return max(default, round(min(enough, LARGEST_GAMMA), 4))

    def log_std_init(self, default: float) -> float:
        """Initial log standard deviation of actions.

        Args:
            default: of actions whose range is [-1, 1].
        """
        if self.half_range is None:
            return default
        return round(default + math.log(self.half_range), 2)


def fitted(settings: Settings, given: Collection[str]) -> Settings:
    """The settings with what the task decides.

    Args:
        settings: defaults, and what is given.
        given: dotted names of the settings that are given, which stay.

    Returns:
        The settings themselves where the task has a configuration, or the algorithm is
        another than PPO.
    """
    trainer = settings.trainer
    if is_configured(settings.env) or trainer.kind != "ppo":
        return settings
    arguments = dict(settings.env_kwargs)
    arguments.pop("render_mode", None)
    with bad_input(), closing(env_maker(settings)(arguments=arguments)) as env:
        task = OwnTask.of(env)
    most = min(trainer.n_steps, trainer.batch_size)
    decided = {
        "sequence_length": task.sequence_length(trainer.sequence_length, most),
        "gamma": task.gamma(trainer.gamma),
        "log_std_init": task.log_std_init(trainer.log_std_init),
    }
    matters = has_effect(settings)
    open_ones: dict[str, Any] = {
        name: value
        for name, value in decided.items()
        if f"trainer.{name}" not in given and matters(f"trainer.{name}")
    }
    return replace(settings, trainer=replace(trainer, **open_ones))


def decided_by(settings: Settings, env: gym.Env) -> str:
    """What a task without a configuration has decided, as a line of the log.

    Args:
        settings: of the training.
        env: one of its environments.
    """
    task = OwnTask.of(env)
    trainer = settings.trainer
    matters = has_effect(settings)
    limit = "no limit" if task.horizon is None else f"up to {task.horizon:,} steps"
    normalised = "normalised" if settings.normalize_observations else "as they are"
    if not task.normalisable:
        normalised = "as they are"
    parts = [f"observations {normalised}"]
    if matters("trainer.gamma"):
        parts.append(f"discount {trainer.gamma:g}")
    if matters("trainer.sequence_length"):
        parts.append(f"gradients through {trainer.sequence_length} steps")
    if task.half_range is not None and matters("trainer.log_std_init"):
        spread = math.exp(trainer.log_std_init)
        parts.append(
            f"first spread of actions {number(spread)} in a range of "
            f"\u00b1{number(task.half_range)}"
        )
    return (
        f"{settings.env} has no configuration, and episodes of {limit}: "
        f"{', '.join(parts)} (`spikepropamine tune` searches them)"
    )


def _half_range(actions: spaces.Space) -> float | None:
    if not isinstance(actions, spaces.Box):
        return None
    half = (actions.high.astype(float) - actions.low.astype(float)) / 2
    if not np.isfinite(half).all() or not (half > 0).all():
        return None
    return float(np.exp(np.log(half).mean()))
