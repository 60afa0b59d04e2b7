"""The folder of copies of remote files, and its limit: the copies that were used longest ago make room for others.

shards/, headers/, manifests/    a file a copy, with the date of its last use as the time of access
artifacts/, runs/                a folder a copy, with that date as its own
"""

from __future__ import annotations

import fcntl
import os
import re
import shutil
import sys
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from rate.errors import ConfigError

CACHE_BYTES = 64 << 30
"""The size limit of the folder, bytes. RATE_CACHE_BYTES changes it."""

IN_USE_S = 3600.0
"""Folders that were used so recently are kept: unlike a file, a folder is gone for a process that reads it."""

LOOK_AGAIN_S = 60.0
"""The time after which the folder, to which other processes write too, is looked through again."""

_COPY = re.compile(r"[0-9a-f]{16}|[0-9a-f]{40}(\.[a-z]+)?")
"""Matches names of copies. Other files and folders neither count nor are deleted."""


def cache_folder() -> Path:
    """Return RATE_CACHE, or `rate` in the platform's cache folder."""
    if chosen := os.environ.get("RATE_CACHE"):
        return Path(chosen)
    if sys.platform == "darwin":
        return Path.home() / "Library" / "Caches" / "rate"
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "rate"


def cache_limit() -> int:
    """Return the size limit, bytes.

    Raises:
        ConfigError: RATE_CACHE_BYTES is no number.
    """
    written = os.environ.get("RATE_CACHE_BYTES") or str(CACHE_BYTES)
    if not written.isdecimal():
        raise ConfigError(f"RATE_CACHE_BYTES must be a whole number of bytes, got {written!r}")
    return int(written)


def use(copy: Path) -> None:
    """Note that a copy is used now, and delete the least recently used others until the rest fits.

    A process that has a file open keeps reading it. Runs that are written to are kept.
    """
    now, status = time.time_ns(), copy.stat()
    os.utime(copy, ns=(now, now if copy.is_dir() else status.st_mtime_ns))
    if not copy.is_dir() and _State.has_room(status.st_size):
        return
    copies = sorted(_copies(cache_folder()), key=lambda one: one.used_ns)
    links = Counter(file for one in copies for file in one.files)
    sizes = {file: size for one in copies for file, size in one.files.items()}
    total = sum(sizes.values())
    for one in copies:
        if total <= cache_limit():
            break
        if one.path != copy and one.delete():
            links.subtract(one.files.keys())
            total -= sum(sizes[file] for file in one.files if not links[file])
    _State.known, _State.room, _State.seen = (cache_folder(), cache_limit()), cache_limit() - total, time.monotonic()


class _State:
    """What this process knows of the folder, which is looked through once in a while."""

    known: tuple[Path, int] | None = None  # the folder and its limit
    room = 0  # bytes
    seen = 0.0  # when it was looked through

    @classmethod
    def has_room(cls, size: int) -> bool:
        """Tell whether there is certainly room for a copy of so many bytes, and take it."""
        cls.room -= size
        is_new = time.monotonic() - cls.seen < LOOK_AGAIN_S
        return is_new and cls.known == (cache_folder(), cache_limit()) and cls.room > 0


@dataclass(frozen=True, slots=True)
class _Copy:
    path: Path
    used_ns: int
    files: dict[tuple[int, int], int]  # device and inode -> bytes; files of artifacts are links to others

    def delete(self) -> bool:
        """Delete it, unless it is a folder in use."""
        if not self.path.is_dir():
            self.path.unlink(missing_ok=True)
            return True
        if time.time_ns() - self.used_ns < IN_USE_S * 1e9:
            return False
        with suppress(FileNotFoundError), (self.path / "lock").open("ab") as lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                return False
            shutil.rmtree(self.path, ignore_errors=True)
        return True


def _copies(cache: Path) -> Iterator[_Copy]:
    for kind in ("shards", "headers", "manifests", "artifacts", "runs"):
        for path in (cache / kind).iterdir() if (cache / kind).is_dir() else ():
            if _COPY.fullmatch(path.name) and path.suffix != ".lock" and not path.is_symlink():
                with suppress(FileNotFoundError):  # another process deletes copies too
                    status = path.stat()
                    used = status.st_mtime_ns if path.is_dir() else status.st_atime_ns
                    inside = path.rglob("*") if path.is_dir() else (path,)
                    statuses = [one.stat() for one in inside if one.is_file()]
                    sizes = {(one.st_dev, one.st_ino): min(one.st_size, 512 * one.st_blocks) for one in statuses}
                    yield _Copy(path, used, sizes)
