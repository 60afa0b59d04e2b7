"""The folder of a run: its owner, its lock, the names of its files, and those that a run may delete."""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import re
import time
from collections.abc import Collection, Iterable
from pathlib import Path

from rate.errors import RunError, StorageError
from rate.files import is_temporary, remove_leftovers

SAVED = "maps.parquet"
"""The name of the file of the saved maps."""

LOCK_ATTEMPTS = 5
LIST = "parts.jsonl"
"""The name of the list of parts."""

GRID = "grid.json"
"""The name of the table of a folder of runs."""

_MADE_LATER = ("summary.json", "precision", "precision.json", "faithfulness.json", GRID, "wise.json")


class FolderLock:
    """The lock of the process that owns a run folder; the system releases it when the process ends in any way."""

    def __init__(self, folder: Path) -> None:
        """Take the lock.

        Raises:
            RunError: another process has it.
            OSError: the folder cannot be written to.
        """
        self._folder = folder
        self._file = (folder / "lock").open("a+")
        for attempt in range(LOCK_ATTEMPTS):
            try:
                fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                time.sleep(0.05 if attempt + 1 < LOCK_ATTEMPTS else 0.0)  # `rate status` holds it for a moment
            else:
                return
        self._file.close()
        raise RunError(f"{folder} is being written by another process; wait for it, or choose another --out")

    def check_is_here(self) -> None:
        """Refuse to continue if another folder has replaced the locked one.

        Raises:
            StorageError: the folder was moved, replaced or deleted.
        """
        try:
            is_here = os.path.samestat(os.fstat(self._file.fileno()), (self._folder / "lock").stat())
        except OSError:
            is_here = False
        if not is_here:
            raise StorageError(
                f"{self._folder} was moved, replaced or deleted while it was written to, so nothing more is written "
                "there; move the folder back, then run the same command again to go on"
            )

    def release(self) -> None:
        """Release the lock."""
        self._file.close()


def part_name(key: str, ids: Iterable[str]) -> str:
    """Return the name of a part with these samples in the run of that key; equal samples give equal names."""
    return f"part-{hashlib.sha256(json.dumps([key, sorted(set(ids))]).encode()).hexdigest()[:16]}.parquet"


def is_part_name(name: str) -> bool:
    """Tell whether `part_name` can have made a name."""
    return re.fullmatch(r"part-[0-9a-f]{16}\.parquet", name) is not None


def part_files(folder: Path) -> list[str]:
    """List the names of the parts in a run folder, listed or not, in order."""
    return sorted(path.name for path in (folder / "samples").glob("part-*") if is_part_name(path.name))


def refuse_foreign(folder: Path) -> None:
    """Refuse a folder that has no run.json and holds other files than a run without it.

    Raises:
        RunError: it holds other files, or is a file.
    """
    if not folder.exists() or (folder / "run.json").exists():
        return
    if not folder.is_dir():
        raise RunError(f"{folder} is a file, a run is a folder; choose another --out")
    has_parts = bool(part_files(folder))
    if foreign := sorted(path.name for path in folder.iterdir() if not _is_of_a_run(path, has_parts)):
        raise RunError(
            f"{folder} is not empty and has no run.json (it holds {foreign[0]!r}), so nothing is written to it; choose "
            "another --out"
        )


def _is_of_a_run(path: Path, has_parts: bool) -> bool:
    if path.is_symlink():
        return False
    if path.name in ("samples", "maps"):
        return path.is_dir() and all(_is_inside_a_run(inside.name) for inside in path.iterdir())
    if path.name in ("lock", LIST):
        return path.is_file() and (not path.stat().st_size or (has_parts and path.name == LIST))
    return is_temporary(path.name) or (has_parts and path.name in _MADE_LATER)


def _is_inside_a_run(name: str) -> bool:
    return is_part_name(name) or is_temporary(name) or name == SAVED


def drop_unlisted(folder: Path, listed: Collection[str]) -> None:
    """Delete the parts and their maps that are not listed, and the temporary files of killed processes."""
    for inside in (folder / "samples", folder / "maps"):
        if inside.is_symlink():  # its target may belong to others
            continue
        for path in inside.iterdir():
            if is_part_name(path.name) and path.name not in listed:
                path.unlink(missing_ok=True)  # a worker of a killed owner may be deleting it too
        remove_leftovers(inside)
    remove_leftovers(folder)
