"""Episodes of a policy, one for each seed, many of them stepped side by side."""

import itertools
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import gymnasium as gym
import numpy as np
import torch
from stable_baselines3.common.type_aliases import PolicyPredictor

from spikepropamine.common import UsageError
from spikepropamine.envs.physics.rows import Rows
from spikepropamine.evaluation.ask.lesions import (
    Hook,
)
from spikepropamine.policies.spaces import BadObservation, stacked

WIDTH = 50


@dataclass(frozen=True)
class Episode:
    """What came of one episode."""

    seed: int  # that the environment was reset with
    total_reward: float  # the return, undiscounted
    length: int  # in environment steps
    # in a task with trials, whether the response of each was right, None where there
    # was none; else empty
    correct: tuple[bool | None, ...] = ()
    # share of the right commands' variance, see `explained_late`; NaN in other tasks
    explained: float = field(default=math.nan, compare=False)
    # of each step
    rewards: tuple[float, ...] = field(default=(), compare=False, repr=False)
    # steps at which contexts begin, rising from 0, after the end of the episode too
    # where the schedule tells; empty where there are no contexts
    began: tuple[int, ...] = field(default=(), compare=False, repr=False)


@dataclass
class _Unfinished:
    """An episode while it is run."""

    seed: int
    info: Mapping[str, Any]  # that the environment gave last
    total: float = 0.0
    rewards: list[float] = field(default_factory=list)
    correct: dict[int, bool] = field(default_factory=dict)  # by trial
    began: set[int] = field(default_factory=set)
    # of each step, in a task that has a right command
    squared_errors: list[float] = field(default_factory=list)
    squared_targets: list[float] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.began |= began_of(self.info)

    def add(self, step: int, reward: Any, info: Mapping[str, Any]) -> None:
        """Takes in what a step gave.

        Args:
            step: from 0 on.
            reward: of the step.
            info: of the step; "correct" and "trial" of a cue task count.

        Raises:
            UsageError: the reward or the number of a trial cannot be.
        """
        value = finite_reward(reward, step, self.seed)
        self.info = info
        self.total += value
        self.rewards.append(value)
        self.began |= began_of(info)
        if "correct" in info and "trial" in info:
            trial = int(info["trial"])
            if not 0 <= trial <= step + 1:
                raise UsageError(
                    f"the environment's info has trial {trial} at step {step}; trials "
                    "are to be counted from the start of each episode"
                )
            self.correct[trial] = bool(info["correct"])
        if "squared_error" in info and "squared_target" in info:
            self.squared_errors.append(float(info["squared_error"]))
            self.squared_targets.append(float(info["squared_target"]))

    def finished(self) -> Episode:
        """What came of it."""
        trials = range(max(self.correct, default=-1) + 1)
        return Episode(
            seed=self.seed,
            total_reward=self.total,
            length=len(self.rewards),
            correct=tuple(self.correct.get(trial) for trial in trials),
            explained=explained_late(self.squared_errors, self.squared_targets),
            rewards=tuple(self.rewards),
            began=tuple(sorted(self.began)),
        )


def explained_late(
    squared_errors: Sequence[float], squared_targets: Sequence[float]
) -> float:
    """The share of the variance of right commands that an episode's last quarter
    explains: 1 where each command is right, 0 for commands of zeros.

    Args:
        squared_errors: squared distance of the command from the right one, by step.
        squared_targets: squared length of the right one, of each step.

    Returns:
        The share, at most 1; NaN where no command was wanted in that quarter.
    """
    late = len(squared_targets) - math.ceil(len(squared_targets) / 4)
    wanted = sum(squared_targets[late:])
    if wanted == 0.0:
        return math.nan
    return 1.0 - sum(squared_errors[late:]) / wanted


