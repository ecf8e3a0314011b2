"""A stand-in for the Hugging Face Hub on loopback: as much of it as push and pull use."""

import base64
import hashlib
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import unquote, urlsplit

REPOSITORIES: dict[str, dict[str, bytes]] = {}  # by name and path
COMMIT = "0" * 40


class Service(BaseHTTPRequestHandler):
    """One request."""

    protocol_version = "HTTP/1.1"

    def log_message(self, *_: Any) -> None:
        pass

    def reply(self, content: Any, status: int = 200, **headers: str) -> None:
        data = content if isinstance(content, bytes) else json.dumps(content).encode()
        self.send_response(status)
        for name, value in {"Content-Length": str(len(data)), **headers}.items():
            self.send_header(name.replace("_", "-"), value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(data)

    def body(self) -> bytes:
        if self.headers.get("Transfer-Encoding") == "chunked":
            parts = []
            while size := int(self.rfile.readline(), 16):
                parts.append(self.rfile.read(size))
                self.rfile.readline()
            self.rfile.readline()
            return b"".join(parts)
        return self.rfile.read(int(self.headers.get("Content-Length", 0)))

    def do_POST(self) -> None:
        path, body = unquote(urlsplit(self.path).path), self.body()
        name = "/".join(path.split("/")[3:5])
        if path == "/api/repos/create":
            asked = json.loads(body)
            name = f"{asked['organization']}/{asked['name']}" if asked.get("organization") else (
                asked["name"])  # fmt: skip
            REPOSITORIES.setdefault(name, {})
            self.reply({"url": f"http://{self.headers['Host']}/{name}", "id": "1"})
        elif path == "/api/validate-yaml":
            self.reply({"errors": [], "warnings": []})
        elif "/preupload/" in path:
            files = json.loads(body)["files"]
            kinds = [{"path": f["path"], "uploadMode": "regular"} for f in files]
            self.reply({"files": [kind | {"shouldIgnore": False, "oid": None} for kind in kinds]})
        elif "/commit/" in path:
            for line in body.splitlines():
                part = json.loads(line)
                value = part["value"]
                if part["key"] == "file":
                    REPOSITORIES[name][value["path"]] = base64.b64decode(value["content"])
                elif part["key"] == "deletedFile":
                    REPOSITORIES[name].pop(value["path"])
            url = f"http://{self.headers['Host']}/{name}/commit/{COMMIT}"
            self.reply({"success": True, "commitOid": COMMIT, "commitUrl": url})
        else:
            self.reply({"error": path}, 404)

    def do_GET(self) -> None:
        path = unquote(urlsplit(self.path).path)
        parts = path.strip("/").split("/")
        if parts[:2] == ["api", "models"]:
            files = REPOSITORIES.get("/".join(parts[2:4]))
            if files is None:
                self.reply({"error": "no such repository"}, 404, X_Error_Code="RepoNotFound")
            elif parts[4:5] == ["tree"]:
                rows = [
                    {"type": "file", "path": k, "size": len(v), "oid": hashlib.sha1(v).hexdigest()}
                    for k, v in files.items()
                ]
                self.reply(rows)
            else:
                siblings = [{"rfilename": k} for k in files]
                self.reply({"id": "/".join(parts[2:4]), "sha": COMMIT, "siblings": siblings})
        elif "resolve" in parts:
            files = REPOSITORIES.get("/".join(parts[:2]), {})
            content = files.get("/".join(parts[4:]))
            if content is None:
                self.reply({"error": "no such file"}, 404, X_Error_Code="EntryNotFound")
            else:
                etag = f'"{hashlib.sha1(content).hexdigest()}"'
                self.reply(content, ETag=etag, X_Repo_Commit=COMMIT)
        else:
            self.reply({"error": path}, 404)

    do_HEAD = do_GET


@contextmanager
def hub() -> Iterator[str]:
    """The address of a service that runs inside the block."""
    REPOSITORIES.clear()
    server = ThreadingHTTPServer(("127.0.0.1", 0), Service)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
