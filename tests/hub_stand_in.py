"""A stand-in of the Hugging Face Hub on loopback: as much of its API as `push` and
`load` use. It keeps everything in memory.
"""

import base64
import hashlib
import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import unquote, urlsplit


class Hub:
    """Repositories as {name: {commit: {path: bytes}}}, the newest commit last."""

    def __init__(self):
        self.repositories = {}
        self.branches = {}
        self.downloads = []
        self.said_sizes = {}  # {path: size} that model_info states instead
        hub = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_GET(self):
                hub.answer_get(self)

            def do_HEAD(self):
                hub.answer_get(self)

            def do_POST(self):
                hub.answer_post(self)

            def log_message(self, *arguments):
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_port}"
        self.thread = threading.Thread(target=self.server.serve_forever, daemon=True)

    def __enter__(self):
        self.thread.start()
        return self

    def __exit__(self, *error):
        self.server.shutdown()
        self.server.server_close()

    def files(self, repository, commit=None):
        """The files of a commit, of the newest without one."""
        commits = self.repositories[repository]
        return commits[commit or list(commits)[-1]]

    def add(self, repository, files):
        """Adds a commit; returns its name."""
        commits = self.repositories.setdefault(repository, {})
        name = hashlib.sha1(repr((len(commits), sorted(files))).encode()).hexdigest()
        older = self.files(repository) if commits else {}
        commits[name] = older | files
        return name

    def answer_get(self, request):
        parts = unquote(urlsplit(request.path).path).strip("/").split("/")
        if parts[:2] == ["api", "models"]:
            repository = "/".join(parts[2:4])
            revision = "/".join(parts[5:]) or "main"
            commit = self._commit(request, repository, revision)
            if commit is not None:
                self._say(request, self._about(repository, commit))
            return
        repository, commit, path = "/".join(parts[:2]), parts[3], "/".join(parts[4:])
        content = self.files(repository, commit).get(path)
        if content is None:
            self._refuse(request, 404, "EntryNotFound")
            return
        headers = {
            "X-Repo-Commit": commit,
            "ETag": f'"{hashlib.sha1(content).hexdigest()}"',
        }
        if request.command == "GET":
            self.downloads.append(path)
        self._send(request, 200, content, headers)

    def answer_post(self, request):
        body = request.rfile.read(int(request.headers["Content-Length"]))
        path = unquote(urlsplit(request.path).path)
        if path == "/api/validate-yaml":
            self._say(request, {"errors": [], "warnings": []})
            return
        if path == "/api/repos/create":
            asked = json.loads(body)
            name = "/".join(filter(None, [asked.get("organization"), asked["name"]]))
            self.repositories.setdefault(name, {})
            self._say(request, {"url": f"{self.url}/{name}", "name": name})
            return
        owner, name, action = path.removeprefix("/api/models/").split("/")[:3]
        if action == "preupload":
            files = [
                {"path": file["path"], "uploadMode": "regular", "shouldIgnore": False}
                for file in json.loads(body)["files"]
            ]
            self._say(request, {"files": files})
            return
        lines = [json.loads(line) for line in body.splitlines()]
        added = {
            line["value"]["path"]: base64.b64decode(line["value"]["content"])
            for line in lines
            if line["key"] == "file"
        }
        commit = self.add(f"{owner}/{name}", added)
        address = f"{self.url}/{owner}/{name}/commit/{commit}"
        self._say(request, {"commitUrl": address, "commitOid": commit, "success": True})

    def _commit(self, request, repository, revision):
        """The commit of a revision; answers where there is none."""
        commits = self.repositories.get(repository)
        if commits is None:
            self._refuse(request, 404, "RepoNotFound")
            return None
        if revision == "main":
            return list(commits)[-1]
        if revision not in commits:
            self._refuse(request, 404, "RevisionNotFound")
            return None
        return revision

    def _about(self, repository, commit):
        files = self.files(repository, commit)
        siblings = [
            {"rfilename": path, "size": self.said_sizes.get(path, len(content))}
            for path, content in files.items()
        ]
        return {"id": repository, "sha": commit, "siblings": siblings}

    def _say(self, request, answer):
        content = json.dumps(answer).encode()
        self._send(request, 200, content, {"Content-Type": "application/json"})

    def _refuse(self, request, status, code):
        self._send(request, status, b"", {"X-Error-Code": code})

    def _send(self, request, status, content, headers):
        request.send_response(status)
        request.send_header("Content-Length", str(len(content)))
        for name, value in headers.items():
            request.send_header(name, value)
        request.end_headers()
        if request.command != "HEAD":
            request.wfile.write(content)
