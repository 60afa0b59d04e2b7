"""A manifest for images sorted into one folder a class, with a mask folder of the same structure."""

from __future__ import annotations

import os
import re
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from rate.data.location import Folder
from rate.data.rows import Raw, check_suffix, write_rows
from rate.errors import ConfigError, DataError

SUFFIXES = frozenset(".jpg .jpeg .png .webp .gif .bmp .tif .tiff .ppm .pgm .pbm .jp2 .avif".split())
SHOWN = 10


@dataclass(frozen=True, slots=True)
class IndexReport:
    """What was written, and what was left out. Paths are relative to the manifest's folder."""

    out: Path
    rows: int
    classes: dict[str, int]  # class -> images
    splits: dict[str, int]  # split -> images; empty without splits
    without_mask: tuple[str, ...] = ()  # images left out
    without_image: tuple[str, ...] = ()  # masks no image asked for
    misplaced: tuple[str, ...] = ()  # images that lie at another depth, left out

    def notices(self) -> tuple[str, ...]:
        """One sentence for each kind of file that was left out, naming up to SHOWN of them."""
        kinds = (
            ("images have no mask and were left out", self.without_mask),
            ("masks have no image", self.without_image),
            ("images lie at another depth and were left out", self.misplaced),
        )
        return tuple(f"{len(paths)} {what}: {_named(paths)}" for what, paths in kinds if paths)


@dataclass(frozen=True, slots=True)
class _Found:
    """An image file at its place in the structure."""

    path: Path
    place: Path  # [split/]class
    mask: Path | None = None


def index_folder(
    images: Path, out: Path, *, masks: Path | None = None, mask_pattern: str = "{stem}.png", splits: bool = False
) -> IndexReport:
    """Write a manifest of ``images/[split/]class/file`` with the masks at ``masks/[split/]class/<mask_pattern>``.

    Rows are sorted by path. Images without a mask are left out and reported; hidden files are not looked at.

    Args:
        images: folder with one folder a class, or with one a split when ``splits``.
        out: .csv, .jsonl or .parquet, in a folder above images and masks; replaced when it is there.
        masks: folder of the same structure.
        mask_pattern: a mask's name from its image's: ``{stem}`` (without suffix), ``{name}`` (with it).
        splits: the first level below ``images`` names splits.

    Raises:
        ConfigError: the pattern.
        DataError: a folder is missing or not below that of ``out``, there are no images, or none has a mask.
    """
    check_suffix(out)
    mask_name = _mask_namer(mask_pattern)
    folder = Folder(out.parent)
    found, misplaced = _scan(images, splits, skip=masks)
    relative = _relative_to(folder, out)
    _check_found(images, found, misplaced, splits)
    if masks is None:
        raise DataError(_no_masks(images, found))
    relative(images), relative(masks)
    paired = [replace(item, mask=masks / item.place / mask_name(item.path)) for item in found]
    kept = [item for item in paired if item.mask is not None and item.mask.is_file()]
    if not kept:
        raise DataError(
            f"none of the {len(found)} images in {images} has a mask; the first was looked for at {paired[0].mask}: "
            "the masks mirror the image folders; --mask-pattern says how they are named, e.g. '{stem}_mask.png'"
        )
    rows = sorted((_row(item, relative, splits) for item in kept), key=lambda row: str(row["image"]))
    write_rows(out, rows)
    used = {item.mask for item in kept}
    return IndexReport(
        out=out,
        rows=len(rows),
        classes=_counts(rows, "label"),
        splits=_counts(rows, "split"),
        without_mask=tuple(sorted(relative(item.path) for item in paired if item not in kept)),
        without_image=tuple(sorted(relative(path) for path in _files(masks) if path not in used)),
        misplaced=tuple(sorted(relative(path) for path in misplaced)),
    )
