"""Results as a CSV file: a row for each run, evaluation and condition."""

import csv
import io
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path
from typing import Any, get_type_hints

import numpy as np

from spikepropamine.common import UsageError, whole_file
from spikepropamine.evaluation.ask.conditions import STANDARD, STANDARD_CONDITIONS
from spikepropamine.evaluation.ask.runs import training_returns
from spikepropamine.evaluation.judge.ideal_observer import ideal_responses
from spikepropamine.evaluation.judge.measures import late_accuracy
from spikepropamine.evaluation.schema import CLEAN_KEY
from spikepropamine.matrix.cells import Cell
from spikepropamine.progress_csv import RETURN, STEPS, read_progress
from spikepropamine.reading import Unreadable, read_json, read_text

OBSERVER = "ideal observer"
"""Stands in the place of a policy, and has no seed."""

TOLD = "teacher, told"
"""Also: what a policy is held against where it has to find out the context."""

CUE = "CueAssociation-v0"
CURVE = 20
"""Points of a learning curve."""

TEXT_COLUMNS = {"ret": "return"}  # which is a keyword


@dataclass(frozen=True, kw_only=True)
class Row:
    """A run in a condition; None, or an empty text, is what there is not.

    Attributes:
        env, setting, policy, seed: of the training, by their labels in the matrix.
        parameters: learned numbers in the actor.
        steps, seconds: of the training; too few seconds where a session was stopped after its first
            row of progress.csv.
        training_return, best_training_return: mean return of training episodes, at its end and at
            its best.
        returns_by_step: the same after each twentieth of the steps, separated by spaces, nan where
            no episode had ended; in the row of the clean task alone.
        suite, condition, severity, split, lesion, episodes: of the evaluation.
        ret: the return, a column named `return`.
        random_return: of random actions.
        retention, late_accuracy: as in `evaluation.schema`.
        settled_pace, opening_over_off, time_to_identify: after the first context of an episode;
            later_settled_pace and regained, after those that begin within it.
        accuracy_by_trial: numbers, separated by spaces.
        revision: of the code that trained.
    """

    env: str
    setting: str = ""
    policy: str
    seed: int | None = None
    parameters: int | None = None
    steps: int | None = None
    seconds: int | None = None
    training_return: float | None = None
    best_training_return: float | None = None
    returns_by_step: str = ""
    suite: str = STANDARD
    condition: str
    severity: float | None = None
    split: str = ""
    lesion: str = ""
    episodes: int | None = None
    ret: float | None = None
    random_return: float | None = None
    retention: float | None = None
    late_accuracy: float | None = None
    accuracy_by_trial: str = ""
    settled_pace: float | None = None
    later_settled_pace: float | None = None
    opening_over_off: float | None = None
    time_to_identify: float | None = None
    regained: float | None = None
    revision: str = ""

    @property
    def run(self) -> tuple[Any, ...]:
        """What the rows of a run have in common."""
        return self.env, self.setting, self.policy, self.seed


COLUMNS = {TEXT_COLUMNS.get(f.name, f.name): f.name for f in fields(Row)}


def read_rows(file: Path) -> list[Row]:
    """The rows of a file; columns that it does not have are empty.

    Raises:
        UsageError: it is not there, or a value in it is none.
    """
    hints = get_type_hints(Row)

    def value(name: str, text: str) -> Any:
        if hints[name] is str:
            return text
        number = int(text) if hints[name] == int | None else float(text)
        if not math.isfinite(number):
            raise ValueError(f"{name} is {text}")
        return number

    try:
        return [
            Row(**{COLUMNS[c]: value(COLUMNS[c], t) for c, t in line.items() if c in COLUMNS and t})
            for line in csv.DictReader(io.StringIO(read_text(file), newline=""))
        ]
    except (ValueError, TypeError, csv.Error) as error:
        if isinstance(error, Unreadable):
            raise
        raise UsageError(f"{file} holds no results: {error}") from error


