"""Local files at resolved paths, read without following symbolic links, even if one was created in the meantime, and
the check that a file is unchanged since the first reading of a set.
"""

from __future__ import annotations

import errno
import os
import platform
import stat
import time
from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path

from rate.errors import SampleError, SetChanged
from rate.types import Stamp

HOST = platform.node()
CURE = (
    "what is stored so far is right. See what writes to the set, then run the same command again; to evaluate the set "
    "as it is now from the beginning, choose another --out"
)


def stamp_of(status: os.stat_result) -> Stamp | None:
    """Return the stamp of a local file; None if it is no regular file."""
    if not stat.S_ISREG(status.st_mode):
        return None
    inode = 0 if _renumbers(status.st_dev) else status.st_ino
    return Stamp(status.st_size, status.st_mtime_ns, inode, status.st_ctime_ns, HOST)


def identities(statuses: Sequence[os.stat_result]) -> list[tuple[int, int, int]]:
    """Return the identity of the stamp of each of some regular files."""
    renumbered = any(_renumbers(device) for device in {status.st_dev for status in statuses})
    if renumbered:
        return [(status.st_size, status.st_mtime_ns, 0) for status in statuses]
    return [(status.st_size, status.st_mtime_ns, status.st_ino) for status in statuses]


def check_same(location: str, expected: Stamp | None, actual: Stamp | None) -> None:
    """Refuse a file that differs from the first reading; without ``expected`` every file passes.

    Raises:
        SetChanged: names the expected and the actual file.
    """
    if expected is not None and (actual is None or not is_same(expected, actual)):
        there = "no file is there" if actual is None else f"it is {_described(actual)}"
        raise SetChanged(
            f"{location} has changed since the set was first read: it was {_described(expected)}, and now {there}; "
            f"{CURE}"
        )


def is_same(one: Stamp, other: Stamp) -> bool:
    """Tell whether two stamps are of one file with one content.

    Copies on different machines compare by length alone.
    """
    if one.host != other.host and not one.version:
        return one.size == other.size
    return one.identity == other.identity


def _described(stamp: Stamp) -> str:
    if stamp.version:
        return f"of {stamp.size:,} bytes in the version {stamp.version[:12]}"
    written = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(stamp.modified_ns / 1e9))
    return f"of {stamp.size:,} bytes, written {written}, inode {stamp.inode}"


@lru_cache(maxsize=64)
def _renumbers(device: int) -> bool:
    """Tell whether a file system has unstable inode numbers, as FUSE views of object storage have."""
    name = f" {os.major(device)}:{os.minor(device)} "
    try:
        mounts = Path("/proc/self/mountinfo").read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return False
    return any(name in mount and mount.partition(" - ")[2].startswith("fuse") for mount in mounts)


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
