"""`spikepropamine dashboards` saves the project's workspace in Weights & Biases; with
`--local runs/` it writes a page over all runs of a folder, and with `--live runs/` it
shows that page while runs go on. These need no account.
"""

import json
import os
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import quote

import numpy as np
from markupsafe import Markup

from spikepropamine.common import (
    CLEAN_KEY,
    Parser,
    UsageError,
    reason,
    require,
    write_text,
)
from spikepropamine.evaluation.ask.runs import learning_settings
from spikepropamine.evaluation.measure import SHARE, UNBOUNDED
from spikepropamine.evaluation.measures import MEASURES
from spikepropamine.folder import ASKED, RESULTS, RETURN, STEPS, RunFolder, read_curve
from spikepropamine.reading import Unreadable, parse_json, read_yaml
from spikepropamine.report import page
from spikepropamine.report.cells import cell
from spikepropamine.report.charts import Axes, Line
from spikepropamine.report.columns import Column
from spikepropamine.report.estimates import Estimate, estimate
from spikepropamine.report.evaluation import EvaluationResults
from spikepropamine.report.page import Cell, Plots, Section, Table, Text, Videos
from spikepropamine.report.plots import plotted
from spikepropamine.tracking import PROJECT, check_credentials
from spikepropamine.words import plural

NAME = "Plastic spiking agents"
VIEW = "plasticagents"  # of the workspace, in its address

WORKSPACE = read_yaml(page.FOLDER / "workspace.yaml")


def workspace(entity: str, project: str) -> Any:
    """The `wandb_workspaces.workspaces.Workspace`, not yet saved; needs no network.

    Args:
        entity: user or team in Weights & Biases.
        project: its project.
    """
    import wandb_workspaces.reports.v2 as interface
    import wandb_workspaces.workspaces as workspaces

    reports: Any = interface  # what it has is named at run time

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
    """Saves the workspace as the one view of the project that has our name.

    Returns:
        Its address.

    Raises:
        UsageError: there is no account or no such project, or the server cannot be
            reached.
    """
    require("wandb_workspaces", "wandb", "a workspace")
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
    return str(made.url)


LATE = "rollout/late_accuracy"
SHOWN = {
    RETURN: "return of a training episode",
    LATE: MEASURES["late_accuracy"].of_axis,
}
"""Columns of progress.csv, and what they are."""
GRID = 120  # points of a learning curve
SHOWN_VIDEOS = 12
LONG = 24  # letters of a name from which on plots stand one below the other
SKIPPED = {"wandb", "checkpoints", "policy"}
REPORT = "report.html"
Say = Callable[[str], None]
"""Prints a line."""
OF_RUN = [str, str, int, int]  # types of environment, policy, seed and steps
OF_TASK = ("env", "env_kwargs", "perturb", "previous", "reveal")


@dataclass(frozen=True)
class TrainingLog:
    """A run folder, and what it says of itself."""

    folder: Path
    environment: str
    policy: str
    seed: int
    planned: int  # steps
    settings: str  # all but the seed, as one text
    steps: int  # trained so far
    curves: Mapping[str, tuple[np.ndarray, np.ndarray]]  # steps and values, by name


def write_local(root: Path) -> Path:
    """Makes index.html over the runs in a folder, with links relative to it.

    Returns:
        The path of the page.

    Raises:
        UsageError: there is no such folder, or no run in it, or the extra `pages` is
            missing.
    """
    require("vl_convert", "pages", "the page over runs")
    if not root.is_dir():
        raise UsageError(f"there is no folder {root}")
    left_out: list[str] = []
    if not find_runs(root, left_out.append):
        why = "none has the config.yaml of one"
        if left_out:
            more = len(left_out) - 1
            why = left_out[0] + (f", and {more} more" if more else "")
        raise UsageError(f"there is no run in {root}: {why}")
    path = root / "index.html"
    write_text(path, local_page(root))
    return path


def _say(line: str) -> None:
    print(line, file=sys.stderr)


def local_page(root: Path, version: str = "", say: Say = _say) -> str:
    """The page over the runs in a folder, HTML.

    Args:
        root: the folder.
        version: of a page that is served and follows its files; empty: it does not.
        say: is called with a line on each file that is left out.

    Raises:
        UsageError: the extra `pages` is missing.
    """
    require("vl_convert", "pages", "the page over runs")
    runs = find_runs(root, say)
    sections = [
        _learning(root, runs),
        _evaluations(root, say),
        _videos(root),
        _runs(root, runs),
    ]
    subtitle = f"{plural(len(runs), 'run')}, as of {datetime.now():%Y-%m-%d %H:%M}"
    title = f"Runs in {root.resolve().name}/"
    return page.render(title, subtitle, sections, version)


def find_runs(root: Path, say: Say = _say) -> list[TrainingLog]:
    """The run folders below a folder, by environment, policy and seed.

    Args:
        root: the folder.
        say: is called with a line on each run that is left out.
    """
    every = [read_run(folder, say) for folder in RunFolder.below(root)]
    runs = [run for run in every if run is not None]
    return sorted(runs, key=lambda run: (run.environment, run.policy, str(run.folder)))


