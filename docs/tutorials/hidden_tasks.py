"""Two small tasks that hide something: several pairs, or one number."""

from typing import Any

import gymnasium
import numpy as np
from gymnasium.spaces import Box, Discrete


class Switchboard(gymnasium.Env):
    """Press the switch that belongs to the lamp.

    Each lamp belongs to one switch, drawn anew in every episode. In the second quarter
    of the episode all of them are drawn again, without a sign. A trial has two steps:
    a lamp is lit and a switch is pressed; then the right switch is shown beside the
    lamp.

    Observation: float32 [lamps + switches], which lamp is lit and which switch is
    shown. Reward: 1 for the right switch. Info `hidden`: the switch of the lamp that
    is lit, one-hot.
    """

    lamps = 6
    switches = 4
    trials = 40
    return_range = (0.0, 40.0)

    def __init__(self) -> None:
        self.observation_space = Box(0, 1, (self.lamps + self.switches,))
        self.action_space = Discrete(self.switches)
        self.hidden = np.zeros(self.switches)

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[np.ndarray, dict[str, Any]]:
        """Draws which switch each lamp belongs to, and when that changes."""
        super().reset(seed=seed)
        self.trial = 0
        self.answered = False
        self.change = self.np_random.integers(self.trials // 4, self.trials // 2)
        self._rewire()
        self._light()
        return self._observed(), self._told()

    def step(self, action: int) -> tuple[np.ndarray, float, bool, bool, dict[str, Any]]:
        """Reads the answer, or shows the next lamp."""
        reward = 0.0
        answer: dict[str, Any] = {}
        self.answered = not self.answered
        if self.answered:
            correct = bool(action == self.wiring[self.lamp])
            reward = float(correct)
            answer = {"trial": self.trial, "correct": correct}
        else:
            self.trial += 1
            if self.trial == self.change:
                self._rewire()
            self._light()
        return self._observed(), reward, False, False, answer | self._told()

    def _rewire(self) -> None:
        self.wiring = self.np_random.integers(self.switches, size=self.lamps)

    def _light(self) -> None:
        self.lamp = self.np_random.integers(self.lamps)
        self.hidden = np.eye(self.switches)[self.wiring[self.lamp]]

    def _told(self) -> dict[str, Any]:
        return {"hidden": self.hidden.tolist()}

    def _observed(self) -> np.ndarray:
        lit = np.eye(self.lamps)[self.lamp]
        shown = self.hidden * self.answered
        return np.concatenate([lit, shown], dtype=np.float32)


class Current(gymnasium.Env):
    """Keep a boat on its mark, in a current of unknown strength.

    The current is one number, drawn anew in every episode. The mark moves every ten
    steps, and the banks stop the boat.

    Observation: float32 [1], how far the mark is ahead. Reward: minus the distance.
    Info `hidden`: the current.
    """

    observation_space = Box(-np.inf, np.inf, (1,))
    action_space = Box(-1, 1, (1,))

    def __init__(self) -> None:
        self.hidden = np.zeros(1)

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[np.ndarray, dict[str, Any]]:
        """Draws the current."""
        super().reset(seed=seed)
        self.hidden = self.np_random.uniform(-0.5, 0.5, size=1)
        self.steps = 0
        self.boat = 0.0
        self.mark = self.np_random.uniform(-1, 1)
        return self._observed(), self._told()

    def step(
        self, action: np.ndarray
    ) -> tuple[np.ndarray, float, bool, bool, dict[str, Any]]:
        """Moves the boat, by its engine and by the current."""
        moved = self.boat + np.clip(action[0], -1, 1) + self.hidden[0]
        self.boat = float(np.clip(moved, -2, 2))
        reward = -abs(self.mark - self.boat)
        self.steps += 1
        if self.steps % 10 == 0:
            self.mark = self.np_random.uniform(-1, 1)
        return self._observed(), reward, False, False, self._told()

    def _told(self) -> dict[str, Any]:
        return {"hidden": self.hidden.tolist()}

    def _observed(self) -> np.ndarray:
        return np.array([self.mark - self.boat], dtype=np.float32)


gymnasium.register("Switchboard-v0", Switchboard, max_episode_steps=80)
gymnasium.register("Current-v0", Current, max_episode_steps=80)
