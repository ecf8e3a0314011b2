"""The two kinds of plot on the pages: curves with bands, and dots with intervals. Their looks are
in charts.yaml, as are those of the figures of README and docs.
"""

import functools
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from spikepropamine.reading import read_yaml
from spikepropamine.report.colours import paint
from spikepropamine.report.evaluation import Estimate
from spikepropamine.statistics import Difference
from spikepropamine.words import number, percent, with_interval

HEIGHT, NAME = (
    240,
    14,
)  # pixels of a plot of curves, and between the names at their ends
ROW, TIGHT_ROW = 16, 11  # pixels between dots; where there are many
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
    """A curve: its name at its end, its policy (empty: none), and at every x a mean with its band,
    where that is known.
    """

    label: str
    policy: str
    points: Sequence[tuple[float, Score]]
    dashed: bool = False


@dataclass(frozen=True)
class Dot:
    """A mean of a policy, with its interval where that is known."""

    label: str
    policy: str
    score: Score
    hollow: bool = False


def chart(name: str, **values: Any) -> Chart:
    """A chart of charts.yaml, in which values are filled in."""
    known = values | values.get("datasets", {})

    def filled(part: Any) -> Any:
        if isinstance(part, str):
            return values[part[1:]] if part.startswith("$") else part
        if isinstance(part, list):
            there = [
                x
                for x in part
                if not isinstance(x, dict) or known.get(x.get("when"), True)
            ]
            return [filled(x) for x in there]
        if not isinstance(part, dict):
            return part
        found = {key: filled(value) for key, value in part.items() if key != "when"}
        # null in the file means that there is to be none, of a legend for instance
        return {
            key: x for key, x in found.items() if x is not None or part[key] is None
        }

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
        for at, score in line.points:
            band = dict(zip(("low", "high"), map(short, score.interval or ())))
            points.append({"line": n, "x": at, "y": short(score.mean)} | band)
            readout.setdefault(at, {"x": at})[f"line{n}"] = _readable(score, as_percent)
    xs = sorted(readout)
    names = [{"field": f"line{n}", "title": x.label} for n, x in enumerate(lines)]
    ends = [
        (line.label, paint(line.policy, "t"), at, score.mean)
        for line in lines for at, score in line.points[-1:]
    ] + [(label, paint(""), xs[-1], at) for label, at in horizontal.items()]  # fmt: skip
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
        y_format="%" if as_percent else NUMBER,
        lines=list(range(len(lines))),
        paints=[paint(line.policy) for line in lines],
        dashes=[[5, 3] if line.dashed else [1, 0] for line in lines],
        dashed=[n for n, line in enumerate(lines) if line.dashed],
        few=max(len(line.points) for line in lines) <= FEW_POINTS,
        tooltip=[
            {"field": "x", "type": "quantitative", "title": x_title, "format": ",~r"}
        ]
        + [name | {"type": "nominal"} for name in names],
    )


def dots(
    rows: Mapping[str, Sequence[Dot]],
    x_title: str,
    *,
    as_percent: bool = False,
    include: Sequence[float] = (),
    marks: Mapping[str, float],
) -> Chart:
    """A Vega-Lite chart of means with intervals, a group of rows for each label; there is at least
    one.

    The title of the axis has the unit. With `as_percent` fractions are percentages. The x axis
    reaches the values to `include`. Marks go down the plot at some x, by their labels.
    """
    values, heads, known, at = [], [], [*include, *marks.values()], 0.0
    for head, some in rows.items():
        heads.append({"row": at + 0.5, "label": head})
        for n, dot in enumerate(some):
            colour = paint(dot.policy)
            name = f"{head}, {dot.label}" if dot.label else head
            of = {"row": at + 1.5 + n, "paint": colour, "name": name}
            of["fill"] = "var(--paper)" if dot.hollow else colour
            mean, text = dot.score.mean, _readable(dot.score, as_percent)
            low, high = dot.score.interval or (mean, mean)
            known += [low, mean, high]
            numbers = zip(("mean", "low", "high"), map(short, (mean, low, high)))
            values.append(of | dict(numbers) | {"text": text})
        at += len(some) + 1.4
    lines = [{"mean": x, "label": label} for label, x in marks.items()]
    return chart(
        "dots",
        description=f"{x_title} with 95 % intervals: {', '.join(rows)}",
        datasets={"marks": lines, "dots": values, "heads": heads},
        height=round(at * (ROW if at < MANY_ROWS else TIGHT_ROW)),
        x_title=x_title,
        x_domain=_padded(known),
        x_format="%" if as_percent else NUMBER,
        rows=[0, at],
    )


def _placed(
    ends: Sequence[tuple[str, str, float, float]], bottom: float, top: float
) -> list[dict[str, Any]]:
    """Names (label, colour, x, y) at the ends of lines, moved as little as is simple so that they
    do not overlap; out of the plot only where it is too small for all.
    """
    pixels = HEIGHT * (top - np.array([y for *_, y in ends])) / (top - bottom)
    order, gaps = np.argsort(pixels, kind="stable"), NAME * np.arange(len(ends))
    # less a gap for each one above it, a name is at least as far down as the one before
    places = np.maximum.accumulate(np.maximum(pixels[order] - gaps, 0))
    pixels[order] = np.minimum(places, HEIGHT - gaps[-1]) + gaps
    return [
        {
            "x": x,
            "y": top - pixel * (top - bottom) / HEIGHT,
            "label": label,
            "paint": paint,
        }
        for (label, paint, x, _), pixel in zip(ends, pixels)
    ]


def _readable(score: Score, as_percent: bool) -> str:
    if score.interval is None:
        return percent(score.mean) if as_percent else number(score.mean)
    return with_interval(score.mean, score.interval, as_percent)


def _range(lines: Sequence[Line], include: Sequence[float]) -> list[float]:
    """That of the means and of the bands, as far as these leave the means room to be told apart."""
    scores = [score for line in lines for _, score in line.points]
    means = [*include, *(score.mean for score in scores)]
    edges = [edge for score in scores for edge in score.interval or ()]
    low, high = min(means), max(means)
    room = ROOM * (high - low) or math.inf
    return _padded(
        [max(min([low, *edges]), low - room), min(max([high, *edges]), high + room)]
    )


def _padded(values: Sequence[float]) -> list[float]:
    """A range around the values with some air; never empty."""
    low, high = min(values), max(values)
    air = 0.06 * (high - low) or 0.1 * abs(high) or 1.0
    return [low - air, high + air]


def short(value: float) -> float:
    """A number as it stands in the data of a picture."""
    return float(f"{value:.5g}")
