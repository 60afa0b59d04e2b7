"""The folder of masks that a reader of a set makes beside its manifest."""

from __future__ import annotations

from contextlib import AbstractContextManager
from pathlib import Path

from rate.data.formats.manifest_files import read_rows
from rate.errors import DataError
from rate.files import folder_instead, new_folder
from rate.outputs import require_new_folder


def masks_folder(masks: Path, manifest: Path) -> AbstractContextManager[Path]:
    """Return a draft that becomes the folder ``masks`` when its block ends well.

    An older folder is replaced if the older ``manifest`` names every file in it, and nothing else is in it.

    Raises:
        UsageError: the folder holds something else.
        StorageError: the disk is full.
    """
    if masks.is_dir() and not masks.is_symlink() and any(masks.iterdir()):
        inside = {path.relative_to(manifest.parent).as_posix() for path in masks.rglob("*") if not path.is_dir()}
        if inside and inside <= _named(manifest):
            return folder_instead(masks)
    require_new_folder("the masks go to a folder beside --out:", masks)
    return new_folder(masks)


def _named(manifest: Path) -> set[str]:
    """The masks that a manifest names; none where it cannot be read."""
    try:
        return {str(row[1].get("mask")) for row in read_rows(manifest) if isinstance(row, tuple)}
    except (DataError, OSError):
        return set()
