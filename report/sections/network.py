"""Sections on the network: what goes on inside of it, and what it costs."""

import numpy as np

from spikepropamine.common import CLEAN_KEY
from spikepropamine.evaluation.ask.conditions import Condition
from spikepropamine.evaluation.judge import cost
from spikepropamine.evaluation.of_acting import INSIDE
from spikepropamine.report import charts
from spikepropamine.report.cells import percentage
from spikepropamine.report.columns import Column
from spikepropamine.report.evaluation import EvaluationResults
from spikepropamine.report.page import Cell, Plots, Section, Table, Text
from spikepropamine.report.plots import Variant, curves_of, plotted
from spikepropamine.report.sentences import sentences
from spikepropamine.words import number


def inside(results: EvaluationResults) -> Section:
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
            plots += plotted(title, axes, curves_of(results, name, variants))
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


def costs(results: EvaluationResults) -> Section:
    """What each policy costs."""
    costs = results.costs

    def operations(title: str, *parts: str) -> Column[str]:
        def counted(policy: str) -> Cell:
            counts = [float(count) for count in cost.total(costs[policy], *parts)]
            return Cell(" + ".join(map(number, counts)), sum(counts))

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
            lambda policy: percentage(costs[policy].get("activation_sparsity")),
        ),
    ]
    caption = "Accumulates + multiply-accumulates per environment step"
    text = sentences(
        "about_cost", cost.PICOJOULES_PER_ADDITION, cost.PICOJOULES_PER_MULTIPLICATION
    )
    return Section("Cost", [Text(text), Table(columns, costs, caption)])
