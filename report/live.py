"""`spikepropamine dashboards --live FOLDER`: the page over the runs of a folder, served
on this machine alone, which follows the runs while they train.
"""

import hashlib
import os
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from spikepropamine.common import UsageError, message_of, one_line
from spikepropamine.folder import ASKED, RESULTS, RunFolder
from spikepropamine.report.dashboards import REPORT, SKIPPED, local_page
from spikepropamine.server import Contents, Server

LOOKED_AFTER = 2.0  # seconds between two looks at the files
SHARE = 0.2  # of the time, at most, in which pages are made
VERSION = "version"
"""What a browser asks for, to know whether there is a new page."""
_RUN = RunFolder(Path())
SHOWN_FILES = {_RUN.config.name, _RUN.progress.name, RESULTS, ASKED, REPORT}
SHOWN_KINDS = {".mp4"}
"""Of the files that a page shows, or links to."""


class LivePage:
    """The page over the runs of a folder, made anew when a file of them has changed.

    Args:
        root: the folder; there need be no run in it yet.
        port: of the server; 0 is any that is free.

    Attributes:
        server: gives the page, and the reports and videos that it links to.

    Raises:
        UsageError: there is no such folder, or the port cannot be had.
    """

    def __init__(self, root: Path, port: int) -> None:
        if not root.is_dir():
            raise UsageError(f"there is no folder {root}")
        self.root = root
        self.version = ""
        self.said: set[str] = set()
        """Lines on what is left out, each of which is said once."""
        self.ended = threading.Event()
        self.server = Server(self._contents(shown_files(root)), port)
        self.thread = threading.Thread(target=self._follow, daemon=True)

    def start(self) -> None:
        """Begins to follow the files, in a thread."""
        self.thread.start()

    def close(self) -> None:
        """Ends what `start` began, and the server."""
        self.ended.set()
        if self.thread.is_alive():
            self.thread.join()
        self.server.server_close()

    def look(self) -> bool:
        """Makes the page anew where a file has changed; returns whether one has."""
        files = shown_files(self.root)
        if version_of(files) == self.version:
            return False
        try:
            self.server.put(self._contents(files))
        except Exception as error:  # of any kind: the runs go on, and so does the page
            self._say(f"the page stays as it is: {one_line(message_of(error))}")
        return True

    def _follow(self) -> None:
        pause = LOOKED_AFTER
        while not self.ended.wait(pause):
            began = time.monotonic()
            self.look()
            taken = time.monotonic() - began
            pause = pause_after(taken)

    def _contents(self, files: dict[str, Path]) -> Contents:
        """All that is served: the page, its version, and what it links to."""
        self.version = version_of(files)
        linked = {
            place: file
            for place, file in files.items()
            if file.name == REPORT or file.suffix in SHOWN_KINDS
        }
        page = local_page(self.root, self.version, self._say)
        return {
            **linked,
            VERSION: self.version.encode(),
            "index.html": page.encode(),
        }

    def _say(self, line: str) -> None:
        """Prints a line that has not been printed yet."""
        if line not in self.said:
            self.said.add(line)
            print(line, file=sys.stderr)


def pause_after(taken: float) -> float:
    """Seconds until the next look at the files, of which pages may take `SHARE`.

    Args:
        taken: seconds that the last look took.
    """
    return max(LOOKED_AFTER, taken * (1 - SHARE) / SHARE)


def shown_files(root: Path) -> dict[str, Path]:
    """The files below a folder that its page shows or links to, by their place in it;
    links are left out.
    """
    files = {}
    for place, folders, names in os.walk(root):
        folders[:] = sorted(set(folders) - SKIPPED)
        for name in sorted(names):
            file = Path(place, name)
            is_shown = name in SHOWN_FILES or file.suffix in SHOWN_KINDS
            if is_shown and not file.is_symlink():
                files[file.relative_to(root).as_posix()] = file
    return files


def version_of(files: dict[str, Path]) -> str:
    """A text that is another one when a file is new, gone or changed."""
    digest = hashlib.sha256()
    for place, file in files.items():
        try:
            state = file.stat()
        except OSError:  # gone by now
            continue
        digest.update(f"{place} {state.st_mtime_ns} {state.st_size}\n".encode())
    return digest.hexdigest()[:16]


@contextmanager
def live_page(root: Path, port: int) -> Iterator[LivePage]:
    """A page that follows its files within a `with`."""
    page = LivePage(root, port)
    page.start()
    try:
        yield page
    finally:
        page.close()


def serve(root: Path, port: int) -> None:
    """Serves the page of a folder until the command is interrupted.

    Args:
        root: the folder.
        port: of the server; 0 is any that is free.

    Raises:
        UsageError: there is no such folder, or the port cannot be had.
    """
    with live_page(root, port) as page:
        print(f"{page.server.address} (Ctrl-C ends it)", flush=True)
        try:
            page.server.serve_forever()
        except KeyboardInterrupt:
            print()
