"""What was measured is kept on disk, under a name made of everything that it depends on, so that an
evaluation that was interrupted goes on where it was.
"""

import functools
import hashlib
import json
import os
import site
import sys
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import gymnasium as gym
import platformdirs
from safetensors.numpy import save

from spikepropamine.common import whole_file
from spikepropamine.evaluation.run.jobs import Job, Outcome
from spikepropamine.reading import LARGEST, Unreadable, read_tensors
from spikepropamine.versions import digest_of, digests_of

ROOT = Path(__file__).parents[2]
MEMBERS = {"seed", "return", "length", "rewards", "correct", "began"}  # of every outcome
FOLDER = "SPIKEPROPAMINE_CACHE"  # the environment variable that names another folder


def folder() -> Path:
    """Where measurements are kept: of this user, since those that come with a run may be forged.

    It can be deleted at any time.
    """
    return Path(os.environ.get(FOLDER) or platformdirs.user_cache_path("spikepropamine"))


def name_of(job: Job, versions: Mapping[str, str]) -> str:
    """Of a job's file: tells apart all jobs that may give different numbers, by the `versions` of
    the packages that matter, too.
    """
    parts = {
        "job": repr(replace(job, folder=None)),
        "policy": digest_of(sorted(job.folder.glob("*"))) if job.folder is not None else "",
        "files": digests_of(x for x in job.task.arguments.values() if isinstance(x, str)),
        "sources": sources_digest(),
        "own": own_digest(job.task.environment),
        "versions": {k: v for k, v in versions.items() if k != "revision"},
    }
    text = json.dumps(parts, sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:32] + ".safetensors"


def read(path: Path) -> Outcome | None:
    """What `write` wrote; None where there is nothing, or something damaged."""
    try:
        outcome, _ = read_tensors(path, LARGEST)
    except Unreadable:
        return None
    return outcome if outcome.keys() >= MEMBERS else None


def write(path: Path, outcome: Outcome) -> None:
    """Writes a file that `read` reads. Several processes may write the same one."""
    with whole_file(path) as part:
        part.write_bytes(save(outcome))


@functools.cache
def own_digest(environment: str) -> str:
    """Of the user's code as far as it is loaded: what is not installed, and the package of the
    environment. This project is told apart otherwise.
    """
    entry = gym.spec(environment).entry_point
    module = entry if isinstance(entry, str) else entry.__module__
    package, installed = module.partition(":")[0].partition(".")[0], [sys.base_prefix]
    installed += [sys.prefix, *site.getsitepackages()]
    own = set[str]()
    for name, loaded in sys.modules.items():
        root, file = name.partition(".")[0], str(getattr(loaded, "__file__", None))
        if root in ("spikepropamine", "gymnasium", "__main__") or not os.path.isabs(file):
            continue
        if root == package or not any(Path(file).is_relative_to(x) for x in installed):
            own.add(file)
    return digest_of(sorted(own))


@functools.cache
def sources_digest() -> str:
    """Of the code that makes the numbers."""
    folders = [ROOT / name for name in ("envs", "policies", "evaluation")]
    files = [file for folder in folders for file in sorted(folder.rglob("*.py"))]
    return digest_of([*files, ROOT / "envs" / "spreads.json"])
