"""Long trainings and evaluations hold no more than short ones: memory, files, processes
(/proc).
"""

import os
import sys
from functools import partial
from pathlib import Path

import numpy as np
import pytest
from stable_baselines3.common.callbacks import BaseCallback

from spikepropamine.envs.making import make
from spikepropamine.evaluation.run.episodes import run_episodes
from spikepropamine.policies.export import load_policy
from spikepropamine.training.command_line import parse
from spikepropamine.training.run import train

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(sys.platform != "linux", reason="reads /proc"),
]
STEPS = 200_000
SAMPLES = 40
WIDTH = 64
MOST = 30.0  # MiB a million steps: noise of the allocator, and not what a step takes


class Held(BaseCallback):
    """Samples of steps, memory (MiB), open files, threads and children, at starts of
    rollouts.
    """

    def __init__(self):
        super().__init__()
        self.samples = []

    def _on_step(self):
        return True

    def _on_rollout_start(self):
        self.sample(self.num_timesteps)

    def sample(self, steps):
        if self.samples and steps < self.samples[-1][0] + STEPS // SAMPLES:
            return
        tasks = list(Path("/proc/self/task").iterdir())
        pages = int(Path("/proc/self/statm").read_text().split()[1])
        children = sum(len((task / "children").read_text().split()) for task in tasks)
        files = len(list(Path("/proc/self/fd").iterdir()))
        memory = pages * os.sysconf("SC_PAGE_SIZE") / 2**20
        self.samples.append((steps, memory, files, len(tasks), children))

    def check(self):
        """Memory does not grow over the second half; nothing else is more than after
        the start.
        """
        late = np.array(self.samples[len(self.samples) // 2 :])
        assert np.polyfit(late[:, 0], late[:, 1], 1)[0] * 1e6 <= MOST, self.samples
        assert np.all(late[-1, 2:] <= self.samples[1][2:]), self.samples


@pytest.mark.parametrize("policy", ["mlp", "ndp-oja"])
def test_nothing_is_left_over(tmp_path, policy):
    held = Held()
    arguments = ["--env", "CartPole-v1", "--policy", policy, "--steps", str(STEPS)]
    train(parse([*arguments, "--runs", str(tmp_path)]), callbacks=[held])
    held.check()
    (trained,) = tmp_path.rglob("policy")
    policy = load_policy(trained)
    held = Held()
    made = 0
    for wave in range(STEPS):
        seeds = range(wave * WIDTH, (wave + 1) * WIDTH)
        episodes = run_episodes(
            policy, partial(make, "CartPole-v1"), seeds, width=WIDTH
        )
        made += sum(episode.length for episode in episodes)
        held.sample(made)
        if made >= STEPS:
            break
    held.check()
