"""The sections of a report that compare conditions, lesions and policies."""

from typing import Any

from spikepropamine.evaluation.schema import (
    CLEAN_KEY,
    Result,
    Score,
    Summary,
)
from spikepropamine.report import charts as plots
from spikepropamine.report.page import (
    Plot,
    Plots,
    Section,
    Table,
    Text,
    filled_table,
)
from spikepropamine.report.reading import (
    condition_name,
    has_no_plasticity,
    lesion_name,
    network_name,
    severest,
)
from spikepropamine.report.shared import (
    colours,
    dot_of,
    score_cell,
    variants,
    where_cells,
)
from spikepropamine.report.words import edges_of


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
        some = []
        for policy, colour, result, hollow in variants(summary, condition):
            score = _measured(result, measure)
            if score is not None:
                name = f"{policy}, plasticity off" if hollow else policy
                some.append(dot_of(name, colour, score, hollow))
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
    plot = Plot(f"{title.capitalize()}, by condition", chart, colours(summary), note)
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
                name = network_name(None if lesion == "intact" else lesion)
                cells = [score_cell(parts.get(split), as_percent=True) for split in splits]
                rows.append([policy, name, *cells])
    names = {"all": "all conditions", "train": "split: train", "held-out": "split: held-out"}
    columns = ["policy", "network", *(names.get(split, split) for split in splits)]
    caption = "Return kept, mean over perturbed conditions of all severities"
    return [Table(columns, rows, caption)] if rows else []


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
                area = score_cell(curve["area"], True)
                rows.append([policy, label, network_name(lesion), curve["split"], area])
                off = lesion == "off" and not has_no_plasticity(summary, policy)
                if len(curve["severity"]) > 1 and (lesion is None or off):
                    means = [score["mean"] for score in curve["retention"]]
                    edges = [edges_of(score) for score in curve["retention"]]
                    if not curve["severity"][0] and lesion is None:  # all, by definition
                        edges[0] = means[0], means[0]
                    low, high = zip(*edges)
                    lines.append(
                        plots.Line(
                            f"{policy}, off" if off else policy,
                            colours(summary)[policy],
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
                    dot = dot_of(policy, colours(summary)[policy], difference)
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


def _measured(result: Result, measure: str) -> Score | None:
    """Return, retention or late accuracy of a result."""
    by_name = {name: result[name] for name in ("return", "retention", "late_accuracy")}
    return by_name[measure]
