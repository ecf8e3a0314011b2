"""The report of an evaluation, report.html: its sections."""

import shlex
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import quote

import numpy as np
from markupsafe import Markup, escape

from spikepropamine.common import CLEAN_KEY, write_text
from spikepropamine.evaluation.ask.conditions import Condition, Skipped
from spikepropamine.evaluation.description import DescribedRun
from spikepropamine.evaluation.judge import cost
from spikepropamine.evaluation.measure import Measure
from spikepropamine.evaluation.measures import MEASURES, of_section
from spikepropamine.evaluation.observed import FIRST, LATER
from spikepropamine.evaluation.of_acting import INSIDE
from spikepropamine.evaluation.of_contexts import CONTEXTS, name_in
from spikepropamine.evaluation.tabulation import TOLD
from spikepropamine.report import charts, page
from spikepropamine.report.charts import Dot, Line
from spikepropamine.report.columns import Column
from spikepropamine.report.estimates import Comparison, Estimate
from spikepropamine.report.evaluation import (
    SPLITS,
    Change,
    EvaluationResults,
    Lesioned,
    lesion_name,
)
from spikepropamine.report.page import Cell, Plot, Plots, Section, Table, Text, Videos
from spikepropamine.report.sentences import sentences
from spikepropamine.statistics import Difference, decisive
from spikepropamine.words import listed, number, p_value, percent, plural

BEGINS = {FIRST: "with the episode", LATER: "within the episode"}
CellOf = Callable[[Any, Measure[Any]], Cell | None]
"""Makes the cell of a row and a measure."""
OFF = "off"
"""The lesion that plots show beside the policy as trained."""


def write_report(folder: Path, results: EvaluationResults | None = None) -> Path:
    """Makes report.html out of the evaluation and videos/ in a folder.

    Args:
        folder: of the evaluation.
        results: those in the folder, where they have been read.

    Returns:
        The path of the report.

    Raises:
        UsageError: there is no evaluation, or it is damaged.
    """
    if results is None:
        results = EvaluationResults.read(folder)
    files = sorted((folder / "videos").glob("*.mp4"))
    videos = [file.relative_to(folder) for file in files]
    path = folder / "report.html"
    write_text(path, report(results, videos))
    return path


def report(results: EvaluationResults, videos: Sequence[Path] = ()) -> str:
    """The report as HTML.

    Args:
        results: of the evaluation.
        videos: relative to the report.
    """
    description = results.description
    title = f"Adaptation: {listed(list(results.policies))} on {description.environment}"
    parts = [plural(description.episodes, "episode") + " per condition and run"]
    if description.suite:
        parts.insert(0, f"suite “{description.suite}”")
    counts = [len(seeds) for seeds in results.policies.values()]
    runs = f"{plural(max(counts), 'training run')} of each policy"
    parts.append(f"{min(counts)} to {runs}" if min(counts) < max(counts) else runs)
    parts.append(f"revision {description.versions.get('revision', '?')}")
    sections = [
        _verdict(results),
        _tested(results),
        _overview(results),
        _trials(results),
        _severity(results),
        _adaptation(results),
        _recovery(results),
        lesions(results),
        _comparisons(results),
        _inside(results),
        _costs(results),
        _videos(videos),
        all_results(results),
        _left_out(results),
        _settings(results),
    ]
    return page.render(title, ", ".join(parts), sections)


# what cells show


def cell(score: Estimate | Difference | None, as_percent: bool = False) -> Cell | None:
    """A number with its interval, sorted by the number; None where there is none.

    Args:
        score: the number.
        as_percent: whether it is a fraction, and shown as a percentage.
    """
    if score is None:
        return None
    return Cell(charts.text_of(score, as_percent), score.mean)


def _percentage(value: float | None) -> Cell | None:
    return None if value is None else Cell(percent(value), value)


def _p(value: float | None) -> Cell | None:
    return None if value is None else Cell(p_value(value), value)


