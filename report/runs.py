"""The page over all runs of a folder: learning curves, evaluations, videos, links to reports."""

import json
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any
from urllib.parse import quote

import numpy as np
from markupsafe import Markup

from spikepropamine.common import write_text
from spikepropamine.evaluation.ask.runs import learning_settings, task_settings
from spikepropamine.evaluation.judge.statistics import Units
from spikepropamine.evaluation.schema import CLEAN_KEY, Curve, Summary
from spikepropamine.folder import RunFolder
from spikepropamine.progress_csv import RETURN, STEPS, read_progress, value_of
from spikepropamine.reading import Unreadable, read_json, read_yaml
from spikepropamine.report import charts as plots
from spikepropamine.report import page
from spikepropamine.report.page import (
    Cell,
    Plot,
    Plots,
    Section,
    Table,
    Text,
    Videos,
    filled_table,
)
from spikepropamine.report.reading import share_kept
from spikepropamine.report.words import plural, with_interval

MEASURES = {
    RETURN: "return of a training episode",
    "rollout/late_accuracy": "right answers in late trials",
}
GRID = 120  # points of a learning curve
SHOWN_VIDEOS = 12
SKIPPED = {"wandb", "checkpoints", "policy"}


@dataclass(frozen=True)
class TrainingLog:
    """A run folder and what it says of itself: its settings but for the seed, as one text; and the
    columns of progress.csv, as floats.
    """

    folder: Path
    environment: str
    policy: str
    seed: int
    planned: int | None
    settings: str
    columns: Mapping[str, np.ndarray]
    changed: float

    @property
    def steps(self) -> int:
        """Trained so far."""
        return int(self.columns[STEPS][-1]) if self.columns[STEPS].size else 0


def _alike(settings: Mapping[str, Any]) -> str:
    """What runs of one line have in common; what an older version does not know is as if unset."""
    found = task_settings(settings) | learning_settings(settings)
    said = {name: value for name, value in found.items() if value not in (None, [], False)}
    return json.dumps(said, sort_keys=True, default=str)


def write_local(root: Path) -> Path:
    """Makes index.html over the runs in a folder; returns its path.

    Raises:
        ValueError: there is no such folder, or no run in it.
    """
    if not root.is_dir():
        raise ValueError(f"there is no folder {root}")
    runs = find_runs(root)
    if not runs:
        raise ValueError(f"there is no run in {root}: no folder there holds the config.yaml of one")
    path = root / "index.html"
    write_text(path, local(root, runs))
    return path


def find_runs(root: Path) -> list[TrainingLog]:
    """The run folders below a folder, by environment, policy and seed."""
    found = [read_run(folder) for folder in RunFolder.below(root)]
    runs = [run for run in found if run is not None]
    return sorted(runs, key=lambda run: (run.environment, run.policy, str(run.folder)))


def read_run(folder: RunFolder) -> TrainingLog | None:
    """A run folder; None where its config.yaml is of something else.

    progress.csv may be missing, empty or half written.
    """
    try:
        settings = read_yaml(folder.config, inside=folder.path)["settings"]
        environment, policy, seed = (settings[key] for key in ("env", "policy", "seed"))
        planned, rows = settings.get("steps"), read_progress(folder.progress)[1]
    except Unreadable as error:
        print(f"left out: {error}", file=sys.stderr)
        return None
    except (AttributeError, KeyError, TypeError):
        return None
    if not (isinstance(environment, str) and isinstance(policy, str)):
        return None
    progress = folder.progress
    columns = {name: np.array([value_of(r.get(name)) for r in rows]) for name in (STEPS, *MEASURES)}
    newest = progress if progress.is_file() else folder.config
    return TrainingLog(
        folder=folder.path,
        environment=environment,
        policy=policy,
        settings=_alike(settings),
        seed=seed,
        planned=planned if isinstance(planned, int) else None,
        columns=columns,
        changed=newest.stat().st_mtime,
    )


