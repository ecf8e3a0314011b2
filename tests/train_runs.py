"""Runs of train.py, in this process and in others, for tests."""

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parent.parent
CUE = ["--env", "CueAssociation-v0"]
SHORT = [
    "--n-envs", "4", "--steps", "320", "--trainer.n-steps", "40",
    "--trainer.batch-size", "160",
]  # fmt: skip
TINY = [
    "--n-envs", "2", "--steps", "32", "--trainer.n-steps", "16", "--trainer.batch-size",
    "16",
    "--trainer.sequence-length", "8", "--network.hidden", "8", "8",
]  # fmt: skip


def with_folder(tmp_path, *arguments):
    return [*arguments, "--runs", str(tmp_path / "runs")]


def command(tmp_path, *arguments):
    return [sys.executable, str(ROOT / "train.py"), *with_folder(tmp_path, *arguments)]


def run_process(tmp_path, *arguments):
    """train.py in a process of its own, started elsewhere than in the repository."""
    return subprocess.run(
        command(tmp_path, *arguments),
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=300,
    )


def folder_of(tmp_path, env="CueAssociation-v0", policy="ndp-oja", seed=0):
    return tmp_path / "runs" / env / policy / f"seed-{seed}"
