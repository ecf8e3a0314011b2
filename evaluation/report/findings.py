"""The sections of a report that show what was found, as plots and tables out of its summary."""

from collections.abc import Iterator
from typing import Any

from spikepropamine.evaluation.report import plots
from spikepropamine.evaluation.report.page import (
    Cell,
    Plot,
    Plots,
    Section,
    Table,
    Text,
    filled_table,
)
from spikepropamine.evaluation.report.verdict import (
    condition_name,
    has_no_plasticity,
    lesion_name,
    lesioned,
    severest,
)
from spikepropamine.evaluation.report.words import edges_of, with_interval
from spikepropamine.evaluation.schema import (
    CLEAN_KEY,
    ConditionSummary,
    ContextScores,
    Estimate,
    Result,
    Score,
    Summary,
)

SERIES = {
    "fast_weight_norm": "Fast weights, root mean square",
    "modulator_mean": "Neuromodulator, mean over neurons",
    "modulator_spread": "Neuromodulator, spread over neurons",
    "firing_rate": "Firing rate, spikes per neuron in the last tick of a step",
}
STEP = "step of the episode"


def overview(summary: Summary) -> Section:
    """Each policy in the severest condition of each label, as trained and with plasticity off."""
    settings, results = summary["settings"], summary["results"]
    clean = next(c for c in summary["conditions"] if c["key"] == CLEAN_KEY)
    trials = any(part[clean["key"]]["late_accuracy"] is not None for part in results.values())
    measure = "late_accuracy" if trials else "retention"
    shown = [clean, *severest(summary)] if trials else severest(summary) or [clean]
    if not trials and not severest(summary):
        measure = "return"
    rows: dict[str, list[plots.Dot]] = {}
    for condition in shown:
        off = lesioned(summary, condition["key"], "off")
        some = []
        for policy, colour in _colours(summary).items():
            for key, hollow in ((condition["key"], False), (off, True)):
                score = _measured(results[policy].get(key or ""), measure)
                if score is not None and not (hollow and has_no_plasticity(summary, policy)):
                    name = f"{policy}, plasticity off" if hollow else policy
                    some.append(_dot(name, colour, score, hollow))
        if some:
            rows[condition_name(condition)] = some
    if not rows:
        return Section("At a glance", [])
    title = {
        "late_accuracy": "right answers in late trials",
        "retention": "return kept",
        "return": "return of an episode",
    }[measure]
    at = {"late_accuracy": settings["chance"], "retention": 1.0, "return": None}[measure]
    chart = plots.dots(
        rows,
        title,
        as_percent=measure != "return",
        include=[0.0] if measure == "retention" else [],
        marks={} if at is None else {"reference": at},
    )
    note = "Filled: as trained."
    if any(dot.hollow for some in rows.values() for dot in some):
        note += " Hollow: the same weights with plasticity off."
    if at is not None:
        note += " Dotted line: no loss." if measure == "retention" else " Dotted line: chance."
    plot = Plot(f"{title.capitalize()}, by condition", chart, _colours(summary), note)
    return Section("At a glance", [Plots([plot], wide=True), *_by_split(summary)])


def _by_split(summary: Summary) -> list[Table]:
    """What is kept over all perturbed conditions, and over those of each split."""
    splits = dict.fromkeys(
        split
        for lesions in summary["overall"].values()
        for parts in lesions.values()
        for split in parts
    )
    rows: list[list[Any]] = []
    for policy, lesions in summary["overall"].items():
        for lesion, parts in lesions.items():
            if parts:
                name = "as trained" if lesion == "intact" else lesion_name(lesion)
                cells = [score_cell(parts.get(split), as_percent=True) for split in splits]
                rows.append([policy, name, *cells])
    names = {"all": "all conditions", "train": "split: train", "held-out": "split: held-out"}
    columns = ["policy", "network", *(names.get(split, split) for split in splits)]
    caption = "Return kept, mean over perturbed conditions of all severities"
    return [Table(columns, rows, caption)] if rows else []


def trials(summary: Summary) -> Section:
    """Accuracy by trial, in the clean condition and the severest ones."""
    settings, results = summary["settings"], summary["results"]
    clean = next(c for c in summary["conditions"] if c["key"] == CLEAN_KEY)
    charts = []
    for condition in [clean, *severest(summary)]:
        lines = []
        for policy, colour, key, off in _variants(summary, condition):
            trials = results[policy][key]["accuracy_by_trial"]
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
                "trial of the episode",
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


