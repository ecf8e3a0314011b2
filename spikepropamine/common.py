"""What every folder may use: errors for the person at the command line, names, whole files,
versions.
"""

import argparse
import difflib
import errno
import hashlib
import importlib
import importlib.util
import os
import platform
import signal
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from glob import escape, glob
from importlib.metadata import version
from pathlib import Path
from typing import Any, NoReturn

HERE = Path(__file__).parent
PACKAGES = ("stable-baselines3", "sb3-contrib", "gymnasium", "mujoco", "torch", "numpy", "numba")
"""Those that results depend on. Only Numba may be missing."""
RESULTS = ("trained", "benchmarks/results")
"""Folders of the checkout that runs write."""


class UsageError(Exception):
    """Bad input, explained in one line for the person at the command line."""


def run_command(
    program: str, action: Callable[[], int], interrupted: str | Callable[[], str]
) -> int:
    """The exit code of a command. What is not its own fault becomes one line on standard error, and
    SIGTERM, with which clusters stop what they run, is as Ctrl-C.

    Args:
        program: its name, as it was typed.
        action: does the work and returns the exit code.
        interrupted: what to say after Ctrl-C, or finds it then.
    """
    if threading.current_thread() is threading.main_thread():
        signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        return action()
    except UsageError as error:
        print(f"{program}: error: {one_line(error)}", file=sys.stderr)
        return 2
    except BrokenPipeError:  # the reader of our output, `head` for instance, has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except OSError as error:  # a folder that cannot be written to, a full disk
        where = f": {error.filename}" if error.filename else ""
        print(f"{program}: error: {one_line(error.strerror or error)}{where}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print(interrupted if isinstance(interrupted, str) else interrupted(), file=sys.stderr)
        return 130


def cores() -> int:
    """That this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


class Parser(argparse.ArgumentParser):
    """A parser that raises UsageError, one line, in the place of printing its usage."""

    def error(self, message: str) -> NoReturn:
        """As UsageError."""
        raise UsageError(message)

    def parse_args(self, args: Any = None, namespace: Any = None) -> Any:
        """As `argparse` does it, but that the nearest option is named where one is unknown."""
        namespace, left = self.parse_known_args(args, namespace)
        self.refuse(left)
        return namespace

    def refuse(self, left: Sequence[str]) -> None:
        """Raises UsageError where anything was left by `parse_known_args`."""
        known = [option for action in self._actions for option in action.option_strings]
        for argument in left:
            name = argument.partition("=")[0]
            if name.startswith("-"):
                hint = did_you_mean(name, known).strip()
                raise UsageError(f"unknown option {name}; {hint or 'see --help'}")
        if left:
            raise UsageError(f"unexpected {' '.join(left)}; options begin with --, see --help")


def one_line(message: object) -> str:
    """A message whose line breaks have become spaces."""
    return " ".join(str(message).split())


def reason(error: BaseException) -> str:
    """The first line of an error's message, without its full stop; its kind where it has none."""
    return (str(error).strip() or type(error).__name__).splitlines()[0].rstrip(".")


def shown(value: object) -> str:
    """A value in a message: not longer than a line can bear."""
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:56]} ..."


def did_you_mean(name: str, choices: Iterable[str]) -> str:
    """`did you mean 'NEAREST'? `, or nothing where none of the choices is near."""
    near = difflib.get_close_matches(str(name), list(choices), n=1, cutoff=0.5)
    return f"did you mean {near[0]!r}? " if near else ""


def unknown(what: str, name: str, choices: Iterable[str]) -> str:
    """A message about a name that is none of the choices, with the nearest of them."""
    choices = list(choices)
    hint = did_you_mean(name, choices)
    # a name with a comma in it would be taken for two
    listed = [repr(choice) if "," in choice else choice for choice in choices]
    return f"unknown {what} {shown(name)}; {hint}choose from {', '.join(listed)}"


imported: list[str] = []
"""The user's own modules that this process has imported, in their order."""


def import_modules(names: Sequence[str]) -> None:
    """Imports modules of the user's own, which register what they bring: environments with
    Gymnasium; policies, rules and perturbations with this project.

    They are looked for as any module, and then in the working directory.

    Raises:
        UsageError: there is no such module, or it does not work.
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
        except ModuleNotFoundError as error:
            if error.name and (name == error.name or name.startswith(f"{error.name}.")):
                raise UsageError(
                    f"there is no module {name!r}, neither installed nor in {here}"
                ) from error
            raise UsageError(f"module {name!r} cannot be imported: {error}") from error
        except Exception as error:
            reason = f"{type(error).__name__}: {error}".splitlines()[0]
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


def require(module: str, extra: str, what: str) -> None:
    """Raises UsageError, which names the extra, unless a module of an extra is there."""
    if importlib.util.find_spec(module) is None:
        raise UsageError(
            f"{what} needs the extra {extra!r}: pip install 'spikepropamine[{extra}]', "
            f"or '.[{extra}]' in a checkout"
        )


@contextmanager
def whole_file(path: Path) -> Iterator[Path]:
    """The path of an empty file beside `path`, to be written; when all went well it becomes `path`.

    Nobody ever finds half a file there, neither after a crash nor after a power cut. A link in the
    place of `path` is replaced, and what it points to is left alone. The folder is made if it is
    missing.
    """
    if path.is_dir():
        raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), str(path))
    path.parent.mkdir(parents=True, exist_ok=True)
    descriptor, name = tempfile.mkstemp(".part", f".{path.name}.", path.parent)
    part = Path(name)
    try:
        os.close(descriptor)
        part.chmod(0o666 & ~_umask())  # mkstemp's files are for nobody else to read
        yield part
        with part.open("rb+") as file:
            os.fsync(file.fileno())
        part.replace(path)
    finally:
        part.unlink(missing_ok=True)
    sync_folder(path.parent)


def write_text(path: Path, text: str) -> None:
    """Writes a whole file, as `whole_file` does, in UTF-8."""
    with whole_file(path) as part:
        part.write_text(text, encoding="utf-8")


def sync_folder(folder: Path) -> None:
    """Waits until the names in a folder are on the disk, where the system can tell."""
    if os.name == "nt":  # Windows opens no folders
        return
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _umask() -> int:
    mask = os.umask(0)  # the only way to read it
    os.umask(mask)
    return mask


def command_words() -> list[str]:
    """What `python` was started with, without the folders of this machine."""
    program, words = Path(sys.argv[0]), sys.argv[1:]
    if program.stem in ("__main__", "spikepropamine"):
        return ["-m", "spikepropamine", *words]
    return [program.name, *words]


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
        total.update(Path(file).read_bytes())
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


def code_of(modules: Iterable[str]) -> dict[str, str]:
    """Digests of the user's own modules, which are installed or loaded: of a package all that is
    in it, of any other module its file.
    """
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


def git(*words: str) -> subprocess.CompletedProcess[str]:
    """Answer of git about the checkout; that of a failure where there is no git."""
    try:
        return subprocess.run(
            ["git", *words], cwd=HERE, capture_output=True, text=True, check=False
        )
    except FileNotFoundError:
        return subprocess.CompletedProcess(words, 127, "", "git is not installed")
