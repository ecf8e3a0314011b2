"""Judges trained policies: `python evaluate.py runs/HalfCheetah-v5/*/seed-* --suite noise`."""

import sys

from spikepropamine.report.evaluate import main

if __name__ == "__main__":
    sys.exit(main(sys.argv[1:], "evaluate.py"))
