"""A stand-in for the Hugging Face hub: as much of its HTTP protocol as sending and fetching a model takes."""

import base64
import json
import re
from collections.abc import Iterator
from contextlib import contextmanager
from hashlib import sha1
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from typing import Any

COMMIT = "0123456789abcdef0123456789abcdef01234567"
TOKEN = "hf_of_a_test"


class LocalHub:
    """What was sent: repositories with their options, branches, and files by name."""

    def __init__(self) -> None:
        self.repos: dict[str, dict[str, Any]] = {}
        self.branches: list[str] = []
        self.files: dict[str, dict[str, bytes]] = {}
        self.requests: list[str] = []
        self.refuses = False
        self.url = ""

    def answer(self, method: str, path: str, body: bytes, token: str | None) -> tuple[int, Any]:
        """Status and JSON or bytes for a request."""
        self.requests.append(f"{method} {path}")
        if method == "POST" and (self.refuses or token != f"Bearer {TOKEN}"):
            return 403, {"error": "you do not have the rights"}
        if path == "/":
            return 200, {}
        if path == "/api/repos/create":
            asked = json.loads(body)
            name = f"{asked['organization']}/{asked['name']}" if asked.get("organization") else asked["name"]
            self.repos[name] = asked
            return 200, {"url": f"{self.url}/{name}"}
        if path == "/api/validate-yaml":
            return 200, {"errors": [], "warnings": []}
        if found := re.fullmatch(r"/api/models/(.+?/.+?)/branch/(.+)", path):
            self.branches.append(found[2])
            return 200, {}
        if found := re.fullmatch(r"/api/models/(.+?/.+?)/preupload/(.+)", path):
            files = [
                {"path": file["path"], "uploadMode": "regular", "shouldIgnore": False, "oid": None}
                for file in json.loads(body)["files"]
            ]
            return 200, {"files": files}
        if found := re.fullmatch(r"/api/models/(.+?/.+?)/commit/(.+)", path):
            self._commit(found[1], body)
            return 200, {"success": True, "commitOid": COMMIT, "commitUrl": f"{self.url}/{found[1]}/commit/{COMMIT}"}
        return self._read(path)

    def _commit(self, name: str, body: bytes) -> None:
        for line in map(json.loads, body.decode().splitlines()):
            if line["key"] == "file":
                value = line["value"]
                self.files.setdefault(name, {})[value["path"]] = base64.b64decode(value["content"])
            elif line["key"] == "deletedFile":
                del self.files[name][line["value"]["path"]]

    def _read(self, path: str) -> tuple[int, Any]:
        if found := re.fullmatch(r"/api/models/([^/]+/[^/]+)(?:/revision/(.+))?", path):
            if found[1] not in {*self.repos, *self.files} or (found[2] or "main") not in (
                "main",
                COMMIT,
                *self.branches,
            ):
                return 404, {"error": "Repository not found"}
            siblings = [{"rfilename": name} for name in self.files.get(found[1], {})]
            return 200, {"id": found[1], "sha": COMMIT, "siblings": siblings, "private": False, "tags": []}
        if found := re.fullmatch(r"/api/models/([^/]+/[^/]+)/tree/[^/]+", path):
            files = self.files.get(found[1], {}).items()
            return 200, [
                {"type": "file", "path": name, "size": len(data), "oid": sha1(data).hexdigest()} for name, data in files
            ]
        if found := re.fullmatch(r"/([^/]+/[^/]+)/resolve/[^/]+/(.+)", path):
            data = self.files.get(found[1], {}).get(found[2])
            return (404, {"error": "Entry not found"}) if data is None else (200, data)
        return 404, {"error": "Repository not found"}


@contextmanager
def local_hub() -> Iterator[LocalHub]:
    """A hub that listens on this machine, inside a ``with`` block."""
    hub = LocalHub()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def _answer(self) -> None:
            if self.headers.get("Transfer-Encoding") == "chunked":
                body = b""
                while size := int(self.rfile.readline(), 16):
                    body += self.rfile.read(size)
                    self.rfile.readline()
                self.rfile.readline()
            else:
                body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            path = self.path.partition("?")[0]
            status, answer = hub.answer(self.command, path, body, self.headers.get("Authorization"))
            content = answer if isinstance(answer, bytes) else json.dumps(answer).encode()
            self.send_response(status)
            self.send_header("Content-Length", str(len(content)))
            if isinstance(answer, bytes):
                self.send_header("ETag", f'"{sha1(answer).hexdigest()}"')
                self.send_header("X-Repo-Commit", COMMIT)
            elif status == 404:
                self.send_header("X-Error-Code", "RepoNotFound")
            self.end_headers()
            if self.command != "HEAD":
                self.wfile.write(content)

        do_GET = do_HEAD = do_POST = _answer  # noqa: N815

        def log_message(self, format: str, *args: Any) -> None:
            """Say nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    hub.url = f"http://127.0.0.1:{server.server_port}"
    serving = Thread(target=server.serve_forever, daemon=True)
    serving.start()
    try:
        yield hub
    finally:
        server.shutdown()
        server.server_close()
        serving.join()
