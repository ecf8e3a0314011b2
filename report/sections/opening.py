"""Sections that open the report: the verdict, what was tested, and an overview."""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from markupsafe import Markup

from spikepropamine.common import CLEAN_KEY
from spikepropamine.evaluation.description import DescribedRun
from spikepropamine.evaluation.measure import Measure
from spikepropamine.evaluation.measures import MEASURES, of_section
from spikepropamine.report import charts
from spikepropamine.report.cells import cell, measure_column
from spikepropamine.report.charts import Dot
from spikepropamine.report.columns import Column
from spikepropamine.report.evaluation import SPLITS, EvaluationResults, lesion_name
from spikepropamine.report.page import Cell, Plot, Plots, Section, Table, Text
from spikepropamine.report.plots import legend_of, variants_of
from spikepropamine.report.sentences import sentences
from spikepropamine.words import number


def verdict(results: EvaluationResults, advice: Mapping[str, Sequence[str]]) -> Section:
    """What the evaluation found, a paragraph for each policy.

    Args:
        results: of the evaluation.
        advice: what to try with policies that have not learned, by policy.
    """
    cards: list[tuple[str, list[str]]] = []
    for policy in results.policies:
        first, *others = sentences("verdict", results, policy)
        to_try = advice.get(policy, ())
        if to_try:
            others = [*others, "What to try:", *to_try]
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


def tested(results: EvaluationResults) -> Section:
    """Which policies were evaluated, and how they were trained."""

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
        *(measure_column(measure, fact) for measure in of_section("tested")),
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


def overview(results: EvaluationResults) -> Section:
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
        for variant in variants_of(results, condition):
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
    legend = legend_of(dots)
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
