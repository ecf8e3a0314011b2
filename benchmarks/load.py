"""Whether long trainings and evaluations let go of what they no longer need.

python -m benchmarks.load [--training 5000000] [--evaluation 1000000] [--policy mlp] [--env ID]

Trains as the command line does, checkpoints and logs included, and judges a policy in 64
environments side by side. Prints the resident memory, open files, threads and child processes on
the way, and how fast memory grew over the second half; the exit code is 1 where anything was left.
Linux only, whose /proc it reads.
"""

import argparse
import os
import sys
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import torch
from stable_baselines3.common.callbacks import BaseCallback

from spikepropamine.envs.making import make
from spikepropamine.evaluation.run.episodes import run_episodes
from spikepropamine.policies.export import load_policy
from spikepropamine.training.run import train
from spikepropamine.training.settings import parse

SAMPLES, WIDTH = 40, 64
MOST = 30.0  # MiB a million steps: noise of the allocator, and not what a step takes


@dataclass(frozen=True)
class Sample:
    """What the process holds after so many steps; memory in MiB."""

    steps: int
    memory: float
    files: int
    threads: int
    children: int

    @classmethod
    def now(cls, steps: int) -> "Sample":
        """At this moment."""
        pages = int(Path("/proc/self/statm").read_text().split()[1])
        tasks = list(Path("/proc/self/task").iterdir())
        return cls(
            steps=steps,
            memory=pages * os.sysconf("SC_PAGE_SIZE") / 2**20,
            files=len(list(Path("/proc/self/fd").iterdir())),
            threads=len(tasks),
            children=sum(len((task / "children").read_text().split()) for task in tasks),
        )


class Sampler(BaseCallback):
    """Takes samples at rollout starts, about so many steps apart."""

    def __init__(self, every: int) -> None:
        super().__init__()
        self.every, self.samples = every, []

    def _on_step(self) -> bool:
        return True

    def _on_rollout_start(self) -> None:
        if not self.samples or self.num_timesteps >= self.samples[-1].steps + self.every:
            self.samples.append(Sample.now(self.num_timesteps))


def growth(samples: list[Sample]) -> float:
    """MiB a million steps, over the second half."""
    late = samples[len(samples) // 2 :]
    return float(np.polyfit([s.steps for s in late], [s.memory for s in late], 1)[0] * 1e6)


def training(folder: Path, env: str, policy: str, steps: int) -> list[Sample]:
    """Samples of a training, and one after its end."""
    sampler = Sampler(steps // SAMPLES)
    arguments = ["--env", env, "--policy", policy, "--steps", str(steps), "--runs", str(folder)]
    train(parse(arguments), callbacks=[sampler])
    return [*sampler.samples, Sample.now(steps)]


def evaluation(folder: Path, env: str, steps: int) -> list[Sample]:
    """Samples of waves of episodes, as an evaluation runs them, until so many steps were made."""
    (trained,) = folder.rglob("policy")
    policy, samples, made = load_policy(trained), [], 0
    for wave in range(steps):
        if made >= steps:
            break
        seeds = range(wave * WIDTH, (wave + 1) * WIDTH)
        episodes = run_episodes(policy, partial(make, env), seeds, width=WIDTH)
        made += sum(episode.length for episode in episodes)
        if not samples or made >= samples[-1].steps + steps // SAMPLES:
            samples.append(Sample.now(made))
    return samples


def report(name: str, samples: list[Sample]) -> bool:
    """Prints them; whether nothing was left over."""
    print(f"\n{name}\n{'steps':>10}{'MiB':>8}{'files':>7}{'threads':>9}{'children':>10}")
    for s in samples[:: max(1, len(samples) // 10)]:
        print(f"{s.steps:>10}{s.memory:>8.0f}{s.files:>7}{s.threads:>9}{s.children:>10}")
    slope, first, last = growth(samples), samples[1], samples[-1]
    more = [last.files - first.files, last.threads - first.threads, last.children]
    print(f"memory grows by {slope:.1f} MiB a million steps over the second half")
    print("files, threads and children at the end, more than at the start: {} {} {}".format(*more))
    return slope <= MOST and max(more) <= 0


def main() -> int:
    """Runs the command line; returns its exit code."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--training", type=int, default=5_000_000, help="steps (5M)")
    parser.add_argument("--evaluation", type=int, default=1_000_000, help="steps (1M)")
    parser.add_argument("--env", default="CartPole-v1")
    parser.add_argument("--policy", default="mlp")
    options = parser.parse_args()
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        parts: dict[str, Callable[[], list[Sample]]] = {
            "training": partial(training, folder, options.env, options.policy, options.training),
            f"evaluation, {WIDTH} environments": partial(
                evaluation, folder, options.env, options.evaluation
            ),
        }
        fine = [report(part, measure()) for part, measure in parts.items()]
    return 0 if all(fine) else 1


if __name__ == "__main__":
    sys.exit(main())