def _measure_column(measure: Measure[Any], cell_of: CellOf) -> Column[Any]:
    """A column of a measure, whose record says all but what a row is of."""
    return Column(measure.title, lambda item: cell_of(item, measure), measure.sentence)


class InCondition(NamedTuple):
    """A row of a table: a policy in a condition."""

    results: EvaluationResults
    policy: str
    condition: Condition

    def of(self, measure: Measure[Any]) -> Cell | None:
        """A measure."""
        score = self.results.measured(self.policy, self.condition.key, measure.name)
        return cell(score, measure.as_percent)


def _severity_of(condition: Condition) -> Cell | None:
    severity = condition.severity
    return None if severity is None else Cell(f"{severity:g}", severity)


# what plots show


class Variant(NamedTuple):
    """A policy in a condition, as a plot shows it."""

    policy: str
    label: str
    key: str  # of the condition
    off: bool = False  # whether plasticity is off, or it is there for comparison


def _variants(results: EvaluationResults, condition: Condition) -> Iterator[Variant]:
    """Those evaluated in a condition, as trained and with plasticity off."""
    for policy in results.policies:
        if condition in results.conditions_of(policy):
            yield Variant(policy, policy, condition.key)
        key = results.off(policy, condition)
        if key:
            yield Variant(policy, f"{policy}, off", key, off=True)


def _curves(
    results: EvaluationResults,
    measure: str,
    variants: Iterable[Variant],
    since: int = 0,
) -> list[Line]:
    """Means over runs by step, with a band where there are several."""
    lines = []
    for variant in variants:
        curve = results.curve(variant.policy, variant.key, measure)
        points = [(step - since, score) for step, score in curve]
        if points:
            lines.append(Line(variant.label, variant.policy, points, variant.off))
    return lines


def _legend(dots: Mapping[str, Sequence[Dot]]) -> list[str]:
    """The policies of a plot."""
    return list(dict.fromkeys(dot.policy for some in dots.values() for dot in some))


def plotted(title: str, axes: charts.Axes, lines: Sequence[Line]) -> list[Plot]:
    """A plot of curves; none without lines.

    Args:
        title: above the plot.
        axes: of the plot.
        lines: the curves.
    """
    return [Plot(title, charts.curves(lines, axes))] if lines else []


# the sections


def _verdict(results: EvaluationResults) -> Section:
    cards: list[tuple[str, list[str]]] = []
    for policy in results.policies:
        first, *others = sentences("verdict", results, policy)
        cards.append((f"{policy} {first}", others))
    for lead, name in (
        ("Compared.", "comparisons"),
        ("What this cannot tell.", "caveats"),
    ):
        others = sentences(name, results)
        if others:
            cards.append((lead, others))
    items = []
    for lead, others in cards:
        text = Markup("<p>{}</p>").format(" ".join(others)) if others else ""
        items.append(Markup("<strong>{}</strong>{}").format(lead, text))
    return Section("Verdict", [Text(items, bullets=True)])


def _tested(results: EvaluationResults) -> Section:
    def runs_of(policy: str) -> list[DescribedRun]:
        return [run for run in results.description.runs if run.policy == policy]

    def seeds(policy: str) -> Cell:
        numbers = results.policies[policy]
        return Cell(", ".join(f"seed {seed}" for seed in numbers), len(numbers))

    def steps(policy: str) -> Cell:
        every = [run.steps for run in runs_of(policy)]
        low = min(every)
        high = max(every)
        return Cell(f"{low:,}" if low == high else f"{low:,} to {high:,}", high)

    def trained_in(policy: str) -> str:
        first = runs_of(policy)[0]
        now = results.description.env_kwargs
        changed = [
            f"{name} {value}"
            for name, value in first.env_kwargs.items()
            if now.get(name) != value
        ]
        return ", ".join([first.perturb or "the task", *changed])

    def fact(policy: str, measure: Measure[Any]) -> Cell | None:
        score = results.estimate(policy, None, measure.name)
        if score is None:
            return None
        values = [value for value in score.by_run if value is not None]
        texts = dict.fromkeys(map(number, values))  # said once where all have one
        return Cell("  ".join(texts), sum(values) / len(values))

    columns: list[Column[str]] = [
        Column("policy", lambda policy: policy),
        Column("trained with", seeds),
        Column("steps trained", steps),
        Column("trained in", trained_in),
        *(_measure_column(measure, fact) for measure in of_section("tested")),
        Column("return, clean task", lambda policy: cell(results.returns(policy))),
    ]
    glossary = sentences("glossary", results)
    return Section(
        "What was tested",
        [
            Text(sentences("tested", results)),
            Table(columns, results.policies),
            _learning(results),
            Text(glossary, bullets=True, folded="What the words mean"),
        ],
    )


