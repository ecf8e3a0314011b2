"""What is equal for every library that `benchmarks.recurrent_sac` trains: tasks whose
velocities are hidden, and the settings that all libraries have.
"""

import json
from dataclasses import dataclass
from typing import Any

import gymnasium as gym
import numpy as np

ENVIRONMENTS = 4
LSTM = 64
"""Units of the actor's LSTM."""
HEADS = [64, 64]
"""Widths of the layers between the LSTM and the actions."""
CRITIC = [128, 128]
"""Widths of the layers of each of two critics."""
SEQUENCE = 16
"""Environment steps through which gradients flow back in time."""
EPISODES = 50
"""In which a trained policy is evaluated, by the means of its actions."""
EVALUATION_SEED = 1_000_000
"""Of the first of these episodes: beyond every seed of a training."""
MARK = "trained: "
"""Begins the line that `benchmarks.recurrent_sac` reads; libraries print others."""


@dataclass(frozen=True)
class Task:
    """A task of Gymnasium whose velocities are hidden. Beside positions, a policy sees
    its previous action and the previous reward.
    """

    plain: str
    """Id of the task that shows all."""
    hidden: str
    """Id of the task here, which shows the same with `--previous`."""
    positions: int
    """How many leading numbers of an observation are shown."""
    largest_action: float
    horizon: int
    """Environment steps of an episode."""
    sac: dict[str, Any]
    """Settings by Stable-Baselines3's names; there is one update for every four
    environment steps.
    """

    def make(self) -> gym.Env:
        """One environment."""
        return HiddenVelocity(gym.make(self.plain), self.positions)


SAC: dict[str, Any] = {
    "buffer_size": 100_000,
    "batch_size": 512,  # steps: 32 sequences
}
"""Of both tasks."""
TASKS = {
    "pendulum": Task(
        plain="Pendulum-v1",
        hidden="PendulumNoVelocity-v0",
        positions=2,
        largest_action=2.0,
        horizon=200,
        sac={
            **SAC,
            "learning_rate": 1e-3,
            "learning_starts": 800,  # of all environments; until then no updates
            "tau": 0.01,
            "gamma": 0.95,
        },
    ),
    "cheetah": Task(
        plain="HalfCheetah-v5",
        hidden="HalfCheetahNoVelocity-v0",
        positions=8,
        largest_action=1.0,
        horizon=1000,
        sac={
            **SAC,
            "learning_rate": 3e-4,
            "learning_starts": 2_000,
            "tau": 0.005,
            "gamma": 0.99,
        },
    ),
}


class HiddenVelocity(gym.Wrapper):
    """Shows positions, the previous action and the previous reward.

    Args:
        env: with an observation that begins with positions.
        positions: how many there are.
    """

    def __init__(self, env: gym.Env, positions: int) -> None:
        super().__init__(env)
        self._positions = positions
        actions = env.action_space
        low = [*env.observation_space.low[:positions], *actions.low, -np.inf]
        high = [*env.observation_space.high[:positions], *actions.high, np.inf]
        self.observation_space = gym.spaces.Box(np.float32(low), np.float32(high))

    def reset(self, **arguments: Any) -> tuple[np.ndarray, dict]:
        """Starts an episode; the previous action and reward are 0."""
        observation, info = self.env.reset(**arguments)
        return self._shown(observation, np.zeros(self.action_space.shape), 0.0), info

    def step(self, action: np.ndarray) -> tuple:
        """Takes one step."""
        observation, reward, *rest = self.env.step(action)
        return self._shown(observation, action, float(reward)), reward, *rest

    def _shown(self, observation: np.ndarray, action: Any, reward: float) -> Any:
        return np.float32([*observation[: self._positions], *action, reward])


def report(version: str, seconds: float, returns: np.ndarray) -> None:
    """Says what came out of a training.

    Args:
        version: of the library.
        seconds: of a core, of the training alone.
        returns: of the evaluation's episodes.
    """
    result = {
        "version": version,
        "seconds": seconds,
        "return": float(np.mean(returns)),
    }
    print(MARK + json.dumps(result), flush=True)
