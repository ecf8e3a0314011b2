"""`spikepropamine train`: trains a policy."""

import errno
import sys
from collections.abc import Sequence

from spikepropamine.common import run_command
from spikepropamine.training.callbacks import Diverged
from spikepropamine.training.checkpoints import listed, steps_of
from spikepropamine.training.run import train
from spikepropamine.training.settings import Settings, parse, without_effect

FULL = (errno.ENOSPC, errno.EDQUOT)  # a disk, or what of it a user may have


def main(arguments: Sequence[str], program: str = "spikepropamine train") -> int:
    """Runs the command line; returns its exit code."""
    settings: Settings | None = None

    def run() -> int:
        nonlocal settings
        settings = parse(arguments, program)
        if idle := without_effect(settings, arguments):
            said = "does" if len(idle) == 1 else "do"
            print(f"{', '.join(idle)} {said} not concern {settings.policy}", file=sys.stderr)
        try:
            train(settings)
        except Diverged as error:
            print(f"{program}: error: {error}", file=sys.stderr)
            return 1
        except OSError as error:
            if error.errno not in FULL:
                raise
            reason = f"{error.strerror}; once there is, go on with the same command and --resume"
            raise OSError(error.errno, reason, str(settings.folder.path)) from error
        return 0

    def told() -> str:
        kept = [] if settings is None else listed(settings.folder.checkpoints)
        if not kept:
            return "interrupted before there was a checkpoint; nothing of this training is kept"
        steps = steps_of(kept[0])
        return f"interrupted; go on from step {steps:,} with the same command and --resume"

    return run_command(program, run, told)
