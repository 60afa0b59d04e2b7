"""A real S3 server on loopback that tells what it was asked and may be slow or refuse; its storage is moto's."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import fsspec
import pytest
from moto.moto_server.werkzeug_app import DomainDispatcherApplication, MotoRequestHandler, create_backend_app
from moto.s3.models import s3_backends
from werkzeug.serving import make_server

BUCKET = "pictures"
Answer = tuple[str, str]  # status line and code of S3


class ObjectStore:
    """The server, with one bucket."""

    def __init__(self) -> None:
        self.asked: list[tuple[str, str]] = []  # method and path; RANGE = GET of some bytes
        self.delay_s = 0.0  # before each answer
        self.key = ""  # the access key that is not refused as expired; empty = any is accepted
        self.ignored = ""  # the name of a header that is taken away
        self.refuse: Callable[[str, str], Answer | None] = lambda method, path: None
        self._moto = DomainDispatcherApplication(create_backend_app)
        self._server = make_server("127.0.0.1", 0, self._answer, True, request_handler=MotoRequestHandler)
        self.url = f"http://127.0.0.1:{self._server.server_port}"
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    def begin(self) -> None:
        """Make the bucket, empty."""
        s3_backends.reset()
        self._contents.create_bucket(BUCKET, "us-east-1")

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()

    def _answer(self, environ: dict[str, Any], start: Callable[..., Any]) -> Iterable[bytes]:
        method, path = environ["REQUEST_METHOD"], environ["PATH_INFO"]
        if "HTTP_RANGE" in environ:
            method = "RANGE"
        self.asked.append((method, path))
        environ.pop(self.ignored, None)
        time.sleep(self.delay_s)
        expired = self.key and f"Credential={self.key}/" not in environ.get("HTTP_AUTHORIZATION", "")
        refused = ("400 Bad Request", "ExpiredToken") if expired else self.refuse(method, path)
        if refused is not None:
            status, code = refused
            start(status, [("Content-Type", "application/xml")])
            return [f"<Error><Code>{code}</Code><Message>{code}</Message></Error>".encode() * (method != "HEAD")]
        return self._moto(environ, start)

    @property
    def files(self) -> Any:
        """The bucket by way of fsspec, without any cached listing."""
        return fsspec.filesystem("s3", use_listings_cache=False)

    @property
    def _contents(self) -> Any:
        return s3_backends["123456789012"]["aws"]

    def put(self, key: str, content: bytes) -> str:
        """Store an object; return its URL."""
        self._contents.put_object(BUCKET, key, content)
        return f"s3://{BUCKET}/{key}"

    def remove(self, key: str) -> None:
        """Delete an object."""
        self._contents.delete_object(BUCKET, key)

    def put_set(self, manifest: Path, prefix: str = "set") -> Path:
        """Store the images of a manifest; return a manifest of their URLs."""
        header, *lines = manifest.read_text().splitlines()
        at = header.split(",").index("image")
        rows = [line.split(",") for line in lines]
        for row in rows:
            row[at] = self.put(f"{prefix}/{row[at]}", (manifest.parent / row[at]).read_bytes())
        remote = manifest.parent / "remote.csv"
        remote.write_text("\n".join([header, *map(",".join, rows)]) + "\n")
        return remote

    def count(self, method: str, part: str = "") -> int:
        """The requests of a method with that text in their path."""
        return sum(one == method and part in path for one, path in self.asked)


@contextmanager
def running(environment: pytest.MonkeyPatch) -> Iterator[ObjectStore]:
    """Run a server of which this process and those that it starts know the address."""
    store = ObjectStore()
    environment.setenv("AWS_ENDPOINT_URL", store.url)
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        environment.setenv(name, "testing")
    environment.setenv("AWS_DEFAULT_REGION", "us-east-1")
    store.begin()
    try:
        yield store
    finally:
        store.close()
        fsspec.get_filesystem_class("s3").clear_instance_cache()
