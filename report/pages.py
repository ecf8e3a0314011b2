"""`spikepropamine claims`: makes tables and figures of Markdown pages anew out of
results on file, and prints for each page the commands that made its rows, and how long
that took.

    <!-- table: seeds robots robots-lstm env=Ant-v5 -->
    ... whatever stands here is replaced
    <!-- end -->

    <!-- figure: conditions cue-ppo -->
    ![Accuracy by noise](docs/noise.png)

`spikepropamine.report.markers` says what a marker names. A figure is drawn to the path
of the picture below its marker, and remembers the definition and the numbers that it
shows. Numbers in sentences refer to rows in the same way, or are on file in a list:
`spikepropamine.report.references`.
"""

import difflib
import re
import sys
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import polars as pl

from spikepropamine import table
from spikepropamine.common import Parser, UsageError, check_known, shown, write_text
from spikepropamine.reading import read_text
from spikepropamine.report.contrasts import MATRICES
from spikepropamine.report.figures import FIGURES, agrees, draw
from spikepropamine.report.markers import FIGURE, TABLE, check_markers, read_marker
from spikepropamine.report.references import LIST, listed_numbers, with_references
from spikepropamine.report.results import SHORT, matching
from spikepropamine.report.tables import TABLES
from spikepropamine.table import RESULTS, read, where
from spikepropamine.words import plural

BENCHMARKS = Path("benchmarks")
WITHOUT_RUNS = ("revisions", "speed", "frameworks", "costs", "simulated")
"""Kinds of table that are not of training runs, or have their revisions in them."""
DIRTY = "-dirty"
SHORTEST = 7  # digits of a revision, of which some have more
MARKS = ("+++", "---")  # heads of a list of differences


def pages_of(root: Path) -> list[Path]:
    """The pages of a project, in which tables and figures may be; `root` has its
    README.
    """
    return [root / "README.md", *sorted((root / "docs").rglob("*.md"))]


def listed_pages(root: Path) -> list[Path]:
    """The pages whose numbers refer to rows, or are on file in a list."""
    results = sorted((root / "docs" / "results").glob("*.md"))
    return [root / "README.md", root / "docs" / "results.md", *results]


def made(
    kind: str, text: str, results: Path, kinds: Mapping[str, Callable[..., Any]]
) -> Any:
    """What a marker names.

    Args:
        kind: of the marker, "table" or "figure".
        text: of the marker.
        results: folder of the files.
        kinds: the functions that make it, by name.

    Raises:
        UsageError: an unknown kind, no files, or files that do not have what it shows.
    """
    marker = f"<!-- {kind}: {text} -->"
    try:
        asked = read_marker(text)
        check_known("kind", asked.kind, kinds)
        return kinds[asked.kind](asked.files(results), **asked.wanted)
    except UsageError as error:
        raise UsageError(f"{marker}: {error}") from error
    except (LookupError, TypeError, ValueError, pl.exceptions.PolarsError) as error:
        raise UsageError(
            f"{marker}: what it shows is not in these files "
            f"({type(error).__name__}: {error})"
        ) from error


def with_tables(page: str, results: Path) -> str:
    """A page with every table made anew.

    Args:
        page: Markdown.
        results: folder of the files.

    Raises:
        UsageError: a marker is wrong, or has no end.
    """

    def replaced(match: re.Match[str]) -> str:
        start, text, body, end = match.groups()
        if "<!-- " in body or not end:
            raise UsageError(
                f"<!-- table: {text} -->: there is no <!-- end --> after it"
            )
        parts = [made("table", text, results, TABLES)]
        origin = _origin(text, results)
        if origin:
            parts.insert(0, origin)
        body = "\n\n".join(parts)
        return f"{start}\n{body}\n\n{end}"

    return TABLE.sub(replaced, page)


def _origin(text: str, results: Path) -> str:
    """Says that the runs of a table are not of one clean revision; empty where they
    are, or where there are no runs.

    Args:
        text: of its marker, which is right.
        results: folder of the files.
    """
    asked = read_marker(text)
    if asked.kind in WITHOUT_RUNS:
        return ""
    of_run = {SHORT.get(name, name): given for name, given in asked.wanted.items()}
    of_run = {name: given for name, given in of_run.items() if name in table.RUN}
    rows = matching(table.read(asked.files(results)), of_run)
    rows = rows.filter(pl.col("seed").is_not_null(), pl.col("revision").is_not_null())
    runs = rows.select(*table.RUN, "revision").unique()
    dirty = runs.filter(pl.col("revision").str.ends_with(DIRTY)).height
    revisions = runs["revision"].str.head(SHORTEST).n_unique()
    if revisions <= 1 and not dirty:
        return ""
    return (
        f"*Not run from one clean revision: {plural(revisions, 'revision')}, "
        f"{dirty} of {plural(runs.height, 'run')} with uncommitted changes.*"
    )


