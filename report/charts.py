"""The three kinds of plot on the pages: curves with bands, dots with intervals, and points. Their
looks are in charts.yaml, as are those of the figures of README and docs.
"""

import functools
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from spikepropamine.reading import read_yaml
from spikepropamine.report.colours import variable
from spikepropamine.words import number, percent, with_interval

HEIGHT = 240  # pixels of a plot of curves
ROW, TIGHT_ROW = 16, 11  # pixels between dots; where there are many
MANY_ROWS = 40
FEW_POINTS = 12  # of a curve, which are marked
NUMBER = ",.12~g"  # 12 digits, less zeros at the end
ROOM = 0.6  # beyond the means that bands may take up, relative to the range of the means
QUIET = ""  # the colour of what is there for comparison

Point = tuple[float, float, float | None, float | None]
Chart = dict[str, Any]


@dataclass(frozen=True)
class Line:
    """A curve: its name at its end, and points of x, mean, and the edges of a band where known."""

    label: str
    colour: str
    points: Sequence[Point]
    dashed: bool = False


@dataclass(frozen=True)
class Dot:
    """A mean, with its interval where that is known."""

    label: str
    colour: str
    mean: float
    low: float | None
    high: float | None
    hollow: bool = False


def chart(name: str, **values: Any) -> Chart:
    """A chart of charts.yaml, in which values are filled in."""
    known = values | values.get("datasets", {})

    def filled(part: Any) -> Any:
        if isinstance(part, str):
            return values[part[1:]] if part.startswith("$") else part
        if isinstance(part, list):
            there = [x for x in part if not isinstance(x, dict) or known.get(x.get("when"), True)]
            return [filled(x) for x in there]
        if not isinstance(part, dict):
            return part
        found = {key: filled(value) for key, value in part.items() if key != "when"}
        # null in the file means that there is to be none, of a legend for instance
        return {key: x for key, x in found.items() if x is not None or part[key] is None}

    return filled(_charts()[name])


@functools.cache
def _charts() -> Mapping[str, Any]:
    return read_yaml(Path(__file__).with_name("charts.yaml"))


def curves(
    lines: Sequence[Line],
    x_title: str,
    y_title: str,
    *,
    as_percent: bool = False,
    x_format: str = NUMBER,
    include: Sequence[float] = (),
    vertical: Mapping[str, float] | None = None,
    horizontal: Mapping[str, float] | None = None,
) -> Chart:
    """A Vega-Lite chart of curves, each named at its end; there is at least one, with a point.

    Titles of axes have the unit. With `as_percent` fractions are percentages. `x_format` is of the
    ticks, as in d3; "d" has whole numbers only. The y axis reaches the values to `include`. Marks
    go across the plot at some x (`vertical`) or y (`horizontal`), by their labels.
    """
    vertical, horizontal = vertical or {}, horizontal or {}
    bottom, top = _range(lines, [*include, *horizontal.values()])
    points: list[dict[str, Any]] = []
    readout: dict[float, dict[str, Any]] = {}
    for n, line in enumerate(lines):
        for at, mean, low, high in line.points:
            band = {} if low is None or high is None else {"low": _short(low), "high": _short(high)}
            points.append({"line": n, "x": at, "y": _short(mean)} | band)
            text = _readable(mean, low, high, as_percent)
            readout.setdefault(at, {"x": at})[f"line{n}"] = text
    xs = sorted(readout)
    names = [{"field": f"line{n}", "title": x.label} for n, x in enumerate(lines)]
    ends = [(line.label, _ink(line.colour), *line.points[-1][:2]) for line in lines]
    ends += [(label, "var(--quiet)", xs[-1], at) for label, at in horizontal.items()]
    datasets = {
        "across": [{"y": at} for at in horizontal.values()],
        "down": [{"x": at, "label": label} for label, at in vertical.items()],
        "points": points,
        "ends": _placed(ends, bottom, top),
        "readout": [readout[at] for at in xs],
    }
    return chart(
        "curves",
        description=f"Curves of {y_title} by {x_title}: {', '.join(x.label for x in lines)}",
        datasets=datasets,
        height=HEIGHT,
        x_title=x_title,
        x_domain=[xs[0], xs[-1]],
        x_format=x_format,
        x_step=1 if x_format == "d" else None,
        y_title=y_title,
        y_domain=[bottom, top],
        y_format=_format(as_percent),
        lines=list(range(len(lines))),
        paints=[_paint(line.colour) for line in lines],
        dashes=[[5, 3] if line.dashed else [1, 0] for line in lines],
        dashed=[n for n, line in enumerate(lines) if line.dashed],
        few=max(len(line.points) for line in lines) <= FEW_POINTS,
        tooltip=[{"field": "x", "type": "quantitative", "title": x_title, "format": ",~r"}]
        + [name | {"type": "nominal"} for name in names],
    )


