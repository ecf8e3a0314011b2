"""What a matrix ends with: a table, a figure and a report of the runs in its file of
results.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import polars as pl

from spikepropamine import power, statistics
from spikepropamine.common import CLEAN_KEY, UsageError, write_text
from spikepropamine.evaluation.measure import Measure
from spikepropamine.evaluation.measures import DIVERGED, telling
from spikepropamine.matrix.definition import Matrix
from spikepropamine.report import figures, page
from spikepropamine.report.cells import cell
from spikepropamine.report.charts import Axes, Chart, Line
from spikepropamine.report.columns import Column, markdown
from spikepropamine.report.contrasts import Contrast
from spikepropamine.report.estimates import (
    Comparison,
    Estimate,
    corrected,
    estimate,
)
from spikepropamine.report.page import Plots, Section, Table, Text
from spikepropamine.report.plots import plotted
from spikepropamine.report.results import (
    groups,
    has,
    lines_of,
    main_measure,
    task_name,
    values_of,
)
from spikepropamine.statistics import FEWEST, Difference
from spikepropamine.table import TASK, read, where
from spikepropamine.words import p_value, plural, with_interval

REPORT = "report.html"
FIGURE = "figure.png"
KINDS = (figures.learning, figures.conditions, figures.returns)
"""Of figures; the first one for which the results suffice is drawn."""
FEWEST_COMPARED = 2
"""Runs of a policy between which there is a difference with an interval."""

Show = Callable[[Estimate | Difference | None, bool], object]
"""Makes a cell of a number with its interval, which may be a share, or of none."""


@dataclass(frozen=True)
class TaskResults:
    """What tells most about the policies of a task: one value for each run."""

    task: str
    measure: Measure
    condition: str
    values: Mapping[str, np.ndarray]
    """By policy, float64 [runs]. A run that diverged has the worst value of all."""
    runs: Mapping[str, int]
    """By policy, how many have a value; an ideal observer or a teacher has none."""
    without_plasticity: Mapping[str, np.ndarray]
    """The same weights with plasticity off; empty of a policy that has none."""
    diverged: Mapping[str, int]
    """By policy, how many more runs diverged."""


@dataclass(frozen=True)
class Standing:
    """A policy in a task."""

    results: TaskResults
    policy: str

    def score(self, values: Mapping[str, np.ndarray]) -> Estimate | None:
        """The mean over runs of values by policy; None where there are none."""
        of_policy = values.get(self.policy, np.array([]))
        return estimate(of_policy[:, None], self.results.measure.bounds)


@dataclass(frozen=True)
class PlannedComparison:
    """A contrast in a task."""

    results: TaskResults
    contrast: Contrast
    comparison: Comparison | None
    """None where one of the two has fewer than `FEWEST_COMPARED` runs."""


def results_by_task(frame: pl.DataFrame) -> list[TaskResults]:
    """What tells most about the policies, task by task.

    Args:
        frame: rows of results.

    Raises:
        UsageError: a run is there twice, or nothing tells how good the policies are.
    """
    results = []
    for task, of_task in groups(lines_of(frame), *TASK):
        measure, condition = main_measure(of_task)
        known = of_task.drop_nulls(measure.name)
        intact = where(known, condition=condition, lesion=None)
        suite = intact["suite"][0]  # the first that has it
        intact = where(intact, suite=suite)
        of_runs = intact.drop_nulls("seed")
        keys = [f"{condition} [off]"]
        if condition == CLEAN_KEY:
            keys.append("plasticity-off")
        off = where(known, condition=keys, lesion="off", suite=suite)
        results.append(
            TaskResults(
                task=task_name(task),
                measure=measure,
                condition=condition,
                values=_by_policy(intact, measure),
                runs=_count(of_runs.filter(~pl.col(DIVERGED.name))),
                without_plasticity=_by_policy(off, measure),
                diverged=_count(of_runs.filter(DIVERGED.name)),
            )
        )
    return results


def _count(lines: pl.DataFrame) -> dict[str, int]:
    """How many lines there are, by policy."""
    return dict(lines.group_by("policy").len().iter_rows())


def _by_policy(lines: pl.DataFrame, measure: Measure) -> dict[str, np.ndarray]:
    return {
        policy: values_of(of_policy, measure.name)
        for (policy,), of_policy in groups(lines, "policy")
    }


def standings(results: Sequence[TaskResults]) -> list[Standing]:
    """Each policy in each task."""
    return [
        Standing(of_task, policy) for of_task in results for policy in of_task.values
    ]


def planned_comparisons(
    results: Sequence[TaskResults], contrasts: Sequence[Contrast]
) -> list[PlannedComparison]:
    """The planned contrasts in each task.

    Args:
        results: of the tasks.
        contrasts: that were planned before the runs.

    Returns:
        Them, with p corrected for the contrasts of one task (Holm), and for no others.
    """
    planned: list[PlannedComparison] = []
    for of_task in results:
        compared: dict[Contrast, Comparison] = {}
        for contrast in contrasts:
            one, other = (of_task.values.get(name, np.array([])) for name in contrast)
            if min(len(one), len(other)) >= FEWEST_COMPARED:
                difference = statistics.difference(one, other)
                name = of_task.measure.name
                compared[contrast] = Comparison(*contrast, name, difference)
        tested = dict(zip(compared, corrected(list(compared.values()))))
        planned += [
            PlannedComparison(of_task, contrast, tested.get(contrast))
            for contrast in contrasts
        ]
    return planned


def table_of(matrix: Matrix, frame: pl.DataFrame) -> str:
    """The table of a matrix, and below it that of its planned contrasts, in Markdown.

    Args:
        matrix: that has the contrasts.
        frame: rows of its results.

    Raises:
        UsageError: these rows cannot be read as results of policies.
    """
    results = results_by_task(frame)
    text = markdown(_standing_columns(_text), standings(results))
    planned = planned_comparisons(results, matrix.planned())
    if planned:
        text += f"\n\n{_power(planned)}\n\n"
        text += markdown(_contrast_columns(_text), planned)
    return text


def _power(planned: Sequence[PlannedComparison]) -> str:
    """What the contrasts can see, in words."""
    runs: dict[str, list[tuple[int, int]]] = {}
    for row in planned:
        one, other = (len(row.results.values.get(name, ())) for name in row.contrast)
        runs.setdefault(row.results.task, []).append((one, other))
    return power.sentence(runs.values())


def write_figure(file: Path, picture: Path) -> None:
    """Draws learning curves, or where there are none the results by condition or task.

    Args:
        file: of the results.
        picture: a PNG file, in a folder that exists.

    Raises:
        UsageError: there is nothing that can be drawn.
    """
    reasons = []
    for kind in KINDS:
        try:
            chart: Chart = kind([file])
        except UsageError as error:
            reasons.append(str(error))
            continue
        figures.draw(chart, picture)
        return
    raise UsageError("; ".join(reasons))


def write_report(
    matrix: Matrix, file: Path, left: Mapping[str, str], folder: Path
) -> Path:
    """Writes the report of a matrix.

    Args:
        matrix: as it is on file.
        file: of its results.
        left: cells that are not among the results, or diverged, and what became of
            them.
        folder: for the report.

    Returns:
        The path of the report, one page of HTML.

    Raises:
        UsageError: the file cannot be read as results of policies.
    """
    frame = read(file)
    results = results_by_task(frame)
    sections = [
        _results(results),
        _contrasts(planned_comparisons(results, matrix.planned())),
        _learning(frame),
        _every_condition(frame),
        _left(left),
    ]
    cells = plural(len(matrix.labels()), "cell")
    seeds = plural(len(matrix.seeds), "seed")
    subtitle = f"{cells}, {seeds}; rows are in {file}"
    path = folder / REPORT
    write_text(path, page.render(f"Matrix {matrix.name}", subtitle, sections))
    return path


# columns


def _text(score: Estimate | Difference | None, as_percent: bool) -> str:
    """A number with its interval as text, "-" for none."""
    if score is None:
        return "-"
    if isinstance(score, Estimate):
        return score.text(as_percent)
    return with_interval(score.mean, score.interval, as_percent)


def _standing_columns(show: Show) -> list[Column[Standing]]:
    """The columns of the table of policies; `show` makes the cells of numbers."""

    def score(row: Standing) -> object:
        return show(row.score(row.results.values), row.results.measure.as_percent)

    def off(row: Standing) -> object:
        values = row.results.without_plasticity
        return show(row.score(values), row.results.measure.as_percent)

    return [
        Column("task", lambda row: row.results.task),
        Column("policy", lambda row: row.policy),
        Column("runs", lambda row: row.results.runs.get(row.policy, 0)),
        Column("diverged", lambda row: row.results.diverged.get(row.policy, 0)),
        Column("measure", lambda row: row.results.measure.label),
        Column("condition", lambda row: row.results.condition),
        Column("mean [95 % interval over runs]", score),
        Column("the same, plasticity off", off),
    ]


def _contrast_columns(show: Show) -> list[Column[PlannedComparison]]:
    """The columns of the table of contrasts; `show` makes the cells of numbers."""

    def difference(row: PlannedComparison) -> object:
        if row.comparison is None:
            return show(None, False)
        return show(row.comparison.difference, row.results.measure.as_percent)

    def p(row: PlannedComparison) -> str:
        if row.comparison is None or row.comparison.p is None:
            return "-"
        return p_value(row.comparison.p)

    def verdict(row: PlannedComparison) -> str:
        if row.comparison is None:
            return f"not compared: fewer than {FEWEST_COMPARED} runs"
        if row.comparison.p is None:
            return f"{row.comparison.verdict}: fewer than {FEWEST} runs"
        return row.comparison.verdict

    return [
        Column("task", lambda row: row.results.task),
        Column("policy", lambda row: row.contrast.policy),
        Column("result", verdict),
        Column("baseline", lambda row: row.contrast.baseline),
        Column("measure", lambda row: row.results.measure.label),
        Column("difference", difference),
        Column("p (Holm)", p),
    ]


# the sections of the report


def _results(results: Sequence[TaskResults]) -> Section:
    text = (
        "In each task, what tells most about a policy: the mean over training runs, "
        "with its 95 % interval. A run that diverged counts as the worst of all."
    )
    table = Table(_standing_columns(cell), standings(results))
    return Section("Results", [Text([text]), table])


def _contrasts(planned: Sequence[PlannedComparison]) -> Section:
    text = (
        "These comparisons were named before the runs. A difference is the policy less "
        "the baseline; p is corrected for the contrasts of one task (Holm), and for no "
        "others."
    )
    table = Table(_contrast_columns(cell), planned)
    return Section("Planned contrasts", [Text([text, _power(planned)]), table])


def _learning(frame: pl.DataFrame) -> Section:
    """Curves of each task."""
    points = where(frame, measure="training_return").drop_nulls("at")
    plots = []
    for task, of_task in groups(points, *TASK):
        lines = []
        for (policy,), of_policy in groups(of_task, "policy"):
            curve = []
            for (step,), at_step in groups(of_policy.sort("at"), "at"):
                score = estimate(at_step["value"].to_numpy()[:, None])
                if score is not None:
                    curve.append((step, score))
            lines.append(Line(policy, policy, curve))
        axes = Axes("environment steps", "return of a training episode", x_format="~s")
        plots += plotted(task_name(task), axes, lines)
    text = "Means over training runs, with 95 % intervals."
    return Section("Learning", [Text([text]), Plots(plots)])


@dataclass(frozen=True)
class _Case:
    """A policy in one condition of a task."""

    key: tuple[str, ...]
    """Task, policy, suite and condition."""
    lines: pl.DataFrame


def _every_condition(frame: pl.DataFrame) -> Section:
    lines = lines_of(frame)
    cases = []
    for key, some in groups(lines, *TASK, "policy", "suite", "condition"):
        *task, policy, suite, condition = key
        cases.append(_Case((task_name(task), policy, suite, condition), some))

    def of_key(title: str, index: int) -> Column[_Case]:
        """A column with one part of a case's key.

        Args:
            title: of the column.
            index: of the part.
        """
        return Column(title, lambda case: case.key[index])

    def of_measure(measure: Measure) -> Column[_Case]:
        def score(case: _Case) -> object:
            values = values_of(case.lines, measure.name)
            score = estimate(values[:, None], measure.bounds)
            return cell(score, measure.as_percent)

        return Column(measure.title, score, measure.sentence)

    titles = ("task", "policy", "suite", "condition")
    columns = [of_key(title, index) for index, title in enumerate(titles)]
    measures = [measure for measure in telling() if has(lines, measure.name)]
    columns += [of_measure(measure) for measure in measures]
    text = (
        "Other measures are in the folder `evaluations` of each run, with a report of "
        "its own."
    )
    return Section("Every condition", [Text([text]), Table(columns, cases)])


def _left(left: Mapping[str, str]) -> Section:
    items = [f"{name}: {reason}" for name, reason in left.items()]
    return Section("Cells without results", [Text(items, bullets=True)])
