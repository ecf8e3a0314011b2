"""Figures out of results on file; each function is a kind of figure that a page can ask for.

They take what tables take. A figure remembers a digest of the rows that it shows.
"""

import hashlib
import io
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from PIL import Image
from PIL.PngImagePlugin import PngInfo

from spikepropamine.common import UsageError, whole_file
from spikepropamine.evaluation.judge.statistics import SHARE
from spikepropamine.evaluation.schema import CLEAN_KEY, Score
from spikepropamine.matrix.rows import CURVE, OBSERVER, Row
from spikepropamine.matrix.tables import of_one_task, once, rows_where, score_of
from spikepropamine.reading import read_bytes
from spikepropamine.report import pictures

ROWS = "rows"  # the name of the digest in a PNG file
CHANCE = 0.5  # of the cue tasks, which have two answers

Panels = dict[str, dict[str, tuple[np.ndarray, np.ndarray]]]  # see `pictures.curves`


def conditions(rows: Sequence[Row], path: Path) -> None:
    """Late accuracy by condition: mean, interval and every seed of each policy."""
    of_one_task(rows)
    groups: dict[str, dict[str, tuple[Score, list[float]]]] = {}
    for (policy, condition), values in _grouped(rows, "condition", "late_accuracy").items():
        groups.setdefault(policy, {})[condition] = score_of(values, SHARE), values
    if not groups:
        raise UsageError("these results do not have late accuracy")
    title = f"{_task(rows)}\nright responses in the second half of an episode, 95 % over seeds"
    pictures.scores(groups, "late accuracy", title, path, CHANCE, OBSERVER)


def trials(rows: Sequence[Row], path: Path) -> None:
    """Accuracy by trial, a panel for each condition: flat where nothing is learned inside an
    episode.
    """
    of_one_task(rows)
    panels: Panels = {}
    for condition, policy in dict.fromkeys((row.condition, row.policy) for row in rows):
        mine = [row for row in rows if (row.condition, row.policy) == (condition, policy)]
        if not all(row.accuracy_by_trial for row in mine):
            raise UsageError(f"the results of {policy} do not have accuracy by trial")
        runs = np.array([row.accuracy_by_trial.split() for row in mine], dtype=float)
        panels.setdefault(condition, {})[policy] = np.arange(1, runs.shape[1] + 1), runs
    title = f"{_task(rows)}\nright responses by trial, mean and every seed"
    pictures.curves(panels, ("trial that asks", "right responses"), title, path, CHANCE, OBSERVER)


def returns(rows: Sequence[Row], path: Path) -> None:
    """Return by environment in the clean task, relative to the best policy's mean there."""
    rows = once([r for r in rows if r.condition == CLEAN_KEY])
    for env in dict.fromkeys(row.env for row in rows):
        of_one_task([row for row in rows if row.env == env])
    grouped = _grouped(rows, "env", "ret")
    best: dict[str, float] = {}
    for (_, env), values in grouped.items():
        best[env] = max(best.get(env, -np.inf), float(np.mean(values)))
    for env, most in best.items():
        if most <= 0:
            raise UsageError(f"{env}: no mean return is above 0, so none can be a share of it")
    groups: dict[str, dict[str, tuple[Score, list[float]]]] = {}
    for (policy, env), values in grouped.items():
        shares = [value / best[env] for value in values]
        groups.setdefault(policy, {})[env] = score_of(shares), shares
    title = "Return, relative to the best mean\n95 % over seeds, and every seed"
    pictures.scores(groups, "return", title, path)


def learning(rows: Sequence[Row], path: Path) -> None:
    """Return of training episodes by steps, a panel for each task; of the policies of which that is
    known of every run.
    """
    panels: Panels = {}
    rows = [row for row in rows if row.condition == CLEAN_KEY and row.seed is not None]
    for task, policy in dict.fromkeys((_task([row]), row.policy) for row in rows):
        mine = [row for row in rows if (_task([row]), row.policy) == (task, policy)]
        if all(row.returns_by_step for row in mine):
            steps = np.mean([row.steps for row in mine]) / 1e6 * np.arange(1, CURVE + 1) / CURVE
            runs = np.array([row.returns_by_step.split() for row in mine], dtype=float)
            panels.setdefault(task, {})[policy] = steps, runs
    if not panels:
        raise UsageError("these results do not have returns by step")
    name = next(iter(panels)) if len(panels) == 1 else "Learning"
    title = f"{name}\nreturn of training episodes by environment steps, mean and every seed"
    pictures.curves(panels, ("million steps", "return"), title, path)


FIGURES = {"conditions": conditions, "trials": trials, "returns": returns, "learning": learning}


def draw(kind: str, files: Sequence[Path], where: Mapping[str, str], path: Path) -> None:
    """Draws a figure of a kind to a PNG file."""
    rows = rows_where(files, **where)
    FIGURES[kind](rows, path)
    with Image.open(io.BytesIO(read_bytes(path))) as image:
        information = PngInfo()
        information.add_text(ROWS, digest(kind, rows))
        with whole_file(path) as part:
            image.save(part, "png", pnginfo=information)


def agrees(kind: str, files: Sequence[Path], where: Mapping[str, str], path: Path) -> bool:
    """Whether a figure is there, is of this kind and shows these very rows."""
    if not path.is_file():
        return False
    with Image.open(io.BytesIO(read_bytes(path))) as image:
        return image.info.get(ROWS) == digest(kind, rows_where(files, **where))


def digest(kind: str, rows: Sequence[Row]) -> str:
    """Of a kind of figure and what rows hold."""
    return hashlib.sha256(repr((kind, rows)).encode()).hexdigest()[:16]


def _grouped(rows: Sequence[Row], axis: str, name: str) -> dict[tuple[str, str], list[float]]:
    found: dict[tuple[str, str], list[float]] = {}
    for row in rows:
        if (value := getattr(row, name)) is not None:
            found.setdefault((row.policy, getattr(row, axis)), []).append(value)
    return found


def _task(rows: Sequence[Row]) -> str:
    return ", ".join(dict.fromkeys(" ".join(filter(None, (r.env, r.setting))) for r in rows))
