"""Copies of the runs of median seeds, which a matrix keeps with their cards."""

import shutil
from collections.abc import Collection, Sequence
from pathlib import Path

import numpy as np
import polars as pl

from spikepropamine.common import whole_folder, write_text
from spikepropamine.evaluation.measures import DIVERGED
from spikepropamine.folder import RunFolder, name_of
from spikepropamine.matrix.cells import Cell
from spikepropamine.matrix.stamp import divergence
from spikepropamine.report.card import card_of
from spikepropamine.report.results import lines_of, main_measure
from spikepropamine.table import read, where


def keep_medians(cells: Sequence[Cell], finished: Collection[Cell], file: Path) -> None:
    """Copies what evaluation needs of the runs of median seeds, each with a card, and
    removes the copies of runs that were the median before.

    Args:
        cells: all of the matrix. Of an environment, setting and policy there is no copy
            before all seeds are finished.
        finished: those that are.
        file: of the results, which has their rows.
    """
    groups = [
        seeds
        for seeds in _seeds_together(cells)
        if all(cell in finished for cell in seeds)
    ]
    if not groups:
        return
    lines = lines_of(read(file))
    for seeds in groups:
        labels = seeds[0].labels
        of_policy = where(
            lines,
            environment=labels.env,
            setting=labels.setting or None,
            policy=labels.policy,
        )
        cell = _median(seeds, of_policy)
        if divergence(cell) is None:
            _keep(cell, where(of_policy, seed=cell.labels.seed))
            _let_go([other for other in seeds if other is not cell])


def _seeds_together(cells: Sequence[Cell]) -> list[list[Cell]]:
    """The cells that are to be kept and evaluated, those that differ in their seed
    alone together.
    """
    groups: dict[tuple[str, ...], list[Cell]] = {}
    for cell in cells:
        if cell.keep is not None and cell.evaluations:
            _, *without_seed = cell.labels
            groups.setdefault(tuple(without_seed), []).append(cell)
    return list(groups.values())


def _median(cells: Sequence[Cell], lines: pl.DataFrame) -> Cell:
    """The cell in the middle by what tells how good a policy is, in the first suite
    that has it; the lower one where there are two. Runs that diverged are the lowest.

    Args:
        cells: that differ in their seed alone.
        lines: of their results.
    """
    value: dict[int, float] = {}
    if lines.height:
        measure, condition = main_measure(lines)
        known = where(lines, condition=condition, lesion=None).drop_nulls(measure.name)
        first = where(known, suite=known["suite"][0])
        own = first.filter(~pl.col(DIVERGED.name))
        value = dict(own.select("seed", measure.name).rows())
    ranked = sorted(cells, key=lambda cell: value.get(cell.labels.seed, -np.inf))
    return ranked[(len(ranked) - 1) // 2]


def _keep(cell: Cell, lines: pl.DataFrame) -> None:
    """Copies the run of a cell, with its card.

    Args:
        cell: whose run is copied.
        lines: of its results.
    """
    assert cell.keep is not None
    copy = RunFolder(cell.root / cell.keep)
    card = card_of(cell.run, lines, name_of(copy.path))
    with whole_folder(copy.path) as new:
        shutil.copytree(cell.run.policy, new / copy.policy.name)
        shutil.copy(cell.run.config, new)
        shutil.copy(cell.run.progress, new)
        write_text(new / copy.card.name, card)


def _let_go(cells: Sequence[Cell]) -> None:
    """Removes the copies of the runs of cells, where there are any: a run without a
    card is no copy, and stays.
    """
    for cell in cells:
        assert cell.keep is not None
        copy = RunFolder(cell.root / cell.keep)
        if copy.card.is_file():
            shutil.rmtree(copy.path)
