"""What `evaluation.json` says of an evaluation: how its episodes were run, and of whom.

Older files lack what has a default; a file in which something is missing or of another
type is refused.
"""

import dataclasses
import json
import os
import types
import typing
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

from spikepropamine.common import check_known, shown, write_text
from spikepropamine.evaluation.ask.conditions import Condition, Skipped
from spikepropamine.evaluation.run.plan import Evaluated
from spikepropamine.folder import ASKED
from spikepropamine.reading import Unreadable, read_json

Made = TypeVar("Made")


@dataclass(frozen=True)
class DescribedRun:
    """A run that was evaluated."""

    policy: str  # as it is called in this evaluation
    seed: int  # of its training
    steps: int  # of its training
    perturb: str | None  # text of the perturbations of its training; None: none
    folder: str  # of the run, relative to that of the evaluation
    env_kwargs: dict[str, Any] = field(default_factory=dict)  # of its training


@dataclass(frozen=True)
class Description:
    """How an evaluation was made."""

    environment: str  # Gymnasium id
    env_kwargs: dict[str, Any]  # arguments of its constructor
    seeds: tuple[int, int]  # of the first episode and of the last one
    deterministic: bool  # the likeliest actions, or sampled ones
    horizon: int  # steps of an episode at most
    own_limit: bool  # whether that is the task's own limit
    window: int  # steps over which reward rates are averaged
    chance: float | None  # accuracy of guessing; None where there are no trials
    return_range: tuple[float, float] | None  # the least and the most of an episode
    teacher: str | None  # who was told the contexts; None: nobody
    conditions: tuple[Condition, ...]
    runs: tuple[DescribedRun, ...]
    skipped: tuple[Skipped, ...]
    suite: str | None  # None: of single perturbations
    versions: dict[str, str]
    command: tuple[str, ...]  # words of the command line
    # by policy, the settings of training besides the task
    learning: dict[str, dict[str, Any]] = field(default_factory=dict)

    @property
    def episodes(self) -> int:
        """How many episodes each run has in each condition."""
        first, last = self.seeds
        return last - first + 1

    @property
    def suite_or_texts(self) -> str:
        """What stands in the column `suite` of episodes that were run as usual."""
        return self.suite or "perturb"


def described(
    evaluated: Evaluated,
    suite: str | None,
    versions: Mapping[str, str],
    command: list[str],
) -> Description:
    """What is to be said of an evaluation.

    Args:
        evaluated: the episodes that were run.
        suite: its name; None where there are texts alone.
        versions: of the packages.
        command: words of the command line.

    Returns:
        The description; folders of runs are relative to that of the evaluation.
    """
    task = evaluated.task
    teacher = evaluated.teacher
    every = [outcome for of in evaluated.outcomes for outcome in of.values()]
    has_trials = any(outcome["correct"].size for outcome in every)
    applied = {key for of in evaluated.outcomes for key in of}
    return Description(
        environment=task.environment,
        env_kwargs=dict(task.arguments),
        seeds=(evaluated.seeds.start, evaluated.seeds.stop - 1),
        deterministic=evaluated.deterministic,
        horizon=task.horizon,
        own_limit=task.own_limit,
        window=task.window,
        chance=task.chance if has_trials else None,
        return_range=task.return_range,
        teacher=None if teacher is None else f"{teacher.name}, seed {teacher.seed}",
        conditions=tuple(c for c in evaluated.conditions if c.key in applied),
        runs=tuple(
            DescribedRun(
                policy=run.name,
                seed=run.seed,
                steps=run.steps,
                perturb=run.perturb,
                env_kwargs=dict(run.arguments),
                folder=os.path.relpath(run.folder, evaluated.folder),
            )
            for run in evaluated.runs
        ),
        learning={run.name: run.learning for run in evaluated.runs},
        skipped=tuple(evaluated.skipped),
        suite=suite,
        versions=dict(versions),
        command=tuple(command),
    )


def write_description(folder: Path, description: Description) -> None:
    """Writes `evaluation.json`.

    Args:
        folder: of the evaluation.
        description: what was evaluated, and how.

    Raises:
        ValueError: a number is not finite.
    """
    content = dataclasses.asdict(description)
    write_text(folder / ASKED, json.dumps(content, indent=1, allow_nan=False) + "\n")


def read_description(folder: Path) -> Description:
    """What `write_description` wrote.

    Raises:
        Missing: there is no such file.
        Unreadable: it says something else; the message names the file.
    """
    path = folder / ASKED
    content = read_json(path, inside=folder)
    try:
        return parsed(content)
    except ValueError as error:
        raise Unreadable(f"{path} does not describe an evaluation: {error}") from error


def parsed(content: object) -> Description:
    """The description in the plain values of a file. Raises ValueError: something is
    missing, unknown, or of another type.
    """
    return _built(Description, content)


def _built(kind: type[Made], content: object) -> Made:
    """A dataclass out of plain values. Raises ValueError: something is missing,
    unknown, or of another type.
    """
    if not isinstance(content, dict):
        raise ValueError(f"{shown(content)} is no mapping")
    assert dataclasses.is_dataclass(kind)
    fields = {f.name: f for f in dataclasses.fields(kind)}
    hints = typing.get_type_hints(kind)
    for name in content:
        check_known("entry", name, fields, error=ValueError)
    for name, of in fields.items():
        needed = of.default is dataclasses.MISSING
        if needed and of.default_factory is dataclasses.MISSING and name not in content:
            raise ValueError(f"{name} is missing")
    return kind(**{k: _typed(k, value, hints[k]) for k, value in content.items()})


def _typed(name: str, value: object, hint: Any) -> Any:
    """A plain value as a type says; lists become tuples, mappings dataclasses."""
    origin = typing.get_origin(hint) or hint
    parts = typing.get_args(hint)
    if origin is types.UnionType:
        (kind,) = [part for part in parts if part is not type(None)]
        return None if value is None else _typed(name, value, kind)
    if dataclasses.is_dataclass(origin):
        return _built(typing.cast(type, origin), value)
    if origin is tuple and isinstance(value, list):
        if parts[-1] is Ellipsis:
            return tuple(_typed(name, item, parts[0]) for item in value)
        if len(value) == len(parts):
            return tuple(_typed(name, *pair) for pair in zip(value, parts))
    if origin is dict and isinstance(value, dict):
        return {key: _typed(name, item, parts[1]) for key, item in value.items()}
    if hint is Any:
        return value
    if origin is float and isinstance(value, int) and not isinstance(value, bool):
        return value
    if origin in (bool, int, float, str) and type(value) is origin:
        return value
    raise ValueError(f"{name} must be {_words(hint)}, got {shown(value)}")


def _words(hint: Any) -> str:
    kinds = {bool: "true or false", int: "an integer", float: "a number", str: "a text"}
    if hint in kinds:
        return kinds[hint]
    return "a mapping" if typing.get_origin(hint) is dict else "a list"
