"""Dashboards: `python -m dashboards` saves the project's workspace in Weights & Biases."""

import argparse
import sys

from dashboards.workspace import save_or_print


def main() -> int:
    """Runs the command line; returns its exit code."""
    parser = argparse.ArgumentParser(
        "python -m dashboards", description=__doc__, allow_abbrev=False
    )
    parser.parse_args()
    output, explanation = save_or_print()
    print(explanation, file=sys.stderr)
    print(output)
    return 0


if __name__ == "__main__":
    sys.exit(main())
