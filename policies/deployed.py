"""A policy with the normalisation of its observations, as it is deployed."""

import threading
from collections.abc import Iterator
from typing import Any, NamedTuple

import gymnasium as gym
import numpy as np
from sb3_contrib.common.recurrent.policies import RecurrentActorCriticPolicy
from stable_baselines3.common.policies import BasePolicy
from stable_baselines3.common.vec_env import VecNormalize

from spikepropamine.policies.fast import fast
from spikepropamine.policies.fast.environments import scaled
from spikepropamine.policies.spaces import check_finite, stacked

State = tuple[np.ndarray, ...] | None


class Normalisation:
    """The observation statistics of a `VecNormalize`, frozen: mean and variance, arrays shaped like
    the observation; of a Dict observation by key, of others that of "" alone. `clip` bounds the
    normalised values, `epsilon` is added to the variance.
    """

    def __init__(
        self,
        statistics: dict[str, tuple[np.ndarray, np.ndarray]],
        clip: float,
        epsilon: float,
    ) -> None:
        self.statistics, self.clip, self.epsilon = statistics, clip, epsilon

    @classmethod
    def of(cls, venv: VecNormalize) -> "Normalisation | None":
        """The current statistics of `venv`; None when it leaves observations as they are."""
        if not venv.norm_obs:
            return None
        found = {key: (x.mean, x.var) for key, x in _by_key(venv.obs_rms).items()}
        return cls(found, venv.clip_obs, venv.epsilon)

    def give(self, venv: VecNormalize, more: int = 0) -> None:
        """Lets `venv` go on from these statistics, as if it had seen as many observations; `more`
        channels that come after them are left as they are. Raises ValueError where observations
        are of another structure.
        """
        theirs = _by_key(venv.obs_rms)
        if theirs.keys() != self.statistics.keys():
            raise ValueError("its observations are of another structure")
        for key, (mean, var) in self.statistics.items():
            beyond = (more, *mean.shape[1:])
            theirs[key].mean = np.concatenate([mean, np.zeros(beyond)])
            theirs[key].var = np.concatenate([var, np.ones(beyond)])
            theirs[key].count = 1e6

    def __call__(self, observation: Any) -> Any:
        """Normalised observations, float32, of the same structure."""
        if not isinstance(observation, dict):
            return self._scaled(observation, "")
        known = self.statistics
        return {
            k: self._scaled(x, k) if k in known else x for k, x in observation.items()
        }

    def _scaled(self, x: np.ndarray, key: str) -> np.ndarray:
        return scaled(x, *self.statistics[key], self.epsilon, self.clip).astype(
            np.float32
        )


def _by_key(found: Any) -> dict[str, Any]:
    return found if isinstance(found, dict) else {"": found}


class LostState(ValueError):
    """A policy with memory was asked to act in mid-episode, without its state."""


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
        self.policy, self.normalisation, self.metadata = policy, normalisation, metadata
        self.observation_space, self.action_space = (
            policy.observation_space,
            policy.action_space,
        )
        policy.set_training_mode(False)

    def predict(
        self,
        observation: Any,
        state: State = None,
        episode_start: np.ndarray | None = None,
        deterministic: bool = False,
    ) -> tuple[np.ndarray, State]:
        """As the `predict` of any SB3 policy, on observations as the environment gives them.
        Threads may share the policy. Raises BadObservation: one is not finite; nothing has come of
        it, and the state still holds; LostState: a policy with memory got no state, and episodes do
        not all begin.
        """
        begins = (
            state is not None or episode_start is None or bool(np.all(episode_start))
        )
        if not begins and isinstance(self.policy, RecurrentActorCriticPolicy):
            raise LostState(
                "this policy has a memory: give the state of the step before, or use act() of what "
                "spikepropamine.load gives, which keeps it"
            )
        check_finite(observation)
        if self.normalisation is not None:
            observation = self.normalisation(observation)
        compiled = fast(self.policy)
        if compiled is not None:
            return compiled.predict(observation, state, episode_start, deterministic)
        with _ONE_AT_A_TIME:  # SB3's policies keep the distribution of a step
            return self.policy.predict(observation, state, episode_start, deterministic)


_ONE_AT_A_TIME = threading.Lock()


class Step(NamedTuple):
    """Of a policy in a task: whether an episode begins with this observation, what the policy does,
    and its state after that.
    """

    observation: Any
    begins: bool
    action: Any
    state: Any


def steps(policy: DeployedPolicy, env: gym.Env, seed: int) -> Iterator[Step]:
    """Deterministic actions in one episode after the other, without end; the first one has this
    seed, and those after it count on from it. The environment is not closed.
    """
    state: State = None
    over, observation = True, None
    while True:
        begins = over
        if begins:
            observation, _ = env.reset(seed=seed)
            seed += 1
        batch, starts = stacked([observation]), np.array([begins])
        actions, state = policy.predict(batch, state, starts, deterministic=True)
        yield Step(observation, begins, actions[0], state)
        observation, _, terminated, truncated, _ = env.step(actions[0])
        over = terminated or truncated
