"""What finished cells leave, as rows of the results table in one file for each matrix."""

import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from spikepropamine.common import whole_folder, write_text
from spikepropamine.evaluation.ask.conditions import STANDARD, STANDARD_CONDITIONS
from spikepropamine.evaluation.judge.ideal_observer import ideal_responses
from spikepropamine.evaluation.measures import measure_named
from spikepropamine.evaluation.tabulation import TOLD
from spikepropamine.folder import ASKED, RunFolder, name_of
from spikepropamine.matrix.cells import Cell, Matrix
from spikepropamine.reading import read_json
from spikepropamine.report.card import card_of
from spikepropamine.report.evaluation import EvaluationResults
from spikepropamine.report.results import lines_of, main_measure
from spikepropamine.table import COLUMNS, RUN, read, table, where, write

OBSERVER = "ideal observer"  # stands in the place of a policy, and has no seed
CUE = "CueAssociation-v0"
Row = dict[str, Any]


def collect(cells: Sequence[Cell], file: Path) -> int:
    """Puts the rows of finished cells into a file, beside those of other runs that it has; returns
    how many rows the cells have.

    The ideal observer of cue association is measured anew, on the same episodes; of a teacher that
    is told the context there is what the last of the cells says.
    """
    if not cells:
        return 0
    before = read(file) if file.is_file() else table()
    frame, count, own = before, 0, pl.col("seed").is_not_null()
    for cell in cells:
        found = rows_of(cell)
        run, told = (found.filter(is_) for is_ in (own, ~own))
        count += run.height
        frame = pl.concat([_without(frame, run, *RUN), run])
        for others in (observer_rows(cell, frame), told):
            frame = pl.concat(
                [_without(frame, others, *RUN, "suite", "condition"), others]
            )
    labels = pl.concat([before, frame])
    order = []
    for axis in ("environment", "setting", "policy"):  # what is new comes last
        known = pl.Enum(labels[axis].fill_null("").unique(maintain_order=True))
        order.append(pl.col(axis).fill_null("").cast(known))
    write(file, frame.sort([*order, "seed"], nulls_last=False, maintain_order=True))
    return count


def keep_medians(cells: Sequence[Cell], finished: Sequence[Cell], file: Path) -> None:
    """Copies what evaluation needs of the runs of median seeds, each with a card. The file has
    their rows.

    The median is by what tells how good a policy is, in the first suite that has it, the lower one
    where there are two; of an environment, setting and policy there is none before all seeds are
    finished.
    """
    groups: dict[tuple[str, str, str], list[Cell]] = {}
    for cell in cells:
        if cell.keep is not None and cell.evaluations:
            groups.setdefault((cell.env, cell.setting, cell.policy), []).append(cell)
    groups = {
        key: of for key, of in groups.items() if all(cell in finished for cell in of)
    }
    lines = lines_of(read(file)) if groups else pl.DataFrame()
    for (env, setting, policy), of in groups.items():
        own = where(lines, environment=env, setting=setting or None, policy=policy)
        measure, condition = main_measure(own)
        known = where(own, condition=condition, lesion=None).drop_nulls(measure.name)
        first = where(known, suite=known["suite"][0])
        value = dict(first.select("seed", measure.name).rows())
        cell = sorted(of, key=lambda cell: value.get(cell.seed, -np.inf))[
            (len(of) - 1) // 2
        ]
        assert cell.keep is not None
        copy = RunFolder(cell.root / cell.keep)
        card = card_of(cell.run, where(own, seed=cell.seed), name_of(copy.path))
        with whole_folder(copy.path) as new:
            shutil.copytree(cell.run.policy, new / copy.policy.name)
            shutil.copy(cell.run.config, new)
            shutil.copy(cell.run.progress, new)
            write_text(new / copy.card.name, card)


def missing(matrix: Matrix, file: Path) -> list[tuple[int, str, str, str]]:
    """The cells of a matrix, by their labels, that have no rows in a file of results."""
    run = ["seed", "setting", "environment", "policy"]
    rows = read(file).select(run).unique() if file.is_file() else table().select(run)
    there = {(seed, setting or "", *of) for seed, setting, *of in rows.iter_rows()}
    return [labels for labels in matrix.labels() if labels not in there]