def _learning(results: EvaluationResults) -> Table:
    """Settings of training that concern several policies and in which these differ."""
    learning = results.description.learning
    names = dict.fromkeys(name for settings in learning.values() for name in settings)

    def differs(name: str) -> bool:
        known = [settings[name] for settings in learning.values() if name in settings]
        return len({str(value) for value in known}) > 1

    def of_policy(policy: str) -> Column[str]:
        settings = learning.get(policy, {})

        def value(name: str) -> str | None:
            return str(settings[name]) if name in settings else None

        return Column(policy, value)

    setting: Column[str] = Column("setting", str)
    columns = [setting, *map(of_policy, results.policies)]
    return Table(columns, filter(differs, names), "Settings of training that differ")


def _overview(results: EvaluationResults) -> Section:
    """Each policy in the severest condition of each label, as trained and with
    plasticity off.
    """
    policies = list(results.policies)
    name = "return"
    if any(results.measured(p, CLEAN_KEY, "late_accuracy") for p in policies):
        name = "late_accuracy"
    elif any(map(results.overall, policies)):
        name = "retention"
    measure = MEASURES[name]
    keeps = name == "retention"
    conditions = list(results.severest)
    if not keeps:
        conditions.insert(0, results.conditions[CLEAN_KEY])
    dots: dict[str, list[Dot]] = {}
    for condition in conditions:
        for variant in _variants(results, condition):
            score = results.measured(variant.policy, variant.key, name)
            if score is not None:
                dot = Dot(variant.label, variant.policy, score, variant.off)
                dots.setdefault(condition.name(), []).append(dot)
    if not dots:
        return Section("At a glance", [])
    reference = {"late_accuracy": results.description.chance, "retention": 1.0}
    at = reference.get(name)
    chart = charts.dots(
        dots,
        measure.of_axis,
        as_percent=measure.as_percent,
        include=[0.0] if keeps else [],
        marks={} if at is None else {"reference": at},
    )
    legend = _legend(dots)
    notes = ["Filled: as trained."]
    if any(dot.hollow for some in dots.values() for dot in some):
        notes.append("Hollow: the same weights with plasticity off.")
    if at is not None:
        notes.append(f"Dotted line: {'no loss' if keeps else 'chance'}.")
    missing = [policy for policy in policies if policy not in legend]
    if missing:
        notes.append(f"Not shown, since it has none: {', '.join(missing)}.")
    title = f"{measure.of_axis[0].upper()}{measure.of_axis[1:]}, by condition"
    plot = Plot(title, chart, legend, " ".join(notes))
    return Section("At a glance", [Plots([plot], wide=True), _retention(results)])


class Network(NamedTuple):
    """A policy, intact or with a lesion."""

    policy: str
    lesion: str | None


def _retention(results: EvaluationResults) -> Table:
    """What is kept over all conditions, and over those of each split."""

    def kept(split: str) -> Column[Network]:
        title = "all conditions" if split == "all" else f"split: {split}"
        return Column(title, lambda row: cell(results.overall(*row, split=split), True))

    networks = [
        Network(policy, lesion)
        for policy in results.policies
        for lesion in (None, *results.lesions)
    ]
    columns: list[Column[Network]] = [
        Column("policy", lambda row: row.policy),
        Column("network", lambda row: lesion_name(row.lesion)),
        *map(kept, SPLITS),
    ]
    known = [row for row in networks if any(results.overall(*row, s) for s in SPLITS)]
    caption = "Return kept, mean over perturbed conditions of all severities"
    return Table(columns, known, caption)


