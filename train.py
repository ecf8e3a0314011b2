"""Trains a policy: `python train.py --env Ant-v5 --policy ndp-oja --seed 0`."""

import sys

from spikepropamine.__main__ import script

if __name__ == "__main__":
    sys.exit(script("train"))
