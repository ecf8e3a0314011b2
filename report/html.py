"""The report of an evaluation, report.html: its sections, and what it says in sentences."""

import functools
import re
import shlex
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import quote

import numpy as np
from markupsafe import Markup, escape

from spikepropamine import statistics, words
from spikepropamine.common import CLEAN_KEY, write_text
from spikepropamine.evaluation.ask.conditions import Condition
from spikepropamine.evaluation.judge import cost
from spikepropamine.evaluation.rows import TOLD
from spikepropamine.report import charts, page
from spikepropamine.report.evaluation import SPLITS, Evaluation, lesion_name
from spikepropamine.report.page import Cell, Plot, Plots, Section, Table, Text, Videos
from spikepropamine.statistics import decisive
from spikepropamine.words import listed, number, p_value, percent, plural, with_interval

SERIES = {
    "fast_weight_norm": ("Fast weights", "root mean square"),
    "modulator_mean": ("Neuromodulator", "mean over neurons"),
    "modulator_spread": ("Neuromodulator", "spread over neurons"),
    "firing_rate": ("Firing rate", "spikes per neuron in the last tick of a step"),
}
RECOVERY = ("reward_before", "drop", "missing_at_end", "fraction", "recovery_time")
BEGINS = {"": "with the episode", "later_": "within the episode"}
TITLES = {
    "late accuracy": "right answers in late trials",
    "retention": "return kept",
    "return": "return of an episode",
}

Variant = tuple[str, str, str, bool]
"""A policy, its label, the key of a condition, and whether plasticity is off."""


def write_report(folder: Path, found: Evaluation | None = None) -> Path:
    """Makes report.html out of the evaluation and videos/ in a folder; returns its path."""
    found, path = found or Evaluation.read(folder), folder / "report.html"
    videos = sorted(
        file.relative_to(folder) for file in (folder / "videos").glob("*.mp4")
    )
    write_text(path, report(found, videos))
    return path


def report(found: Evaluation, videos: Sequence[Path] = ()) -> str:
    """The report as HTML, with videos beside it."""
    asked = found.asked
    suite = f"suite “{asked['suite']}”, " if asked["suite"] else ""
    counts = {len(seeds) for seeds in found.policies.values()}
    seeds = f"{min(counts)} to " if len(counts) > 1 else ""
    subtitle = (
        f"{suite}{plural(found.episodes, 'episode')} per condition and run, "
        f"{seeds}{plural(max(counts), 'training run')} of each policy, "
        f"revision {asked['versions'].get('revision', '?')}"
    )
    title = f"Adaptation: {listed(list(found.policies))} on {asked['environment']}"
    rows = [
        [x["condition"], x["policy"] or "all policies", x["reason"]]
        for x in asked["skipped"]
    ]
    beside = "They lie beside this file, in videos/; keep the folder together."
    titled = {path.stem: quote(path.as_posix()) for path in videos}
    parts = (_verdict, _tested, _overview, _trials, _severity, _adaptation, _recovery, lesions,
             _comparisons, _inside, _costs)  # fmt: skip
    sections = [
        *(part(found) for part in parts),
        Section("Videos", [Text([beside]), Videos(titled)]),
        results(found),
        Section("Left out", [Table(["left out", "for", "because"], rows)]),
        _settings(found),
    ]
    return page.render(title, subtitle, sections)


def _verdict(found: Evaluation) -> Section:
    cards = []
    for policy in found.policies:
        first, *others = sentences("verdict", found, policy)
        cards.append((f"{policy} {first}", others))
    more = {"Compared.": "comparisons", "What this cannot tell.": "caveats"}
    cards += [
        (lead, others)
        for lead, name in more.items()
        if (others := sentences(name, found))
    ]
    items = [
        Markup("<strong>{}</strong>{}").format(
            lead, Markup("<p>{}</p>").format(" ".join(others)) if others else ""
        )
        for lead, others in cards
    ]
    return Section("Verdict", [Text(items, bullets=True)])


