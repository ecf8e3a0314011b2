"""The sections of a report that show what happens along an episode."""

from typing import Any

from spikepropamine.evaluation.schema import (
    CLEAN_KEY,
    Summary,
)
from spikepropamine.report import charts as plots
from spikepropamine.report.page import (
    Cell,
    Plot,
    Plots,
    Section,
    Text,
    filled_table,
)
from spikepropamine.report.reading import (
    condition_name,
    context_scores,
    network_name,
    severest,
)
from spikepropamine.report.shared import (
    colours,
    every_result,
    score_cell,
    variants,
    where_cells,
)
from spikepropamine.report.words import edges_of, number, percent

SERIES = {
    "fast_weight_norm": "Fast weights, root mean square",
    "modulator_mean": "Neuromodulator, mean over neurons",
    "modulator_spread": "Neuromodulator, spread over neurons",
    "firing_rate": "Firing rate, spikes per neuron in the last tick of a step",
}
STEP = "step of the episode"
REFERENCES = {"teacher": "teacher, told", "random": "random actions"}
CONTEXTS = {"first": "with the episode", "later": "within the episode"}  # begin


def trials(summary: Summary) -> Section:
    """Accuracy by trial, in the clean condition and the severest ones."""
    settings = summary["settings"]
    clean = next(c for c in summary["conditions"] if c["key"] == CLEAN_KEY)
    charts = []
    for condition in [clean, *severest(summary)]:
        lines = []
        for policy, colour, result, off in variants(summary, condition):
            trials = result["accuracy_by_trial"]
            if trials and len(trials) > 1:
                low, high = zip(*map(edges_of, trials))
                x = range(1, len(trials) + 1)
                means = [trial["mean"] for trial in trials]
                name = f"{policy}, off" if off else policy
                lines.append(plots.Line(name, colour, list(x), means, low, high, dashed=off))
        if lines:
            chance = settings["chance"]
            chart = plots.curves(
                lines,
                "trial that asks",
                "right answers",
                as_percent=True,
                x_format="d",
                include=[1.0],
                horizontal={} if chance is None else {"chance": chance},
            )
            charts.append(Plot(condition_name(condition), chart))
    if not charts:
        return Section("Accuracy by trial", [])
    text = (
        "Every episode asks for something new. A line that rises from chance shows learning "
        "inside the episode; dashed lines are the same weights with plasticity off."
    )
    return Section("Accuracy by trial", [Text([text]), Plots(charts)])


def recovery(summary: Summary) -> Section:
    """Reward around a change in mid-episode, and what comes back."""
    charts = []
    for condition in severest(summary):
        if condition["key"] in summary["references"]:
            continue  # contexts have a section of their own
        onset = condition["onset"]
        lines = []
        for policy, colour, result, off in variants(summary, condition):
            curve = result["reward_rate"]
            if onset is not None and curve and curve["step"]:
                name = f"{policy}, off" if off else policy
                since = [step - onset for step in curve["step"]]
                lines.append(
                    plots.Line(
                        name, colour, since, curve["mean"], curve["low"], curve["high"], dashed=off
                    )
                )
        if lines:
            chart = plots.curves(
                lines, "steps since the change", "reward per step", vertical={"change": 0}
            )
            charts.append(Plot(condition_name(condition, onset=False), chart))
    rows = []
    for policy, where, result in every_result(summary):
        found = result["recovery"]
        if found is not None:
            rows.append(
                [
                    policy,
                    *where_cells(where),
                    network_name(where["lesion"]),
                    *[score_cell(found[key]) for key in ("before", "drop", "left")],
                    score_cell(found["fraction"], True),
                    score_cell(found["time"]),
                ]
            )
    if not rows:
        return Section("Recovery", [])
    window = summary["settings"]["window"]
    text = (
        f"The world changes in the middle of the episode. Reward per step, averaged over {window} "
        "steps, before and after; dashed lines are the same weights with plasticity off. Drop and "
        "what is missing at the end are relative to the same episodes without the change."
    )
    columns = [
        "policy",
        "condition",
        "severity",
        "network",
        "reward per step before",
        "drop",
        "missing at the end",
        "loss regained",
        "steps until regained",
    ]
    return Section("Recovery", [Text([text]), Plots(charts), filled_table(columns, rows)])


