"""Trained policies to be evaluated: loading their run folders, and checking that they can be."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from stable_baselines3.common.preprocessing import is_image_space

from spikepropamine.agents.algorithms import ALGORITHMS
from spikepropamine.agents.zoo import agents, concerned
from spikepropamine.common import shown
from spikepropamine.envs.making import revealed_text
from spikepropamine.evaluation.ask.conditions import (
    CLEAN,
    Condition,
    Skipped,
    Task,
    make_env,
    task_of,
)
from spikepropamine.evaluation.ask.lesions import is_plastic
from spikepropamine.folder import POLICY_NAME, RunFolder, name_of
from spikepropamine.options import flat
from spikepropamine.policies.deployed import DeployedPolicy
from spikepropamine.policies.export import load_policy
from spikepropamine.reading import read_json
from spikepropamine.versions import check_imported


@dataclass(frozen=True)
class Run:
    """A trained policy, and what its checkpoint tells about its training."""

    folder: Path  # of the run
    policy: DeployedPolicy  # as deployed
    name: str  # of the policy, as `train.py` has it, or as it is called in this evaluation
    environment: str  # of its training
    arguments: dict[str, Any]  # of the environment in its training
    perturb: (
        str | None
    )  # text of the perturbations that it was trained under; None: none
    previous: bool  # whether it observes its previous action and reward
    revealed: str | None  # text of the perturbations that it is told; None: none
    seed: int  # of the training
    steps: int  # of the training
    learning: dict[
        str, Any
    ]  # the other settings of the training, see `learning_settings`


def load_runs(
    folders: Sequence[Path],
    horizon_factor: int = 1,
    names: Mapping[Path, str] | None = None,
) -> tuple[list[Run], Task]:
    """The runs in these folders, each once, by the `names` that resolved folders are given or their
    own, and the task that they have in common, with episodes `horizon_factor` times as long.

    Raises FileNotFoundError: a run that is missing; ValueError: a run that does not work, runs of
    different tasks, the same policy and seed twice or trained in different ways.
    """
    given = {folder.resolve(): folder for folder in reversed(folders)}
    runs = [
        _load_run(given[folder])
        for folder in dict.fromkeys(f.resolve() for f in folders)
    ]
    called = {} if names is None else names
    runs = [
        replace(run, name=called.get(run.folder.resolve(), run.name)) for run in runs
    ]
    tasks = []
    for run in runs:
        tasks.append(task_of(run.environment, run.arguments, horizon_factor))
        _check_observations(run, tasks[-1])
    different = {
        f"{task.environment} {dict(sorted(task.arguments.items()))}": run.folder
        for run, task in zip(runs, tasks)
    }
    if len(different) > 1:
        listed = "; ".join(
            f"{name_of(run)} of {text}" for text, run in different.items()
        )
        raise ValueError(f"the runs are of different tasks: {listed}")
    first: dict[str, Run] = {}
    seen: dict[tuple[str, int], Run] = {}
    for run in runs:
        like = first.setdefault(run.name, run)
        same, why = like, _difference(like, run)
        if why:
            why = f", but differ in {why}"
        elif (same := seen.setdefault((run.name, run.seed), run)) is not run:
            why = f" with seed {run.seed}"
        if why:
            raise ValueError(
                f"{same.folder} and {run.folder} are both {run.name}{why}; give one of them a name "
                f"of its own: other={run.folder}"
            )
    return runs, tasks[0]


def load_teacher(folder: Path, task: Task) -> Run:
    """A policy of the plain task, or one that is told what is hidden. Raises as `load_runs`."""
    teacher = _load_run(folder)
    if teacher.environment != task.environment:
        raise ValueError(
            f"the teacher in {folder} is of {teacher.environment}, the runs of {task.environment}"
        )
    _check_observations(teacher, task)
    return teacher


def applicable(
    run: Run, conditions: Sequence[Condition]
) -> tuple[list[Condition], list[Skipped]]:
    """Those of the conditions that mean something for the run, and those that do not."""
    if is_plastic(run.policy):
        return list(conditions), []
    why = "it has no plasticity to take away"
    lesions = dict.fromkeys(c.lesion for c in conditions if c.lesion is not None)
    kept = [condition for condition in conditions if condition.lesion is None]
    return kept, [Skipped(lesion, run.name, why) for lesion in lesions]


def _load_run(folder: Path) -> Run:
    if not folder.is_dir():
        raise ValueError(f"there is no run folder {folder}")
    check_imported(_imports_of(folder), str(folder))
    policy = load_policy(RunFolder(folder).policy)
    try:
        settings: Mapping[str, Any] = policy.metadata["settings"]
        _check_types(settings, policy.metadata["steps"])
        return Run(
            folder=folder,
            policy=policy,
            name=settings["policy"],
            environment=settings["env"],
            arguments={
                k: v for k, v in settings["env_kwargs"].items() if k != "render_mode"
            },
            perturb=settings.get("perturb"),
            previous=settings.get("previous", False),
            revealed=revealed_text(settings),
            seed=settings["seed"],
            steps=policy.metadata["steps"],
            learning=learning_settings(settings),
        )
    except (KeyError, TypeError) as error:
        wrong = f"is damaged: {error}"
        if isinstance(error, KeyError):
            wrong = f"does not tell how the policy was trained: {error} is missing"
        raise ValueError(f"{folder / 'policy' / 'policy.json'} {wrong}") from error


def _check_types(settings: Any, steps: Any) -> None:
    """Raises TypeError where what a run says of itself is not what it should be.

    Its policy's name becomes a part of the names of files, so it has to be a plain one.
    """
    if not isinstance(settings, dict):
        raise TypeError("its settings are no mapping")
    name = settings["policy"]
    if not isinstance(name, str) or not POLICY_NAME.fullmatch(name):
        raise TypeError(f"{name!r} is not the name of a policy")
    needed: dict[str, Any] = {
        "env": str,
        "env_kwargs": dict,
        "seed": int,
        "n_envs": int,
    }
    optional = {"perturb": str, "previous": bool, "reveal": bool, "steps": int}
    given = {
        what: kind for what, kind in optional.items() if settings.get(what) is not None
    }
    told: list[Any] = [
        (what, settings[what], kind) for what, kind in (needed | given).items()
    ]
    for what, value, kind in (*told, ("steps", steps, int)):
        if type(value) is not kind or (kind is int and not 0 <= value < 2**63):
            meant = "whole number from 0 on" if kind is int else kind.__name__
            raise TypeError(f"{what} is {shown(value)}, and should be a {meant}")
    if ":" in settings["env"]:  # Gymnasium would import what stands before it
        raise TypeError(
            f"env is {settings['env']!r}, and should name no module; --import does"
        )


def _imports_of(folder: Path) -> list[str]:
    """The user's own modules that it was trained with; none where that cannot be read, which
    loading the policy complains of.
    """
    try:
        description = read_json(RunFolder(folder).policy / "policy.json", inside=folder)
        return [
            str(name) for name in description["metadata"]["settings"].get("imports", [])
        ]
    except (ValueError, KeyError, TypeError, AttributeError):
        return []


def learning_settings(settings: Mapping[str, Any]) -> dict[str, Any]:
    """What training seeds of one policy have in common besides the task, by dotted name: what
    concerns it, or all where it or its kind of training is unknown here.
    """
    names = ("network", "trainer", "n_envs", "steps", "normalize_observations", "normalize_rewards",
             "cue", "critic_told", "critic_first")  # fmt: skip
    found = flat({name: settings[name] for name in names if name in settings})
    for name in ("teacher", "start_from"):  # which may have the seed in its path
        found[name] = settings.get(name) is not None
    policy, kind = settings.get("policy"), found.get("trainer.kind")
    if policy not in agents() or kind not in ALGORITHMS:
        return found
    matters = concerned(policy, found["teacher"], kind)
    return {name: value for name, value in found.items() if matters(name)}


def _difference(one: Run, other: Run) -> str:
    """In what two runs differ that should be seeds of one policy; empty where in nothing."""
    for what in ("perturb", "previous", "revealed", "arguments"):
        if getattr(one, what) != getattr(other, what):
            return {"revealed": "--reveal", "arguments": "--env-kwargs"}.get(
                what, f"--{what}"
            )
    for name, first in one.learning.items():  # a setting of another version is unknown
        if (second := other.learning.get(name, first)) != first:
            return f"--{name.replace('_', '-')} ({shown(first)}, {shown(second)})"
    states = (run.policy.policy.state_dict() for run in (one, other))
    sizes = [{name: x.shape for name, x in state.items()} for state in states]
    return "" if sizes[0] == sizes[1] else "the sizes of their networks"


def _check_observations(run: Run, task: Task) -> None:
    env = make_env(task, CLEAN, run.previous, run.revealed)
    env.close()
    expected = run.policy.policy.observation_space.shape
    shape = env.observation_space.shape
    if (
        shape
        and is_image_space(env.observation_space)
        and shape[-1:] + shape[:-1] == expected
    ):
        return  # the channels come first in the policy, which turns pictures itself
    if shape != expected:
        raise ValueError(
            f"the policy in {run.folder} expects observations of shape {expected}, "
            f"but {run.environment} has {shape}"
        )
