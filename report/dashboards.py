"""`spikepropamine dashboards` saves the project's workspace in Weights & Biases, or with `--report`
its report; with `--local runs/` it writes a page over all runs of a folder, which needs no account.
"""

import sys
from collections.abc import Sequence
from pathlib import Path

from spikepropamine.common import Parser, UsageError
from spikepropamine.report.runs import write_local
from spikepropamine.report.workspace import save_or_print


def main(arguments: Sequence[str], program: str = "spikepropamine dashboards") -> int:
    """Runs the command line; returns its exit code."""
    parser = Parser(program, description=__doc__, allow_abbrev=False)
    parser.add_argument(
        "--local",
        type=Path,
        metavar="FOLDER",
        help="write FOLDER/index.html: learning curves, evaluations and videos of the runs in it",
    )
    parser.add_argument(
        "--report",
        action="store_true",
        help="save the project's report: the same plots with explanations, to be shared",
    )
    options = parser.parse_args(arguments)
    if options.local is not None and options.report:
        raise UsageError("--local needs no account and --report does; give one of them")
    if options.local is None:
        output, explanation = save_or_print("report" if options.report else "workspace")
        print(explanation, file=sys.stderr)
        print(output)
        return 0
    try:
        print(write_local(options.local))
    except ValueError as error:
        raise UsageError(str(error)) from error
    return 0