def adaptation(summary: Summary) -> Section:
    """How policies find out in which context they are, and act accordingly."""
    charts, rows = [], []
    for condition in summary["conditions"]:
        references = summary["references"].get(condition["key"])
        if references is None:
            continue
        for part, when in (("first", "at the start"), ("later", "within the episode")):
            lines = []
            for policy, colour, result, off in variants(summary, condition):
                scores = context_scores(result).get(part)
                if scores is not None and scores["reward_rate"]["step"]:
                    curve, name = scores["reward_rate"], f"{policy}, off" if off else policy
                    sides = curve["low"], curve["high"]
                    lines.append(
                        plots.Line(name, colour, curve["step"], curve["mean"], *sides, dashed=off)
                    )
            for name, by_part in references.items():
                reference = by_part[part]
                if reference is not None and lines:
                    label, steps, mean = REFERENCES[name], reference["step"], reference["mean"]
                    lines.append(plots.Line(label, plots.QUIET, steps, mean, dashed=True))
            if lines:
                chart = plots.curves(lines, "steps since the context began", "reward per step")
                name = condition_name(condition, onset=False)
                charts.append(Plot(f"{name}: a context {when}", chart))
    for policy, where, result in every_result(summary):
        for part, when in CONTEXTS.items():
            scores = context_scores(result).get(part)
            if scores is not None:
                rows.append(
                    [
                        policy,
                        condition_name(where, onset=False),
                        when,
                        network_name(where["lesion"]),
                        score_cell(scores["opening_rate"]),
                        score_cell(scores["settled_rate"]),
                        f"{scores['settled_contexts']} of {scores['contexts']}",
                        score_cell(scores["settled_pace"], True),
                        score_cell(scores["time_to_identify"]),
                        score_cell(scores["regained"], True),
                        score_cell(scores["opening_over_off"]),
                    ]
                )
    if not rows:
        return Section("Adaptation", [])
    rows += _rows_of_teacher(summary)
    told = "the teacher is told; " if summary["settings"]["teacher"] else ""
    text = (
        "A context changes what every action does, nothing shows it, and it has to be found out "
        f"by acting. Reward per step, over 10 steps, since a context began: {told}dashed in a "
        "policy's colour, the same weights with plasticity off."
    )
    columns = [
        "policy",
        "condition",
        "context begins",
        "network",
        "reward per step, first 50 steps",
        "steps 100 to 200",
        "contexts that last so long",
        "pace of the teacher",
        "steps until found out",
        "changes after which the rate is back in 50 steps",
        "first 50 steps, more than with plasticity off",
    ]
    return Section("Adaptation", [Text([text]), Plots(charts), filled_table(columns, rows)])


def _rows_of_teacher(summary: Summary) -> list[list[Any]]:
    rows = []
    for condition in summary["conditions"]:
        by_part = summary["references"].get(condition["key"], {}).get("teacher", {})
        for part, reference in by_part.items():
            if reference is not None:
                name = condition_name(condition, onset=False)
                settled, back = reference["settled_rate"], reference["regained"]
                rows.append(
                    [
                        *(REFERENCES["teacher"], name, CONTEXTS[part], None, None),
                        None if settled is None else Cell(number(settled), settled),
                        *(None, None, None),
                        None if back is None else Cell(percent(back), back),
                        None,
                    ]
                )
    return rows


def inside(summary: Summary) -> Section:
    """What goes on inside the network, along the episode."""
    inside = summary["inside"]
    conditions = {condition["key"]: condition for condition in summary["conditions"]}
    shown = [CLEAN_KEY]
    changes = [c["key"] for c in severest(summary) if c["onset"] is not None]
    if changes:
        shown.append(min(changes, key=lambda key: _least_return(summary, key)))
    blocks: list[Any] = []
    for key in shown:
        onset, last = conditions[key]["onset"], conditions[key]["last_onset"]
        charts = []
        for quantity, title in SERIES.items():
            lines = []
            for policy, by_condition in inside.items():
                series = by_condition.get(key, {})
                if quantity in series and series["step"]:
                    colour = colours(summary)[policy]
                    lines.append(plots.Line(policy, colour, series["step"], series[quantity]))
            if lines:
                marks = (
                    {"first change": onset, "last": last} if onset != last else {"change": onset}
                )
                vertical = {name: step for name, step in marks.items() if step is not None}
                name, _, unit = title.partition(", ")
                chart = plots.curves(lines, STEP, unit, include=[0], vertical=vertical)
                charts.append(Plot(name, chart))
        if charts:
            blocks += [
                Text([f"Condition: {condition_name(conditions[key])}."]),
                Plots(charts),
            ]
    if blocks:
        text = "Means over episodes and runs, along the episode."
        if len(changes) > 1:
            text += " Of the changes, the one after which least is earned; summary.json has all."
        blocks.insert(0, Text([text]))
    return Section("Inside the network", blocks)


def _least_return(summary: Summary, key: str) -> float:
    """Of all policies."""
    found = [results[key] for results in summary["results"].values() if key in results]
    return min((result["return"]["mean"] for result in found), default=float("inf"))
