"""Episodes of a policy, one per seed, many of them stepped side by side."""

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
from spikepropamine.evaluation.ask.lesions import Hook
from spikepropamine.policies.spaces import BadObservation, stacked

WIDTH = 50


@dataclass(frozen=True)
class Episode:
    """What came of one episode."""

    seed: int  # that the environment was reset with
    total_reward: float  # the return, undiscounted
    length: int  # in environment steps
    # in a task with trials, whether the response of each was right, None where there was none; else
    # empty
    correct: tuple[bool | None, ...] = ()
    rewards: tuple[float, ...] = field(default=(), compare=False, repr=False)  # of each step
    # steps at which a context began, rising from 0; empty where there are no contexts
    began: tuple[int, ...] = field(default=(), compare=False, repr=False)


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
    """Runs one episode per seed, which are distinct and at least 0; returns a record of each, in
    their order.

    Up to `width` episodes are stepped in lockstep; one that has ended is no longer stepped. An
    episode is a function of its seed and of `width` alone, to the last bit: floating-point sums of
    a batched policy depend on the size of the batch and on the row in it, so batches are always
    `width` rows and an episode always has row `seed % width`. Stochastic actions are drawn from
    PyTorch's generator, which is seeded with `seed // width`, and left as it was found.

    With width 50 and seeds from a multiple of 50 on, these are also the episodes of SB3's
    `evaluate_policy` on 50 environments so seeded; with width 1, those of a single environment.

    `envs` are those made before, by row: those that are missing are added, and all are left open.
    Without, at most `width` are made, and closed in the end. `options` are for their `reset`.
    `initial_state` is for `predict` at the first step, arrays [any, width, any]; None lets the
    policy choose. `hooks` are told of every step, in this order, and need one. Raises ValueError:
    seeds that repeat or are negative, or a width below 1.
    """
    if width < 1:
        raise ValueError(f"width must be at least 1, got {width}")
    if len(set(seeds)) < len(seeds) or min(seeds, default=0) < 0:
        raise ValueError("seeds must be distinct and at least 0")
    made: dict[int, gym.Env] = {} if envs is None else envs
    how = (width, deterministic, initial_state, hooks, options)
    records: dict[int, Episode] = {}
    try:
        with torch.random.fork_rng():
            for wave in waves(seeds, width):
                torch.manual_seed(wave[0] // width)
                rows = {seed % width: seed for seed in wave}
                for row in rows.keys() - made.keys():
                    made[row] = make_env()
                ended = _run_wave(policy, made, rows, *how)
                records |= {episode.seed: episode for episode in ended}
    finally:
        for env in made.values() if envs is None else ():
            env.close()
    return [records[seed] for seed in seeds]


def waves(seeds: Sequence[int], width: int) -> list[tuple[int, ...]]:
    """The seeds, cut where `run_episodes` begins another batch."""
    blocks = itertools.groupby(sorted(seeds), key=lambda seed: seed // width)
    return [tuple(block) for _, block in blocks]


def finite_reward(reward: Any, step: int, seed: int) -> float:
    """The reward as a float. Raises UsageError where it is no finite number."""
    value = float(reward)
    if not math.isfinite(value):
        raise UsageError(
            f"the environment's reward is {value} at step {step} of the episode with seed {seed}; "
            "nothing can be evaluated by that"
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
    first, infos = {}, {}
    for row, seed in rows.items():
        first[row], infos[row] = envs[row].reset(seed=seed, options=options)
    # rows without an episode need some valid observation, and so do those whose episode is over
    observations = [first.get(row, next(iter(first.values()))) for row in range(width)]
    starts = np.ones(width, dtype=bool)
    state = None if state is None else tuple(part.copy() for part in state)
    totals = dict.fromkeys(rows, 0.0)
    rewards: dict[int, list[float]] = {row: [] for row in rows}
    correct: dict[int, dict[int, bool]] = {row: {} for row in rows}
    began = {row: began_of(info) for row, info in infos.items()}
    running, ended = sorted(rows), []
    for step in itertools.count():
        if not running:
            break
        for hook in hooks:
            hook.before(step, state, starts, {row: infos[row] for row in running})
        try:
            actions, state = policy.predict(stacked(observations), state, starts, deterministic)
        except BadObservation as error:
            episodes = ", ".join(str(rows[row]) for row in running[:3])
            raise UsageError(
                f"step {step} of the episodes with seeds {episodes} ...: {error}"
            ) from error
        starts = np.zeros(width, dtype=bool)
        over = set()
        for row in running:
            observation, reward, terminated, truncated, info = envs[row].step(actions[row])
            observations[row], infos[row] = observation, info
            began[row] |= began_of(info)
            value = finite_reward(reward, step, rows[row])
            totals[row] += value
            rewards[row].append(value)
            if "correct" in info and "trial" in info:
                trial = int(info["trial"])
                if not 0 <= trial <= step + 1:
                    raise UsageError(
                        f"the environment's info has trial {trial} at step {step}; trials are to "
                        "be counted from the start of each episode"
                    )
                correct[row][trial] = bool(info["correct"])
            if terminated or truncated:
                over.add(row)
                trials = range(max(correct[row], default=-1) + 1)
                right = tuple(correct[row].get(trial) for trial in trials)
                earned, steps = tuple(rewards[row]), tuple(sorted(began[row]))
                ended.append(Episode(rows[row], totals[row], len(earned), right, earned, steps))
        for hook in hooks:
            hook.after(step, state, running, sorted(over))
        running = [row for row in running if row not in over]
    return ended


def began_of(info: Mapping[str, Any]) -> set[int]:
    """The step at which the context of an info began, if there is one."""
    return {int(info["context_began"])} if "context_began" in info else set()
