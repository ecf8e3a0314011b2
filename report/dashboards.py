"""`spikepropamine dashboards` saves the project's workspace in Weights & Biases; with `--local
runs/` it writes a page over all runs of a folder, which needs no account.
"""

import json
import os
import sys
from collections.abc import Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import quote

import numpy as np
from markupsafe import Markup

from spikepropamine.common import CLEAN_KEY, Parser, UsageError, reason, write_text
from spikepropamine.evaluation.ask.runs import learning_settings
from spikepropamine.folder import RESULTS, RETURN, STEPS, RunFolder, read_curve
from spikepropamine.reading import Unreadable, parse_json, read_yaml
from spikepropamine.report import page
from spikepropamine.report.charts import Line
from spikepropamine.report.evaluation import (
    SHARE,
    UNBOUNDED,
    Estimate,
    Evaluation,
    estimate,
)
from spikepropamine.report.html import cell, plotted
from spikepropamine.report.page import Cell, Plots, Section, Table, Text, Videos
from spikepropamine.tracking import PROJECT, check_credentials
from spikepropamine.words import plural

NAME = "Plastic spiking agents"
VIEW = "plasticagents"  # of the workspace, in its address

WORKSPACE = read_yaml(page.FOLDER / "workspace.yaml")


def workspace(entity: str, project: str) -> Any:
    """The `wandb_workspaces.workspaces.Workspace`, not yet saved; needs no network."""
    import wandb_workspaces.reports.v2 as reports
    import wandb_workspaces.workspaces as workspaces

    sections = []
    for name, shown in WORKSPACE.items():
        panels: list[Any] = [
            reports.LinePlot(title=title, x="global_step", metric_regex=f"^{metrics}$")
            for title, metrics in shown["plots"].items()
        ]
        for key in shown.get("tables", ()):
            panels.append(reports.WeavePanelSummaryTable(table_name=key))
        for key in shown.get("media", ()):
            title = key.partition("/")[2].capitalize()
            panels.append(reports.MediaBrowser(title=title, media_keys=[key]))
        sections.append(
            workspaces.Section(name=name, panels=panels, is_open=name != "system")
        )
    return workspaces.Workspace(
        entity=entity, project=project, name=NAME, sections=sections
    )


def save() -> str:
    """Saves the workspace as the one view of the project that has our name; returns its address.
    Raises UsageError: there is no account or no such project, or the server cannot be reached.
    """
    import wandb
    from wandb_workspaces.workspaces import internal

    project = os.environ.get("WANDB_PROJECT", PROJECT)
    check_credentials("online", "a workspace", "--local FOLDER needs none")
    try:
        entity = os.environ.get("WANDB_ENTITY") or wandb.Api().default_entity or ""
        made = workspace(entity, project)
        made._internal_name = internal._url_query_str_to_internal_name(VIEW)
        try:
            made._internal_id = internal.get_view_dict(entity, project, VIEW)["id"]
        except ValueError as error:
            if "Workspace" not in str(error):  # it is the project that is not there
                raise
        made.save()
    except (wandb.Error, OSError, ValueError) as error:
        raise UsageError(f"the workspace cannot be saved: {reason(error)}") from error
    return made.url


LATE = "rollout/late_accuracy"
MEASURES = {
    RETURN: "return of a training episode",
    LATE: "right answers in late trials",
}
GRID = 120  # points of a learning curve
SHOWN_VIDEOS = 12
SKIPPED = {"wandb", "checkpoints", "policy"}
OF_TASK = ("env", "env_kwargs", "perturb", "previous", "reveal")


class TrainingLog(NamedTuple):
    """A run folder and what it says of itself: its settings but for the seed, as one text; steps
    trained so far; and the curves of progress.csv, steps and values.
    """

    folder: Path
    environment: str
    policy: str
    seed: int
    planned: int
    settings: str
    steps: int
    curves: Mapping[str, tuple[np.ndarray, np.ndarray]]


