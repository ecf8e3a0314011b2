"""Sections on differences: what lesions take away, and policies beside each other."""

from collections.abc import Sequence
from typing import NamedTuple

from spikepropamine.common import CLEAN_KEY
from spikepropamine.evaluation.measures import MEASURES
from spikepropamine.report import charts
from spikepropamine.report.cells import cell, p_cell, percentage, severity_cell
from spikepropamine.report.charts import Dot
from spikepropamine.report.columns import Column
from spikepropamine.report.estimates import Comparison
from spikepropamine.report.evaluation import EvaluationResults, Lesioned, lesion_name
from spikepropamine.report.page import Cell, Plot, Plots, Section, Table, Text
from spikepropamine.report.plots import legend_of
from spikepropamine.report.sentences import sentences
from spikepropamine.statistics import decisive


class LesionedPolicy(NamedTuple):
    """What a lesion of a policy does."""

    policy: str
    part: Lesioned


def lesions(results: EvaluationResults) -> Section:
    """What each part of plasticity causes."""
    rows = [
        LesionedPolicy(policy, part)
        for policy in results.policies
        for part in results.lesioned(policy)
    ]
    columns: list[Column[LesionedPolicy]] = [
        Column("policy", lambda row: row.policy),
        Column("lesion", lambda row: lesion_name(row.part.lesioned.lesion)),
        Column("condition", lambda row: row.part.intact.name(severity=False)),
        Column("severity", lambda row: severity_cell(row.part.intact)),
        Column(
            "return as trained",
            lambda row: cell(results.returns(row.policy, row.part.intact.key)),
        ),
        Column(
            "return lesioned",
            lambda row: cell(results.returns(row.policy, row.part.lesioned.key)),
        ),
        Column("paired difference", lambda row: cell(row.part.returns)),
        Column("p", lambda row: p_cell(decisive(row.part.returns))),
        Column(
            "probability that the trained one earns more",
            lambda row: percentage(row.part.returns.better),
        ),
        Column(
            "late accuracy, difference",
            lambda row: cell(row.part.late_accuracy, True),
        ),
        Column("same, bit for bit", lambda row: "yes" if row.part.identical else "no"),
    ]
    plots = []
    for lesion, dots in _lesion_dots(results, rows).items():
        chart = charts.dots(
            dots, "as trained minus lesioned, return", marks={"no effect": 0.0}
        )
        title = lesion_name(lesion)
        plots.append(Plot(title[0].upper() + title[1:], chart, legend_of(dots)))
    text = Text(sentences("about_lesions", results))
    return Section("Lesions", [text, Plots(plots), Table(columns, rows)])


def _lesion_dots(
    results: EvaluationResults, rows: Sequence[LesionedPolicy]
) -> dict[str, dict[str, list[Dot]]]:
    """The effects of lesions in the clean task and the severest conditions, for plots:
    by lesion and condition.
    """
    shown = {CLEAN_KEY, *(condition.key for condition in results.severest)}
    dots: dict[str, dict[str, list[Dot]]] = {}
    for policy, part in rows:
        if part.intact.key in shown and not part.identical:
            by_condition = dots.setdefault(part.lesioned.lesion or "", {})
            dot = Dot(policy, policy, part.returns)
            by_condition.setdefault(part.intact.name(), []).append(dot)
    return dots


def comparisons(results: EvaluationResults) -> Section:
    """Each two policies."""

    def difference(row: Comparison) -> Cell | None:
        return cell(row.difference, MEASURES[row.measure].as_percent)

    columns: list[Column[Comparison]] = [
        Column("first", lambda row: row.policy),
        Column("second", lambda row: row.other),
        Column("measure", lambda row: MEASURES[row.measure].of_axis),
        Column("difference", difference),
        Column("p", lambda row: p_cell(row.difference.p)),
        Column("p, corrected", lambda row: p_cell(row.p)),
        Column("p, ranks", lambda row: p_cell(row.difference.rank_p)),
        Column(
            "probability that the first is higher",
            lambda row: percentage(row.difference.better),
        ),
        Column("the first is", lambda row: row.verdict),
    ]
    text = Text(sentences("about_comparisons", results))
    table = Table(columns, results.comparisons)
    return Section("Comparisons", [text, Plots([]), table])
