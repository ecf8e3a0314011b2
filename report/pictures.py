"""The picture of the inside of one episode, drawn without a display and saved as PNG."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import matplotlib

matplotlib.use("Agg")

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.axes import Axes

from spikepropamine.colours import (
    BLACK,
    BLUE,
    GREEN,
    GREY,
    ORANGE,
    PURPLE,
    RED,
    SKY,
)
from spikepropamine.common import whole_file
from spikepropamine.evaluation.run.episodes import Moment
from spikepropamine.words import plural

COLOURS = [BLUE, RED, GREEN, PURPLE, SKY, ORANGE, BLACK, GREY]  # of cues
STYLE: dict[Any, Any] = {
    "font.size": 10,
    "axes.titlesize": 11,
    "axes.titlelocation": "left",
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.axisbelow": True,
    "grid.color": "#E5E5E5",
    "legend.frameon": False,
    "figure.facecolor": "white",
}


def episode(moments: Sequence[Moment], title: str, subtitle: str, path: Path) -> None:
    """The steps of one episode looked into, as PNG: what happened, spikes,
    neuromodulator, and fast weights. A static network has the first two rows only. A
    second line of the title is set smaller.
    """
    kept: dict[str, list[Any]] = {
        name: [x for moment in moments if (x := getattr(moment, name)) is not None]
        for name in ("spikes", "modulator", "fast_weights")
    }
    spikes, ticks = np.concatenate(kept["spikes"]), len(kept["spikes"][0])
    plastic, modulated = bool(kept["fast_weights"]), bool(kept["modulator"])
    heights = [0.9, 2.2] + [2.2] * modulated + [2.0] * plastic
    with plt.rc_context(STYLE):
        figure = plt.figure(
            figsize=(11, 1.5 + 1.15 * sum(heights)), layout="constrained"
        )
        parts: Any = (
            figure.subfigures(1, 2, width_ratios=[3.4, 1]) if plastic else [figure]
        )
        rows = parts[0].subplots(len(heights), sharex=True, height_ratios=heights)
        _draw_events(rows[0], moments)
        _draw_spikes(rows[1], spikes, ticks, "plastic" if plastic else "static")
        if modulated:
            _draw_modulator(rows[2], np.concatenate(kept["modulator"]), ticks)
        if plastic:
            fast = np.stack(kept["fast_weights"])
            _draw_fast_weights(rows[-1], fast)
            _draw_matrices(parts[1], fast, [moment.info for moment in moments])
        rows[-1].set_xlabel(f"environment step ({plural(ticks, 'network tick')} each)")
        rows[0].set_xlim(0, len(moments))
        # an empty line of the title makes the room for the text below it, which is
        # smaller
        figure.suptitle(f"{title}\n", x=0.01, ha="left", fontsize=13, fontweight="bold")
        at = 1 - 0.40 / figure.get_figheight()
        figure.text(0.01, at, subtitle, fontsize=10, color="#555555", va="center")
        with whole_file(path) as part:
            figure.savefig(part, dpi=150, format="png")
        plt.close(figure)


def _draw_events(ax: Axes, moments: Sequence[Moment]) -> None:
    """Cue, action and outcome of every trial; or the reward, where trials show no cue."""
    numbered = (int, np.integer)  # cues of other tasks may be anything
    answers = [
        (step, moment.info)
        for step, moment in enumerate(moments)
        if isinstance(moment.info.get("cue"), numbered)
    ]
    steps, rewards = len(moments), [moment.reward for moment in moments]
    if not answers:
        ax.stairs(rewards, np.arange(steps + 1), baseline=None, color="#333333")
        ax.set_ylabel("reward")
        ax.set_title("Reward of each step")
        return
    first = answers[0][
        0
    ]  # trials are equally long, and the first one begins the episode
    starts = [step - first for step, _ in answers]
    action: Any = moments[0].action
    choice = np.ndim(action) == 0
    for (step, info), start, end in zip(answers, starts, [*starts[1:], steps]):
        middle, cue = (start + end) / 2, info["cue"]
        ax.axvspan(
            start, end, color=COLOURS[cue % len(COLOURS)], alpha=0.18, linewidth=0
        )
        ax.axvline(start, color="white", linewidth=1.5)
        name = chr(ord("A") + cue) if cue < 26 else str(cue)
        answer = f"{moments[step].action} " if choice else ""
        ax.text(middle, 0.7, name, ha="center", va="center")
        if "correct" in info:  # in a lesson nothing is asked
            mark, colour = ("✓", GREEN) if info["correct"] else ("✗", RED)
            ax.text(middle, 0.28, answer + mark, ha="center", va="center", fontweight="bold",
                    color=colour)  # fmt: skip
    ax.set_ylim(0, 1)
    ax.set_yticks([0.28, 0.7], ["action" if choice else "right", "cue"])
    ax.tick_params(axis="y", length=0)
    ax.spines["left"].set_visible(False)
    what = (
        "the action, and whether it was right"
        if choice
        else "and whether the robot ran right"
    )
    ax.set_title(f"Trials: the cue shown, {what}")


def _draw_spikes(ax: Axes, spikes: np.ndarray, ticks: int, kind: str) -> None:
    tick, neuron = np.nonzero(spikes)
    neurons = spikes.shape[1]
    height = (
        72 * 2.2 * 1.15 / neurons
    )  # points per row, so that neighbours nearly touch
    ax.scatter((tick + 0.5) / ticks, neuron, s=max(height, 1.5) ** 2, marker="|",
               color="#222222", linewidths=min(1.5, 800 / len(spikes)))  # fmt: skip
    ax.set_ylim(-1, neurons)
    ax.set_ylabel("neuron")
    share = 100 * spikes.mean()
    ax.set_title(
        f"Spikes of the {kind} layer (a neuron spikes in {share:.0f} % of the ticks on average)"
    )


def _draw_modulator(ax: Axes, rate: np.ndarray, ticks: int) -> None:
    order = np.argsort(rate.mean(axis=0))
    bound = max(float(np.abs(rate).max()), 1e-9)
    image = _image(
        ax, rate[:, order].T, bound, extent=(0, len(rate) / ticks, 0, rate.shape[1])
    )
    ax.set_ylabel("neuron, by mean")
    ax.set_title(
        "Neuromodulator m: red writes what the rule says, blue writes the opposite"
    )
    ax.figure.colorbar(image, ax=ax, label="m", pad=0.01, aspect=12)


def _draw_fast_weights(ax: Axes, fast: np.ndarray) -> None:
    flat = fast.reshape(len(fast), -1)
    flat = np.concatenate([np.zeros_like(flat[:1]), flat])  # where every episode starts
    time = np.arange(len(flat))
    # quantiles of how much synapses move: the most mobile one first, and some of all
    # kinds
    order = np.argsort(-np.ptp(flat, axis=0), kind="stable")
    chosen = order[np.unique(np.geomspace(1, len(order), 16).astype(int) - 1)]
    ax.plot(time, flat[:, chosen], color=COLOURS[0], alpha=0.45, linewidth=0.9)
    ax.plot(
        [],
        [],
        color=COLOURS[0],
        alpha=0.6,
        linewidth=0.9,
        label=f"{len(chosen)} synapses",
    )
    size = np.sqrt(np.mean(np.square(flat), axis=1))
    ax.plot(time, size, color="#222222", linewidth=2, label="root mean square of all")
    ax.axhline(0, color="#BBBBBB", linewidth=0.8, zorder=0)
    ax.set_ylabel("fast weight F")
    low, high = ax.get_ylim()
    ax.set_ylim(low, high + 0.3 * (high - low))  # room for the legend
    ax.set_title(f"Fast weights after each step ({flat.shape[1]:,} synapses)")
    ax.legend(loc="upper left", ncols=2, fontsize=9)


def _draw_matrices(figure: Any, fast: np.ndarray, infos: list[Any]) -> None:
    """Fast weights early in the episode and at its end, on one scale."""
    answers = [step for step, info in enumerate(infos) if "correct" in info]
    early = answers[1] if len(answers) > 1 else len(fast) // 2
    shown = [(early, "after the first trial" if len(answers) > 1 else "half-way")]
    shown.append((len(fast), "at the end"))
    bound = max(float(np.abs(fast[[step - 1 for step, _ in shown]]).max()), 1e-9)
    axes = figure.subplots(2)
    for ax, (step, when) in zip(axes, shown):
        image = _image(ax, fast[step - 1], bound)
        ax.set_title(f"F {when}")
        ax.set_ylabel("to neuron")
    axes[-1].set_xlabel("from neuron")
    figure.colorbar(
        image, ax=axes, label="fast weight F", location="bottom", aspect=18, shrink=0.9
    )


def _image(ax: Axes, values: np.ndarray, bound: float, **more: Any) -> Any:
    """Red above zero, blue below."""
    return ax.imshow(values, aspect="auto", origin="lower", interpolation="nearest",
                     cmap="RdBu_r", vmin=-bound, vmax=bound, **more)  # fmt: skip
