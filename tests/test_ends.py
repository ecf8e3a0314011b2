"""Ends of commands at random times: nothing finished is lost, and the next start does
the rest.

A command on tiny settings is ended by a signal, by the death of a child, or by a file
that grows too large; or it is started twice in one folder. Then it is started again.
"""

import contextlib
import json
import os
import random
import re
import resource
import shutil
import signal
import sqlite3
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

ROOT = Path(__file__).parent.parent
TRIES = int(os.environ.get("ENDS", "1"))
TINY = ["--n-envs", "1", "--steps", "96", "--trainer.n-steps", "48",
        "--trainer.batch-size", "48",
        "--trainer.n-epochs", "1", "--checkpoint-every", "48"]  # fmt: skip
TASK = ["--env", "CueAssociation-v0", "--policy", "mlp"]
PENDULUM = ["--env", "Pendulum-v1", "--policy", "mlp", "--n-envs", "1", "--steps",
            "96", "--checkpoint-every", "48"]  # fmt: skip
OFF_POLICY = ["--trainer.learning-starts", "16", "--trainer.batch-size", "16",
              "--trainer.train-freq", "16", "--trainer.gradient-steps", "2",
              "--trainer.sequence-length", "8", "--trainer.critic", "8"]  # fmt: skip
SEARCHED = ["--env-kwargs", "trials", "2", "--trainer.population", "4"]
MATRIX = f"""
envs: [CueAssociation-v0]
policies: [mlp]
seeds: [0, 1]
train: {" ".join(TINY)}
evaluate: [--episodes 2 --conditions clean]
"""
RUN = "runs/CueAssociation-v0/mlp/seed-0"
OF_PENDULUM = "runs/Pendulum-v1/mlp/seed-0"
COMMANDS = {  # with the file that is there when all is done
    "train": (["train", *TASK, *TINY], f"{RUN}/policy/policy.json"),
    "train-sac": (["train", *PENDULUM, *OFF_POLICY, "--trainer.kind", "sac"],
                  f"{OF_PENDULUM}/policy/policy.json"),
    "train-tqc": (["train", *PENDULUM, *OFF_POLICY, "--trainer.kind", "tqc"],
                  f"{OF_PENDULUM}/policy/policy.json"),
    "train-evolution": (["train", *TASK, *SEARCHED, "--trainer.kind", "evolution",
                         "--n-envs", "1", "--steps", "200", "--checkpoint-every",
                         "48"],
                        f"{RUN}/policy/policy.json"),
    "matrix": (["matrix", "m.yaml", "--results", "results", "--jobs", "2"],
               "results/m.csv"),
    "tune": (["tune", *TASK, *TINY, "--trials", "3", "--seeds", "1", "--study", "study",
              "--search", "s.yaml"], "study/best.yaml"),
    "evaluate": (["evaluate", RUN, "--episodes", "51", "--conditions", "clean",
                  "--workers", "2",
                  "--out", "evaluated"], "evaluated/report.html"),
    "export": (["export", RUN, "--format", "onnx", "--out", "p.onnx"], "p.onnx"),
}  # fmt: skip
ENDS = ("SIGKILL", "SIGTERM", "SIGHUP", "SIGINT", "child", "disk", "twice")
ALWAYS_THE_SAME = ("weights.safetensors", "m.csv", "results.csv", "p.onnx")
PATIENCE = 300  # seconds that anything may take

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(sys.platform != "linux", reason="ends processes as Linux does"),
]


def start(folder, command, most=resource.RLIM_INFINITY):
    """A command whose files may have so many bytes."""
    own = {"PYTHONPATH": str(ROOT), "SPIKEPROPAMINE_CACHE": str(folder / "cache")}
    with (folder / "said").open("a") as said:
        return subprocess.Popen(
            [sys.executable, "-m", "spikepropamine", *command], cwd=folder, stdout=said,
            stderr=subprocess.STDOUT, stdin=subprocess.DEVNULL, env=os.environ | own,
            preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (most, most)),
        )  # fmt: skip