def _tested(found: Evaluation) -> Section:
    rows = []
    for policy, seeds in found.policies.items():
        runs = [run for run in found.asked["runs"] if run["policy"] == policy]
        steps = [run["steps"] for run in runs]
        low, high = min(steps), max(steps)
        now, then = found.asked["env_kwargs"], runs[0].get("env_kwargs", {})
        trained = [runs[0]["perturb"] or "the task"]
        trained += [f"{name} {x}" for name, x in then.items() if now.get(name) != x]
        rows.append(
            [policy, Cell(", ".join(f"seed {seed}" for seed in seeds), len(seeds))]
            + [Cell(f"{low:,}" if low == high else f"{low:,} to {high:,}", high)]
            + [_each(found, policy, "parameters", 1), ", ".join(trained)]
            + [_each(found, policy, "random_return", 1), cell(found.returns(policy))]
            + [_each(found, policy, f"{best}training_return") for best in ("", "best_")]
        )
    columns = ["policy", "trained with", "steps trained", "trainable parameters of the actor",
               "trained in", "return of random actions", "return, clean task",
               "training return, last", "training return, best"]  # fmt: skip
    glossary = Text(sentences("glossary", found), True, folded="What the words mean")
    tested = Text(sentences("tested", found))
    return Section(
        "What was tested", [tested, Table(columns, rows), _learning(found), glossary]
    )


def _learning(found: Evaluation) -> Table:
    """Settings of training that concern several policies and in which these differ."""
    learning, rows = found.asked.get("learning", {}), []  # older evaluations do not say
    for name in dict.fromkeys(
        name for settings in learning.values() for name in settings
    ):
        known = {
            p: settings[name] for p, settings in learning.items() if name in settings
        }
        if len({str(value) for value in known.values()}) > 1:
            rows.append(
                [name, *(str(known[p]) if p in known else None for p in found.policies)]
            )
    return Table(["setting", *found.policies], rows, "Settings of training that differ")


def _variants(found: Evaluation, condition: Condition) -> Iterator[Variant]:
    """Those evaluated in a condition, as trained and with plasticity off."""
    for policy in found.policies:
        if condition in found.conditions_of(policy):
            yield policy, policy, condition.key, False
        if key := found.off(policy, condition):
            yield policy, f"{policy}, off", key, True


def _overview(found: Evaluation) -> Section:
    """Each policy in the severest condition of each label, as trained and with plasticity off."""
    measure, policies = "return", list(found.policies)
    if any(found.measured(policy, CLEAN_KEY, "late accuracy") for policy in policies):
        measure = "late accuracy"
    elif any(map(found.overall, policies)):
        measure = "retention"
    clean = [] if measure == "retention" else [found.conditions[CLEAN_KEY]]
    dots: dict[str, list[charts.Dot]] = {}
    for condition in (*clean, *found.severest):
        for policy, label, key, off in _variants(found, condition):
            if (score := found.measured(policy, key, measure)) is not None:
                dots.setdefault(condition.name(), []).append(
                    charts.Dot(label, policy, score, off)
                )
    if not dots:
        return Section("At a glance", [])
    at = {"late accuracy": found.asked["chance"], "retention": 1.0}.get(measure)
    include, marks = (
        [0.0] * (measure == "retention"),
        {} if at is None else {"reference": at},
    )
    share = measure != "return"
    chart = charts.dots(
        dots, TITLES[measure], as_percent=share, include=include, marks=marks
    )
    note = "Filled: as trained."
    if any(dot.hollow for some in dots.values() for dot in some):
        note += " Hollow: the same weights with plasticity off."
    if at is not None:
        note += f" Dotted line: {'no loss' if measure == 'retention' else 'chance'}."
    title = f"{TITLES[measure].capitalize()}, by condition"
    legend = list(dict.fromkeys(dot.policy for some in dots.values() for dot in some))
    if missing := [policy for policy in policies if policy not in legend]:
        note += f" Not shown, since it has none: {', '.join(missing)}."
    plots = Plots([Plot(title, chart, legend, note)], wide=True)
    rows = [
        [policy, lesion_name(lesion), *scores]
        for policy in found.policies
        for lesion in (None, *found.lesions)
        if any(scores := [cell(found.overall(policy, lesion, s), True) for s in SPLITS])
    ]
    columns = ["policy", "network", "all conditions", "split: train", "split: held-out"]
    caption = "Return kept, mean over perturbed conditions of all severities"
    return Section("At a glance", [plots, Table(columns, rows, caption)])


