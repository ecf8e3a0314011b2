"""Evidence accumulation: Bellec et al. 2020's T-maze, in which a decision must outlive
a delay.
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

LEFT, RIGHT, RECALL, BACKGROUND = range(
    4
)  # populations, in the order of the observation


class EvidenceAccumulation(DrawnTask):
    """Say, after a delay, on which side more cues were seen.

    From G. Bellec et al. 2020, "A solution to the learning dilemma for recurrent
    networks of spiking neurons", Nature Communications 11:3625,
    doi:10.1038/s41467-020-17236-y; the default times and rates are those of the
    authors' published code.

    Time. Cue k (from 0) is on for `cue_ms` after a silence of `gap_ms`, so by default
    at [50 + 150 k, 150 + 150 k) ms. After the last cue `delay_ms` pass without any,
    then follows the recall window of `recall_ms`. One environment step lasts `step_ms`;
    every episode has `episode_steps` steps (45 by default, 2250 for step_ms=1) and ends
    with terminated=True.

    Episode. A coin flip makes the right side likely or unlikely: each cue is on the
    right with probability `side_probability`, or with 1 - `side_probability`. The
    target is the side that showed more cues.

    Observation: Box, float32, shape (4 * population,): the number of spikes of each
    neuron in the window of the step (0 or 1 for step_ms=1; at most step_ms), for the
    populations left, right, recall, background. The reward is not observed: it would
    tell in the middle of the recall window who guesses whether to change sides. Neurons
    spike independently in every millisecond: the population of the side that a cue is
    on, and the recall population in the recall window, at `active_hz`; the background
    population at `background_hz` all the time; all others not at all. The observation
    that comes with terminated=True has no spikes.

    Action: Discrete(2), 0 left, 1 right. It is read at every step of the recall window.

    Reward: in the recall window 1/n for the right action and -1/n for the wrong one, n
    being the number of recall steps (3 by default): an episode returns between -1 and
    1. Else 0.

    Info of a recall step: `target` (int, the right action) and `feedback` (always 0.0,
    so that `--previous` does not tell the reward either). The last step, which is the
    last recall step, adds `correct` (bool: more right than wrong actions in the recall
    window, the last action deciding a tie), `trial` (int, always 0) and `evidence`
    (int, the number of cues on the right less those on the left). All other infos are
    empty.

    Randomness: all of it is drawn in `reset`, the same amount whatever the noise, rates
    and step_ms are. So equal seeds give equal cues in all those conditions, and the
    counts for a long step are the sums of those for shorter ones.

    Args:
        step_ms: duration of an environment step in ms, at least 1; must divide the
            other times.
        cues: number of cues, odd, so that one side has more.
        cue_ms: duration of a cue in ms, at least 1.
        gap_ms: silence before each cue in ms, at least 0.
        delay_ms: time from the end of the last cue to the recall window in ms, at least
            0.
        recall_ms: duration of the recall window in ms, at least 1.
        population: neurons of each of the four populations, at least 1.
        active_hz: rate of an active neuron in spikes/s, in [0, 1000].
        background_hz: rate of a background neuron in spikes/s, in [0, 1000].
        side_probability: probability of a cue on the unlikely side, in [0, 1].
        noise: fraction in [0, 1] of the input spikes that are moved to a neuron drawn
            uniformly from all four populations. A neuron's rate becomes (1 - noise) *
            rate + noise * mean rate of all neurons at that time; 1 leaves nothing that
            tells the sides apart.
        render_mode: "rgb_array" lets `render` draw the task; None: nothing is drawn.

    Raises ValueError where an argument is outside its range.

    Attributes, drawn by `reset`:
        sides: side of each cue, 0 left, 1 right, int64 [cues].
        target: the side with more cues, int.
    """

    def __init__(
        self,
        step_ms: int = 50,
        cues: int = 7,
        cue_ms: int = 100,
        gap_ms: int = 50,
        delay_ms: int = 1050,
        recall_ms: int = 150,
        population: int = 10,
        active_hz: float = 40.0,
        background_hz: float = 10.0,
        side_probability: float = 0.3,
        noise: float = 0.0,
        render_mode: str | None = None,
    ) -> None:
        self.render_mode = check_choice("render_mode", render_mode, (None, "rgb_array"))
        self.step_ms = check_integer("step_ms", step_ms, 1)
        self.cues = check_integer("cues", cues, 1)
        if self.cues % 2 == 0:
            raise ValueError(
                f"cues must be an odd integer >= 1, so that no tie occurs, got {cues}"
            )
        self.cue_ms = check_integer("cue_ms", cue_ms, 1)
        self.gap_ms = check_integer("gap_ms", gap_ms, 0)
        self.delay_ms = check_integer("delay_ms", delay_ms, 0)
        self.recall_ms = check_integer("recall_ms", recall_ms, 1)
        for name in ("cue_ms", "gap_ms", "delay_ms", "recall_ms"):
            if getattr(self, name) % self.step_ms:
                raise ValueError(
                    "step_ms must be an integer that divides "
                    f"{name}={getattr(self, name)}, got {step_ms}"
                )
        self.population = check_integer("population", population, 1)
        self.active_hz = check_number("active_hz", active_hz, 0, 1000)
        self.background_hz = check_number("background_hz", background_hz, 0, 1000)
        self.side_probability = check_number("side_probability", side_probability, 0, 1)
        self.noise = check_number("noise", noise, 0, 1)

        slot_ms = self.gap_ms + self.cue_ms
        self.episode_ms = self.cues * slot_ms + self.delay_ms + self.recall_ms
        self.episode_steps = self.episode_ms // self.step_ms
        self.recall_steps = self.recall_ms // self.step_ms
        self.return_range = (-1.0, 1.0)
        # slow enough to be followed; an episode in fine steps lasts no longer than in
        # coarse ones
        self.metadata = self.metadata | {"render_fps": max(3, self.episode_steps // 15)}
        self._recall_start = self.episode_steps - self.recall_steps

        self.parts = dict.fromkeys(
            ("left", "right", "recall", "background"), self.population
        )
        self.observation_space = gym.spaces.Box(
            0.0, self.step_ms, (4 * self.population,)
        )
        self.action_space = gym.spaces.Discrete(2)

        # Times of each cue in ms, [cues, cue_ms], and what all episodes have in common
        # of the probability that a neuron of a population spikes in a millisecond,
        # [milliseconds, 4].
        starts = self.gap_ms + slot_ms * np.arange(self.cues)
        self._cue_times = starts[:, None] + np.arange(self.cue_ms)
        self._probability = np.zeros((self.episode_ms, 4), dtype=np.float32)
        self._probability[:, BACKGROUND] = self.background_hz / 1000
        self._probability[-self.recall_ms :, RECALL] = self.active_hz / 1000

    def _draw(self) -> None:
        random = self.np_random
        right = (
            self.side_probability
            if random.random() < 0.5
            else 1 - self.side_probability
        )
        self.sides = (random.random(self.cues) < right).astype(np.int64)
        self.target = int(2 * self.sides.sum() > self.cues)

        probability = self._probability.copy()
        probability[self._cue_times, self.sides[:, None]] = self.active_hz / 1000
        if self.noise:
            probability += self.noise * (
                probability.mean(axis=1, keepdims=True) - probability
            )
        shape = (self.episode_ms, 4, self.population)
        spikes = random.random(shape, dtype=np.float32) < probability[:, :, None]

        counts = spikes.reshape(self.episode_steps, self.step_ms, -1).sum(axis=1)
        self._observations = np.zeros(
            (self.episode_steps + 1, counts.shape[1]), np.float32
        )
        self._observations[:-1] = counts
        self._right_minus_wrong = 0

    def _answered(self, action: int) -> tuple[float, dict[str, Any]]:
        if self.steps < self._recall_start:
            return 0.0, {}
        score = 1 if action == self.target else -1
        self._right_minus_wrong += score
        info: dict[str, Any] = {"target": self.target, "feedback": 0.0}
        if self.steps == self.episode_steps - 1:
            # Twice the difference is 0 or at least 2: the last score decides ties, no
            # more.
            info["correct"] = 2 * self._right_minus_wrong + score > 0
            info["trial"] = 0
            info["evidence"] = int(2 * self.sides.sum() - self.cues)
        return score / self.recall_steps, info
