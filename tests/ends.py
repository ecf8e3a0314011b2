"""Random ends of commands: `python tests/ends.py` ends them, and looks at what is left.

Each try starts a command on tiny settings and ends it at a random time, by a signal, by the death
of one of its children, or by a disk that is full; or it starts the command twice in one folder.
Then it is started again. Nothing that was finished may be lost or done twice, no child may be left,
the next start goes on, and what it leaves is what a command leaves that nobody has disturbed.
"""

import argparse
import contextlib
import ctypes
import gc
import json
import multiprocessing
import os
import random
import re
import shutil
import signal
import sqlite3
import subprocess
import sys
import tempfile
import threading
import time
import traceback
from pathlib import Path

import psutil
import torch
import vl_convert
from tqdm import tqdm

import spikepropamine.matrix.command  # with what all commands need
import spikepropamine.report.html  # noqa: F401
from spikepropamine.__main__ import main as spikepropamine_main

FORK = multiprocessing.get_context("fork")
TINY = ["--n-envs", "1", "--steps", "96", "--trainer.n-steps", "48", "--trainer.batch-size", "48",
        "--trainer.n-epochs", "1", "--checkpoint-every", "48"]  # fmt: skip
TASK = ["--env", "CueAssociation-v0", "--policy", "mlp"]
MATRIX = f"""
envs: [CueAssociation-v0]
policies: [mlp]
seeds: [0, 1]
train: {" ".join(TINY)}
evaluate: [--episodes 2 --conditions clean]
"""
RUN = "runs/CueAssociation-v0/mlp/seed-0"
COMMANDS = {
    "train": ["train", *TASK, *TINY, "--runs", "runs"],
    "matrix": ["matrix", "m.yaml", "--runs", "cells", "--results", "results", "--jobs", "2"],
    "tune": ["tune", *TASK, *TINY, "--trials", "3", "--seeds", "1", "--study", "study",
             "--search", "s.yaml"],
    "evaluate": ["evaluate", RUN, "--episodes", "51", "--conditions", "clean", "--workers", "2",
                 "--out", "evaluated"],
    "export": ["export", RUN, "--format", "onnx", "--out", "p.onnx"],
}  # fmt: skip
DONE = {"train": f"{RUN}/policy/policy.json", "matrix": "results/m.csv", "tune": "study/best.yaml",
        "evaluate": "evaluated/report.html", "export": "p.onnx"}  # fmt: skip
ENDS = ("KILL", "TERM", "HUP", "INT", "child", "full disk", "twice")
PATIENCE, SPACE = 60, 500_000  # seconds that anything may take; kibibytes
NEW_USER, NEW_MOUNTS, REMOUNT, PRIVATE = 0x10000000, 0x00020000, 32, 0x44000  # of Linux
ALWAYS_THE_SAME = ("weights.safetensors", "m.csv", "results.csv", "p.onnx")


class Forked(subprocess.Popen):
    """A command in a process that is forked, since imports take longer than all the rest."""

    def _execute_child(self, args, executable, preexec_fn, close_fds, pass_fds, cwd, env, *rest):
        if list(args[1:3]) != ["-m", "spikepropamine"]:
            return super()._execute_child(
                args, executable, preexec_fn, close_fds, pass_fds, cwd, env, *rest
            )
        pipes = rest[3:9]
        self.pid = os.fork()
        self._child_created = True
        if self.pid:
            return self._close_pipe_fds(*pipes)
        code = 99
        try:
            os.setsid()
            for number, file in enumerate((pipes[0], pipes[3], pipes[5])):
                os.dup2(file, number)
            os.closerange(3, 1000)
            sys.stdout, sys.stderr = (open(x, "w", 1, closefd=False) for x in (1, 2))  # noqa: SIM115
            os.chdir(cwd)
            os.environ.clear()
            os.environ.update(env)
            tqdm.set_lock(threading.RLock())  # not that of a process that was killed
            code = spikepropamine_main(args[3:])
        except BaseException:
            traceback.print_exc()
        os._exit(code)


