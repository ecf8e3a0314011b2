"""What every folder may use: errors for the person at the command line, names, whole
files.
"""

import argparse
import difflib
import importlib
import importlib.util
import io
import multiprocessing
import os
import shutil
import signal
import stat
import sys
import tempfile
import textwrap
import threading
import traceback
from collections.abc import Callable, Collection, Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from types import FrameType
from typing import Any, NoReturn, TextIO

CLEAN_KEY = "clean"  # of the condition in which nothing is changed
UNSEEN_SEED = 1_000_000  # of the first episode that no training has
ENDS_WITH_PARENT = "SPIKEPROPAMINE_ENDS_WITH_PARENT"
"""Environment variable of a command that is not to outlive what has started it."""
LONGEST = 2000  # characters of a message
IMPORTING = "<frozen importlib._bootstrap>"  # the file of what imports modules
RETRY = 0.05  # seconds until a signal comes again that came in the middle of an import


class UsageError(Exception):
    """Bad input, explained in one line for the person at the command line; `code` is
    that of the command's end.
    """

    code = 2


@contextmanager
def bad_input(where: str = "", *kinds: type[Exception]) -> Iterator[None]:
    """Makes a ValueError, or an error of other kinds, of what is done in a `with` a
    UsageError, whose message begins with `where`.
    """
    caught: tuple[type[Exception], ...] = (ValueError, *kinds)
    try:
        yield
    except caught as error:
        raise UsageError(f"{where}: {error}".removeprefix(": ")) from error


def run_command(
    program: str, action: Callable[[], int | None], interrupted: str | Callable[[], str]
) -> int:
    """Runs a command; the exit code.

    What is not the command's fault becomes one line on standard error, with `--verbose`
    after all of the traceback. SIGTERM and SIGHUP are as Ctrl-C.

    Args:
        program: the name under which the command was typed.
        action: the command, which may return an exit code.
        interrupted: what is said after Ctrl-C.
    """
    for number, name in enumerate(("stdin", "stdout", "stderr")):
        if getattr(sys, name) is None:  # it was closed when the command began
            mode = "r" if number == 0 else "w"
            setattr(sys, name, open(os.devnull, mode))  # noqa: SIM115
        if isinstance(stream := getattr(sys, name), io.TextIOWrapper) and number:
            stream.reconfigure(
                errors="backslashreplace"
            )  # of an encoding that lacks a letter
    try:
        _end_by_signals()
        code = action() or 0
        sys.stdout.flush()
        return code
    except UsageError as error:
        if Parser.verbose:
            _say(traceback.format_exc().rstrip())
        said = one_line(error)
        _say(
            f"{program}: error: "
            f"{said if len(said) < LONGEST else f'{said[:LONGEST]} ...'}"
        )
        return error.code
    except (
        BrokenPipeError
    ):  # the reader of our output, `head` for instance, has seen enough
        return 1
    except OSError as error:  # a folder that cannot be written to, a full disk
        where = error.filename
        why = error.strerror or error
        if isinstance(error, shutil.Error):  # of several files
            *_, where, why = error.args[0][-1]
        _say(f"{program}: error: {one_line(why)}" + (f": {where}" if where else ""))
        return 1
    except (KeyboardInterrupt, Exception) as error:
        # code in other languages may turn Ctrl-C into an error of its own
        is_interrupt = isinstance(error, KeyboardInterrupt)
        if not is_interrupt and KeyboardInterrupt.__name__ not in str(error):
            raise
        _say(interrupted if isinstance(interrupted, str) else interrupted())
        return 130
    finally:
        for stream in (sys.stdout, sys.stderr):
            try:
                stream.flush()
            except (
                OSError,
                ValueError,
            ):  # nobody reads it, and Python would complain at its end
                with suppress(OSError, ValueError):
                    os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())


def _say(line: str) -> None:
    with suppress(OSError, ValueError):
        print(line, file=sys.stderr)


def _end_by_signals() -> None:
    if threading.current_thread() is not threading.main_thread():
        return
    signal.signal(signal.SIGTERM, _interrupt)
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
        signal.signal(signal.SIGINT, _interrupt)
    hangup = getattr(signal, "SIGHUP", None)
    if (
        hangup is not None and signal.getsignal(hangup) is not signal.SIG_IGN
    ):  # as by nohup
        signal.signal(hangup, _interrupt)
    if os.environ.pop(ENDS_WITH_PARENT, None):
        threading.Thread(target=_end_with_parent, daemon=True).start()


