"""A table of a benchmark as a file, and the memory that something needs at its peak (Linux)."""

import csv
import itertools
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any


def write_rows(rows: Sequence[Mapping[str, Any]], file: Path) -> None:
    """Writes rows as CSV, with the columns of all of them."""
    columns = list(dict.fromkeys(itertools.chain.from_iterable(rows)))
    with file.open("w", newline="") as stream:
        writer = csv.DictWriter(stream, columns, lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)


def peak_of(function: Callable[[], object]) -> float:
    """MiB by which the peak of the resident memory, while it runs, lies above what was there."""

    def status(name: str) -> float:
        lines = Path("/proc/self/status").read_text().splitlines()
        return int(next(line for line in lines if line.startswith(name)).split()[1]) / 1024

    Path("/proc/self/clear_refs").write_text("5")  # the peak from now on
    before = status("VmRSS")
    function()
    return status("VmHWM") - before
