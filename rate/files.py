"""Files that are whole or absent: written under another name, synced, renamed."""

from __future__ import annotations

import errno
import json
import os
import re
from collections.abc import Callable
from pathlib import Path

from rate.errors import StorageError
from rate.types import Json

TEMPORARY = re.compile(r"\.(run|precision|summary|faithfulness)\.json\.\d+\.tmp|\.maps\.parquet\.\d+\.tmp")
"""Names under which files of a run are written before they are whole."""


def is_temporary(name: str) -> bool:
    """Whether a file of that name is one that a killed process left behind."""
    return TEMPORARY.fullmatch(name) is not None


def write_atomically(path: Path, write: Callable[[Path], None]) -> None:
    """Let ``write`` fill a temporary sibling of ``path``, then put it in place; a crash leaves the old file or none.

    Raises:
        StorageError: the disk is full, gone or read-only; the old file is still there.
    """
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        try:
            write(temporary)
            with temporary.open("rb") as file:
                os.fsync(file.fileno())
            temporary.replace(path)
        finally:
            temporary.unlink(missing_ok=True)
        _sync_folder(path.parent)
    except OSError as error:
        full = error.errno in (errno.ENOSPC, errno.EDQUOT)
        cure = "Make room" if full else "See that its folder is there and can be written to"
        raise StorageError(
            f"{path} cannot be written: {os.strerror(error.errno) if error.errno else error}; what was stored before "
            f"is whole. {cure}, then run the same command again to go on"
        ) from error


def _sync_folder(path: Path) -> None:
    """The rename itself must survive a power cut."""
    folder = os.open(path, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)


def write_json(path: Path, value: Json) -> None:
    """Write ``value`` atomically, readable by people; NaN is a defect, never written."""
    text = json.dumps(value, indent=2, ensure_ascii=False, allow_nan=False) + "\n"

    def write(temporary: Path) -> None:
        temporary.write_text(text, encoding="utf-8")

    write_atomically(path, write)
