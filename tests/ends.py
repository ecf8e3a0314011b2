"""Random ends of commands: `python tests/ends.py` kills them, and looks at what is left.

Each try starts a command on tiny settings, ends it after a random time by a signal, or by a disk
that is full, and starts it again until it is done. Nothing that was finished may be lost, no child
may be left, and the next start goes on. Where the last start fails, the try has failed.
"""

import argparse
import contextlib
import importlib
import os
import random
import resource
import shutil
import signal
import sys
import tempfile
import time
import traceback
from collections import Counter
from multiprocessing import get_context
from multiprocessing.process import BaseProcess as Process
from pathlib import Path

import torch

from spikepropamine.__main__ import COMMANDS as MODULES
from spikepropamine.__main__ import main as spikepropamine

FORK = get_context("fork")
TINY = ["--n-envs", "1", "--steps", "96", "--trainer.n-steps", "48", "--trainer.batch-size", "48",
        "--trainer.n-epochs", "1", "--checkpoint-every", "48"]  # fmt: skip
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
    "evaluate": ["evaluate", RUN, "--episodes", "4", "--workers", "1", "--out", "judged"],
    "export": ["export", RUN, "--format", "onnx", "--out", "p.onnx"],
}
DONE = {
    "train": RUN + "/policy/policy.json", "matrix": "results/m.csv", "tune": "study/best.yaml",
    "evaluate": "judged/report.html", "export": "p.onnx",
}  # fmt: skip
ENDS = ("KILL", "TERM", "HUP", "INT", "full disk")


def started(command: list[str], folder: Path, limit: int | None = None) -> Process:
    """A command in a folder, in a process that is forked, since imports take longer than the rest;
    files that it writes may have `limit` kilobytes, as on a full disk.
    """
    process = FORK.Process(target=run, args=(command, folder, limit))
    process.start()
    return process


def run(command: list[str], folder: Path, limit: int | None) -> None:
    """The command, in the forked process."""
    os.chdir(folder)
    os.environ |= {"ENDS": str(folder), "SPIKEPROPAMINE_CACHE": str(folder / "cache")}
    said = os.open("said", os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
    os.dup2(said, 1), os.dup2(said, 2)
    sys.stdout, sys.stderr = (open(x, "w", closefd=False, buffering=1) for x in (1, 2))  # noqa: SIM115
    if limit is not None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (1024 * limit, 1024 * limit))
    code = 99
    try:
        code = spikepropamine(command)
    except BaseException:
        traceback.print_exc()
    os._exit(code)


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
        process.join(60 * seconds if limit is not None else chance.uniform(0, 1.1 * seconds))
        if process.is_alive():
            os.kill(process.pid, getattr(signal, f"SIG{end}" if limit is None else "SIGKILL"))
        process.join(60 * seconds)
        code = process.exitcode
        if code is None:
            process.kill()
            return f"it goes on after SIG{end}"
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
        process = started(again, folder)
        process.join(60 * seconds)
        second = process.exitcode
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
    torch.set_num_threads(1)
    for name in options.commands:
        importlib.import_module(MODULES[name][0])
    chance, counts = random.Random(options.seed), Counter()
    home = Path(tempfile.mkdtemp(prefix="ends-"))
    try:
        seconds = {}
        (home / "m.yaml").write_text(MATRIX)
        for name in ["train", *(name for name in options.commands if name != "train")]:
            begun = time.monotonic()
            process = started(COMMANDS[name], home)
            process.join()
            seconds[name] = time.monotonic() - begun
            assert process.exitcode == 0, (home / "said").read_text()
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