def write_rows(file: Path, rows: Iterable[Row]) -> None:
    """Writes a whole file."""
    with whole_file(file) as part, part.open("w", newline="") as stream:
        writer = csv.writer(stream, lineterminator="\n")
        writer.writerow(COLUMNS)
        writer.writerows(
            [
                "" if v is None else f"{v:.10g}" if isinstance(v, float) else v
                for v in asdict(row).values()
            ]
            for row in rows
        )


def collect(cells: Sequence[Cell], file: Path) -> int:
    """Puts the rows of finished cells into a file, beside those of other runs that it has.

    The ideal observer of cue association is measured anew, on the same episodes; of a teacher
    that is told the context there is what the last of the cells says.

    Returns:
        How many rows the cells have.
    """
    if not cells:
        return 0
    fresh = [row for cell in cells for row in rows_of(cell)]
    runs = {row.run for row in fresh}
    before = read_rows(file) if file.is_file() else []
    old = [row for row in before if row.run not in runs]
    known: set[Any] = set()
    for cell in cells:
        for row in (*observer_rows(cell, known), *told_rows(cell)):
            known.add((row.run, row.condition, row.episodes))
            same = row.run, row.suite, row.condition  # before, in other episodes
            old = [one for one in old if (one.run, one.suite, one.condition) != same]
            old.append(row)
    rows = [*fresh, *old]
    order = {  # what is new comes last
        axis: {
            label: place
            for place, label in enumerate(dict.fromkeys(getattr(r, axis) for r in [*before, *rows]))
        }
        for axis in ("env", "setting", "policy")
    }
    rows.sort(
        key=lambda row: [
            *(places[getattr(row, axis)] for axis, places in order.items()),
            -1 if row.seed is None else row.seed,
        ]
    )
    write_rows(file, rows)
    return len(fresh)


def rows_of(cell: Cell) -> list[Row]:
    """Of a finished cell."""
    progress = read_progress(cell.run.progress)[1]
    last, best = training_returns(cell.run.path)
    described = read_json(cell.run.policy / "policy.json", inside=cell.run.path)["metadata"]
    curve = learning_curve(progress, described["steps"])
    rows = []
    for folder in cell.evaluations:
        summary = read_json(cell.root / folder / "summary.json")
        (name,) = summary["policies"]
        policy, settings = summary["policies"][name], summary["settings"]
        conditions = {condition["key"]: condition for condition in summary["conditions"]}
        for key, result in summary["results"][name].items():
            condition = conditions[key]
            contexts = result["adaptation"] or {"first": {}}
            first, later = contexts["first"], contexts.get("later") or {}
            trials = result["accuracy_by_trial"] or []
            rows.append(
                Row(
                    env=cell.env,
                    setting=cell.setting,
                    policy=cell.policy,
                    seed=cell.seed,
                    parameters=policy["actor_parameters"],
                    steps=described["steps"],
                    seconds=round(_seconds(progress)),
                    training_return=_rounded(last, 3),
                    best_training_return=_rounded(best, 3),
                    returns_by_step=curve if key == CLEAN_KEY else "",
                    suite=settings["suite"] or "perturb",
                    condition=key,
                    severity=condition["severity"],
                    split=condition["split"] or "",
                    lesion=condition["lesion"] or "",
                    episodes=settings["episodes"],
                    ret=_rounded(result["return"]["mean"], 3),
                    random_return=_rounded(policy["random_return"], 3),
                    retention=_mean(result["retention"]),
                    late_accuracy=_mean(result["late_accuracy"]),
                    accuracy_by_trial=" ".join(f"{trial['mean']:.4g}" for trial in trials),
                    settled_pace=_mean(first.get("settled_pace")),
                    later_settled_pace=_mean(later.get("settled_pace")),
                    opening_over_off=_mean(first.get("opening_over_off")),
                    time_to_identify=_mean(first.get("time_to_identify")),
                    regained=_mean(later.get("regained")),
                    revision=described["versions"]["revision"],
                )
            )
    return rows


