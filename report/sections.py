"""The sections of a report, each out of an evaluation; one without blocks is left out."""

from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import numpy as np

from spikepropamine.common import CLEAN_KEY
from spikepropamine.evaluation.ask.conditions import Condition
from spikepropamine.evaluation.judge.cost import (
    PARTS,
    PICOJOULES_PER_ADDITION,
    PICOJOULES_PER_MULTIPLICATION,
    Operations,
    total,
)
from spikepropamine.evaluation.rows import TOLD
from spikepropamine.report import charts
from spikepropamine.report.colours import colour_of
from spikepropamine.report.evaluation import (
    SPLITS,
    Estimate,
    Evaluation,
    estimate,
    lesion_name,
)
from spikepropamine.report.page import Cell, Plot, Plots, Section, Table, Text, filled_table
from spikepropamine.report.sentences import sentences
from spikepropamine.statistics import Difference, decisive
from spikepropamine.words import number, p_value, percent, with_interval

SERIES = {
    "fast_weight_norm": "Fast weights, root mean square",
    "modulator_mean": "Neuromodulator, mean over neurons",
    "modulator_spread": "Neuromodulator, spread over neurons",
    "firing_rate": "Firing rate, spikes per neuron in the last tick of a step",
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


def variants(found: Evaluation, condition: Condition) -> Iterator[Variant]:
    """Those evaluated in a condition, as trained and with plasticity off."""
    for policy in found.policies:
        if condition in found.conditions_of(policy):
            yield policy, policy, condition.key, False
        if key := found.off(policy, condition):
            yield policy, f"{policy}, off", key, True


def overview(found: Evaluation) -> Section:
    """Each policy in the severest condition of each label, as trained and with plasticity off."""
    measure = main_measure(found)
    clean = found.conditions[CLEAN_KEY]
    shown = found.severest if measure == "retention" else [clean, *found.severest]
    rows: dict[str, list[charts.Dot]] = {}
    for condition in shown:
        for policy, label, key, off in variants(found, condition):
            if (score := found.measured(policy, key, measure)) is not None:
                rows.setdefault(condition.name(), []).append(_dot(label, policy, score, off))
    if not rows:
        return Section("At a glance", [])
    at = {"late accuracy": found.asked["chance"], "retention": 1.0}.get(measure)
    include, marks = [0.0] * (measure == "retention"), {} if at is None else {"reference": at}
    share = measure != "return"
    chart = charts.dots(rows, TITLES[measure], as_percent=share, include=include, marks=marks)
    note = "Filled: as trained."
    if any(dot.hollow for some in rows.values() for dot in some):
        note += " Hollow: the same weights with plasticity off."
    if at is not None:
        note += f" Dotted line: {'no loss' if measure == 'retention' else 'chance'}."
    title = f"{TITLES[measure].capitalize()}, by condition"
    legend = {policy: colour_of(policy) for policy in found.policies}
    blocks: list[Any] = [Plots([Plot(title, chart, legend, note)], wide=True)]
    lines = [
        [policy, lesion_name(lesion), *scores]
        for policy in found.policies
        for lesion in (None, *found.lesions)
        if any(scores := [cell(found.overall(policy, lesion, s), True) for s in SPLITS])
    ]
    if lines:
        columns = ["policy", "network", "all conditions", "split: train", "split: held-out"]
        caption = "Return kept, mean over perturbed conditions of all severities"
        blocks.append(filled_table(columns, lines, caption))
    return Section("At a glance", blocks)


def trials(found: Evaluation) -> Section:
    """Accuracy by trial, in the clean condition and the severest ones."""
    plots, chance = [], found.asked["chance"]
    for condition in (found.conditions[CLEAN_KEY], *found.severest):
        lines = []
        for policy, label, key, off in variants(found, condition):
            scores = found.trials(policy, key)
            if len(scores) > 1:
                lines.append(line_of(label, policy, list(enumerate(scores, 1)), off))
        marks = {} if chance is None else {"chance": chance}
        how = {"as_percent": True, "x_format": "d", "include": [1.0], "horizontal": marks}
        plots += plotted(condition.name(), lines, "trial that asks", "right answers", **how)
    text = sentences("about_trials", found)
    return Section("Accuracy by trial", [Text(text), Plots(plots)] if plots else [])


def severity(found: Evaluation) -> Section:
    """What is kept as each perturbation grows."""
    plots, rows = [], []
    for label in dict.fromkeys(
        c.label for c in found.conditions.values() if c.severity is not None
    ):
        lines = []
        for policy in found.policies:
            for lesion in (None, *found.lesions):
                keys = found.severities(policy, label, lesion)
                scores = [found.retention(policy, [key]) for key in keys.values()]
                known = [score for score in scores if score is not None]
                if not keys or len(known) < len(scores):
                    continue
                split = found.conditions[list(keys.values())[-1]].split
                area = cell(found.area(policy, keys), True)
                rows.append([policy, label, lesion_name(lesion), split, area])
                if lesion is None or (lesion == "off" and found.is_plastic(policy)):
                    name = policy if lesion is None else f"{policy}, off"
                    if lesion is None:  # all, by definition
                        known[0] = known[0]._replace(interval=(1.0, 1.0))
                    points = list(zip(keys, known))
                    lines.append(line_of(name, policy, points, lesion is not None))
        plots += plotted(label, lines, "severity", "return kept", as_percent=True, include=[0, 1])
    columns = ["policy", "perturbation", "network", "split", "area under the curve"]
    return _section(found, "Severity", plots, columns, rows)


def adaptation(found: Evaluation) -> Section:
    """How policies find out in which context they are, and act accordingly."""
    plots, rows = [], []
    for c in found.conditions.values():
        if not (others := found.references(c.intact)):
            continue
        for prefix, when in BEGINS.items():
            for policy in (*found.policies, TOLD):
                if prefix in found.contexts(policy, c.key):
                    where = [c.name(onset=False), when, lesion_name(c.lesion)]
                    rows.append([policy, *where, *_context_cells(found, policy, c.key, prefix)])
            if c.lesion is not None:
                continue
            measure = f"{prefix}context_reward"
            lines = _curves(found, measure, variants(found, c))
            if lines:
                for line in _curves(found, measure, [(x, x, c.key, True) for x in others]):
                    bare = [(x, mean, None, None) for x, mean, *_ in line.points]
                    lines.append(charts.Line(line.label, charts.QUIET, bare, dashed=True))
            title = f"{c.name(onset=False)}: contexts that begin {when}"
            plots += plotted(title, lines, "steps since the context began", "reward per step")
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


def recovery(found: Evaluation) -> Section:
    """Reward around a change in mid-episode, and what comes back."""
    plots, rows = [], []
    for condition in found.severest:
        if condition.onset is None or found.references(condition.key):
            continue  # contexts have a section of their own
        lines = _curves(found, "reward", variants(found, condition), since=condition.onset)
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
                + [difference_cell(returns), p_cell(decisive(returns))]
                + [Cell(percent(returns.better), returns.better)]
                + [part.late_accuracy and difference_cell(part.late_accuracy, True)]
                + ["yes" if part.identical else "no"]
            )
            if c.key in shown and not part.identical:
                edges = returns.interval or (None, None)
                dot = charts.Dot(policy, colour_of(policy), returns.mean, *edges)
                dots.setdefault(lesion, {}).setdefault(c.name(), []).append(dot)
    plots = []
    for lesion, groups in dots.items():
        chart = charts.dots(groups, "as trained minus lesioned, return", marks={"no effect": 0.0})
        legend = {dot.label: dot.colour for some in groups.values() for dot in some}
        plots.append(Plot(lesion_name(lesion).capitalize(), chart, legend))
    columns = ["policy", "lesion", "condition", "severity", "return as trained", "return lesioned",
               "paired difference", "p", "probability that the trained one earns more",
               "late accuracy, difference", "same, bit for bit"]  # fmt: skip
    return _section(found, "Lesions", plots, columns, rows)


