"""What is hidden, shown while a policy learns: to the critic for good, to the actor as
a cue in a share of the episodes that falls to none.

A policy that has learned what to do in every context then learns to tell which one it
is in. What is deployed has the ordinary width and needs neither (`deployed`).
"""

from collections.abc import Callable
from typing import Any

import numpy as np
from gymnasium import spaces
from stable_baselines3.common.policies import ActorCriticPolicy
from stable_baselines3.common.vec_env import VecEnv, unwrap_vec_wrapper
from stable_baselines3.common.vec_env.base_vec_env import VecEnvObs, VecEnvStepReturn

from spikepropamine.agents.falling_share import FallingShare
from spikepropamine.policies.critics import actor_of
from spikepropamine.policies.deployed import Normalisation
from spikepropamine.policies.export import narrowed

ENTROPY = (1,)
"""So that the episodes with a cue are others than those in which a teacher acts."""


class Shown(FallingShare):
    """Appends columns with the hidden numbers to observations: first those of the cue,
    zero in episodes without it, then those that the critic alone is told.

    Normalisation leaves both as they are.

    Args:
        venv: environments whose observations are a Box [channels].
        hidden: from an info to the hidden numbers.
        numbers: how many of them there are.
        cue: the share of episodes with a cue at first, and the environment steps over
            which it falls to none; None: there are no columns for a cue.
        told: whether the critic is told.
        seed: of the choice of episodes.

    Raises:
        ValueError: observations are no Box [channels], or nothing is hidden.
    """

    def __init__(
        self,
        venv: VecEnv,
        hidden: Callable[[dict[str, Any]], list[float]],
        numbers: int,
        cue: tuple[float, float] | None,
        told: bool,
        seed: int,
    ) -> None:
        space = venv.observation_space
        if not isinstance(space, spaces.Box) or len(space.shape) != 1:
            raise ValueError(
                f"observations must be a Box of one dimension, got {space}"
            )
        if not numbers:
            raise ValueError(
                "nothing is hidden; perturb it, as by motor_signs=seen or mass=0.5..2"
            )
        self.hidden = hidden
        self.cue = cue
        self.task_channels = space.shape[0]
        """Columns of the observations themselves."""
        self.told = numbers if told else 0
        """How many columns the critic alone sees."""
        self.columns = self.told + (numbers if cue else 0)
        """How many are appended."""
        self._dtype = np.result_type(space.dtype, np.float32)
        infinity = np.full(self.columns, np.inf)
        low = np.append(space.low, -infinity).astype(self._dtype)
        high = np.append(space.high, infinity).astype(self._dtype)
        first, steps = cue or (0.0, 0.0)
        super().__init__(
            venv,
            first,
            steps,
            seed,
            ENTROPY,
            observation_space=spaces.Box(low, high, dtype=self._dtype.type),
        )

    def reset(self) -> VecEnvObs:
        """Starts an episode in every environment."""
        observations = self.venv.reset()
        self._cued = self._draw()
        return self._extended(observations, self.unwrapped.reset_infos)

    def step_wait(self) -> VecEnvStepReturn:
        """The environments' answers, with the columns."""
        observations, rewards, dones, infos = self.venv.step_wait()
        self.steps_taken += self.num_envs
        of_observations = list(infos)
        for index in np.flatnonzero(dones):
            info = infos[index]
            columns = self._columns(info, self._cued[index])
            last = np.concatenate([info["terminal_observation"], columns])
            info["terminal_observation"] = last.astype(self._dtype)
            of_observations[index] = self.unwrapped.reset_infos[index]
        if dones.any():
            self._cued = np.where(dones, self._draw(), self._cued)
        return self._extended(observations, of_observations), rewards, dones, infos

    def _columns(self, info: dict[str, Any], cued: bool) -> list[float]:
        """What is appended to one observation."""
        numbers = self.hidden(info)
        columns = []
        if self.cue is not None:
            columns += numbers if cued else [0.0] * len(numbers)
        if self.told:
            columns += numbers
        return columns

    def _extended(self, observations: Any, infos: list[dict[str, Any]]) -> np.ndarray:
        """Observations [environments, channels] with the columns that show what is
        hidden.
        """
        wide = np.empty((self.num_envs, self.task_channels + self.columns), self._dtype)
        wide[:, : self.task_channels] = observations
        for row, (info, cued) in enumerate(zip(infos, self._cued)):
            wide[row, self.task_channels :] = self._columns(info, cued)
        return wide


def shown(venv: VecEnv | None) -> Shown | None:
    """The `Shown` among the wrappers of environments, if there is one."""
    return None if venv is None else unwrap_vec_wrapper(venv, Shown)


def columns_told(venv: VecEnv) -> int:
    """How many of the last columns of the observations the critic alone sees."""
    wrapper = shown(venv)
    return 0 if wrapper is None else wrapper.told


def deployed(algorithm: Any) -> tuple[ActorCriticPolicy, Normalisation | None]:
    """The policy of an algorithm as it is used, without cue and told critic, and the
    statistics of what it observes (None: observations are not normalised).
    """
    policy = actor_of(algorithm.policy)
    venv = algorithm.get_vec_normalize_env()
    normalisation = None if venv is None else Normalisation.of(venv)
    wrapper = shown(algorithm.env)
    if wrapper is None:
        return policy, normalisation
    channels = wrapper.task_channels
    if normalisation is not None:
        mean, variance = normalisation.statistics[""]
        normalisation.statistics[""] = mean[:channels], variance[:channels]
    return narrowed(policy, channels), normalisation
