"""The two kinds of plot on the pages: curves with bands, and dots with intervals. Their
looks are in charts.yaml, as are those of the figures of README and docs.
"""

import functools
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from spikepropamine.reading import read_yaml
from spikepropamine.report.estimates import Estimate
from spikepropamine.report.paint import paint
from spikepropamine.statistics import Difference
from spikepropamine.words import number, percent, with_interval

HEIGHT = 240  # pixels of a plot of curves
NAME = 14  # pixels between the names at the ends of curves
ROW = 16  # pixels between dots
TIGHT_ROW = 11  # where there are many
MANY_ROWS = 40
FEW_POINTS = 12  # of a curve, which are marked
NUMBER = ",.12~g"  # 12 digits, less zeros at the end
ROOM = (
    0.6  # beyond the means that bands may take up, relative to the range of the means
)

Chart = dict[str, Any]
Score = Estimate | Difference


@dataclass(frozen=True)
class Line:
    """A curve."""

    label: str  # stands at its end
    policy: str  # empty: none
    points: Sequence[tuple[float, Score]]  # at each x a mean, with a band where known
    dashed: bool = False


@dataclass(frozen=True)
class Dot:
    """A mean of a policy, with its interval where that is known."""

    label: str
    policy: str
    score: Score
    hollow: bool = False


@dataclass(frozen=True)
class Axes:
    """What a plot of curves has besides these."""

    x_title: str  # with the unit
    y_title: str
    as_percent: bool = False  # whether fractions are shown as percentages
    x_format: str = NUMBER  # of the ticks, as in d3; "d" has whole numbers only
    include: Sequence[float] = ()  # values that the y axis reaches to
    # marks across the plot at some x or y, by their labels
    vertical: Mapping[str, float] = field(default_factory=dict)
    horizontal: Mapping[str, float] = field(default_factory=dict)


def chart(name: str, **values: Any) -> Chart:
    """A chart of charts.yaml.

    Args:
        name: of the chart.
        values: what is filled in for `$name`.
    """
    known = values | values.get("datasets", {})

    def is_shown(part: Any) -> bool:
        return not isinstance(part, dict) or bool(known.get(part.get("when"), True))

    def filled(part: Any) -> Any:
        if isinstance(part, str):
            return values[part[1:]] if part.startswith("$") else part
        if isinstance(part, list):
            return [filled(item) for item in part if is_shown(item)]
        if not isinstance(part, dict):
            return part
        content = {key: filled(value) for key, value in part.items() if key != "when"}
        return {
            key: value
            for key, value in content.items()
            # null in the file means that there is to be none, of a legend for instance
            if value is not None or part[key] is None
        }

    content: Chart = filled(_charts()[name])
    return content


@functools.cache
def _charts() -> Mapping[str, Any]:
    content: Mapping[str, Any] = read_yaml(Path(__file__).with_name("charts.yaml"))
    return content


def curves(lines: Sequence[Line], axes: Axes) -> Chart:
    """A Vega-Lite chart of curves, each named at its end.

    Args:
        lines: at least one, with a point.
        axes: and marks.
    """
    bottom, top = _range(lines, [*axes.include, *axes.horizontal.values()])
    points: list[dict[str, Any]] = []
    readout: dict[float, dict[str, Any]] = {}
    for index, line in enumerate(lines):
        for x, score in line.points:
            point = {"line": index, "x": x, "y": short(score.mean)}
            if score.interval is not None:
                low, high = score.interval
                point |= {"low": short(low), "high": short(high)}
            points.append(point)
            text = _readable(score, axes.as_percent)
            readout.setdefault(x, {"x": x})[f"line{index}"] = text
    xs = sorted(readout)
    ends = []
    for line in lines:
        x, score = line.points[-1]
        ends.append(Name(line.label, paint(line.policy, "t"), x, score.mean))
    for label, y in axes.horizontal.items():
        ends.append(Name(label, paint(""), xs[-1], y))
    labels = [line.label for line in lines]
    return chart(
        "curves",
        description=f"Curves of {axes.y_title} by {axes.x_title}: {', '.join(labels)}",
        datasets={
            "across": [{"y": y} for y in axes.horizontal.values()],
            "down": [{"x": x, "label": label} for label, x in axes.vertical.items()],
            "points": points,
            "ends": _placed(ends, bottom, top),
            "readout": [readout[x] for x in xs],
        },
        height=HEIGHT,
        x_title=axes.x_title,
        x_domain=[xs[0], xs[-1]],
        x_format=axes.x_format,
        x_step=1 if axes.x_format == "d" else None,
        y_title=axes.y_title,
        y_domain=[bottom, top],
        y_format="%" if axes.as_percent else NUMBER,
        lines=list(range(len(lines))),
        paints=[paint(line.policy) for line in lines],
        dashes=[[5, 3] if line.dashed else [1, 0] for line in lines],
        dashed=[index for index, line in enumerate(lines) if line.dashed],
        few=max(len(line.points) for line in lines) <= FEW_POINTS,
        tooltip=_tooltip(axes.x_title, labels),
    )


