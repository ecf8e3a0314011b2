"""The unit of work of an evaluation: a policy, a condition, and a wave of episodes."""

from collections.abc import Callable, Sequence
from contextlib import closing
from copy import deepcopy
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np

from spikepropamine.evaluation.ask.conditions import Condition, Task, make_env
from spikepropamine.evaluation.ask.lesions import (
    LESIONS,
    Hook,
    Wave,
    fields_of,
    layout_of,
)
from spikepropamine.evaluation.run.episodes import Episode, run_episodes
from spikepropamine.policies.deployed import DeployedPolicy
from spikepropamine.policies.export import load_policy
from spikepropamine.policies.reference import THRESHOLD
from spikepropamine.policies.state import StateLayout

SAMPLES = 200  # of what goes on inside the network, over the horizon
APART = 1_000_000_000
"""Between the seeds of an episode and of its random actions: of one seed, these would
be what the task itself draws, and so its right answers, for instance.
"""


Outcome = dict[str, np.ndarray]
FILLED = {"correct": np.nan, "began": -1}  # where an episode has no more; others have 0

RANDOM = "random"
STILL = "still"
TEACHER = "teacher"
"""What policies are held against."""

BASELINES: dict[str, Callable[[Any], Any]] = {
    RANDOM: lambda space: space.sample(),
    STILL: lambda space: np.clip(
        np.zeros(space.shape, space.dtype), space.low, space.high
    ),
}
"""Actions that need no policy. Only a Box of actions knows what it is to stand still.
"""


@dataclass(frozen=True)
class Job:
    """One wave of episodes."""

    folder: Path | None  # of the deployed policy; None: a baseline
    previous: bool  # whether the policy observes its previous action and reward
    task: Task  # that it is evaluated in
    condition: Condition
    # of the episodes, of one wave: `seed // width` is the same for all
    seeds: tuple[int, ...]
    width: int  # of the batch
    deterministic: bool  # the likeliest actions, or sampled ones
    # text of the perturbations that the policy is told; None: none
    revealed: str | None = None
    told: bool = False  # whether the contexts of the condition are undone for it
    baseline: str = ""  # of `BASELINES`, where there is no policy

    @property
    def episodes(self) -> int:
        """How many episodes it runs; some lesions need another one for each."""
        lesion = self.condition.lesion
        if lesion is None:
            return len(self.seeds)
        return len(self.seeds) * LESIONS[lesion].cost

    @property
    def place(self) -> tuple[Any, ...]:
        """Tells apart environments of a task: equal ones are the same, whoever acts in
        them.
        """
        condition = self.condition
        return condition.text, condition.noise, self.previous, self.revealed, self.told


def width_of(task: Task) -> int:
    """Rows of a batch. More are faster, where the environment is not what takes the
    time; but a batch is computed as a whole, however few episodes there are.
    """
    return 20 if task.simulated else 50


# of this process: the simulated environments of the last job, by row, and their place
_environments: dict[str, dict[int, gym.Env]] = {}


def environments_of(job: Job) -> dict[int, gym.Env] | None:
    """The environments of a job by row, kept from the job before where it needs the
    same.

    None where making them takes no time.
    """
    if not job.task.simulated:
        return None
    place = repr((job.task, job.place))
    if place not in _environments:
        close_environments()
    return _environments.setdefault(place, {})


def close_environments() -> None:
    """Let go of those that were kept."""
    for made in _environments.values():
        for env in made.values():
            env.close()
    _environments.clear()


