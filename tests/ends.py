"""Random ends of commands: `python tests/ends.py` kills them, and looks at what is left.

Each try starts a command on tiny settings, ends it after a random time by a signal, or by a disk
that is full, and starts it again until it is done. Nothing that was finished may be lost, no child
may be left, and the next start goes on. Where the last start fails, the try has failed.
"""

import argparse
import contextlib
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

ROOT = Path(__file__).parent.parent
TINY = ["--n-envs", "1", "--steps", "96", "--trainer.n-steps", "32", "--trainer.batch-size", "32",
        "--trainer.n-epochs", "1", "--checkpoint-every", "32"]  # fmt: skip
TASK = ["--env", "CueAssociation-v0", "--policy", "mlp"]
MATRIX = f"""
envs: [CueAssociation-v0]
policies: [mlp]
seeds: [0, 1]
train: {" ".join(TINY)}
evaluate: [--episodes 2 --suite standard]
"""
RUN = "runs/CueAssociation-v0/mlp/seed-0"
COMMANDS = {
    "train": ["train", *TASK, *TINY, "--runs", "runs"],
    "matrix": ["matrix", "m.yaml", "--runs", "cells", "--results", "results", "--jobs", "2"],
    "tune": ["tune", *TASK, *TINY, "--trials", "2", "--seeds", "1", "--study", "study"],
    "evaluate": ["evaluate", RUN, "--episodes", "4", "--workers", "2", "--out", "judged"],
    "export": ["export", RUN, "--format", "onnx", "--out", "p.onnx"],
}
DONE = {
    "train": RUN + "/policy/policy.json", "matrix": "results/m.csv", "tune": "study/best.yaml",
    "evaluate": "judged/report.html", "export": "p.onnx",
}  # fmt: skip
ENDS = ("KILL", "TERM", "HUP", "INT", "full disk")


def started(command: list[str], folder: Path, limit: int | None = None) -> subprocess.Popen:
    """A command in a folder; files that it writes may have `limit` bytes, as on a full disk."""
    words = [sys.executable, "-m", "spikepropamine", *command]
    if limit is not None:
        words = ["/bin/sh", "-c", f"ulimit -f {limit}; trap '' XFSZ; exec \"$@\"", "sh", *words]
    environment = os.environ | {
        "PYTHONPATH": str(ROOT),
        "OMP_NUM_THREADS": "1",
        "ENDS": str(folder),
    }
    environment |= {"SPIKEPROPAMINE_CACHE": str(folder / "cache")}
    with (folder / "said").open("a") as said:
        return subprocess.Popen(
            words, cwd=folder, env=environment, stdin=subprocess.DEVNULL, stdout=said, stderr=said
        )


def left(folder: Path) -> list[int]:
    """Processes that belong to a try."""
    found = []
    for place in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            if f"ENDS={folder}\0".encode() in (place / "environ").read_bytes():
                found.append(int(place.name))
    return found


def contents(folder: Path) -> dict[str, bytes]:
    """What is finished: policies, results, kept measurements."""
    names = ("policy.json", "*.npz", "m.csv", "best.yaml", "p.onnx", "results.csv")
    found = [file for name in names for file in folder.rglob(name) if "trials" not in file.parts]
    return {str(file.relative_to(folder)): file.read_bytes() for file in found}


def attempt(name: str, end: str, chance: random.Random, trained: Path, seconds: float) -> str:
    """One try; empty where all is well, or what is not."""
    folder = Path(tempfile.mkdtemp(prefix="ends-"))
    command = COMMANDS[name]
    try:
        (folder / "m.yaml").write_text(MATRIX)
        if name in ("evaluate", "export"):
            shutil.copytree(trained, folder / RUN)
        limit = chance.choice([0, 1, 4, 16, 64]) if end == "full disk" else None
        process = started(command, folder, limit)
        try:
            process.wait(60 * seconds if limit is not None else chance.uniform(0, 1.1 * seconds))
        except subprocess.TimeoutExpired:
            process.send_signal(getattr(signal, f"SIG{end}") if limit is None else signal.SIGKILL)
        code = process.wait(60 * seconds)
        patience = time.monotonic() + 15 * seconds
        while left(folder) and time.monotonic() < patience:
            time.sleep(0.1)
        if orphans := left(folder):
            for orphan in orphans:  # of this try alone
                os.kill(orphan, signal.SIGKILL)
            return f"{len(orphans)} children are left"
        finished = contents(folder)
        there = {str(file.relative_to(folder)) for file in folder.rglob("*")}
        again = [*command, "--resume"] if name == "train" and (folder / RUN).exists() else command
        again = [*again, "--overwrite"] if name == "evaluate" and DONE[name] in there else again
        second = started(again, folder).wait(60 * seconds)
        said = (folder / "said").read_text()
        if "Traceback" in said:
            return f"ended with {code}: {said[-1500:]}"
        if second or not (folder / DONE[name]).is_file():
            return f"the next start ended with {second}: {said[-800:]}"
        now = contents(folder)
        if lost := [file for file in finished if file not in now]:
            return f"lost: {', '.join(lost)}"
        return ""
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def main() -> int:
    """Runs the tries, and prints what became of them."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--tries", type=int, default=1000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--commands", nargs="+", choices=COMMANDS, default=list(COMMANDS))
    options = parser.parse_args()
    chance, counts = random.Random(options.seed), Counter()
    home = Path(tempfile.mkdtemp(prefix="ends-"))
    try:
        seconds = {}
        (home / "m.yaml").write_text(MATRIX)
        for name in ["train", *(name for name in options.commands if name != "train")]:
            begun = time.monotonic()
            code = started(COMMANDS[name], home).wait()
            seconds[name] = time.monotonic() - begun
            assert code == 0, (home / "said").read_text()
        print({name: round(x, 1) for name, x in seconds.items()}, flush=True)
        for number in range(options.tries):
            name = options.commands[number % len(options.commands)]
            end = ENDS[number // len(options.commands) % len(ENDS)]
            wrong = attempt(name, end, chance, home / RUN, seconds[name])
            counts[name, end, bool(wrong)] += 1
            if wrong:
                print(f"{number}: {name}, {end}: {wrong}", flush=True)
    finally:
        shutil.rmtree(home, ignore_errors=True)
        print(f"\n{'':10}" + "".join(f"{end:>12}" for end in ENDS) + "   (tries, failed)")
        for name in options.commands:
            cells = [(counts[name, end, False], counts[name, end, True]) for end in ENDS]
            print(f"{name:10}" + "".join(f"{sum(x):>8},{x[1]:>3}" for x in cells))
    return int(any(failed for *_, failed in counts))


if __name__ == "__main__":
    sys.exit(main())
