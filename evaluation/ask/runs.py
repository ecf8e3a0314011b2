"""Trained policies to be evaluated: loading their run folders, and checking that they
can be.
"""

from collections.abc import Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from gymnasium import spaces
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
    name: str  # of the policy, in `train.py` or in this evaluation
    environment: str  # of its training
    arguments: dict[str, Any]  # of the environment in its training
    perturb: str | None  # text of the perturbations of its training; None: none
    previous: bool  # whether it observes its previous action and reward
    revealed: str | None  # text of the perturbations that it is told; None: none
    seed: int  # of the training
    steps: int  # of the training
    learning: dict[str, Any]  # other settings of the training; see `learning_settings`


def load_runs(
    folders: Sequence[Path],
    horizon_factor: int = 1,
    names: Mapping[Path, str] | None = None,
) -> tuple[list[Run], Task]:
    """Trained policies, and the task that they have in common.

    Args:
        folders: of the runs; one that is there twice counts once.
        horizon_factor: how many times as long episodes are.
        names: by resolved folder, what runs are called; others have their own name.

    Raises:
        FileNotFoundError: a run is missing.
        ValueError: a run does not work, runs are of different tasks, or the same policy
            and seed is there twice or was trained in different ways.
    """
    given: dict[Path, Path] = {}
    for folder in folders:
        given.setdefault(folder.resolve(), folder)
    runs = []
    for resolved, folder in given.items():
        run = _load_run(folder)
        runs.append(replace(run, name=(names or {}).get(resolved, run.name)))
    tasks: dict[str, tuple[Task, Run]] = {}
    for run in runs:
        task = task_of(run.environment, run.arguments, horizon_factor)
        _check_spaces(run, task)
        text = f"{task.environment} {dict(sorted(task.arguments.items()))}"
        tasks.setdefault(text, (task, run))
    if len(tasks) > 1:
        listed = "; ".join(
            f"{name_of(run.folder)} of {text}" for text, (_, run) in tasks.items()
        )
        raise ValueError(f"the runs are of different tasks: {listed}")
    _check_seeds(runs)
    ((task, _),) = tasks.values()
    return runs, task


def _check_seeds(runs: Sequence[Run]) -> None:
    """Raises ValueError unless runs of one name are seeds of one policy."""
    first: dict[str, Run] = {}
    seen: dict[tuple[str, int], Run] = {}
    for run in runs:
        like = first.setdefault(run.name, run)
        same = seen.setdefault((run.name, run.seed), run)
        difference = _difference(like, run)
        if difference:
            other = like
            why = f", but differ in {difference}"
        elif same is not run:
            other = same
            why = f" with seed {run.seed}"
        else:
            continue
        raise ValueError(
            f"{other.folder} and {run.folder} are both {run.name}{why}; give one of "
            f"them a name of its own: other={run.folder}"
        )


def load_teacher(folder: Path, task: Task) -> Run:
    """A policy of the plain task, or one that is told what is hidden.

    Args:
        folder: of the run.
        task: that it has to know.

    Raises:
        FileNotFoundError: it is missing.
        ValueError: it does not work, or is of another task.
    """
    teacher = _load_run(folder)
    if teacher.environment != task.environment:
        raise ValueError(
            f"the teacher in {folder} is of {teacher.environment}, the runs of "
            f"{task.environment}"
        )
    _check_spaces(teacher, task)
    return teacher


def applicable(
    run: Run, conditions: Sequence[Condition]
) -> tuple[list[Condition], list[Skipped]]:
    """Splits conditions into those that mean something for a run, and those that do
    not.

    Args:
        run: to be evaluated.
        conditions: of the evaluation.
    """
    if is_plastic(run.policy):
        return list(conditions), []
    lesions = dict.fromkeys(c.lesion for c in conditions if c.lesion is not None)
    why = "it has no plasticity to take away"
    skipped = [Skipped(lesion, run.name, why) for lesion in lesions]
    return [c for c in conditions if c.lesion is None], skipped


def _load_run(folder: Path) -> Run:
    if not folder.is_dir():
        raise ValueError(f"there is no run folder {folder}")
    check_imported(_imports_of(folder), str(folder))
    policy = load_policy(RunFolder(folder).policy)
    path = folder / "policy" / "policy.json"
    try:
        settings: Mapping[str, Any] = policy.metadata["settings"]
        steps = policy.metadata["steps"]
        _check_types(settings, steps)
    except KeyError as error:
        raise ValueError(
            f"{path} does not tell how the policy was trained: {error} is missing"
        ) from error
    except TypeError as error:
        raise ValueError(f"{path} is damaged: {error}") from error
    arguments = dict(settings["env_kwargs"])
    arguments.pop("render_mode", None)
    return Run(
        folder=folder,
        policy=policy,
        name=settings["policy"],
        environment=settings["env"],
        arguments=arguments,
        perturb=settings.get("perturb"),
        previous=settings.get("previous", False),
        revealed=revealed_text(settings),
        seed=settings["seed"],
        steps=steps,
        learning=learning_settings(settings),
    )


