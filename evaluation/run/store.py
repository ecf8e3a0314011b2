"""What was measured is kept on disk, under a name made of everything that it depends on.

A job whose file is there is never run again.
"""

import hashlib
import json
import os
import site
import sys
from collections.abc import Mapping
from functools import cache
from pathlib import Path

import gymnasium as gym
import numpy as np
import platformdirs

from spikepropamine.common import whole_file
from spikepropamine.evaluation.run.jobs import Job, Outcome
from spikepropamine.own_modules import imported
from spikepropamine.reading import Unreadable, read_arrays
from spikepropamine.versions import digest_of, digests_of

ROOT = Path(__file__).parents[2]
# what the numbers depend on, besides the packages
SOURCES = ["envs", "envs/spreads.json", "policies", "evaluation/hook.py"]
SOURCES += ["evaluation/ask/conditions.py", "evaluation/ask/lesions.py", "evaluation/ask/task.py"]
SOURCES += ["evaluation/run/episodes.py", "evaluation/run/inside.py", "evaluation/run/jobs.py"]

VERSIONED = ("spikepropamine", "gymnasium", "__main__")  # packages whose code is told otherwise
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
    own = ("digest", "previous", "revealed", "told", "baseline", "freeze_at", "seeds", "width")
    parts = {name: getattr(job, name) for name in (*own, "deterministic")}
    parts |= {name: getattr(job.task, name) for name in ("environment", "arguments", "horizon")}
    parts |= {name: getattr(job.condition, name) for name in ("text", "noise", "lesion_name")}
    parts |= {
        "files": digests_of(x for x in job.task.arguments.values() if isinstance(x, str)),
        "sources": sources_digest(),
        "own": own_digest((*imported, module_of(job.task.environment))),
        "versions": {k: v for k, v in versions.items() if k != "revision"},
    }
    text = json.dumps(parts, sort_keys=True, default=str)
    return hashlib.sha256(text.encode()).hexdigest()[:32] + ".npz"


def read(path: Path) -> Outcome | None:
    """What `write` wrote; None where there is nothing, or something damaged."""
    try:
        outcome = read_arrays(path)
    except Unreadable:
        return None
    return outcome if outcome.keys() >= MEMBERS else None


def write(path: Path, outcome: Outcome) -> None:
    """Writes a file that `read` reads. Several processes may write the same one."""
    with whole_file(path) as part, part.open("wb") as file:
        np.savez(file, **outcome)  # type: ignore[arg-type]


def module_of(environment: str) -> str:
    """Where a registered environment is made."""
    entry = gym.spec(environment).entry_point
    return entry.partition(":")[0] if isinstance(entry, str) else entry.__module__


@cache
def own_digest(modules: tuple[str, ...]) -> str:
    """Of the code of the user's own modules, and of what is loaded of their packages, or lies
    beside them or below. What is installed, and this project, are told apart otherwise.
    """
    places = {name: getattr(module, "__file__", None) for name, module in sys.modules.items()}
    files = {name: Path(place) for name, place in places.items() if place is not None}
    own = set[Path]()
    for name in modules:
        package = name.partition(".")[0]
        if name in files and package not in VERSIONED:
            for other, file in files.items():
                root = other.partition(".")[0]
                beside = files[name].parent in file.parents and root not in VERSIONED
                if root == package or (beside and not _installed(file)):
                    own.add(file)
    return digest_of(sorted(own))


def _installed(file: Path) -> bool:
    return any(file.is_relative_to(place) for place in site.getsitepackages())


@cache
def sources_digest() -> str:
    """Of the code that makes the numbers."""
    paths = [ROOT / name for name in SOURCES]
    return digest_of(
        file for path in paths for file in (sorted(path.rglob("*.py")) if path.is_dir() else [path])
    )
