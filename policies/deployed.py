"""A policy with the normalisation of its observations, as it is deployed."""

import threading
from collections.abc import Iterator
from typing import Any, NamedTuple

import gymnasium as gym
import numpy as np
from sb3_contrib.common.recurrent.policies import RecurrentActorCriticPolicy
from stable_baselines3.common.policies import BasePolicy
from stable_baselines3.common.running_mean_std import RunningMeanStd
from stable_baselines3.common.vec_env import VecNormalize

from spikepropamine.policies.fast import fast
from spikepropamine.policies.fast.environments import scaled
from spikepropamine.policies.fast.single import Single, StateNotFinite, single
from spikepropamine.policies.spaces import (
    check_observations,
    check_structure,
    stacked,
)

State = tuple[np.ndarray, ...] | None


class Normalisation:
    """The observation statistics of a `VecNormalize`, frozen.

    Args:
        statistics: mean and variance, arrays shaped like the observation; of a Dict
            observation by key, of others that of "" alone.
        clip: bound of the normalised values.
        epsilon: is added to the variance.
    """

    def __init__(
        self,
        statistics: dict[str, tuple[np.ndarray, np.ndarray]],
        clip: float,
        epsilon: float,
    ) -> None:
        self.statistics = statistics
        self.clip = clip
        self.epsilon = epsilon

    @classmethod
    def of(cls, venv: VecNormalize) -> "Normalisation | None":
        """The current statistics of `venv`; None when it leaves observations as they
        are.
        """
        if not venv.norm_obs:
            return None
        running = _by_key(venv.obs_rms)
        statistics = {key: (x.mean, x.var) for key, x in running.items()}
        return cls(statistics, venv.clip_obs, venv.epsilon)

    def give(self, venv: VecNormalize, more: int = 0) -> None:
        """Lets `venv` go on from these statistics, as if it had seen as many
        observations.

        Args:
            venv: is changed.
            more: channels that come after these statistics, and are left as they are.

        Raises:
            ValueError: observations of `venv` are of another structure.
        """
        running = _by_key(venv.obs_rms)
        if running.keys() != self.statistics.keys():
            raise ValueError("its observations are of another structure")
        for key, (mean, var) in self.statistics.items():
            beyond = (more, *mean.shape[1:])
            running[key].mean = np.concatenate([mean, np.zeros(beyond)])
            running[key].var = np.concatenate([var, np.ones(beyond)])
            running[key].count = 1e6

    def __call__(self, observation: Any) -> Any:
        """Normalised observations, float32, of the same structure."""
        if not isinstance(observation, dict):
            return self._scaled(observation, "")
        return {
            key: self._scaled(x, key) if key in self.statistics else x
            for key, x in observation.items()
        }

    def _scaled(self, x: np.ndarray, key: str) -> np.ndarray:
        mean, var = self.statistics[key]
        return scaled(x, mean, var, self.epsilon, self.clip).astype(np.float32)


def _by_key(
    statistics: RunningMeanStd | dict[str, RunningMeanStd],
) -> dict[str, RunningMeanStd]:
    return statistics if isinstance(statistics, dict) else {"": statistics}


class LostState(ValueError):
    """A policy with memory is to act in mid-episode, without its state."""


class DeployedPolicy:
    """A loaded policy with its normalisation: raw observations in, actions out.

    Attributes:
        policy: the SB3 policy.
        normalisation: applied to observations, or None.
        metadata: what was stored beside it: of a run its settings, versions and steps.
        observation_space, action_space: of one environment.
    """

    def __init__(
        self,
        policy: BasePolicy,
        normalisation: Normalisation | None,
        metadata: dict[str, Any],
    ) -> None:
        self.policy = policy
        self.normalisation = normalisation
        self.metadata = metadata
        self.observation_space = policy.observation_space
        self.action_space = policy.action_space
        policy.set_training_mode(False)

    def predict(
        self,
        observation: Any,
        state: State = None,
        episode_start: np.ndarray | None = None,
        deterministic: bool = False,
    ) -> tuple[np.ndarray, State]:
        """As the `predict` of any SB3 policy, on observations as the environment gives
        them. Threads may share the policy.

        Args:
            observation: [batch, ...] or of one environment, or a dict of such.
            state: what the step before gave; None before the first.
            episode_start: [batch], whether an episode begins; None: where there is no
                state.
            deterministic: the mode of the distribution of actions, or a sample of it.

        Returns:
            Actions [batch, ...], and the new state.

        Raises:
            BadObservation: see `policies.spaces.check_structure` and
                `check_observations`; nothing has come of it, and the state still holds.
            LostState: a policy with memory got no state, and episodes do not all begin.
            ValueError: the state has a number that is not finite.
        """
        check_structure(observation, self.observation_space)
        check_observations(observation)
        if isinstance(self.policy, RecurrentActorCriticPolicy):
            state = state or None  # an empty tuple is no state either
            _check_state(state, episode_start)
        if self.normalisation is not None:
            observation = self.normalisation(observation)
        compiled = fast(self.policy)
        if compiled is not None:
            return compiled.predict(observation, state, episode_start, deterministic)
        with _ONE_AT_A_TIME:  # SB3's policies keep the distribution of a step
            return self.policy.predict(observation, state, episode_start, deterministic)

    def single(self) -> Single | None:
        """The policy in one environment, as it is now; None where it has to be called
        by `predict`.
        """
        way = fast(self.policy)
        if way is None:
            return None
        return single(self.policy, way, self.normalisation)


def _check_state(state: State, episode_start: np.ndarray | None) -> None:
    """Raises LostState or ValueError, see `DeployedPolicy.predict`."""
    if state is None:
        if episode_start is not None and not np.all(episode_start):
            raise LostState(
                "this policy has a memory: give the state of the step before, or use "
                "act() of what spikepropamine.load gives, which keeps it"
            )
    elif not all(np.isfinite(np.sum(part)) for part in state):
        # the sum is finite where all numbers are, and takes a fifth of the time
        raise StateNotFinite


_ONE_AT_A_TIME = threading.Lock()


class Step(NamedTuple):
    """Of a policy in a task: whether an episode begins with this observation, what the
    policy does, and its state after that.
    """

    observation: Any
    begins: bool
    action: Any
    state: State


def steps(policy: DeployedPolicy, env: gym.Env[Any, Any], seed: int) -> Iterator[Step]:
    """Deterministic actions in one episode after the other, without end.

    Args:
        policy: acts.
        env: the task; is not closed.
        seed: of the first episode; those after it count on from it.
    """
    state: State = None
    observation = None
    over = True
    while True:
        begins = over
        if begins:
            observation, _ = env.reset(seed=seed)
            seed += 1
        batch = stacked([observation])
        starts = np.array([begins])
        actions, state = policy.predict(batch, state, starts, deterministic=True)
        yield Step(observation, begins, actions[0], state)
        observation, _, terminated, truncated, _ = env.step(actions[0])
        over = terminated or truncated
