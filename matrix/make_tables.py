"""`spikepropamine tables`: makes the tables of pages anew, and checks what the pages claim."""

import sys
from collections.abc import Sequence
from pathlib import Path

from spikepropamine.common import write_text
from spikepropamine.matrix.claims import unsupported
from spikepropamine.matrix.pages import pages_of, parse, with_tables
from spikepropamine.reading import read_text


def main(arguments: Sequence[str], program: str = "spikepropamine tables") -> int:
    """Runs the command line; returns its exit code."""
    options = parse(arguments, program, str(__doc__))
    return make(options.pages, options.results, options.check)


def make(pages: Sequence[Path], results: Path, check: bool) -> int:
    """Makes the tables of pages anew, or checks that they are as they would be made; returns the
    exit code, 1 where a page does not agree.
    """
    wrong = []
    for page in pages:
        before = read_text(page)
        after = with_tables(before, results)
        if before != after and check:
            wrong.append(
                f"{page}: its tables are not those of {results}; run `spikepropamine tables`"
            )
        elif before != after:
            write_text(page, after)
            print(f"{page}: made anew")
    others = [page for page in pages_of(Path()) if page.is_file()]  # what these refer to
    texts = {page: read_text(page) for page in dict.fromkeys([*pages, *others])}
    wrong += [line for page in pages for line in unsupported(page, texts)]
    for line in wrong:
        print(line, file=sys.stderr)
    return 1 if wrong else 0
