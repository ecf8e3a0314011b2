"""How a training in a driver is timed in rounds, in turn with other drivers."""

import json
import sys
import time

import gymnasium as gym
import numpy as np
from equal import ROUND, WARM_UP

MARK = "pace: "
"""Begins the lines that `benchmarks.frameworks` reads; libraries print others."""


class Pace:
    """Reports the CPU seconds of each round, and waits for a line before each.

    The training ends where the standard input does.

    Args:
        kind: of training, a key of `ROUND`.
        version: of the library.
    """

    def __init__(self, kind: str, version: str) -> None:
        self._steps = 0
        self._next = WARM_UP[kind]
        self._round = ROUND[kind]
        self._began: float | None = None
        self._version = version

    def step(self, environments: int) -> None:
        """Counts a step of so many environments."""
        self._steps += environments
        if self._steps < self._next:
            return
        report: dict[str, object] = {"version": self._version}
        if self._began is not None:
            report = {"seconds": time.process_time() - self._began}
        print(MARK + json.dumps(report), flush=True)
        if not sys.stdin.readline():
            sys.exit()
        self._next += self._round
        self._began = time.process_time()


class PacedEnv(gym.Wrapper):
    """An environment whose steps are counted.

    Args:
        env: any environment.
        pace: that counts.
        environments: that are stepped with it.
    """

    def __init__(self, env: gym.Env, pace: Pace, environments: int = 1) -> None:
        super().__init__(env)
        self._pace = pace
        self._environments = environments

    def step(self, action: np.ndarray) -> tuple:
        """The environment's own step."""
        result = self.env.step(action)
        self._pace.step(self._environments)
        return result