def small_disk(folder, kibibytes):
    """Mounts a disk that only this process and its children see, or gives it another size."""
    libc = ctypes.CDLL(None, use_errno=True)

    def call(name, *arguments):
        if getattr(libc, name)(*arguments):
            raise OSError(ctypes.get_errno(), f"{name}: {os.strerror(ctypes.get_errno())}")

    new, user, group = not os.path.ismount(folder), os.getuid(), os.getgid()
    if new:
        call("unshare", NEW_MOUNTS if user == 0 else NEW_MOUNTS | NEW_USER)
        names = {"setgroups": "deny", "uid_map": f"0 {user} 1", "gid_map": f"0 {group} 1"}
        for name, text in names.items() if user else ():  # as root of a namespace
            Path("/proc/self", name).write_text(text)
        call("mount", b"none", b"/", None, PRIVATE, None)
    options = f"size={kibibytes}k".encode()
    call("mount", b"tmpfs", str(folder).encode(), b"tmpfs", 0 if new else REMOUNT, options)


def no_child_is_left():
    """Waits for all; those whose parents have died have become those of this process."""
    end = time.monotonic() + PATIENCE
    while time.monotonic() < end:
        try:
            if os.waitpid(-1, os.WNOHANG) == (0, 0):
                time.sleep(0.01)
        except ChildProcessError:
            return True
    for child in psutil.Process().children(recursive=True):
        child.kill()
    return False


def finished(folder):
    """What is done, by name: the finished trials of a study; of what is never written again, which
    file it is; of the rest, that it is there.
    """
    done = {}
    for file in folder.rglob("*"):
        name = str(file.relative_to(folder))
        if file.name == "study.db":
            done[name] = set()
            with (
                contextlib.closing(sqlite3.connect(file)) as study,
                contextlib.suppress(sqlite3.OperationalError),  # it has just begun
            ):
                done[name] |= {*study.execute("select * from trials where state = 'COMPLETE'")}
        elif file.suffix == ".npz":
            done[name] = file.stat().st_ino
        elif file.name.endswith(".m.json"):  # of a cell
            policy = file.with_name(file.name.removesuffix(".m.json")) / "policy/policy.json"
            done[name] = policy.stat().st_ino
        elif name in DONE.values():
            done[name] = None
    return done


def kept(was, now):
    """Whether what was done is still there, and was not done again."""
    return was <= now if isinstance(was, set) else was in (None, now)


def results(folder):
    """What is the same however a command came to its end, but for seconds; trials are random."""
    files = (x for name in ALWAYS_THE_SAME for x in folder.rglob(name) if "trials" not in x.parts)
    return {
        str(file.relative_to(folder)): re.sub(rb"\n.*,seconds,.*", b"", file.read_bytes())
        for file in files
    }


