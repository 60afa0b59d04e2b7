"""A manifest for images in one folder for each class, with a mask folder of the same structure."""

from __future__ import annotations

import os
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path

from rate.data.formats.manifest_blocks import read_rows
from rate.data.formats.manifest_files import Raw, require_manifest, write_rows
from rate.data.mask_table import MaskDocument, mask_table, write_side_file
from rate.data.storage.location import Folder
from rate.errors import ConfigError, DataError
from rate.files import folder_instead, new_folder
from rate.outputs import require_new_folder
from rate.reading import USUAL, Reading

SUFFIXES = frozenset(
    {".jpg", ".jpeg", ".png", ".webp", ".gif", ".bmp", ".tif", ".tiff", ".ppm", ".pgm", ".jp2", ".avif"}
)
SHOWN = 10


@dataclass(frozen=True, slots=True)
class ManifestReport:
    """A manifest that was made of a set. Paths are relative to its folder, and sorted."""

    out: Path
    rows: int
    classes: dict[str, int]  # class -> rows
    splits: dict[str, int]  # split -> rows; empty without splits

    def notices(self) -> tuple[str, ...]:
        """Return one sentence for each kind of thing that was left out, naming up to SHOWN of them."""
        return ()


@dataclass(frozen=True, slots=True)
class IndexReport(ManifestReport):
    """The result of `index_folder`."""

    without_mask: tuple[str, ...]  # images left out
    without_image: tuple[str, ...]  # masks without an image
    misplaced: tuple[str, ...]  # images at another depth, which are left out

    def notices(self) -> tuple[str, ...]:
        """Name the files that were left out."""
        kinds = (
            ("images without a mask were left out", self.without_mask),
            ("masks belong to no image", self.without_image),
            ("images at another depth were left out", self.misplaced),
        )
        return tuple(f"{len(paths)} {what}: {named(paths)}" for what, paths in kinds if paths)


@dataclass(frozen=True, slots=True)
class _Layout:
    """The layout `[split/]class/file` below the images, and `[split/]class/<pattern>` below the masks."""

    images: Path
    masks: Path
    pattern: str
    splits: bool

    @property
    def depth(self) -> int:
        """The number of names in the path of an image below the images."""
        return 3 if self.splits else 2

    def mask(self, image: Path) -> Path:
        """Return the expected path of the mask of ``image``."""
        names = {"{stem}": image.stem, "{name}": image.name}
        name = re.sub(r"\{\w+\}", lambda field: names[field.group()], self.pattern)
        return self.masks / image.relative_to(self.images).parent / name


def index_folder(
    images: Path,
    out: Path,
    *,
    masks: Path | None = None,
    mask_pattern: str = "{stem}.png",
    splits: bool = False,
    reading: Reading = USUAL,
) -> IndexReport:
    """Write a manifest of ``images/[split/]class/file`` with the masks at ``masks/[split/]class/<mask_pattern>``.

    Rows are sorted by path. Images without a mask are left out and reported; hidden files are ignored.

    Args:
        images: a folder with one folder for each class, or for each split with ``splits``.
        out: .csv, .jsonl or .parquet, in a folder above images and masks; replaced if it exists.
        masks: a folder of the same structure.
        mask_pattern: a mask's name from its image's: ``{stem}`` (without suffix), ``{name}`` (with it).
        splits: whether the first level below ``images`` names splits.
        reading: what the values of the masks mean, which the side file of the manifest then says.

    Raises:
        ConfigError: the pattern is invalid.
        DataError: a folder is missing or not below that of ``out``, there are no images, or none has a mask.
    """
    require_manifest(out)
    _check_pattern(mask_pattern)
    images, masks = plain(images), masks and plain(masks)
    layout = _Layout(images, masks or images, mask_pattern, splits)
    folder = Folder(out.parent)
    for part in (layout.images, layout.masks):
        check_below(folder, part, out)
    placed, misplaced = _scan(layout, hidden=masks)
    if masks is None:
        raise DataError(_no_masks(images, placed))
    targets = {layout.mask(image) for image in placed}  # masks may be in the folders of their images
    have = _with_mask(layout, [image for image in placed if image not in targets] or placed)
    rows = [_row(layout, image, folder, out) for image in have]
    named = {*have, *targets}
    table = mask_table(None, reading)
    return IndexReport(
        *written(out, rows, None if table is None else table.document),
        without_mask=_relative(folder, (image for image in placed if image not in named)),
        without_image=_relative(folder, (mask for mask in image_files(masks) if mask not in named)),
        misplaced=_relative(folder, misplaced),
    )


def _check_pattern(pattern: str) -> None:
    fields = set(re.findall(r"\{[^}]*\}?", pattern))
    if not fields or not fields <= {"{stem}", "{name}"}:
        raise ConfigError(f"a mask pattern names its image by {{stem}} or {{name}} and nothing else, got {pattern!r}")
    if Path(pattern).is_absolute() or ".." in Path(pattern).parts:
        raise ConfigError(f"a mask pattern stays in the folder of the class, got {pattern!r}")


