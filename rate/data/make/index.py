"""A manifest for images sorted into one folder a class, with a mask folder of the same structure."""

from __future__ import annotations

import os
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from rate.data.formats.manifest_files import Raw, require_manifest, write_rows
from rate.data.storage.location import Folder
from rate.errors import ConfigError, DataError

SUFFIXES = frozenset(
    {".jpg", ".jpeg", ".png", ".webp", ".gif", ".bmp", ".tif", ".tiff", ".ppm", ".pgm", ".jp2", ".avif"}
)
SHOWN = 10


@dataclass(frozen=True, slots=True)
class IndexReport:
    """What was written, and what was left out. Paths are relative to the manifest's folder, sorted."""

    out: Path
    rows: int
    classes: dict[str, int]  # class -> images
    splits: dict[str, int]  # split -> images; empty without splits
    without_mask: tuple[str, ...]  # images left out
    without_image: tuple[str, ...]  # masks that belong to no image
    misplaced: tuple[str, ...]  # images at another depth, left out

    def notices(self) -> tuple[str, ...]:
        """One sentence for each kind of file that was left out, naming up to SHOWN of them."""
        kinds = (
            ("images without a mask were left out", self.without_mask),
            ("masks belong to no image", self.without_image),
            ("images at another depth were left out", self.misplaced),
        )
        return tuple(f"{len(paths)} {what}: {named(paths)}" for what, paths in kinds if paths)


@dataclass(frozen=True, slots=True)
class _Layout:
    """`[split/]class/file` below the images, `[split/]class/<pattern>` below the masks."""

    images: Path
    masks: Path
    pattern: str
    splits: bool

    @property
    def depth(self) -> int:
        return 3 if self.splits else 2

    def mask(self, image: Path) -> Path:
        """Where the mask of ``image`` has to lie."""
        names = {"{stem}": image.stem, "{name}": image.name}
        name = re.sub(r"\{\w+\}", lambda field: names[field.group()], self.pattern)
        return self.masks / image.relative_to(self.images).parent / name


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
    require_manifest(out)
    _check_pattern(mask_pattern)
    images, masks = plain(images), masks and plain(masks)
    layout = _Layout(images, masks or images, mask_pattern, splits)
    folder = Folder(out.parent)
    for part in (layout.images, layout.masks):
        check_below(folder, part, out)
    found, misplaced = _scan(layout, hidden=masks)
    if masks is None:
        raise DataError(_no_masks(images, found))
    targets = {layout.mask(image) for image in found}  # masks may lie beside their images
    have = _with_mask(layout, [image for image in found if image not in targets] or found)
    rows = [_row(layout, image, folder, out) for image in have]
    write_rows(out, rows)
    named = {*have, *targets}
    return IndexReport(
        out=out,
        rows=len(rows),
        classes=counts(rows, "label"),
        splits=counts(rows, "split"),
        without_mask=_relative(folder, (image for image in found if image not in named)),
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
    """A manifest reaches what lies below its folder, and nothing else."""
    if not part.is_dir():
        raise DataError(f"{part} is not a folder")
    try:
        folder.locate(folder.relative(str(part)))
    except ValueError as error:
        raise DataError(
            f"{part} does not lie below {folder.path}, the folder of the manifest; "
            f"write the manifest to a folder above it, e.g. --out {part.parent / out.name}"
        ) from error


def plain(path: Path) -> Path:
    """Absolute and without `..`: paths are compared."""
    return Path(os.path.normpath(path.absolute()))


def _scan(layout: _Layout, hidden: Path | None) -> tuple[list[Path], list[Path]]:
    """Images at the depth of the layout, sorted, and those elsewhere; a mask folder among the images is passed by."""
    files = image_files(layout.images)
    if hidden is not None and layout.images in hidden.parents:
        files = [file for file in files if hidden not in file.parents]
    depths = [len(file.relative_to(layout.images).parts) for file in files]
    found = [file for file, depth in zip(files, depths, strict=True) if depth == layout.depth]
    if not found:
        deeper = not layout.splits and layout.depth + 1 in depths
        cure = "; they lie one level deeper: pass --splits if the first level names splits" if deeper else ""
        form = "/".join([str(layout.images), *(["SPLIT"] if layout.splits else []), "CLASS", "FILE"])
        raise DataError(f"no image found at {form} ({', '.join(sorted(SUFFIXES))}){cure}")
    return found, [file for file, depth in zip(files, depths, strict=True) if depth != layout.depth]


def image_files(folder: Path) -> list[Path]:
    """All image files below a folder, sorted; what a dot hides is not looked at."""

    def walk(part: Path, above: frozenset[Path]) -> Iterator[Path]:
        real = part.resolve()
        if real in above:  # a link that leads in a circle
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
            f"none of the {len(images)} images in {layout.images} has a mask: the first was looked for at "
            f"{layout.mask(images[0])}; --mask-pattern says how masks are named, e.g. '{{stem}}_mask.png'"
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
    """The path as the manifest has it, refused now if it would be refused when the manifest is read."""
    written = folder.relative(str(path))
    try:
        folder.locate(written)
    except ValueError as error:
        raise DataError(f"{path} {error} (the manifest is {out})") from error
    return written


def _relative(folder: Folder, paths: Iterable[Path]) -> tuple[str, ...]:
    return tuple(folder.relative(str(path)) for path in paths)


def counts(rows: Sequence[Raw], column: str) -> dict[str, int]:
    """How many rows have each value of a column; sorted by value."""
    return dict(sorted(Counter(str(row[column]) for row in rows if column in row).items()))


def _no_masks(images: Path, found: Sequence[Path]) -> str:
    return (
        f"the {len(found)} images in {images} have no region, and PT and IR need one for each: "
        f"{named([path.relative_to(images).as_posix() for path in found])}; pass --masks DIR, a folder of masks "
        "(non-zero = object) in the same structure, or write a manifest with a `boxes` column yourself"
    )


def named(paths: Sequence[str], count: int | None = None) -> str:
    """The first SHOWN of ``count`` paths, and how many more there are."""
    more = (len(paths) if count is None else count) - SHOWN
    return ", ".join(paths[:SHOWN]) + (f" and {more} more" if more > 0 else "")
