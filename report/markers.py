"""What comments of a page ask for: a kind of table, figure or number, files of results
without `.csv`, and what their rows are to have, in quotes where there is a space in it.

    table: seeds robots robots-lstm env=Ant-v5
"""

import re
import shlex
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

from spikepropamine.common import UsageError

TABLE = re.compile(r"(<!-- table: (.*?) -->\n)(.*?)(<!-- end -->|\Z)", re.DOTALL)
FIGURE = re.compile(r"<!-- figure: (.*?) -->\s*!\[.*?\]\((.*?)\)")
COMMENT = re.compile(r"<!--.*?(?:-->|\Z)", re.DOTALL)
RIGHT = re.compile(r"<!-- (?:(?:table: |figure: |= )\S.*|end) -->", re.DOTALL)
MEANT = re.compile(r"<!--\s*(?:=|(?:tables?|figures?|end)\b)", re.IGNORECASE)
"""Whoever writes this means a marker."""


class Marker(NamedTuple):
    """What a comment asks for."""

    kind: str
    names: list[str]
    """Of files of results, at least one."""
    wanted: Mapping[str, str]

    def files(self, results: Path) -> tuple[Path, ...]:
        """The paths of the files; `results` is their folder."""
        return tuple(results / f"{name}.csv" for name in self.names)


def read_marker(text: str) -> Marker:
    """Reads a marker.

    Args:
        text: of the comment, what follows "table:", "figure:" or "=".

    Raises:
        UsageError: quotes do not come in pairs, nothing or no file is named, or what
            rows are to have is said twice.
    """
    try:
        words = shlex.split(text)
    except ValueError as error:
        raise UsageError("quotes come in pairs") from error
    names = [word for word in words[1:] if "=" not in word]
    if not names:
        raise UsageError("name a file of results after the kind, such as cue-ppo")
    wanted: dict[str, str] = {}
    for word in words[1:]:
        name, equals, value = word.partition("=")
        if name in wanted:
            raise UsageError(f"{name} is there twice")
        if equals:
            wanted[name] = value
    return Marker(words[0], names, wanted)


def check_markers(page: str) -> None:
    """Checks that each comment that is meant as a marker is one.

    Args:
        page: Markdown.

    Raises:
        UsageError: one is written in another way, so that nobody would follow it.
    """
    for comment in COMMENT.findall(page):
        if MEANT.match(comment) and not RIGHT.fullmatch(comment):
            first = comment.splitlines()[0]
            raise UsageError(
                f"{first}: a marker is written as in <!-- table: seeds cue-ppo -->, "
                "<!-- figure: conditions cue-ppo -->, <!-- end --> or "
                "<!-- = mean cue-ppo policy=snn -->"
            )
