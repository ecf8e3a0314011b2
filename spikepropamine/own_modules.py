"""The user's own modules: importing them, and what their code was."""

import argparse
import importlib
import importlib.util
import os
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path

from spikepropamine.common import UsageError, shown
from spikepropamine.versions import digest_of

imported: list[str] = []
"""The user's own modules that this process has imported, in their order."""


def import_modules(names: Sequence[str]) -> None:
    """Imports modules of the user's own, installed or in the working directory, which register what
    they bring. Raises UsageError where there is none, or it does not work.
    """
    for name in names:
        if name in imported:
            continue
        if not all(part.isidentifier() for part in name.split(".")) or name.endswith(".py"):
            raise UsageError(
                f"--import takes the name of a module, as in package.module, not {shown(name)}"
            )
        here = os.getcwd()
        if here not in sys.path:
            sys.path.append(here)
        try:
            importlib.import_module(name)
        except Exception as error:
            reason = f"{type(error).__name__}: {error}".splitlines()[0]
            if isinstance(error, ModuleNotFoundError) and f"{name}.".startswith(f"{error.name}."):
                reason = f"neither installed nor in {here}"
            raise UsageError(f"module {name!r} cannot be imported: {reason}") from error
        imported.append(name)


def unless_imported() -> str:
    """A hint, for what the user's own modules may register, to import them; once any is, none."""
    return "" if imported else "; your own needs --import MODULE"


def add_import(parser: argparse.ArgumentParser) -> None:
    """The option --import of a command line; its `imports` are for `import_modules`."""
    parser.add_argument(
        "--import",
        dest="imports",
        nargs="+",
        default=[],
        metavar="MODULE",
        help="your own modules, which register environments, policies, rules or perturbations",
    )


def check_imported(names: Sequence[str], what: str) -> None:
    """Raises ValueError unless the user has named these modules, which come from a file: nothing
    is imported because a file says so.
    """
    left = [name for name in names if name not in imported]
    if left:
        raise ValueError(f"{what} needs modules of its own: add --import {' '.join(left)}")


def code_of(modules: Iterable[str]) -> dict[str, str]:
    """Digests of the user's own modules: of a package all that is in it, of a module its file."""
    found = {}
    for name in modules:
        spec = importlib.util.find_spec(name.partition(".")[0])
        assert spec is not None
        places = spec.submodule_search_locations or []
        files = [file for place in places for file in sorted(Path(place).rglob("*.py"))]
        if not files and spec.has_location and spec.origin is not None:
            files = [Path(spec.origin)]
        found[name] = digest_of(files)
    return found
