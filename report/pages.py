"""`spikepropamine claims`: makes tables and figures of Markdown pages anew out of results on file,
and prints for each page the commands that made its rows, and how long that took.

    <!-- table: seeds robots robots-lstm env=Ant-v5 -->
    ... whatever stands here is replaced
    <!-- end -->

    <!-- figure: conditions cue-ppo -->
    ![Accuracy by noise](docs/noise.png)

A marker names a kind, files of results without `.csv`, and what their rows are to have, in quotes
where there is a space in it. A figure is drawn to the path of the picture below its marker, and
remembers the definition and the numbers that it shows.
"""

import itertools
import re
import shlex
import sys
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import polars as pl

from spikepropamine.common import Parser, UsageError, check_known, shown, write_text
from spikepropamine.reading import read_text
from spikepropamine.report.figures import FIGURES, agrees, draw
from spikepropamine.report.tables import TABLES
from spikepropamine.table import RESULTS, read, where

MATRICES, BENCHMARKS = Path("configs/matrices"), Path("benchmarks")
TABLE = re.compile(r"(<!-- table: (.*?) -->\n)(.*?)(<!-- end -->|\Z)", re.DOTALL)
FIGURE = re.compile(r"<!-- figure: (.*?) -->\s*!\[.*?\]\((.*?)\)")


def pages_of(root: Path) -> list[Path]:
    """The pages of a project, in which tables and figures may be; `root` has its README."""
    return [root / "README.md", *sorted((root / "docs").rglob("*.md"))]


def made(kind: str, text: str, results: Path, kinds: Mapping[str, Callable]) -> Any:
    """What the text of a marker of that kind, "table" or "figure", asks for: one of `kinds`, of
    files in the folder `results` and of what their rows are to have. Raises UsageError: an unknown
    kind, no files, or files that do not have what it shows.
    """
    marker = f"<!-- {kind}: {text} -->"
    try:
        name, *words = shlex.split(text)
    except ValueError as error:
        raise UsageError(f"{marker}: quotes come in pairs") from error
    check_known("kind", name, kinds)
    files = tuple(results / f"{word}.csv" for word in words if "=" not in word)
    if not files:
        raise UsageError(f"{marker}: name a file of {results}, such as cue-ppo")
    try:
        return kinds[name](
            files, **dict(word.split("=", 1) for word in words if "=" in word)
        )
    except (LookupError, TypeError, ValueError, pl.exceptions.PolarsError) as error:
        reason = (
            f"what it shows is not in these files ({type(error).__name__}: {error})"
        )
        raise UsageError(f"{marker}: {reason}") from error


def with_tables(page: str, results: Path) -> str:
    """A page, Markdown, with every table made anew."""

    def replaced(match: re.Match[str]) -> str:
        start, text, body, end = match.groups()
        if "<!-- " in body or not end:
            raise UsageError(
                f"<!-- table: {text} -->: there is no <!-- end --> after it"
            )
        return f"{start}\n{made('table', text, results, TABLES)}\n\n{end}"

    return TABLE.sub(replaced, page)


def make_anew(page: Path, results: Path, check: bool) -> list[str]:
    """Makes the tables and figures of a page anew where they show something else, or checks them;
    returns what is wrong.
    """
    stale: dict[Path, Callable[[], None]] = {}
    before = read_text(page)
    if (after := with_tables(before, results)) != before:
        stale[page] = partial(write_text, page, after)
    for text, path in FIGURE.findall(before):
        chart, file = made("figure", text, results, FIGURES), page.parent / path
        if not any(
            file.resolve().is_relative_to(x.resolve()) for x in (Path(), page.parent)
        ):
            raise UsageError(
                f"{page}: {shown(path)} lies outside of it and of this folder"
            )
        if not agrees(chart, file):
            stale[file] = partial(draw, chart, file)
    if check:
        return [
            f"{file} does not show {results}; run `spikepropamine claims`"
            for file in stale
        ]
    for file, make in stale.items():
        make()
        print(f"{file}: made anew")
    return []


def origins(page: Path, results: Path) -> list[str]:
    """A row of a Markdown table for each file of results that a page shows: the command that made
    it, how many trainings it has, and how many hours of one core these took.
    """
    text = read_text(page)
    words = [word for kind in (TABLE, FIGURE) for found in kind.finditer(text)
             for word in shlex.split(found[2 if kind is TABLE else 1])[1:]]  # fmt: skip
    more = [
        word.removeprefix("with=").split(",")
        for word in words
        if word.startswith("with=")
    ]
    names = [word for word in words if "=" not in word] + list(itertools.chain(*more))
    rows = []
    for name in dict.fromkeys(names):
        command = "-"
        if (MATRICES / f"{name}.yaml").is_file():
            command = f"spikepropamine matrix {name}"
        elif (BENCHMARKS / f"{name}.py").is_file():
            command = f"python -m benchmarks.{name}"
        seconds = where(read(results / f"{name}.csv"), measure="seconds")["value"]
        hours = f"{seconds.sum() / 3600:.1f}" if len(seconds) else "-"
        rows.append(f"| {page} | {name} | `{command}` | {len(seconds)} | {hours} |")
    return rows


def main(arguments: Sequence[str], program: str = "spikepropamine claims") -> int:
    """Runs the command line; returns its exit code."""
    parser = Parser(program, description=__doc__, allow_abbrev=False)
    add, known = parser.add_argument, pages_of(Path())
    text = "Markdown (those of this project)"
    add("pages", nargs="*", type=Path, default=known, metavar="PAGE", help=text)
    text = "of the CSV files that `spikepropamine matrix` writes (%(default)s)"
    add("--results", type=Path, default=RESULTS, metavar="FOLDER", help=text)
    add("--check", action="store_true", help="change nothing; 1 where not up to date")
    options = parser.parse_args(arguments)
    for page in options.pages:
        if not page.is_file():
            raise UsageError(f"there is no page {page}")
    wrong = []
    for page in options.pages:
        wrong += make_anew(page, options.results, options.check)
    for line in wrong:
        print(line, file=sys.stderr)
    print(
        "| page | results | made by | trainings | core hours |\n|---|---|---|---|---|"
    )
    print(
        "\n".join(
            row for page in options.pages for row in origins(page, options.results)
        )
    )
    return 1 if wrong else 0