def _trials(results: EvaluationResults) -> Section:
    """Accuracy by trial, in the clean condition and the severest ones."""
    chance = results.description.chance
    axes = charts.Axes(
        "trial that asks",
        "right answers",
        as_percent=True,
        x_format="d",
        include=(1.0,),
        horizontal={} if chance is None else {"chance": chance},
    )
    plots = []
    for condition in (results.conditions[CLEAN_KEY], *results.severest):
        lines = []
        for variant in _variants(results, condition):
            points = list(enumerate(results.trials(variant.policy, variant.key), 1))
            if len(points) > 1:
                lines.append(Line(variant.label, variant.policy, points, variant.off))
        plots += plotted(condition.name(), axes, lines)
    text = Text(sentences("about_trials", results))
    return Section("Accuracy by trial", [text, Plots(plots)])


class Graded(NamedTuple):
    """A policy under a perturbation of rising severity."""

    policy: str
    label: str
    lesion: str | None
    keys: dict[float, str]  # of the conditions, by severity
    split: str | None


def _severity(results: EvaluationResults) -> Section:
    """What is kept as each perturbation grows."""
    conditions = results.conditions.values()
    labels = dict.fromkeys(c.label for c in conditions if c.severity is not None)
    axes = charts.Axes("severity", "return kept", as_percent=True, include=(0.0, 1.0))
    plots = []
    rows = []
    for label in labels:
        lines = []
        for policy in results.policies:
            for lesion in (None, *results.lesions):
                keys = results.severities(policy, label, lesion)
                points = []
                for severity, key in keys.items():
                    score = results.retention(policy, [key])
                    if score is not None:
                        points.append((severity, score))
                if not keys or len(points) < len(keys):
                    continue
                split = results.conditions[list(keys.values())[-1]].split
                rows.append(Graded(policy, label, lesion, keys, split))
                if lesion is None:
                    lines.append(Line(policy, policy, points))
                elif lesion == OFF:
                    lines.append(Line(f"{policy}, off", policy, points, dashed=True))
        plots += plotted(label, axes, lines)
    columns: list[Column[Graded]] = [
        Column("policy", lambda row: row.policy),
        Column("perturbation", lambda row: row.label),
        Column("network", lambda row: lesion_name(row.lesion)),
        Column("split", lambda row: row.split),
        Column(
            "area under the curve",
            lambda row: cell(results.area(row.policy, row.keys), True),
        ),
    ]
    text = Text(sentences("about_severity", results))
    return Section("Severity", [text, Plots(plots), Table(columns, rows)])


class InContexts(NamedTuple):
    """An actor in the contexts of a condition that begin with an episode, or later."""

    policy: str
    condition: Condition
    prefix: str


def _adaptation(results: EvaluationResults) -> Section:
    """How policies find out in which context they are, and act accordingly."""
    plots = []
    rows = []
    for condition in results.conditions.values():
        others = results.references(condition.intact)
        if not others:
            continue
        name = condition.name(onset=False)
        for prefix, begins in BEGINS.items():
            rows += [
                InContexts(policy, condition, prefix)
                for policy in (*results.policies, TOLD)
                if prefix in results.contexts(policy, condition.key)
            ]
            if condition.lesion is not None:
                continue
            measure = f"{prefix}context_reward"
            lines = _curves(results, measure, _variants(results, condition))
            if lines:
                references = [Variant(x, x, condition.key, off=True) for x in others]
                lines += map(_bare, _curves(results, measure, references))
            title = f"{name}: contexts that begin {begins}"
            axes = charts.Axes("steps since the context began", "reward per step")
            plots += plotted(title, axes, lines)

    def of(row: InContexts, measure: Measure[Any]) -> Cell | None:
        if row.policy == TOLD and measure.found_out:
            return None  # it has nothing to find out
        name = name_in(row.prefix, measure)
        if name is None:
            return None
        score = results.estimate(row.policy, row.condition.key, name)
        return cell(score, measure.as_percent)

    def lasting(row: InContexts) -> str:
        settled, every = (
            results.values(row.policy, row.condition.key, row.prefix + name)[0, 0, 0]
            for name in ("settled_contexts", "contexts")
        )
        return f"{settled:.0f} of {every:.0f}"

    measures = [measure for measure in CONTEXTS if measure.section == "adaptation"]
    columns: list[Column[InContexts]] = [
        Column("policy", lambda row: row.policy),
        Column("condition", lambda row: row.condition.name(onset=False)),
        Column("context begins", lambda row: BEGINS[row.prefix]),
        Column("network", lambda row: lesion_name(row.condition.lesion)),
        *(_measure_column(measure, of) for measure in measures),
        Column("contexts that last 100 steps", lasting),
    ]
    text = Text(sentences("about_adaptation", results))
    return Section("Adaptation", [text, Plots(plots), Table(columns, rows)])


