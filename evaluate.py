"""Judges trained policies: `python evaluate.py runs/Ant-v5/*/seed-* --suite noise`."""

import sys

from spikepropamine.__main__ import script

if __name__ == "__main__":
    sys.exit(script("evaluate"))
