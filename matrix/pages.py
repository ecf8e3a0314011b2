"""Tables and figures in Markdown pages, made anew out of results on file.

    <!-- table: seeds robots robots-lstm env=Ant-v5 -->
    ... whatever stands here is replaced
    <!-- end -->

    <!-- figure: conditions cue-ppo -->
    ![Accuracy by noise](docs/noise.png)

A marker names a kind (`tables.TABLES`, `figures.FIGURES`), files of results without `.csv`, and
what their rows are to have, in quotes where there is a space in it. A figure is drawn to the path
of the picture below its marker, and remembers the rows that it shows.
"""

import argparse
import re
import shlex
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from spikepropamine.common import Parser, UsageError, unknown
from spikepropamine.matrix.figures import FIGURES
from spikepropamine.matrix.file import RESULTS
from spikepropamine.matrix.tables import TABLES

TABLE = re.compile(r"(<!-- table: (.*?) -->\n)(.*?)(<!-- end -->)", re.DOTALL)
FIGURE = re.compile(r"<!-- figure: (.*?) -->\s*!\[.*?\]\((.*?)\)")


def pages_of(root: Path) -> list[Path]:
    """The pages of this project that have tables and figures.

    Args:
        root: folder of the README.
    """
    docs = root / "docs"
    parts = sorted((docs / "results").glob("*.md"))
    return [root / "README.md", docs / "guides" / "deployment.md", docs / "results.md", *parts]


@dataclass(frozen=True)
class Asked:
    """What a marker asks for."""

    kind: str
    files: tuple[Path, ...]
    where: dict[str, str]


def asked(text: str, results: Path, kinds: dict[str, Callable]) -> Asked:
    """The text of a marker, taken apart.

    Raises:
        UsageError: an unknown kind, or no files.
    """
    try:
        kind, *words = shlex.split(text)
    except ValueError as error:
        raise UsageError(f"<!-- {text} -->: quotes come in pairs") from error
    if kind not in kinds:
        raise UsageError(unknown("kind", kind, kinds))
    files = tuple(results / f"{word}.csv" for word in words if "=" not in word)
    if not files:
        raise UsageError(f"<!-- {text} -->: name a file of {results}, such as cue-ppo")
    where = dict(word.split("=", 1) for word in words if "=" in word)
    return Asked(kind, files, where)


def with_tables(page: str, results: Path) -> str:
    """A page with every table made anew.

    Args:
        page: Markdown.
        results: folder of the files of results.
    """

    def made(match: re.Match[str]) -> str:
        start, text, body, end = match.groups()
        if "<!-- " in body:
            raise UsageError(f"<!-- table: {text} -->: there is no <!-- end --> after it")
        what = asked(text, results, TABLES)
        try:
            return f"{start}\n{TABLES[what.kind](what.files, **what.where)}\n\n{end}"
        except (AttributeError, KeyError, ValueError) as error:
            reason = f"what it shows is not in these files ({type(error).__name__}: {error})"
            raise UsageError(f"<!-- table: {text} -->: {reason}") from error

    return TABLE.sub(made, page)


def figures_of(page: str, results: Path) -> list[tuple[Asked, Path]]:
    """The figures that a page asks for, each with the path of its picture."""
    return [(asked(text, results, FIGURES), Path(path)) for text, path in FIGURE.findall(page)]


def parse(arguments: Sequence[str], program: str, description: str) -> argparse.Namespace:
    """The command line of both. Raises UsageError where it is wrong."""
    parser = Parser(program, description=description, allow_abbrev=False)
    parser.add_argument(
        "pages",
        nargs="*",
        type=Path,
        default=pages_of(Path()),
        metavar="PAGE",
        help="Markdown; all that have tables, where none is given",
    )
    parser.add_argument(
        "--results",
        type=Path,
        default=RESULTS,
        metavar="FOLDER",
        help="of the CSV files that `spikepropamine matrix` writes (%(default)s)",
    )
    parser.add_argument(
        "--check", action="store_true", help="change nothing; 1 where not up to date"
    )
    options = parser.parse_args(arguments)
    for page in options.pages:
        if not page.is_file():
            raise UsageError(f"there is no page {page}")
    return options
