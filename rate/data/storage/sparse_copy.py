"""Local copies of remote shards that have what was read of them; the rest is a hole, which takes no room.

Who divides a set among machines needs the names and labels in its shards, and no image.
"""

from __future__ import annotations

import hashlib
import os
from bisect import bisect_right
from collections.abc import Callable
from pathlib import Path

from rate.data.storage.cache import cache_folder, use
from rate.data.storage.container import Container
from rate.data.storage.local_file import check_same
from rate.data.storage.objects import version_stamp
from rate.data.storage.ranges import object_range
from rate.data.storage.remote_cache import alone, copy_name, is_fetched
from rate.data.storage.retries import with_retries
from rate.files import placed
from rate.types import Stamp

WINDOW = 1 << 13
"""The bytes of a request, at least: the texts of a sample and the headers around them."""

TAIL = 1 << 18
"""The bytes of the first request, from the end, where archives and Parquet files have what says where all else is."""


def sparse_copy(url: str, read: Callable[[Recorded], None], what: str) -> tuple[Stamp, str] | None:
    """Return the stamp of the present version of a shard, and the path of its copy, which is made if there is none.

    None = the storage has no ranges or no versions; see `object_range`.

    Args:
        url: a remote object.
        read: reads all that the copy must have.
        what: tells it from another reading of the same shard.

    Raises:
        SetChanged: the object was replaced meanwhile.
        FileNotFoundError: there is none.
        OSError: it cannot be read, or is empty.
    """
    part = with_retries(url, lambda: object_range(url, -TAIL, TAIL))
    if part is None:
        return None
    tail, size, version = part
    name = copy_name(url, size, version)
    stamp = version_stamp(size, name)
    if is_fetched(name):
        return stamp, str(cache_folder() / "shards" / name)
    folder = cache_folder() / "headers"
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    path = folder / hashlib.sha256(f"{name} {what}".encode()).hexdigest()[:40]
    with alone(path.with_suffix(".lock")):
        if not path.exists():
            with placed(path) as temporary:
                temporary.touch()
                os.truncate(temporary, size)
                read(Recorded(temporary, url, stamp, tail))
    use(path)
    return stamp, str(path)


class Recorded(Container):
    """A remote object of which each part that is read is written to a file."""

    def __init__(self, path: Path, url: str, stamp: Stamp, tail: bytes) -> None:
        super().__init__(str(path), stamp.size)
        self._copy = path.open("r+b", buffering=0)
        self._url, self._stamp = url, stamp
        self._held: list[tuple[int, bytes]] = []  # parts that need not be asked for, in their order
        self._tail, self._window = (stamp.size - len(tail), tail), (0, b"")

    def __del__(self) -> None:
        if hasattr(self, "_copy"):
            self._copy.close()
        super().__del__()

    def hold(self, parts: list[tuple[int, bytes]]) -> None:
        """Take parts of the object, offsets with bytes in their order, which are then not asked for."""
        self._held = parts

    def read(self, offset: int, size: int) -> bytes:
        """Read exactly ``size`` bytes.

        Raises:
            EOFError: the object ends before them.
            OSError: they cannot be read, or not be kept.
        """
        if offset + size > self.size:
            return super().read(offset, size)
        place = bisect_right(self._held, offset, key=lambda part: part[0])
        for begin, data in (*self._held[place - 1 : place], self._tail, self._window):
            if begin <= offset <= offset + size <= begin + len(data):
                break
        else:
            begin, data = self._window = offset, self._range(offset, max(size, WINDOW))
        data = data[offset - begin : offset - begin + size]
        os.pwrite(self._copy.fileno(), data, offset)
        return data

    def _range(self, offset: int, size: int) -> bytes:
        part = with_retries(self._url, lambda: object_range(self._url, offset, size))
        if part is None:
            raise OSError(f"{self._url} gave parts of itself, and gives none any more")
        data, length, version = part
        check_same(self._url, self._stamp, version_stamp(length, copy_name(self._url, length, version)))
        return data
