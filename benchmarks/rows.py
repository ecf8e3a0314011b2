"""Benchmarks as rows of the results table, and peaks of memory (Linux)."""

import argparse
import math
import multiprocessing
from collections.abc import Callable, Mapping
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import ParamSpec, TypeVar

import polars as pl
import torch

from spikepropamine import table
from spikepropamine.common import UsageError
from spikepropamine.versions import versions

CASE = [*table.TASK, "suite", "policy", "seed", "condition"]
"""Columns that tell the cases of a benchmark apart."""
KIB = 1024

Parameters = ParamSpec("Parameters")
Returned = TypeVar("Returned")


class Rows:
    """Prints what is measured, and keeps it as rows of the results table."""

    def __init__(self) -> None:
        self.rows: list[dict[str, object]] = []

    def add(self, measures: Mapping[str, float], **case: object) -> None:
        """Adds what was measured in a case.

        Args:
            measures: values by name; those that are not finite are printed alone.
            case: by columns of the results table.
        """
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
        if file is None:
            return
        revision = versions()["revision"]
        new = table.table(row | {"revision": revision} for row in self.rows)
        old = table.read(file) if file.is_file() else table.table()
        others = old.join(
            new, on=CASE, how="anti", nulls_equal=True, maintain_order="left"
        )
        table.write(file, pl.concat([others, new]))


def run(
    measure: Callable[[Rows, argparse.Namespace], None],
    doc: str | None,
    runs: bool = False,
    **defaults: object,
) -> None:
    """The command line of a benchmark, which uses one thread of PyTorch.

    Args:
        measure: adds rows, given the options.
        doc: the text of its module.
        runs: whether it takes one or more of them.
        defaults: of the options, whose types they give: several values where that is a
            list, a flag where it is False.
    """
    form = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(description=doc, formatter_class=form)
    if runs:
        parser.add_argument("runs", nargs="+")
    for name, default in defaults.items():
        _add_option(parser, name, default)
    parser.add_argument(
        "--csv", type=Path, metavar="FILE", help="also put the rows into this file"
    )
    options = parser.parse_args()
    rows = Rows()
    torch.set_num_threads(1)
    try:
        measure(rows, options)
    except UsageError as error:
        parser.error(str(error))
    rows.write(options.csv)


def _add_option(parser: argparse.ArgumentParser, name: str, default: object) -> None:
    option = f"--{name}"
    if default is False:
        parser.add_argument(option, action="store_true")
    elif isinstance(default, list):
        kind = type(default[0])
        parser.add_argument(
            option, nargs="+", type=kind, default=default, help="(%(default)s)"
        )
    else:
        kind = type(default)
        parser.add_argument(option, type=kind, default=default, help="(%(default)s)")


def alone(
    function: Callable[Parameters, Returned],
    *arguments: Parameters.args,
    **named: Parameters.kwargs,
) -> Returned:
    """What a function of a module returns in a process of its own.

    Args:
        function: that can be pickled.
        arguments: of the function.
        named: more of them.
    """
    with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as pool:
        return pool.submit(function, *arguments, **named).result()


def peak_of(function: Callable[[], object]) -> float:
    """MiB by which the peak of the resident memory, while a function runs, lies above
    what was there.
    """
    Path("/proc/self/clear_refs").write_text("5")  # the peak from now on
    before = _memory("VmRSS")
    function()
    return _memory("VmHWM") - before


def _memory(name: str) -> float:
    """A line of the status of this process, in MiB."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith(name):
            _, kibibytes, _ = line.split()
            return int(kibibytes) / KIB
    raise KeyError(name)