def finished(folder):
    """What is done, by name: complete trials; of what is never written again, which
    file it is.
    """
    done = {}
    for file in folder.rglob("*"):
        name = str(file.relative_to(folder))
        if file.name == "study.db":
            with (
                contextlib.closing(sqlite3.connect(file)) as study,
                contextlib.suppress(sqlite3.OperationalError),  # it has just begun
            ):
                found = study.execute(
                    "select number from trials where state = 'COMPLETE'"
                )
                done |= {f"trial {number}": number for (number,) in found}
        elif file.suffix == ".safetensors" and "cache" in file.parts:
            done[name] = file.stat().st_ino
        elif file.name.endswith(".m.json"):  # of a cell
            if "policy" not in json.loads(file.read_text()):
                continue  # it has begun
            run = file.parents[1] / file.name.removesuffix(".m.json")
            policy = run / "policy/policy.json"
            done[name] = policy.stat().st_ino
    return done


def results(folder):
    """What is the same however a command came to its end, but for seconds; trials are
    random.
    """
    files = (
        x
        for name in ALWAYS_THE_SAME
        for x in folder.rglob(name)
        if "trials" not in x.parts
    )
    return {
        file.relative_to(folder): re.sub(rb"\n.*,seconds,.*", b"", file.read_bytes())
        for file in files
    }


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory):
    """Makes a folder for a command; and of each, how long it takes and what it
    leaves.
    """
    home = tmp_path_factory.mktemp("ends")

    def make(name, number):
        folder = home / f"{name}-{number}"
        folder.mkdir()
        (folder / "m.yaml").write_text(MATRIX)
        (folder / "s.yaml").write_text(
            "all: {trainer.gae_lambda: {low: 0.9, high: 0.99}}"
        )
        if name in ("evaluate", "export"):
            shutil.copytree(home / "train-whole" / RUN, folder / RUN)
        return folder

    took = {}
    left = {}
    for name, (command, _) in COMMANDS.items():
        folder = make(name, "whole")
        begun = time.monotonic()
        assert start(folder, command).wait(PATIENCE) == 0, (folder / "said").read_text()
        took[name], left[name] = time.monotonic() - begun, results(folder)
    return make, took, left


@pytest.mark.parametrize("end", ENDS)
@pytest.mark.parametrize("name", COMMANDS)
def test_an_end_loses_nothing_and_the_next_start_does_the_rest(undisturbed, name, end):
    make, took, left = undisturbed
    command, last = COMMANDS[name]
    for number in range(TRIES):
        chance = random.Random(f"{name} {end} {number}")
        folder = make(name, f"{end}-{number}")
        most = chance.randint(1, 60_000) if end == "disk" else resource.RLIM_INFINITY
        processes = [start(folder, command, most)]
        time.sleep(0 if end == "disk" else chance.uniform(0.3, 1.0) * took[name])
        children = []
        if end == "twice":
            processes.append(start(folder, command))
        elif end != "disk":
            with contextlib.suppress(psutil.NoSuchProcess):  # it has come to its end
                ended = psutil.Process(processes[0].pid)
                # Python starts its own tracker of shared memory again, and says so
                children = [
                    child
                    for child in ended.children(recursive=True)
                    if "resource_tracker" not in " ".join(child.cmdline())
                ]
                chosen = chance.choice(children or [ended]) if end == "child" else ended
                chosen.send_signal(getattr(signal, end, signal.SIGKILL))
        for process in processes:
            process.wait(PATIENCE)
        assert not psutil.wait_procs(children, PATIENCE)[1]
        before = finished(folder)
        again = (
            [*command, "--resume"]
            if name.startswith("train") and (folder / last).parents[1].exists()
            else command
        )
        again = [*again, "--overwrite"] if name == "evaluate" else again
        code = start(folder, again).wait(PATIENCE)
        said = (folder / "said").read_text()
        assert code == 0 and "Traceback" not in said and (folder / last).exists(), said
        assert before.items() <= finished(folder).items()
        assert results(folder) == left[name]
