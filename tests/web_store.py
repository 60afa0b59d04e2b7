"""A real web server on loopback that tells what it was asked, with ranges and versions or without."""

from __future__ import annotations

import hashlib
import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import fsspec


class WebStore:
    """The server; it has the methods of `object_store.ObjectStore` that tests of both need."""

    def __init__(self) -> None:
        self.files: dict[str, bytes] = {}  # path -> content
        self.asked: list[tuple[str, str]] = []  # method and path; RANGE = GET of some bytes
        self.has_ranges = True
        self.version = "ETag"  # the header that changes with a file; empty = none
        self.failing: set[str] = set()  # paths
        self.changes = False  # whether every answer names another version
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), self._handler())
        self.url = f"http://127.0.0.1:{self._server.server_port}"
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    def put(self, key: str, content: bytes) -> str:
        """Store a file; return its URL."""
        self.files[f"/{key}"] = content
        return f"{self.url}/{key}"

    def remove(self, key: str) -> None:
        """Delete a file."""
        del self.files[f"/{key}"]

    def put_set(self, manifest: Path) -> Path:
        """Store the images of a manifest; return a manifest of their URLs."""
        header, *lines = manifest.read_text().splitlines()
        rows = [line.split(",") for line in lines]
        at = header.split(",").index("image")
        for row in rows:
            row[at] = self.put(f"set/{row[at]}", (manifest.parent / row[at]).read_bytes())
        remote = manifest.parent / "web.csv"
        remote.write_text("\n".join([header, *map(",".join, rows)]) + "\n")
        return remote

    def count(self, method: str, part: str = "") -> int:
        """The requests of a method with that text in their path."""
        return sum(one == method and part in path for one, path in self.asked)

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()

    def _handler(self) -> type[BaseHTTPRequestHandler]:
        store = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_HEAD(self) -> None:
                self._answer("HEAD")

            def do_GET(self) -> None:
                self._answer("RANGE" if "Range" in self.headers else "GET")

            def _answer(self, method: str) -> None:
                store.asked.append((method, self.path))
                data = store.files.get(self.path)
                if data is None or self.path in store.failing:
                    self.send_response(503 if self.path in store.failing else 404)
                    self.send_header("Content-Length", "0")
                    self.end_headers()
                    return
                version, total = hashlib.md5(data).hexdigest(), len(data)
                version += str(len(store.asked)) if store.changes else ""
                if method == "RANGE" and store.has_ranges:
                    begin, end = span(self.headers["Range"], total)
                    data = data[begin:end]
                    self.send_response(206)
                    self.send_header("Content-Range", f"bytes {begin}-{end - 1}/{total}")
                else:
                    self.send_response(200)
                if store.version:
                    self.send_header(store.version, f'"{version}"')
                self.send_header("Content-Length", str(len(data)))
                self.end_headers()
                if method != "HEAD":
                    self.wfile.write(data)

            def log_message(self, *what: object) -> None:
                """Be silent."""

        return Handler


def span(asked: str, size: int) -> tuple[int, int]:
    begin, end = re.fullmatch(r"bytes=([0-9]*)-([0-9]*)", asked).groups()
    return (int(begin), min(int(end) + 1, size)) if begin else (max(size - int(end), 0), size)


@contextmanager
def serving() -> Iterator[WebStore]:
    """Run a server."""
    store = WebStore()
    try:
        yield store
    finally:
        store.close()
        fsspec.get_filesystem_class("http").clear_instance_cache()
