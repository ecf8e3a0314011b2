"""Sections on how policies act in conditions: trials, severity, contexts, changes."""

from typing import Any, NamedTuple

from spikepropamine.common import CLEAN_KEY
from spikepropamine.evaluation.ask.conditions import Condition
from spikepropamine.evaluation.measure import Measure
from spikepropamine.evaluation.measures import of_section
from spikepropamine.evaluation.observed import FIRST, LATER
from spikepropamine.evaluation.of_contexts import CONTEXTS, name_in
from spikepropamine.evaluation.tabulation import TOLD
from spikepropamine.report import charts
from spikepropamine.report.cells import cell, measure_column, severity_cell
from spikepropamine.report.charts import Line
from spikepropamine.report.columns import Column
from spikepropamine.report.evaluation import Change, EvaluationResults, lesion_name
from spikepropamine.report.page import Cell, Plots, Section, Table, Text
from spikepropamine.report.plots import Variant, curves_of, plotted, variants_of
from spikepropamine.report.sentences import sentences

BEGINS = {FIRST: "with the episode", LATER: "within the episode"}
OFF = "off"
"""The lesion that plots show beside the policy as trained."""


def trials(results: EvaluationResults) -> Section:
    """Accuracy by trial, in the clean condition and the severest ones."""
    chance = results.description.chance
    axes = charts.Axes(
        "trial that asks",
        "right answers",
        as_percent=True,
        x_format="d",
        include=(1.0,),
        horizontal={} if chance is None else {"chance": chance},
    )
    plots = []
    for condition in (results.conditions[CLEAN_KEY], *results.severest):
        lines = []
        for variant in variants_of(results, condition):
            points = list(enumerate(results.trials(variant.policy, variant.key), 1))
            if len(points) > 1:
                lines.append(Line(variant.label, variant.policy, points, variant.off))
        plots += plotted(condition.name(), axes, lines)
    text = Text(sentences("about_trials", results))
    return Section("Accuracy by trial", [text, Plots(plots)])


class Graded(NamedTuple):
    """A policy under a perturbation of rising severity."""

    policy: str
    label: str
    lesion: str | None
    keys: dict[float, str]  # of the conditions, by severity
    split: str | None


def severity(results: EvaluationResults) -> Section:
    """What is kept as each perturbation grows."""
    conditions = results.conditions.values()
    labels = dict.fromkeys(c.label for c in conditions if c.severity is not None)
    axes = charts.Axes("severity", "return kept", as_percent=True, include=(0.0, 1.0))
    plots = []
    rows = []
    for label in labels:
        lines = []
        for policy in results.policies:
            for lesion in (None, *results.lesions):
                keys = results.severities(policy, label, lesion)
                points = []
                for severity, key in keys.items():
                    score = results.retention(policy, [key])
                    if score is not None:
                        points.append((severity, score))
                if not keys or len(points) < len(keys):
                    continue
                split = results.conditions[list(keys.values())[-1]].split
                rows.append(Graded(policy, label, lesion, keys, split))
                if lesion is None:
                    lines.append(Line(policy, policy, points))
                elif lesion == OFF:
                    lines.append(Line(f"{policy}, off", policy, points, dashed=True))
        plots += plotted(label, axes, lines)
    columns: list[Column[Graded]] = [
        Column("policy", lambda row: row.policy),
        Column("perturbation", lambda row: row.label),
        Column("network", lambda row: lesion_name(row.lesion)),
        Column("split", lambda row: row.split),
        Column(
            "area under the curve",
            lambda row: cell(results.area(row.policy, row.keys), True),
        ),
    ]
    text = Text(sentences("about_severity", results))
    return Section("Severity", [text, Plots(plots), Table(columns, rows)])


class InContexts(NamedTuple):
    """An actor in the contexts of a condition that begin with an episode, or later."""

    policy: str
    condition: Condition
    prefix: str


