"""Motor map: motors without a robot, wired in a way that is new in every episode."""

from collections.abc import Callable, Sequence
from typing import Any

import gymnasium as gym
import numpy as np

from spikepropamine.envs.task import (
    DrawnTask,
    check_choice,
    check_integer,
    check_number,
)

CLOSE = 0.05
"""In pictures an answer counts as right below this mean squared error."""


def signed_order(random: np.random.Generator, motors: int) -> np.ndarray:
    """Each motor moves one joint, forwards or backwards.

    Args:
        random: draws the wiring.
        motors: how many there are, as many as joints.

    Returns:
        A signed permutation, float64 [joints, motors].
    """
    wiring = np.zeros((motors, motors))
    signs = random.integers(2, size=motors) * 2 - 1
    wiring[np.arange(motors), random.permutation(motors)] = signs
    return wiring


def signed_gains(random: np.random.Generator, motors: int) -> np.ndarray:
    """A signed order whose motors are stronger or weaker, by a factor from 1/2 to 2.

    Args:
        random: draws the wiring.
        motors: how many there are, as many as joints.

    Returns:
        float64 [joints, motors].
    """
    gains = 2.0 ** random.uniform(-1, 1, (motors, 1))
    return gains * signed_order(random, motors)


def rotation(random: np.random.Generator, motors: int) -> np.ndarray:
    """Each motor moves all joints.

    Args:
        random: draws the wiring.
        motors: how many there are, as many as joints.

    Returns:
        An orthogonal matrix, float64 [joints, motors], from Haar's measure.
    """
    wiring, upper = np.linalg.qr(random.standard_normal((motors, motors)))
    return wiring * np.sign(np.diag(upper))


WIRINGS: dict[str, Callable[[np.random.Generator, int], np.ndarray]] = {
    "order": signed_order,
    "gains": signed_gains,
    "rotation": rotation,
}
"""How motors can be wired, by name."""


def moved(matrices: np.ndarray, commands: np.ndarray) -> np.ndarray:
    """How commands move the joints.

    Args:
        matrices: wirings, [steps, joints, motors].
        commands: [steps, motors].

    Returns:
        float64 [steps, joints].
    """
    return (matrices @ commands[..., None])[..., 0]


