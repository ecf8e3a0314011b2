"""Key and value: a memory that is written, asked and overwritten, at every step of an
episode.
"""

from typing import Any

import gymnasium as gym
import numpy as np

from spikepropamine.envs.task import (
    DrawnTask,
    check_choice,
    check_integer,
    check_number,
)


class KeyValue(DrawnTask):
    """Say which value a key was last shown with, where keys and values are new in every
    episode.

    Every episode draws random keys, between half of `keys` and `keys` of them. Each
    step shows one of them and either writes or asks. A step that writes shows a value,
    another one than the key had before; a key that comes for the first time is written.
    A step that asks shows the key alone and reads the action. So keys are bound, held
    while others come, and bound again.

    Observation: Box, float32, shape (bits + values + 2,), in this order:
        bits     the key, 0 or 1
        values   one-hot of the value, at a step that writes; else 0
        2        1 at a step that writes, and 1 at a step that asks
    The observation that comes with terminated=True is all zeros.

    Action: Discrete(values), read at steps that ask.

    Reward: 1.0 for a right answer and -1.0 for a wrong one; 0.0 at steps that write.
    Rewards are not observed.

    Info of a step that asks: `target` (int, the right action), `correct` (bool),
    `trial` (int, the step), `lag` (int, steps since the key was written), `bindings`
    (int, how often the key was written so far) and `feedback` (always 0.0, so that
    rewards show nowhere). Else empty.

    All is drawn in `reset`.

    Args:
        keys: the largest number of keys of an episode, at least 1.
        bits: bits of a key, at least 1, so many that keys can differ.
        values: number of values, at least 2.
        steps: steps of an episode, at least 2.
        write: probability in [0, 1] that a step writes a key that was shown before.
        ask: "value", the value that the key has; or "count", how often it was written,
            modulo `values`.
        noise: probability in [0, 1] that a bit of a key is flipped, drawn anew at each
            step.
        render_mode: "rgb_array" lets `render` draw the task; None: nothing is drawn.

    Raises ValueError where an argument is outside its range.
    """

    def __init__(
        self,
        keys: int = 8,
        bits: int = 20,
        values: int = 4,
        steps: int = 60,
        write: float = 0.5,
        ask: str = "value",
        noise: float = 0.0,
        render_mode: str | None = None,
    ) -> None:
        self.render_mode = check_choice("render_mode", render_mode, (None, "rgb_array"))
        self.bits = check_integer("bits", bits, 1)
        self.keys = check_integer("keys", keys, 1)
        if (self.keys - 1).bit_length() > self.bits:  # 2**bits may be huge
            raise ValueError(
                f"keys must be at most {2**self.bits}, as {bits} bits have it"
            )
        self.values = check_integer("values", values, 2)
        self.episode_steps = self.trials = check_integer("steps", steps, 2)
        self.trial_steps = 1
        self.write = check_number("write", write, 0, 1)
        self.ask = check_choice("ask", ask, ("value", "count"))
        self.noise = check_number("noise", noise, 0, 1)
        self.return_range = (-float(self.trials), float(self.trials))
        self.parts = {"key": self.bits, "value": self.values, "write": 1, "ask": 1}
        self.observation_space = gym.spaces.Box(
            0.0, 1.0, (sum(self.parts.values()),), np.float32
        )
        self.action_space = gym.spaces.Discrete(self.values)

    def _draw(self) -> None:
        random = self.np_random
        steps = self.episode_steps
        count = int(random.integers((self.keys + 1) // 2, self.keys + 1))
        patterns = np.zeros((0, self.bits), dtype=np.int8)
        while len(patterns) < count:
            more = random.integers(
                2, size=(count - len(patterns), self.bits), dtype=np.int8
            )
            patterns = np.unique(np.concatenate([patterns, more]), axis=0)
        shown = random.integers(count, size=steps)
        writes = random.random(steps) < self.write
        changes = random.integers(1, self.values, size=steps)
        flips = random.random((steps, self.bits)) < self.noise
        first_values = random.integers(self.values, size=count)

        self._observations = np.zeros(
            (steps + 1, self.bits + self.values + 2), dtype=np.float32
        )
        self._observations[:-1, : self.bits] = patterns[shown] ^ flips
        self._infos: list[dict[str, float]] = []
        values = first_values.tolist()
        bindings = [0] * count
        written = [0] * count
        for step, key in enumerate(shown.tolist()):
            row = self._observations[step, self.bits :]
            if not bindings[key] or writes[step]:
                if bindings[key]:
                    values[key] = int((values[key] + changes[step]) % self.values)
                bindings[key] += 1
                written[key] = step
                row[values[key]] = row[self.values] = 1.0
                self._infos.append({})
            else:
                row[self.values + 1] = 1.0
                target = (
                    values[key] if self.ask == "value" else bindings[key] % self.values
                )
                info = {
                    "target": target,
                    "trial": step,
                    "lag": step - written[key],
                    "bindings": bindings[key],
                    "feedback": 0.0,
                }
                self._infos.append(info)

    def _answered(self, action: int) -> tuple[float, dict[str, Any]]:
        info: dict[str, Any] = self._infos[self.steps]
        if not info:
            return 0.0, info
        correct = action == info["target"]
        return 1.0 if correct else -1.0, info | {"correct": correct}