def make_anew(page: Path, results: Path, check: bool) -> list[str]:
    """Makes the tables and figures of a page anew where they show something else.

    Args:
        page: a file of Markdown.
        results: folder of the files.
        check: whether nothing is to be changed.

    Returns:
        With `check`, a line for each file that does not show the results.

    Raises:
        UsageError: a marker is wrong, or a picture lies elsewhere.
    """
    stale: dict[Path, Callable[[], None]] = {}
    before = read_text(page)
    check_markers(before)
    after = with_references(with_tables(before, results), results)
    if after != before:
        stale[page] = partial(write_text, page, after)
    for text, path in FIGURE.findall(before):
        chart = made("figure", text, results, FIGURES)
        file = page.parent / path
        allowed = (Path().resolve(), page.parent.resolve())
        if not any(map(file.resolve().is_relative_to, allowed)):
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


def numbers_on_file(pages: Sequence[Path]) -> str:
    """The list of numbers that refer to no rows, as it should be.

    Args:
        pages: all that it is about.
    """
    parts = []
    for page in pages:
        parts += [f"# {page}", *listed_numbers(read_text(page), TABLE), ""]
    return "\n".join(parts)


def _unlisted(pages: Sequence[Path], file: Path) -> list[str]:
    """A line for each place at which a list of numbers is not what pages have."""
    before = read_text(file).splitlines() if file.is_file() else []
    after = numbers_on_file(pages).splitlines()
    changed = difflib.unified_diff(before, after, lineterm="", n=0)
    lines = [line for line in changed if line[:1] in "+-" and line[:3] not in MARKS]
    return [
        f"{file}: {line}: a number without rows has changed: let it refer to rows, or "
        "run `spikepropamine claims --accept`"
        for line in lines
    ]


def _files_of(page: Path) -> list[str]:
    """The names of the files of results that a page shows, each once."""
    names = []
    text = read_text(page)
    markers = [match[2] for match in TABLE.finditer(text)]
    markers += [match[1] for match in FIGURE.finditer(text)]
    added = []
    for marker in markers:
        asked = read_marker(marker)
        names += asked.names
        if "with" in asked.wanted:
            added += asked.wanted["with"].split(",")
    return list(dict.fromkeys(names + added))


def origins(page: Path, results: Path) -> list[str]:
    """Where the results of a page come from.

    Args:
        page: a file of Markdown.
        results: folder of the files.

    Returns:
        A row of a Markdown table for each file: the command that made it, how many runs
        it has, and how many hours of one core their training took.
    """
    rows = []
    for name in _files_of(page):
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
    add = parser.add_argument
    add(
        "pages",
        nargs="*",
        type=Path,
        default=pages_of(Path()),
        metavar="PAGE",
        help="Markdown (those of this project)",
    )
    add(
        "--results",
        type=Path,
        default=RESULTS,
        metavar="FOLDER",
        help="of the CSV files that `spikepropamine matrix` writes (%(default)s)",
    )
    add(
        "--accept",
        action="store_true",
        help="put the numbers that refer to no rows on file, in docs/numbers.txt",
    )
    add("--check", action="store_true", help="change nothing; 1 where not up to date")
    options = parser.parse_args(arguments)
    for page in options.pages:
        if not page.is_file():
            raise UsageError(f"there is no page {page}")
    wrong = []
    for page in options.pages:
        wrong += make_anew(page, options.results, options.check)
    mine = [page for page in listed_pages(Path()) if page.is_file()]
    if set(mine) & set(options.pages):
        if options.accept:
            write_text(LIST, numbers_on_file(mine))
        wrong += _unlisted(mine, LIST)
    for line in wrong:
        print(line, file=sys.stderr)
    print("| page | results | made by | runs | core hours |\n|---|---|---|---|---|")
    rows = [row for page in options.pages for row in origins(page, options.results)]
    print("\n".join(rows))
    return 1 if wrong else 0
