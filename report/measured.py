"""Tables of what benchmarks measured, a row for each case: speed, the cost of an
action, shares of simulations.
"""

import statistics
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from spikepropamine import table
from spikepropamine.common import UsageError
from spikepropamine.evaluation.judge.cost import KINDS, PARTS
from spikepropamine.report.columns import Column, markdown
from spikepropamine.report.grouped import Row
from spikepropamine.report.results import matching
from spikepropamine.words import number, percent

CASE = [*table.RUN, "condition", "at"]  # what tells the cases of a benchmark apart


def _cases(files: Sequence[Path], wanted: Mapping[str, str]) -> list[dict[str, Any]]:
    """Of a benchmark: columns of the case, and all that was measured in it."""
    rows = matching(table.read(files), wanted)
    if rows.is_empty():
        raise UsageError(f"no rows with {dict(wanted)} in {', '.join(map(str, files))}")
    cases = rows.pivot("measure", index=CASE, values="value", maintain_order=True)
    return cases.to_dicts()


def _column(title: str, form: str) -> Column[Row]:
    """A column of a case's measures, as a format string shows them."""
    return Column(title, lambda case: form.format(**case))


def speed(files: Sequence[Path], **wanted: str) -> str:
    """Environment steps per second of training, by policy and size, and where the time
    goes.
    """
    cases = _cases(files, wanted)
    columns = [
        _column("policy", "`{policy}`"),
        _column("settings", "{setting}"),
        _column("steps a second", "{steps_per_second:,.0f}"),
        _column("times SB3's", "{relative_to_sb3:.2f}"),
    ]
    if "share_of_physics_limit" in cases[0]:
        limit = _column("of the physics limit", "{share_of_physics_limit:.2f}")
        columns.append(limit)
    for name in cases[0]:
        if name.endswith("_us"):
            title = f"{name.removesuffix('_us')}, µs"
            columns.append(_column(title, f"{{{name}:.1f}}"))
    columns.append(_column("parameters of the actor", "{actor_parameters:,.0f}"))
    return markdown(columns, cases)


def frameworks(files: Sequence[Path], **wanted: str) -> str:
    """Environment steps of training beside other libraries. Of several versions of a
    library, the last that was measured.
    """
    last: dict[tuple[str, str], dict[str, Any]] = {}
    for case in _cases(files, wanted):
        last[case["setting"], case["policy"]] = case
    cases = list(last.values())
    columns = [
        _column("library", "{condition}"),
        _column("policy", "`{policy}`"),
        _column("settings", "{setting}"),
        _column("µs a step", "{microseconds:.1f}"),
        _column("steps a second", "{steps_per_second:,.0f}"),
        _column("times the first row's", "{times_sb3:.2f}"),
    ]
    return markdown(columns, cases)


def stepping(files: Sequence[Path], **wanted: str) -> str:
    """Shares of MuJoCo's `mj_step` in stepping alone, by task and number of
    environments, and how much faster two threads are.
    """
    by_case: dict[tuple[str, str], dict[str, float]] = {}
    for case in _cases(files, wanted):
        count, *_ = case["setting"].split(",")
        row = by_case.setdefault((case["environment"], count), {})
        if case["share_of_mj_step"] is None:
            row["threads"] = case["times_one_thread"]
        else:
            row[case["policy"]] = case["share_of_mj_step"]

    def value(title: str, name: str) -> Column[tuple[str, str]]:
        def cell(place: tuple[str, str]) -> str:
            found = by_case[place].get(name)
            return "" if found is None else f"{found:.2f}"

        return Column(title, cell)

    columns: list[Column[tuple[str, str]]] = [
        Column("task", lambda place: place[0]),
        Column("environments", lambda place: place[1].removesuffix(" environments")),
        value("`make_gymnasium_vec`", "make_gymnasium_vec"),
        value("`make_vec`", "make_vec"),
        value("Gymnasium", "gymnasium"),
        value("EnvPool", "envpool"),
        value("two threads, times one", "threads"),
    ]
    return markdown(columns, by_case)


def budget(files: Sequence[Path], **wanted: str) -> str:
    """Returns of every seed after equal environment steps, and their pace, by
    library.
    """
    by_policy: dict[str, list[dict[str, Any]]] = {}
    for case in _cases(files, wanted):
        by_policy.setdefault(case["policy"], []).append(case)

    def cells(name: str, form: str) -> Callable[[list[dict[str, Any]]], str]:
        def cell(cases: list[dict[str, Any]]) -> str:
            values = [case[name] for case in cases]
            shown = " ".join(form.format(value) for value in values)
            return f"{form.format(statistics.median(values))} ({shown})"

        return cell

    columns: list[Column[list[dict[str, Any]]]] = [
        Column("library", lambda cases: cases[-1]["condition"]),
        Column("policy", lambda cases: f"`{cases[-1]['policy']}`"),
        Column("return: median (seeds)", cells("return", "{:.0f}")),
        Column("steps a second", cells("steps_per_second", "{:.0f}")),
    ]
    return markdown(columns, list(by_policy.values()))


def actions(files: Sequence[Path], **wanted: str) -> str:
    """Microseconds of one action, beside ONNX Runtime, by policy."""
    columns = [
        _column("task", "{environment}"),
        _column("policy", "`{policy}`"),
        _column("`act`, µs", "{act_microseconds:.1f}"),
        _column("ONNX Runtime, µs", "{onnx_microseconds:.1f}"),
        _column("`act` relative to ONNX Runtime", "{act_relative_to_onnx:.2f}"),
    ]
    return markdown(columns, _cases(files, wanted))


def costs(files: Sequence[Path], **wanted: str) -> str:
    """Accumulates + multiply-accumulates per environment step, and memory."""

    def operations(part: str) -> Column[Row]:
        def cell(case: Row) -> str:
            return " + ".join(number(case[f"{part}_{kind}"]) for kind in KINDS)

        return Column(part, cell)

    columns: list[Column[Row]] = [
        Column("task", lambda case: case["environment"]),
        Column("policy", lambda case: f"`{case['policy']}`"),
        *map(operations, PARTS),
        Column("energy, nJ", lambda case: number(case["energy_nJ"])),
        Column("weights, kB", lambda case: number(case["parameter_bytes"] / 1000)),
        Column("state, kB", lambda case: number(case["state_bytes"] / 1000)),
        Column("silent", lambda case: percent(case["activation_sparsity"])),
    ]
    return markdown(columns, _cases(files, {"setting": ""} | wanted))


def simulated(files: Sequence[Path], measures: str = "", **wanted: str) -> str:
    """Shares of simulations of `benchmarks.coverage`, by population and runs.

    Args:
        files: tables of results.
        measures: how the names of those that are shown begin.
        wanted: what rows have to have.
    """
    cases = _cases(files, wanted)
    measured = [name for name in cases[0] if name not in CASE]
    shown = [name for name in measured if name.startswith(measures)]
    known = [
        case for case in cases if any(case.get(name) is not None for name in shown)
    ]

    def share(name: str) -> Column[Row]:
        def cell(case: Row) -> str:
            value = case.get(name)
            return "" if value is None else f"{value:.3f}"

        return Column(name.removeprefix(measures).lstrip(", ") or name, cell)

    columns: list[Column[Row]] = [
        Column("population", lambda case: case["environment"]),
        Column("runs", lambda case: case["condition"]),
        *map(share, shown),
    ]
    return markdown(columns, known)
