"""A table of a benchmark as a file."""

import csv
import itertools
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any


def write_rows(rows: Sequence[Mapping[str, Any]], file: Path) -> None:
    """Writes rows as CSV, with the columns of all of them."""
    columns = list(dict.fromkeys(itertools.chain.from_iterable(rows)))
    with file.open("w", newline="") as stream:
        writer = csv.DictWriter(stream, columns, lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)
