"""Dashboards: `spikepropamine dashboards` saves the project's workspace in Weights & Biases; with
`--local runs/` it writes a page over all runs of a folder, which needs no account.
"""

import argparse
import sys
from pathlib import Path

from spikepropamine.dashboards.local import write_local
from spikepropamine.dashboards.workspace import save_or_print


def main() -> int:
    """Runs the command line; returns its exit code."""
    parser = argparse.ArgumentParser(
        "spikepropamine dashboards", description=__doc__, allow_abbrev=False
    )
    parser.add_argument(
        "--local",
        type=Path,
        metavar="FOLDER",
        help="write FOLDER/index.html: learning curves, evaluations and videos of the runs in it",
    )
    options = parser.parse_args()
    if options.local is None:
        output, explanation = save_or_print()
        print(explanation, file=sys.stderr)
        print(output)
        return 0
    try:
        print(write_local(options.local))
    except ValueError as error:
        print(f"spikepropamine dashboards: error: {error}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