def read_run(folder: RunFolder, say: Say = _say) -> TrainingLog | None:
    """A run folder; None where its config.yaml is of something else.

    progress.csv may be missing, empty or half written.

    Args:
        folder: of the run.
        say: is called with a line where the run is left out.
    """
    try:
        settings = read_yaml(folder.config, inside=folder.path)["settings"]
        environment = settings["env"]
        policy = settings["policy"]
        seed = settings["seed"]
        planned = settings["steps"]
        if [type(x) for x in (environment, policy, seed, planned)] != OF_RUN:
            return None
        shared = {name: settings.get(name) for name in OF_TASK}
        shared |= learning_settings(settings)
        steps, _ = read_curve(folder.progress, STEPS)
    except Unreadable as error:
        say(f"left out: {error}")
        return None
    except (AttributeError, KeyError, TypeError):
        return None
    # what an older version does not know is as if unset
    given = {
        name: value for name, value in shared.items() if value not in (None, [], False)
    }
    return TrainingLog(
        folder=folder.path,
        environment=environment,
        policy=policy,
        seed=seed,
        planned=planned,
        settings=json.dumps(given, sort_keys=True, default=str),
        steps=int(steps[-1]) if steps.size else 0,
        curves={name: read_curve(folder.progress, name) for name in SHOWN},
    )


def learning_curve(
    runs: Sequence[TrainingLog], measure: str
) -> list[tuple[int, Estimate]]:
    """A learning curve: by step, the mean over the runs that got there, with its
    interval.

    Args:
        runs: of one policy.
        measure: a column of progress.csv, one of `SHOWN`.
    """
    curves = [run.curves[measure] for run in runs if run.curves[measure][0].size]
    if not curves:
        return []
    steps = np.unique(np.concatenate([steps for steps, _ in curves]))
    if len(steps) > GRID:
        steps = np.linspace(steps[0], steps[-1], GRID)
    by_run = np.array(
        [np.interp(steps, x, y, left=np.nan, right=np.nan) for x, y in curves]
    )
    bounds = SHARE if measure == LATE else UNBOUNDED
    points = []
    for step, values in zip(steps, by_run.T):
        score = estimate(values[:, None], bounds)
        if score is not None:
            points.append((int(step), score))
    return points


def _learning(root: Path, runs: Sequence[TrainingLog]) -> Section:
    """Learning curves of all runs, a plot for each environment and measure."""
    plots = []
    longest = 0
    for environment in dict.fromkeys(run.environment for run in runs):
        groups = _groups(root, [run for run in runs if run.environment == environment])
        for measure, title in SHOWN.items():
            axes = Axes(
                "environment steps", title, as_percent=measure == LATE, x_format="~s"
            )
            lines = []
            for name, members in groups.items():
                curve = learning_curve(members, measure)
                if curve:
                    label = f"{name} ({len(members)})" if len(members) > 1 else name
                    longest = max(longest, len(label))
                    lines.append(Line(label, members[0].policy, curve))
            plots += plotted(environment, axes, lines)
    text = (
        "Means over training seeds, their number in brackets, with 95 % intervals over "
        "seeds. Where seeds are at different steps, the mean is over those that got "
        "there."
    )
    return Section("Learning", [Text([text]), Plots(plots, wide=longest > LONG)])


def _groups(root: Path, runs: Sequence[TrainingLog]) -> dict[str, list[TrainingLog]]:
    """Runs that differ in their seed alone, neighbours in one folder, by policy; where
    there are several groups of a policy, with the settings that differ, or with the
    folder of the first run.
    """
    alike: dict[tuple[Path, str], list[TrainingLog]] = {}
    for run in runs:
        alike.setdefault((run.folder.parent, run.settings), []).append(run)
    groups: dict[str, list[TrainingLog]] = {}
    for members in alike.values():
        first = members[0]
        rivals = [of[0] for of in alike.values() if of[0].policy == first.policy]
        name = ", ".join([first.policy, *_differences(first, rivals)[:3]])
        if name in groups:
            name = f"{name}, {first.folder.relative_to(root).as_posix()}"
        groups[name] = members
    return groups


def _differences(run: TrainingLog, rivals: Sequence[TrainingLog]) -> list[str]:
    """The settings of a run that others have not, in words, each once."""
    settings = parse_json(run.settings, "settings")
    names: dict[str, None] = {}
    for rival in rivals:
        others = parse_json(rival.settings, "settings")
        for name in others | settings:
            if others.get(name) != settings.get(name):
                names[name] = None
    return [f"{name.rpartition('.')[2]} {settings.get(name, '-')}" for name in names]


class EvaluatedPolicy(NamedTuple):
    """A row of the table of evaluations."""

    path: Path  # of the results table
    results: EvaluationResults
    policy: str


