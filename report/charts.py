"""The three kinds of plot on the pages: curves with bands, dots with intervals, and points."""

import itertools
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

import altair as alt

from spikepropamine.report.colours import variable
from spikepropamine.words import number, percent, with_interval

HEIGHT = 240  # pixels of a plot of curves
ROW, TIGHT_ROW = 16, 11  # pixels between dots; where there are many
MANY_ROWS = 40
LABEL = 130  # pixels of a name beside a line, at most
NUMBER = ",.12~g"  # 12 digits, less zeros at the end
ROOM = 0.6  # beyond the means that bands may take up, relative to the range of the means
QUIET = ""  # the colour of what is there for comparison

Point = tuple[float, float, float | None, float | None]


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
) -> dict[str, Any]:
    """A Vega-Lite chart of curves, each named at its end; there is at least one, with a point.

    Titles of axes have the unit. With `as_percent` fractions are percentages. `x_format` is of the
    ticks, as in d3; "d" has whole numbers only. The y axis reaches the values to `include`. Marks
    go across the plot at some x (`vertical`) or y (`horizontal`), by their labels.
    """
    vertical, horizontal = vertical or {}, horizontal or {}
    bottom, top = _range(lines, [*include, *horizontal.values()])
    xs = [x for line in lines for x, *_ in line.points]
    above = {"titleAngle": 0, "titleAlign": "left", "titleBaseline": "bottom", "titleX": -38,
             "titleY": -8, "labelPadding": 6}  # fmt: skip
    y_settings = _y_settings(y_title, bottom, top, as_percent, **above)
    y = alt.Y("y:Q", **y_settings)
    ticks: dict[str, Any] = {"tickMinStep": 1} if x_format == "d" else {}
    x = alt.X("x:Q", title=x_title, scale=_scale(min(xs), max(xs)), axis=alt.Axis(
        grid=False, tickCount=5, labelOverlap=True, labelFlush=False, format=x_format, **ticks,
    ))  # fmt: skip

    values = []
    for n, line in enumerate(lines):
        for at, mean, low, high in line.points:
            point = {"line": n, "x": at, "y": _short(mean)}
            if low is not None and high is not None:
                point |= {"low": _short(low), "high": _short(high)}
            values.append(point)
    numbers = list(range(len(lines)))
    paints = alt.Scale(domain=numbers, range=[_paint(line.colour) for line in lines])
    colour = alt.Color("line:N", legend=None, scale=paints)
    dashes = [[5, 3] if line.dashed else [1, 0] for line in lines]
    dash = alt.StrokeDash("line:N", legend=None, scale=alt.Scale(domain=numbers, range=dashes))
    dashed = [n for n, line in enumerate(lines) if line.dashed]
    opacity = alt.condition(
        alt.FieldOneOfPredicate(field="line", oneOf=dashed), alt.value(0.07), alt.value(0.18)
    )
    base = alt.Chart(_data(values)).encode(x=x, color=colour, detail="line:N")
    layers: list[Any] = [_dotted("y", at).encode(y=y) for at in horizontal.values()]
    for label, at in vertical.items():
        mark = alt.Chart(_data([{"x": at, "label": label}])).encode(x=x)
        layers.append(mark.mark_rule(color="var(--quiet)"))
        name = mark.mark_text(align="left", baseline="top", dx=4, color="var(--quiet)")
        layers.append(name.encode(text="label:N", y=alt.value(0)))
    bottoms = alt.Y("low:Q", **y_settings)
    # which breaks where there is no interval
    layers.append(base.mark_area(clip=True).encode(y=bottoms, y2="high:Q", opacity=opacity))
    layers.append(base.mark_line(strokeWidth=2, strokeJoin="round").encode(y=y, strokeDash=dash))
    if max(len(line.points) for line in lines) <= 12:
        layers.append(base.mark_circle(size=36, opacity=1).encode(y=y))
    ends = [(line.label, _ink(line.colour), *line.points[-1][:2]) for line in lines]
    ends += [(label, "var(--quiet)", max(xs), at) for label, at in horizontal.items()]
    layers.append(_end_labels(ends, x, y, bottom, top))
    layers.append(_readout(lines, x, x_title, as_percent))
    described = f"Curves of {y_title} by {x_title}: {', '.join(line.label for line in lines)}"
    return _finished(layers, described)


