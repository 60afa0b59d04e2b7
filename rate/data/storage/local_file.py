"""Local files at resolved paths, read without following symbolic links, even if one was created in the meantime."""

from __future__ import annotations

import errno
import os
import stat
from pathlib import Path

from rate.data.storage.stamps import CURE, check_same, stamp_of
from rate.errors import SampleError, SetChanged
from rate.types import Stamp

_FOLDER = os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC | getattr(os, "O_PATH", os.O_RDONLY)
# Opening a pipe would block, and the file type is known only after opening.
_FILE = os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK


def local_bytes(location: str, limit: int, expected: Stamp | None = None) -> bytes:
    """Read all bytes of a regular file at an absolute path without links, which `Folder.locate` has resolved.

    Every folder is opened relative to the one above it, so the checked path is the path that is read.

    Raises:
        SampleError: the file is not regular, or longer than ``limit``.
        SetChanged: the file has another stamp than ``expected``, or a link has appeared in its path.
        OSError: the file cannot be read.
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
            data = file.read(min(status.st_size, limit) + 1)  # the file may be growing
        # the file may have been written to during the reading
        check_same(location, expected, stamp_of(os.fstat(descriptor)))
    finally:
        os.close(descriptor)
    check_length(location, len(data), limit)
    return data


def is_file(path: Path) -> bool:
    """Tell whether ``path`` is a file; unlike `Path.is_file`, do not raise for a name that is too long."""
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