def check_below(folder: Folder, part: Path, out: Path) -> None:
    """Refuse a folder that is neither the manifest's nor below it."""
    if not part.is_dir():
        raise DataError(f"{part} is not a folder")
    if str(plain(part)) == folder.path:
        return
    try:
        folder.locate(folder.relative(str(part)))
    except ValueError as error:
        raise DataError(
            f"{part} does not lie below {folder.path}, the folder of the manifest; "
            f"write the manifest to a folder above it, e.g. --out {part.parent / out.name}"
        ) from error


def plain(path: Path) -> Path:
    """Make a path absolute and free of `..`, for comparisons."""
    return Path(os.path.normpath(path.absolute()))


def _scan(layout: _Layout, hidden: Path | None) -> tuple[list[Path], list[Path]]:
    """Return the sorted images at the depth of the layout, and those at other depths; a mask folder is skipped."""
    files = image_files(layout.images)
    if hidden is not None and layout.images in hidden.parents:
        files = [file for file in files if hidden not in file.parents]
    depths = [len(file.relative_to(layout.images).parts) for file in files]
    placed = [file for file, depth in zip(files, depths, strict=True) if depth == layout.depth]
    if not placed:
        deeper = not layout.splits and layout.depth + 1 in depths
        cure = "; they lie one level deeper: pass --splits if the first level names splits" if deeper else ""
        form = "/".join([str(layout.images), *(["SPLIT"] if layout.splits else []), "CLASS", "FILE"])
        raise DataError(f"no image found at {form} ({', '.join(sorted(SUFFIXES))}){cure}")
    return placed, [file for file, depth in zip(files, depths, strict=True) if depth != layout.depth]


def image_files(folder: Path) -> list[Path]:
    """List all image files below a folder, sorted; hidden files and folders are skipped."""

    def walk(part: Path, above: frozenset[Path]) -> Iterator[Path]:
        real = part.resolve()
        if real in above:  # a circular link
            return
        for entry in part.iterdir():
            if entry.name.startswith("."):
                continue
            if entry.is_dir():
                yield from walk(entry, above | {real})
            elif entry.suffix.lower() in SUFFIXES and entry.is_file():
                yield entry

    return sorted(walk(folder, frozenset()), key=lambda path: path.as_posix())


def _with_mask(layout: _Layout, images: Sequence[Path]) -> list[Path]:
    have = [image for image in images if layout.mask(image) != image and layout.mask(image).is_file()]
    if not have:
        raise DataError(
            f"none of the {len(images)} images in {layout.images} has a mask: the first was expected at "
            f"{layout.mask(images[0])}; --mask-pattern sets the names of masks, e.g. '{{stem}}_mask.png'"
        )
    return have


def _row(layout: _Layout, image: Path, folder: Folder, out: Path) -> Raw:
    parts = image.relative_to(layout.images).parts
    row: Raw = {
        "image": reachable(folder, image, out),
        "label": parts[-2],
        "mask": reachable(folder, layout.mask(image), out),
    }
    return {**row, "split": parts[0]} if layout.splits else row


def reachable(folder: Folder, path: Path, out: Path) -> str:
    """Return the path as the manifest stores it; a path that a reader would refuse is refused."""
    written = folder.relative(str(path))
    try:
        folder.locate(written)
    except ValueError as error:
        raise DataError(f"{path} {error} (the manifest is {out})") from error
    return written


def _relative(folder: Folder, paths: Iterable[Path]) -> tuple[str, ...]:
    return tuple(folder.relative(str(path)) for path in paths)


def written(
    out: Path, rows: Sequence[Raw], masks: MaskDocument | None = None
) -> tuple[Path, int, dict[str, int], dict[str, int]]:
    """Write the manifest and, with ``masks``, its side file; return the fields of its `ManifestReport`."""
    if masks is not None:
        write_side_file(out, masks)
    write_rows(out, rows)
    return out, len(rows), _counts(rows, "label"), _counts(rows, "split")


def _counts(rows: Sequence[Raw], column: str) -> dict[str, int]:
    """Count the rows for each value of a column, sorted by value."""
    return dict(sorted(Counter(str(row[column]) for row in rows if column in row).items()))


def _no_masks(images: Path, placed: Sequence[Path]) -> str:
    return (
        f"the {len(placed)} images in {images} have no region, and PT and IR need one for each: "
        f"{named([path.relative_to(images).as_posix() for path in placed])}; pass --masks DIR, a folder of masks "
        "(non-zero = object) in the same structure, or write a manifest with a `boxes` column yourself"
    )


def named(paths: Sequence[str], count: int | None = None) -> str:
    """Name the first SHOWN of ``count`` paths, and the number of the others."""
    more = (len(paths) if count is None else count) - SHOWN
    return ", ".join(paths[:SHOWN]) + (f" and {more} more" if more > 0 else "")


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
