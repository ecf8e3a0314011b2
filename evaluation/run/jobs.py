"""The unit of work of an evaluation: one policy, one condition, one wave of episodes."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any, cast

import gymnasium as gym
import numpy as np

from spikepropamine.evaluation.ask.conditions import Condition, Task, make_env
from spikepropamine.evaluation.ask.lesions import LESIONS, Hook, Wave, fields_of, layout_of
from spikepropamine.evaluation.run.episodes import Episode, began_of, finite_reward, run_episodes
from spikepropamine.policies.deployed import DeployedPolicy
from spikepropamine.policies.export import load_policy
from spikepropamine.policies.neurons import THRESHOLD
from spikepropamine.policies.state import StateLayout

SAMPLES = 200  # of what goes on inside the network, over the horizon
APART = 1_000_000_000
"""Between the seeds of an episode and of its random actions: of one seed, these would be what the
task itself draws, and so its right answers, for instance.
"""

Outcome = dict[str, np.ndarray]

BASELINES: dict[str, Callable[[Any], Any]] = {
    "random": lambda space: space.sample(),
    "still": lambda space: np.clip(np.zeros(space.shape, space.dtype), space.low, space.high),
}
"""Actions that need no policy. Only a Box of actions knows what it is to stand still."""


@dataclass(frozen=True)
class Job:
    """One wave of episodes."""

    folder: Path | None  # of the deployed policy; None: a baseline
    previous: bool  # whether the policy observes its previous action and reward
    task: Task  # that it is evaluated in
    condition: Condition
    seeds: tuple[int, ...]  # of the episodes, of one wave: `seed // width` is the same for all
    width: int  # of the batch
    deterministic: bool  # the likeliest actions, or sampled ones
    revealed: str | None = None  # text of the perturbations that the policy is told; None: none
    told: bool = False  # whether the contexts of the condition are undone for it
    baseline: str = ""  # of `BASELINES`, where there is no policy

    @property
    def episodes(self) -> int:
        """How many episodes it runs; some lesions need another one for each."""
        lesion = self.condition.lesion
        return len(self.seeds) * (1 if lesion is None else LESIONS[lesion].cost)

    @property
    def place(self) -> tuple[Any, ...]:
        """Tells apart environments of a task: equal ones are the same, whoever acts in them."""
        condition = self.condition
        return condition.text, condition.noise, self.previous, self.revealed, self.told


def width_of(task: Task) -> int:
    """Rows of a batch. More are faster, where the environment is not what takes the time; but a
    batch is computed as a whole, however few episodes there are.
    """
    return 20 if task.simulated else 50


class Environments:
    """Simulated environments of the last job, with which one in the same place goes on."""

    def __init__(self) -> None:
        self.of: Any = None
        self.made: dict[int, gym.Env] = {}

    def of_job(self, job: Job) -> dict[int, gym.Env] | None:
        """By row, as `run_episodes` takes them; None where making them takes no time."""
        if job.task.simulated and self.of != (job.task, job.place):
            self.close()
            self.of = job.task, job.place
        return self.made if job.task.simulated else None

    def close(self) -> None:
        """Let go of them."""
        for env in self.made.values():
            env.close()
        self.of, self.made = None, {}


environments = Environments()  # of this process


class InsideSums(Hook):
    """Sums over the episodes that were running, by series and sample, so that waves add up; their
    `count` is a series, too.
    """

    def __init__(self, layout: StateLayout, every: int) -> None:
        self.layout, self.every = layout, every
        self.fast, self.modulation, self.potential = (
            fields_of(layout, kind) for kind in ("fast_weights", "modulation", "potential")
        )
        self.sums: dict[str, list[float]] = {}

    def after(self, step: int, state: Any, running: Sequence[int], over: Sequence[int]) -> None:
        """Add up the rows that were running, at every so many steps."""
        if step % self.every:
            return
        self._add("count", np.ones(len(running)))
        flat = state[0][0, running]
        fired = self._joined(flat, self.potential) > THRESHOLD
        self._add("firing_rate", fired.mean(axis=1))
        if self.fast:
            squares = np.square(self._joined(flat, self.fast), dtype=np.float64)
            self._add("fast_weight_norm", np.sqrt(squares.mean(axis=1)))
        if self.modulation:
            modulation = self._joined(flat, self.modulation).astype(np.float64)
            self._add("modulator_mean", modulation.mean(axis=1))
            self._add("modulator_spread", modulation.std(axis=1))

    def _joined(self, flat: np.ndarray, names: list[str]) -> np.ndarray:
        fields = [self.layout.get(flat, name).reshape(len(flat), -1) for name in names]
        return fields[0] if len(fields) == 1 else np.concatenate(fields, axis=1)

    def _add(self, name: str, values: np.ndarray) -> None:
        self.sums.setdefault(name, []).append(float(values.sum()))


def run_job(job: Job) -> Outcome:
    """Runs the episodes.

    Returns:
        For each episode "seed", "return", "length"; "rewards" float32 [episodes, steps], 0 after
        the end; "correct" float32 [episodes, trials], NaN where there was no response; "began",
        int64 [episodes, changes], the steps at which a context began, and -1 for no more. Of a
        spiking policy also the sums of `InsideSums` ("inside/NAME", "inside/count").
    """
    if job.folder is None:
        return _outcome(_run_baseline(job))
    policy = loaded(job.folder)
    layout, inner = layout_of(policy), cast(Any, policy.policy)

    def run(seeds: Sequence[int], *hooks: Hook, options: Any = None) -> list[Episode]:
        return run_episodes(
            policy,
            lambda: make_env(job.task, job.condition, job.previous, job.revealed, job.told),
            seeds,
            width=job.width,
            deterministic=job.deterministic,
            initial_state=None if layout is None else inner.initial_state(job.width),
            hooks=hooks,
            options=options,
            envs=environments.of_job(job),
        )

    if layout is None:
        return _outcome(run(job.seeds))
    condition = job.condition
    inside = InsideSums(layout, max(1, job.task.horizon // SAMPLES))
    hooks: list[Hook] = [inside]
    if condition.lesion is not None:
        how = (condition.freeze_at(job.task.horizon), run, condition.has_contexts)
        wave = Wave(layout, job.seeds, job.width, *how)
        hooks.insert(0, LESIONS[condition.lesion].hook(wave))
    outcome = _outcome(run(job.seeds, *hooks))
    return outcome | {f"inside/{name}": np.array(sums) for name, sums in inside.sums.items()}


def joined(outcomes: Sequence[Outcome]) -> Outcome:
    """One outcome out of those of several episodes or waves."""
    result = {}
    for name in outcomes[0]:
        parts = [outcome[name] for outcome in outcomes]
        if name.startswith("inside/"):
            # episodes of the other waves may have been shorter
            length = max(map(len, parts))
            result[name] = np.sum([np.pad(x, (0, length - len(x))) for x in parts], axis=0)
        elif parts[0].ndim == 2:
            length = max(part.shape[1] for part in parts)
            fill = {"rewards": 0.0, "began": -1}.get(name, np.nan)
            result[name] = np.concatenate(
                [np.pad(x, ((0, 0), (0, length - x.shape[1])), constant_values=fill) for x in parts]
            )
        else:
            result[name] = np.concatenate(parts)
    return result


@lru_cache(maxsize=32)
def loaded(folder: Path) -> DeployedPolicy:
    """The policy of a folder."""
    return load_policy(folder)


def _run_baseline(job: Job) -> list[Episode]:
    """Actions of a baseline, drawn from a seed of the episode's own."""
    env = make_env(job.task, job.condition)
    choose = BASELINES[job.baseline]
    episodes = []
    for seed in job.seeds:
        _, info = env.reset(seed=seed)
        env.action_space.seed(seed + APART)
        rewards: list[float] = []
        over, began = False, began_of(info)
        while not over:
            _, reward, terminated, truncated, info = env.step(choose(env.action_space))
            rewards.append(finite_reward(reward, len(rewards), seed))
            began |= began_of(info)
            over = terminated or truncated
        steps = tuple(sorted(began))
        episodes.append(Episode(seed, sum(rewards), len(rewards), (), tuple(rewards), steps))
    env.close()
    return episodes


def _outcome(episodes: Sequence[Episode]) -> Outcome:
    return joined(
        [
            {
                "seed": np.array([episode.seed]),
                "return": np.array([episode.total_reward]),
                "length": np.array([episode.length]),
                "rewards": np.array([episode.rewards], np.float32),
                "correct": np.array([episode.correct], np.float32),
                "began": np.array([episode.began], np.int64),
            }
            for episode in episodes
        ]
    )