def write_local(root: Path) -> Path:
    """Makes index.html over the runs in a folder, with links relative to it; returns its path.
    Raises UsageError: there is no such folder, or no run in it.
    """
    if not root.is_dir():
        raise UsageError(f"there is no folder {root}")
    if not (runs := find_runs(root)):
        raise UsageError(f"there is no run in {root}: none has the config.yaml of one")
    sections = [
        _learning(root, runs),
        _evaluations(root),
        _videos(root),
        _runs(root, runs),
    ]
    subtitle = f"{plural(len(runs), 'run')}, as of {datetime.now():%Y-%m-%d %H:%M}"
    path = root / "index.html"
    write_text(path, page.render(f"Runs in {root.resolve().name}/", subtitle, sections))
    return path


def find_runs(root: Path) -> list[TrainingLog]:
    """The run folders below a folder, by environment, policy and seed."""
    runs = [
        run for folder in RunFolder.below(root) if (run := read_run(folder)) is not None
    ]
    return sorted(runs, key=lambda run: (run.environment, run.policy, str(run.folder)))


def read_run(folder: RunFolder) -> TrainingLog | None:
    """A run folder; None where its config.yaml is of something else.

    progress.csv may be missing, empty or half written.
    """
    try:
        settings = read_yaml(folder.config, inside=folder.path)["settings"]
        told = [settings[key] for key in ("env", "policy", "seed", "steps")]
        steps = read_curve(folder.progress, STEPS)[0]
        said = {name: settings.get(name) for name in OF_TASK} | learning_settings(
            settings
        )
    except Unreadable as error:
        print(f"left out: {error}", file=sys.stderr)
        return None
    except (AttributeError, KeyError, TypeError):
        return None
    if [type(value) for value in told] != [str, str, int, int]:
        return None
    environment, policy, seed, planned = told
    # what an older version does not know is as if unset
    said = {
        name: value for name, value in said.items() if value not in (None, [], False)
    }
    curves = {name: read_curve(folder.progress, name) for name in MEASURES}
    text = json.dumps(said, sort_keys=True, default=str)
    done = int(steps[-1]) if steps.size else 0
    return TrainingLog(
        folder.path, environment, policy, seed, planned, text, done, curves
    )


def learning_curve(
    runs: Sequence[TrainingLog], measure: str
) -> list[tuple[int, Estimate]]:
    """By step, the mean over the runs that got there, with its interval over runs."""
    curves = [run.curves[measure] for run in runs if run.curves[measure][0].size]
    if not curves:
        return []
    steps = np.unique(np.concatenate([steps for steps, _ in curves]))
    if len(steps) > GRID:
        steps = np.linspace(steps[0], steps[-1], GRID)
    table = np.array(
        [np.interp(steps, x, y, left=np.nan, right=np.nan) for x, y in curves]
    )
    bounds = SHARE if measure == LATE else UNBOUNDED
    found = [
        (int(step), estimate(column[:, None], bounds))
        for step, column in zip(steps, table.T)
    ]
    return [(step, score) for step, score in found if score is not None]


def _learning(root: Path, runs: Sequence[TrainingLog]) -> Section:
    plots = []
    for environment in dict.fromkeys(run.environment for run in runs):
        groups = _groups(root, [run for run in runs if run.environment == environment])
        for measure, title in MEASURES.items():
            lines = []
            for name, members in groups.items():
                if curve := learning_curve(members, measure):
                    label = f"{name} ({len(members)})" if len(members) > 1 else name
                    lines.append(Line(label, members[0].policy, curve))
            how = {"as_percent": measure == LATE, "x_format": "~s"}
            plots += plotted(environment, lines, "environment steps", title, **how)
    text = (
        "Means over training seeds, their number in brackets, with 95 % intervals over seeds. "
        "Where seeds are at different steps, the mean is over those that got there."
    )
    return Section("Learning", [Text([text]), Plots(plots)])


