"""Local files as they were located: no symbolic link on the way, not even one that was put there a moment ago."""

from __future__ import annotations

import errno
import os
import stat
from pathlib import Path

from rate.data.storage.stamps import CURE, check_same, stamp_of
from rate.errors import SampleError, SetChanged
from rate.types import Stamp

_FOLDER = os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC | getattr(os, "O_PATH", os.O_RDONLY)
# A pipe would block the opening for ever: whether it is a regular file is known only once it is open.
_FILE = os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK


def local_bytes(location: str, limit: int, expected: Stamp | None = None) -> bytes:
    """All bytes of a regular file at an absolute path without links, which `Folder.locate` has resolved.

    Every folder is opened from the one above it, so that what was checked is what is read.

    Raises:
        SampleError: not a regular file, or longer than ``limit``.
        SetChanged: it is not the one with the stamp ``expected``, or a link has come into its path.
        OSError: it cannot be read.
    """
    try:
        descriptor = _opened(location)
    except FileNotFoundError:
        check_same(location, expected, None)
        raise
    try:
        status = os.fstat(descriptor)
        check_same(location, expected, stamp_of(status))
        if not stat.S_ISREG(status.st_mode):
            raise SampleError(f"{location}: is not a regular file")
        check_length(location, status.st_size, limit)
        with os.fdopen(descriptor, "rb", closefd=False) as file:
            data = file.read(min(status.st_size, limit) + 1)  # it may be growing
        check_same(location, expected, stamp_of(os.fstat(descriptor)))  # it may have been written to meanwhile
    finally:
        os.close(descriptor)
    check_length(location, len(data), limit)
    return data


def is_file(path: Path) -> bool:
    """As `Path.is_file`, which raises for a name that is too long to be one."""
    try:
        return path.is_file()
    except (OSError, ValueError):
        return False


def check_length(location: str, length: int, limit: int) -> None:
    """Refuse a file that is too long.

    Raises:
        SampleError: names length, limit and cure.
    """
    if length > limit:
        raise SampleError(f"{location}: has {length:,} bytes, the limit is {limit:,}; RATE_MAX_BYTES changes it")


def _opened(location: str) -> int:
    root, *folders, name = Path(location).absolute().parts
    above = os.open(root, _FOLDER)
    try:
        for folder in folders:
            below = os.open(folder, _FOLDER, dir_fd=above)
            os.close(above)
            above = below
        return os.open(name, _FILE, dir_fd=above)
    except OSError as error:
        if error.errno in (errno.ELOOP, errno.ENOTDIR) and os.path.realpath(location) != location:
            raise SetChanged(
                f"{location}: a symbolic link has come into this path since the set was first read, and leads to "
                f"{os.path.realpath(location)}; {CURE}"
            ) from error
        raise
    finally:
        os.close(above)