def comparisons(found: Evaluation) -> Section:
    """Each two policies."""
    rows = []
    for part in found.comparisons:
        share = part.measure != "return"
        rows.append(
            [part.policy, part.other, TITLES[part.measure], difference_cell(part.found, share)]
            + [p_cell(p) for p in (part.found.p, part.p, part.found.rank_p)]
            + [Cell(percent(part.found.better), part.found.better), part.verdict]
        )
    columns = ["first", "second", "measure", "difference", "p", "p, corrected", "p, ranks",
               "probability that the first is higher", "the first is"]  # fmt: skip
    return _section(found, "Comparisons", [], columns, rows)


def inside(found: Evaluation) -> Section:
    """What goes on inside the network, along the episode."""
    changes = [c for c in found.severest if c.onset is not None]

    def least(c: Condition) -> float:
        returns = [
            found.returns(p, c.key).mean for p in found.policies if c in found.conditions_of(p)
        ]
        return min(returns, default=np.inf)

    blocks: list[Any] = []
    for condition in (found.conditions[CLEAN_KEY], *sorted(changes, key=least)[:1]):
        plots = []
        onset, last = condition.onset, condition.last_onset
        marks = {"change": onset} if onset == last else {"first change": onset, "last": last}
        vertical = {name: step for name, step in marks.items() if step is not None}
        for measure, title in SERIES.items():
            shown = [(policy, policy, condition.key, False) for policy in found.policies]
            lines = _curves(found, measure, shown)
            name, _, unit = title.partition(", ")
            plots += plotted(name, lines, "step of the episode", unit, include=[0],
                              vertical=vertical)  # fmt: skip
        if plots:
            blocks += [Text([f"Condition: {condition.name()}."]), Plots(plots)]
    if blocks:
        blocks.insert(0, Text(sentences("about_inside", len(changes))))
    return Section("Inside the network", blocks)