def learning_curve(progress: Sequence[Mapping[str, str]], steps: int) -> str:
    """`Row.returns_by_step` of the rows of progress.csv and the steps of the training."""
    known = [[float(row[name]) for name in (STEPS, RETURN)] for row in progress if row.get(RETURN)]
    if not known:
        return ""
    when, returns = np.transpose(known)
    ends = steps * np.arange(1, CURVE + 1) / CURVE
    return " ".join(f"{value:.4g}" for value in np.interp(ends, when, returns, left=np.nan))


def _seconds(progress: Sequence[Mapping[str, str]]) -> float:
    """Of a training, over all its sessions: the clock begins anew with each."""
    clock = [float(row["time/time_elapsed"]) for row in progress if row["time/time_elapsed"]]
    ends = [here for here, after in zip(clock, [*clock[1:], 0.0]) if after < here]
    return sum(ends)


def observer_rows(cell: Cell, known: set[Any]) -> list[Row]:
    """The ideal observer in the place of a cell's policy, where that is not known.

    Args:
        cell: a finished one.
        known: run, condition and episodes of the rows that are there.
    """
    rows = []
    noises = {condition.key: condition.noise for condition in STANDARD_CONDITIONS}
    for folder in cell.evaluations:
        summary = read_json(cell.root / folder / "summary.json")
        settings = summary["settings"]
        if settings["env"] != CUE or settings["suite"] != STANDARD:
            continue
        seeds = range(settings["seeds"][0], settings["seeds"][1] + 1)
        for condition in summary["conditions"]:
            key = condition["key"]
            row = Row(
                env=cell.env,
                setting=cell.setting,
                policy=OBSERVER,
                condition=key,
                severity=condition["severity"],
                episodes=len(seeds),
            )
            new = (row.run, key, row.episodes) not in known
            if condition["lesion"] is None and key in noises and new:
                arguments = settings["env_kwargs"] | {"noise": noises[key]}
                rows.append(replace(row, **observed(arguments, seeds)))
    return rows


def told_rows(cell: Cell) -> list[Row]:
    """The teacher that is told in the place of a cell's policy: its pace is 1, and what it regains
    can be expected of nobody else.
    """
    rows = []
    for folder in cell.evaluations:
        summary = read_json(cell.root / folder / "summary.json")
        for condition in summary["conditions"]:
            teacher = summary["references"].get(condition["key"], {}).get("teacher")
            if teacher is None:
                continue
            first, later = teacher["first"], teacher["later"] or {}
            settled = (part.get("settled_rate") is not None for part in (first, later))
            paces = [1.0 if is_settled else None for is_settled in settled]
            rows.append(
                Row(
                    env=cell.env,
                    setting=cell.setting,
                    policy=TOLD,
                    suite=summary["settings"]["suite"] or "perturb",
                    condition=condition["key"],
                    severity=condition["severity"],
                    split=condition["split"] or "",
                    episodes=summary["settings"]["episodes"],
                    settled_pace=paces[0],
                    later_settled_pace=paces[1],
                    regained=_rounded(later.get("regained"), 4),
                )
            )
    return rows


def observed(arguments: Mapping[str, Any], seeds: Sequence[int]) -> dict[str, Any]:
    """Return, late accuracy and accuracy by trial of the ideal observer."""
    correct = ideal_responses(arguments, seeds).astype(float)
    return {
        "ret": _rounded((2 * correct - 1).sum(axis=1).mean(), 3),
        "late_accuracy": _rounded(late_accuracy(correct, correct.shape[1]).mean(), 4),
        "accuracy_by_trial": " ".join(f"{accuracy:.4g}" for accuracy in correct.mean(axis=0)),
    }


def _mean(score: Mapping[str, Any] | None) -> float | None:
    return None if score is None else _rounded(score["mean"], 4)


def _rounded(value: float | None, digits: int) -> float | None:
    return None if value is None else round(float(value), digits)