def adaptation(results: EvaluationResults) -> Section:
    """How policies find out in which context they are, and act accordingly."""
    plots = []
    rows = []
    for condition in results.conditions.values():
        others = results.references(condition.intact)
        if not others:
            continue
        name = condition.name(onset=False)
        for prefix, begins in BEGINS.items():
            rows += [
                InContexts(policy, condition, prefix)
                for policy in (*results.policies, TOLD)
                if prefix in results.contexts(policy, condition.key)
            ]
            if condition.lesion is not None:
                continue
            measure = f"{prefix}context_reward"
            lines = curves_of(results, measure, variants_of(results, condition))
            if lines:
                references = [Variant(x, x, condition.key, off=True) for x in others]
                lines += map(_bare, curves_of(results, measure, references))
            title = f"{name}: contexts that begin {begins}"
            axes = charts.Axes("steps since the context began", "reward per step")
            plots += plotted(title, axes, lines)

    def of(row: InContexts, measure: Measure[Any]) -> Cell | None:
        if row.policy == TOLD and measure.found_out:
            return None  # it has nothing to find out
        name = name_in(row.prefix, measure)
        if name is None:
            return None
        score = results.estimate(row.policy, row.condition.key, name)
        return cell(score, measure.as_percent)

    def lasting(row: InContexts) -> str:
        def count(name: str) -> str:
            values = results.values(row.policy, row.condition.key, row.prefix + name)
            return f"{values[0, 0, 0]:.0f}"

        return f"{count('settled_contexts')} of {count('contexts')}"

    measures = [measure for measure in CONTEXTS if measure.section == "adaptation"]
    columns: list[Column[InContexts]] = [
        Column("policy", lambda row: row.policy),
        Column("condition", lambda row: row.condition.name(onset=False)),
        Column("context begins", lambda row: BEGINS[row.prefix]),
        Column("network", lambda row: lesion_name(row.condition.lesion)),
        *(measure_column(measure, of) for measure in measures),
        Column("contexts that last 100 steps", lasting),
    ]
    text = Text(sentences("about_adaptation", results))
    return Section("Adaptation", [text, Plots(plots), Table(columns, rows)])


def _bare(line: Line) -> Line:
    """A line for comparison, without bands."""
    points = [(x, score._replace(interval=None)) for x, score in line.points]
    return Line(line.label, "", points, dashed=True)


class Changed(NamedTuple):
    """A policy in a condition that changes in mid-episode."""

    policy: str
    condition: Condition
    change: Change


def recovery(results: EvaluationResults) -> Section:
    """Reward around a change in mid-episode, and what comes back."""
    axes = charts.Axes(
        "steps since the change", "reward per step", vertical={"change": 0}
    )
    plots = []
    rows = []
    for condition in results.severest:
        if condition.onset is None or results.references(condition.key):
            continue  # contexts have a section of their own
        variants = variants_of(results, condition)
        lines = curves_of(results, "reward", variants, since=condition.onset)
        plots += plotted(condition.name(onset=False), axes, lines)
    for policy in results.policies:
        for condition in results.conditions_of(policy):
            change = results.change(policy, condition.key)
            if change is not None:
                rows.append(Changed(policy, condition, change))

    def of(row: Changed, measure: Measure[Any]) -> Cell | None:
        return cell(getattr(row.change, measure.name), measure.as_percent)

    columns: list[Column[Changed]] = [
        Column("policy", lambda row: row.policy),
        Column("condition", lambda row: row.condition.name(severity=False)),
        Column("severity", lambda row: severity_cell(row.condition)),
        Column("network", lambda row: lesion_name(row.condition.lesion)),
        *(measure_column(measure, of) for measure in of_section("recovery")),
        Column("loss regained", lambda row: cell(row.change.fraction, True)),
    ]
    text = Text(sentences("about_recovery", results))
    return Section("Recovery", [text, Plots(plots), Table(columns, rows)])
