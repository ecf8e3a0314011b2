"""Policies on the Hugging Face Hub, by names such as `hf:owner/name@revision`.

What is downloaded are the few files of a run folder that the format knows, at one
commit, after their sizes were compared with what they may have. None of them runs code,
and `policies.export` compares their digests when it reads them.
"""

import os
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import platformdirs
from filelock import FileLock

from spikepropamine.common import UsageError, reason, require, shown, whole_folder

if TYPE_CHECKING:
    from huggingface_hub import HfApi

PREFIX = "hf:"
NAME = re.compile(
    r"hf:(?P<repository>[\w.-]+/[\w.-]+)(@(?P<revision>[\w./-]+))?", re.ASCII
)
SMALL = 2**24
"""Bytes that a description or a card may have."""
LARGE = 2**30
"""Bytes that a file of tensors may have."""
REQUIRED = {"policy/policy.json": SMALL, "policy/weights.safetensors": LARGE}
OPTIONAL = {
    "policy/normalisation.safetensors": SMALL,
    "config.yaml": SMALL,
    "progress.csv": SMALL,
    "README.md": SMALL,
}
"""Paths in a run folder, and the bytes that each may have."""

Answer = TypeVar("Answer")


@dataclass(frozen=True)
class Address:
    """Where a policy is on the Hub.

    Attributes:
        repository: `owner/name`.
        revision: a branch, a tag or a commit; None: the newest of the main branch.
    """

    repository: str
    revision: str | None = None

    @classmethod
    def of(cls, name: str) -> "Address":
        """Of a name such as `hf:owner/name@revision`. Raises UsageError: it is none."""
        match = NAME.fullmatch(name)
        if match is None:
            raise UsageError(
                f"{shown(name)} is no name on the Hub; they are of the form "
                "hf:owner/name or hf:owner/name@revision"
            )
        return cls(match["repository"], match["revision"])

    def __str__(self) -> str:
        at = "" if self.revision is None else f"@{self.revision}"
        return f"{PREFIX}{self.repository}{at}"


def is_address(name: str | Path) -> bool:
    """Whether a name is of something on the Hub."""
    return str(name).startswith(PREFIX)


def downloads() -> Path:
    """Where downloads are kept; it can be deleted at any time."""
    return platformdirs.user_cache_path("spikepropamine") / "hub"


def download(name: str) -> Path:
    """The run folder of a policy on the Hub; it is downloaded once for each commit.

    Args:
        name: such as `hf:owner/name@revision`.

    Raises:
        UsageError: the extra `hub` is missing, the Hub cannot be reached or has no such
            policy, or a file is larger than it may be; nothing is downloaded then.
    """
    address = Address.of(name)
    api = _api(f"load({str(address)!r})")

    def ask() -> Any:
        return api.model_info(
            address.repository, revision=address.revision, files_metadata=True
        )

    about = _answer(address, ask)
    sizes = {file.rfilename: file.size for file in about.siblings or ()}
    wanted = _checked(address, sizes)
    place = downloads() / address.repository.replace("/", "--") / about.sha
    place.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(place.with_suffix(".lock")):
        if not place.is_dir():
            with whole_folder(place) as new:
                for path in wanted:
                    _download_file(api, address, path, about.sha, new)
    return place


def _checked(address: Address, sizes: Mapping[str, int | None]) -> list[str]:
    """The files to download.

    Args:
        address: for messages.
        sizes: of all files there, bytes.

    Raises:
        UsageError: one is missing, or larger than it may be.
    """
    for path in REQUIRED:
        if path not in sizes:
            raise UsageError(
                f"{address} is no policy of spikepropamine: {path} is missing there"
            )
    most_of = REQUIRED | OPTIONAL
    wanted = [path for path in most_of if path in sizes]
    for path in wanted:
        size = sizes[path]
        if size is None or size > most_of[path]:
            has = "an unknown number of" if size is None else f"{size:,}"
            raise UsageError(
                f"{address}: {path} has {has} bytes, and may have {most_of[path]:,}"
            )
    return wanted


def _download_file(
    api: "HfApi", address: Address, path: str, commit: str, new: Path
) -> None:
    """Downloads a file of a commit into a folder, if it is as small as was said."""

    def fetch() -> str:
        return api.hf_hub_download(
            address.repository, path, revision=commit, local_dir=new
        )

    size = Path(_answer(address, fetch)).stat().st_size
    most = (REQUIRED | OPTIONAL)[path]
    if size > most:
        raise UsageError(f"{address}: {path} has {size:,} bytes, and may have {most:,}")


def upload(run: Path, card: str, address: Address, private: bool = False) -> str:
    """Uploads a run as one commit; makes the repository where there is none.

    Args:
        run: its folder.
        card: becomes README.md.
        address: of the repository, and the branch.
        private: whether a new repository is for its owner alone.

    Returns:
        The commit.

    Raises:
        UsageError: the extra `hub` is missing, the Hub refuses or cannot be reached, or
            a file is larger than it may be.
    """
    api = _api("spikepropamine push")
    from huggingface_hub import CommitOperationAdd

    most_of = REQUIRED | OPTIONAL
    paths = [path for path in most_of if (run / path).is_file()]
    _checked(address, {path: (run / path).stat().st_size for path in paths})
    added = [
        CommitOperationAdd(path, run / path) for path in paths if path != "README.md"
    ]
    added.append(CommitOperationAdd("README.md", card.encode()))

    def commit() -> str:
        api.create_repo(address.repository, private=private, exist_ok=True)
        done = api.create_commit(
            address.repository,
            added,
            commit_message="Policy and its card",
            revision=address.revision,
        )
        return str(done.oid)

    return _answer(address, commit)


def _api(what: str) -> "HfApi":
    """The Hub's client. Raises UsageError: it is missing; `what` needs it."""
    require("huggingface_hub", "hub", what)
    from huggingface_hub import HfApi

    # as it is now, which the client reads but once
    endpoint = os.environ.get("HF_ENDPOINT")
    return HfApi(endpoint=endpoint, library_name="spikepropamine")


def _answer(address: Address, ask: Callable[[], Answer]) -> Answer:
    """What a call of the Hub's client gives. Raises UsageError: it failed."""
    try:
        return ask()
    # the client lets errors of its own, of two HTTP libraries and of the system through
    except Exception as error:
        raise UsageError(f"{address}: {_why(error)}") from error


def _why(error: Exception) -> str:
    """Why a call failed, in a few words."""
    from huggingface_hub import errors

    words = {
        errors.GatedRepoError: "one has to ask its owner for access",
        errors.RepositoryNotFoundError: "the Hub has no such repository, or it is "
        "private: `hf auth login` says who you are",
        errors.RevisionNotFoundError: "there is no such revision",
    }
    for kind, text in words.items():
        if isinstance(error, kind):
            return text
    return f"the Hub's client says: {reason(error)}"
