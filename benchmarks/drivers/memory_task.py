"""What is equal for every library that `benchmarks.recurrent_sac` trains: a pendulum
whose velocity is hidden, and the settings that all libraries have.
"""

import json
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
SAC: dict[str, Any] = {
    "learning_rate": 1e-3,
    "buffer_size": 100_000,
    "learning_starts": 800,  # of all environments; actions are random until then
    "batch_size": 512,  # steps: 32 sequences
    "tau": 0.01,
    "gamma": 0.95,
}
"""By Stable-Baselines3's names; one update for every four environment steps."""
EPISODES = 50
"""In which a trained policy is evaluated, by the means of its actions."""
HORIZON = 200
"""Environment steps of an episode."""
EVALUATION_SEED = 1_000_000
"""Of the first of these episodes: beyond every seed of a training."""
MARK = "trained: "
"""Begins the line that `benchmarks.recurrent_sac` reads; libraries print others."""


class HiddenVelocity(gym.Wrapper):
    """Pendulum-v1 as `PendulumNoVelocity-v0` with `--previous` shows it: cosine and
    sine of the angle, the previous action and the previous reward.
    """

    def __init__(self, env: gym.Env) -> None:
        super().__init__(env)
        low = np.array([-1, -1, -2, -np.inf], dtype=np.float32)
        self.observation_space = gym.spaces.Box(low, -low, dtype=np.float32)

    def reset(self, **arguments: Any) -> tuple[np.ndarray, dict]:
        """Starts an episode; the previous action and reward are 0."""
        observation, info = self.env.reset(**arguments)
        return self._shown(observation, 0.0, 0.0), info

    def step(self, action: np.ndarray) -> tuple:
        """Takes one step."""
        observation, reward, *rest = self.env.step(action)
        shown = self._shown(observation, np.asarray(action).item(), float(reward))
        return shown, reward, *rest

    def _shown(self, observation: np.ndarray, action: float, reward: float) -> Any:
        cosine, sine, _ = observation
        return np.array([cosine, sine, action, reward], dtype=np.float32)


def make_task() -> gym.Env:
    """One environment."""
    return HiddenVelocity(gym.make("Pendulum-v1"))


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
