"""Trains a policy: `python train.py --env CueAssociation-v0 --policy ndp-oja --seed 0`."""

import sys

from spikepropamine.training.run import main

if __name__ == "__main__":
    sys.exit(main(sys.argv[1:], "train.py"))
