"""CartPole of which the velocities are not observed."""

from typing import Any

import numpy as np
from gymnasium import spaces
from gymnasium.envs.classic_control.cartpole import CartPoleEnv

from spikepropamine.envs.task import Start, Step

POSITIONS = [0, 2]  # of the cart and of the pole


class CartPoleNoVelocity(CartPoleEnv):
    """CartPole-v1 without velocities: a policy has to remember where cart and pole were.

    Observation: Box, float32, shape (2,): position of the cart in m, angle of the pole in rad.
    Actions, rewards, ends and arguments are those of CartPole-v1. A policy without memory gets
    about 50 of 500; sb3-contrib expects 450 of its LSTM after 50,000 steps.
    """

    def __init__(self, **arguments: Any) -> None:
        super().__init__(**arguments)
        space: Any = self.observation_space
        high = space.high[POSITIONS]
        self.observation_space = spaces.Box(-high, high, dtype=np.float32)

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> Start:
        """Start an episode."""
        observation, info = super().reset(seed=seed, options=options)
        return observation[POSITIONS], info

    def step(self, action: Any) -> Step:
        """Take one step."""
        observation, reward, terminated, truncated, info = super().step(action)
        return observation[POSITIONS], reward, terminated, truncated, info
