"""Trains a policy: `python train.py --env CueAssociation-v0 --policy ndp-oja --seed 0`."""

import signal
import sys

import envs  # noqa: F401  registers the environments
from training.run import Diverged, train
from training.settings import UsageError, parse


def main() -> int:
    """Runs the command line; returns its exit code."""
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # a stop, as from the keyboard
    try:
        train(parse(sys.argv[1:]))
    except UsageError as error:
        print(f"train.py: error: {error}", file=sys.stderr)
        return 2
    except Diverged as error:
        print(f"train.py: error: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("interrupted; go on with the same command and --resume", file=sys.stderr)
        return 130
    return 0


if __name__ == "__main__":
    sys.exit(main())
