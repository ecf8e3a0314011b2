"""Folders of training runs, and by name those in trained/: nothing else knows what is
in them.
"""

import contextlib
import csv
import errno
import hashlib
import math
import os
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from spikepropamine import IS_CHECKOUT
from spikepropamine.common import UsageError, did_you_mean, shown
from spikepropamine.hub import download, downloads, is_address
from spikepropamine.reading import Missing, read_text

POLICY_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_+-]*")
"""Names of policies, which become parts of names of files."""

RESULTS = "results.csv"
ASKED = "evaluation.json"
"""In the folder of an evaluation: the results table, and what was asked for."""


def plain_name(text: str) -> str:
    """A text as a file's name or a part of one, which has a digest for what is too
    long.
    """
    name = re.sub(r"[^\w=.,@~+-]+", "_", text, flags=re.ASCII)
    return (
        name
        if len(name) <= 100
        else name[:100] + hashlib.sha256(name.encode()).hexdigest()[:8]
    )


def _inside(name: str) -> Any:
    """A path in a run folder, as an attribute of it."""
    return property(lambda folder: folder.path / name)


@dataclass(frozen=True)
class RunFolder:
    """What a run leaves, in RUNS/ENV/POLICY/seed-N; the folder need not be there
    yet.
    """

    path: Path

    @classmethod
    def of(cls, runs: Path, env: str, policy: str, seed: int) -> "RunFolder":
        """The folder of a run.

        Args:
            runs: folder of all runs.
            env: Gymnasium id.
            policy: its name.
            seed: of the run.
        """
        return cls(runs / env / policy / f"seed-{seed}")

    @classmethod
    def below(cls, root: Path) -> Iterator["RunFolder"]:
        """Those in a folder, at any depth, that have a configuration."""
        for place, folders, files in os.walk(root):
            folders[:] = [name for name in folders if not is_hidden(name)]
            folder = cls(Path(place))
            if folder.config.name in files:
                yield folder
                if any(
                    x.exists()
                    for x in (folder.policy, folder.checkpoints, folder.progress)
                ):
                    folders.clear()  # there are no runs in a run
            folders.sort()

    # every setting after defaults, the command, versions of packages, the revision
    config = _inside("config.yaml")
    progress = _inside(
        "progress.csv"
    )  # what SB3's logger wrote, one row for every few rollouts
    checkpoints = _inside("checkpoints")  # what training resumes from
    # what others load: weights and normalisation as safetensors, the rest as JSON
    policy = _inside("policy")
    # a run folder of the best policy of the evaluations while it trained
    best = _inside("best")
    card = _inside("README.md")  # what people read first, made from an evaluation
    videos = _inside("videos")  # of the policy while it trained
    exports = _inside("exports")  # files for other places: ONNX, NIR
    wandb = _inside("wandb")  # the offline run, where tracking is on
    tensorboard = _inside(
        "tensorboard"
    )  # TensorBoard's event files, where they were asked for
    # a folder for each suite, with the results table, report, figures and videos
    evaluations = _inside("evaluations")

    def check_links(self) -> None:
        """Raises UsageError where the folder, or what is in it, is a link: it may come
        from a stranger, and nothing outside of it is to be written because of that.
        """
        paths = [self.path]
        if self.path.is_dir():
            paths += self.path.iterdir()
        for path in paths:
            if path.is_symlink():
                raise UsageError(
                    f"{path} is a link, and nothing is written through it: remove it"
                )


def refuse_link(path: Path, option: str) -> None:
    """Checks that a place for results is no link.

    Args:
        path: of the place.
        option: which names another one.

    Raises:
        UsageError: it is a link.
    """
    if path.is_symlink():
        raise UsageError(
            f"{path} is a link; say with {option} where results may be written"
        )


def check_writable(folder: Path, option: str) -> None:
    """Checks that a folder is there or can be made, and can be written.

    Args:
        folder: for results.
        option: which names another one.

    Raises:
        UsageError: it is none, is read-only, or has a name that is too long.
    """
    try:
        os.lstat(folder)
    except OSError as error:
        if error.errno == errno.ENAMETOOLONG:
            raise UsageError(
                f"{str(folder)[:40]}... is too long a name for a folder; give another "
                f"by {option}"
            ) from error
    place = folder
    while not os.path.lexists(place) and place != place.parent:
        place = place.parent
    if not place.is_dir():
        raise UsageError(
            f"{folder} cannot be a folder: {place} is none; give another by {option}"
        )
    if not os.access(place, os.W_OK | os.X_OK):
        raise UsageError(
            f"{folder}: {place} is read-only; give another place by {option}"
        )


HERE = Path(__file__).parent
TRAINED = (HERE.parent if IS_CHECKOUT else HERE) / "trained"
"""The trained policies of the checkout, or those few that the installed package brings.
"""
DESCRIPTION = "policy.json"  # in the folder of a policy


def trained_runs() -> list[Path]:
    """Run folders in trained/."""
    return sorted(
        file.parents[1]
        for file in TRAINED.rglob(DESCRIPTION)
        if not any(map(is_hidden, file.relative_to(TRAINED).parts))
    )


def is_hidden(name: str) -> bool:
    """Whether it is the name of a file or folder that is none yet, or nobody's."""
    return name.startswith(".")


