"""The report of an evaluation: report.html, made from its summary.json."""

import json
import shlex
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any
from urllib.parse import quote

from markupsafe import Markup

from dashboards import page, plots
from dashboards.page import Cell, Plot, Plots, Section, Table, Text, Videos, filled_table
from dashboards.verdict import (
    caveats,
    comparisons,
    condition_name,
    lesion_name,
    lesioned,
    severest,
    unchanged,
    verdict,
)
from dashboards.words import Score, listed, number, plural, with_interval

TRACES = {
    "fast_weight_norm": "Fast weights, root mean square",
    "modulator_mean": "Neuromodulator, mean over neurons",
    "modulator_spread": "Neuromodulator, spread over neurons",
    "firing_rate": "Firing rate, spikes per neuron and tick",
}
STEP = "step of the episode"


def write_report(folder: Path) -> Path:
    """Makes report.html out of summary.json and videos/ in a folder; returns its path."""
    summary = json.loads((folder / "summary.json").read_text())
    videos = sorted(path.relative_to(folder) for path in (folder / "videos").glob("*.mp4"))
    path = folder / "report.html"
    page.write(path, report(summary, videos))
    return path


def report(summary: Mapping[str, Any], videos: list[Path] | None = None) -> str:
    """The report as HTML.

    Args:
        summary: what summary.json holds; its format is in evaluation/summary.py.
        videos: files relative to the report.
    """
    settings = summary["settings"]
    policies = list(summary["policies"])
    suite = f"suite “{settings['suite']}”, " if settings["suite"] else ""
    most = max(len(part["training_seeds"]) for part in summary["policies"].values())
    subtitle = (
        f"{suite}{plural(settings['episodes'], 'episode')} per condition and run, "
        f"{plural(most, 'training seed')}, revision {settings['versions'].get('revision', '?')}"
    )
    sections = [
        _verdict(summary),
        _tested(summary),
        _overview(summary),
        _trials(summary),
        _severity(summary),
        _recovery(summary),
        _lesions(summary),
        _comparisons(summary),
        _traces(summary),
        _videos(videos or []),
        _results(summary),
        _skipped(summary),
        _settings(summary),
    ]
    title = f"Adaptation: {listed(policies)} on {settings['env']}"
    return page.render(title, subtitle, [section for section in sections if section.blocks])


def _verdict(summary: Mapping[str, Any]) -> Section:
    cards = []
    for policy in summary["policies"]:
        first, *others = verdict(summary, policy)
        lead = Markup("<strong>{} {}</strong>").format(policy, first)
        cards.append(Markup("{}<p>{}</p>").format(lead, " ".join(others)) if others else lead)
    if summary["comparisons"]:
        cards.append(
            Markup("<strong>Compared.</strong><p>{}</p>").format(" ".join(comparisons(summary)))
        )
    limits = caveats(summary)
    if limits:
        lead = Markup("<strong>What this cannot tell.</strong>")
        cards.append(Markup("{}<p>{}</p>").format(lead, " ".join(limits)))
    return Section("Verdict", [Text(cards, bullets=True)])


def _tested(summary: Mapping[str, Any]) -> Section:
    settings = summary["settings"]
    perturbed = [c for c in summary["conditions"] if c["lesion"] is None]
    lesions = [lesion_name(name) for name in settings["lesions"]]
    first, last = settings["seeds"]
    text = (
        f"Trained policies acted in {settings['env']} without any further training: "
        f"{plural(settings['episodes'], 'new episode')} per training run (seeds {first} to {last}) "
        f"in each of {plural(len(perturbed), 'condition')}, the same episodes in all of them. "
        "“Plastic” policies are spiking networks whose synapses go on changing inside an episode "
        "by a learned rule; every episode starts them afresh."
    )
    if lesions:
        text += (
            f" To see what plasticity causes, the same weights ran the same episodes again with "
            f"a lesion: {listed(lesions)}."
        )
    rows = []
    for policy, part in summary["policies"].items():
        rows.append(
            [
                policy,
                Cell(", ".join(map(str, part["training_seeds"])), len(part["training_seeds"])),
                Cell(_range(part["steps_trained"]), max(part["steps_trained"])),
                Cell(f"{part['actor_parameters']:,}", part["actor_parameters"]),
                part.get("perturb") or "the unchanged task",
                float(part["random_return"]),
                _score(part["nominal_return"]),
                *[_training(part["training"].get(key)) for key in ("final", "best")],
            ]
        )
    columns = [
        "policy",
        "training seeds",
        "steps trained",
        "actor parameters",
        "trained in",
        "return of random actions",
        "return, unchanged task",
        "training return, last",
        "training return, best",
    ]
    words = [
        "Intervals, in brackets and as bands, are 95 % bootstrap intervals of the mean, widened "
        "where there are few samples: over training seeds, or over episodes where a policy was "
        "trained once.",
        "Return kept (retention): the return above that of random actions, relative to the same "
        "in the unchanged task. 100 % is no loss, 0 % no better than random.",
        "Severity: how strong a perturbation is, from 0 (none) to 1.",
    ]
    if any(condition["split"] for condition in perturbed):
        words.append("Held-out: a perturbation that training was never to contain.")
    if lesions:
        words.append(
            "Lesion: a change to the network's state, not to its weights. Paired difference: as "
            "trained minus lesioned, episode by episode."
        )
    if settings["chance"] is not None:
        words.append("Late trials: the second half of an episode's trials.")
    table, glossary = Table(columns, rows), Text(words, True, folded="What the words mean")
    return Section("What was tested", [Text([text]), table, glossary])


