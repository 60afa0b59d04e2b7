"""Local copies of S3 archives that have what was read of them; the rest is a hole, which takes no room.

Who divides a set among machines needs the names and labels in its archives, and no image.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable
from pathlib import Path

from rate.data.storage.cache import cache_folder, use
from rate.data.storage.container import Container
from rate.data.storage.local_file import check_same
from rate.data.storage.objects import s3_range, version_stamp
from rate.data.storage.remote_cache import alone, copy_name, is_fetched
from rate.data.storage.retries import with_retries
from rate.files import placed
from rate.types import Stamp

WINDOW = 1 << 13
"""The bytes of a request, at least: the texts of a sample and the headers around them."""


def sparse_copy(url: str, read: Callable[[Container], None], what: str) -> tuple[Stamp | None, Container]:
    """Return the stamp of the present version of an archive, and its copy, which is made if there is none.

    Args:
        url: an object on S3.
        read: reads all that the copy must have.
        what: tells it from another reading of the same archive.

    Raises:
        SetChanged: the object was replaced meanwhile.
        FileNotFoundError: there is none.
        OSError: it cannot be read, or is empty.
    """
    first, size, version = with_retries(url, lambda: s3_range(url, 0, WINDOW))
    name = copy_name(url, size, version)
    stamp = version_stamp(size, name)
    if is_fetched(name):
        return stamp, Container(str(cache_folder() / "shards" / name), size)
    folder = cache_folder() / "headers"
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    path = folder / hashlib.sha256(f"{name} {what}".encode()).hexdigest()[:40]
    with alone(path.with_suffix(".lock")):
        if not path.exists():
            with placed(path) as temporary:
                temporary.touch()
                os.truncate(temporary, size)
                read(_Recorded(str(temporary), url, stamp, first))
    use(path)
    return stamp, Container(str(path), size)


class _Recorded(Container):
    """An object on S3 of which each part that is read is written to a file."""

    def __init__(self, path: str, url: str, stamp: Stamp, first: bytes) -> None:
        super().__init__(path, stamp.size)
        self._path, self._url, self._stamp = Path(path), url, stamp
        self._window, self._at = first, 0

    def read(self, offset: int, size: int) -> bytes:
        """Read exactly ``size`` bytes.

        Raises:
            EOFError: the object ends before them.
            OSError: they cannot be read, or not be kept.
        """
        if offset + size > self.size:
            return super().read(offset, size)
        if not self._at <= offset <= offset + size <= self._at + len(self._window):
            self._window, self._at = self._range(offset, max(size, WINDOW)), offset
        data = self._window[offset - self._at :][:size]
        with self._path.open("r+b") as file:
            file.seek(offset)
            file.write(data)
        return data

    def _range(self, offset: int, size: int) -> bytes:
        data, length, version = with_retries(self._url, lambda: s3_range(self._url, offset, size))
        check_same(self._url, self._stamp, version_stamp(length, copy_name(self._url, length, version)))
        return data
