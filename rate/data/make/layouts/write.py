"""The conversion of a layout's entries to a manifest, with masks as PNG beside it if regions are not boxes."""

from __future__ import annotations

import math
from collections.abc import Iterable
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path

from PIL import ExifTags

from rate.data.formats.manifest_files import Raw, require_manifest
from rate.data.images.masks import Mask
from rate.data.images.prepare import read_image
from rate.data.make.index import SHOWN, ManifestReport, check_below, masks_folder, named, plain, reachable, written
from rate.data.make.layouts.base import BROKEN, Entry, LeftOut, Size
from rate.data.mask_table import OF_MADE_MASKS, MaskDocument
from rate.data.storage.location import Folder
from rate.errors import DataError, SampleError
from rate.types import Box


@dataclass(frozen=True, slots=True)
class LayoutReport(ManifestReport):
    """The result of `write_layout`."""

    left_out: dict[str, tuple[int, tuple[str, ...]]]  # reason -> number of images, and the first of them

    def notices(self) -> tuple[str, ...]:
        """Name the images that were left out, by reason."""
        return tuple(
            f"{count} images {why} and were left out: {named(first, count)}"
            for why, (count, first) in self.left_out.items()
        )


def write_layout(
    entries: Iterable[Entry | LeftOut], root: Path, out: Path, masks: MaskDocument | None = None
) -> LayoutReport:
    """Write the entries of a set as a manifest; masks go to the folder `<name of the manifest>-masks` beside it.

    Every image is opened once; unreadable images and images of another size than the annotation's are left out and
    counted.

    Args:
        entries: the entries of a layout's reader.
        root: the folder of the set: the folder of ``out`` or one below it.
        out: .csv, .jsonl or .parquet; replaced if it exists.
        masks: what the values of masks mean that are files of the set.

    Raises:
        DataError: the set as a whole does not match its layout, or no image of it can be used.
    """
    require_manifest(out)
    root, out = plain(root), plain(out)
    folder = Folder(out.parent)
    check_below(folder, root, out)
    with ExitStack() as stack:
        writer = _LayoutWriter(root, out, folder, stack)
        for item in entries:
            writer.add(item)
        if not writer.rows:
            reasons = "; ".join(f"{count} {why}" for why, count in writer.left_out.items()) or "no image found"
            raise DataError(f"{root} gives no row of a manifest: {reasons}")
    return LayoutReport(
        *written(out, writer.rows, OF_MADE_MASKS if writer.ignoring else masks),
        left_out={why: (count, tuple(writer.first[why])) for why, count in writer.left_out.items()},
    )


@dataclass(slots=True)
class _LayoutWriter:
    root: Path
    out: Path
    folder: Folder
    stack: ExitStack  # closing it renames the folder of masks
    rows: list[Raw] = field(default_factory=list)
    left_out: dict[str, int] = field(default_factory=dict)
    first: dict[str, list[str]] = field(default_factory=dict)  # up to SHOWN images for each reason
    masks: set[str] = field(default_factory=set)  # masks written so far
    draft: Path | None = None  # folder of masks under its temporary name
    ignoring: bool = False  # whether pixels of a mask are ignored
    opened: tuple[str, tuple[Size, bool]] | None = None  # the latest image

    def add(self, item: Entry | LeftOut) -> None:
        """Add an item as a row, or count its reason."""
        out = item if isinstance(item, LeftOut) else self._take(item)
        if out is None:
            return
        self.left_out[out.why] = self.left_out.get(out.why, 0) + 1
        shown = self.first.setdefault(out.why, [])
        if len(shown) < SHOWN:
            path = self.folder.relative(str(plain(out.image)))
            shown.append(f"{path} ({out.detail})" if out.detail else path)

    def _take(self, entry: Entry) -> LeftOut | None:
        """Add a row, or return the reason for none."""
        try:
            size, upright = self._stored(str(entry.image))
        except SampleError as error:
            return LeftOut(entry.image, "cannot be opened", str(error))
        if not upright:  # no set documents whether its annotators used the turned or the stored pixels
            return LeftOut(entry.image, "are turned by EXIF, which their annotation does not state,")
        if entry.annotated not in (None, size):
            return LeftOut(entry.image, "are not of the size that their annotation was drawn over")
        row: Raw = {"image": reachable(self.folder, plain(entry.image), self.out), "label": entry.label}
        try:
            row |= self._region(entry, size)
        except SampleError as error:
            return LeftOut(entry.image, BROKEN, str(error))
        cluster = entry.cluster
        if entry.of_several:
            row["id"], cluster = f"{row['image']}:{entry.label}", cluster or str(row["image"])
        optional = {"split": entry.split, "group": entry.group, "cluster": cluster}
        self.rows.append(row | {name: value for name, value in optional.items() if value is not None})
        return None

    def _stored(self, image: str) -> tuple[Size, bool]:
        """Return `stored` of an image; several entries of one image follow each other."""
        if self.opened is None or self.opened[0] != image:
            self.opened = image, stored(image)
        return self.opened[1]

    def _region(self, entry: Entry, size: Size) -> Raw:
        """Return the cell of a region.

        Raises:
            SampleError: it cannot be made, or a box of it is none.
        """
        region = entry.region
        if isinstance(region, Path):
            return {"mask": reachable(self.folder, plain(region), self.out)}
        name = entry.mask_name or f"{plain(entry.image).relative_to(self.root).as_posix()}.png"
        if callable(region) and name in self.masks:
            return {"mask": self._written(name)}
        made = region(size) if callable(region) else region
        if isinstance(made, Mask):
            return {"mask": self._save(name, made)}
        if not all(map(_is_box, made)):
            raise SampleError(f"a box of {made} has corners that are not finite or not in order")
        return {"boxes": [list(box) for box in made]}

    def _written(self, name: str) -> str:
        return self.folder.relative(str(self.out.parent / f"{self.out.stem}-masks" / name))

    def _save(self, name: str, mask: Mask) -> str:
        masks = self.out.parent / f"{self.out.stem}-masks"
        if self.draft is None:
            self.draft = self.stack.enter_context(masks_folder(masks, self.out))
        path = self.draft / name
        path.parent.mkdir(parents=True, exist_ok=True)
        self.ignoring |= mask.ignored is not None and bool(mask.ignored.any())
        mask.drawn().save(path, "PNG")
        self.masks.add(name)
        return self._written(name)


def _is_box(box: Box) -> bool:
    x0, y0, x1, y1 = box
    return all(map(math.isfinite, box)) and x0 <= x1 and y0 <= y1


def stored(image: str) -> tuple[Size, bool]:
    """Return the width and height of the stored pixels, and whether EXIF leaves them unchanged.

    Raises:
        SampleError: the file cannot be opened.
    """
    return read_image(image, lambda opened: (opened.size, opened.getexif().get(ExifTags.Base.Orientation, 1) == 1))