def rows_of(cell: Cell) -> pl.DataFrame:
    """Of a finished cell: facts of its training, and the means over the episodes of each of its
    evaluations. Of a teacher that is told, in the place of its policy: its pace is 1, and what it
    regains can be expected of nobody else.
    """
    found = [evaluated(cell.root / folder) for folder in cell.evaluations]
    own = pl.col("seed").is_not_null()
    return (
        pl.concat([table(), *found])
        .unique(maintain_order=True)
        .with_columns(
            environment=pl.lit(cell.env),
            setting=pl.lit(cell.setting or None, pl.String),
            policy=pl.when(own).then(pl.lit(cell.policy)).otherwise("policy"),
        )
    )


def evaluated(folder: Path) -> pl.DataFrame:
    """The rows of an evaluation that are kept, means over its episodes; of a measure that is not
    known nothing is dropped silently. Raises UsageError: there is such a measure.
    """
    results = EvaluationResults.read(folder)
    names = results.frame["measure"].unique(maintain_order=True)
    measures = [measure_named(name) for name in names]
    kept = [measure.name for measure in measures if measure.on_file]
    of_teacher = [measure.name for measure in measures if measure.on_file_of_teacher]
    is_run = pl.col("seed").is_not_null()
    is_teacher = pl.col("policy") == TOLD
    frame = results.frame.filter(
        (is_run & pl.col("measure").is_in(kept))
        | (is_teacher & pl.col("measure").is_in(of_teacher))
    )
    keys = [name for name in COLUMNS if name not in ("episode", "value")]
    means = frame.group_by(keys, maintain_order=True).agg(pl.col("value").mean())
    means = means.with_columns(episode=pl.lit(None, pl.Int64)).select(list(COLUMNS))
    counted = where(means, measure="random_return").with_columns(
        measure=pl.lit("episodes"), value=pl.lit(float(results.description.episodes))
    )
    return pl.concat([means, counted])


def observer_rows(cell: Cell, known: pl.DataFrame) -> pl.DataFrame:
    """The ideal observer in the place of a cell's policy, where that is not known of so many
    episodes.
    """
    rows: list[Row] = []
    noises = {condition.key: condition.noise for condition in STANDARD_CONDITIONS}
    run: Row = {
        "environment": cell.env,
        "setting": cell.setting or None,
        "policy": OBSERVER,
    }
    for folder in cell.evaluations:
        asked = read_json(cell.root / folder / ASKED)
        if asked["environment"] != CUE or asked["suite"] != STANDARD:
            continue
        suite = evaluated(cell.root / folder)["suite"].drop_nulls()[
            0
        ]  # with how it was run
        of, mine = run | {"suite": suite}, where(known, **run, suite=suite)
        seeds = range(asked["seeds"][0], asked["seeds"][1] + 1)
        counted = where(mine, measure="episodes")["value"].to_list()
        old = set(mine["condition"]) if counted == [len(seeds)] else set()
        for condition in asked["conditions"]:
            key = condition["key"]
            if condition["lesion"] is None and key in noises and key not in old:
                correct = ideal_responses(
                    asked["env_kwargs"] | {"noise": noises[key]}, seeds
                )
                at = (
                    of
                    | {"condition": key}
                    | {n: condition[n] for n in ("severity", "split")}
                )
                earned = float((2 * correct - 1).sum(axis=1).mean())
                rows += [of | {"measure": "episodes", "value": len(seeds)}] * (not rows)
                rows.append(at | {"measure": "return", "value": earned})
                rows += [at | {"measure": "correct", "at": trial, "value": float(share)}
                         for trial, share in enumerate(correct.mean(axis=0))]  # fmt: skip
    return table(rows)


def _without(frame: pl.DataFrame, others: pl.DataFrame, *keys: str) -> pl.DataFrame:
    return frame.join(
        others, on=keys, how="anti", nulls_equal=True, maintain_order="left"
    )