def _groups(root: Path, runs: Sequence[TrainingLog]) -> dict[str, list[TrainingLog]]:
    """Runs that differ in their seed alone, neighbours in one folder, by policy; where there are
    several groups of a policy, with the settings that differ, or with the folder of the first run.
    """
    alike: dict[tuple[Path, str], list[TrainingLog]] = {}
    for run in runs:
        alike.setdefault((run.folder.parent, run.settings), []).append(run)
    groups: dict[str, list[TrainingLog]] = {}
    for members in alike.values():
        policy, folder = (
            members[0].policy,
            members[0].folder.relative_to(root).as_posix(),
        )
        rivals = [of[0].settings for of in alike.values() if of[0].policy == policy]
        own, *others = (
            parse_json(text, "settings") for text in (members[0].settings, *rivals)
        )
        differ = [
            key for of in others for key in of | own if of.get(key) != own.get(key)
        ]
        words = [
            f"{key.rpartition('.')[2]} {own.get(key, '-')}"
            for key in dict.fromkeys(differ)
        ]
        name = ", ".join([policy, *words[:3]])
        groups[f"{name}, {folder}" if name in groups else name] = members
    return groups


def _evaluations(root: Path) -> Section:
    rows = []
    for path in _files(root, RESULTS):
        try:
            found = Evaluation.read(path.parent)
        except UsageError:
            continue  # gone by now, or of another tool
        report, name = path.with_name("report.html"), path.parent.name
        address = quote(report.relative_to(root).as_posix())
        link = (
            Markup('<a href="{}">{}</a>').format(address, name)
            if report.is_file()
            else name
        )
        for policy, seeds in found.policies.items():
            rows.append(
                [_when(path), link, found.asked["environment"], policy]
                + [
                    ", ".join(map(str, seeds)),
                    found.episodes,
                    cell(found.returns(policy)),
                ]
                + [cell(found.measured(policy, CLEAN_KEY, "late accuracy"), True)]
                + [
                    cell(found.overall(policy, lesion), True)
                    for lesion in (None, "off")
                ]
                + [path.parent.relative_to(root).as_posix()]
            )
    columns = ["made", "report", "environment", "policy", "seeds", "episodes", "return, clean task",
               "late accuracy", "return kept", "kept, plasticity off", "folder"]  # fmt: skip
    return Section("Evaluations", [Table(columns, rows)])


def _videos(root: Path) -> Section:
    """The newest ones."""
    paths = [path.relative_to(root) for path in _files(root, "*.mp4")[:SHOWN_VIDEOS]]
    shown = {path.with_suffix("").as_posix(): quote(path.as_posix()) for path in paths}
    return Section("Videos", [Videos(shown)])


def _runs(root: Path, runs: Sequence[TrainingLog]) -> Section:
    rows = []
    for run in runs:
        returns = run.curves[RETURN][1]
        # the last rollout is finished, so that there may be more than were planned
        done = f"{run.steps:,}" + (
            f" of {run.planned:,}" if run.steps < run.planned else ""
        )
        both = (
            [float(returns[-1]), float(returns.max())] if returns.size else [None, None]
        )
        where, changed = run.folder.relative_to(root).as_posix(), _when(run.folder)
        rows.append([run.environment, run.policy, run.seed, Cell(done, run.steps), *both,
                     changed, where])  # fmt: skip
    columns = ["environment", "policy", "seed", "steps", "return, last", "return, best",
               "last change", "folder"]  # fmt: skip
    return Section("Runs", [Table(columns, rows)])


def _files(root: Path, pattern: str) -> list[Path]:
    """Files below a folder, the newest first, those of wandb and of checkpoints left out."""
    found = [
        path
        for path in sorted(root.rglob(pattern))
        if path.is_file()
        and not SKIPPED.intersection(path.relative_to(root).parts[:-1])
    ]
    return sorted(found, key=lambda path: path.stat().st_mtime, reverse=True)


def _when(path: Path) -> Cell:
    time = path.stat().st_mtime
    return Cell(f"{datetime.fromtimestamp(time):%Y-%m-%d %H:%M}", time)


def main(arguments: Sequence[str], program: str = "spikepropamine dashboards") -> int:
    """Runs the command line; returns its exit code."""
    parser = Parser(program, description=__doc__, allow_abbrev=False)
    text = "write FOLDER/index.html: learning curves, evaluations and videos of the runs in it"
    parser.add_argument("--local", type=Path, metavar="FOLDER", help=text)
    options = parser.parse_args(arguments)
    print(save() if options.local is None else write_local(options.local))
    return 0
