"""`spikepropamine figures`: draws the figures of pages anew, where their results have changed."""

import sys
from collections.abc import Sequence
from pathlib import Path

from spikepropamine.matrix.figures import agrees, draw
from spikepropamine.matrix.pages import figures_of, parse
from spikepropamine.reading import read_text


def main(arguments: Sequence[str], program: str = "spikepropamine figures") -> int:
    """Runs the command line; returns its exit code."""
    options = parse(arguments, program, str(__doc__))
    return make(options.pages, options.results, options.check)


def make(pages: Sequence[Path], results: Path, check: bool) -> int:
    """Draws the figures of pages, or checks that they show the results; returns the exit code, 1
    where one does not.
    """
    wrong = 0
    for page in pages:
        for what, path in figures_of(read_text(page), results):
            path = page.parent / path
            if agrees(what.kind, what.files, what.where, path):
                continue
            if check:
                print(f"{path} is not of {results}; run `spikepropamine figures`", file=sys.stderr)
                wrong = 1
            else:
                draw(what.kind, what.files, what.where, path)
                print(f"{path}: drawn")
    return wrong
