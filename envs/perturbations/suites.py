"""Suites: conditions by severity, split into those that training may use and those held out."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from spikepropamine.common import one_line, unknown
from spikepropamine.envs.perturbations.notation import parse
from spikepropamine.reading import read_yaml

SUITES = Path(__file__).parents[2] / "configs" / "suites"
SPLITS = ("train", "held-out")
PERCENT = re.compile(r"\{([\d.]+)%\}")
KEYS = ("severities", "onset", *SPLITS)


@dataclass(frozen=True)
class SuiteCondition:
    """One condition of a suite.

    Attributes:
        name: unique in its suite together with the severity.
        text: for `Perturbed`.
        severity: in [0, 1]; None where the text has a value of its own.
        split: "train" or "held-out".
    """

    name: str
    text: str
    severity: float | None
    split: str


def suite_names() -> list[str]:
    """The suites in `configs/suites/`."""
    return sorted(file.stem for file in SUITES.glob("*.yaml"))


def is_suite(text: str) -> bool:
    """Whether a text is a suite: a name in `configs/suites/`, or the path of a YAML file."""
    return text in suite_names() or text.endswith(".yaml")


def load_suite(
    suite: str | Path, task: str, horizon: int | None = None
) -> tuple[SuiteCondition, ...]:
    """The conditions of a suite for a task.

    A file has `severities` (a list), `train` and `held-out` (each from a condition's name to its
    text, in which {severity} stands for each severity in turn, {onset} for the suite's onset, and
    {50%} for the step half-way through an episode), `severities` and `onset` (a step, or 50%) where
    they are used, and `tasks`: from a task's id to what it has in place of these.

    `suite` is the name of a file there, or the path of a YAML file; `task` a Gymnasium id;
    `horizon` the steps of an episode, None where it has no limit. Raises ValueError where there is
    no such suite, it needs a limit, or its file is wrong; the message says where.
    """
    own = str(suite).endswith(".yaml")
    file = Path(suite) if own else SUITES / f"{suite}.yaml"
    if not own and not file.is_file():
        raise ValueError(unknown("suite", str(suite), suite_names()))
    content = read_yaml(file)
    try:
        tasks = _checked(content, (*KEYS, "tasks"), "").pop("tasks", {})
        for name, changes in _mapping(tasks, "tasks").items():
            _checked(changes, KEYS, f"tasks: {name}")
        return _conditions(content | tasks.get(task, {}), horizon)
    except ValueError as error:
        raise ValueError(f"{file.name}, for {task}: {one_line(error)}") from error


def _conditions(content: Mapping[str, Any], horizon: int | None) -> tuple[SuiteCondition, ...]:
    severities = content.get("severities", [])
    numbers = isinstance(severities, list) and not [
        x for x in severities if isinstance(x, bool) or not isinstance(x, int | float)
    ]
    if not numbers:
        raise ValueError(f"severities must be a list of numbers in [0, 1], got {severities!r}")
    if any(after <= before for before, after in zip([0.0, *severities], severities)):
        raise ValueError(f"severities must rise, and begin above 0, got {severities}")
    onset = content.get("onset")
    if isinstance(onset, str) and PERCENT.fullmatch(f"{{{onset}}}"):
        onset = int(_in_steps(f"{{{onset}}}", horizon))
    if onset is not None and (not isinstance(onset, int) or onset < 0):
        raise ValueError(f"onset must be a step, at least 0, or a percentage, got {onset!r}")
    conditions = []
    for split in SPLITS:
        for name, text in _mapping(content.get(split), split).items():
            if not name:
                raise ValueError(f"{split}: a condition is called by some text")
            if not isinstance(text, str):
                raise ValueError(f"{split}: {name}: a perturbation is a text, got {text!r}")
            for severity in severities if "{severity}" in text else [None]:
                filled = text.replace("{severity}", f"{severity}").replace("{onset}", f"{onset}")
                try:
                    filled = _in_steps(filled, horizon)
                    parse(filled)
                except ValueError as error:
                    raise ValueError(f"{split}: {name}: {error}") from error
                conditions.append(SuiteCondition(name, filled, severity, split))
    names = [f"{c.name} {c.severity}" for c in conditions]
    for what, entries in (("name", names), ("text", [c.text for c in conditions])):
        for entry in entries:
            if entries.count(entry) > 1:
                raise ValueError(f"two conditions have the same {what}: {entry}")
    return tuple(conditions)


def _in_steps(text: str, horizon: int | None) -> str:
    """The text with steps of an episode in the place of percents, as {50%}."""
    if horizon is None and PERCENT.search(text):
        raise ValueError("steps in percent need a task whose episodes have a limit")
    return PERCENT.sub(lambda match: str(round(float(match[1]) / 100 * (horizon or 0))), text)


def _checked(content: Any, keys: tuple[str, ...], where: str) -> dict[str, Any]:
    for key in _mapping(content, where):
        if key not in keys:
            raise ValueError(f"{where}: {unknown('key', str(key), keys)}".removeprefix(": "))
    return content


def _mapping(content: Any, where: str) -> dict[str, Any]:
    if not isinstance(content, dict):
        raise ValueError(f"{where or 'it'} must be a mapping, got {content!r}")
    return content
