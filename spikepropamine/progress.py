"""Progress bars: one line that changes at a terminal, a line now and then in a file."""

import sys
from typing import Any, TextIO

from tqdm import tqdm


class _Lines:
    """Writes each state of a bar as a line of its own.

    tqdm goes back to the start of its line with a carriage return, and clears it with spaces; in a
    file, what others write would end up in the same line.
    """

    def __init__(self, stream: TextIO) -> None:
        self.stream = stream
        self.flush = stream.flush

    def write(self, text: str) -> None:
        if line := text.strip():
            self.stream.write(f"{line}\n")


def progress_bar(total: int, unit: str, **options: Any) -> tqdm:
    """A bar on standard error, with the rate and the time left.

    Args:
        total: what it counts to.
        unit: the name of what it counts, in the plural.
        options: others of `tqdm`, say `initial`.
    """
    terminal = sys.stderr.isatty()
    return tqdm(
        total=total,
        unit=f" {unit}",
        file=sys.stderr if terminal else _Lines(sys.stderr),
        mininterval=0.5 if terminal else 30,
        dynamic_ncols=True,
        **options,
    )