def _trials(found: Evaluation) -> Section:
    """Accuracy by trial, in the clean condition and the severest ones."""
    plots, chance = [], found.asked["chance"]
    for condition in (found.conditions[CLEAN_KEY], *found.severest):
        lines = []
        for policy, label, key, off in _variants(found, condition):
            scores = found.trials(policy, key)
            if len(scores) > 1:
                lines.append(
                    charts.Line(label, policy, list(enumerate(scores, 1)), off)
                )
        marks = {} if chance is None else {"chance": chance}
        how = {
            "as_percent": True,
            "x_format": "d",
            "include": [1.0],
            "horizontal": marks,
        }
        plots += plotted(
            condition.name(), lines, "trial that asks", "right answers", **how
        )
    return Section(
        "Accuracy by trial", [Text(sentences("about_trials", found)), Plots(plots)]
    )


def _severity(found: Evaluation) -> Section:
    """What is kept as each perturbation grows."""
    plots, rows = [], []
    for label in dict.fromkeys(
        c.label for c in found.conditions.values() if c.severity is not None
    ):
        lines = []
        for policy in found.policies:
            for lesion in (None, *found.lesions):
                keys = found.severities(policy, label, lesion)
                scores: list[Any] = [
                    found.retention(policy, [key]) for key in keys.values()
                ]
                if not keys or None in scores:
                    continue
                split = found.conditions[list(keys.values())[-1]].split
                area = cell(found.area(policy, keys), True)
                rows.append([policy, label, lesion_name(lesion), split, area])
                if lesion in (None, "off"):
                    name = policy if lesion is None else f"{policy}, off"
                    if lesion is None:  # all, by definition
                        scores[0] = scores[0]._replace(interval=(1.0, 1.0))
                    points = list(zip(keys, scores))
                    lines.append(charts.Line(name, policy, points, lesion is not None))
        plots += plotted(
            label, lines, "severity", "return kept", as_percent=True, include=[0, 1]
        )
    columns = ["policy", "perturbation", "network", "split", "area under the curve"]
    return _section(found, "Severity", plots, columns, rows)


def _adaptation(found: Evaluation) -> Section:
    """How policies find out in which context they are, and act accordingly."""
    plots, rows = [], []
    for c in found.conditions.values():
        if not (others := found.references(c.intact)):
            continue
        for prefix, when in BEGINS.items():
            for policy in (*found.policies, TOLD):
                if prefix in found.contexts(policy, c.key):
                    where = [c.name(onset=False), when, lesion_name(c.lesion)]
                    rows.append(
                        [policy, *where, *_context_cells(found, policy, c.key, prefix)]
                    )
            if c.lesion is not None:
                continue
            measure = f"{prefix}context_reward"
            lines = _curves(found, measure, _variants(found, c))
            if lines:
                for line in _curves(
                    found, measure, [(x, x, c.key, True) for x in others]
                ):
                    bare = [
                        (x, score._replace(interval=None)) for x, score in line.points
                    ]
                    lines.append(charts.Line(line.label, "", bare, dashed=True))
            title = f"{c.name(onset=False)}: contexts that begin {when}"
            plots += plotted(
                title, lines, "steps since the context began", "reward per step"
            )
    columns = ["policy", "condition", "context begins", "network",
               "reward per step, first 50 steps", "steps 100 to 200", "contexts that last so long",
               "pace of the teacher", "steps until found out",
               "changes after which the rate is back in 50 steps",
               "first 50 steps, more than with plasticity off"]  # fmt: skip
    return _section(found, "Adaptation", plots, columns, rows)