def _bare(line: Line) -> Line:
    """A line for comparison, without bands."""
    points = [(x, score._replace(interval=None)) for x, score in line.points]
    return Line(line.label, "", points, dashed=True)


class Changed(NamedTuple):
    """A policy in a condition that changes in mid-episode."""

    policy: str
    condition: Condition
    change: Change


def _recovery(results: EvaluationResults) -> Section:
    """Reward around a change in mid-episode, and what comes back."""
    axes = charts.Axes(
        "steps since the change", "reward per step", vertical={"change": 0}
    )
    plots = []
    rows = []
    for condition in results.severest:
        if condition.onset is None or results.references(condition.key):
            continue  # contexts have a section of their own
        variants = _variants(results, condition)
        lines = _curves(results, "reward", variants, since=condition.onset)
        plots += plotted(condition.name(onset=False), axes, lines)
    for policy in results.policies:
        for condition in results.conditions_of(policy):
            change = results.change(policy, condition.key)
            if change is not None:
                rows.append(Changed(policy, condition, change))

    def of(row: Changed, measure: Measure[Any]) -> Cell | None:
        return cell(getattr(row.change, measure.name), measure.as_percent)

    columns: list[Column[Changed]] = [
        Column("policy", lambda row: row.policy),
        Column("condition", lambda row: row.condition.name(severity=False)),
        Column("severity", lambda row: _severity_of(row.condition)),
        Column("network", lambda row: lesion_name(row.condition.lesion)),
        *(_measure_column(measure, of) for measure in of_section("recovery")),
        Column("loss regained", lambda row: cell(row.change.fraction, True)),
    ]
    text = Text(sentences("about_recovery", results))
    return Section("Recovery", [text, Plots(plots), Table(columns, rows)])


class LesionedPolicy(NamedTuple):
    """What a lesion of a policy does."""

    policy: str
    part: Lesioned


def lesions(results: EvaluationResults) -> Section:
    """What each part of plasticity causes."""
    rows = [
        LesionedPolicy(policy, part)
        for policy in results.policies
        for part in results.lesioned(policy)
    ]
    columns: list[Column[LesionedPolicy]] = [
        Column("policy", lambda row: row.policy),
        Column("lesion", lambda row: lesion_name(row.part.lesioned.lesion)),
        Column("condition", lambda row: row.part.intact.name(severity=False)),
        Column("severity", lambda row: _severity_of(row.part.intact)),
        Column(
            "return as trained",
            lambda row: cell(results.returns(row.policy, row.part.intact.key)),
        ),
        Column(
            "return lesioned",
            lambda row: cell(results.returns(row.policy, row.part.lesioned.key)),
        ),
        Column("paired difference", lambda row: cell(row.part.returns)),
        Column("p", lambda row: _p(decisive(row.part.returns))),
        Column(
            "probability that the trained one earns more",
            lambda row: _percentage(row.part.returns.better),
        ),
        Column(
            "late accuracy, difference",
            lambda row: cell(row.part.late_accuracy, True),
        ),
        Column("same, bit for bit", lambda row: "yes" if row.part.identical else "no"),
    ]
    plots = []
    for lesion, dots in _lesion_dots(results, rows).items():
        chart = charts.dots(
            dots, "as trained minus lesioned, return", marks={"no effect": 0.0}
        )
        title = lesion_name(lesion)
        plots.append(Plot(title[0].upper() + title[1:], chart, _legend(dots)))
    text = Text(sentences("about_lesions", results))
    return Section("Lesions", [text, Plots(plots), Table(columns, rows)])