def dots(
    rows: Mapping[str, Sequence[Dot]],
    x_title: str,
    *,
    as_percent: bool = False,
    include: Sequence[float] = (),
    marks: Mapping[str, float] | None = None,
) -> Chart:
    """A Vega-Lite chart of means with intervals, a group of rows for each label; there is at least
    one.

    The title of the axis has the unit. With `as_percent` fractions are percentages. The x axis
    reaches the values to `include`. Marks go down the plot at some x, by their labels.
    """
    marks = marks or {}
    values, heads, at = [], [], 0.0
    for head, some in rows.items():
        heads.append({"row": at + 0.5, "label": head})
        for n, dot in enumerate(some):
            paint = _paint(dot.colour)
            name = f"{head}, {dot.label}" if dot.label else head
            of = {"row": at + 1.5 + n, "paint": paint, "name": name}
            of["fill"] = "var(--paper)" if dot.hollow else paint
            values.append(of | _point(dot, "mean", as_percent))
        at += len(some) + 1.4
    every = [v for some in rows.values() for x in some for v in (x.low, x.mean, x.high)]
    known = [value for value in every if value is not None]
    lines = [{"mean": x, "label": label} for label, x in marks.items()]
    return chart(
        "dots",
        description=f"{x_title} with 95 % intervals: {', '.join(rows)}",
        datasets={"marks": lines, "dots": values, "heads": heads},
        height=round(at * (ROW if at < MANY_ROWS else TIGHT_ROW)),
        x_title=x_title,
        x_domain=_padded([*known, *include, *marks.values()]),
        x_format=_format(as_percent),
        rows=[0, at],
    )


def scatter(
    spots: Sequence[tuple[float, Dot]], x_title: str, y_title: str, *, as_percent: bool = False
) -> Chart:
    """A Vega-Lite chart of points at some x above 0, each named beside it. The x axis is
    logarithmic.
    """
    values = [
        {"x": _short(at), "paint": _paint(dot.colour), "ink": _ink(dot.colour),
         "label": dot.label, "at": number(at)} | _point(dot, "y", as_percent)
        for at, dot in spots
    ]  # fmt: skip
    some = [v for _, dot in spots for v in (dot.low, dot.mean, dot.high)]
    xs = [at for at, _ in spots]
    return chart(
        "scatter",
        description=f"{y_title} by {x_title}: {', '.join(dot.label for _, dot in spots)}",
        datasets={"spots": values},
        height=HEIGHT,
        x_title=x_title,
        x_domain=[min(xs) / 2, max(xs) * 4],
        y_title=y_title,
        y_domain=_padded([v for v in some if v is not None]),
        y_format=_format(as_percent),
    )


def spread(positions: Sequence[float], gap: float, low: float, high: float) -> list[float]:
    """Positions moved as little as is simple so that neighbours are `gap` apart, between `low` and
    `high`; that range is left only where it is too small for all.
    """
    order = sorted(range(len(positions)), key=lambda k: positions[k])
    placed: list[float] = []
    for k in order:
        placed.append(max(positions[k], placed[-1] + gap if placed else low))
    limit = high
    for n in reversed(range(len(placed))):
        placed[n] = min(placed[n], limit)
        limit = placed[n] - gap
    result = [0.0] * len(positions)
    for place, k in zip(placed, order):
        result[k] = place
    return result


def _placed(
    ends: Sequence[tuple[str, str, float, float]], bottom: float, top: float
) -> list[dict[str, Any]]:
    """Names (label, colour, x, y) at the ends of lines, kept from overlapping."""
    pixels = [HEIGHT * (top - at_y) / (top - bottom) for _, _, _, at_y in ends]
    return [
        {"x": at_x, "y": top - place * (top - bottom) / HEIGHT, "label": label, "paint": paint}
        for (label, paint, at_x, _), place in zip(ends, spread(pixels, 14, 0, HEIGHT))
    ]


def _readable(mean: float, low: float | None, high: float | None, as_percent: bool) -> str:
    if low is None or high is None:
        return percent(mean) if as_percent else number(mean)
    return with_interval(mean, (low, high), as_percent)


def _point(of: Dot, axis: str, as_percent: bool) -> dict[str, Any]:
    """The numbers of a dot along an axis, and its text."""
    low, high = (of.mean if edge is None else edge for edge in (of.low, of.high))
    numbers = {axis: _short(of.mean), "low": _short(low), "high": _short(high)}
    return numbers | {"text": _readable(of.mean, of.low, of.high, as_percent)}


def _paint(colour: str) -> str:
    return variable(colour) if colour else "var(--quiet)"


def _ink(colour: str) -> str:
    """Of a name, which has to be easier to see than a line."""
    return variable(colour, "t") if colour else "var(--quiet)"


def _range(lines: Sequence[Line], include: Sequence[float]) -> list[float]:
    """That of the means and of the bands, as far as these leave the means room to be told apart."""
    points = [point for line in lines for point in line.points]
    means = [*include, *(mean for _, mean, *_ in points)]
    edges = [edge for _, _, *band in points for edge in band if edge is not None]
    low, high = min(means), max(means)
    room = ROOM * (high - low) or math.inf
    return _padded([max(min([low, *edges]), low - room), min(max([high, *edges]), high + room)])


def _padded(values: Sequence[float]) -> list[float]:
    """A range around the values with some air; never empty."""
    low, high = min(values), max(values)
    air = 0.06 * (high - low) or 0.1 * abs(high) or 1.0
    return [low - air, high + air]


def _format(as_percent: bool) -> str:
    return "%" if as_percent else NUMBER


def _short(value: float) -> float:
    return float(f"{value:.4g}")