class Tries:
    """Tries on a disk of their own, in a folder that also has what was trained undisturbed."""

    def __init__(self, home):
        self.disk, self.said, self.trained = home / "disk", home / "said", home / "trained"
        self.disk.mkdir()
        small_disk(self.disk, SPACE)
        self.seconds, self.needs, self.results = {}, {}, {}
        for name, command in COMMANDS.items():
            folder = self.folder(name)
            before, begun = self.used(), time.monotonic()
            assert self.start(command).wait() == 0, self.said.read_text()
            self.seconds[name] = time.monotonic() - begun
            self.needs[name], self.results[name] = self.used() - before, results(folder)
            if name == "train":
                shutil.copytree(folder / RUN, self.trained)

    def used(self):
        """Kibibytes of the disk."""
        found = os.statvfs(self.disk)
        return (found.f_blocks - found.f_bfree) * found.f_frsize // 1024

    def folder(self, name):
        """A new one for a command, with what it needs."""
        folder = self.disk / "try"
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir()
        self.said.write_text("")
        (folder / "m.yaml").write_text(MATRIX)
        (folder / "s.yaml").write_text("all: {trainer.gae_lambda: {low: 0.9, high: 0.99}}")
        if name in ("evaluate", "export"):
            shutil.copytree(self.trained, folder / RUN)
        return folder

    def start(self, command):
        """A command; what it says is added to what others said."""
        with self.said.open("a") as said:
            return Forked(
                [sys.executable, "-m", "spikepropamine", *command], cwd=self.disk / "try",
                stdin=subprocess.DEVNULL, stdout=said, stderr=subprocess.STDOUT,
                env=os.environ | {"SPIKEPROPAMINE_CACHE": str(self.disk / "try" / "cache")},
            )  # fmt: skip

    def attempt(self, name, end, chance):
        """One try; empty where all is well, or what is not."""
        folder, command, seconds = self.folder(name), COMMANDS[name], self.seconds[name]
        if end == "full disk":
            small_disk(self.disk, self.used() + 4 * chance.randint(1, self.needs[name] // 4))
        processes = [self.start(command)]
        if end == "twice":
            time.sleep(chance.uniform(0, seconds))
            processes.append(self.start(command))
        elif end != "full disk":
            with contextlib.suppress(subprocess.TimeoutExpired):
                processes[0].wait(chance.uniform(0, 1.1 * seconds))
            with contextlib.suppress(psutil.NoSuchProcess):  # it has come to its end
                ended = psutil.Process(processes[0].pid)
                children = ended.children(recursive=True) if end == "child" else []
                signal_of = getattr(signal, f"SIG{end}", signal.SIGKILL)
                chance.choice(children or [ended]).send_signal(signal_of)
        codes = [process.wait(PATIENCE) for process in processes]
        small_disk(self.disk, SPACE)
        before = {}
        if chance.random() < 0.7:  # else the next start comes at once
            if not no_child_is_left():
                return "children are left"
            before = finished(folder)
        again = [*command, "--resume"] if name == "train" and (folder / RUN).exists() else command
        again = [*again, "--overwrite"] if name == "evaluate" else again
        codes.append(self.start(again).wait(PATIENCE))
        said, now = self.said.read_text(), finished(folder)
        ignored = said.count("Exception ignored in")  # the signal came while Python forked
        if said.count("Traceback") > ignored or codes[-1] or DONE[name] not in now:
            return f"ended with {codes}: {said[-2000:]}"
        for file, was in before.items():
            if file not in now or not kept(was, now[file]):
                return f"lost or done twice: {file}"
        if results(folder) != self.results[name]:
            return f"other results, after {codes}: {said[-2000:]}"
        return "" if no_child_is_left() else "children are left at last"


def main():
    """Makes the tries that a log does not have yet, and prints what became of all."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--tries", type=int, default=1000)
    parser.add_argument("--log", type=Path, default=Path("runs/ends.jsonl"))
    options = parser.parse_args()
    torch.set_num_threads(1)
    ctypes.CDLL(None).prctl(36, 1)  # PR_SET_CHILD_SUBREAPER
    options.log.parent.mkdir(parents=True, exist_ok=True)
    options.log.touch()
    with tempfile.TemporaryDirectory(prefix="ends-", ignore_cleanup_errors=True) as home:
        there, here = Path(home, "warm"), os.getcwd()
        there.mkdir()
        os.chdir(there)
        for name in ("train", "export"):  # what they import and compile, those that are forked have
            spikepropamine_main(COMMANDS[name])
        os.chdir(here)
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        vl_convert.javascript_bundle = lambda text: text  # a browser's engine, which takes seconds
        vl_convert.vegalite_to_png = lambda text, scale: b"picture"
        subprocess.Popen, multiprocessing.get_context = Forked, lambda method=None: FORK
        tries = Tries(Path(home))
        gc.freeze()
        with options.log.open("r+") as log:
            done = {number: rest for number, *rest in map(json.loads, log)}
            for number in sorted({*range(options.tries)} - {*done}):
                name = list(COMMANDS)[number % len(COMMANDS)]
                end = ENDS[number // len(COMMANDS) % len(ENDS)]
                try:
                    wrong = tries.attempt(name, end, random.Random(number))
                except subprocess.TimeoutExpired as error:
                    wrong = f"{error}: {tries.said.read_text()[-2000:]}"
                    no_child_is_left()
                done[number] = [name, end, wrong]
                print(json.dumps([number, *done[number]]), file=log, flush=True)
    print(f"{'tries, failed':14}" + "".join(f"{end:>12}" for end in ENDS))
    for name in COMMANDS:
        row = [[bool(x[2]) for x in done.values() if x[:2] == [name, end]] for end in ENDS]
        print(f"{name:14}" + "".join(f"{len(cell):8}, {sum(cell):2}" for cell in row))
    return int(any(wrong for *_, wrong in done.values()))


if __name__ == "__main__":
    sys.exit(main())