def dots(
    rows: Mapping[str, Sequence[Dot]],
    x_title: str,
    *,
    as_percent: bool = False,
    include: Sequence[float] = (),
    marks: Mapping[str, float] | None = None,
) -> dict[str, Any]:
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
            of = {
                "row": at + 1.5 + n,
                "paint": paint,
                "fill": "var(--paper)" if dot.hollow else paint,
            }
            of["name"] = f"{head}, {dot.label}" if dot.label else head
            values.append(of | _point(dot, "mean", as_percent))
        at += len(some) + 1.4
    dots_of = itertools.chain(*rows.values())
    every = [v for dot in dots_of for v in (dot.low, dot.mean, dot.high) if v is not None]
    left, right = _padded([*every, *include, *marks.values()])
    # no grid: names of conditions stand across the whole width
    axis = alt.Axis(
        tickCount=5, labelFlush=False, labelOverlap=True, grid=False, format=_format(as_percent)
    )
    x_settings: dict[str, Any] = {"title": x_title, "scale": _scale(left, right), "axis": axis}
    x = alt.X("mean:Q", **x_settings)
    y = alt.Y("row:Q", axis=None, scale=_scale(0, at, reverse=True))
    tooltip = [alt.Tooltip("name:N", title=" "), alt.Tooltip("text:N", title=x_title)]
    base = alt.Chart(_data(values)).encode(y=y, tooltip=tooltip)
    colour = alt.Color("paint:N", scale=None)
    layers: list[Any] = [
        _dotted("mean", at_x, label=label).encode(x=x) for label, at_x in marks.items()
    ]
    lows = alt.X("low:Q", **x_settings)
    layers.append(base.mark_rule(strokeWidth=2).encode(x=lows, x2="high:Q", color=colour))
    points = base.mark_point(size=64, strokeWidth=2, opacity=1)
    layers.append(points.encode(x=x, stroke=colour, fill=alt.Fill("fill:N", scale=None)))
    names = alt.Chart(_data(heads)).encode(y=y, text="label:N", x=alt.value(0))
    # a strip of paper below them, so that no line runs through the letters
    layers.append(names.mark_text(align="left", stroke="var(--paper)", strokeWidth=5))
    layers.append(names.mark_text(align="left", fontWeight=500, color="var(--ink)"))
    described = f"{x_title} with 95 % intervals: {', '.join(rows)}"
    height = round(at * (ROW if at < MANY_ROWS else TIGHT_ROW))
    return _finished(layers, described, height, {"left": 6, "top": 0, "bottom": 5, "right": 6})


def scatter(
    spots: Sequence[tuple[float, Dot]], x_title: str, y_title: str, *, as_percent: bool = False
) -> dict[str, Any]:
    """A Vega-Lite chart of points at some x above 0, each named beside it. The x axis is
    logarithmic.
    """
    values = [
        {"x": _short(at), "paint": _paint(dot.colour), "ink": _ink(dot.colour),
         "label": dot.label, "at": number(at)} | _point(dot, "y", as_percent)
        for at, dot in spots
    ]  # fmt: skip
    some = [v for _, dot in spots for v in (dot.low, dot.mean, dot.high)]
    bottom, top = _padded([v for v in some if v is not None])
    xs = [at for at, _ in spots]
    x = alt.X(
        "x:Q",
        title=x_title,
        scale=alt.Scale(type="log", domain=[min(xs) / 2, max(xs) * 4], nice=False),
        axis=alt.Axis(grid=False, tickCount=4, labelOverlap=True, format="~s"),
    )
    y_settings = _y_settings(y_title, bottom, top, as_percent)
    titles = {"label:N": " ", "text:N": y_title, "at:N": x_title}
    tooltip = [alt.Tooltip(field, title=title) for field, title in titles.items()]
    colour = alt.Color("paint:N", scale=None)
    base = alt.Chart(_data(values)).encode(x=x, color=colour, tooltip=tooltip)
    y, ink = alt.Y("y:Q", **y_settings), alt.Color("ink:N", scale=None)
    low = alt.Y("low:Q", **y_settings)
    layers: list[Any] = [
        base.mark_rule(strokeWidth=2).encode(y=low, y2="high:Q"),
        base.mark_circle(size=64, opacity=1).encode(y=y),
        base.mark_text(align="left", dx=8).encode(y=y, text="label:N", color=ink),
    ]
    described = f"{y_title} by {x_title}: {', '.join(dot.label for _, dot in spots)}"
    return _finished(layers, described)


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