class InsideSums(Hook):
    """Sums over the episodes that were running, by series and sample, so that waves add
    up; their `count` is a series, too.
    """

    def __init__(self, layout: StateLayout, every: int, spiking: bool) -> None:
        self.layout = layout
        self.every = every
        self.spiking = spiking
        self.fast = fields_of(layout, "fast_weights")
        self.modulation = fields_of(layout, "modulation")
        self.potential = fields_of(layout, "potential")
        self.sums: dict[str, list[float]] = {}

    def after(
        self, step: int, state: Any, running: Sequence[int], over: Sequence[int]
    ) -> None:
        """Adds up the rows that were running, at every so many steps; see `Hook`."""
        if step % self.every:
            return
        self._add("count", np.ones(len(running)))
        flat = state[0][0, running]
        if self.spiking:
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
        Of each episode "seed", "return" and "length"; "rewards", float32 [episodes,
        steps], 0 after the end; "correct", float32 [episodes, trials], NaN where there
        was no response; "explained", float64, NaN in tasks without a right command;
        "began", int64 [episodes, changes], the steps at which contexts begin, and -1
        for no more. Of a spiking policy also the sums of `InsideSums` ("inside/NAME",
        "inside/count").
    """
    policy: Any = _Baseline(job) if job.folder is None else loaded(job.folder)
    layout = layout_of(policy)
    initial_state = None
    if layout is not None:
        initial_state = policy.policy.initial_state(job.width)

    def make() -> gym.Env:
        return make_env(job.task, job.condition, job.previous, job.revealed, job.told)

    def run(seeds: Sequence[int], *hooks: Hook, options: Any = None) -> list[Episode]:
        return run_episodes(
            policy,
            make,
            seeds,
            width=job.width,
            deterministic=job.deterministic,
            initial_state=initial_state,
            hooks=hooks,
            options=options,
            envs=environments_of(job),
        )

    if layout is None:
        return _outcome(run(job.seeds))
    spiking = policy.policy.network.config.units == "spiking"
    inside = InsideSums(layout, max(1, job.task.horizon // SAMPLES), spiking)
    hooks: list[Hook] = [inside]
    condition = job.condition
    if condition.lesion is not None:
        wave = Wave(
            layout,
            job.seeds,
            job.width,
            freeze_at=condition.freeze_at(job.task.horizon),
            run_intact=run,
            has_contexts=condition.has_contexts,
        )
        hooks.insert(0, LESIONS[condition.lesion].hook(wave))
    outcome = _outcome(run(job.seeds, *hooks))
    for name, sums in inside.sums.items():
        outcome[f"inside/{name}"] = np.array(sums)
    return outcome


def joined(outcomes: Sequence[Outcome]) -> Outcome:
    """One outcome out of those of several episodes or waves."""
    result = {}
    for name in outcomes[0]:
        parts = [outcome[name] for outcome in outcomes]
        inside = name.startswith("inside/")
        if inside or parts[0].ndim == 2:  # episodes of the others may have been shorter
            length = max(part.shape[-1] for part in parts)
            fill = FILLED.get(name, 0.0)
            parts = [_filled(part, length, fill) for part in parts]
        result[name] = np.sum(parts, axis=0) if inside else np.concatenate(parts)
    return result


def _filled(values: np.ndarray, length: int, fill: float) -> np.ndarray:
    """Values [..., any] with others appended, [..., length]."""
    unchanged = [(0, 0)] * (values.ndim - 1)
    missing = (0, length - values.shape[-1])
    return np.pad(values, [*unchanged, missing], constant_values=fill)


@lru_cache(maxsize=32)
def loaded(folder: Path) -> DeployedPolicy:
    """The policy of a folder."""
    return load_policy(folder)


class _Baseline:
    """Acts without a look at anything, each episode by a seed of its own."""

    def __init__(self, job: Job) -> None:
        self.spaces: dict[int, gym.Space[Any]] = {}
        with closing(make_env(job.task, job.condition)) as env:
            for seed in job.seeds:
                space = deepcopy(env.action_space)
                space.seed(seed + APART)
                self.spaces[seed % job.width] = space
        self.choose = BASELINES[job.baseline]

    def predict(self, *_: Any) -> tuple[dict[int, Any], None]:
        """An action for each row that has an episode."""
        return {row: self.choose(space) for row, space in self.spaces.items()}, None


def _outcome(episodes: Sequence[Episode]) -> Outcome:
    every = [
        {
            "seed": np.array([episode.seed]),
            "return": np.array([episode.total_reward]),
            "length": np.array([episode.length]),
            "rewards": np.array([episode.rewards], np.float32),
            "correct": np.array([episode.correct], np.float32),
            "explained": np.array([episode.explained]),
            "began": np.array([episode.began], np.int64),
        }
        for episode in episodes
    ]
    return joined(every)