def _evaluations(root: Path, say: Say) -> Section:
    """A table of all evaluations below a folder, a row for each policy."""
    rows = []
    for path in _files(root, RESULTS):
        if not path.with_name(ASKED).is_file():
            continue  # of another tool
        try:
            results = EvaluationResults.read(path.parent)
        except UsageError as error:  # gone by now, or damaged
            say(f"left out: {error}")
            continue
        rows += [EvaluatedPolicy(path, results, policy) for policy in results.policies]

    def report(row: EvaluatedPolicy) -> str:
        file = row.path.with_name(REPORT)
        if not file.is_file():
            return row.path.parent.name
        address = quote(file.relative_to(root).as_posix())
        return Markup('<a href="{}">{}</a>').format(address, row.path.parent.name)

    def late_accuracy(row: EvaluatedPolicy) -> Cell | None:
        score = row.results.measured(row.policy, CLEAN_KEY, "late_accuracy")
        return cell(score, as_percent=True)

    def kept(lesion: str | None) -> Callable[[EvaluatedPolicy], Cell | None]:
        return lambda row: cell(row.results.overall(row.policy, lesion), True)

    columns: list[Column[EvaluatedPolicy]] = [
        Column("made", lambda row: _when(row.path)),
        Column("report", report),
        Column("environment", lambda row: row.results.description.environment),
        Column("policy", lambda row: row.policy),
        Column(
            "seeds", lambda row: ", ".join(map(str, row.results.policies[row.policy]))
        ),
        Column("episodes", lambda row: row.results.description.episodes),
        Column("return, clean task", lambda row: cell(row.results.returns(row.policy))),
        Column("late accuracy", late_accuracy),
        Column("return kept", kept(None)),
        Column("kept, plasticity off", kept("off")),
        Column("folder", lambda row: _place(root, row.path.parent)),
    ]
    return Section("Evaluations", [Table(columns, rows)])


def _videos(root: Path) -> Section:
    """The newest videos below a folder."""
    paths = [path.relative_to(root) for path in _files(root, "*.mp4")[:SHOWN_VIDEOS]]
    shown = {path.with_suffix("").as_posix(): quote(path.as_posix()) for path in paths}
    return Section("Videos", [Videos(shown)])


def _runs(root: Path, runs: Sequence[TrainingLog]) -> Section:
    """A table of all runs: how far they are, and what they earned last."""

    def steps(run: TrainingLog) -> Cell:
        # the last rollout is finished, so that there may be more than were planned
        if run.steps < run.planned:
            return Cell(f"{run.steps:,} of {run.planned:,}", run.steps)
        return Cell(f"{run.steps:,}", run.steps)

    def last_return(run: TrainingLog) -> float | None:
        _, returns = run.curves[RETURN]
        return float(returns[-1]) if returns.size else None

    def best_return(run: TrainingLog) -> float | None:
        _, returns = run.curves[RETURN]
        return float(returns.max()) if returns.size else None

    columns: list[Column[TrainingLog]] = [
        Column("environment", lambda run: run.environment),
        Column("policy", lambda run: run.policy),
        Column("seed", lambda run: run.seed),
        Column("steps", steps),
        Column("return, last", last_return),
        Column("return, best", best_return),
        Column("last change", lambda run: _when(run.folder)),
        Column("folder", lambda run: _place(root, run.folder)),
    ]
    return Section("Runs", [Table(columns, runs)])


def _files(root: Path, pattern: str) -> list[Path]:
    """Files below a folder, the newest first, those of wandb and of checkpoints left
    out.
    """
    files = []
    for path in sorted(root.rglob(pattern)):
        folders = path.relative_to(root).parts[:-1]
        if path.is_file() and not SKIPPED.intersection(folders):
            files.append(path)
    return sorted(files, key=lambda path: path.stat().st_mtime, reverse=True)


def _place(root: Path, folder: Path) -> Markup:
    """A folder below another one; code, so that it may be broken into lines."""
    return Markup("<code>{}</code>").format(folder.relative_to(root).as_posix())


def _when(path: Path) -> Cell:
    """When a file or folder was last changed."""
    time = path.stat().st_mtime
    return Cell(f"{datetime.fromtimestamp(time):%Y-%m-%d %H:%M}", time)


def main(arguments: Sequence[str], program: str = "spikepropamine dashboards") -> int:
    """Runs the command line; returns its exit code."""
    parser = Parser(program, description=__doc__, allow_abbrev=False)
    parser.add_argument(
        "--local",
        type=Path,
        metavar="FOLDER",
        help="write FOLDER/index.html: learning curves, evaluations and videos of the "
        "runs in it",
    )
    parser.add_argument(
        "--live",
        type=Path,
        metavar="FOLDER",
        help="serve the same page on this machine, and make it anew while runs go on, "
        "until Ctrl-C",
    )
    parser.add_argument(
        "--port",
        type=int,
        default=0,
        help="of --live; 0: any that is free (%(default)s)",
    )
    options = parser.parse_args(arguments)
    if options.live is not None:
        from spikepropamine.report.live import serve

        serve(options.live, options.port)
    elif options.local is not None:
        print(write_local(options.local))
    else:
        print(save())
    return 0
