"""What results depend on: versions of packages, the revision of the code, digests of files."""

import hashlib
import importlib.util
import os
import platform
import subprocess
from collections.abc import Iterable
from glob import escape, glob
from importlib.metadata import version
from pathlib import Path
from typing import Any

from spikepropamine.reading import read_bytes

HERE = Path(__file__).parent
PACKAGES = ("stable-baselines3", "sb3-contrib", "gymnasium", "mujoco", "torch", "numpy", "numba")
"""Those that results depend on. Only Numba may be missing."""
RESULTS = ("trained", "benchmarks/results")
"""Folders of the checkout that runs write."""


def versions() -> dict[str, str]:
    """Versions of Python, the packages that results depend on, the processor, and the revision.

    The revision is that of the checkout, or the version of the installed package. It is marked
    "dirty" where files differ from it, other than those that runs leave (RESULTS).
    """
    found = {"python": platform.python_version(), "processor": platform.machine()}
    for name in PACKAGES:
        there = name != "numba" or importlib.util.find_spec(name) is not None
        found[name] = version(name) if there else "none"
    if (HERE / "envs").is_dir():
        return found | {"revision": version("spikepropamine")}
    revision = git("describe", "--always").stdout.strip()
    kept = [f":(top,exclude){folder}" for folder in RESULTS]
    if revision and git("diff", "--quiet", "HEAD", "--", ":/", *kept).returncode:
        revision += "-dirty"
    return found | {"revision": revision or "unknown"}


def digest_of(files: Iterable[str | Path]) -> str:
    """Of the bytes of files, in their order."""
    total = hashlib.sha256()
    for file in files:
        total.update(read_bytes(file))
    return total.hexdigest()


def digests_of(texts: Iterable[str], root: Path = Path()) -> dict[str, str]:
    """Of what lies where texts, relative to a folder, say: of a file, or of the policy of a run;
    those that name neither are left out.
    """
    found = {}
    for text in texts:
        place = os.path.join(root, text)
        files = (
            [place] if os.path.isfile(place) else glob(os.path.join(escape(place), "policy", "*"))
        )
        if files := [file for file in sorted(files) if os.path.isfile(file)]:
            found[text] = digest_of(files)
    return found


def git(*words: str) -> subprocess.CompletedProcess[str]:
    """Answer of git about the checkout; that of a failure where there is no git."""
    command = ["git", *words]
    answer: dict[str, Any] = {"capture_output": True, "text": True, "check": False}
    try:
        found = subprocess.run(command, cwd=HERE, **answer)
        # of a git that was killed, which would read as another revision
        return subprocess.run(command, cwd=HERE, **answer) if found.returncode < 0 else found
    except FileNotFoundError:
        return subprocess.CompletedProcess(words, 127, "", "git is not installed")