def _overview(summary: Mapping[str, Any]) -> Section:
    """Each policy in the severest condition of each label, as trained and with plasticity off."""
    settings, results = summary["settings"], summary["results"]
    nominal = next(c for c in summary["conditions"] if c["key"] == settings["nominal"])
    trials = any(part[nominal["key"]]["late_accuracy"] is not None for part in results.values())
    measure = "late_accuracy" if trials else "retention"
    shown = [nominal, *severest(summary)] if trials else severest(summary) or [nominal]
    if not trials and not severest(summary):
        measure = "return"
    rows: dict[str, list[plots.Dot]] = {}
    for condition in shown:
        off = lesioned(summary, condition["key"], "off")
        some = []
        for policy, colour in _colours(summary).items():
            for key, hollow in ((condition["key"], False), (off, True)):
                score = results[policy].get(key, {}).get(measure) if key else None
                if score is not None and not (hollow and unchanged(summary, policy)):
                    name = f"{policy}, plasticity off" if hollow else policy
                    low, high = score["interval"]
                    some.append(plots.Dot(name, colour, score["mean"], low, high, hollow))
        if some:
            rows[condition_name(summary, condition)] = some
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
    note = "Filled: as trained. Hollow: the same weights with plasticity off."
    if at is not None:
        note += " Dotted line: no loss." if measure == "retention" else " Dotted line: chance."
    plot = Plot(f"{title.capitalize()}, by condition", chart, _colours(summary), note)
    return Section("At a glance", [Plots([plot], wide=True), *_by_split(summary)])


def _by_split(summary: Mapping[str, Any]) -> list[Table]:
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
                cells = [_score(parts.get(split), as_percent=True) for split in splits]
                rows.append([policy, name, *cells])
    names = {"all": "all conditions", "train": "split: train", "held-out": "split: held-out"}
    columns = ["policy", "network", *(names.get(split, split) for split in splits)]
    caption = "Return kept, mean over perturbed conditions of all severities"
    return [Table(columns, rows, caption)] if rows else []


def _comparisons(summary: Mapping[str, Any]) -> Section:
    rows = []
    for part in summary["comparisons"]:
        kept = part["measure"] == "retention"
        rows.append(
            [
                part["policy"],
                part["other"],
                "return kept" if kept else "return, unchanged task",
                _score(part["difference"], kept),
                _score(part["probability_of_improvement"], True),
            ]
        )
    text = (
        "First minus second, and how probable it is that the first does better: a run of it, or "
        "an episode where one of the two was trained once."
    )
    columns = ["first", "second", "measure", "difference", "probability that the first is better"]
    return Section("Comparisons", [Text([text]), Table(columns, rows)] if rows else [])


def _trials(summary: Mapping[str, Any]) -> Section:
    settings, results = summary["settings"], summary["results"]
    nominal = next(c for c in summary["conditions"] if c["key"] == settings["nominal"])
    charts = []
    for condition in [nominal, *severest(summary)]:
        lines = []
        for policy, colour, key, off in _variants(summary, condition):
            trials = results[policy][key]["accuracy_by_trial"]
            if trials and len(trials) > 1:
                low, high = zip(*(trial["interval"] for trial in trials))
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
            charts.append(Plot(condition_name(summary, condition), chart))
    if not charts:
        return Section("Accuracy by trial", [])
    text = (
        "Every episode asks for something new. A line that rises from chance shows learning "
        "inside the episode; dashed lines are the same weights with plasticity off."
    )
    return Section("Accuracy by trial", [Text([text]), Plots(charts)])


