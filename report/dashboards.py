"""`spikepropamine dashboards` saves the project's workspace in Weights & Biases; with `--local
runs/` it writes a page over all runs of a folder, which needs no account.
"""

from collections.abc import Sequence
from pathlib import Path

from spikepropamine.common import Parser
from spikepropamine.report.runs import write_local
from spikepropamine.report.workspace import save


def main(arguments: Sequence[str], program: str = "spikepropamine dashboards") -> int:
    """Runs the command line; returns its exit code."""
    parser = Parser(program, description=__doc__, allow_abbrev=False)
    parser.add_argument(
        "--local",
        type=Path,
        metavar="FOLDER",
        help="write FOLDER/index.html: learning curves, evaluations and videos of the runs in it",
    )
    options = parser.parse_args(arguments)
    print(save() if options.local is None else write_local(options.local))
    return 0