def severity(summary: Summary) -> Section:
    """What is kept as each perturbation grows."""
    labels = dict.fromkeys(
        curve["label"] for curves in summary["severity"].values() for curve in curves
    )
    charts, rows = [], []
    for label in labels:
        lines = []
        for policy, every in summary["severity"].items():
            for curve in every:
                if curve["label"] != label:
                    continue
                lesion = curve["lesion"]
                name = lesion_name(lesion) if lesion else "as trained"
                rows.append([policy, label, name, curve["split"], score_cell(curve["area"], True)])
                off = lesion == "off" and not has_no_plasticity(summary, policy)
                if len(curve["severity"]) > 1 and (lesion is None or off):
                    means = [score["mean"] for score in curve["retention"]]
                    low, high = zip(*map(edges_of, curve["retention"]))
                    lines.append(
                        plots.Line(
                            f"{policy}, off" if off else policy,
                            _colours(summary)[policy],
                            curve["severity"],
                            means,
                            low,
                            high,
                            dashed=off,
                        )
                    )
        if lines:
            chart = plots.curves(lines, "severity", "return kept", as_percent=True, include=[0, 1])
            charts.append(Plot(label, chart))
    if not rows:
        return Section("Severity", [])
    text = (
        "How much of the return is kept as a perturbation grows. Dashed: the same weights with "
        "plasticity off. The area under a curve is the mean of what is kept along it."
    )
    columns = ["policy", "perturbation", "network", "split", "area under the curve"]
    return Section("Severity", [Text([text]), Plots(charts), Table(columns, rows)])


