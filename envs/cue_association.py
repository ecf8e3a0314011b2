"""Cue association: find out, inside one episode, which action each of a few new cues
asks for.
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


class CueAssociation(DrawnTask):
    """Choose the right action for each cue, where cues and right actions are new in
    every episode.

    Every episode draws `cues` binary patterns and a mapping from cue to action. A
    policy without memory stays at chance, 1 / actions; one that remembers what followed
    its earlier responses can be right from the second showing of a cue on (with two
    actions).

    Time, in environment steps. A trial is `cue_length` steps that show a cue,
    `feedback_length` steps that show what was done and how it went, and `delay_length`
    steps of silence. The action taken at the last cue step is the response; all other
    actions are ignored. Every episode has `episode_steps = trials * (cue_length +
    feedback_length + delay_length)` steps and ends with terminated=True.

    Observation: Box, float32, shape (bits + 1 + actions + 1,), in this order:
        bits     the cue pattern, 0 or 1; 0 where no cue is shown (apart from background
                 firing)
        1        respond flag: 1 at the step whose action is the response
        actions  one-hot of the action taken at the last response, during feedback;
                 else 0
        1        outcome, always the last channel: the reward of that response
                 (1 or -1), during feedback; else 0
    The observation that comes with terminated=True is all zeros.

    Action: Discrete(actions).

    Reward: 1.0 for a right response and -1.0 for a wrong one, in the `step` call that
    carries it; 0.0 in all others.

    Info of a step that carries a response, and of no other: `target` (int, the right
    action), `correct` (bool), `trial` (int, from 0), `cue` (int, index of the cue).

    Randomness: all of it is drawn in `reset`, the same amount whatever the noise,
    background and reversal are. So equal seeds give equal cues, mappings and cue orders
    in all those conditions.

    Args:
        cues: number of cue patterns of an episode, at least 1 and at most 2**bits.
        bits: bits of a pattern, at least 1.
        actions: number of actions, at least 2. The mapping uses them as evenly as it
            can (it is a bijection if cues == actions), so that no constant action is
            better than chance.
        trials: trials of an episode, at least 1. Each shows a cue drawn uniformly at
            random.
        cue_length: steps that a cue is shown, at least 1.
        feedback_length: steps of feedback, at least 1.
        delay_length: steps of silence, at least 0.
        noise: probability in [0, 1] that a cue bit is flipped, drawn anew at each step
            and bit.
        background: probability in [0, 1] that a bit is 1 at a step that shows no cue.
        reversal: trial, in [1, trials - 1], from which on every cue asks for another
            action (all actions are shifted by the same nonzero amount, modulo
            `actions`). None: never.
        render_mode: "rgb_array" lets `render` draw the task; None: nothing is drawn.

    Raises ValueError where an argument is outside its range.

    Attributes, drawn by `reset`:
        patterns: the cue patterns, int8 [cues, bits].
        mapping: the right action of each cue before a reversal, int64 [cues].
        order: the cue of each trial, int64 [trials].
        targets: the right action of each trial, int64 [trials].
    """

    def __init__(
        self,
        cues: int = 2,
        bits: int = 20,
        actions: int = 2,
        trials: int = 10,
        cue_length: int = 1,
        feedback_length: int = 1,
        delay_length: int = 2,
        noise: float = 0.0,
        background: float = 0.0,
        reversal: int | None = None,
        render_mode: str | None = None,
    ) -> None:
        self.render_mode = check_choice("render_mode", render_mode, (None, "rgb_array"))
        self.bits = check_integer("bits", bits, 1)
        self.cues = check_integer("cues", cues, 1)
        if (self.cues - 1).bit_length() > self.bits:  # 2**bits may be huge
            raise ValueError(
                f"cues must be an integer in [1, {2**self.bits}], got {cues}: "
                f"{bits} bits make no more than {2**self.bits} distinct patterns"
            )
        self.actions = check_integer("actions", actions, 2)
        self.trials = check_integer("trials", trials, 1)
        self.cue_length = check_integer("cue_length", cue_length, 1)
        self.feedback_length = check_integer("feedback_length", feedback_length, 1)
        self.delay_length = check_integer("delay_length", delay_length, 0)
        self.noise = check_number("noise", noise, 0, 1)
        self.background = check_number("background", background, 0, 1)
        if reversal is not None and self.trials == 1:
            raise ValueError(f"reversal must be None if trials is 1, got {reversal!r}")
        self.reversal = (
            None
            if reversal is None
            else check_integer("reversal", reversal, 1, self.trials - 1)
        )

        self.return_range = (-float(self.trials), float(self.trials))
        self.trial_steps = self.cue_length + self.feedback_length + self.delay_length
        self.episode_steps = self.trials * self.trial_steps

        self.parts = {
            "cue": self.bits,
            "respond": 1,
            "action": self.actions,
            "outcome": 1,
        }
        channels = sum(self.parts.values())
        low = np.zeros(channels, dtype=np.float32)
        low[-1] = -1.0
        self.observation_space = gym.spaces.Box(low, np.ones_like(low))
        self.action_space = gym.spaces.Discrete(self.actions)

        # What every episode has in common. One row more than there are steps: the final
        # one.
        self._template = np.zeros((self.episode_steps + 1, channels), dtype=np.float32)
        self._template[self.cue_length - 1 : -1 : self.trial_steps, self.bits] = 1.0
        self._shows_cue = (
            np.arange(self.episode_steps) % self.trial_steps < self.cue_length
        )
        # A background spike is the flip of a bit that would be 0.
        self._flip_probability = np.where(self._shows_cue, self.noise, self.background)[
            :, None
        ]

    def _draw(self) -> None:
        random = self.np_random
        patterns: dict[
            bytes, np.ndarray
        ] = {}  # one that is there already is drawn again
        while len(patterns) < self.cues:
            pattern = random.integers(2, size=self.bits, dtype=np.int8)
            patterns.setdefault(pattern.tobytes(), pattern)
        self.patterns = np.stack(list(patterns.values()))
        self.order = random.integers(self.cues, size=self.trials)
        # The inner permutation decides which actions are used once more where cues /
        # actions is no whole number; the outer one which cue gets which.
        self.mapping = random.permutation(
            np.resize(random.permutation(self.actions), self.cues)
        )
        shift = random.integers(1, self.actions)
        flips = random.random((self.episode_steps, self.bits)) < self._flip_probability

        self.targets = self.mapping[self.order]
        if self.reversal is not None:
            self.targets[self.reversal :] = (
                self.targets[self.reversal :] + shift
            ) % self.actions

        shown = np.zeros((self.episode_steps, self.bits), dtype=bool)
        shown[self._shows_cue] = np.repeat(
            self.patterns[self.order], self.cue_length, axis=0
        )
        self._observations = self._template.copy()
        self._observations[:-1, : self.bits] = shown ^ flips

    def _answered(self, action: int) -> tuple[float, dict[str, Any]]:
        trial, phase = divmod(self.steps, self.trial_steps)
        if phase != self.cue_length - 1:
            return 0.0, {}
        target = int(self.targets[trial])
        cue = int(self.order[trial])
        correct = action == target
        reward = 1.0 if correct else -1.0
        feedback = self._observations[self.steps + 1 :][: self.feedback_length]
        feedback[:, self.bits + 1 + action] = 1.0
        feedback[:, -1] = reward
        return reward, {
            "target": target,
            "correct": correct,
            "trial": trial,
            "cue": cue,
        }