def _lesion_dots(
    results: EvaluationResults, rows: Sequence[LesionedPolicy]
) -> dict[str, dict[str, list[Dot]]]:
    """By lesion and condition, the effects in the clean task and the severest ones."""
    shown = {CLEAN_KEY, *(condition.key for condition in results.severest)}
    dots: dict[str, dict[str, list[Dot]]] = {}
    for policy, part in rows:
        if part.intact.key in shown and not part.identical:
            by_condition = dots.setdefault(part.lesioned.lesion or "", {})
            dot = Dot(policy, policy, part.returns)
            by_condition.setdefault(part.intact.name(), []).append(dot)
    return dots


def _comparisons(results: EvaluationResults) -> Section:
    """Each two policies."""

    def difference(row: Comparison) -> Cell | None:
        return cell(row.difference, MEASURES[row.measure].as_percent)

    columns: list[Column[Comparison]] = [
        Column("first", lambda row: row.policy),
        Column("second", lambda row: row.other),
        Column("measure", lambda row: MEASURES[row.measure].of_axis),
        Column("difference", difference),
        Column("p", lambda row: _p(row.difference.p)),
        Column("p, corrected", lambda row: _p(row.p)),
        Column("p, ranks", lambda row: _p(row.difference.rank_p)),
        Column(
            "probability that the first is higher",
            lambda row: _percentage(row.difference.better),
        ),
        Column("the first is", lambda row: row.verdict),
    ]
    text = Text(sentences("about_comparisons", results))
    table = Table(columns, results.comparisons)
    return Section("Comparisons", [text, Plots([]), table])


def _inside(results: EvaluationResults) -> Section:
    """What goes on inside the network, along the episode."""
    changes = [c for c in results.severest if c.onset is not None]

    def least_return(condition: Condition) -> float:
        returns = [
            results.returns(policy, condition.key).mean
            for policy in results.policies
            if condition in results.conditions_of(policy)
        ]
        return min(returns, default=np.inf)

    blocks: list[Text | Plots] = []
    worst = sorted(changes, key=least_return)[:1]
    for condition in (results.conditions[CLEAN_KEY], *worst):
        plots = []
        for name, (title, unit) in INSIDE.items():
            variants = [Variant(p, p, condition.key) for p in results.policies]
            axes = charts.Axes(
                "step of the episode",
                unit,
                include=(0.0,),
                vertical=_onsets(condition),
            )
            plots += plotted(title, axes, _curves(results, name, variants))
        if plots:
            blocks += [Text([f"Condition: {condition.name()}."]), Plots(plots)]
    if blocks:
        blocks.insert(0, Text(sentences("about_inside", len(changes))))
    return Section("Inside the network", blocks)


def _onsets(condition: Condition) -> dict[str, float]:
    """When a condition changes, by label: one step, or the first and the last."""
    onset = condition.onset
    last = condition.last_onset
    if onset is None:
        return {}
    if last is None or onset == last:
        return {"change": onset}
    return {"first change": onset, "last": last}