def _interrupt(number: int, frame: FrameType | None) -> None:
    """Raises KeyboardInterrupt, at once or when the present import is over: a package
    that is imported by half complains when Python ends.
    """
    while frame is not None:
        if frame.f_code.co_filename == IMPORTING:
            again = threading.Timer(RETRY, _signal_main, [number])
            again.daemon = True
            again.start()
            return
        frame = frame.f_back
    raise KeyboardInterrupt


def _signal_main(number: int) -> None:
    """Sends a signal to the main thread, which may be waiting for something."""
    if sys.platform == "win32":
        signal.raise_signal(number)
    else:
        main = threading.main_thread().ident
        assert main is not None  # it has begun
        signal.pthread_kill(main, number)


def _end_with_parent() -> None:
    """Ends this process as by SIGTERM, once what had it started has closed its standard
    input.
    """
    with suppress(OSError):
        os.read(0, 1)
    _signal_main(signal.SIGTERM)


def become_worker() -> None:
    """Has a process that `multiprocessing` started end with the one that started it,
    which alone hears of Ctrl-C.
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)

    def end() -> None:
        if parent := multiprocessing.parent_process():
            parent.join()
            os._exit(1)

    threading.Thread(target=end, daemon=True).start()


def cores() -> int:
    """That this process may use."""
    return (
        len(os.sched_getaffinity(0))
        if hasattr(os, "sched_getaffinity")
        else os.cpu_count() or 1
    )


OF_SB3 = {"--total-timesteps": "--steps", "--n-timesteps": "--steps"}


class Parser(argparse.ArgumentParser):
    """A parser that raises UsageError, one line, in the place of printing its usage.
    All take `--verbose`, which is for `run_command`.
    """

    verbose = False

    def parse_known_args(self, args: Any = None, namespace: Any = None) -> Any:
        """Takes `--verbose` out."""
        args = sys.argv[1:] if args is None else list(args)
        Parser.verbose |= "--verbose" in args
        return super().parse_known_args(
            [x for x in args if x != "--verbose"], namespace
        )

    def error(self, message: str) -> NoReturn:
        """As UsageError."""
        if message.endswith(
            "expected one argument"
        ):  # argparse takes -1e-3 for an option
            message += "; one that begins with - follows an =, without a space"
        raise UsageError(message)

    def parse_args(self, args: Any = None, namespace: Any = None) -> Any:
        """As `argparse` does it, but that the nearest option is named where one is
        unknown.
        """
        namespace, left = self.parse_known_args(args, namespace)
        known = [option for action in self._actions for option in action.option_strings]
        for argument in left:
            name = argument.partition("=")[0]
            if name.startswith("-"):
                hint = did_you_mean(OF_SB3.get(name, name), known).strip()
                raise UsageError(f"unknown option {name}; {hint or 'see --help'}")
        if left:
            raise UsageError(
                f"unexpected {' '.join(left)}; options begin with --, see --help"
            )
        return namespace


def message_of(error: BaseException) -> str:
    """The message of an error; empty where it has none, or fails to say it."""
    try:
        return str(error).strip()
    except Exception:  # of any kind: it is someone else's code
        return ""


def one_line(message: object) -> str:
    """A message whose line breaks have become spaces."""
    return " ".join(str(message).split())


def reason(error: BaseException) -> str:
    """The first line of an error's message, without its full stop; its kind where it
    has none.
    """
    message = message_of(error) or type(error).__name__
    return message.splitlines()[0].rstrip(".")


def shown(value: object) -> str:
    """A value in a message: not longer than a line can bear."""
    try:
        text = repr(value)
    except Exception:  # of any kind: it is someone else's code
        text = f"a {type(value).__name__}"
    return text if len(text) <= 60 else f"{text[:56]} ..."


def did_you_mean(name: object, choices: Iterable[str]) -> str:
    """The nearest name: `did you mean 'NEAREST'? `.

    Args:
        name: what was given.
        choices: names that exist.

    Returns:
        Empty where none of the choices is near.
    """
    near = difflib.get_close_matches(str(name), list(choices), n=1, cutoff=0.5)
    return f"did you mean {near[0]!r}? " if near else ""


def unknown(what: str, name: object, choices: Iterable[object]) -> str:
    """A message about a name that is none of the choices, with the nearest of them.

    Args:
        what: kind of thing, such as "policy".
        name: what was given.
        choices: names that exist.
    """
    names = [str(choice) for choice in choices]
    hint = did_you_mean(name, names)
    # a name with a comma in it would be taken for two
    listed = [repr(one) if "," in one else one for one in names]
    some = textwrap.shorten(", ".join(listed), 240, placeholder=" ...")
    return f"unknown {what} {shown(name)}; {hint}choose from {some}"


def check_known(
    what: str,
    name: object,
    choices: Collection[Any],
    where: str = "",
    error: type[Exception] = UsageError,
) -> None:
    """Checks that a name is one of the choices.

    Args:
        what: kind of thing, such as "policy".
        name: what was given.
        choices: names that exist.
        where: the message begins with it.
        error: class of what is raised.

    Raises:
        UsageError: it is none of them; another class where `error` says so.
    """
    if name not in choices:
        raise error(where + unknown(what, name, choices))


def require(module: str, extra: str, what: str) -> None:
    """Checks that a module of an extra is installed.

    Args:
        module: to be imported later.
        extra: of this package, which brings the module.
        what: needs it, such as the name of a command.

    Raises:
        UsageError: the module is missing; the message names the extra.
    """
    if importlib.util.find_spec(module) is None:
        raise UsageError(
            f"{what} needs {module}: pip install 'spikepropamine[{extra}]', or "
            f"'.[{extra}]' in a checkout"
        )


@contextmanager
def whole_file(path: Path) -> Iterator[Path]:
    """The path of an empty file beside `path`, to be written; when all went well it
    becomes `path`.

    Nobody ever finds half a file there, neither after a crash nor after a power cut.
    The folder is made if it is missing. Raises UsageError: what is there is no regular
    file: a link, a folder, a device.
    """
    check_replaceable(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    descriptor, name = tempfile.mkstemp(".part", f".{path.name}.", path.parent)
    part = Path(name)
    try:
        os.close(descriptor)
        os.umask(mask := os.umask(0))  # the only way to read it
        part.chmod(0o666 & ~mask)  # mkstemp's files are for nobody else to read
        yield part
        with part.open("rb+") as file:
            os.fsync(file.fileno())
        part.replace(path)
    finally:
        part.unlink(missing_ok=True)
    sync_folder(path.parent)


@contextmanager
def whole_folder(path: Path) -> Iterator[Path]:
    """The path of an empty folder beside `path`, to be filled; when all went well it
    takes the place of whatever `path` is: not of what a link there leads to.

    Nobody takes for a run what a power cut leaves: its name begins with a dot.
    """
    new = path.with_name(f".{path.name}.new")
    old = path.with_name(f".{path.name}.old")
    _remove(new)
    new.mkdir(parents=True)
    try:
        yield new
    except BaseException:
        _remove(new)
        raise
    _remove(old)
    if path.exists() and not path.is_symlink():
        path.rename(old)
    _remove(path)
    new.rename(path)
    sync_folder(path.parent)
    _remove(old)


def _remove(path: Path) -> None:
    """Removes a file, a link (and not what it points to) or a folder, if there is
    one.
    """
    if path.is_symlink() or path.is_file():
        path.unlink()
    elif path.is_dir():
        shutil.rmtree(path)


def check_replaceable(path: Path) -> None:
    """Raises UsageError where a file cannot be written since something else than one is
    there.
    """
    if os.path.lexists(path) and not stat.S_ISREG(path.lstat().st_mode):
        raise UsageError(
            f"{path} is there, and no regular file: nothing is written over it"
        )


def appended(path: Path) -> TextIO:
    """A file of text, new or to be written on at its end; raises UsageError as
    `whole_file`.
    """
    check_replaceable(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    return path.open("a", newline="", encoding="utf-8")


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


def command_words() -> list[str]:
    """What `python` was started with, without the folders of this machine."""
    program = Path(sys.argv[0])
    words = sys.argv[1:]
    if program.stem in ("__main__", "spikepropamine"):
        return ["-m", "spikepropamine", *words]
    return [program.name, *words]


class _Lines:
    """Writes each state of a bar as a line of its own.

    tqdm goes back to the start of its line with a carriage return, and clears it with
    spaces; in a file, what others write would end up in the same line.
    """

    def __init__(self, stream: TextIO) -> None:
        self.stream = stream
        self.flush = stream.flush

    def write(self, text: str) -> None:
        if line := text.strip():
            self.stream.write(f"{line}\n")


def progress_bar(total: int, unit: str, **options: Any) -> Any:
    """A bar on standard error, with the rate and the time left.

    Args:
        total: where it ends.
        unit: of what is counted, in the plural.
        **options: others of `tqdm`.
    """
    from tqdm import tqdm

    terminal = sys.stderr.isatty()
    return tqdm(
        total=total,
        unit=f" {unit}",
        file=sys.stderr if terminal else _Lines(sys.stderr),
        mininterval=0.5 if terminal else 30,
        dynamic_ncols=True,
        **options,
    )
