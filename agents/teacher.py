"""Learning from a teacher that knows what the learner has to find out.

The learner acts, and at every state that it reaches the teacher says what it would have done there
(dataset aggregation, Ross, Gordon and Bagnell 2011; teachers that are told what is hidden: Kumar et
al. 2021). The update is that of `agents.supervised`, through whole episodes.
"""

from collections.abc import Callable
from typing import Any

import numpy as np
from gymnasium import spaces
from stable_baselines3.common.preprocessing import is_image_space, is_image_space_channels_first
from stable_baselines3.common.vec_env import VecEnv, VecTransposeImage
from stable_baselines3.common.vec_env.base_vec_env import VecEnvObs, VecEnvStepReturn

from spikepropamine.agents.shown import FallingShare
from spikepropamine.policies.deployed import DeployedPolicy


class Taught(FallingShare):
    """Environments that say in `info["taught"]` what a teacher would have done at each step; None
    where nothing is taught.

    A teacher of the plain task sees what the plain task would show, and its action is translated
    into the present context (`out_of_context` and `in_context` of a perturbed environment, where it
    has one). A teacher trained with `reveal` is shown what is hidden instead. In a share of the
    episodes, which falls linearly from 1 to 0, the teacher itself acts, so that the learner soon
    sees good states.

    Args:
        venv: the learner's environments, in this process, before any normalisation. Their
            observations begin with those that the teacher was trained on; what comes after is the
            learner's alone.
        teacher: a deployed policy.
        guided_steps: environment steps, of all environments together, over which the share of
            episodes in which the teacher acts falls to zero.
        opening: steps since the present context began in which nothing is taught, since nobody
            can know it yet.
        seed: of the choice of episodes.
        hidden: from an info to the numbers that the teacher observes after those of the task; None:
            it observes nothing else.

    Raises:
        ValueError: spaces that do not fit the teacher's.
    """

    def __init__(
        self,
        venv: VecEnv,
        teacher: DeployedPolicy,
        guided_steps: int,
        opening: int,
        seed: int,
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
            ours = VecTransposeImage.transpose_space(ours)  # as policies have them
        theirs: Any = self.teacher.observation_space
        acts, actions = self.teacher.action_space, self.action_space
        if actions != acts:
            raise ValueError(f"the teacher's actions are {acts}, those of the task {actions}")
        flat = all(isinstance(s, spaces.Box) and len(s.shape) == 1 for s in (ours, theirs))
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
            self.venv.reset_infos[i] if done else infos[i] for i, done in enumerate(dones)
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


def _translated(methods: list[Callable[[np.ndarray], np.ndarray]], rows: np.ndarray) -> np.ndarray:
    """Each row by the method of its environment."""
    translated = np.empty_like(rows)
    for index, method in enumerate(methods):
        translated[index] = method(rows[index])
    return translated