def _severity(summary: Mapping[str, Any]) -> Section:
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
                rows.append([policy, label, name, curve["split"], _score(curve["area"], True)])
                off = lesion == "off" and not unchanged(summary, policy)
                if len(curve["severity"]) > 1 and (lesion is None or off):
                    means = [score["mean"] for score in curve["retention"]]
                    low, high = zip(*(score["interval"] for score in curve["retention"]))
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


def _recovery(summary: Mapping[str, Any]) -> Section:
    results = summary["results"]
    charts = []
    for condition in severest(summary):
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
            charts.append(Plot(condition_name(summary, condition, onset=False), chart))
    rows = []
    for policy, where, result in _every(summary):
        found = result["recovery"]
        if found is not None:
            rows.append(
                [
                    policy,
                    *_where(summary, where),
                    lesion_name(where["lesion"]) if where["lesion"] else "as trained",
                    *[_score(found[key]) for key in ("before", "drop", "plateau")],
                    _score(found["fraction"], True),
                    _score(found["time"]),
                ]
            )
    if not rows:
        return Section("Recovery", [])
    window = summary["settings"]["window"]
    text = (
        f"The world changes in the middle of the episode. Reward per step, averaged over {window} "
        "steps, before and after; dashed lines are the same weights with plasticity off."
    )
    columns = [
        "policy",
        "condition",
        "severity",
        "network",
        "reward per step before",
        "drop",
        "plateau after",
        "loss regained",
        "steps until regained",
    ]
    return Section("Recovery", [Text([text]), Plots(charts), filled_table(columns, rows)])


def _lesions(summary: Mapping[str, Any]) -> Section:
    rows = []
    dots: dict[str, dict[str, list[plots.Dot]]] = {}  # by lesion and condition
    conditions = {condition["key"]: condition for condition in summary["conditions"]}
    shown = {summary["settings"]["nominal"], *(c["key"] for c in severest(summary))}
    for policy, lesions in summary["lesions"].items():
        results = summary["results"][policy]
        for lesion, parts in lesions.items():
            for intact, part in parts.items():
                difference = part["paired_difference"]
                rows.append(
                    [
                        policy,
                        lesion_name(lesion),
                        *_where(summary, conditions[intact]),
                        _score(results[intact]["return"]),
                        _score(results[part["key"]]["return"]),
                        _score(difference),
                        _score(part["probability_of_improvement"], True),
                        _score(part["late_accuracy_difference"], True),
                        "yes" if part["identical"] else "no",
                    ]
                )
                if intact in shown and not part["identical"]:
                    low, high = difference["interval"]
                    colour = _colours(summary)[policy]
                    dot = plots.Dot(policy, colour, difference["mean"], low, high)
                    name = condition_name(summary, conditions[intact])
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
        "probability that the trained one is better",
        "late accuracy, difference",
        "same, bit for bit",
    ]
    blocks = [Text([text]), Plots(charts)] if charts else [Text([text])]
    return Section("Lesions", [*blocks, filled_table(columns, rows)])


def _traces(summary: Mapping[str, Any]) -> Section:
    traces = summary["traces"]
    conditions = {condition["key"]: condition for condition in summary["conditions"]}
    shown = [summary["settings"]["nominal"]]
    drops = {
        condition["key"]: max(
            (
                results[condition["key"]]["recovery"]["drop"]["mean"]
                for results in summary["results"].values()
                if results.get(condition["key"], {}).get("recovery")
            ),
            default=0.0,
        )
        for condition in severest(summary)
        if condition["onset"] is not None
    }
    if drops:
        shown.append(max(drops, key=lambda key: drops[key]))
    blocks: list[Any] = []
    for key in shown:
        onset = conditions[key]["onset"]
        charts = []
        for quantity, title in TRACES.items():
            lines = []
            for policy, by_condition in traces.items():
                trace = by_condition.get(key, {})
                if quantity in trace and trace["step"]:
                    colour = _colours(summary)[policy]
                    lines.append(plots.Line(policy, colour, trace["step"], trace[quantity]))
            if lines:
                vertical = {} if onset is None else {"change": onset}
                name, _, unit = title.partition(", ")
                chart = plots.curves(lines, STEP, unit, include=[0], vertical=vertical)
                charts.append(Plot(name, chart))
        if charts:
            blocks += [
                Text([f"Condition: {condition_name(summary, conditions[key])}."]),
                Plots(charts),
            ]
    if blocks:
        text = "Means over episodes and runs, along the episode."
        if len(drops) > 1:
            text += " Of the changes, the one that costs most; summary.json has all."
        blocks.insert(0, Text([text]))
    return Section("Inside the network", blocks)