NEEDED: dict[str, type] = {"env": str, "env_kwargs": dict, "seed": int, "n_envs": int}
OPTIONAL: dict[str, type] = {
    "perturb": str,
    "previous": bool,
    "reveal": bool,
    "steps": int,
}
"""Settings of a run, and their types."""


def _check_types(settings: Any, steps: Any) -> None:
    """Raises TypeError where what a run says of itself is not what it should be, and
    KeyError where something is missing.

    Its policy's name becomes a part of the names of files, so it has to be a plain one.
    """
    if not isinstance(settings, dict):
        raise TypeError("its settings are no mapping")
    name = settings["policy"]
    if not isinstance(name, str) or not POLICY_NAME.fullmatch(name):
        raise TypeError(f"{name!r} is not the name of a policy")
    for what, kind in NEEDED.items():
        _check_type(what, settings[what], kind)
    for what, kind in OPTIONAL.items():
        if settings.get(what) is not None:
            _check_type(what, settings[what], kind)
    _check_type("steps", steps, int)
    if ":" in settings["env"]:  # Gymnasium would import what stands before it
        raise TypeError(
            f"env is {settings['env']!r}, and should name no module; --import does"
        )


def _check_type(what: str, value: object, kind: type) -> None:
    if kind is int and not (type(value) is int and 0 <= value < 2**63):
        raise TypeError(
            f"{what} is {shown(value)}, and should be a whole number from 0 on"
        )
    if type(value) is not kind:
        raise TypeError(f"{what} is {shown(value)}, and should be a {kind.__name__}")


def _imports_of(folder: Path) -> list[str]:
    """The user's own modules that it was trained with; none where that cannot be read,
    which loading the policy complains of.
    """
    try:
        description = read_json(RunFolder(folder).policy / "policy.json", inside=folder)
        settings = description["metadata"]["settings"]
        return [str(name) for name in settings.get("imports", [])]
    except (ValueError, KeyError, TypeError, AttributeError):
        return []


LEARNING = (
    "network",
    "trainer",
    "n_envs",
    "steps",
    "normalize_observations",
    "normalize_rewards",
    "cue",
    "critic_told",
    "critic_first",
)
"""Settings of training besides the task."""
PATHS = ("teacher", "start_from")
"""Those that are paths, which may have the seed in them."""


def learning_settings(settings: Mapping[str, Any]) -> dict[str, Any]:
    """What training seeds of one policy have in common besides the task, by dotted
    name: what concerns it, or all where it or its kind of training is unknown here.
    """
    values = flat({name: settings[name] for name in LEARNING if name in settings})
    for name in PATHS:
        values[name] = settings.get(name) is not None
    policy = settings.get("policy")
    kind = values.get("trainer.kind")
    if policy not in agents() or kind not in ALGORITHMS:
        return values
    matters = concerned(policy, values["teacher"], kind)
    return {name: value for name, value in values.items() if matters(name)}


OF_TASK = {
    "perturb": "--perturb",
    "previous": "--previous",
    "revealed": "--reveal",
    "arguments": "--env-kwargs",
}
"""Attributes of a run that are of its task, and their options."""


def _difference(one: Run, other: Run) -> str:
    """In what two runs differ that should be seeds of one policy; empty where in
    nothing.
    """
    for name, option in OF_TASK.items():
        if getattr(one, name) != getattr(other, name):
            return option
    for name, first in one.learning.items():
        second = other.learning.get(name, first)  # of another version it is unknown
        if second != first:
            option = name.replace("_", "-")
            return f"--{option} ({shown(first)}, {shown(second)})"
    if _sizes(one) != _sizes(other):
        return "the sizes of their networks"
    return ""


def _sizes(run: Run) -> dict[str, tuple[int, ...]]:
    parameters = run.policy.policy.state_dict()
    return {name: tuple(value.shape) for name, value in parameters.items()}


def _check_spaces(run: Run, task: Task) -> None:
    """Raises ValueError unless the policy can observe the task, and act in it."""
    with closing(make_env(task, CLEAN, run.previous, run.revealed)) as env:
        space = env.observation_space
        actions = env.action_space
    known = run.policy.policy.action_space
    boxes = isinstance(known, spaces.Box) and isinstance(actions, spaces.Box)
    if (known.shape != actions.shape) if boxes else (known != actions):
        raise ValueError(
            f"the policy in {run.folder} acts in {known}, but {run.environment} takes "
            f"{actions}"
        )
    expected = run.policy.policy.observation_space.shape
    shape = space.shape
    if shape and is_image_space(space):
        channels_first = (shape[-1], *shape[:-1])
        if channels_first == expected:
            return  # the policy turns pictures itself
    if shape != expected:
        raise ValueError(
            f"the policy in {run.folder} expects observations of shape {expected}, but "
            f"{run.environment} has {shape}"
        )
