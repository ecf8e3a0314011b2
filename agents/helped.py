"""Help while a policy learns, which what is deployed has not.

What is hidden is shown: to the critic for good, to the actor as a cue, in a share of the episodes
that falls to none. A policy that has learned what to do in every context then learns to tell which
one it is in. Or a teacher that knows it says at every state that the learner reaches what it would
have done there (dataset aggregation, Ross, Gordon and Bagnell 2011; teachers that are told what is
hidden: Kumar et al. 2021). The update is that of `agents.plastic_ppo`, through whole episodes.
"""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from gymnasium import spaces
from stable_baselines3.common import vec_env
from stable_baselines3.common.policies import ActorCriticPolicy
from stable_baselines3.common.preprocessing import (
    is_image_space,
    is_image_space_channels_first,
)
from stable_baselines3.common.vec_env import VecEnv
from stable_baselines3.common.vec_env.base_vec_env import VecEnvObs, VecEnvStepReturn

from spikepropamine.policies.deployed import DeployedPolicy, Normalisation
from spikepropamine.policies.export import narrowed
from spikepropamine.policies.off_policy import actor_of


class FallingShare(vec_env.VecEnvWrapper):
    """Environments in which something is done in a share of the episodes that falls linearly to
    none over so many steps of all environments together.

    The share is `first` to begin with; above 1 it is 1 until it has fallen below. With 0 steps it
    is none. `entropy` seeds the choice of episodes, after the seed.
    """

    def __init__(
        self,
        venv: VecEnv,
        first: float,
        steps: float,
        seed: int,
        *entropy: int,
        **spaces: Any,
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
        self.random = np.random.default_rng(
            None if seed is None else [seed, *self.entropy]
        )
        return self.venv.seed(seed)

    def _draw(self) -> np.ndarray:
        return self.random.random(self.num_envs) < self.share


class Shown(FallingShare):
    """Appends columns with the hidden numbers to observations: first those of the cue, zero in
    episodes without it, then those that the critic alone is told. Normalisation leaves both as they
    are. Raises ValueError where observations are no Box [channels], or nothing is hidden.
    """

    def __init__(
        self,
        venv: VecEnv,
        hidden: Callable[
            [dict[str, Any]], list[float]
        ],  # from an info to the hidden numbers
        numbers: int,  # how many there are
        cue: tuple[float, float]
        | None,  # `FallingShare`'s first and steps; None: no columns
        told: bool,  # whether the critic is told
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
        self.hidden, self.cue = hidden, cue
        self.channels = space.shape[0]
        self.told = numbers if told else 0
        """How many columns the critic alone sees."""
        self.columns = self.told + (numbers if cue else 0)
        self._dtype = np.result_type(space.dtype, np.float32)
        ends = zip((space.low, space.high), (-np.inf, np.inf))
        low, high = (
            np.append(x, [end] * self.columns).astype(self._dtype) for x, end in ends
        )
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
        wide[:, self.channels :] = [
            self._columns(*one) for one in zip(infos, self._cued)
        ]
        return wide


class Taught(FallingShare):
    """Environments that say in `info["taught"]` what a teacher would have done at each step; None
    where nothing is taught.

    A teacher of the plain task sees what the plain task would show, and its action is translated
    into the present context (`out_of_context` and `in_context` of a perturbed environment, where it
    has one). A teacher trained with `reveal` is shown what is hidden instead. In a share of the
    episodes, which falls linearly from 1 to 0, the teacher itself acts, so that the learner soon
    sees good states.

    The learner's environments are in this process, before any normalisation. Their observations
    begin with those that the teacher was trained on; what comes after is the learner's alone.
    Raises ValueError where spaces do not fit the teacher's.
    """

    def __init__(
        self,
        venv: VecEnv,
        teacher: DeployedPolicy,
        guided_steps: int,  # of all environments together, over which the share falls to zero
        opening: int,  # steps of a context in which nothing is taught: nobody can know it yet
        seed: int,
        # from an info to what the teacher observes after the task; None: it observes nothing else
        hidden: Callable[[dict[str, Any]], list[float]] | None = None,
    ) -> None:
        super().__init__(venv, 1.0, guided_steps, seed)
        self.teacher, self.opening, self.hidden = teacher, opening, hidden
        self._check_spaces()
        self.translates = hidden is None and venv.has_attr("in_context")
        if self.translates:
            # of each environment; `env_method` would look them up at every call
            self._in_context = venv.get_attr("in_context")
            self._out_of_context = venv.get_attr("out_of_context")

    def _check_spaces(self) -> None:
        ours: Any = self.observation_space
        if is_image_space(ours) and not is_image_space_channels_first(ours):
            ours = vec_env.VecTransposeImage.transpose_space(
                ours
            )  # as policies have them
        theirs: Any = self.teacher.observation_space
        acts, actions = self.teacher.action_space, self.action_space
        if actions != acts:
            raise ValueError(
                f"the teacher's actions are {acts}, those of the task {actions}"
            )
        flat = all(
            isinstance(s, spaces.Box) and len(s.shape) == 1 for s in (ours, theirs)
        )
        if not flat and ours != theirs:
            raise ValueError(f"the teacher observes {theirs}, the task shows {ours}")
        if flat and self.hidden is None and theirs.shape[0] > ours.shape[0]:
            raise ValueError(
                f"the teacher observes {theirs.shape[0]} channels, the task has {ours.shape[0]}"
            )

    def reset(self) -> VecEnvObs:
        """Starts an episode in every environment."""
        self._observations = self.venv.reset()
        self._infos = self.venv.reset_infos
        self._ages = np.zeros(self.num_envs, dtype=int)
        self._state: Any = None
        self._starts = np.ones(self.num_envs, dtype=bool)
        self._guided = self._draw()
        return self._observations

    def step_async(self, actions: np.ndarray) -> None:
        """Steps with the learner's actions, or where the teacher acts, with the teacher's."""
        self._taught = self._teach()
        guided = self._guided.reshape(-1, *[1] * (actions.ndim - 1))
        self.venv.step_async(np.where(guided, self._taught, actions))

    def step_wait(self) -> VecEnvStepReturn:
        """The environments' answers, with `info["taught"]` in each."""
        began = np.array([info.get("context_began", 0) for info in self._infos])
        due = self._ages - began >= self.opening
        observations, rewards, dones, infos = self.venv.step_wait()
        for info, action, wanted in zip(infos, self._taught, due):
            # without a None, what an environment says of its own would be learned
            info["taught"] = action if wanted else None
        self.steps_taken += self.num_envs
        self._observations, self._starts = observations, dones
        self._ages = np.where(dones, 0, self._ages + 1)
        self._infos = [
            self.venv.reset_infos[i] if done else infos[i]
            for i, done in enumerate(dones)
        ]
        if dones.any():
            self._guided = np.where(dones, self._draw(), self._guided)
        return observations, rewards, dones, infos

    def _teach(self) -> np.ndarray:
        observed: Any = self._observations
        space = self.teacher.observation_space
        if isinstance(space, spaces.Box) and len(space.shape) == 1:
            (channels,) = space.shape
            if self.hidden is not None:
                told = np.array([self.hidden(info) for info in self._infos])
                plain = observed[:, : channels - told.shape[1]]
                observed = np.concatenate([plain, told], axis=1)
            observed = observed[:, :channels]
            if self.translates:
                observed = _translated(self._out_of_context, observed)
        actions, self._state = self.teacher.predict(
            observed, self._state, self._starts, deterministic=True
        )
        return _translated(self._in_context, actions) if self.translates else actions


def _translated(
    methods: list[Callable[[np.ndarray], np.ndarray]], rows: np.ndarray
) -> np.ndarray:
    """Each row by the method of its environment."""
    translated = np.empty_like(rows)
    for index, method in enumerate(methods):
        translated[index] = method(rows[index])
    return translated


def shown(venv: VecEnv | None) -> Shown | None:
    """The `Shown` among the wrappers of environments, if there is one."""
    return None if venv is None else vec_env.unwrap_vec_wrapper(venv, Shown)


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
        mean, var = normalisation.statistics[""]
        normalisation.statistics[""] = mean[: helped.channels], var[: helped.channels]
    return narrowed(policy, helped.channels), normalisation
