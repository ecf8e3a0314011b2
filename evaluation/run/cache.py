"""What episodes gave is kept on disk, under names made of all that it depends on."""

import hashlib
import json
import os
import secrets
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import gymnasium as gym
import platformdirs
from safetensors.numpy import save

from spikepropamine.common import whole_file
from spikepropamine.evaluation.run.code import is_in_notebook
from spikepropamine.evaluation.run.work import Job, Outcome
from spikepropamine.reading import LARGEST, Unreadable, read_tensors
from spikepropamine.versions import digest_of, digests_of

VARIABLE = "SPIKEPROPAMINE_CACHE"
"""The environment variable that names another folder."""
MEMBERS = {"seed", "return", "length", "rewards", "correct", "began"}
"""Of every outcome."""


def folder() -> Path:
    """Where outcomes are kept: of this user, since those that come with a run may be
    forged. It can be deleted at any time.
    """
    named = os.environ.get(VARIABLE)
    return Path(named or platformdirs.user_cache_path("spikepropamine"))


def name_of(job: Job, code: str, versions: Mapping[str, str]) -> str:
    """The name of a job's file, which tells apart all jobs that may give different
    numbers.

    Args:
        job: what is run.
        code: digest of the code that makes the numbers.
        versions: of the packages; that of this project is in the code.

    Returns:
        The name of a safetensors file.
    """
    environment = job.task.environment
    arguments = gym.spec(environment).kwargs | dict(job.task.arguments)
    texts = [value for value in arguments.values() if isinstance(value, str)]
    policy = sorted(job.folder.glob("*")) if job.folder is not None else []
    parts = {
        "job": repr(replace(job, folder=None)),
        "policy": digest_of(policy) if policy else "",
        "files": digests_of(texts),
        "code": code,
        # nobody knows what a task of a notebook was before
        "once": secrets.token_hex() if is_in_notebook(environment) else "",
        "versions": {
            name: version for name, version in versions.items() if name != "revision"
        },
    }
    text = json.dumps(parts, sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:32] + ".safetensors"


def read_outcome(path: Path) -> Outcome | None:
    """What `write_outcome` wrote; None where there is nothing, or something damaged."""
    try:
        outcome, _ = read_tensors(path, LARGEST)
    except Unreadable:
        return None
    return outcome if outcome.keys() >= MEMBERS else None


def write_outcome(path: Path, outcome: Outcome) -> None:
    """Writes a file that `read_outcome` reads; several processes may write one file.

    Args:
        path: of the file.
        outcome: arrays by name.

    Raises:
        OSError: it cannot be written.
    """
    with whole_file(path) as part:
        part.write_bytes(save(outcome))