def _costs(results: EvaluationResults) -> Section:
    """What each policy costs."""
    costs = results.costs

    def operations(title: str, *parts: str) -> Column[str]:
        def counted(policy: str) -> Cell:
            accumulates, both = map(float, cost.total(costs[policy], *parts))
            text = f"{number(accumulates)} + {number(both)}"
            return Cell(text, accumulates + both)

        return Column(title, counted)

    columns: list[Column[str]] = [
        Column("policy", lambda policy: policy),
        *(operations(part, part) for part in cost.PARTS),
        operations("all operations"),
        Column("energy in nJ", lambda policy: costs[policy]["energy_nJ"]),
        Column("weights in kB", lambda policy: costs[policy]["parameter_bytes"] / 1000),
        Column("state in kB", lambda policy: costs[policy]["state_bytes"] / 1000),
        Column(
            "silent activations",
            lambda policy: _percentage(costs[policy].get("activation_sparsity")),
        ),
    ]
    caption = "Accumulates + multiply-accumulates per environment step"
    text = sentences(
        "about_cost", cost.PICOJOULES_PER_ADDITION, cost.PICOJOULES_PER_MULTIPLICATION
    )
    return Section("Cost", [Text(text), Table(columns, costs, caption)])


def _videos(videos: Sequence[Path]) -> Section:
    text = "They lie beside this file, in videos/; keep the folder together."
    addresses = {path.stem: quote(path.as_posix()) for path in videos}
    return Section("Videos", [Text([text]), Videos(addresses)])


def all_results(results: EvaluationResults) -> Section:
    """Every policy in every condition."""
    rows = [
        InCondition(results, policy, condition)
        for policy in results.policies
        for condition in results.conditions_of(policy)
    ]

    def by_seed(row: InCondition) -> Cell:
        returns = results.returns(row.policy, row.condition.key)
        values = [number(value) for value in returns.by_run if value is not None]
        return Cell("  ".join(values), returns.mean)

    # what tells how good a policy is comes first
    measures = sorted(of_section("results"), key=lambda measure: measure.tells == 0)
    columns: list[Column[InCondition]] = [
        Column("policy", lambda row: row.policy),
        Column("condition", lambda row: row.condition.name(severity=False)),
        Column("severity", lambda row: _severity_of(row.condition)),
        Column("split", lambda row: row.condition.split),
        Column("network", lambda row: lesion_name(row.condition.lesion)),
        *(_measure_column(measure, InCondition.of) for measure in measures),
        Column("return by training seed", by_seed),
    ]
    return Section("All results", [Table(columns, rows)])


def _left_out(results: EvaluationResults) -> Section:
    columns: list[Column[Skipped]] = [
        Column("left out", lambda row: row.condition),
        Column("for", lambda row: row.policy or "all policies"),
        Column("because", lambda row: row.reason),
    ]
    return Section("Left out", [Table(columns, results.description.skipped)])


def _settings(results: EvaluationResults) -> Section:
    description = results.description
    settings: dict[str, object] = {"environment": description.environment}
    for name, value in description.env_kwargs.items():
        settings[f"environment: {name}"] = value
    settings["steps of an episode"] = description.horizon
    settings["actions"] = "deterministic" if description.deterministic else "sampled"
    for condition in results.severest:
        # noise of the task's own is an argument of its environment
        of_task = f"noise={condition.noise:g} of the task"
        settings[f"perturbation: {condition.label}"] = condition.text or of_task
    for name, version in description.versions.items():
        settings[f"version: {name}"] = version
    setting_columns: list[Column[tuple[str, object]]] = [
        Column("setting", lambda row: row[0]),
        Column("value", lambda row: str(row[1])),
    ]
    run_columns: list[Column[DescribedRun]] = [
        Column("policy", lambda run: run.policy),
        Column("training seed", lambda run: run.seed),
        Column("folder of the run", lambda run: run.folder),
    ]
    return Section(
        "Settings and versions",
        [
            Text([Markup("Made by {}").format(_command(description.command))]),
            Table(setting_columns, settings.items()),
            Table(run_columns, description.runs),
        ],
    )


def _command(words: Sequence[str]) -> Markup:
    """A command line, in which options stay whole: a line breaks after any hyphen."""
    whole = Markup('<span class="unbroken">{}</span>')
    parts = [
        whole.format(word) if word.startswith("-") else escape(word)
        for word in map(shlex.quote, words)
    ]
    return Markup("<code>python {}</code>").format(Markup(" ").join(parts))
