"""The objects of a run on an S3 storage, and its log, in which every change takes the next number."""

from __future__ import annotations

import json
import secrets
import socket
import time
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from hashlib import md5
from pathlib import Path
from typing import Any, NamedTuple

from rate.data.storage.objects import error_code, object_bytes, storage, version_of
from rate.data.storage.retries import with_retries
from rate.errors import RunError, StorageError
from rate.files import write_atomically
from rate.types import Json

_LARGEST = 1 << 32
"""The largest object of a run, bytes."""

_AT_ONCE = 16
"""Objects that are fetched or sent at a time."""


class Known(NamedTuple):
    """What a listing says of an object."""

    size: int  # bytes
    version: str


class RunObjects:
    """The objects below the URL of a run."""

    def __init__(self, url: str) -> None:
        self.url = url.rstrip("/")

    def list(self) -> dict[str, Known]:
        """Return all of them by name."""

        def find() -> dict[str, Known]:
            filesystem, root = storage(self.url)
            filesystem.invalidate_cache()
            there = filesystem.find(root, detail=True)
            return {
                name.removeprefix(f"{root}/"): Known(info["size"], version_of(info))
                for name, info in there.items()
                if name != root
            }

        return with_retries(self.url, find)

    def fetch(self, files: dict[str, Path], there: dict[str, Known]) -> None:
        """Make each file what its object is; a file that is so already is left.

        Raises:
            FileNotFoundError: an object is not there.
            OSError: one cannot be fetched.
        """

        def fetch(name: str) -> None:
            path = files[name]
            if not _is(path, there.get(name)):
                path.parent.mkdir(parents=True, exist_ok=True)
                content = self._get(name)
                write_atomically(path, lambda file: file.write(content))

        self._all(fetch, files)

    def send(self, files: dict[str, Path]) -> None:
        """Put files under their names.

        Raises:
            StorageError: one cannot be written.
        """
        self._all(
            lambda name: self._send(name, lambda filesystem, key: filesystem.pipe_file(key, files[name].read_bytes())),
            files,
        )

    def remove(self, names: Iterable[str]) -> None:
        """Delete objects, which may be gone.

        Raises:
            StorageError: one cannot be deleted.
        """

        def remove(filesystem: Any, key: str) -> None:
            with suppress(FileNotFoundError):
                filesystem.rm_file(key)

        self._all(lambda name: self._send(name, remove), names)

    def append(self, number: int, entry: Json) -> None:
        """Add an entry to the log under the next number, counted from 1.

        Raises:
            RunError: another process took the number, or the storage has no puts under a condition.
            StorageError: it cannot be written.
        """
        own = {"host": socket.gethostname(), "time": time.time(), "token": secrets.token_hex(8)}
        name = f"log/{number:09d}.json"
        if self._put_new(name, json.dumps(entry | own).encode()):
            if number == 1:
                self._check_condition(name)
            return
        there = json.loads(self._get(name))
        if there.get("token") != own["token"]:  # else it was a try of ours whose answer was lost
            raise RunError(
                f"another command, on {there.get('host')}, has begun to write to {self.url}, and owns it now; what is "
                "stored is right, and goes on there"
            )

    def _check_condition(self, name: str) -> None:
        if self._put_new(name, b"{}"):
            self.remove([name])
            raise RunError(
                f"{self.url}: the storage ignores the condition of a put (If-None-Match), so two commands could write "
                "to one run; write to a folder, and copy it there"
            )

    def _put_new(self, name: str, content: bytes) -> bool:
        """Put an object that must not exist; False = it does."""

        def put(filesystem: Any, key: str) -> bool:
            bucket, inside, _ = filesystem.split_path(key)
            try:
                filesystem.call_s3("put_object", Bucket=bucket, Key=inside, Body=content, IfNoneMatch="*")
            except OSError as error:
                if error_code(error) in ("PreconditionFailed", "412"):
                    return False
                raise
            return True

        return bool(self._send(name, put))

    def _get(self, name: str) -> bytes:
        return with_retries(self.url, lambda: object_bytes(f"{self.url}/{name}", _LARGEST))

    def _send(self, name: str, send: Any) -> Any:
        filesystem, root = storage(self.url)
        try:
            return with_retries(self.url, lambda: send(filesystem, f"{root}/{name}"))
        except OSError as error:
            raise StorageError(
                f"{self.url}/{name} cannot be written: {error}; run the same command again to go on"
            ) from error

    @staticmethod
    def _all(work: Any, names: Iterable[str]) -> None:
        names = sorted(names)
        if len(names) == 1:
            work(names[0])
        elif names:
            with ThreadPoolExecutor(min(_AT_ONCE, len(names))) as threads:
                for _ in threads.map(work, names):
                    pass


def _is(path: Path, known: Known | None) -> bool:
    """Tell whether a file is surely an object, whose version is the MD5 of its content, save of an encrypted one."""
    if known is None or not path.exists() or path.stat().st_size != known.size:
        return False
    is_equal: bool = md5(path.read_bytes(), usedforsecurity=False).hexdigest() == known.version
    return is_equal
