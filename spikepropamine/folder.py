"""The folder of a training run: nothing else in this project knows the names in it."""

import os
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from spikepropamine.common import UsageError

POLICY_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_+-]*")
"""Names of policies, which become parts of names of files."""

RESULTS, ASKED = "results.csv", "evaluation.json"
"""In the folder of an evaluation: the results table, and what was asked for."""


class _Inside:
    """A path in a run folder."""

    def __init__(self, name: str) -> None:
        self.name = name

    def __get__(self, folder: "RunFolder", owner: type | None = None) -> Path:
        return folder.path / self.name


@dataclass(frozen=True)
class RunFolder:
    """What a run leaves, in RUNS/ENV/POLICY/seed-N; the folder need not be there yet."""

    path: Path

    @classmethod
    def of(cls, runs: Path, env: str, policy: str, seed: int) -> "RunFolder":
        """That of a training."""
        return cls(runs / env / policy / f"seed-{seed}")

    @classmethod
    def below(cls, root: Path) -> Iterator["RunFolder"]:
        """Those in a folder, at any depth, that have a configuration."""
        for place, folders, files in os.walk(root):
            folder = cls(Path(place))
            if folder.config.name in files:
                yield folder
                if any(x.exists() for x in (folder.policy, folder.checkpoints, folder.progress)):
                    folders.clear()  # there are no runs in a run
            folders.sort()

    config = _Inside("config.yaml")
    """Every setting after defaults, the command, versions of packages, the revision."""
    progress = _Inside("progress.csv")
    """What SB3's logger wrote, one row for every few rollouts."""
    checkpoints = _Inside("checkpoints")
    """What training resumes from."""
    policy = _Inside("policy")
    """What others load: weights and normalisation as safetensors, the rest as JSON."""
    best = _Inside("policy-best")
    """The best policy of the evaluations while it trained, where those were asked for."""
    card = _Inside("README.md")
    """What people read first, made from an evaluation."""
    videos = _Inside("videos")
    """Of the policy while it trained."""
    exports = _Inside("exports")
    """Files for other places: ONNX, NIR."""
    wandb = _Inside("wandb")
    """The offline run, where tracking is on."""
    tensorboard = _Inside("tensorboard")
    """TensorBoard's event files, where they were asked for."""
    evaluations = _Inside("evaluations")
    """A folder for each suite, with the results table, report, figures and videos."""

    def check_links(self) -> None:
        """Raises UsageError where the folder, or what is in it, is a link: it may come from a
        stranger, and nothing outside of it is to be written because of that.
        """
        for path in (self.path, *(self.path.iterdir() if self.path.is_dir() else ())):
            if path.is_symlink():
                raise UsageError(f"{path} is a link, and nothing is written through it: remove it")


def refuse_link(path: Path, option: str) -> None:
    """Raises UsageError where a place for results, which an option names, is a link."""
    if path.is_symlink():
        raise UsageError(f"{path} is a link; say with {option} where results may be written")


def check_writable(folder: Path) -> None:
    """Raises UsageError where a folder cannot be made or written to."""
    place = folder
    while not os.path.lexists(place) and place != place.parent:
        place = place.parent
    if not place.is_dir():
        raise UsageError(f"{folder} cannot be a folder: {place} is none")
    if not os.access(place, os.W_OK | os.X_OK):
        raise UsageError(f"{folder} cannot be written to: {place} is read-only")