def _tooltip(x_title: str, labels: Sequence[str]) -> list[dict[str, str]]:
    """What a pointer shows of curves: the place on the x axis, and a text of each."""
    place = {
        "field": "x",
        "type": "quantitative",
        "title": x_title,
        "format": ",~r",
    }
    of_lines = [
        {"field": f"line{index}", "title": label, "type": "nominal"}
        for index, label in enumerate(labels)
    ]
    return [place, *of_lines]


def dots(
    rows: Mapping[str, Sequence[Dot]],
    x_title: str,
    *,
    as_percent: bool = False,
    include: Sequence[float] = (),
    marks: Mapping[str, float],
) -> Chart:
    """A Vega-Lite chart of means with intervals, a group of rows for each label.

    Args:
        rows: the dots by label; there is at least one.
        x_title: of the axis, with the unit.
        as_percent: whether fractions are shown as percentages.
        include: values that the x axis reaches to.
        marks: that go down the plot at some x, by their labels.
    """
    values: list[dict[str, Any]] = []
    heads: list[dict[str, Any]] = []
    known = [*include, *marks.values()]
    row = 0.0
    for head, some in rows.items():
        heads.append({"row": row + 0.5, "label": head})
        for index, dot in enumerate(some):
            mean = dot.score.mean
            low, high = dot.score.interval or (mean, mean)
            known += [low, mean, high]
            colour = paint(dot.policy)
            values.append(
                {
                    "row": row + 1.5 + index,
                    "paint": colour,
                    "name": f"{head}, {dot.label}" if dot.label else head,
                    "fill": "var(--paper)" if dot.hollow else colour,
                    "mean": short(mean),
                    "low": short(low),
                    "high": short(high),
                    "text": _readable(dot.score, as_percent),
                }
            )
        row += len(some) + 1.4
    lines = [{"mean": x, "label": label} for label, x in marks.items()]
    return chart(
        "dots",
        description=f"{x_title} with 95 % intervals: {', '.join(rows)}",
        datasets={"marks": lines, "dots": values, "heads": heads},
        height=round(row * (ROW if row < MANY_ROWS else TIGHT_ROW)),
        x_title=x_title,
        x_domain=_padded(known),
        x_format="%" if as_percent else NUMBER,
        rows=[0, row],
    )


class Name(NamedTuple):
    """A name at the end of a line."""

    label: str
    paint: str
    x: float
    y: float


def _placed(ends: Sequence[Name], bottom: float, top: float) -> list[dict[str, Any]]:
    """Names at the ends of lines, moved as little as is simple so that they do not
    overlap; out of the plot only where it is too small for all.
    """
    pixels = HEIGHT * (top - np.array([end.y for end in ends])) / (top - bottom)
    order = np.argsort(pixels, kind="stable")
    gaps = NAME * np.arange(len(ends))
    # less a gap for each one above it, a name is at least as far down as the one before
    places = np.maximum.accumulate(np.maximum(pixels[order] - gaps, 0))
    pixels[order] = np.minimum(places, HEIGHT - gaps[-1]) + gaps
    heights = top - pixels * (top - bottom) / HEIGHT
    return [
        {"x": end.x, "y": y, "label": end.label, "paint": end.paint}
        for end, y in zip(ends, heights)
    ]


def text_of(score: Score, as_percent: bool = False) -> str:
    """A number with its interval, as in tables.

    Args:
        score: what the chart shows.
        as_percent: whether it is a share, shown in percent.
    """
    if isinstance(score, Estimate):
        return score.text(as_percent)
    return with_interval(score.mean, score.interval, as_percent)


def _readable(score: Score, as_percent: bool) -> str:
    """The text that a pointer shows: a number with its interval, or alone
    without one.
    """
    if score.interval is None:
        return percent(score.mean) if as_percent else number(score.mean)
    return text_of(score, as_percent)


def _range(lines: Sequence[Line], include: Sequence[float]) -> list[float]:
    """The ends of an axis on which all means can be told apart.

    Bands may reach beyond its ends where they are much wider than the means differ.
    """
    scores = [score for line in lines for _, score in line.points]
    means = [*include, *(score.mean for score in scores)]
    edges = [edge for score in scores for edge in score.interval or ()]
    low = min(means)
    high = max(means)
    room = ROOM * (high - low) or math.inf
    bottom = max(min([low, *edges]), low - room)
    top = min(max([high, *edges]), high + room)
    return _padded([bottom, top])


def _padded(values: Sequence[float]) -> list[float]:
    """A range around the values with some air; never empty."""
    low = min(values)
    high = max(values)
    air = 0.06 * (high - low) or 0.1 * abs(high) or 1.0
    return [low - air, high + air]


def short(value: float) -> float:
    """A number as it stands in the data of a picture."""
    return float(f"{value:.5g}")
