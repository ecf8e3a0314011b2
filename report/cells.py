"""What the cells of a report's tables show."""

from collections.abc import Callable
from typing import Any

from spikepropamine.evaluation.ask.conditions import Condition
from spikepropamine.evaluation.measure import Measure
from spikepropamine.report import charts
from spikepropamine.report.columns import Column
from spikepropamine.report.estimates import Estimate
from spikepropamine.report.page import Cell
from spikepropamine.statistics import Difference
from spikepropamine.words import p_value, percent

CellOf = Callable[[Any, Measure[Any]], Cell | None]
"""Makes the cell of a row and a measure."""


def cell(score: Estimate | Difference | None, as_percent: bool = False) -> Cell | None:
    """A number with its interval, sorted by the number; None where there is none.

    Args:
        score: the number.
        as_percent: whether it is a fraction, and shown as a percentage.
    """
    if score is None:
        return None
    return Cell(charts.text_of(score, as_percent), score.mean)


def percentage(value: float | None) -> Cell | None:
    """A share as a percentage, sorted by the share; None where there is none."""
    return None if value is None else Cell(percent(value), value)


def p_cell(value: float | None) -> Cell | None:
    """A p-value, sorted by the number; None where there is none."""
    return None if value is None else Cell(p_value(value), value)


def measure_column(measure: Measure[Any], cell_of: CellOf) -> Column[Any]:
    """A column of a measure, whose record says all but what a row is of.

    Args:
        measure: shown in the column.
        cell_of: makes the cell of a row.
    """
    return Column(measure.title, lambda item: cell_of(item, measure), measure.sentence)


def severity_cell(condition: Condition) -> Cell | None:
    """How severe a condition is; None where it has no severity."""
    severity = condition.severity
    return None if severity is None else Cell(f"{severity:g}", severity)
