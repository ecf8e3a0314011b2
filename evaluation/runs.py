"""Trained policies to be judged: loading their run folders, checking them, running them."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import gymnasium as gym

from evaluation.conditions import (
    CONDITIONS,
    Condition,
    applicable,
    find_conditions,
    make_env,
    run_condition,
    spread_of,
    task_arguments,
)
from evaluation.episodes import Episode, Progress
from policies.export import DeployedPolicy, load_policy


@dataclass(frozen=True)
class Run:
    """A trained policy, and what its checkpoint tells about its training."""

    folder: Path
    policy: DeployedPolicy
    name: str
    environment: str
    arguments: dict[str, Any]
    seed: int
    training_seeds: range
    steps: int
    conditions: list[Condition]

    @property
    def results(self) -> Path:
        """Where its evaluation goes."""
        return self.folder / "evaluations" / "standard"


@dataclass(frozen=True)
class Task:
    """What is known of the environment without running it."""

    horizon: int | None
    chance: float | None


def load_runs(folders: Sequence[Path], conditions: Sequence[str], seeds: range) -> list[Run]:
    """The runs in these folders, each checked to work in each of its conditions.

    Raises:
        FileNotFoundError: a run that is missing.
        ValueError: an unknown condition, a run that does not work, runs of different tasks, or
            seeds that a run was trained with.
    """
    chosen = find_conditions(conditions)
    given = {folder.resolve(): folder for folder in reversed(folders)}
    resolved = dict.fromkeys(folder.resolve() for folder in folders)
    runs = [_load_run(given[folder], chosen) for folder in resolved]
    for run in runs:
        _check_seeds(run, seeds)
    clean = CONDITIONS["clean"]
    tasks = {
        f"{run.environment} {task_arguments(run.environment, run.arguments, clean)}" for run in runs
    }
    if len(tasks) > 1:
        raise ValueError(f"the runs are of different tasks: {'; '.join(sorted(tasks))}")
    return runs


def _load_run(folder: Path, conditions: list[Condition]) -> Run:
    if not folder.is_dir():
        raise ValueError(f"there is no run folder {folder}")
    policy = load_policy(folder / "policy")
    try:
        settings = policy.metadata["settings"]
        run = Run(
            folder=folder,
            policy=policy,
            name=settings["policy"],
            environment=settings["env"],
            arguments=settings["env_kwargs"],
            seed=settings["seed"],
            training_seeds=range(settings["seed"], settings["seed"] + settings["n_envs"]),
            steps=policy.metadata["steps"],
            conditions=applicable(policy, conditions),
        )
    except KeyError as error:
        raise ValueError(
            f"{folder / 'policy' / 'policy.json'} does not tell how the policy was trained: "
            f"{error} is missing"
        ) from error
    if not run.conditions:
        raise ValueError(f"{run.name} in {folder} has no plasticity that could be switched off")
    for condition in run.conditions:
        env = make_env(run.environment, run.arguments, condition, spread_of(policy))
        env.close()
        expected = policy.policy.observation_space.shape
        if env.observation_space.shape != expected:
            raise ValueError(
                f"the policy in {folder} expects observations of shape {expected}, "
                f"but {run.environment} has {env.observation_space.shape}"
            )
    return run


def _check_seeds(run: Run, seeds: range) -> None:
    training = run.training_seeds
    if seeds.start < training.stop and seeds.stop > training.start:
        raise ValueError(
            f"seeds {seeds.start} to {seeds.stop - 1} overlap those of the training "
            f"of {run.folder}, {training.start} to {training.stop - 1}; "
            "leave out --seed, or give a larger one"
        )


def describe_task(run: Run) -> Task:
    """What the environment says of itself."""
    env = make_env(run.environment, run.arguments, run.conditions[0], spread_of(run.policy))
    spec, plain = env.spec, env.unwrapped
    env.close()
    horizon = getattr(plain, "episode_steps", spec.max_episode_steps if spec else None)
    actions = env.action_space
    return Task(horizon, 1 / int(actions.n) if isinstance(actions, gym.spaces.Discrete) else None)


def evaluate(
    run: Run, seeds: Sequence[int], deterministic: bool, progress: Progress
) -> dict[str, list[Episode]]:
    """Episodes of a run by condition, on paired seeds."""
    return {
        condition.name: run_condition(
            run.policy,
            run.environment,
            run.arguments,
            condition,
            seeds,
            deterministic=deterministic,
            progress=progress,
        )
        for condition in run.conditions
    }
