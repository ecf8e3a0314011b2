"""Tables of differences between policies: planned contrasts of each task, all other
pairs, and pairs over all tasks together.
"""

import itertools
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import polars as pl

from spikepropamine import power, statistics, table
from spikepropamine.common import CLEAN_KEY, UsageError, check_known
from spikepropamine.report.columns import Column, markdown
from spikepropamine.report.contrasts import Contrast, planned_contrasts
from spikepropamine.report.estimates import Comparison, corrected
from spikepropamine.report.grouped import about_runs, with_interval
from spikepropamine.report.results import (
    PERTURBED,
    above_random,
    accuracy_or_return,
    decimals_of,
    groups,
    lines_on_file,
    once,
    task_name,
    values_of,
)
from spikepropamine.words import p_value


class TaskComparison(NamedTuple):
    """A row of a table of comparisons."""

    task: str
    comparison: Comparison
    decimals: int


def _table(rows: Sequence[TaskComparison], planned: bool) -> str:
    """A table of comparisons.

    Args:
        rows: all planned, or all exploratory.
        planned: whether they are; then they have a corrected p and a result in words.
    """

    def difference(row: TaskComparison) -> str:
        of = row.comparison.difference
        return with_interval(of.mean, of.interval, row.decimals)

    def better(row: TaskComparison) -> str:
        of = row.comparison.difference
        return with_interval(of.better, of.better_interval, 2)

    def p(value: float | None) -> str:
        return "" if value is None else p_value(value)

    columns: list[Column[TaskComparison]] = [
        Column("task", lambda row: row.task),
        Column("policy", lambda row: row.comparison.policy),
    ]
    if planned:
        columns.append(Column("result", lambda row: row.comparison.verdict))
    columns += [
        Column("other", lambda row: row.comparison.other),
        Column("difference", difference),
        Column("p", lambda row: p(row.comparison.difference.p)),
    ]
    if planned:
        columns.append(Column("p (Holm)", lambda row: p(row.comparison.p)))
    columns += [
        Column("p (rank)", lambda row: p(row.comparison.difference.rank_p)),
        Column("probability of improvement", better),
    ]
    return markdown(columns, rows)


class TaskValues(NamedTuple):
    """The runs of a task that are compared."""

    name: str
    values: Mapping[str, np.ndarray]
    """By policy, as it is named in the files."""
    shown: Mapping[str, str]
    """By policy, its name in a table."""
    measure: str
    decimals: int

    def compared(self, pairs: Sequence[tuple[str, str]]) -> list[Comparison]:
        """Pairs of policies; those stay out of which one has a single run."""
        return [
            Comparison(
                self.shown[one],
                self.shown[other],
                self.measure,
                statistics.difference(self.values[one], self.values[other]),
            )
            for one, other in pairs
            if one in self.values and other in self.values
        ]

    def runs(self, pairs: Sequence[tuple[str, str]]) -> list[tuple[int, int]]:
        """How many runs both policies of those pairs have that are compared."""
        return [
            (len(self.values[one]), len(self.values[other]))
            for one, other in pairs
            if one in self.values and other in self.values
        ]


def comparisons(files: Sequence[Path], **wanted: str) -> str:
    """The planned contrasts of the matrices, in the clean task or another condition, by
    `measure` where one is given; where the condition is "perturbed", suite by suite, by
    the mean over all conditions that perturb. Holm's correction is over the contrasts
    of a task. All other pairs that have several seeds follow, uncorrected. A sentence
    says which differences the contrasts can see.
    """
    contrasts = _each_once(pair for file in files for pair in planned_contrasts(file))
    planned = []
    exploratory = []
    runs: list[list[tuple[int, int]]] = []
    for task in _task_values(files, wanted):
        of_task = corrected(task.compared(contrasts))
        planned += [TaskComparison(task.name, one, task.decimals) for one in of_task]
        runs.append(task.runs(contrasts))
        others = [
            pair
            for pair in itertools.combinations(task.values, 2)
            if pair not in contrasts and pair[::-1] not in contrasts
        ]
        exploratory += [
            TaskComparison(task.name, one, task.decimals)
            for one in task.compared(others)
        ]
    parts = []
    if planned:
        parts += [f"Planned contrasts. {power.sentence(runs)}"]
        parts += [_table(planned, planned=True)]
    if exploratory:
        parts += ["Exploratory: no contrasts of the matrix, p uncorrected."]
        parts += [_table(exploratory, planned=False)]
    if not parts:
        raise UsageError("no two policies have several seeds here")
    return "\n\n".join(parts)


