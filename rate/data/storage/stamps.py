"""Whether a file is still the one that the first reading of a set found."""

from __future__ import annotations

import os
import platform
import stat
import time
from functools import lru_cache
from pathlib import Path

from rate.errors import SetChanged
from rate.types import Stamp

HOST = platform.node()
CURE = (
    "what is stored so far is right. See what writes to the set, then run the same command again; to evaluate the set "
    "as it is now from the beginning, choose another --out"
)


def stamp_of(status: os.stat_result) -> Stamp | None:
    """The stamp of a local file; None for what is no regular file."""
    if not stat.S_ISREG(status.st_mode):
        return None
    inode = 0 if _renumbers(status.st_dev) else status.st_ino
    return Stamp(status.st_size, status.st_mtime_ns, inode, status.st_ctime_ns, HOST)


def check_same(location: str, expected: Stamp | None, found: Stamp | None) -> None:
    """Refuse a file that is another than the first reading found; without an expectation everything is right.

    Raises:
        SetChanged: names what was expected and what is there.
    """
    if expected is not None and (found is None or not is_same(expected, found)):
        there = "no file is there" if found is None else f"it is {_described(found)}"
        raise SetChanged(
            f"{location} has changed since the set was first read: it was {_described(expected)}, and now {there}; "
            f"{CURE}"
        )


def is_same(one: Stamp, other: Stamp) -> bool:
    """Whether two stamps are of one file with one content. A copy on another machine is told by its length alone."""
    if one.host != other.host and not one.version:
        return one.size == other.size
    return one.identity == other.identity


def _described(found: Stamp) -> str:
    if found.version:
        return f"of {found.size:,} bytes in the version {found.version[:12]}"
    written = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(found.modified_ns / 1e9))
    return f"of {found.size:,} bytes, written {written}, inode {found.inode}"


@lru_cache(maxsize=64)
def _renumbers(device: int) -> bool:
    """Whether a file system numbers its files as it likes, as those do that show object storage as files (FUSE)."""
    name = f" {os.major(device)}:{os.minor(device)} "
    try:
        mounts = Path("/proc/self/mountinfo").read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return False
    return any(name in mount and mount.partition(" - ")[2].startswith("fuse") for mount in mounts)
