"""A mirror of the Hugging Face Hub on this machine: data sets as folders, read through huggingface_hub's own client."""

from __future__ import annotations

import hashlib
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

import huggingface_hub
import pytest

COMMIT = "0" * 40
REVISIONS = ("main", COMMIT, "refs/convert/parquet")


@dataclass
class Mirror:
    """Data sets by their names, and which of them are gated."""

    folders: dict[str, Path] = field(default_factory=dict)
    gated: set[str] = field(default_factory=set)
    requests: list[str] = field(default_factory=list)
    host: str = ""


@contextmanager
def running(monkeypatch: pytest.MonkeyPatch) -> Iterator[Mirror]:
    """Serve a mirror, and let huggingface_hub use it in place of the Hub."""
    mirror = Mirror()
    server = ThreadingHTTPServer(("127.0.0.1", 0), type("Handler", (_Handler,), {"mirror": mirror}))
    server.daemon_threads = True
    mirror.host = f"http://127.0.0.1:{server.server_port}"
    monkeypatch.setattr(huggingface_hub.constants, "ENDPOINT", mirror.host)
    form = "/{repo_id}/resolve/{revision}/{filename}"
    monkeypatch.setattr(huggingface_hub.constants, "HUGGINGFACE_CO_URL_TEMPLATE", mirror.host + form)
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", False)
    huggingface_hub.HfFileSystem.clear_instance_cache()
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield mirror
    finally:
        huggingface_hub.HfFileSystem.clear_instance_cache()
        server.shutdown()
        server.server_close()


class _Handler(BaseHTTPRequestHandler):
    mirror: Mirror
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        path = urlsplit(self.path).path
        self.mirror.requests.append(f"{self.command} {self.path}")
        parts = [unquote(part) for part in path.strip("/").split("/")]
        if parts[:2] == ["api", "datasets"]:
            self._api("/".join(parts[2:4]), parts[4:])
        elif len(parts) < 6:
            self._refuse(404, "EntryNotFound")
        else:  # /datasets/USER/NAME/resolve/REVISION/PATH
            self._file("/".join(parts[1:3]), parts[4], "/".join(parts[5:]))

    do_HEAD = do_GET

    def _api(self, name: str, rest: list[str]) -> None:
        if name not in self.mirror.folders:
            self._refuse(401, "RepoNotFound")
        elif len(rest) > 1 and rest[1] not in REVISIONS:
            self._refuse(404, "RevisionNotFound")
        elif rest[:1] != ["tree"]:
            self._send(200, json.dumps({"id": name, "sha": COMMIT, "gated": name in self.mirror.gated}).encode())
        else:
            root = self.mirror.folders[name]
            folder = root.joinpath(*rest[2:])
            files = sorted(folder.rglob("*") if "recursive=true" in self.path else folder.glob("*"))
            if not folder.is_dir():
                self._refuse(404, "EntryNotFound")
            else:
                self._send(200, json.dumps([_entry(root, file) for file in files]).encode())

    def _file(self, name: str, revision: str, path: str) -> None:
        if name in self.mirror.gated:
            self._refuse(403, "GatedRepo")
        elif revision not in REVISIONS or not (file := self.mirror.folders[name] / path).is_file():
            self._refuse(404, "EntryNotFound")
        else:
            self._send(200, file.read_bytes())

    def _refuse(self, code: int, what: str) -> None:
        self._send(code, b"{}", {"X-Error-Code": what})

    def _send(self, code: int, body: bytes, headers: dict[str, str] | None = None) -> None:
        self.send_response(code)
        for name, value in {"Content-Length": str(len(body)), "X-Repo-Commit": COMMIT, **(headers or {})}.items():
            self.send_header(name, value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def log_message(self, *args: object) -> None: ...


def _entry(root: Path, file: Path) -> dict[str, Any]:
    name = file.relative_to(root).as_posix()
    if file.is_dir():
        return {"type": "directory", "path": name, "oid": COMMIT, "size": 0}
    data = file.read_bytes()
    return {"type": "file", "path": name, "oid": hashlib.sha1(data).hexdigest(), "size": len(data)}