def local(root: Path, runs: Sequence[TrainingLog]) -> str:
    """The page as HTML; links in it are relative to `root`."""
    environments = list(dict.fromkeys(run.environment for run in runs))
    evaluations = sorted(
        _files(root, "summary.json"), key=lambda path: path.stat().st_mtime, reverse=True
    )
    videos = sorted(_files(root, "*.mp4"), key=lambda path: path.stat().st_mtime, reverse=True)
    sections = [_learning(root, runs, environments)]
    sections.append(_evaluations(root, evaluations))
    sections.append(_videos(root, videos))
    sections.append(_runs(root, runs))
    subtitle = (
        f"{plural(len(runs), 'run')} in {plural(len(environments), 'environment')}, "
        f"as of {datetime.now():%Y-%m-%d %H:%M}"
    )
    shown = [section for section in sections if section.blocks]
    return page.render(f"Runs in {root.resolve().name}/", subtitle, shown)


def learning_curve(runs: Sequence[TrainingLog], measure: str) -> Curve | None:
    """Mean over runs by step, with its interval over runs, as everywhere.

    At each step the mean is over the runs that got there.

    Returns:
        None where no run has the measure.
    """
    curves = []
    for run in runs:
        values = run.columns[measure]
        known = np.isfinite(values)
        if known.any():
            curves.append((run.columns[STEPS][known], values[known]))
    if not curves:
        return None
    steps = np.unique(np.concatenate([steps for steps, _ in curves]))
    if len(steps) > GRID:
        steps = np.linspace(steps[0], steps[-1], GRID)
    table = np.array(
        [np.interp(steps, x, y, left=np.nan, right=np.nan) for x, y in curves]
    )  # [runs, points]
    return Units(len(table), 1).curve(steps, table)


def _learning(root: Path, runs: Sequence[TrainingLog], environments: Sequence[str]) -> Section:
    charts = []
    colours: dict[str, int] = {}  # of a policy, the same in all plots
    for environment in environments:
        groups = _groups(root, [run for run in runs if run.environment == environment])
        for measure, title in MEASURES.items():
            accuracy = measure == "rollout/late_accuracy"
            lines = []
            for name, members in groups.items():
                colour = colours.setdefault(name, len(colours))
                curve = learning_curve(members, measure)
                if curve is not None:
                    lines.append(_line(name, colour, len(members), curve, accuracy))
            if lines:
                chart = plots.curves(
                    lines, "environment steps", title, as_percent=accuracy, x_format="~s"
                )
                charts.append(Plot(environment, chart))
    if not charts:
        return Section("Learning", [])
    text = (
        "Means over training seeds, their number in brackets, with 95 % intervals over "
        "seeds; fewer than three have none. Where seeds are at different steps, "
        "the mean is over those that got there."
    )
    return Section("Learning", [Text([text]), Plots(charts)])


def _line(name: str, colour: int, seeds: int, curve: Curve, accuracy: bool) -> plots.Line:
    if seeds > 1:
        name = f"{name} ({seeds})"
    low, high = curve["low"], curve["high"]
    if accuracy:  # a share, and so is its interval
        low = [None if x is None else max(x, 0.0) for x in low]
        high = [None if x is None else min(x, 1.0) for x in high]
    return plots.Line(name, colour, curve["step"], curve["mean"], low, high)


def _groups(root: Path, runs: Sequence[TrainingLog]) -> dict[str, list[TrainingLog]]:
    """Runs that differ in their seed alone, neighbours in one folder, by policy.

    A second group of the same policy has the end of its folder with it that no other has, but for
    the environment and the policy that a plot names anyway.
    """
    alike: dict[tuple[Path, str], list[TrainingLog]] = {}
    for run in runs:
        alike.setdefault((run.folder.parent, run.settings), []).append(run)
    groups: dict[str, list[TrainingLog]] = {}
    for (folder, _), members in alike.items():
        name = policy = members[0].policy
        for place in (folder, members[0].folder):
            known = (policy, members[0].environment)
            inside = place.relative_to(root).parts if place.is_relative_to(root) else ()
            parts = [part for part in inside if part not in known]
            ends = (f"{policy}, {'/'.join(parts[-n:])}" for n in range(1, len(parts) + 1))
            if name in groups:
                name = next((end for end in ends if end not in groups), name)
        groups[name] = members
    return groups