class MotorMap(DrawnTask):
    """Find the command that has a wanted effect, on motors wired anew in every episode.

    A command a, one number for each motor, moves the joints by M a. The wiring M is
    drawn when the episode starts, may be drawn anew within it, and is never shown. Each
    step shows what a random command of the step before did, and asks for the command a*
    of a wanted effect u = M a*. So every step adds to what can be known of M: after as
    many steps as there are motors, least squares gives M (see `least_squares`).

    Observation: Box, float32, shape (3 * motors,), in this order:
        motors   wanted effect u
        motors   random command of the step before, uniform in [-1, 1]; first 0
        motors   its effect; at the first step 0
    The observation that comes with terminated=True is all zeros.

    Action: Box, float32, shape (motors,), in [-1, 1]: the command for u. Right ones,
    a*, are uniform.

    Reward: minus the mean squared error of the command, (a - a*)^2, at every step. It
    is not observed.

    Info: `target` (float32 [motors], a*), `squared_error` (float, mean over motors),
    `squared_target` (float, likewise: the error of a command of zeros), `trial` (int,
    the step), `wiring` (int, how often the wiring has changed), `feedback` (always 0.0,
    so that rewards show nowhere).

    All is drawn in `reset`.

    Args:
        motors: number of motors, at least 1.
        wiring: a key of `WIRINGS`. "order": a signed permutation; "gains": one with
            motors of unlike strength; "rotation": any orthogonal matrix.
        steps: steps of an episode, at least 2.
        noise: standard deviation of what is added to effects that are shown, in [0,
            10].
        changes: how often the wiring is drawn anew within an episode, at equal
            distances, at least 0 and below `steps`. The first effect that is shown
            after a change is still of the wiring before.
        render_mode: "rgb_array" lets `render` draw the task; None: nothing is drawn.

    Raises ValueError where an argument is outside its range.
    """

    def __init__(
        self,
        motors: int = 6,
        wiring: str = "order",
        steps: int = 48,
        noise: float = 0.0,
        changes: int = 0,
        render_mode: str | None = None,
    ) -> None:
        self.render_mode = check_choice("render_mode", render_mode, (None, "rgb_array"))
        self.motors = check_integer("motors", motors, 1)
        self.wiring = check_choice("wiring", wiring, tuple(WIRINGS))
        self.episode_steps = self.trials = check_integer("steps", steps, 2)
        self.trial_steps = 1
        self.changes = check_integer("changes", changes, 0, self.episode_steps - 1)
        wirings = self.changes + 1
        begun = np.arange(self.episode_steps) * wirings
        self._wiring_of_step = begun // self.episode_steps
        self.noise = check_number("noise", noise, 0, 10)
        self.parts = dict.fromkeys(("wanted", "command", "effect"), self.motors)
        largest = {"order": 1.0, "gains": 2.0, "rotation": np.sqrt(self.motors)}
        effect = largest[self.wiring]
        shown = np.inf if self.noise else effect
        bounds = np.repeat([effect, 1.0, shown], self.motors).astype(np.float32)
        self.observation_space = gym.spaces.Box(-bounds, bounds)
        self.action_space = gym.spaces.Box(-1.0, 1.0, (self.motors,))
        self.return_range = (-4.0 * self.episode_steps, 0.0)

    def _draw(self) -> None:
        random = self.np_random
        steps = self.episode_steps
        motors = self.motors
        draw = WIRINGS[self.wiring]
        wirings = np.stack([draw(random, motors) for _ in range(self.changes + 1)])
        self.matrices = wirings[self._wiring_of_step]  # [steps, joints, motors]
        commands = random.uniform(-1, 1, (steps, motors))
        targets = random.uniform(-1, 1, (steps, motors))
        noise = self.noise * random.standard_normal((steps, motors))
        effects = moved(self.matrices, commands) + noise
        self._targets = targets.astype(np.float32)
        self._observations = np.zeros((steps + 1, 3 * motors), np.float32)
        self._observations[:-1, :motors] = moved(self.matrices, targets)
        self._observations[1:-1, motors : 2 * motors] = commands[:-1]
        self._observations[1:-1, 2 * motors :] = effects[:-1]

    def _checked(self, action: Any) -> np.ndarray:
        command = np.asarray(action, dtype=np.float64)
        if command.shape != (self.motors,) or not np.isfinite(command).all():
            raise ValueError(
                f"action must be {self.motors} finite numbers, one for each motor, "
                f"got {action!r}"
            )
        return np.clip(command, -1.0, 1.0)

    def _answered(self, action: np.ndarray) -> tuple[float, dict[str, Any]]:
        target = self._targets[self.steps]
        error = float(np.square(action - target).mean())
        info = {
            "target": target.copy(),
            "squared_error": error,
            "squared_target": float(np.square(target).mean()),
            "trial": self.steps,
            "wiring": int(self._wiring_of_step[self.steps]),
            "feedback": 0.0,
        }
        return -error, info

    def _is_right(self, reward: float) -> bool:
        return reward > -CLOSE


def least_squares(
    observations: Sequence[np.ndarray], ridge: float = 1e-6
) -> np.ndarray:
    """Commands of the linear observer, which keeps all that was shown.

    At each step it inverts the wiring that fits best, so that nothing linear can do
    better without noise.

    Args:
        observations: of an episode of `MotorMap`, [T, 3 * motors], from its first step
            on.
        ridge: added to the squares of commands, so that what was not tried yet counts
            as nothing.

    Returns:
        Commands, float64 [T, motors].
    """
    seen = np.asarray(observations, dtype=np.float64)
    motors = seen.shape[1] // 3
    squares = ridge * np.eye(
        motors
    )  # sum of e e^T, since the inverse is fitted: a from e
    products = np.zeros((motors, motors))
    answers = np.zeros((len(seen), motors))
    for step, row in enumerate(seen):
        wanted, command, effect = np.split(row, 3)
        squares += np.outer(effect, effect)
        products += np.outer(command, effect)
        answers[step] = products @ np.linalg.solve(squares, wanted)
    return answers
