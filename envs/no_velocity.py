"""Tasks of Gymnasium of which the velocities are not observed: a policy has to remember
positions.

Actions, rewards, ends and arguments are those of the task itself.
"""

from typing import Any, ClassVar

from gymnasium import Env, spaces
from gymnasium.envs.classic_control.cartpole import CartPoleEnv
from gymnasium.envs.classic_control.pendulum import PendulumEnv

from spikepropamine.envs.task import ResetResult, StepResult


class NoVelocity(Env):
    """Shows the `positions` among the channels of an observation, and no others."""

    positions: ClassVar[slice]

    def __init__(self, *arguments: Any, **named: Any) -> None:
        # a copy of a robot is made from its arguments in their order
        super().__init__(*arguments, **named)
        space: Any = self.observation_space
        low = space.low[self.positions]
        high = space.high[self.positions]
        self.observation_space = spaces.Box(low, high, dtype=space.dtype)

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> ResetResult:
        """Starts an episode."""
        observation, info = super().reset(seed=seed, options=options)
        return observation[self.positions], info

    def step(self, action: Any) -> StepResult:
        """Takes one step."""
        observation, *rest = super().step(action)
        return observation[self.positions], *rest


class CartPoleNoVelocity(NoVelocity, CartPoleEnv):
    """CartPole-v1 without velocities.

    Observation: Box, float32, shape (2,): position of the cart in m, angle of the pole
    in rad. A policy without memory gets about 50 of 500; sb3-contrib expects 450 of its
    LSTM after 50,000 steps.
    """

    positions = slice(0, None, 2)


class PendulumNoVelocity(NoVelocity, PendulumEnv):
    """Pendulum-v1 without velocity.

    Observation: Box, float32, shape (2,): cosine and sine of the angle.
    """

    positions = slice(0, 2)
