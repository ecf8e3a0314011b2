"""What tracking costs: CPU time of whole trainings with --track offline and off, in turn.

python -m benchmarks.tracking [--rounds 3] [--env HalfCheetah-v5] [--policy ndp-oja]
    [--steps 100000]

All processes are counted, wandb's own service among them (Linux only).
"""

import argparse
import ctypes
import os
import resource
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

TRAIN = Path(__file__).parent.parent / "train.py"
PR_SET_CHILD_SUBREAPER = 36


def cpu_seconds(arguments: list[str]) -> float:
    """CPU time, user and system, of train.py and of every process that it leaves."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    subprocess.run(
        [sys.executable, str(TRAIN), *arguments],
        check=True,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    while True:  # orphans are this process's children now, since it is their subreaper
        try:
            os.wait()
        except ChildProcessError:
            break
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def main() -> None:
    """Runs the command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--env", default="HalfCheetah-v5")
    parser.add_argument("--policy", default="ndp-oja")
    parser.add_argument("--steps", type=int, default=100_000)
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()
    ctypes.CDLL(None).prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
    seconds: dict[str, list[float]] = {"off": [], "offline": []}
    with tempfile.TemporaryDirectory() as runs:
        arguments = ["--env", options.env, "--policy", options.policy, "--overwrite"]
        arguments += ["--runs", runs, "--steps", str(options.steps)]
        for number in range(options.rounds):
            modes = list(seconds)[:: -1 if number % 2 else 1]  # neither is always the first
            for mode in modes:
                seconds[mode].append(cpu_seconds([*arguments, "--track", mode]))
            off, offline = (seconds[mode][-1] for mode in seconds)
            print(f"off {off:.1f} s, offline {offline:.1f} s: {offline / off - 1:+.1%}", flush=True)
    off, offline = (statistics.median(seconds[mode]) for mode in seconds)
    print(f"{options.policy} on {options.env}, {options.steps:,} steps, CPU time, medians:")
    print(f"off {off:.1f} s, offline {offline:.1f} s: {offline / off - 1:+.1%}")


if __name__ == "__main__":
    main()
