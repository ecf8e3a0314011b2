"""What finished cells leave: rows of the results table, in one file for each matrix."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from spikepropamine.evaluation.ask.conditions import STANDARD, STANDARD_CONDITIONS
from spikepropamine.evaluation.derived import late_accuracy
from spikepropamine.evaluation.description import Description, read_description
from spikepropamine.evaluation.judge.ideal_observer import ideal_responses
from spikepropamine.evaluation.measures import DIVERGED, EPISODES, measure_named
from spikepropamine.evaluation.tabulation import TOLD
from spikepropamine.folder import STEPS, read_curve, seconds_of
from spikepropamine.matrix.cells import Cell
from spikepropamine.matrix.definition import Labels, Matrix
from spikepropamine.matrix.stamp import divergence
from spikepropamine.reading import read_yaml
from spikepropamine.report.evaluation import EvaluationResults
from spikepropamine.table import COLUMNS, RUN, read, table, where, write

OBSERVER = "ideal observer"
"""Stands in the place of a policy, and has no seed."""
CUE = "CueAssociation-v0"

Row = dict[str, object]


def collect(cells: Sequence[Cell], file: Path) -> int:
    """Puts the rows of finished cells into a file, beside those of other runs in it.

    The ideal observer of cue association is measured anew, on the same episodes; of a
    teacher that is told the context there is what the last of the cells says.

    Args:
        cells: those that are finished.
        file: of the results, which need not be there yet.

    Returns:
        How many rows the cells have.

    Raises:
        UsageError: an evaluation is damaged, or has a measure that is not known.
    """
    if not cells:
        return 0
    before = read(file) if file.is_file() else table()
    after = before
    count = 0
    of_run = pl.col("seed").is_not_null()
    ideal = Ideal()
    for cell in cells:
        rows = rows_of(cell)
        of_runs = rows.filter(of_run)
        count += of_runs.height
        after = _replaced(after, of_runs, RUN)
        observer = observer_rows(cell, ideal)
        after = _replaced(after, observer, (*RUN, "suite", "condition"))
        teacher = rows.filter(~of_run)
        after = _replaced(after, teacher, (*RUN, "suite", "condition"))
    write(file, _sorted(after, before))
    return count


def missing(matrix: Matrix, file: Path) -> list[Labels]:
    """The cells of a matrix, by their labels, that have no rows in a file of results.

    Args:
        matrix: whose cells are meant.
        file: of the results, which need not be there.
    """
    if not file.is_file():
        return matrix.labels()
    runs = read(file).select("seed", "setting", "environment", "policy").unique()
    there = {
        (seed, setting or "", environment, policy)
        for seed, setting, environment, policy in runs.iter_rows()
    }
    return [labels for labels in matrix.labels() if labels not in there]


def rows_of(cell: Cell) -> pl.DataFrame:
    """The rows of a finished cell.

    Returns:
        Facts of its training, and means over the episodes of its evaluations. Of a
        teacher that is told, in the place of its policy: its pace is 1, and what it
        regains can be expected of nobody else. Of a training that diverged: that it
        did, its steps, and how long it took.

    Raises:
        UsageError: an evaluation is damaged, or has a measure that is not known.
    """
    if divergence(cell) is not None:
        return diverged_rows(cell)
    of_run = pl.col("seed").is_not_null()
    every = [evaluated(folder) for folder in cell.results]
    return (
        pl.concat([table(), *every])
        .unique(maintain_order=True)
        .with_columns(
            environment=pl.lit(cell.labels.env),
            setting=pl.lit(cell.labels.setting or None, pl.String),
            policy=pl.when(of_run).then(pl.lit(cell.labels.policy)).otherwise("policy"),
        )
    )


def evaluated(folder: Path) -> pl.DataFrame:
    """The rows of an evaluation that are kept on file, means over its episodes. The
    records of the measures say which are, see `evaluation.measures`. Late accuracy is
    kept, too, since it does not follow from the means where trials have no answer.

    Args:
        folder: of the evaluation.

    Raises:
        UsageError: it is damaged, or has a measure that is not known.
    """
    results = EvaluationResults.read(folder)
    names = results.frame["measure"].unique(maintain_order=True)
    measures = [measure_named(name) for name in names]
    of_runs = [measure.name for measure in measures if measure.on_file]
    of_teacher = [measure.name for measure in measures if measure.on_file_of_teacher]
    is_run = pl.col("seed").is_not_null()
    is_teacher = pl.col("policy") == TOLD
    kept = results.frame.filter(
        (is_run & pl.col("measure").is_in(of_runs))
        | (is_teacher & pl.col("measure").is_in(of_teacher))
    )
    late = late_accuracy(results.frame.filter(is_run), by_episode=True)
    kept = pl.concat([kept, late.drop_nulls("value")])
    keys = [name for name in COLUMNS if name not in ("episode", "value")]
    means = kept.group_by(keys, maintain_order=True).agg(pl.col("value").mean())
    means = means.with_columns(episode=pl.lit(None, pl.Int64)).select(list(COLUMNS))
    counts = where(means, measure="random_return").with_columns(
        measure=pl.lit(EPISODES.name),
        value=pl.lit(float(results.description.episodes)),
    )
    return pl.concat([means, counts])


def diverged_rows(cell: Cell) -> pl.DataFrame:
    """The rows of a cell whose training diverged: `diverged`, and `seconds` where that
    is known. Their steps are those of the last row of its progress.csv.
    """
    steps, _ = read_curve(cell.run.progress, STEPS)
    config = read_yaml(cell.run.config, inside=cell.run.path)
    run: Row = {
        "environment": cell.labels.env,
        "setting": cell.labels.setting,
        "policy": cell.labels.policy,
        "seed": cell.labels.seed,
        "steps": int(steps[-1]) if len(steps) else 0,
        "revision": config["versions"]["revision"],
    }
    rows = [run | {"measure": DIVERGED.name, "value": 1.0}]
    seconds = seconds_of(cell.run.progress)
    if seconds is not None:
        rows.append(run | {"measure": "seconds", "value": seconds})
    return table(rows)


class Ideal:
    """What the ideal observer answers, which the cells of a task share."""

    def __init__(self) -> None:
        self._known: dict[tuple[str, int, int], np.ndarray] = {}

    def responses(
        self, arguments: Mapping[str, Any], first: int, last: int
    ) -> np.ndarray:
        """Whether it is right, as `ideal_responses` has it.

        Args:
            arguments: of the environment.
            first: seed of the first episode.
            last: seed of the last one.
        """
        asked = json.dumps(arguments, sort_keys=True), first, last
        if asked not in self._known:
            self._known[asked] = ideal_responses(arguments, range(first, last + 1))
        return self._known[asked]


def observer_rows(cell: Cell, ideal: Ideal) -> pl.DataFrame:
    """The ideal observer in the place of a cell's policy, under the noise of the
    standard conditions.

    Args:
        cell: that is finished.
        ideal: what the observer answers.
    """
    rows: list[Row] = []
    if divergence(cell) is None:
        for folder in cell.results:
            description = read_description(folder)
            if description.environment == CUE and description.suite == STANDARD:
                rows += _observed(cell, folder, description, ideal)
    return table(rows)


def _observed(
    cell: Cell, folder: Path, description: Description, ideal: Ideal
) -> list[Row]:
    """The rows of the ideal observer in one evaluation."""
    # its name says how the episodes were run, too
    suite = evaluated(folder)["suite"].drop_nulls()[0]
    observer: Row = {
        "environment": cell.labels.env,
        "setting": cell.labels.setting or None,
        "policy": OBSERVER,
        "suite": suite,
    }
    episodes = description.episodes
    noises = {condition.key: condition.noise for condition in STANDARD_CONDITIONS}
    first, last = description.seeds
    rows: list[Row] = []
    for condition in description.conditions:
        if condition.lesion or condition.key not in noises:
            continue
        task = description.env_kwargs | {"noise": noises[condition.key]}
        correct = ideal.responses(task, first, last)
        earned = float((2 * correct - 1).sum(axis=1).mean())
        of_condition = observer | {
            "condition": condition.key,
            "severity": condition.severity,
            "split": condition.split,
        }
        rows.append(of_condition | {"measure": "return", "value": earned})
        for trial, share in enumerate(correct.mean(axis=0)):
            answer = {"measure": "correct", "at": trial, "value": float(share)}
            rows.append(of_condition | answer)
    if rows:
        rows.insert(0, observer | {"measure": EPISODES.name, "value": float(episodes)})
    return rows


def _replaced(
    frame: pl.DataFrame, new: pl.DataFrame, keys: Sequence[str]
) -> pl.DataFrame:
    """New rows at the end, in the place of those with the same keys."""
    others = frame.join(
        new, on=keys, how="anti", nulls_equal=True, maintain_order="left"
    )
    return pl.concat([others, new])


def _sorted(frame: pl.DataFrame, before: pl.DataFrame) -> pl.DataFrame:
    """Rows by environment, setting, policy and seed, in the order in which those before
    have them; what is new comes last.
    """
    every = pl.concat([before, frame])
    order = []
    for axis in ("environment", "setting", "policy"):
        known = pl.Enum(every[axis].fill_null("").unique(maintain_order=True))
        order.append(pl.col(axis).fill_null("").cast(known))
    return frame.sort([*order, "seed"], nulls_last=False, maintain_order=True)