def _each_once(contrasts: Iterable[Contrast]) -> list[Contrast]:
    """Contrasts, in their order, without those that are there already, either way
    round: what two matrices plan is one test.
    """
    found: list[Contrast] = []
    for contrast in contrasts:
        if contrast not in found and contrast[::-1] not in found:
            found.append(contrast)
    return found


def _task_values(
    files: Sequence[Path], wanted: Mapping[str, str]
) -> Iterator[TaskValues]:
    """Of each task, the values of the policies that have several runs."""
    filters = dict(wanted)
    measure_named = filters.pop("measure", None)
    condition = filters.get("condition")
    lines = lines_on_file(files, {"condition": CLEAN_KEY} | filters)
    apart = list(table.TASK)
    if condition == PERTURBED:
        apart.append("suite")
    else:
        once(lines)
    lines = lines.filter(pl.col("seed").is_not_null())
    if measure_named:
        check_known("measure", measure_named, lines.columns)
    for task, of_task in groups(lines, *apart):
        measure = measure_named or accuracy_or_return(of_task)
        values = {}
        shown = {}
        for (policy,), of_policy in groups(of_task, "policy"):
            sample = values_of(of_policy, measure)
            if len(sample) < 2:
                continue
            values[policy] = sample
            shown[policy] = f"`{policy}`" + about_runs(len(sample), of_policy)
        words = [condition]
        if measure_named:
            words.append(measure_named.replace("_", " "))
        yield TaskValues(
            name=task_name([*task, *words]),
            values=values,
            shown=shown,
            measure=measure,
            decimals=decimals_of(of_task, measure),
        )


def overall(files: Sequence[Path], reference: str = "mlp-sized", **wanted: str) -> str:
    """Each two policies over all tasks together: their returns in the clean task, above
    that of random actions, relative to the mean return of a reference.

    Args:
        files: tables of results.
        reference: the policy that returns are relative to.
        wanted: `condition` and `measure` as in `comparisons`; other measures than the
            return are compared as they are.
    """
    measure = wanted.pop("measure", "return")
    lines = once(lines_on_file(files, {"condition": CLEAN_KEY} | wanted))
    lines = lines.filter(pl.col("seed").is_not_null())
    values, unit = tasks_of(lines, measure, reference)
    names = {}
    for policy, by_task in values.items():
        count = sum(map(len, by_task.values()))
        of_policy = lines.filter(pl.col("policy") == policy)
        names[policy] = f"`{policy}`" + about_runs(count, of_policy)
    compared = []
    for one, other in itertools.combinations(values, 2):
        both = values[one].keys() & values[other].keys() & unit.keys()
        shared = {task: scale for task, scale in unit.items() if task in both}
        if len(shared) > 1:
            pooled = statistics.pooled(values[one], values[other], shared)
            compared.append(Comparison(names[one], names[other], measure, pooled))
    rows = [TaskComparison("all", comparison, 2) for comparison in compared]
    text = (
        "Exploratory: no contrasts of the matrix, p uncorrected. The units are tasks, "
        "so the intervals count the choice of tasks."
    )
    return f"{text}\n\n{_table(rows, planned=False)}"


class Tasks(NamedTuple):
    """What is pooled over tasks."""

    values: Mapping[str, Mapping[str, np.ndarray]]
    """By policy and task, float64 [runs]."""
    unit: Mapping[str, float]
    """By task, what its values are relative to."""


def tasks_of(lines: pl.DataFrame, measure: str, reference: str) -> Tasks:
    """The values of runs by policy and task, and the unit of each task: of returns, the
    mean of a reference above that of random actions; of other measures, 1.

    Args:
        lines: of runs.
        measure: its name.
        reference: a policy; tasks in which it has no runs have no unit.

    Raises:
        UsageError: the reference has no runs, or earns no more than random actions.
    """
    check_known("measure", measure, lines.columns)
    values: dict[str, dict[str, np.ndarray]] = {}
    unit: dict[str, float] = {}
    for task, of_task in groups(lines, *table.TASK):
        name = task_name(task)
        for (policy,), of_policy in groups(of_task, "policy"):
            sample = values_of(of_policy, measure)
            if len(sample):
                values.setdefault(policy, {})[name] = sample
        if measure != "return":
            unit[name] = 1.0
        elif name in values.get(reference, {}):
            mean = values[reference][name].mean()
            unit[name] = above_random(float(mean), of_task, f"{name}: {reference!r}")
    if not unit:
        raise UsageError(
            f"no runs of the reference {reference!r}: add reference=POLICY"
        )
    return Tasks(values, unit)