def costs(found: Evaluation) -> Section:
    """What each policy costs, and what it earns with it."""
    rows = []
    for policy, cost in found.costs.items():
        rows.append(
            [policy, *[_count(total(cost, part)) for part in PARTS], _count(total(cost))]
            + [Cell(number(cost["energy_nJ"]), cost["energy_nJ"])]
            + [Cell(number(cost[name] / 1000), cost[name])
               for name in ("parameter_bytes", "state_bytes")]
            + [_share(cost.get("activation_sparsity"))]
        )  # fmt: skip
    if not rows:
        return Section("Cost", [])
    columns = ["policy", *PARTS, "all operations", "energy in nJ", "weights in kB", "state in kB",
               "silent activations"]  # fmt: skip
    caption = "Accumulates + multiply-accumulates per environment step"
    plots = []
    for measure, title in TITLES.items():
        spots = []
        for policy, cost in found.costs.items():
            score = found.measured(policy, CLEAN_KEY, measure)
            if measure == "retention":
                score = found.overall(policy)
            if score is not None:
                spots.append((total(cost).sum(), _dot(policy, policy, score)))
        if len(spots) > 1:
            axes, share = ("operations per environment step", title), measure != "return"
            chart = charts.scatter(spots, *axes, as_percent=share)
            plots.append(Plot(f"{title.capitalize()}, by cost", chart))
    text = sentences("about_cost", PICOJOULES_PER_ADDITION, PICOJOULES_PER_MULTIPLICATION)
    shown: list[Any] = [Plots(plots)] if plots else []
    return Section("Cost", [Text(text), *shown, Table(columns, rows, caption)])


def results(found: Evaluation) -> Section:
    """Every policy in every condition."""
    rows = []
    for policy in found.policies:
        for c in found.conditions_of(policy):
            returns = found.returns(policy, c.key)
            each = "  ".join(number(value) for value in returns.by_run if value is not None)
            rows.append(
                [policy, *_where(c), c.split, lesion_name(c.lesion), cell(returns)]
                + [cell(found.measured(policy, c.key, measure), True)
                   for measure in ("retention", "late accuracy")]
                + [cell(found.estimate(policy, c.key, "length")), Cell(each, returns.mean)]
            )  # fmt: skip
    columns = ["policy", "condition", "severity", "split", "network", "return", "return kept",
               "late accuracy", "length in steps", "return by training seed"]  # fmt: skip
    return Section("All results", [filled_table(columns, rows)])


def main_measure(found: Evaluation) -> str:
    """What tells how good a policy is: late accuracy where there are trials, else retention where
    there is any, else the return.
    """
    policies = list(found.policies)
    if any(found.late_accuracy(policy, CLEAN_KEY) for policy in policies):
        return "late accuracy"
    return "retention" if any(found.overall(policy) for policy in policies) else "return"


def cell(score: Estimate | None, as_percent: bool = False) -> Cell | None:
    """A number with its interval, sorted by the number."""
    return None if score is None else Cell(score.text(as_percent), score.mean)


def difference_cell(found: Difference, as_percent: bool = False) -> Cell:
    """The same of a difference."""
    return Cell(with_interval(found.mean, found.interval, as_percent), found.mean)


def p_cell(p: float | None) -> Cell | None:
    """A p value."""
    return None if p is None else Cell(p_value(p), p)


def plotted(title: str, lines: Sequence[charts.Line], *axes: str, **how: Any) -> list[Plot]:
    """A plot of curves, see `charts.curves`; none without lines."""
    return [Plot(title, charts.curves(lines, *axes, **how))] if lines else []


def _section(
    found: Evaluation, title: str, plots: Sequence[Plot], columns: Sequence[str], rows: list[Any]
) -> Section:
    """A text, plots if there are any, and a table; nothing without rows."""
    text = Text(sentences(f"about_{title.lower()}", found))
    blocks: list[Any] = [text, *([Plots(plots)] if plots else [])]
    return Section(title, [*blocks, filled_table(columns, rows)] if rows else [])


def _where(condition: Condition) -> list[Cell | str | None]:
    severity = condition.severity
    name = condition.name(severity=False)
    return [name, None if severity is None else Cell(f"{severity:g}", severity)]


def _dot(label: str, policy: str, score: Estimate, hollow: bool = False) -> charts.Dot:
    return charts.Dot(label, colour_of(policy), score.mean, *score.edges, hollow)


def line_of(
    label: str, policy: str, scores: Sequence[tuple[float, Estimate]], dashed: bool = False
) -> charts.Line:
    """A curve of estimates by x, in the colour of a policy."""
    points = [(x, score.mean, *score.edges) for x, score in scores]
    return charts.Line(label, colour_of(policy), points, dashed)


def _curves(
    found: Evaluation, measure: str, shown: Iterable[Variant], since: int = 0
) -> list[charts.Line]:
    """Means over runs by step, with a band where there are several."""
    lines = []
    for policy, label, key, off in shown:
        points = [(step - since, estimate(column[:, None]))
                  for step, column in zip(*found.curve(policy, key, measure))]  # fmt: skip
        if known := [(step, score) for step, score in points if score is not None]:
            lines.append(line_of(label, policy, known, off))
    return lines


def _count(count: Operations) -> Cell:
    accumulates, both = map(float, count)
    return Cell(f"{number(accumulates)} + {number(both)}", accumulates + both)


def _share(share: float | None) -> Cell | None:
    return None if share is None else Cell(percent(share), share)
