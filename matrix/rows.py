"""What finished cells leave, as rows of the results table in one file for each matrix."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from spikepropamine.evaluation.ask.conditions import STANDARD, STANDARD_CONDITIONS
from spikepropamine.evaluation.ask.runs import training_returns
from spikepropamine.evaluation.judge.ideal_observer import ideal_responses
from spikepropamine.matrix.cells import Cell
from spikepropamine.progress_csv import RETURN, STEPS, read_progress
from spikepropamine.reading import read_json
from spikepropamine.table import COLUMNS, RUN, read, table, where, write

OBSERVER = "ideal observer"
"""Stands in the place of a policy, and has no seed."""
TOLD = "teacher, told"
"""Also: what a policy is held against where it has to find out the context."""
CUE = "CueAssociation-v0"
CURVE = 20
"""Points of a learning curve."""
Row = dict[str, Any]


def collect(cells: Sequence[Cell], file: Path) -> int:
    """Puts the rows of finished cells into a file, beside those of other runs that it has.

    The ideal observer of cue association is measured anew, on the same episodes; of a teacher
    that is told the context there is what the last of the cells says.

    Returns:
        How many rows the cells have.
    """
    if not cells:
        return 0
    before = read(file) if file.is_file() else table()
    frame, count = before, 0
    for cell in cells:
        run = rows_of(cell)
        count += run.height
        frame = pl.concat([_without(frame, run, *RUN), run])
        for others in (observer_rows(cell, frame), references(cell)):
            frame = pl.concat([_without(frame, others, *RUN, "suite", "condition"), others])
    labels = pl.concat([before, frame])
    order = []
    for axis in ("environment", "setting", "policy"):  # what is new comes last
        found = labels[axis].fill_null("").unique(maintain_order=True)
        place = dict(zip(found, range(len(found))))
        order.append(pl.col(axis).fill_null("").replace_strict(place, return_dtype=pl.Int64))
    write(file, frame.sort([*order, "seed"], nulls_last=False, maintain_order=True))
    return count


def rows_of(cell: Cell) -> pl.DataFrame:
    """Of a finished cell: facts of its training, and the means over the episodes of each of its
    evaluations.
    """
    progress = read_progress(cell.run.progress)[1]
    last, best = training_returns(cell.run.path)
    metadata = read_json(cell.run.policy / "policy.json", inside=cell.run.path)["metadata"]
    of: Row = {
        "environment": cell.env, "setting": cell.setting, "policy": cell.policy, "seed": cell.seed,
        "steps": metadata["steps"], "revision": metadata["versions"]["revision"],
    }  # fmt: skip
    facts = {"seconds": round(_seconds(progress)), "training_return": last,
             "best_training_return": best}  # fmt: skip
    rows = [of | {"measure": name, "value": value} for name, value in facts.items()
            if value is not None]  # fmt: skip
    rows += [of | {"measure": "training_return", "at": at, "value": value}
             for at, value in learning_curve(progress, metadata["steps"]).items()]  # fmt: skip
    frames = [table(rows)]
    for folder in cell.evaluations:
        found = evaluated(cell.root / folder).filter(pl.col("seed").is_not_null())
        frames.append(found.with_columns(_literal(of)).select(list(COLUMNS)))
    return pl.concat(frames).unique(maintain_order=True)


def evaluated(folder: Path) -> pl.DataFrame:
    """The rows of an evaluation, means over its episodes."""
    frame = _of_summary(read_json(folder / "summary.json"))
    keys = [name for name in COLUMNS if name not in ("episode", "value")]
    means = frame.group_by(keys, maintain_order=True).agg(pl.col("value").mean())
    return means.with_columns(episode=pl.lit(None, pl.Int64)).select(list(COLUMNS))


def _of_summary(summary: Mapping[str, Any]) -> pl.DataFrame:
    ((name, policy),) = summary["policies"].items()
    settings = summary["settings"]
    base: Row = {"environment": settings["env"], "suite": settings["suite"] or "perturb",
                 "policy": name, "seed": 0}  # fmt: skip
    rows = [{name: base[name] for name in ("environment", "policy", "seed")}
            | {"measure": "parameters", "value": policy["actor_parameters"]}]  # fmt: skip
    for measure, value in (
        ("episodes", settings["episodes"]),
        ("random_return", policy["random_return"]),
        ("learned", float(bool(policy["learned"]))),
    ):
        rows.append(base | {"measure": measure, "value": value})
    conditions = {condition["key"]: condition for condition in summary["conditions"]}
    for key, result in summary["results"][name].items():
        at = base | _condition(conditions[key])
        contexts = result["adaptation"] or {"first": {}}
        first, later = contexts["first"], contexts.get("later") or {}
        values = {
            "return": result["return"],
            "settled_pace": first.get("settled_pace"),
            "later_settled_pace": later.get("settled_pace"),
            "opening_over_off": first.get("opening_over_off"),
            "time_to_identify": first.get("time_to_identify"),
            "regained": later.get("regained"),
        }
        rows += [
            at | {"measure": n, "value": score["mean"]} for n, score in values.items() if score
        ]
        rows += [at | {"measure": "correct", "at": trial, "value": score["mean"]}
                 for trial, score in enumerate(result["accuracy_by_trial"] or [])]  # fmt: skip
    return table(rows)


def _condition(condition: Mapping[str, Any]) -> Row:
    return {"condition": condition["key"]} | {
        n: condition[n] for n in ("lesion", "severity", "split")
    }


def learning_curve(progress: Sequence[Mapping[str, str]], steps: int) -> dict[int, float]:
    """The return of training episodes after each twentieth of the steps, by step, from where the
    first episode had ended; of the rows of progress.csv.
    """
    known = [[float(row[name]) for name in (STEPS, RETURN)] for row in progress if row.get(RETURN)]
    if not known:
        return {}
    when, returns = np.transpose(known)
    ends = np.round(steps * np.arange(1, CURVE + 1) / CURVE).astype(int)
    return dict(
        zip(
            ends[ends >= when[0]].tolist(), np.interp(ends[ends >= when[0]], when, returns).tolist()
        )
    )


def _seconds(progress: Sequence[Mapping[str, str]]) -> float:
    """Of a training, over all its sessions: the clock begins anew with each."""
    clock = [float(row["time/time_elapsed"]) for row in progress if row["time/time_elapsed"]]
    return sum(here for here, after in zip(clock, [*clock[1:], 0.0]) if after < here)


def observer_rows(cell: Cell, known: pl.DataFrame) -> pl.DataFrame:
    """The ideal observer in the place of a cell's policy, where that is not known of so many
    episodes.
    """
    rows: list[Row] = []
    noises = {condition.key: condition.noise for condition in STANDARD_CONDITIONS}
    of: Row = {
        "environment": cell.env,
        "setting": cell.setting,
        "suite": STANDARD,
        "policy": OBSERVER,
    }
    mine = where(known, environment=cell.env, setting=cell.setting or None, policy=OBSERVER)
    for folder in cell.evaluations:
        summary = read_json(cell.root / folder / "summary.json")
        settings = summary["settings"]
        if settings["env"] != CUE or settings["suite"] != STANDARD:
            continue
        seeds = range(settings["seeds"][0], settings["seeds"][1] + 1)
        counted = where(mine, measure="episodes")["value"].to_list()
        old = set(mine["condition"]) if counted == [len(seeds)] else set()
        for condition in summary["conditions"]:
            key = condition["key"]
            if condition["lesion"] is None and key in noises and key not in old:
                correct = observed(settings["env_kwargs"] | {"noise": noises[key]}, seeds)
                at = of | _condition(condition)
                earned = float((2 * correct - 1).sum(axis=1).mean())
                rows += [of | {"measure": "episodes", "value": len(seeds)}] * (not rows)
                rows.append(at | {"measure": "return", "value": earned})
                rows += [at | {"measure": "correct", "at": trial, "value": float(share)}
                         for trial, share in enumerate(correct.mean(axis=0))]  # fmt: skip
    return table(rows)


def observed(arguments: Mapping[str, Any], seeds: Sequence[int]) -> np.ndarray:
    """Whether the ideal observer is right, [episodes, trials]."""
    return ideal_responses(arguments, seeds).astype(float)


def references(cell: Cell) -> pl.DataFrame:
    """The teacher that is told in the place of a cell's policy: its pace is 1, and what it regains
    can be expected of nobody else.
    """
    rows: list[Row] = []
    for folder in cell.evaluations:
        summary = read_json(cell.root / folder / "summary.json")
        of: Row = {"environment": cell.env, "setting": cell.setting, "policy": TOLD,
                   "suite": summary["settings"]["suite"] or "perturb"}  # fmt: skip
        for condition in summary["conditions"]:
            teacher = summary["references"].get(condition["key"], {}).get("teacher")
            if teacher is None:
                continue
            first, later = teacher["first"], teacher["later"] or {}
            for measure, value in (
                ("settled_pace", None if first.get("settled_rate") is None else 1.0),
                ("later_settled_pace", None if later.get("settled_rate") is None else 1.0),
                ("regained", later.get("regained")),
            ):
                if value is not None:
                    rows.append(of | _condition(condition) | {"measure": measure, "value": value})
    return table(rows)


def _without(frame: pl.DataFrame, others: pl.DataFrame, *keys: str) -> pl.DataFrame:
    return frame.join(others, on=keys, how="anti", nulls_equal=True, maintain_order="left")


def _literal(of: Row) -> list[pl.Expr]:
    return [pl.lit(value if value != "" else None, COLUMNS[n]).alias(n) for n, value in of.items()]
