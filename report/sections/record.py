"""Sections for the record: videos, all results, what was left out, and settings."""

import shlex
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import quote

from markupsafe import Markup, escape

from spikepropamine.evaluation.ask.conditions import Condition, Skipped
from spikepropamine.evaluation.description import DescribedRun
from spikepropamine.evaluation.measure import Measure
from spikepropamine.evaluation.measures import of_section
from spikepropamine.report.cells import cell, measure_column, severity_cell
from spikepropamine.report.columns import Column
from spikepropamine.report.evaluation import EvaluationResults, lesion_name
from spikepropamine.report.page import Cell, Section, Table, Text, Videos
from spikepropamine.words import number


def videos(files: Sequence[Path]) -> Section:
    """The videos, in the page."""
    text = "They lie beside this file, in videos/; keep the folder together."
    addresses = {path.stem: quote(path.as_posix()) for path in files}
    return Section("Videos", [Text([text]), Videos(addresses)])


class InCondition(NamedTuple):
    """A row of a table: a policy in a condition."""

    results: EvaluationResults
    policy: str
    condition: Condition

    def of(self, measure: Measure[Any]) -> Cell | None:
        """A measure."""
        score = self.results.measured(self.policy, self.condition.key, measure.name)
        return cell(score, measure.as_percent)


def all_results(results: EvaluationResults) -> Section:
    """Every policy in every condition."""
    rows = [
        InCondition(results, policy, condition)
        for policy in results.policies
        for condition in results.conditions_of(policy)
    ]

    def by_seed(row: InCondition) -> Cell:
        returns = results.returns(row.policy, row.condition.key)
        values = [number(value) for value in returns.by_run if value is not None]
        return Cell("  ".join(values), returns.mean)

    # what tells how good a policy is comes first
    measures = sorted(of_section("results"), key=lambda measure: measure.tells == 0)
    columns: list[Column[InCondition]] = [
        Column("policy", lambda row: row.policy),
        Column("condition", lambda row: row.condition.name(severity=False)),
        Column("severity", lambda row: severity_cell(row.condition)),
        Column("split", lambda row: row.condition.split),
        Column("network", lambda row: lesion_name(row.condition.lesion)),
        *(measure_column(measure, InCondition.of) for measure in measures),
        Column("return by training seed", by_seed),
    ]
    return Section("All results", [Table(columns, rows)])


def left_out(results: EvaluationResults) -> Section:
    """Conditions that were left out, each with the reason."""
    columns: list[Column[Skipped]] = [
        Column("left out", lambda row: row.condition),
        Column("for", lambda row: row.policy or "all policies"),
        Column("because", lambda row: row.reason),
    ]
    return Section("Left out", [Table(columns, results.description.skipped)])


def settings(results: EvaluationResults) -> Section:
    """All settings of the evaluation, versions, and the folders of the runs."""
    description = results.description
    values: dict[str, object] = {"environment": description.environment}
    for name, value in description.env_kwargs.items():
        values[f"environment: {name}"] = value
    values["steps of an episode"] = description.horizon
    values["actions"] = "deterministic" if description.deterministic else "sampled"
    for condition in results.severest:
        # noise of the task's own is an argument of its environment
        of_task = f"noise={condition.noise:g} of the task"
        values[f"perturbation: {condition.label}"] = condition.text or of_task
    for name, version in description.versions.items():
        values[f"version: {name}"] = version
    setting_columns: list[Column[tuple[str, object]]] = [
        Column("setting", lambda row: row[0]),
        Column("value", lambda row: str(row[1])),
    ]
    run_columns: list[Column[DescribedRun]] = [
        Column("policy", lambda run: run.policy),
        Column("training seed", lambda run: run.seed),
        Column("folder of the run", lambda run: run.folder),
    ]
    return Section(
        "Settings and versions",
        [
            Text([Markup("Made by {}").format(_command(description.command))]),
            Table(setting_columns, values.items()),
            Table(run_columns, description.runs),
        ],
    )


def _command(words: Sequence[str]) -> Markup:
    """A command line, in which options stay whole: a line breaks after any hyphen."""
    whole = Markup('<span class="unbroken">{}</span>')
    parts = [
        whole.format(word) if word.startswith("-") else escape(word)
        for word in map(shlex.quote, words)
    ]
    return Markup("<code>python {}</code>").format(Markup(" ").join(parts))
