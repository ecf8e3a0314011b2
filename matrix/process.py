"""A command of a cell in a process of its own: the end that starts it, and the one that
performs it.

The process is given the command itself, settings and all, so that nothing is read
twice. Its words stand in the list of processes, and in what the run folder says of
itself.
"""

import base64
import os
import pickle
import shlex
import signal
import subprocess
import sys
from collections.abc import Callable
from contextlib import suppress
from typing import TYPE_CHECKING

from spikepropamine.common import ENDS_WITH_PARENT, appended, run_command
from spikepropamine.versions import HERE

if TYPE_CHECKING:  # the process imports PyTorch and the rest once it minds Ctrl-C
    from spikepropamine.matrix.cells import Cell, Command

THREADS = (
    "OMP_NUM_THREADS",
    "MKL_NUM_THREADS",
    "OPENBLAS_NUM_THREADS",
    "NUMBA_NUM_THREADS",
)
PATIENCE = 0.2
"""Seconds between looks at whether to stop."""
DIVERGED = 3
"""Exit code of a training that broke down, which is a result and no failure."""
PROMPT = "$ spikepropamine "
"""In the log, before the words of each command."""


def run_alone(command: "Command", cell: "Cell", stopped: Callable[[], bool]) -> int:
    """Runs a command with one thread; what it says goes to the log of its cell.

    Args:
        command: of the cell.
        cell: of the matrix.
        stopped: is asked now and then; once it is true, the command ends as by Ctrl-C.

    Returns:
        The exit code.
    """
    # this package, wherever it runs
    paths = [str(HERE.parent), os.environ.get("PYTHONPATH", "")]
    environment = os.environ | dict.fromkeys(THREADS, "1")
    environment["PYTHONPATH"] = os.pathsep.join(filter(None, paths))
    environment[ENDS_WITH_PARENT] = "1"
    with appended(cell.log) as log:
        print(f"{PROMPT}{shlex.join(command.words)}", file=log, flush=True)
        # in a session of its own, so that Ctrl-C reaches it once, from here
        with subprocess.Popen(
            [sys.executable, "-m", __name__, *command.words],
            cwd=cell.root,
            env=environment,
            stdin=subprocess.PIPE,
            stdout=log,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        ) as process:
            assert process.stdin is not None
            with suppress(BrokenPipeError):  # its exit code says more
                process.stdin.write(base64.b64encode(pickle.dumps(command)) + b"\n")
                process.stdin.flush()
            try:
                while not stopped():
                    with suppress(subprocess.TimeoutExpired):
                        return process.wait(PATIENCE)
            finally:
                if process.poll() is None:
                    # which training takes as Ctrl-C
                    os.killpg(process.pid, signal.SIGTERM)
    return process.returncode


def main() -> int:
    """Performs the command that standard input holds; returns its exit code."""
    line = sys.stdin.buffer.readline()  # before it is watched for its end
    _, *words = sys.argv
    # what config.yaml and evaluation.json say can be typed
    sys.argv[0] = "spikepropamine"
    return run_command(
        f"spikepropamine {words[0]}",
        lambda: _perform(line),
        "interrupted; the matrix goes on from the last checkpoint",
    )


def _perform(line: bytes) -> int:
    """Does the packed command of a line; returns the exit code."""
    from spikepropamine.training.guard import Diverged

    packed = base64.b64decode(line)
    command = pickle.loads(packed)
    try:
        code: int = command.perform()
    except Diverged as error:
        error.code = DIVERGED
        raise
    return code


if __name__ == "__main__":
    sys.exit(main())