RUNS = Path("runs")
"""Where runs go if nothing else is said, and what is made out of others' policies."""


def results_folder(folder: Path) -> RunFolder:
    """Where evaluations, exports and films of a run go.

    Args:
        folder: of the run, or one that several have in common.

    Returns:
        That folder; or where the policies came with the installed package or from the
        Hub, one of the same name in `runs/`.
    """
    places = [downloads()]
    if not IS_CHECKOUT:
        places.append(TRAINED)
    whole = folder.resolve()
    for place in places:
        if whole.is_relative_to(place.resolve()):
            return RunFolder(RUNS / whole.relative_to(place.resolve()))
    return RunFolder(folder)


def name_of(folder: Path) -> str:
    """By which `find` finds it: without what all in trained/ have in common."""
    whole = folder.resolve()
    return (
        whole.relative_to(TRAINED) if whole.is_relative_to(TRAINED) else folder
    ).as_posix()


def find(name: str | Path) -> Path:
    """The run folder of a path or a name.

    Args:
        name: a run folder, the folder of its policy, parts of the path of a run in
            trained/, or `hf:OWNER/NAME[@REVISION]`, on the Hugging Face Hub.

    Raises:
        UsageError: there is none, or there are several; the message has the nearest
            ones.
    """
    if is_address(name):
        return download(str(name))
    if _exists(Path(name)):
        return _run_folder(Path(name))
    wanted = f"/{str(name).strip('/')}/"
    fit = [folder for folder in trained_runs() if wanted in f"/{name_of(folder)}/"]
    if len(fit) == 1:
        return fit[0]
    if fit:
        policies = [name_of(folder.parent) for folder in fit]
        some = ", ".join(policies[:3])
        if len(policies) > 3:
            some += ", ..."
        raise UsageError(
            f"{str(name)!r} is the name of {len(policies)} policies: {some}"
        )
    known = [name_of(folder.parent) for folder in trained_runs()]
    known += [name.partition("/")[2] for name in known]  # which are enough
    nearest = did_you_mean(str(name), sorted(set(known)))
    raise UsageError(
        f"{shown(str(name))} is neither a run folder nor in trained/; {nearest}"
        "`spikepropamine list trained` lists them"
    )


def policy_folder(name: str | Path) -> Path:
    """The policy of what `find` finds; or the policy in this folder, which need be of
    no run.
    """
    if _exists(Path(name) / DESCRIPTION):
        return Path(name)
    return RunFolder(find(name)).policy


def _exists(path: Path) -> bool:
    try:
        return path.exists()
    except (OSError, ValueError):  # no file can have such a name
        return False


def _run_folder(path: Path) -> Path:
    """The run folder of a path. Raises UsageError where it is near one, and none."""
    if (path / DESCRIPTION).is_file():
        if path != RunFolder(path.parent).policy:
            raise UsageError(
                f"{path} is a policy without its run, whose folder has to be given"
            )
        return path.parent
    if not RunFolder(path).policy.is_dir():
        below = min(path.rglob(f"policy/{DESCRIPTION}"), default=None)
        if below is not None:
            raise UsageError(
                f"{path} is no run folder; below it is {below.parent.parent}"
            )
    return path


STEPS = "time/total_timesteps"
RETURN = "rollout/ep_rew_mean"


def read_progress(path: Path) -> tuple[list[str], list[dict[str, str]]]:
    """Columns and rows of a progress.csv; without rows that were torn when a process
    died, and with none where there is no file.
    """
    try:
        text = read_text(path, inside=path.parent, errors="replace").replace("\0", "")
    except Missing:
        return [], []
    lines: list[list[str]] = []
    for line in text[: text.rfind("\n") + 1].splitlines():
        with contextlib.suppress(csv.Error):
            lines += csv.reader([line])
    keys = lines[0] if lines else []
    rows = [dict(zip(keys, line)) for line in lines[1:] if len(line) == len(keys)]
    return keys, [row for row in rows if math.isfinite(value_of(row.get(STEPS)))]


def value_of(text: str | None) -> float:
    """What a cell says; NaN where that is nothing."""
    try:
        return float(text or "")
    except ValueError:
        return math.nan


LARGEST_READ = 1e100
"""The squares of larger numbers overflow in means and intervals."""


def read_curve(path: Path, name: str) -> tuple[np.ndarray, np.ndarray]:
    """A column of `progress.csv`, where it has values that can be averaged.

    Args:
        path: of the file.
        name: of the column.

    Returns:
        Steps and values, float64 [rows] each; empty where there are none.
    """
    rows = read_progress(path)[1]
    points = np.array(
        [[value_of(row.get(key)) for key in (STEPS, name)] for row in rows]
    )
    steps, values = points.reshape(-1, 2).T
    known = np.isfinite(steps) & (np.abs(values) <= LARGEST_READ)
    return steps[known], values[known]


def seconds_of(path: Path) -> float | None:
    """Of a training, over all its sessions; None where no row tells its speed."""
    steps, speed = read_curve(
        path, "system/steps_per_second"
    )  # of those since the row before
    taken = np.diff(steps, prepend=0)
    some = (taken > 0) & (speed > 0)  # a row without a step has no speed
    return round(float(np.sum(taken[some] / speed[some]))) if some.any() else None