def _context_cells(found: Evaluation, policy: str, key: str, prefix: str) -> list[Any]:
    def of(measure: str, share: bool = False) -> Cell | None:
        return cell(found.estimate(policy, key, measure), share)

    settled, every = (
        found.values(policy, key, prefix + name)[0, 0, 0]
        for name in ("settled_contexts", "contexts")
    )
    rates = [of(f"{prefix}opening_rate"), of(f"{prefix}settled_rate")]
    told = policy == TOLD  # which has nothing to find out
    pace = None if told else of(f"{prefix}settled_pace", True)
    time = None if told else of(f"{prefix}time_to_identify")
    back = of("regained", True) if prefix else None
    more = of(f"{prefix}opening_over_off")
    return [*rates, f"{settled:.0f} of {every:.0f}", pace, time, back, more]


def _recovery(found: Evaluation) -> Section:
    """Reward around a change in mid-episode, and what comes back."""
    plots, rows = [], []
    for condition in found.severest:
        if condition.onset is None or found.references(condition.key):
            continue  # contexts have a section of their own
        lines = _curves(
            found, "reward", _variants(found, condition), since=condition.onset
        )
        plots += plotted(condition.name(onset=False), lines, "steps since the change",
                          "reward per step", vertical={"change": 0})  # fmt: skip
    for policy in found.policies:
        for c in found.conditions_of(policy):
            if scores := found.recovery(policy, c.key):
                cells = [cell(scores[name], name == "fraction") for name in RECOVERY]
                rows.append([policy, *_where(c), lesion_name(c.lesion), *cells])
    columns = ["policy", "condition", "severity", "network", "reward per step before", "drop",
               "missing at the end", "loss regained", "steps until regained"]  # fmt: skip
    return _section(found, "Recovery", plots, columns, rows)


def lesions(found: Evaluation) -> Section:
    """What each part of plasticity causes."""
    rows = []
    dots: dict[str, dict[str, list[charts.Dot]]] = {}  # by lesion and condition
    shown = {CLEAN_KEY, *(c.key for c in found.severest)}
    for policy in found.policies:
        for part in found.lesioned(policy):
            c, lesion, returns = part.intact, part.lesioned.lesion or "", part.returns
            rows.append(
                [policy, lesion_name(lesion), *_where(c)]
                + [cell(found.returns(policy, x.key)) for x in (c, part.lesioned)]
                + [cell(returns), _formed(p_value, decisive(returns))]
                + [_formed(percent, returns.better), cell(part.late_accuracy, True)]
                + ["yes" if part.identical else "no"]
            )
            if c.key in shown and not part.identical:
                dot = charts.Dot(policy, policy, returns)
                dots.setdefault(lesion, {}).setdefault(c.name(), []).append(dot)
    plots = []
    for lesion, groups in dots.items():
        chart = charts.dots(
            groups, "as trained minus lesioned, return", marks={"no effect": 0.0}
        )
        legend = dict.fromkeys(dot.policy for some in groups.values() for dot in some)
        plots.append(Plot(lesion_name(lesion).capitalize(), chart, list(legend)))
    columns = ["policy", "lesion", "condition", "severity", "return as trained", "return lesioned",
               "paired difference", "p", "probability that the trained one earns more",
               "late accuracy, difference", "same, bit for bit"]  # fmt: skip
    return _section(found, "Lesions", plots, columns, rows)


