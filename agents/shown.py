"""What is hidden, shown while a policy learns: to the actor as a cue, to the critic for good.

The cue stands in a share of the episodes that falls to none: a policy that has learned what to do
in every context then learns to tell which one it is in. What is deployed has neither.
"""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from gymnasium import spaces
from stable_baselines3.common.policies import ActorCriticPolicy
from stable_baselines3.common.vec_env import VecEnv, VecEnvWrapper, unwrap_vec_wrapper
from stable_baselines3.common.vec_env.base_vec_env import VecEnvObs, VecEnvStepReturn

from spikepropamine.policies.deployed import Normalisation
from spikepropamine.policies.export import narrowed
from spikepropamine.policies.off_policy import actor_of


class FallingShare(VecEnvWrapper):
    """Environments in which something is done in a share of the episodes that falls linearly to
    none over so many steps of all environments together.

    The share is `first` to begin with; above 1 it is 1 until it has fallen below. With 0 steps it
    is none. `entropy` seeds the choice of episodes, after the seed.
    """

    def __init__(
        self, venv: VecEnv, first: float, steps: float, seed: int, *entropy: int, **spaces: Any
    ) -> None:
        super().__init__(venv, **spaces)
        self.first, self.over, self.entropy = first, steps, entropy
        self.random = np.random.default_rng([seed, *entropy])
        self.steps_taken = 0

    @property
    def share(self) -> float:
        """Of the episodes that begin now, in which it is done."""
        left = 1.0 - self.steps_taken / self.over if self.over else 0.0
        return min(1.0, max(0.0, self.first * left))

    def seed(self, seed: int | None = None) -> Sequence[int | None]:
        """Seeds the choice of episodes, and the environments for the next `reset`."""
        self.random = np.random.default_rng(None if seed is None else [seed, *self.entropy])
        return self.venv.seed(seed)

    def _draw(self) -> np.ndarray:
        return self.random.random(self.num_envs) < self.share


class Shown(FallingShare):
    """Appends columns with the hidden numbers to observations: first those of the cue, zero in
    episodes without it, then those that the critic alone is told. Normalisation leaves both as they
    are.

    Args:
        venv: environments that observe a Box [channels]; else ValueError is raised.
        hidden: from an info to the hidden numbers.
        numbers: how many there are; ValueError is raised where there are none.
        cue: `first` and `steps` of the share of the episodes that have the cue. None: there are no
            columns of a cue.
        told: whether the critic is told.
        seed: of the choice of episodes.
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
            raise ValueError(f"observations must be a Box of one dimension, got {space}")
        if not numbers:
            raise ValueError("nothing is hidden; perturb it, as by motor_signs=seen or mass=0.5..2")
        self.hidden, self.cue = hidden, cue
        self.channels = space.shape[0]
        self.told = numbers if told else 0
        """How many columns the critic alone sees."""
        self.columns = self.told + (numbers if cue else 0)
        self._dtype = np.result_type(space.dtype, np.float32)
        ends = zip((space.low, space.high), (-np.inf, np.inf))
        low, high = (np.append(x, [end] * self.columns).astype(self._dtype) for x, end in ends)
        wide = spaces.Box(low, high, dtype=self._dtype.type)
        # a teacher's choices are others
        super().__init__(venv, *(cue or (0.0, 0.0)), seed, 1, observation_space=wide)

    def reset(self) -> VecEnvObs:
        """Starts an episode in every environment."""
        observations = self.venv.reset()
        self._cued = self._draw()
        return self._extended(observations, self.unwrapped.reset_infos)

    def step_wait(self) -> VecEnvStepReturn:
        """The environments' answers, with the columns."""
        observations, rewards, dones, infos = self.venv.step_wait()
        self.steps_taken += self.num_envs
        now = list(infos)
        for index in np.flatnonzero(dones):
            info, columns = infos[index], self._columns(infos[index], self._cued[index])
            last = np.concatenate([info["terminal_observation"], columns])
            info["terminal_observation"] = last.astype(self._dtype)
            now[index] = self.unwrapped.reset_infos[index]
        if dones.any():
            self._cued = np.where(dones, self._draw(), self._cued)
        return self._extended(observations, now), rewards, dones, infos

    def _columns(self, info: dict[str, Any], cued: bool) -> list[float]:
        numbers = self.hidden(info)
        cue = [] if self.cue is None else numbers if cued else [0.0] * len(numbers)
        return [*cue, *numbers] if self.told else cue

    def _extended(self, observations: Any, infos: list[dict[str, Any]]) -> np.ndarray:
        wide = np.empty((self.num_envs, self.channels + self.columns), self._dtype)
        wide[:, : self.channels] = observations
        wide[:, self.channels :] = [self._columns(*one) for one in zip(infos, self._cued)]
        return wide


def shown(venv: VecEnv | None) -> Shown | None:
    """The `Shown` among the wrappers of environments, if there is one."""
    return None if venv is None else unwrap_vec_wrapper(venv, Shown)


def deployed(algorithm: Any) -> tuple[ActorCriticPolicy, Normalisation | None]:
    """The policy of an algorithm as it is used, without cue and told critic, and the statistics of
    what it observes.
    """
    policy, venv = actor_of(algorithm.policy), algorithm.get_vec_normalize_env()
    normalisation = None if venv is None else Normalisation.of(venv)
    helped = shown(algorithm.env)
    if helped is None:
        return policy, normalisation
    if normalisation is not None:
        normalisation.mean = normalisation.mean[: helped.channels]
        normalisation.var = normalisation.var[: helped.channels]
    return narrowed(policy, helped.channels), normalisation
