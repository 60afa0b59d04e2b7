"""Files that hold many images: open once, read anywhere, by any thread and any process."""

from __future__ import annotations

import os
import re
import stat
from functools import lru_cache
from pathlib import Path

from rate.data.storage.remote_cache import fetched
from rate.data.storage.stamps import check_same, stamp_of
from rate.types import Stamp

TAR_PLACE = re.compile(r"tar:([0-9]{1,19})\+([0-9]{1,19}):(.+)", re.DOTALL)
"""OFFSET + SIZE in bytes, and the container. No absolute path begins so, and no URL: a digit follows the colon."""

_OPEN_FILES = 64


class Container:
    """An open local file. Every read names its offset, so threads share it; closed when nobody holds it any more."""

    def __init__(self, path: str, size: int) -> None:
        self.size = size  # bytes
        self._descriptor = os.open(path, os.O_RDONLY)

    def read(self, offset: int, size: int) -> bytes:
        """Exactly ``size`` bytes.

        Raises:
            EOFError: the file ends before them.
        """
        data = os.pread(self._descriptor, size, offset) if offset + size <= self.size else b""
        if len(data) != size:
            raise EOFError(f"bytes {offset} to {offset + size} lie beyond the end of a file of {self.size} bytes")
        return data

    def __del__(self) -> None:
        if hasattr(self, "_descriptor"):  # not there when the opening failed
            os.close(self._descriptor)


def open_container(location: str) -> Container:
    """A local file, or the local copy of a remote one. A few dozen stay open.

    Raises:
        OSError: it is missing, not a regular file, or cannot be fetched.
    """
    return _opened(*regular_file(location))


def regular_file(location: str) -> tuple[str, int, int, int, int]:
    """The path on this machine, and what tells whether it is still that file: size (bytes), device, inode, mtime_ns.

    Raises:
        OSError: as `open_container`.
    """
    path = str(fetched(location)) if "://" in location else location
    status = Path(path).stat()
    if not stat.S_ISREG(status.st_mode):  # a pipe would block for ever
        raise OSError(f"{location} is not a regular file")
    return path, status.st_size, status.st_dev, status.st_ino, status.st_mtime_ns


@lru_cache(maxsize=_OPEN_FILES)
def _opened(path: str, size: int, device: int, inode: int, modified_ns: int) -> Container:
    """What identifies the file beside its name is part of the key: a file that was replaced is opened anew."""
    return Container(path, size)


def tar_place(offset: int, size: int, container: str) -> str:
    """The location of a member's bytes."""
    return f"tar:{offset}+{size}:{container}"


def container_stamp(location: str) -> Stamp | None:
    """The stamp of a container; of a remote one, that of the version whose copy is read here. None: it is gone.

    Raises:
        OSError: it cannot be fetched.
    """
    try:
        path = Path(str(fetched(location)) if "://" in location else location)
        found = stamp_of(path.stat())
    except FileNotFoundError:
        return None
    if found is None or "://" not in location:
        return found
    return found._replace(version=path.name, changed_ns=found.modified_ns)  # fetched then; each use touches the copy


def tar_bytes(offset: int, size: int, container: str, expected: Stamp | None = None) -> bytes:
    """The bytes of a `tar_place`.

    Raises:
        SetChanged: the archive is not the one with the stamp ``expected``.
        OSError, EOFError: as `open_container` and `Container.read`.
    """
    try:
        return open_container(container).read(offset, size)
    finally:  # after the reading, and also where a cut archive has made it fail
        if expected is not None:
            check_same(container, expected, container_stamp(container))