def _videos(videos: list[Path]) -> Section:
    if not videos:
        return Section("Videos", [])
    text = "They lie beside this file, in videos/; keep the folder together."
    titled = {path.stem: quote(path.as_posix()) for path in videos}
    return Section("Videos", [Text([text]), Videos(titled)])


def _results(summary: Mapping[str, Any]) -> Section:
    columns = [
        "policy",
        "condition",
        "severity",
        "split",
        "network",
        "return",
        "return kept",
        "late accuracy",
        "length in steps",
        "return by training seed",
    ]
    rows = [
        [
            policy,
            *_where(summary, condition),
            condition["split"],
            lesion_name(condition["lesion"]) if condition["lesion"] else "as trained",
            _score(result["return"]),
            _score(result["retention"], True),
            _score(result["late_accuracy"], True),
            _score(result["length"]),
            Cell("  ".join(map(number, result["return"]["by_run"])), result["return"]["mean"]),
        ]
        for policy, condition, result in _every(summary)
    ]
    return Section("All results", [filled_table(columns, rows)])


def _skipped(summary: Mapping[str, Any]) -> Section:
    rows = [
        [part["condition"], part["policy"] or "all policies", part["reason"]]
        for part in summary["skipped"]
    ]
    blocks = [Table(["left out", "for", "because"], rows)] if rows else []
    return Section("Left out", blocks)


def _settings(summary: Mapping[str, Any]) -> Section:
    settings = summary["settings"]
    command = Markup("<code>python {}</code>").format(shlex.join(settings["command"]))
    rows = [
        ["environment", settings["env"]],
        *[[f"environment: {key}", str(value)] for key, value in settings["env_kwargs"].items()],
        ["steps of an episode", settings["horizon"]],
        ["actions", "the likeliest" if settings["deterministic"] else "drawn at random"],
        *[
            [f"perturbation: {condition['label']}", condition["text"]]
            for condition in severest(summary)
        ],
        *[[f"version: {key}", value] for key, value in settings["versions"].items()],
    ]
    rows = [row for row in rows if row[1] is not None]
    runs = [
        [policy, seed, folder]
        for policy, part in summary["policies"].items()
        for seed, folder in zip(part["training_seeds"], part["runs"])
    ]
    return Section(
        "Settings and versions",
        [
            Text([Markup("Made by {}").format(command)]),
            Table(["setting", "value"], [[key, str(value)] for key, value in rows]),
            Table(["policy", "training seed", "folder of the run"], runs),
        ],
    )


def _variants(
    summary: Mapping[str, Any], condition: Mapping[str, Any]
) -> Iterator[tuple[str, int, str, bool]]:
    """(policy, colour, key, plasticity off) of those that have results in a condition."""
    off = lesioned(summary, condition["key"], "off")
    for policy, colour in _colours(summary).items():
        results = summary["results"][policy]
        if condition["key"] in results:
            yield policy, colour, condition["key"], False
        if off in results and not unchanged(summary, policy):
            yield policy, colour, str(off), True


def _every(
    summary: Mapping[str, Any],
) -> Iterator[tuple[str, Mapping[str, Any], Mapping[str, Any]]]:
    """(policy, condition, result) of all."""
    for policy, results in summary["results"].items():
        for condition in summary["conditions"]:
            if condition["key"] in results:
                yield policy, condition, results[condition["key"]]


def _colours(summary: Mapping[str, Any]) -> dict[str, int]:
    """Of each policy, the same in all plots."""
    return {policy: colour for colour, policy in enumerate(summary["policies"])}


def _where(summary: Mapping[str, Any], condition: Mapping[str, Any]) -> list[Cell | str | None]:
    """The condition's cells: its name, and its severity in a column of its own."""
    severity = condition["severity"]
    name = condition_name(summary, condition, severity=False)
    return [name, None if severity is None else Cell(f"{severity:g}", severity)]


def _score(score: Score | None, as_percent: bool = False) -> Cell | None:
    return None if score is None else Cell(with_interval(score, as_percent), score["mean"])


def _training(by_run: list[float | None] | None) -> Cell | None:
    known = [value for value in by_run or [] if value is not None]
    if not known:
        return None
    return Cell("  ".join(map(number, known)), sum(known) / len(known))


def _range(values: list[int]) -> str:
    low, high = min(values), max(values)
    return f"{low:,}" if low == high else f"{low:,} to {high:,}"
