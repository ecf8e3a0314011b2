"""The section of a report on what each policy costs."""

from typing import Any

from spikepropamine.common import CLEAN_KEY
from spikepropamine.evaluation.judge.cost import (
    PARTS,
    PICOJOULES_PER_ADDITION,
    PICOJOULES_PER_MULTIPLICATION,
    Operations,
    energy,
    total,
)
from spikepropamine.report import charts
from spikepropamine.report.colours import colour_of
from spikepropamine.report.evaluation import Evaluation
from spikepropamine.report.page import Cell, Plot, Plots, Section, Table, Text
from spikepropamine.report.sections import TITLES
from spikepropamine.words import number, percent

COST = (
    "Arithmetic per environment step, counted from what the neurons did in one clean episode of "
    "each run, with deterministic actions. A synaptic operation is an input that is not zero "
    "meeting a weight that is not zero: an accumulate where inputs are spikes, and else a "
    "multiply-accumulate. Operations of plasticity and of neuromodulators are counted apart, and "
    "densely: fast weights change at every tick."
)
ENERGY = (
    f"Energy: of this arithmetic alone, at {PICOJOULES_PER_ADDITION:g} pJ for an addition and "
    f"{PICOJOULES_PER_MULTIPLICATION:g} pJ for a multiplication of 32-bit floating-point numbers "
    "in 45 nm (Horowitz, ISSCC 2014). Fetching weights and state from memory takes more than "
    "that, on most hardware many times more; this is no measurement of any chip."
)


def costs(found: Evaluation) -> Section:
    """What each policy costs, all in all and by layer, and what it earns with it."""
    rows, by_layer = [], []
    for policy, cost in found.costs.items():
        rows.append(
            [policy, *[_count(total(cost, part)) for part in PARTS], _count(total(cost))]
            + [Cell(number(energy(total(cost)) / 1000), energy(total(cost)))]
            + [Cell(number(cost[name] / 1000), cost[name])  # type: ignore[literal-required]
               for name in ("parameter_bytes", "state_bytes")]
            + [_share(cost["activation_sparsity"])]
        )  # fmt: skip
        for layer in cost["layers"]:
            counts = [_count(layer[part]) for part in PARTS]  # type: ignore[literal-required]
            silent = _share(layer["activation_sparsity"])
            by_layer.append([policy, layer["name"], *counts, layer["membrane_updates"], silent])
    if not rows:
        return Section("Cost", [])
    columns = ["policy", *PARTS, "all operations", "energy in nJ", "weights in kB", "state in kB",
               "silent activations"]  # fmt: skip
    caption = "Accumulates + multiply-accumulates per environment step"
    plots = []
    for measure, title in TITLES.items():
        spots = []
        for policy, cost in found.costs.items():
            score = (
                found.overall(policy)
                if measure == "retention"
                else found.measured(policy, CLEAN_KEY, measure)
            )
            if score is not None:
                at = sum(total(cost).values())  # type: ignore[arg-type]
                spots.append((at, charts.Dot(policy, colour_of(policy), score.mean, *score.edges)))
        if len(spots) > 1:
            chart = charts.scatter(
                spots, "operations per environment step", title, as_percent=measure != "return"
            )
            plots.append(Plot(f"{title.capitalize()}, by cost", chart))
    layers = ["policy", "layer", *PARTS, "membrane updates", "silent activations"]
    blocks: list[Any] = [Text([COST, ENERGY]), *([Plots(plots)] if plots else [])]
    blocks += [Table(columns, rows, caption), Table(layers, by_layer, "The same by layer", True)]
    return Section("Cost", blocks)


def _count(count: Operations) -> Cell:
    accumulates, both = count["accumulates"], count["multiply_accumulates"]
    return Cell(f"{number(accumulates)} + {number(both)}", accumulates + both)


def _share(share: float | None) -> Cell | None:
    return None if share is None else Cell(percent(share), share)
