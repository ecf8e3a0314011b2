"""What the sections of a report have in common: whose results, in which colour, in which cell."""

from collections.abc import Iterator

from spikepropamine.evaluation.schema import (
    ConditionSummary,
    Estimate,
    Result,
    Score,
    Summary,
)
from spikepropamine.report import charts as plots
from spikepropamine.report.page import (
    Cell,
)
from spikepropamine.report.reading import condition_name, has_no_plasticity, lesioned
from spikepropamine.report.words import edges_of, with_interval


def variants(
    summary: Summary, condition: ConditionSummary
) -> Iterator[tuple[str, int, Result, bool]]:
    """(policy, colour, result, plasticity off) of those that have results in a condition."""
    off = lesioned(summary, condition["key"], "off")
    for policy, colour in colours(summary).items():
        results = summary["results"][policy]
        if condition["key"] in results:
            yield policy, colour, results[condition["key"]], False
        if off is not None and off in results and not has_no_plasticity(summary, policy):
            yield policy, colour, results[off], True


def colours(summary: Summary) -> dict[str, int]:
    """Of each policy, the same in all plots."""
    return {policy: colour for colour, policy in enumerate(summary["policies"])}


def every_result(
    summary: Summary,
) -> Iterator[tuple[str, ConditionSummary, Result]]:
    """(policy, condition, result) of all."""
    for policy, results in summary["results"].items():
        for condition in summary["conditions"]:
            if condition["key"] in results:
                yield policy, condition, results[condition["key"]]


def where_cells(condition: ConditionSummary) -> list[Cell | str | None]:
    """The condition's cells: its name, and its severity in a column of its own."""
    severity = condition["severity"]
    name = condition_name(condition, severity=False)
    return [name, None if severity is None else Cell(f"{severity:g}", severity)]


def dot_of(label: str, colour: int, score: Score, hollow: bool = False) -> plots.Dot:
    """A score as a dot, with its interval."""
    return plots.Dot(label, colour, score["mean"], *edges_of(score), hollow)


def score_cell(score: Score | Estimate | None, as_percent: bool = False) -> Cell | None:
    """A number with its interval, sorted by the number."""
    return None if score is None else Cell(with_interval(score, as_percent), score["mean"])
