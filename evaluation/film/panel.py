"""The panel beside the robot in a video, drawn on one canvas that is only added to.

A step costs about a millisecond; drawing it all anew with a plotting library would cost forty.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import matplotlib
import numpy as np
from matplotlib.ticker import MaxNLocator
from PIL import Image, ImageDraw, ImageFont

from spikepropamine.evaluation.film.recording import Moment

Colour = tuple[int, int, int]
# Okabe and Ito's palette, as in the figures
BLUE, ORANGE, PURPLE = (0, 114, 178), (213, 94, 0), (170, 70, 130)
INK, GREY, PALE, PAPER = (34, 34, 34), (110, 110, 110), (216, 216, 216), (255, 255, 255)
BELOW, ABOVE = (33, 102, 172), (178, 24, 43)  # ends of the colour scale
MARK = ORANGE
LEFT, RIGHT, TITLE, AXIS, GAP = 44, 18, 19, 17, 7  # pixels around and between the plots
REWARD = "Reward per step"
SHARES = {"spikes": 4.9, "modulator": 1.4, "fast_weights": 2.0, "reward": 1.7}  # of the height
TICKS_SHOWN = 225
THICKNESS = 2  # of the row of a neuron, at least
SMOOTHER = 4  # the reward curve is drawn so many times larger, and scaled down


@dataclass(frozen=True)
class Outline:
    """What has to be known of an episode before its panel can be drawn.

    Attributes:
        rewards: float [steps].
        onsets: steps before which something in the world changes, with what it is called.
        ticks: ticks of network time in a step.
        neurons: of the layer shown; 0 for a policy without spikes.
        synapses: (to, from) of the plastic synapses; None in a static layer.
        modulated: whether there is a neuromodulator.
        largest: of the absolute values of fast weights that occur.
    """

    rewards: np.ndarray
    onsets: tuple[tuple[int, str], ...] = ()
    ticks: int = 1
    neurons: int = 0
    synapses: tuple[int, int] | None = None
    modulated: bool = False
    largest: float = 0.0


@dataclass(frozen=True)
class Curve:
    """A reward rate: [steps], in the colour and under the name that it is drawn with."""

    values: np.ndarray
    colour: Colour = BLUE
    name: str = ""


class Panel:
    """Spikes, neuromodulator, fast weights and reward rate of one episode, as far as it has them.

    Args:
        outline: of the episode.
        curves: reward rates to draw, the first one on top; all of them appear step by step.
        window: steps that the reward rate is a mean over.
        width, height: in pixels.
        bound: fast weight of the strongest colours.

    Attributes:
        canvas: uint8 [height, width, 3], changed by `add`.
        plots: its parts by name: spikes, modulator, fast_weights, reward.
    """

    def __init__(
        self,
        outline: Outline,
        curves: Sequence[Curve],
        window: int,
        width: int,
        height: int,
        bound: float,
    ) -> None:
        self.outline, self.bound = outline, max(bound, 1e-9)
        self.canvas = np.full((height, width, 3), PAPER, dtype=np.uint8)
        self._step, self._steps = 0, max(len(curve.values) for curve in curves)
        inner = wide = width - LEFT - RIGHT  # pixels of the plots, and of what fills from the left
        self._columns = max(self._steps * outline.ticks, 1)  # all plots have one axis of time
        if self._columns > inner:
            self._columns = min(TICKS_SHOWN, inner)
            wide -= inner % self._columns
        self._right = LEFT + inner
        synapses = outline.synapses or (0, 0)
        self._lying = synapses[0] > synapses[1]  # so that the plot is as wide as it can be filled
        there = {
            "spikes": outline.neurons > 0, "modulator": outline.modulated,
            "fast_weights": outline.synapses is not None, "reward": True,
        }  # fmt: skip
        shares = {name: share for name, share in SHARES.items() if there[name]}
        room = height - AXIS - len(shares) * (TITLE + GAP)
        pixels = {k: int(room * share / sum(shares.values())) for k, share in shares.items()}
        self.plots: dict[str, np.ndarray] = {}
        top = 0
        for name, rows in pixels.items():
            top += TITLE
            self.plots[name] = self.canvas[top : top + rows, LEFT : LEFT + inner]
            top += rows + GAP
        self._strips: dict[str, Strip] = {
            name: Strip(self.plots[name][:, :wide], self._columns, PAPER)
            for name in ("spikes", "modulator")
            if name in self.plots
        }
        self._draw_frames(pixels, window)
        self._curve = self._drawn_curves(curves)
        self._show_curve()

    def add(self, moment: Moment) -> None:
        """Draws the next step of the episode."""
        if any(step == self._step for step, _ in self.outline.onsets):
            for strip in self._strips.values():
                strip.mark()
        if moment.spikes is not None:
            colours = np.where(moment.spikes[..., None] > 0, INK, PAPER).astype(np.uint8)
            self._add_to("spikes", colours)
        if moment.rate is not None:
            self._add_to("modulator", diverging(moment.rate, 1.0))
        if moment.fast_weights is not None and "fast_weights" in self.plots:
            plot = self.plots["fast_weights"]
            weights = moment.fast_weights.T if self._lying else moment.fast_weights
            picture = Image.fromarray(diverging(weights[::-1], self.bound))
            plot[:] = np.asarray(picture.resize(plot.shape[1::-1], Image.Resampling.BOX))
        self._step += 1
        self._show_curve()

    def _add_to(self, name: str, ticks: np.ndarray) -> None:
        """Adds the colours of the neurons at each tick, [ticks, neurons, 3], to a strip."""
        if (strip := self._strips.get(name)) is None:
            return
        rows = len(strip.view)
        for colours in ticks[:, chosen(ticks.shape[1], rows)]:
            strip.add(column_of(colours, rows))

    def _show_curve(self) -> None:
        plot = self.plots["reward"]
        reached = round(plot.shape[1] * self._step / self._steps)
        plot[:, :reached] = self._curve[:, :reached]

    def _draw_frames(self, pixels: dict[str, int], window: int) -> None:
        """Titles, axes and labels: what stays as it is."""
        outline = self.outline
        picture = Image.fromarray(self.canvas)
        draw = ImageDraw.Draw(picture)
        kind = "static layer" if outline.synapses is None else "plastic layer"
        shown = self._columns / outline.ticks
        unit = "steps" if outline.ticks == 1 else f"steps of {outline.ticks} ticks"
        scrolls = self._columns < len(outline.rewards) * outline.ticks
        time = f"last {shown:.0f} {unit}" if scrolls else f"{shown:.0f} {unit}"
        some = len(chosen(outline.neurons, pixels.get("spikes", 0)))
        of = f"{outline.neurons}" if some == outline.neurons else f"{some} of {outline.neurons}"
        titles = {
            "spikes": f"Spikes of {of} neurons in the {kind} ({time})",
            "modulator": "Neuromodulator, neuron by neuron",
            "reward": f"{REWARD} (mean over {window} steps)",
        }
        self._title = titles["reward"]
        if outline.synapses is not None:
            to, origin = outline.synapses
            titles["fast_weights"] = f"Fast weights now: {to} by {origin} synapses"
        top = 0
        for name, rows in pixels.items():
            draw.text((LEFT, top + 2), titles[name], INK, font(11))
            top += TITLE
            bottom = top + rows
            draw.rectangle((LEFT - 1, top - 1, self._right, bottom), outline=PALE)
            if name in ("spikes", "modulator"):
                label(draw, "neuron", LEFT - 5, top + rows // 2, "rm")
            if name == "modulator":
                draw_scale(draw, 1.0, self._right, top - TITLE + 2)
            elif name == "fast_weights":
                draw_scale(draw, self.bound, self._right, top - TITLE + 2)
                upwards, along = ("from", "to") if self._lying else ("to", "from")
                label(draw, upwards, LEFT - 5, top + rows // 2, "rm")
                label(draw, f"{along} →", LEFT - 5, bottom - 5, "rm")
            top = bottom + GAP
        self.canvas[:] = np.asarray(picture)

    def _drawn_curves(self, curves: Sequence[Curve]) -> np.ndarray:
        """The whole plot of the reward rate, uint8 [rows, columns, 3]; labels its axes."""
        steps, (rows, columns) = self._steps, self.plots["reward"].shape[:2]
        low, high = limits([curve.values for curve in curves])
        picture = Image.new("RGB", (columns * SMOOTHER, rows * SMOOTHER), PAPER)
        draw = ImageDraw.Draw(picture)

        def at(step: float, value: float) -> tuple[float, float]:
            share = (value - low) / (high - low)
            return (columns * SMOOTHER * step / steps, rows * SMOOTHER * (1 - share))

        for value in marks(low, high):
            draw.line([at(0, value), at(steps, value)], PALE, SMOOTHER)
        for step, _ in self.outline.onsets:
            x = at(step, 0)[0]  # the first pixels after the step before
            draw.rectangle((x, 0, x + 2 * SMOOTHER - 1, rows * SMOOTHER), MARK)
        for curve in reversed(curves):
            points = [at(step + 1, value) for step, value in enumerate(curve.values)]
            if len(points) > 1:
                draw.line(points, curve.colour, 2 * SMOOTHER, joint="curve")
        drawn = np.array(picture.resize((columns, rows), Image.Resampling.BOX))
        frame = Image.fromarray(self.canvas)
        self._label_curves(ImageDraw.Draw(frame), curves, low, high)
        self.canvas[:] = np.asarray(frame)
        return drawn

    def _label_curves(
        self, draw: ImageDraw.ImageDraw, curves: Sequence[Curve], low: float, high: float
    ) -> None:
        steps, rows = self._steps, len(self.plots["reward"])
        bottom = len(self.canvas) - AXIS - GAP
        top = bottom - rows
        for value in marks(low, high):
            label(draw, f"{value:g}", LEFT - 5, bottom - rows * (value - low) / (high - low), "rm")
        inner = self._right - LEFT
        for quarter, anchor in enumerate(("lt", "mt", "mt", "mt", "rt")):
            step = steps * quarter // 4
            text = f"step {step}" if quarter == 0 else f"{step}"
            label(draw, text, LEFT + inner * step // steps, bottom + 4, anchor)
        right = self._right
        named = [*reversed(curves)] if any(curve.name for curve in curves) else []
        left = right - sum(round(font(10).getlength(curve.name)) + 12 for curve in named)
        if named and left < LEFT + font(11).getlength(self._title):  # the names come first
            draw.rectangle((LEFT, top - TITLE, right, top - 2), fill=PAPER)
            if left > LEFT + font(11).getlength(REWARD):
                draw.text((LEFT, top - TITLE + 2), REWARD, INK, font(11))
        for curve in named:
            label(draw, curve.name, right, top - TITLE // 2 - 3, "rm", curve.colour)
            right -= round(font(10).getlength(curve.name)) + 12


class Strip:
    """A plot that fills from the left, and then moves left to make room for the newest column.

    It writes into `view`, uint8 [rows, pixels, 3] of a canvas. So many `columns` fill it, each as
    many pixels wide as the others, or one more.
    """

    def __init__(self, view: np.ndarray, columns: int, background: Colour) -> None:
        self.view, self.columns, self._added, self._filled = view, columns, 0, 0
        self._to_mark = 0  # pixels
        view[:] = background

    def add(self, column: np.ndarray) -> None:
        """Adds a column, uint8 [rows, 3]."""
        left, right = (
            count * self.view.shape[1] // self.columns for count in (self._added, self._added + 1)
        )
        self._added += 1
        pixels = self._next(right - left)
        pixels[:] = column[:, None]
        pixels[:, : self._to_mark] = MARK
        self._to_mark = max(self._to_mark - pixels.shape[1], 0)

    def mark(self) -> None:
        """Covers what comes next with a line, as wide as thin things can be in a video."""
        self._to_mark = 2

    def _next(self, width: int) -> np.ndarray:
        missing = self._filled + width - self.view.shape[1]
        if missing > 0:
            self.view[:, :-missing] = self.view[:, missing:].copy()
            self._filled -= missing
        self._filled += width
        return self.view[:, self._filled - width : self._filled]


def chosen(neurons: int, rows: int) -> np.ndarray:
    """Which neurons a plot of so many pixels shows, evenly spread: all, if they fit; [shown]."""
    shown = min(neurons, max(rows // THICKNESS, 1))
    return np.arange(shown) * neurons // shown


def column_of(colours: np.ndarray, rows: int) -> np.ndarray:
    """Colours of neurons, [shown, 3], stretched to a column [rows, 3]; the first at the bottom."""
    return colours[::-1][np.arange(rows) * len(colours) // rows]


def diverging(values: np.ndarray, bound: float) -> np.ndarray:
    """Colours, uint8 [..., 3], of numbers: blue below 0, white at 0, red above, full at `bound`."""
    share = np.clip(values / bound, -1, 1)[..., None]
    full = np.where(share < 0, BELOW, ABOVE)
    return np.round(255 + np.abs(share) * (full - 255.0)).astype(np.uint8)


def reward_rate(rewards: np.ndarray, window: int) -> np.ndarray:
    """Mean reward of the last `window` steps at each step, of fewer at the start; [steps]."""
    total = np.concatenate([[0.0], np.cumsum(rewards)])
    steps = np.arange(1, len(rewards) + 1)
    since = np.maximum(steps - window, 0)
    return (total[steps] - total[since]) / (steps - since)


def limits(curves: Sequence[np.ndarray]) -> tuple[float, float]:
    """Lowest and highest value of all curves, with some room, low < high."""
    low = min(float(values.min()) for values in curves)
    high = max(float(values.max()) for values in curves)
    room = 0.05 * (high - low) or max(abs(high), 1.0) * 0.05
    return low - room, high + room


def marks(low: float, high: float) -> list[float]:
    """Two or three round numbers between the limits, for an axis."""
    values = MaxNLocator(3).tick_values(low, high)
    return [round(float(value), 10) for value in values if low <= value <= high]


def draw_scale(draw: ImageDraw.ImageDraw, bound: float, right: int, top: int) -> None:
    """The colours of `diverging`, with the numbers at their ends."""
    text, wide = f"{bound:.2g}", 60
    right -= round(font(10).getlength(text)) + 4
    for x, colour in enumerate(diverging(np.linspace(-1, 1, wide), 1.0)):
        draw.line((right - wide + x, top + 2, right - wide + x, top + 11), tuple(colour))
    label(draw, text, right + 4, top + 7, "lm")
    label(draw, f"-{text}", right - wide - 4, top + 7, "rm")


@cache
def font(size: int) -> ImageFont.FreeTypeFont:
    """The font of the figures, which comes with matplotlib."""
    return ImageFont.truetype(Path(matplotlib.get_data_path(), "fonts/ttf/DejaVuSans.ttf"), size)


def label(
    draw: ImageDraw.ImageDraw, text: str, x: float, y: float, anchor: str, colour: Colour = GREY
) -> None:
    """Small text; the anchor is Pillow's."""
    draw.text((x, y), text, colour, font(10), anchor=anchor)