def _comparisons(found: Evaluation) -> Section:
    """Each two policies."""
    rows = []
    for part in found.comparisons:
        share = part.measure != "return"
        rows.append(
            [part.policy, part.other, TITLES[part.measure], cell(part.found, share)]
            + [_formed(p_value, p) for p in (part.found.p, part.p, part.found.rank_p)]
            + [_formed(percent, part.found.better), part.verdict]
        )
    columns = ["first", "second", "measure", "difference", "p", "p, corrected", "p, ranks",
               "probability that the first is higher", "the first is"]  # fmt: skip
    return _section(found, "Comparisons", [], columns, rows)


def _inside(found: Evaluation) -> Section:
    """What goes on inside the network, along the episode."""
    changes = [c for c in found.severest if c.onset is not None]

    def least(c: Condition) -> float:
        returns = [
            found.returns(p, c.key).mean
            for p in found.policies
            if c in found.conditions_of(p)
        ]
        return min(returns, default=np.inf)

    blocks: list[Any] = []
    for condition in (found.conditions[CLEAN_KEY], *sorted(changes, key=least)[:1]):
        plots = []
        onset, last = condition.onset, condition.last_onset
        marks = (
            {"change": onset}
            if onset == last
            else {"first change": onset, "last": last}
        )
        vertical = {name: step for name, step in marks.items() if step is not None}
        for measure, (name, unit) in SERIES.items():
            shown = (
                (policy, policy, condition.key, False) for policy in found.policies
            )
            lines = _curves(found, measure, shown)
            plots += plotted(name, lines, "step of the episode", unit, include=[0],
                              vertical=vertical)  # fmt: skip
        if plots:
            blocks += [Text([f"Condition: {condition.name()}."]), Plots(plots)]
    if blocks:
        blocks.insert(0, Text(sentences("about_inside", len(changes))))
    return Section("Inside the network", blocks)


def _costs(found: Evaluation) -> Section:
    """What each policy costs."""
    rows = []
    for policy, own in found.costs.items():
        counts = [_count(cost.total(own, part)) for part in cost.PARTS]
        memory = [own[f"{name}_bytes"] / 1000 for name in ("parameter", "state")]
        silent = _formed(percent, own.get("activation_sparsity"))
        rows.append(
            [
                policy,
                *counts,
                _count(cost.total(own)),
                own["energy_nJ"],
                *memory,
                silent,
            ]
        )
    columns = ["policy", *cost.PARTS, "all operations", "energy in nJ", "weights in kB",
               "state in kB", "silent activations"]  # fmt: skip
    caption = "Accumulates + multiply-accumulates per environment step"
    text = sentences(
        "about_cost", cost.PICOJOULES_PER_ADDITION, cost.PICOJOULES_PER_MULTIPLICATION
    )
    return Section("Cost", [Text(text), Table(columns, rows, caption)])


def results(found: Evaluation) -> Section:
    """Every policy in every condition."""
    rows = []
    for policy in found.policies:
        for c in found.conditions_of(policy):
            returns = found.returns(policy, c.key)
            each = "  ".join(
                number(value) for value in returns.by_run if value is not None
            )
            rows.append(
                [policy, *_where(c), c.split, lesion_name(c.lesion), cell(returns)]
                + [cell(found.measured(policy, c.key, measure), True)
                   for measure in ("retention", "late accuracy")]
                + [cell(found.estimate(policy, c.key, "length")), Cell(each, returns.mean)]
            )  # fmt: skip
    columns = ["policy", "condition", "severity", "split", "network", "return", "return kept",
               "late accuracy", "length in steps", "return by training seed"]  # fmt: skip
    return Section("All results", [Table(columns, rows)])


def cell(score: charts.Score | None, as_percent: bool = False) -> Cell | None:
    """A number with its interval, sorted by the number."""
    if score is None:
        return None
    return Cell(with_interval(score.mean, score.interval, as_percent), score.mean)


def _formed(form: Callable[[float], str], value: float | None) -> Cell | None:
    return None if value is None else Cell(form(value), value)


