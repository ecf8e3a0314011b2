"""Checks that the results on file hold every value of the wide tables that they were made from.

    python -m benchmarks.convert d435941

Reads the tables of that revision, a row for each run and condition, and compares cell by cell;
--write converts them first. Retention and late accuracy are computed from the rows, and have to be
the stored ones to within the rounding of what they are computed from.
"""

import argparse
import csv
import io
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import polars as pl

from spikepropamine import table
from spikepropamine.derived import EVALUATION, derived

FOLDER = "benchmarks/results/"
OF_RUN = ("parameters", "seconds", "training_return", "best_training_return")
OF_EVALUATION = ("episodes", "random_return")
OF_CONDITION = ("return", "settled_pace", "later_settled_pace", "opening_over_off",
                "time_to_identify", "regained")  # fmt: skip
COMPUTED = ("retention", "late_accuracy")
KEYS = [name for name in table.COLUMNS if name != "value"]


def wide(text: str) -> list[dict[str, Any]]:
    """The rows of a wide table, their key columns of the types of `table.COLUMNS`, else text."""
    types = {pl.Int64: int, pl.Float64: float, pl.String: str}
    return [
        {
            name: types[table.COLUMNS[name]](cell)
            if name in table.COLUMNS and cell
            else cell or None
            for name, cell in (line | {"environment": line["env"]}).items()
        }
        for line in csv.DictReader(io.StringIO(text))
    ]


def cells(line: dict[str, Any]) -> Iterator[tuple[tuple, float]]:
    """The key columns and the value of each row of the long table that a wide row makes."""
    columns = ("environment", "setting", "policy", "seed", "steps", "revision")
    run = {name: line[name] for name in columns}
    evaluation = run | {"suite": line["suite"]}
    condition = evaluation | {name: line[name] for name in table.CONDITION}
    found = [(run, name, None, line[name]) for name in OF_RUN]
    found += [(evaluation, name, None, line[name]) for name in OF_EVALUATION]
    if line["return"] and line["random_return"] and not line["retention"]:
        found.append((evaluation, "learned", None, "0"))
    found += [(condition, name, None, line[name]) for name in OF_CONDITION]
    trials = (line["accuracy_by_trial"] or "").split()
    found += [(condition, "correct", *trial) for trial in enumerate(trials)]
    curve = (line["returns_by_step"] or "").split()
    every = (line["steps"] or 0) / max(len(curve), 1)
    found += [(run, "training_return", round(every * (i + 1)), x) for i, x in enumerate(curve)]
    for of, measure, at, text in found:
        if text and text != "nan":
            row = of | {"measure": measure, "at": at}
            yield tuple(row.get(name) for name in KEYS), float(text)


def differing(lines: list[dict[str, Any]], frame: pl.DataFrame) -> tuple[int, list[str]]:
    """How many cells of a wide table were compared, and those that are not the same."""
    rows = derived(frame).iter_rows(named=True)
    known = {tuple(row[name] for name in KEYS): row["value"] for row in rows}
    count, wrong = 0, []
    for line in lines:
        for key, value in cells(line):
            count += 1
            if known.get(key) != value:
                wrong.append(f"{key}: {value} was stored, now {known.get(key)}")
        base = {name: line.get(name) for name in KEYS}
        for measure in COMPUTED:
            count += 1
            stored = None if line[measure] is None else float(line[measure])
            now = known.get(tuple((base | {"measure": measure}).values()))
            error = 1.1e-4  # four digits, of what has four
            if measure == "retention" and stored is not None:  # of returns that have three decimals
                clean = {"condition": "clean", "lesion": None, "severity": None, "split": None}
                random = {name: line[name] for name in (*EVALUATION, "steps", "revision")}
                margin = (
                    known[tuple((base | clean | {"measure": "return"}).values())]
                    - known[
                        tuple(
                            random.get(n, "random_return" if n == "measure" else None) for n in KEYS
                        )
                    ]
                )
                error = 5.1e-5 + 1e-3 * (1 + abs(stored)) / margin
            if (stored is None) != (now is None) or (now is not None and abs(now - stored) > error):
                wrong.append(f"{base}, {measure}: {stored} was stored, now {now}")
    return count, wrong


def main() -> None:
    """Runs the command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("revision", help="that has the wide tables")
    parser.add_argument("--write", action="store_true", help="convert them")
    options = parser.parse_args()
    total, failed = 0, 0

    def git(*words: str) -> str:
        return subprocess.check_output(["git", *words], text=True)

    for name in git("ls-tree", "--name-only", options.revision, FOLDER).split():
        text = git("show", f"{options.revision}:{name}")
        if text.startswith("env,setting,policy"):
            lines = wide(text)
            if options.write:
                rows = dict(cell for line in lines for cell in cells(line))
                long = [dict(zip(KEYS, key)) | {"value": value} for key, value in rows.items()]
                table.write(Path(name), table.table(long))
            count, wrong = differing(lines, table.read(Path(name)))
            total, failed = total + count, failed + len(wrong)
            print("\n".join([f"{name}: {count} cells, {len(wrong)} differ", *wrong[:5]]))
    print(f"{total} cells, {failed} differ")
    raise SystemExit(failed > 0)


if __name__ == "__main__":
    main()