def _end_labels(
    ends: Sequence[tuple[str, str, float, float]], x: alt.X, y: alt.Y, bottom: float, top: float
) -> Any:
    """Names (label, colour, x, y) beside the ends of lines, kept from overlapping."""
    pixels = [HEIGHT * (top - at_y) / (top - bottom) for _, _, _, at_y in ends]
    values = [
        {"x": at_x, "y": top - place * (top - bottom) / HEIGHT, "label": label, "paint": paint}
        for (label, paint, at_x, _), place in zip(ends, spread(pixels, 14, 0, HEIGHT))
    ]
    return (
        alt.Chart(_data(values))
        .mark_text(align="left", dx=8, fontWeight=500, limit=LABEL)
        .encode(x=x, y=y, text="label:N", color=alt.Color("paint:N", scale=None))
    )


def _readout(lines: Sequence[Line], x: alt.X, x_title: str, as_percent: bool) -> Any:
    """A rule that follows the pointer, with the values of all lines there."""
    rows: dict[float, dict[str, Any]] = {}
    for n, line in enumerate(lines):
        for at, mean, low, high in line.points:
            text = _readable(mean, low, high, as_percent)
            rows.setdefault(at, {"x": at})[f"line{n}"] = text
    tooltip = [alt.Tooltip("x:Q", title=x_title, format=",~r")] + [
        alt.Tooltip(f"line{n}:N", title=line.label) for n, line in enumerate(lines)
    ]
    near = alt.selection_point(
        fields=["x"], nearest=True, on="pointerover", clear="pointerout", empty=False
    )
    return (
        alt.Chart(_data([rows[at] for at in sorted(rows)]))
        .mark_rule(color="var(--quiet)")
        .encode(x=x, tooltip=tooltip, opacity=alt.condition(near, alt.value(0.7), alt.value(0)))
        .add_params(near)
    )


def _readable(mean: float, low: float | None, high: float | None, as_percent: bool) -> str:
    if low is None or high is None:
        return percent(mean) if as_percent else number(mean)
    return with_interval(mean, (low, high), as_percent)


def _point(of: Dot, axis: str, as_percent: bool) -> dict[str, Any]:
    """The numbers of a dot along an axis, and its text."""
    low, high = (of.mean if edge is None else edge for edge in (of.low, of.high))
    numbers = {axis: _short(of.mean), "low": _short(low), "high": _short(high)}
    return numbers | {"text": _readable(of.mean, of.low, of.high, as_percent)}


def _dotted(axis: str, at: float, **more: Any) -> alt.Chart:
    """A dotted line at a value."""
    return alt.Chart(_data([{axis: at} | more])).mark_rule(
        strokeDash=[2, 3], color="var(--quiet)"
    )  # fmt: skip


def _scale(low: float, high: float, **more: Any) -> alt.Scale:
    return alt.Scale(domain=[low, high], nice=False, zero=False, **more)


def _y_settings(
    title: str, bottom: float, top: float, as_percent: bool, **axis: Any
) -> dict[str, Any]:
    settings: Any = {"tickCount": 5, "domain": False, "ticks": False}
    axis = settings | {"format": _format(as_percent)} | axis
    return {"title": title, "scale": _scale(bottom, top), "axis": alt.Axis(**axis)}


def _finished(
    layers: Sequence[Any],
    description: str,
    height: int = HEIGHT,
    padding: Mapping[str, int] = MappingProxyType({"left": 0, "top": 4, "bottom": 5, "right": 2}),
) -> dict[str, Any]:
    chart = alt.layer(*layers).properties(
        width="container", height=height, padding=dict(padding), description=description
    )
    return chart.to_dict()


def _paint(colour: str) -> str:
    return variable(colour) if colour else "var(--quiet)"


def _ink(colour: str) -> str:
    """Of a name, which has to be easier to see than a line."""
    return variable(colour, "t") if colour else "var(--quiet)"


def _range(lines: Sequence[Line], include: Sequence[float]) -> tuple[float, float]:
    """That of the means and of the bands, as far as these leave the means room to be told apart."""
    points = [point for line in lines for point in line.points]
    means = [*include, *(mean for _, mean, *_ in points)]
    edges = [edge for _, _, *band in points for edge in band if edge is not None]
    low, high = min(means), max(means)
    room = ROOM * (high - low) or math.inf
    return _padded([max(min([low, *edges]), low - room), min(max([high, *edges]), high + room)])


def _padded(values: Sequence[float]) -> tuple[float, float]:
    """A range around the values with some air; never empty."""
    low, high = min(values), max(values)
    air = 0.06 * (high - low) or 0.1 * abs(high) or 1.0
    return low - air, high + air


def _format(as_percent: bool) -> str:
    return "%" if as_percent else NUMBER


def _short(value: float) -> float:
    return float(f"{value:.4g}")


def _data(values: Sequence[Mapping[str, Any]]) -> alt.InlineData:
    return alt.InlineData(values=list(values))