def run_episodes(
    policy: PolicyPredictor,
    make_env: Callable[[], gym.Env],
    seeds: Sequence[int],
    *,
    width: int = WIDTH,
    deterministic: bool = True,
    initial_state: tuple[np.ndarray, ...] | None = None,
    hooks: Sequence[Hook] = (),
    options: dict[str, Any] | None = None,
    envs: dict[int, gym.Env] | None = None,
) -> list[Episode]:
    """Runs one episode per seed.

    Up to `width` episodes are stepped in lockstep; one that has ended is no longer
    stepped. An episode is a function of its seed and of `width` alone, to the last bit:
    floating-point sums of a batched policy depend on the size of the batch and on the
    row in it, so batches are always `width` rows and an episode always has row
    `seed % width`. Stochastic actions are drawn from PyTorch's generator, which is
    seeded with `seed // width`, and left as it was found.

    With width 50 and seeds from a multiple of 50 on, these are also the episodes of
    SB3's `evaluate_policy` on 50 environments so seeded; with width 1, those of a
    single environment.

    Args:
        policy: acts.
        make_env: makes an environment.
        seeds: distinct, and at least 0.
        width: rows of a batch, at least 1.
        deterministic: whether actions are the likeliest, or sampled.
        initial_state: for `predict` at the first step, arrays [any, width, any]; None:
            the policy chooses.
        hooks: are called at every step, in this order, and need an initial state.
        options: for the `reset` of environments.
        envs: those made before, by row: those that are missing are added, and all are
            left open. None: at most `width` are made, and closed in the end.

    Returns:
        A record of each episode, in the order of the seeds.

    Raises:
        ValueError: seeds that repeat or are negative, or a width below 1.
        UsageError: a reward or an observation that cannot be.
    """
    if width < 1:
        raise ValueError(f"width must be at least 1, got {width}")
    if len(set(seeds)) < len(seeds) or min(seeds, default=0) < 0:
        raise ValueError("seeds must be distinct and at least 0")
    made: dict[int, gym.Env] = {} if envs is None else envs
    records: dict[int, Episode] = {}
    try:
        with torch.random.fork_rng():
            for wave in waves(seeds, width):
                torch.manual_seed(wave[0] // width)
                rows = {seed % width: seed for seed in wave}
                for row in rows.keys() - made.keys():
                    made[row] = make_env()
                ended = _run_wave(
                    policy,
                    made,
                    rows,
                    width,
                    deterministic,
                    initial_state,
                    hooks,
                    options,
                )
                records |= {episode.seed: episode for episode in ended}
    finally:
        if envs is None:
            for env in made.values():
                env.close()
    return [records[seed] for seed in seeds]


def waves(seeds: Sequence[int], width: int) -> list[tuple[int, ...]]:
    """The seeds, cut where `run_episodes` begins another batch.

    Args:
        seeds: of episodes.
        width: rows of a batch.
    """
    blocks = itertools.groupby(sorted(seeds), key=lambda seed: seed // width)
    return [tuple(block) for _, block in blocks]


def finite_reward(reward: Any, step: int, seed: int) -> float:
    """The reward as a float.

    Args:
        reward: that an environment gave.
        step: at which it gave it.
        seed: of the episode.

    Raises:
        UsageError: it is no finite number.
    """
    value = float(reward)
    if not math.isfinite(value):
        raise UsageError(
            f"the environment's reward is {value} at step {step} of the episode with "
            f"seed {seed}; nothing can be evaluated by that"
        )
    return value


def _run_wave(
    policy: PolicyPredictor,
    envs: dict[int, gym.Env],
    rows: dict[int, int],
    width: int,
    deterministic: bool,
    state: tuple[np.ndarray, ...] | None,
    hooks: Sequence[Hook],
    options: dict[str, Any] | None,
) -> list[Episode]:
    """Runs the episodes of `rows`, row to seed."""
    episodes: dict[int, _Unfinished] = {}
    first: dict[int, Any] = {}
    stepped = Rows({row: envs[row] for row in rows})
    for row, seed in rows.items():
        first[row], info = stepped.reset(row, seed, options)
        planned = planned_contexts(envs[row])
        episodes[row] = _Unfinished(seed, info, began=planned)
    # rows without an episode need some valid observation, and so do those whose episode
    # is over
    some = next(iter(first.values()))
    observations = [first.get(row, some) for row in range(width)]
    starts = np.ones(width, dtype=bool)
    if state is not None:
        state = tuple(part.copy() for part in state)
    ended: list[Episode] = []
    running = sorted(rows)
    step = 0
    while running:
        infos = {row: episodes[row].info for row in running}
        for hook in hooks:
            hook.before(step, state, starts, infos)
        try:
            batch = stacked(observations)
            actions, state = policy.predict(batch, state, starts, deterministic)
        except BadObservation as error:
            seeds = ", ".join(str(rows[row]) for row in running[:3])
            raise UsageError(
                f"step {step} of the episodes with seeds {seeds} ...: {error}"
            ) from error
        starts = np.zeros(width, dtype=bool)
        over = []
        answers = stepped.step(running, actions)
        for row in running:
            observations[row], reward, terminated, truncated, info = answers[row]
            episodes[row].add(step, reward, info)
            if terminated or truncated:
                over.append(row)
                ended.append(episodes[row].finished())
        for hook in hooks:
            hook.after(step, state, running, over)
        running = [row for row in running if row not in over]
        step += 1
    return ended


def planned_contexts(env: gym.Env) -> set[int]:
    """The steps at which contexts of the present episode begin, as it was drawn: to the
    horizon, wherever the episode ends. Empty where no schedule tells.

    Args:
        env: that was reset.
    """
    if not env.has_wrapper_attr("contexts_begin"):
        return set()
    return set(env.get_wrapper_attr("contexts_begin"))


def began_of(info: Mapping[str, Any]) -> set[int]:
    """The step at which the context of an info began, if there is one."""
    if "context_began" not in info:
        return set()
    return {int(info["context_began"])}
