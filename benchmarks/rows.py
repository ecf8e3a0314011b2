"""Benchmarks as rows of the results table, and peaks of memory (Linux)."""

import argparse
import math
import multiprocessing
from collections.abc import Callable, Mapping
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any

import polars as pl
import torch

from spikepropamine import table
from spikepropamine.common import UsageError
from spikepropamine.versions import versions

CASE = [*table.TASK, "suite", "policy", "seed", "condition"]


class Rows:
    """Prints what is measured, and keeps it as rows of the results table."""

    def __init__(self) -> None:
        self.rows: list[dict[str, Any]] = []

    def add(self, measures: Mapping[str, float], **case: Any) -> None:
        """A case, by columns of the results table, with what was measured in it."""
        named = " ".join(str(value) for value in case.values() if value is not None)
        values = "  ".join(f"{name} {value:.4g}" for name, value in measures.items())
        print(f"{named:45} {values}", flush=True)
        for name, value in measures.items():
            if math.isfinite(value):
                self.rows.append(case | {"measure": name, "value": float(value)})

    def write(self, file: Path | None) -> None:
        """Puts the rows into a file of results, in the place of those that it has of
        these cases; None: nowhere.
        """
        if file is not None:
            revision = versions()["revision"]
            new = table.table(row | {"revision": revision} for row in self.rows)
            old = table.read(file) if file.is_file() else table.table()
            others = old.join(
                new, on=CASE, how="anti", nulls_equal=True, maintain_order="left"
            )
            table.write(file, pl.concat([others, new]))


def run(
    measure: Callable[[Rows, Any], None],
    doc: str | None,
    runs: bool = False,
    **defaults: Any,
) -> None:
    """The command line of a benchmark, whose `measure` adds rows, of the options, in
    one thread of PyTorch; `doc` is the text of its module.

    With `runs` it takes one or more of them. Options come in the types of their
    `defaults`: several values where that is a list, a flag where it is False.
    """
    form = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(description=doc, formatter_class=form)
    if runs:
        parser.add_argument("runs", nargs="+")
    for name, default in defaults.items():
        kind: Any = {"action": "store_true"}
        if isinstance(default, list):
            kind = {"nargs": "+", "type": type(default[0])}
        elif default is not False:
            kind = {"type": type(default)}
        text = "" if default is False else "(%(default)s)"
        parser.add_argument(f"--{name}", default=default, help=text, **kind)
    parser.add_argument(
        "--csv", type=Path, metavar="FILE", help="also put the rows into this file"
    )
    options, rows = parser.parse_args(), Rows()
    torch.set_num_threads(1)
    try:
        measure(rows, options)
    except UsageError as error:
        parser.error(str(error))
    rows.write(options.csv)


def alone(function: Callable[..., Any], *arguments: Any) -> Any:
    """What a function of a module returns in a process of its own."""
    with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as pool:
        return pool.submit(function, *arguments).result()


def peak_of(function: Callable[[], object]) -> float:
    """MiB by which the peak of the resident memory, while it runs, lies above what was
    there.
    """

    def status(name: str) -> float:
        lines = Path("/proc/self/status").read_text().splitlines()
        return (
            int(next(line for line in lines if line.startswith(name)).split()[1]) / 1024
        )

    Path("/proc/self/clear_refs").write_text("5")  # the peak from now on
    before = status("VmRSS")
    function()
    return status("VmHWM") - before
