"""What the plots of a report show: policies in conditions, as curves or dots."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import NamedTuple

from spikepropamine.evaluation.ask.conditions import Condition
from spikepropamine.report import charts
from spikepropamine.report.charts import Dot, Line
from spikepropamine.report.evaluation import EvaluationResults
from spikepropamine.report.page import Plot


class Variant(NamedTuple):
    """A policy in a condition, as a plot shows it."""

    policy: str
    label: str
    key: str  # of the condition
    off: bool = False  # whether plasticity is off, or it is there for comparison


def variants_of(results: EvaluationResults, condition: Condition) -> Iterator[Variant]:
    """The policies evaluated in a condition, as trained and with plasticity off.

    Args:
        results: of an evaluation.
        condition: an intact one.
    """
    for policy in results.policies:
        if condition in results.conditions_of(policy):
            yield Variant(policy, policy, condition.key)
        key = results.off(policy, condition)
        if key:
            yield Variant(policy, f"{policy}, off", key, off=True)


def curves_of(
    results: EvaluationResults,
    measure: str,
    variants: Iterable[Variant],
    since: int = 0,
) -> list[Line]:
    """Means over runs by step, with a band where there are several.

    Args:
        results: of an evaluation.
        measure: name of one that has curves.
        variants: a line for each that has the measure.
        since: step of the episode that counts as 0.
    """
    lines = []
    for variant in variants:
        curve = results.curve(variant.policy, variant.key, measure)
        points = [(step - since, score) for step, score in curve]
        if points:
            lines.append(Line(variant.label, variant.policy, points, variant.off))
    return lines


def legend_of(dots: Mapping[str, Sequence[Dot]]) -> list[str]:
    """The policies of a plot."""
    return list(dict.fromkeys(dot.policy for some in dots.values() for dot in some))


def plotted(title: str, axes: charts.Axes, lines: Sequence[Line]) -> list[Plot]:
    """A plot of curves; none without lines.

    Args:
        title: above the plot.
        axes: of the plot.
        lines: the curves.
    """
    return [Plot(title, charts.curves(lines, axes))] if lines else []
