"""The picture of the inside of one episode: a Vega-Lite chart, which vl-convert draws.

Heat maps are pictures inside of it, since a chart of a hundred thousand cells would
take minutes to draw.
"""

import base64
import io
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from spikepropamine import colours
from spikepropamine.evaluation.run.watched import Moment
from spikepropamine.report.charts import Chart, chart, short
from spikepropamine.report.figures import draw
from spikepropamine.words import plural

CUES = (
    colours.BLUE,
    colours.RED,
    colours.GREEN,
    colours.PURPLE,
    colours.SKY,
    colours.ORANGE,
    colours.BLACK,
    colours.GREY,
)
"""Colours of cues."""
WIDTH = 760  # pixels of a row
SPIKES = 200  # pixels of the plot of spikes, at least
MATRIX = (230, 230)  # width and height of a matrix, in pixels
SYNAPSES = 16  # whose fast weights are drawn as lines
DIVERGING = [colours.BELOW, colours.WHITE, colours.ABOVE]
LEAST = 1e-9  # end of a scale where all numbers are 0

Values = list[dict[str, Any]]


def episode(moments: Sequence[Moment], title: str, subtitle: str, path: Path) -> None:
    """Draws the steps of one episode looked into, as PNG: what happened, spikes,
    neuromodulator, and fast weights. A static network has the first two rows only.

    Args:
        moments: of a spiking policy, one for each step.
        title: above the picture.
        subtitle: below the title, smaller.
        path: of the picture; its folder is made where it is missing.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    draw(chart_of(moments, title, subtitle), path)


def chart_of(moments: Sequence[Moment], title: str, subtitle: str) -> Chart:
    """The Vega-Lite chart of `episode`, whose arguments it has.

    Args:
        moments: of an episode, each with its spikes.
        title: of the chart.
        subtitle: of the chart.
    """
    spikes = np.concatenate([m.spikes for m in moments if m.spikes is not None])
    rates = [m.modulator for m in moments if m.modulator is not None]
    weights = [m.fast_weights for m in moments if m.fast_weights is not None]
    ticks = len(spikes) // len(moments)
    neurons = spikes.shape[1]
    kind = "plastic" if weights else "static"
    share = f"{100 * spikes.mean():.0f} %"
    return chart(
        "episode",
        title=title,
        subtitle=subtitle,
        width=WIDTH,
        steps=[0, len(moments)],
        time_title=f"environment step ({plural(ticks, 'network tick')} each)",
        diverging=DIVERGING,
        blue=colours.BLUE,
        **_happened(moments),
        spikes_title=f"Spikes of the {kind} layer (a neuron spikes in {share} of the "
        "ticks on average)",
        spikes=_spikes(spikes, ticks),
        spikes_height=max(SPIKES, 3 * neurons),
        spike_width=short(min(1.5, 1.1 * WIDTH / len(spikes))),
        neurons=[0, neurons],
        **_modulator(np.concatenate(rates) if rates else None, ticks),
        **_synapses(np.stack(weights) if weights else None),
        matrices=_matrices(np.stack(weights), moments) if weights else [],
    )


def _happened(moments: Sequence[Moment]) -> dict[str, Any]:
    """Cue, action and outcome of every trial; or the reward, where trials show no
    cue.
    """
    numbered = (int, np.integer)  # cues of other tasks may be anything
    trials = [
        step
        for step, moment in enumerate(moments)
        if isinstance(moment.info.get("cue"), numbered)
    ]
    if not trials:
        return {
            "rewards": _rewards(moments),
            "trials": [],
            "trials_title": "",
            "trials_labels": "",
        }
    # trials are equally long, and the first one begins the episode
    starts = [step - trials[0] for step in trials]
    ends = [*starts[1:], len(moments)]
    action: Any = moments[0].action
    chooses = np.ndim(action) == 0
    what = "and whether the robot ran right"
    if chooses:
        what = "the action, and whether it was right"
    label = "action" if chooses else "right"
    return {
        "rewards": [],
        "trials": [
            _trial(moments[step], start, end, chooses)
            for step, start, end in zip(trials, starts, ends)
        ],
        "trials_title": f"Trials: the cue shown, {what}",
        "trials_labels": f"datum.value > 0.5 ? 'cue' : '{label}'",
    }


def _rewards(moments: Sequence[Moment]) -> Values:
    """The reward of each step; the last one holds until the end of the plot."""
    rewards = [
        {"step": step, "reward": short(moment.reward)}
        for step, moment in enumerate(moments)
    ]
    rewards.append(rewards[-1] | {"step": len(moments)})
    return rewards


def _trial(moment: Moment, start: int, end: int, chooses: bool) -> dict[str, Any]:
    """The cue of a trial and the answer to it, as the plot shows them.

    Args:
        moment: in which the answer was given.
        start: first step of the trial.
        end: the step after its last.
        chooses: whether the answer is one of several, and shown.
    """
    cue = int(moment.info["cue"])
    answer = ""
    colour = colours.INK
    if "correct" in moment.info:  # in a lesson nothing is asked
        is_right = moment.info["correct"]
        answer = "✓" if is_right else "✗"
        colour = colours.GREEN if is_right else colours.RED
        if chooses:
            answer = f"{moment.action} {answer}"
    return {
        "start": start,
        "end": end,
        "middle": (start + end) / 2,
        "cue": chr(ord("A") + cue) if cue < 26 else str(cue),
        "cue_at": 0.72,
        "colour": CUES[cue % len(CUES)],
        "answer": answer,
        "answer_at": 0.28,
        "answer_colour": colour,
    }


def _spikes(spikes: np.ndarray, ticks: int) -> Values:
    """A mark for each spike, [ticks, neurons], as high as the row of its neuron."""
    tick, neuron = np.nonzero(spikes)
    return [
        {"step": short((at + 0.5) / ticks), "low": row + 0.05, "high": row + 0.95}
        for at, row in zip(tick.tolist(), neuron.tolist())
    ]


def _modulator(rates: np.ndarray | None, ticks: int) -> dict[str, Any]:
    """The neuromodulator, [ticks, neurons], by neurons from the lowest mean to the
    highest.
    """
    if rates is None:
        none = ("modulator", "modulator_scale", "modulator_domain")
        return dict.fromkeys(none, None)
    order = np.argsort(rates.mean(axis=0))
    bound = max(float(np.abs(rates).max()), LEAST)
    return {
        "modulator": _heat_map(rates[:, order].T, bound, (2 * WIDTH, 380)),
        "modulator_scale": [
            {"step": 0, "neuron": 0, "value": -bound},
            {"step": len(rates) / ticks, "neuron": rates.shape[1], "value": bound},
        ],
        "modulator_domain": [-bound, 0, bound],
    }


def _synapses(weights: np.ndarray | None) -> dict[str, Any]:
    """Fast weights over time, [steps, neurons, inputs]: of some synapses, and the root
    mean square of all.
    """
    if weights is None:
        return {"synapses": [], "synapses_title": "", "size": []}
    flat = weights.reshape(len(weights), -1)
    flat = np.concatenate([np.zeros_like(flat[:1]), flat])  # where every episode starts
    # quantiles of how much synapses move: the most mobile one, and some of all kinds
    order = np.argsort(-np.ptp(flat, axis=0), kind="stable")
    places = np.geomspace(1, len(order), SYNAPSES).astype(int) - 1
    chosen = order[np.unique(places)]
    size = np.sqrt(np.mean(np.square(flat), axis=1))
    lines = [
        {"step": step, "synapse": number, "value": short(value)}
        for number, synapse in enumerate(chosen)
        for step, value in enumerate(flat[:, synapse].tolist())
    ]
    return {
        "synapses": lines,
        "synapses_title": f"Fast weights: {len(chosen)} synapses (blue), and the root "
        "mean square of all (black)",
        "size": [
            {"step": step, "value": short(value)}
            for step, value in enumerate(size.tolist())
        ],
    }


def _matrices(weights: np.ndarray, moments: Sequence[Moment]) -> list[Chart]:
    """Fast weights early in the episode and at its end, on one scale."""
    answered = [step for step, m in enumerate(moments) if "correct" in m.info]
    taken = {"half-way": max(1, len(weights) // 2), "at the end": len(weights)}
    if len(answered) > 1:
        # a moment's index is the number of steps before it
        taken = {"before the second answer": answered[1], "at the end": len(weights)}
    shown = {when: weights[steps - 1] for when, steps in taken.items()}
    bound = max(LEAST, *(float(np.abs(values).max()) for values in shown.values()))
    rows, columns = weights.shape[1:]
    width, height = MATRIX
    return [
        chart(
            "matrix",
            title=f"F {when}",
            width=width,
            height=height,
            corners=[
                {"from": 0, "to": 0, "value": -bound},
                {"from": columns, "to": rows, "value": bound},
            ],
            picture=_heat_map(values, bound, (2 * width, 2 * height)),
            domain=[-bound, 0, bound],
            diverging=DIVERGING,
        )
        for when, values in shown.items()
    ]


def _heat_map(values: np.ndarray, bound: float, size: tuple[int, int]) -> str:
    """Numbers as a picture in the address of an image: blue below 0, white at 0, red
    above, full at `bound`; the first row is at the bottom.
    """
    picture = Image.fromarray(colours.diverging(values[::-1], bound))
    buffer = io.BytesIO()
    picture.resize(size, Image.Resampling.NEAREST).save(buffer, "png")
    return f"data:image/png;base64,{base64.b64encode(buffer.getvalue()).decode()}"
