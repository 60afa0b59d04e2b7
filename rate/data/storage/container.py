"""Files that hold many images; one open file serves reads at any offset from all threads."""

from __future__ import annotations

import os
import re
import stat
from collections import Counter
from functools import lru_cache
from pathlib import Path

from rate.data.storage.local_file import check_same, stamp_of
from rate.data.storage.objects import version_stamp
from rate.data.storage.ranges import object_range
from rate.data.storage.remote_cache import copy_name, fetched, is_fetched
from rate.data.storage.retries import with_retries
from rate.types import Stamp

TAR_PLACE = re.compile(r"tar:([0-9]{1,19})\+([0-9]{1,19}):(.+)", re.DOTALL)
"""Matches OFFSET + SIZE in bytes, and the container. A digit after the colon distinguishes it from paths and URLs."""

_OPEN_FILES = 64

FEW_READS = 8
"""The number of images of a remote shard that a process reads by themselves before it fetches the shard whole.

A worker evaluates few images of some shards. The pictures of a bank, which come from all shards, do not count.
"""

_reads: Counter[str] = Counter()


class Container:
    """An open local file. Every read has an offset, so threads share it; it is closed with its last reference."""

    def __init__(self, path: str, size: int) -> None:
        self.size = size  # bytes
        self._descriptor = os.open(path, os.O_RDONLY)

    def read(self, offset: int, size: int) -> bytes:
        """Read exactly ``size`` bytes.

        Raises:
            EOFError: the file ends before them.
        """
        data = os.pread(self._descriptor, size, offset) if offset + size <= self.size else b""
        if len(data) != size:
            raise EOFError(f"bytes {offset} to {offset + size} lie beyond the end of a file of {self.size} bytes")
        return data

    def __del__(self) -> None:
        if hasattr(self, "_descriptor"):  # missing if opening failed
            os.close(self._descriptor)


def open_container(location: str) -> Container:
    """Open a local file, or the local copy of a remote one. A few dozen stay open.

    Raises:
        OSError: it is missing, not a regular file, or cannot be fetched.
    """
    return _opened(*regular_file(location))


def regular_file(location: str) -> tuple[str, int, int, int, int]:
    """Return the path on this machine with the file's size (bytes), device, inode and mtime_ns, which identify it.

    Raises:
        OSError: as `open_container`.
    """
    path = str(fetched(location)) if "://" in location else location
    status = Path(path).stat()
    if not stat.S_ISREG(status.st_mode):  # opening a pipe would block
        raise OSError(f"{location} is not a regular file")
    return path, status.st_size, status.st_dev, status.st_ino, status.st_mtime_ns


@lru_cache(maxsize=_OPEN_FILES)
def _opened(path: str, size: int, device: int, inode: int, modified_ns: int) -> Container:
    """Open a container; the cache key includes the file's identity, so a replaced file is opened again."""
    return Container(path, size)


def tar_place(offset: int, size: int, container: str) -> str:
    """Return the location of a member's bytes."""
    return f"tar:{offset}+{size}:{container}"


def container_stamp(location: str) -> Stamp | None:
    """Return the stamp of a container, for a remote one that of the version of its local copy; None = it is gone.

    Raises:
        OSError: it cannot be fetched.
    """
    try:
        path = Path(str(fetched(location)) if "://" in location else location)
        stamp = stamp_of(path.stat())
    except FileNotFoundError:
        return None
    return stamp if stamp is None or "://" not in location else version_stamp(stamp.size, path.name)


def allow_read(container: str) -> None:
    """Let a process read one image more of a remote shard by itself."""
    _reads[container] -= 1


def tar_bytes(offset: int, size: int, container: str, expected: Stamp | None = None) -> bytes:
    """Return the bytes of a `tar_place`.

    Raises:
        SetChanged: the archive is not the one with the stamp ``expected``.
        OSError, EOFError: as `open_container` and `Container.read`.
    """
    if expected is not None and size and expected.version and not is_fetched(expected.version):
        _reads[container] += 1
        if _reads[container] <= FEW_READS:
            data = with_retries(container, lambda: _range(offset, size, container, expected))
            if data is not None:
                return data
    try:
        return open_container(container).read(offset, size)
    finally:  # also when a truncated archive made the reading fail
        if expected is not None:
            check_same(container, expected, container_stamp(container))


def _range(offset: int, size: int, container: str, expected: Stamp) -> bytes | None:
    try:
        part = object_range(container, offset, size)
    except FileNotFoundError:
        check_same(container, expected, None)
        raise
    if part is None:
        return None
    data, length, version = part
    check_same(container, expected, version_stamp(length, copy_name(container, length, version)))
    return data