def recovery(summary: Summary) -> Section:
    """Reward around a change in mid-episode, and what comes back."""
    results = summary["results"]
    charts = []
    for condition in severest(summary):
        if condition["key"] in summary["references"]:
            continue  # contexts have a section of their own
        onset = condition["onset"]
        lines = []
        for policy, colour, key, off in _variants(summary, condition):
            curve = results[policy][key]["reward_rate"]
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
                    lesion_name(where["lesion"]) if where["lesion"] else "as trained",
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
    results, charts, rows = summary["results"], [], []
    for condition in summary["conditions"]:
        references = summary["references"].get(condition["key"])
        if references is None:
            continue
        for part, when in (("first", "at the start"), ("later", "within the episode")):
            lines = []
            for policy, colour, key, off in _variants(summary, condition):
                scores = _context_scores(results[policy][key], part)
                if scores is not None and scores["reward_rate"]["step"]:
                    curve, name = scores["reward_rate"], f"{policy}, off" if off else policy
                    sides = curve["low"], curve["high"]
                    lines.append(
                        plots.Line(name, colour, curve["step"], curve["mean"], *sides, dashed=off)
                    )
            for name, by_part in references.items():
                reference = by_part[part]
                if reference is not None and lines:
                    label = {"teacher": "teacher, told", "random": "random actions"}[name]
                    steps, mean = reference["step"], reference["mean"]
                    lines.append(plots.Line(label, plots.QUIET, steps, mean, dashed=True))
            if lines:
                chart = plots.curves(lines, "steps since the context began", "reward per step")
                name = condition_name(condition, onset=False)
                charts.append(Plot(f"{name}: a context {when}", chart))
    for policy, where, result in every_result(summary):
        for part, when in (("first", "with the episode"), ("later", "within the episode")):
            scores = _context_scores(result, part)
            if scores is not None:
                rows.append(
                    [
                        policy,
                        condition_name(where, onset=False),
                        when,
                        lesion_name(where["lesion"]) if where["lesion"] else "as trained",
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


def _context_scores(result: Result, part: str) -> ContextScores | None:
    adaptation = result["adaptation"]
    if adaptation is None:
        return None
    return adaptation["first"] if part == "first" else adaptation["later"]


def lesions(summary: Summary) -> Section:
    """What each part of plasticity causes."""
    rows = []
    dots: dict[str, dict[str, list[plots.Dot]]] = {}  # by lesion and condition
    conditions = {condition["key"]: condition for condition in summary["conditions"]}
    shown = {CLEAN_KEY, *(c["key"] for c in severest(summary))}
    for policy, lesions in summary["lesions"].items():
        results = summary["results"][policy]
        for lesion, parts in lesions.items():
            for intact, part in parts.items():
                difference = part["paired_difference"]
                rows.append(
                    [
                        policy,
                        lesion_name(lesion),
                        *where_cells(conditions[intact]),
                        score_cell(results[intact]["return"]),
                        score_cell(results[part["key"]]["return"]),
                        score_cell(difference),
                        score_cell(part["probability_of_improvement"], True),
                        score_cell(part["late_accuracy_difference"], True),
                        "yes" if part["identical"] else "no",
                    ]
                )
                if intact in shown and not part["identical"]:
                    dot = _dot(policy, _colours(summary)[policy], difference)
                    name = condition_name(conditions[intact])
                    dots.setdefault(lesion, {}).setdefault(name, []).append(dot)
    if not rows:
        return Section("Lesions", [])
    charts = []
    for lesion, groups in dots.items():
        chart = plots.dots(groups, "as trained minus lesioned, return", marks={"no effect": 0.0})
        found = {dot.label: dot.colour for some in groups.values() for dot in some}
        charts.append(Plot(lesion_name(lesion).capitalize(), chart, found))
    text = (
        "The same weights in the same episodes, with a part of plasticity taken away. A paired "
        "difference above zero is return that this part causes."
    )
    columns = [
        "policy",
        "lesion",
        "condition",
        "severity",
        "return as trained",
        "return lesioned",
        "paired difference",
        "probability that the trained one earns more",
        "late accuracy, difference",
        "same, bit for bit",
    ]
    blocks = [Text([text]), Plots(charts)] if charts else [Text([text])]
    return Section("Lesions", [*blocks, filled_table(columns, rows)])


def comparisons(summary: Summary) -> Section:
    """Each two policies."""
    rows = []
    for part in summary["comparisons"]:
        kept = part["measure"] == "retention"
        rows.append(
            [
                part["policy"],
                part["other"],
                "return kept" if kept else "return, clean task",
                score_cell(part["difference"], kept),
                score_cell(part["probability_of_improvement"], True),
            ]
        )
    text = (
        "First minus second, and how probable it is that a run of the first earns more than one of "
        "the second: or an episode, where one of the two was trained once."
    )
    columns = ["first", "second", "measure", "difference", "probability that the first earns more"]
    return Section("Comparisons", [Text([text]), Table(columns, rows)] if rows else [])


def inside(summary: Summary) -> Section:
    """What goes on inside the network, along the episode."""
    inside = summary["inside"]
    conditions = {condition["key"]: condition for condition in summary["conditions"]}
    shown = [CLEAN_KEY]
    drops = {
        condition["key"]: max(_drops(summary, condition["key"]), default=0.0)
        for condition in severest(summary)
        if condition["onset"] is not None
    }
    if drops:
        shown.append(max(drops, key=lambda key: drops[key]))
    blocks: list[Any] = []
    for key in shown:
        onset, last = conditions[key]["onset"], conditions[key]["last_onset"]
        charts = []
        for quantity, title in SERIES.items():
            lines = []
            for policy, by_condition in inside.items():
                series = by_condition.get(key, {})
                if quantity in series and series["step"]:
                    colour = _colours(summary)[policy]
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
        if len(drops) > 1:
            text += " Of the changes, the one that costs most; summary.json has all."
        blocks.insert(0, Text([text]))
    return Section("Inside the network", blocks)


def _drops(summary: Summary, key: str) -> list[float]:
    """Of the reward rate, by policy."""
    found = [results[key]["recovery"] for results in summary["results"].values() if key in results]
    return [recovery["drop"]["mean"] for recovery in found if recovery is not None]


def _variants(
    summary: Summary, condition: ConditionSummary
) -> Iterator[tuple[str, int, str, bool]]:
    """(policy, colour, key, plasticity off) of those that have results in a condition."""
    off = lesioned(summary, condition["key"], "off")
    for policy, colour in _colours(summary).items():
        results = summary["results"][policy]
        if condition["key"] in results:
            yield policy, colour, condition["key"], False
        if off in results and not has_no_plasticity(summary, policy):
            yield policy, colour, str(off), True


def _colours(summary: Summary) -> dict[str, int]:
    """Of each policy, the same in all plots."""
    return {policy: colour for colour, policy in enumerate(summary["policies"])}


def every_result(
    summary: Summary,
) -> Iterator[tuple[str, ConditionSummary, Result]]:
    """(policy, condition, result) of all."""
    for policy, results in summary["results"].items():
        for condition in summary["conditions"]:
            if condition["key"] in results:
                yield policy, condition, results[condition["key"]]


def where_cells(condition: ConditionSummary) -> list[Cell | str | None]:
    """The condition's cells: its name, and its severity in a column of its own."""
    severity = condition["severity"]
    name = condition_name(condition, severity=False)
    return [name, None if severity is None else Cell(f"{severity:g}", severity)]


def _measured(result: Result | None, measure: str) -> Score | None:
    """Return, retention or late accuracy of a result."""
    if result is None:
        return None
    by_name = {name: result[name] for name in ("return", "retention", "late_accuracy")}
    return by_name[measure]


def _dot(label: str, colour: int, score: Score, hollow: bool = False) -> plots.Dot:
    return plots.Dot(label, colour, score["mean"], *edges_of(score), hollow)


def score_cell(score: Score | Estimate | None, as_percent: bool = False) -> Cell | None:
    """A number with its interval, sorted by the number."""
    return None if score is None else Cell(with_interval(score, as_percent), score["mean"])
