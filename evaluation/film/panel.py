"""The panel beside the robot in a video: a figure, drawn once, whose plots fill step by
step.

A step costs about a millisecond; drawing it all anew with a plotting library would cost
forty.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import polars as pl
from PIL import Image

from spikepropamine import colours
from spikepropamine.evaluation.run.watched import Moment

if TYPE_CHECKING:
    from matplotlib.axes import Axes

REWARD_RATES = (colours.BLUE, colours.QUIET, "#AA4682")
"""Colours of reward rates; the third is a darker purple of the palette."""
INK = colours.rgb(colours.INK)
PAPER = colours.rgb(colours.WHITE)
MARK = colours.rgb(colours.RED)
SHARES = {
    "spikes": 4.9,
    "modulator": 1.4,
    "fast_weights": 2.0,
    "reward": 1.7,
}  # of the height
# where there are more than can be told apart
TICKS_SHOWN = 225
NEURONS_SHOWN = 64
THICKNESS = 2  # pixels of a mark
WINDOW = 50  # steps that a reward rate is a mean over, less in a short episode
LEAST = 1e-9  # end of the scale where all fast weights are 0
PIXELS = 72  # of an inch, so that a point is a pixel
STYLE: dict[Any, Any] = {
    "font.size": 10,
    "axes.titlesize": 11,
    "axes.titlelocation": "left",
    "axes.titlepad": 4,
    "axes.edgecolor": colours.LINE,
    "axes.labelcolor": colours.QUIET,
    "xtick.color": colours.QUIET,
    "ytick.color": colours.QUIET,
    "grid.color": colours.LINE,
    "axes.axisbelow": True,
    "lines.linewidth": 2,
    "xtick.major.size": 0,
    "ytick.major.size": 0,
    "figure.constrained_layout.h_pad": 0.03,
}


@dataclass(frozen=True)
class Outline:
    """What has to be known of an episode before its panel can be drawn."""

    rewards: np.ndarray  # float [steps]
    last: Moment  # which tells how large the layer shown is, and what it has
    onsets: tuple[int, ...] = ()  # steps before which something in the world changes
    largest: float = 0.0  # of the absolute values of fast weights that occur
    name: str = ""  # under which the reward rate is drawn
    colour: str = REWARD_RATES[0]


class Panel:
    """Spikes, neuromodulator, fast weights and reward rate of the first of some
    episodes, as far as it has them, and the reward rates of the others below its own.
    Sizes are in pixels.

    Attributes:
        canvas: uint8 [height, width, 3], changed by `add`.
        plots: its parts by name: spikes, modulator, fast_weights, reward.
    """

    def __init__(self, outlines: Sequence[Outline], width: int, height: int) -> None:
        self.outline = outlines[0]
        last = self.outline.last
        fast = self.outline.last.fast_weights
        # one scale for all fast weights
        self.bound = max(LEAST, *(outline.largest for outline in outlines))
        self._step = 0
        self._steps = max(len(outline.rewards) for outline in outlines)
        strip = last.modulator if last.spikes is None else last.spikes
        self._ticks, neurons = (1, 0) if strip is None else strip.shape
        shown = min(neurons, NEURONS_SHOWN)
        self._neurons = np.arange(shown) * neurons // max(shown, 1)  # evenly spread
        # so that the plot is as wide as it can be filled
        self._lying = fast is not None and fast.shape[0] > fast.shape[1]
        # all plots have one axis of time
        self._columns = max(self._steps * self._ticks, 1)
        if self._columns > width:
            self._columns = TICKS_SHOWN
        self.canvas, self.plots = self._drawn(outlines, width, height)
        self._curves = self.plots["reward"].copy()
        self.plots["reward"][:] = PAPER
        size = (len(self._neurons), self._columns, 3)
        self._strips: dict[str, np.ndarray] = {
            name: np.full(size, PAPER, dtype=np.uint8)
            for name in ("spikes", "modulator")
            if name in self.plots
        }

    def _drawn(
        self, outlines: Sequence[Outline], width: int, height: int
    ) -> tuple[np.ndarray, dict[str, np.ndarray]]:
        """The canvas with all that stays, and its parts that fill."""
        last = self.outline.last
        shares = {
            name: share
            for name, share in SHARES.items()
            if getattr(last, name) is not None
        }
        # imported late: that takes most of a second
        from matplotlib import rc_context
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.figure import Figure

        with rc_context(STYLE):
            inches = (width / PIXELS, height / PIXELS)
            figure = Figure(inches, PIXELS, layout="constrained")
            drawing: Any = FigureCanvasAgg(figure)
            axes = figure.subplots(
                len(shares), height_ratios=list(shares.values()), squeeze=False
            )
            plots = dict(zip(shares, axes[:, 0]))
            self._label(plots)
            self._draw_curves(plots["reward"], outlines)
            drawing.draw()
        canvas = np.asarray(drawing.buffer_rgba())[..., :3].copy()
        parts = {}
        for name, ax in plots.items():
            corners = np.round(ax.get_window_extent().get_points()).astype(int)
            left, right = corners[:, 0]
            bottom, top = corners[:, 1]
            rows = slice(height - top + 1, height - bottom - 1)
            parts[name] = canvas[rows, left + 1 : right]
        return canvas, parts

    def add(self, moment: Moment) -> None:
        """Draws the next step of the episode."""
        self._step += 1
        if moment.spikes is not None:
            self._extend("spikes", np.where(moment.spikes[..., None] > 0, INK, PAPER))
        if moment.modulator is not None:
            self._extend("modulator", colours.diverging(moment.modulator, 1.0))
        if moment.fast_weights is not None and "fast_weights" in self.plots:
            weights = moment.fast_weights.T if self._lying else moment.fast_weights
            picture = colours.diverging(weights[::-1], self.bound)
            _fill(self.plots["fast_weights"], picture, Image.Resampling.BOX)
        reached = round(self._curves.shape[1] * self._step / self._steps)
        self.plots["reward"][:, :reached] = self._curves[:, :reached]

    def _extend(self, name: str, ticks: np.ndarray) -> None:
        """Adds the colours of the neurons at each tick, [ticks, neurons, 3], to a plot
        that fills from the left, and then moves left.
        """
        if (strip := self._strips.get(name)) is None:
            return
        plot = self.plots[name]
        end = self._step * self._ticks
        past = max(end - self._columns, 0)  # ticks that have left the plot
        moved = past - max(end - len(ticks) - self._columns, 0)
        strip[:, : self._columns - moved] = strip[:, moved:].copy()
        new = ticks[:, self._neurons[::-1]].swapaxes(0, 1)[:, -self._columns :]
        strip[:, min(end, self._columns) - new.shape[1] : min(end, self._columns)] = new
        _fill(plot, strip, Image.Resampling.NEAREST)
        for step in self.outline.onsets:
            at = (step * self._ticks - past) * plot.shape[1] // self._columns
            if step < self._step and at >= 0:
                plot[:, at : at + THICKNESS] = MARK

    def _label(self, plots: "dict[str, Axes]") -> None:
        """Titles and labels of the plots but for the reward rate."""
        fast = self.outline.last.fast_weights
        titles = {
            "spikes": self._spikes_title(),
            "modulator": "Neuromodulator, neuron by neuron",
        }
        if fast is not None:
            to, of = fast.shape
            titles["fast_weights"] = f"Fast weights now: {to} by {of} synapses"
            label = "from\nto →" if self._lying else "to\nfrom →"
            plots["fast_weights"].set_ylabel(label, rotation=0, ha="right")
        bounds = {"modulator": 1.0, "fast_weights": self.bound}
        for name, title in titles.items():
            if name not in plots:
                continue
            plots[name].set_title(title)
            plots[name].set(xticks=[], yticks=[])
            if name == "spikes":
                plots[name].set_ylabel("neuron")
            else:
                scale = f"blue: {-bounds[name]:.2g}, red: {bounds[name]:.2g}"
                plots[name].set_title(
                    scale, loc="right", fontsize=10, color=colours.QUIET
                )

    def _spikes_title(self) -> str:
        last = self.outline.last
        kind = "static layer" if last.fast_weights is None else "plastic layer"
        count = len(self._neurons)
        neurons = f"{count} neurons"
        if last.spikes is not None and count < last.spikes.shape[1]:
            neurons = f"{count} of {last.spikes.shape[1]} neurons"
        steps = f"{self._columns / self._ticks:.0f} steps"
        if self._columns < len(self.outline.rewards) * self._ticks:
            steps = f"last {steps}"
        if self._ticks > 1:
            steps += f" of {self._ticks} ticks"
        return f"Spikes of {neurons} in the {kind} ({steps})"

    def _draw_curves(self, ax: "Axes", outlines: Sequence[Outline]) -> None:
        named = any(x.name for x in outlines)
        window = max(min(WINDOW, self._steps // 5), 1)
        ax.set_title(
            "Reward per step" + ("" if named else f" (mean over {window} steps)")
        )
        ax.grid(axis="y")
        for step in self.outline.onsets:
            ax.axvline(step, color=np.divide(MARK, 255))
        for x in reversed(outlines):
            rate = pl.Series(x.rewards).rolling_mean(window, min_samples=1)
            ax.plot(
                np.arange(1, len(rate) + 1),
                rate.to_numpy(),
                color=x.colour,
                label=x.name,
            )
        ax.margins(
            y=0.15
        )  # so that no line lies on the frame, which is there from the start
        ax.set_xlim(0, self._steps)
        ax.locator_params(axis="y", nbins=3)
        if named:
            ax.legend(loc="lower right", bbox_to_anchor=(1, 0.95), ncols=len(outlines),
                      frameon=False, borderaxespad=0, handlelength=1)  # fmt: skip


def _fill(plot: np.ndarray, colours: np.ndarray, resampling: Image.Resampling) -> None:
    """Stretches colours, uint8 [any, any, 3], to a plot."""
    rows, columns = plot.shape[:2]
    plot[:] = np.asarray(Image.fromarray(colours).resize((columns, rows), resampling))
