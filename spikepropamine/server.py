"""Files for a browser on this machine alone, for as long as a command runs.

What may be had is listed beforehand: no path of a request ever reaches the file system.
"""

import re
from collections.abc import Mapping
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import unquote, urlsplit

from spikepropamine.common import UsageError, reason
from spikepropamine.reading import read_bytes

HOST = "127.0.0.1"
HOSTS = (HOST, "localhost")
TYPES = {
    ".html": "text/html; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".css": "text/css; charset=utf-8",
    ".json": "application/json",
    ".xml": "application/xml",
}
POLICY = re.compile(r'http-equiv="Content-Security-Policy"\s+content="([^"]*)"')
CONNECT = "connect-src 'self'"

Contents = Mapping[str, Path | bytes]
"""By path, without the slash at the beginning: a file, or what is in it."""


def unavailable(port: int, error: OSError | OverflowError) -> UsageError:
    """The error of a port that a server cannot have.

    Args:
        port: the server's.
        error: what the system says of it.
    """
    return UsageError(
        f"port {port} cannot be had: {reason(error)}; --port 0 takes one that is free"
    )


class Server(ThreadingHTTPServer):
    """Serves contents on the loopback interface. Raises UsageError: the port cannot be
    had.

    Args:
        contents: as of `put`.
        port: 0 is any that is free.
        socket_port: of a web socket on this machine, which the page may open; None:
            there is none.

    Attributes:
        address: of the page, as a browser takes it.
    """

    daemon_threads = True

    def __init__(
        self, contents: Contents, port: int, socket_port: int | None = None
    ) -> None:
        self.socket_port = socket_port
        self.put(contents)
        try:
            super().__init__((HOST, port), _Handler)
        except (OSError, OverflowError) as error:
            raise unavailable(port, error) from error
        self.address = f"http://{HOST}:{self.server_address[1]}/"

    def put(self, contents: Contents) -> None:
        """Takes contents in the place of those before.

        Args:
            contents: all that there is; `index.html` is also what there is without a
                path.

        Raises:
            UsageError: `index.html` has no Content-Security-Policy.
        """
        index = _read(contents["index.html"]).decode()
        match = POLICY.search(index)
        if match is None:
            raise UsageError("the page has no Content-Security-Policy; build it anew")
        policy = wider = match[1]
        if self.socket_port is not None:
            socket = f"ws://{HOST}:{self.socket_port}"
            wider = policy.replace(CONNECT, f"{CONNECT} {socket}")
        whole = index.replace(policy, wider).encode()
        self.policy = f"{wider}; frame-ancestors 'none'"
        self.contents = dict(contents) | {"index.html": whole, "": whole}


class _Handler(BaseHTTPRequestHandler):
    server: Server
    protocol_version = "HTTP/1.1"
    timeout = 30

    def do_GET(self) -> None:
        """A file."""
        self._answer(whole=True)

    def do_HEAD(self) -> None:
        """What would come."""
        self._answer(whole=False)

    def _answer(self, whole: bool) -> None:
        path = unquote(urlsplit(self.path).path).removeprefix("/")
        # another site may have its own name point here
        host = self.headers.get("Host", "").partition(":")[0]
        content = self.server.contents.get(path) if host in HOSTS else None
        if content is None:
            status = HTTPStatus.NOT_FOUND if host in HOSTS else HTTPStatus.FORBIDDEN
            self._head(status, "text/plain", 0)
            return
        body = _read(content)
        kind = TYPES.get(Path(path or "index.html").suffix, "application/octet-stream")
        self._head(HTTPStatus.OK, kind, len(body))
        if whole:
            self.wfile.write(body)

    def _head(self, status: HTTPStatus, kind: str, length: int) -> None:
        self.send_response(status)
        headers = {
            "Content-Type": kind,
            "Content-Length": str(length),
            "Content-Security-Policy": self.server.policy,
            "Cross-Origin-Resource-Policy": "same-origin",
            "Referrer-Policy": "no-referrer",
            "X-Content-Type-Options": "nosniff",
            "Cache-Control": "no-cache",
        }
        for name, value in headers.items():
            self.send_header(name, value)
        self.end_headers()

    def log_message(self, *_: object) -> None:
        """Says nothing."""


def files_below(folder: Path) -> dict[str, Path | bytes]:
    """The files of a folder, by their path in it; links are left out."""
    return {
        file.relative_to(folder).as_posix(): file
        for file in sorted(folder.rglob("*"))
        if file.is_file() and not file.is_symlink()
    }


def _read(content: Path | bytes) -> bytes:
    return content if isinstance(content, bytes) else read_bytes(content)