def plotted(
    title: str, lines: Sequence[charts.Line], *axes: str, **how: Any
) -> list[Plot]:
    """A plot of curves, see `charts.curves`; none without lines."""
    return [Plot(title, charts.curves(lines, *axes, **how))] if lines else []


def _section(
    found: Evaluation,
    title: str,
    plots: Sequence[Plot],
    columns: Sequence[str],
    rows: list[Any],
) -> Section:
    """A text, plots and a table."""
    text = Text(sentences(f"about_{title.lower()}", found))
    return Section(title, [text, Plots(plots), Table(columns, rows)])


def _where(condition: Condition) -> list[Cell | str | None]:
    severity = condition.severity
    name = condition.name(severity=False)
    return [name, None if severity is None else Cell(f"{severity:g}", severity)]


def _curves(
    found: Evaluation, measure: str, shown: Iterable[Variant], since: int = 0
) -> list[charts.Line]:
    """Means over runs by step, with a band where there are several."""
    lines = []
    for policy, label, key, off in shown:
        points = [
            (step - since, score) for step, score in found.curve(policy, key, measure)
        ]
        if points:
            lines.append(charts.Line(label, policy, points, off))
    return lines


def _count(count: cost.Operations) -> Cell:
    accumulates, both = map(float, count)
    return Cell(f"{number(accumulates)} + {number(both)}", accumulates + both)


def _settings(found: Evaluation) -> Section:
    asked = found.asked
    words = [shlex.quote(word) for word in asked["command"]]
    # a line breaks after any hyphen, and an option has to stay whole
    option = Markup('<span class="unbroken">{}</span>')
    whole = [
        option.format(word) if word.startswith("-") else escape(word) for word in words
    ]
    command = Markup("<code>python {}</code>").format(Markup(" ").join(whole))
    rows = [
        ["environment", asked["environment"]],
        *[[f"environment: {key}", value] for key, value in asked["env_kwargs"].items()],
        ["steps of an episode", asked["horizon"]],
        ["actions", "deterministic" if asked["deterministic"] else "sampled"],
        *[
            # noise of the task's own is an argument of its environment
            [f"perturbation: {c.label}", c.text or f"noise={c.severity:g} of the task"]
            for c in found.severest
        ],
        *[[f"version: {key}", value] for key, value in asked["versions"].items()],
    ]
    runs = [[run["policy"], run["seed"], run["folder"]] for run in asked["runs"]]
    return Section(
        "Settings and versions",
        [
            Text([Markup("Made by {}").format(command)]),
            Table(["setting", "value"], [[key, str(value)] for key, value in rows]),
            Table(["policy", "training seed", "folder of the run"], runs),
        ],
    )


def _each(
    found: Evaluation, policy: str, measure: str, most: int | None = None
) -> Cell | None:
    """What runs have of a fact, at most so many of them."""
    score = found.estimate(policy, None, measure)
    known = (
        [value for value in score.by_run if value is not None][:most] if score else []
    )
    return (
        Cell("  ".join(map(number, known)), sum(known) / len(known)) if known else None
    )


def sentences(name: str, *facts: Any) -> list[str]:
    """The items of a macro, plain text; its facts are an evaluation, with most."""
    items = re.split(r"^-(?=\s)", getattr(_macros(), name)(*facts), flags=re.MULTILINE)
    return [re.sub("[ \n]+", " ", item).strip() for item in items[1:]]


@functools.cache
def _macros() -> Any:
    environment = page.templates(extensions=["jinja2.ext.do"])
    for function in (words.number, words.percent, words.listed, words.plural, words.p_value,
                     words.with_interval, lesion_name):  # fmt: skip
        environment.filters[function.__name__] = function
        environment.globals[function.__name__] = function
    environment.globals.update(CLEAN_KEY=CLEAN_KEY, TOLD=TOLD)
    for name in ("HIGHER", "LOWER", "NO_DIFFERENCE"):
        environment.globals[name] = getattr(statistics, name)
    return environment.get_template("sentences.jinja").module
