"""A teacher: a policy that knows what is hidden, and says at every state that the
learner reaches what it would have done there.

That is dataset aggregation (Ross, Gordon and Bagnell 2011), by teachers that are told
what is hidden (Kumar et al. 2021). The update is that of `agents.supervised`, through
whole episodes.
"""

from collections.abc import Callable
from typing import Any

import numpy as np
from gymnasium import spaces
from stable_baselines3.common.preprocessing import (
    is_image_space,
    is_image_space_channels_first,
)
from stable_baselines3.common.vec_env import VecEnv, VecTransposeImage
from stable_baselines3.common.vec_env.base_vec_env import VecEnvObs, VecEnvStepReturn

from spikepropamine.agents.falling_share import FallingShare
from spikepropamine.policies.deployed import DeployedPolicy


class Taught(FallingShare):
    """Environments that say in `info["taught"]` what a teacher would have done at each
    step; None where nothing is taught.

    A teacher of the plain task sees what the plain task would show, and its action is
    translated into the present context (`out_of_context` and `in_context` of a
    perturbed environment, where it has one). A teacher trained with `reveal` is shown
    what is hidden instead. In a share of the episodes, which falls linearly from 1 to
    0, the teacher itself acts, so that the learner soon sees good states. A teacher
    that knows what is hidden does not have to explore, so a learner that follows it may
    see little of what other actions would have done: `noise` is for that.

    Args:
        venv: the learner's environments, in this process and before any normalisation.
            Their observations begin with those that the teacher was trained on; what
            comes after is the learner's alone.
        teacher: the policy.
        guided_steps: of all environments together, over which the share falls to zero.
        opening: steps of a context in which nothing is taught: nobody can know it yet.
        seed: of the choice of episodes in which the teacher acts, and of the noise.
        noise: standard deviation of what is added to the teacher's actions where it
            acts, relative to half the range of an action. What is taught is without it.
        hidden: from an info to what the teacher observes after the task; None: it
            observes nothing else.

    Raises:
        ValueError: spaces do not fit the teacher's, or there is noise for actions that
            are no numbers.
    """

    def __init__(
        self,
        venv: VecEnv,
        teacher: DeployedPolicy,
        guided_steps: int,
        opening: int,
        seed: int,
        noise: float = 0.0,
        hidden: Callable[[dict[str, Any]], list[float]] | None = None,
    ) -> None:
        super().__init__(venv, 1.0, guided_steps, seed)
        self.noise = noise
        self.teacher = teacher
        self.opening = opening
        self.hidden = hidden
        self._check_spaces()
        self.translates = hidden is None and venv.has_attr("in_context")
        if self.translates:
            # of each environment; `env_method` would look them up at every call
            self._in_context = venv.get_attr("in_context")
            self._out_of_context = venv.get_attr("out_of_context")

    def _check_spaces(self) -> None:
        """Raises ValueError where the teacher cannot act in place of the learner."""
        if self.noise and not isinstance(self.action_space, spaces.Box):
            raise ValueError(
                "trainer.guided_noise is for actions that are numbers (Box), those of "
                f"the task are {self.action_space}"
            )
        learners: Any = self.observation_space
        if is_image_space(learners) and not is_image_space_channels_first(learners):
            # as policies have them
            learners = VecTransposeImage.transpose_space(learners)
        teachers = self.teacher.observation_space
        if self.action_space != self.teacher.action_space:
            raise ValueError(
                f"the teacher's actions are {self.teacher.action_space}, those of the "
                f"task {self.action_space}"
            )
        if not (_is_flat(learners) and _is_flat(teachers)):
            if learners != teachers:
                raise ValueError(
                    f"the teacher observes {teachers}, the task shows {learners}"
                )
            return
        needed = teachers.shape[0]  # type: ignore[index]
        there = learners.shape[0]
        if self.hidden is None and needed > there:
            raise ValueError(
                f"the teacher observes {needed} channels, the task has {there}"
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
        """Steps with the learner's actions, or where the teacher acts, with the
        teacher's.
        """
        self._taught = self._teach()
        guided = self._guided.reshape(-1, *[1] * (actions.ndim - 1))
        self.venv.step_async(np.where(guided, self._with_noise(self._taught), actions))

    def _with_noise(self, actions: np.ndarray) -> np.ndarray:
        """Actions of the teacher as it does them."""
        if not self.noise:
            return actions
        space = self.action_space
        assert isinstance(space, spaces.Box)
        spread = self.noise * (space.high - space.low) / 2
        noisy = actions + spread * self.random.standard_normal(actions.shape)
        return np.clip(noisy, space.low, space.high).astype(actions.dtype)

    def step_wait(self) -> VecEnvStepReturn:
        """The environments' answers, with `info["taught"]` in each."""
        began = np.array([info.get("context_began", 0) for info in self._infos])
        due = self._ages - began >= self.opening
        observations, rewards, dones, infos = self.venv.step_wait()
        for info, action, is_due in zip(infos, self._taught, due):
            # without a None, the learner would take a target of the environment
            info["taught"] = action if is_due else None
        self.steps_taken += self.num_envs
        self._observations = observations
        self._starts = dones
        self._ages = np.where(dones, 0, self._ages + 1)
        self._infos = list(infos)
        for index in np.flatnonzero(dones):
            self._infos[index] = self.venv.reset_infos[index]
        if dones.any():
            self._guided = np.where(dones, self._draw(), self._guided)
        return observations, rewards, dones, infos

    def _teach(self) -> np.ndarray:
        """The teacher's actions in the present states."""
        observations: Any = self._observations
        if _is_flat(self.teacher.observation_space):
            observations = self._as_teacher_sees(observations)
        actions, self._state = self.teacher.predict(
            observations, self._state, self._starts, deterministic=True
        )
        if self.translates:
            return _translated(self._in_context, actions)
        return actions

    def _as_teacher_sees(self, observations: np.ndarray) -> np.ndarray:
        """Observations [n_envs, channels] of the learner as those of the teacher."""
        channels = self.teacher.observation_space.shape[0]  # type: ignore[index]
        if self.hidden is not None:
            revealed = np.array([self.hidden(info) for info in self._infos])
            plain = observations[:, : channels - revealed.shape[1]]
            observations = np.concatenate([plain, revealed], axis=1)
        observations = observations[:, :channels]
        if self.translates:
            return _translated(self._out_of_context, observations)
        return observations


def _is_flat(space: spaces.Space[Any]) -> bool:
    """Whether observations of a space are a Box [channels]."""
    return isinstance(space, spaces.Box) and len(space.shape) == 1


def _translated(
    methods: list[Callable[[np.ndarray], np.ndarray]], rows: np.ndarray
) -> np.ndarray:
    """Each row by the method of its environment."""
    translated = np.empty_like(rows)
    for index, method in enumerate(methods):
        translated[index] = method(rows[index])
    return translated
