"""The section of a report that shows what the policies cost."""

from collections.abc import Mapping
from typing import Any

from spikepropamine.evaluation.judge.cost import (
    PARTS,
    PICOJOULES_PER_ADDITION,
    PICOJOULES_PER_MULTIPLICATION,
    energy,
    total,
)
from spikepropamine.evaluation.schema import CLEAN_KEY, Operations
from spikepropamine.report import charts as plots
from spikepropamine.report.page import Cell, Plot, Plots, Section, Table, Text
from spikepropamine.report.words import edges_of, number, percent

TEXT = (
    "Arithmetic per environment step, counted from what the neurons did in one clean episode of "
    "each run, with the likeliest actions. A synaptic operation is an input that is not zero "
    "meeting a weight that is not zero: an accumulate where inputs are spikes, and else a "
    "multiply-accumulate. Operations of plasticity and of neuromodulators are counted apart, as "
    "dense as they are: fast weights change at every tick."
)
ENERGY = (
    f"Energy: of this arithmetic alone, at {PICOJOULES_PER_ADDITION:g} pJ for an addition and "
    f"{PICOJOULES_PER_MULTIPLICATION:g} pJ for a multiplication of 32-bit floating-point numbers "
    "in 45 nm (Horowitz, ISSCC 2014). Fetching weights and state from memory takes more than "
    "that, on most hardware many times more; this is no measurement of any chip."
)
LATE, KEPT = "right answers in late trials", "return kept under perturbations"


def section(summary: Mapping[str, Any]) -> Section:
    """What each policy costs, all in all and by layer, and what it earns with it."""
    rows, by_layer = [], []
    for policy, cost in summary["cost"].items():
        sparsity = cost["activation_sparsity"]
        rows.append(
            [
                policy,
                *[_count(total(cost, part)) for part in PARTS],
                _count(total(cost)),
                Cell(number(energy(total(cost)) / 1000), energy(total(cost))),
                Cell(number(cost["parameter_bytes"] / 1000), cost["parameter_bytes"]),
                Cell(number(cost["state_bytes"] / 1000), cost["state_bytes"]),
                None if sparsity is None else Cell(percent(sparsity), sparsity),
            ]
        )
        for layer in cost["layers"]:
            sparsity = layer["activation_sparsity"]
            by_layer.append(
                [
                    policy,
                    layer["name"],
                    *[_count(layer[part]) for part in PARTS],
                    layer["membrane_updates"],
                    None if sparsity is None else Cell(percent(sparsity), sparsity),
                ]
            )
    columns = [
        "policy",
        *PARTS,
        "all operations",
        "energy in nJ",
        "weights in kB",
        "state in kB",
        "silent activations",
    ]
    caption = "Accumulates + multiply-accumulates per environment step"
    blocks: list[Any] = [Text([TEXT, ENERGY]), *_plots(summary), Table(columns, rows, caption)]
    columns = ["policy", "layer", *PARTS, "membrane updates", "silent activations"]
    blocks.append(Table(columns, by_layer, "The same by layer", folded=True))
    return Section("Cost", blocks)


def _count(count: Operations) -> Cell:
    accumulates, both = count["accumulates"], count["multiply_accumulates"]
    return Cell(f"{number(accumulates)} + {number(both)}", accumulates + both)


def _plots(summary: Mapping[str, Any]) -> list[Plots]:
    """What policies earn by what they cost; none where there is only one."""
    clean = {policy: results[CLEAN_KEY] for policy, results in summary["results"].items()}
    kept = {policy: of.get("intact", {}).get("all") for policy, of in summary["overall"].items()}
    found: dict[str, dict[str, Any]] = {
        "return of an episode": {policy: result["return"] for policy, result in clean.items()},
        LATE: {policy: result["late_accuracy"] for policy, result in clean.items()},
        KEPT: kept,
    }
    charts = []
    for title, scores in found.items():
        spots = []
        for colour, (policy, cost) in enumerate(summary["cost"].items()):
            score = scores.get(policy)
            if score is not None:
                at = sum(total(cost).values())  # type: ignore[arg-type]
                spots.append(plots.Spot(policy, colour, at, score["mean"], *edges_of(score)))
        if len(spots) > 1:
            x_title, as_percent = "operations per environment step", title in (LATE, KEPT)
            chart = plots.scatter(spots, x_title, title, as_percent=as_percent)
            charts.append(Plot(f"{title.capitalize()}, by cost", chart))
    return [Plots(charts)] if charts else []