def _evaluation(root: Path, path: Path) -> list[list[Any]]:
    """A row for each policy of a summary."""
    summary: Summary = read_json(path, inside=path.parent)
    report, when = path.with_name("report.html"), path.stat().st_mtime
    name = path.parent.name  # which tells evaluations of one suite apart
    rows = []
    for policy, part in summary["policies"].items():
        late = summary["results"][policy][CLEAN_KEY]["late_accuracy"]
        kept, off = share_kept(summary, policy), share_kept(summary, policy, "off")
        rows.append(
            [
                Cell(f"{datetime.fromtimestamp(when):%Y-%m-%d %H:%M}", when),
                _link(report.relative_to(root), name) if report.is_file() else name,
                summary["settings"]["env"],
                policy,
                ", ".join(map(str, part["training_seeds"])),
                summary["settings"]["episodes"],
                Cell(with_interval(part["clean_return"]), part["clean_return"]["mean"]),
                late and Cell(with_interval(late, as_percent=True), late["mean"]),
                kept and Cell(with_interval(kept, as_percent=True), kept["mean"]),
                off and Cell(with_interval(off, as_percent=True), off["mean"]),
                path.parent.relative_to(root).as_posix(),
            ]
        )
    return rows


def _evaluations(root: Path, summaries: Sequence[Path]) -> Section:
    rows = []
    for path in summaries:
        try:
            rows += _evaluation(root, path)
        except (OSError, ValueError, KeyError, TypeError, AttributeError):
            continue  # gone by now, of another tool, or of an older version
    columns = [
        "made",
        "report",
        "environment",
        "policy",
        "seeds",
        "episodes",
        "return, clean task",
        "late accuracy",
        "return kept",
        "kept, plasticity off",
        "folder",
    ]
    return Section("Evaluations", [filled_table(columns, rows)] if rows else [])


def _videos(root: Path, videos: Sequence[Path]) -> Section:
    relative = [path.relative_to(root) for path in videos]
    shown = {path.with_suffix("").as_posix(): quote(path.as_posix()) for path in relative}
    first = dict(list(shown.items())[:SHOWN_VIDEOS])
    blocks: list[Any] = [Videos(first)] if first else []
    older = relative[SHOWN_VIDEOS:]
    if older:
        rows = [[_link(path, path.as_posix())] for path in older]
        blocks.append(Table(["video"], rows, f"{len(older)} older videos", folded=True))
    return Section("Videos", blocks)


def _runs(root: Path, runs: Sequence[TrainingLog]) -> Section:
    rows = []
    for run in runs:
        returns = run.columns[RETURN]
        returns = returns[np.isfinite(returns)]
        # the last rollout is finished, so that there may be more than were planned
        left = run.planned is not None and run.steps < run.planned
        done = f"{run.steps:,}" + (f" of {run.planned:,}" if left else "")
        rows.append(
            [
                run.environment,
                run.policy,
                run.seed,
                Cell(done, run.steps),
                float(returns[-1]) if returns.size else None,
                float(returns.max()) if returns.size else None,
                Cell(f"{datetime.fromtimestamp(run.changed):%Y-%m-%d %H:%M}", run.changed),
                run.folder.relative_to(root).as_posix(),
            ]
        )
    columns = [
        "environment",
        "policy",
        "seed",
        "steps",
        "return, last",
        "return, best",
        "last change",
        "folder",
    ]
    return Section("Runs", [Table(columns, rows)])


def _files(root: Path, pattern: str) -> list[Path]:
    """Files below a folder, those of wandb and of checkpoints left out."""
    return sorted(
        path
        for path in root.rglob(pattern)
        if path.is_file() and not SKIPPED.intersection(path.relative_to(root).parts[:-1])
    )


def _link(path: Path, text: str) -> Markup:
    return Markup('<a href="{}">{}</a>').format(quote(path.as_posix()), text)
