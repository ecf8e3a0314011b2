"""What results depend on: packages, the revision, files, and modules of the user's
own.
"""

import argparse
import hashlib
import importlib
import importlib.util
import os
import platform
import subprocess
import sys
from collections.abc import Iterable, Sequence
from glob import escape, glob
from importlib.metadata import version
from pathlib import Path
from typing import Any

from spikepropamine import IS_CHECKOUT
from spikepropamine.common import UsageError, shown
from spikepropamine.reading import read_bytes

HERE = Path(__file__).parent
PACKAGES = (
    "stable-baselines3",
    "sb3-contrib",
    "gymnasium",
    "mujoco",
    "torch",
    "numpy",
    "numba",
)
"""Those that results depend on. Only Numba may be missing."""
RESULTS = ("trained", "benchmarks/results")  # folders of the checkout that runs write


def versions() -> dict[str, str]:
    """Versions of Python, the packages that results depend on, the processor, and the
    revision.

    The revision is that of the checkout, or the version of the installed package. It is
    marked "dirty" where files differ from it, other than those that runs leave
    (RESULTS).
    """
    by_name = {"python": platform.python_version(), "processor": platform.machine()}
    for name in PACKAGES:
        there = name != "numba" or importlib.util.find_spec(name) is not None
        by_name[name] = version(name) if there else "none"
    if not IS_CHECKOUT:
        return by_name | {"revision": version("spikepropamine")}
    revision = git("describe", "--always").stdout.strip()
    kept = [f":(top,exclude){folder}" for folder in RESULTS]
    if revision and git("diff", "--quiet", "HEAD", "--", ":/", *kept).returncode:
        revision += "-dirty"
    return by_name | {"revision": revision or "unknown"}


def digest_of(files: Iterable[str | Path]) -> str:
    """Of the bytes of files, in their order."""
    total = hashlib.sha256()
    for file in files:
        total.update(read_bytes(file))
    return total.hexdigest()


def digests_of(texts: Iterable[str], root: Path = Path()) -> dict[str, str]:
    """Digests of files, and of the policies of runs, that texts name.

    Args:
        texts: paths, or any others.
        root: folder that paths are relative to.

    Returns:
        By text; those that name neither a file nor a run are left out.
    """
    digests = {}
    for text in texts:
        place = os.path.join(root, text)
        policy = os.path.join(escape(place), "policy", "*")
        files = [place] if os.path.isfile(place) else glob(policy)
        if files := [file for file in sorted(files) if os.path.isfile(file)]:
            digests[text] = digest_of(files)
    return digests


def git(*words: str) -> subprocess.CompletedProcess[str]:
    """Answer of git about the checkout; that of a failure where there is no git."""
    command = ["git", *words]
    answer: dict[str, Any] = {"capture_output": True, "text": True, "check": False}
    try:
        answered = subprocess.run(command, cwd=HERE, **answer)
        # of a git that was killed, which would read as another revision
        return (
            subprocess.run(command, cwd=HERE, **answer)
            if answered.returncode < 0
            else answered
        )
    except FileNotFoundError:
        return subprocess.CompletedProcess(words, 127, "", "git is not installed")


imported: list[
    str
] = []  # the user's own modules that this process has imported, in their order


def import_modules(names: Sequence[str]) -> None:
    """Imports modules of the user's own, installed or in the working directory, which
    register what they bring. Raises UsageError where there is none, or it does not
    work.
    """
    for name in names:
        if name in imported:
            continue
        if not all(part.isidentifier() for part in name.split(".")) or name.endswith(
            ".py"
        ):
            raise UsageError(
                f"--import takes a module, as in package.module, not {shown(name)}"
            )
        here = os.getcwd()
        if here not in sys.path:
            sys.path.append(here)
        try:
            importlib.import_module(name)
        except Exception as error:
            reason = f"{type(error).__name__}: {error}".splitlines()[0]
            if isinstance(error, ModuleNotFoundError) and f"{name}.".startswith(
                f"{error.name}."
            ):
                reason = f"neither installed nor in {here}"
            raise UsageError(f"module {name!r} cannot be imported: {reason}") from error
        imported.append(name)


def unless_imported() -> str:
    """A hint, for what the user's own modules may register, to import them; once any
    is, none.
    """
    return "" if imported else "; your own needs --import MODULE"


def add_import(parser: argparse.ArgumentParser) -> None:
    """The option --import of a command line; its `imports` are for `import_modules`."""
    parser.add_argument(
        "--import",
        dest="imports",
        nargs="+",
        default=[],
        metavar="MODULE",
        help="your own modules, which register environments, policies, rules or "
        "perturbations",
    )


def check_imported(names: Sequence[str], what: str) -> None:
    """Checks that the user has named modules: nothing is imported because a file says
    so.

    Args:
        names: of modules, which come from a file.
        what: needs them, for the message.

    Raises:
        ValueError: the user has not named all of them.
    """
    left = [name for name in names if name not in imported]
    if left:
        raise ValueError(
            f"{what} needs modules of its own: add --import {' '.join(left)}"
        )


def code_of(modules: Iterable[str]) -> dict[str, str]:
    """Digests of the user's own modules: of a package all that is in it, of a module
    its file.
    """
    digests = {}
    for name in modules:
        spec = importlib.util.find_spec(name.partition(".")[0])
        assert spec is not None
        places = spec.submodule_search_locations or []
        files = [file for place in places for file in sorted(Path(place).rglob("*.py"))]
        if not files and spec.has_location and spec.origin is not None:
            files = [Path(spec.origin)]
        digests[name] = digest_of(files)
    return digests
