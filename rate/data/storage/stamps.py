"""The check that a file is unchanged since the first reading of a set."""

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
    """Return the stamp of a local file; None if it is no regular file."""
    if not stat.S_ISREG(status.st_mode):
        return None
    inode = 0 if _renumbers(status.st_dev) else status.st_ino
    return Stamp(status.st_size, status.st_mtime_ns, inode, status.st_ctime_ns, HOST)


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
