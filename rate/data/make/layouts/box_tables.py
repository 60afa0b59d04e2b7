"""Boxes in a table: columns by their usual names or by the user's word, and the tables of Open Images.

Open Images: `SPLIT-annotations-bbox.csv` with `ImageID`, `LabelName`, `XMin`, `XMax`, `YMin`, `YMax` as shares of the
image, `class-descriptions-boxable.csv` with lines `/m/011k07,Tortoise`, and images `IMAGEID.jpg`.
Kuznetsova et al., "The Open Images Dataset V4", IJCV 2020.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from rate.data.make.index import image_files
from rate.data.make.layouts.base import BROKEN, Entry, LeftOut, Size, below, file_of, text_lines
from rate.errors import ConfigError, DataError
from rate.files import read_text
from rate.types import Box

ALIASES: Mapping[str, tuple[str, ...]] = {
    "image": ("image", "filename", "file_name", "file", "path", "image_path", "filepath", "img", "imageid", "image_id"),
    "label": ("label", "class", "class_name", "category", "name", "labelname", "target"),
    "x0": ("x0", "xmin", "x_min", "x1", "left"),
    "y0": ("y0", "ymin", "y_min", "y1", "top"),
    "x1": ("x1", "xmax", "x_max", "x2", "right"),
    "y1": ("y1", "ymax", "y_max", "y2", "bottom"),
    "width": ("width", "w", "box_width", "bbox_width"),
    "height": ("height", "h", "box_height", "bbox_height"),
    "split": ("split", "subset", "set"),
    "group": ("group",),
}
"""The usual names of a column, without regard to case."""

NO_BOX = "have no box in the table"
_REQUIRED = ("image", "x0", "y0")


@dataclass(frozen=True, slots=True)
class _Row:
    image: str
    label: str | None
    box: Box
    split: str | None
    group: str | None


def read_table(
    table: Path,
    images: Path,
    *,
    columns: str | None = None,
    shares: bool = False,
    labelled: bool = True,
    splits: bool = False,
) -> Iterator[Entry | LeftOut]:
    """Yield every image of a table of boxes, once for each class in it; rows of one image and class are one region.

    Args:
        table: text with a header, separated by commas, semicolons, tabs or bars.
        images: the folder to which names of images are relative; a name may lack its suffix or its folder.
        columns: names of columns in the table, such as `image=picture,label=kind,x0=left`.
        shares: whether coordinates are shares of the image's sides.
        labelled: whether the table names the classes; otherwise they are the folders of the images.
        splits: whether the first level of folders below ``images`` names splits.

    Raises:
        DataError: the table cannot be read or lacks a column, or all boxes are shares and ``shares`` is not said.
        ConfigError: ``columns`` is of another form.
    """
    if not images.is_dir():
        raise DataError(f"{images} is not a folder of images")
    rows = list(_rows(table, columns, labelled))
    if not rows:
        raise DataError(f"{table} has no rows")
    if not shares and all(0.0 <= number <= 1.01 for row in rows for number in row.box):
        raise DataError(
            f"{table}: all {len(rows)} boxes lie between 0 and 1, such as {[*rows[0].box]}: they are shares of the "
            "image; say so with --shares"
        )
    places = _Places(images)
    grouped: dict[tuple[Path, str], list[_Row]] = {}
    for row in rows:
        image = places.find(row.image, table)
        grouped.setdefault((image, image.parent.name if row.label is None else row.label), []).append(row)
    several = len({image for image, _ in grouped}) < len(grouped)
    for (image, label), same in sorted(grouped.items()):
        boxes = tuple(row.box for row in same)
        region = partial(_in_pixels, boxes) if shares else boxes
        split = image.relative_to(images).parts[0] if splits else same[0].split
        yield Entry(image, label, region, split, group=same[0].group, of_several=several)
    if not labelled:
        named = {image for image, _ in grouped}
        yield from (LeftOut(image, NO_BOX) for image in image_files(images) if image not in named)


def read_open_images(
    root: Path, images: Path, *, split: str = "validation", names: Mapping[str, str] | None = None
) -> Iterator[Entry | LeftOut]:
    """Yield every image of a split that has boxes, once for each class in it.

    Args:
        root: the folder of the tables.
        images: the folder of the split's images.
        split: train, validation or test.
        names: class (`/m/011k07`) -> class name; the default is `class-descriptions-boxable.csv`.

    Raises:
        DataError: a table is missing or of another form.
    """
    table = file_of(root, f"{split}-annotations-bbox.csv", f"oidv6-{split}-annotations-bbox.csv")
    if names is None:
        described = csv.reader(text_lines(file_of(root, "class-descriptions-boxable.csv")))
        names = {row[0]: row[1].strip() for row in described if len(row) == 2}
    chosen = "image=ImageID,label=LabelName,x0=XMin,y0=YMin,x1=XMax,y1=YMax"
    for item in read_table(table, images, columns=chosen, shares=True):
        if isinstance(item, LeftOut):
            yield item
        elif item.label not in names:
            yield LeftOut(item.image, BROKEN, f"class {item.label} has no description")
        else:
            yield Entry(item.image, names[item.label], item.region, split, of_several=True)


def _rows(table: Path, columns: str | None, labelled: bool) -> Iterator[_Row]:
    try:
        text = read_text(table)
    except (OSError, ValueError) as error:
        raise DataError(f"{table} cannot be read: {error}; expected a text file with a header") from error
    first = text.partition("\n")[0]
    separator = max(",;\t|", key=first.count)
    rows = csv.reader(io.StringIO(text, newline=""), delimiter=separator, strict=True)
    try:
        header = [name.strip().lstrip("\ufeff") for name in next(rows, [])]
        at = _columns(table, header, columns, labelled)
        for number, cells in enumerate(rows, 1):
            if cells:
                yield _row(table, number, cells, at)
    except csv.Error as error:
        raise DataError(f"{table} is malformed: {error}") from error


def _columns(table: Path, header: list[str], columns: str | None, labelled: bool) -> dict[str, int]:
    """Map each meaning to the number of its column."""
    said = _said(columns)
    there = {name.lower(): number for number, name in reversed(list(enumerate(header)))}
    at: dict[str, int] = {}
    for meaning, aliases in ALIASES.items():
        if meaning in said and said[meaning].lower() not in there:
            raise DataError(f"{table} has no column {said[meaning]!r}; it has {', '.join(header)}")
        wanted = (said[meaning].lower(),) if meaning in said else aliases
        taken = {number for other, number in at.items() if other != "label"}
        if (name := next((name for name in wanted if name in there and there[name] not in taken), None)) is not None:
            at[meaning] = there[name]
    corners = {"x1", "y1"} <= at.keys()
    if corners:
        at = {meaning: number for meaning, number in at.items() if meaning not in ("width", "height")}
    missing = [name for name in (*_REQUIRED, *(["label"] if labelled else [])) if name not in at]
    missing += [] if corners or {"width", "height"} <= at.keys() else ["x1", "y1"]
    if missing:
        raise DataError(
            f"{table}: no column gives {', '.join(missing)}; it has {', '.join(header) or 'none'}; name them with "
            f"--columns {missing[0]}=COLUMN,..."
        )
    return at


def _said(columns: str | None) -> dict[str, str]:
    pairs = [] if columns is None else [part.partition("=") for part in columns.split(",")]
    for meaning, _, name in pairs:
        if meaning.strip() not in ALIASES or not name.strip():
            raise ConfigError(
                f"--columns {columns!r}: expected such as image=picture,label=kind,x0=left; the columns are "
                f"{', '.join(ALIASES)}"
            )
    return {meaning.strip(): name.strip() for meaning, _, name in pairs}


def _row(table: Path, number: int, cells: list[str], at: Mapping[str, int]) -> _Row:
    try:
        value = {meaning: cells[column].strip() for meaning, column in at.items()}
        x0, y0 = float(value["x0"]), float(value["y0"])
        if "x1" in at:
            box = x0, y0, float(value["x1"]), float(value["y1"])
        else:
            box = x0, y0, x0 + float(value["width"]), y0 + float(value["height"])
    except (ValueError, IndexError) as error:
        raise DataError(f"{table}: row {number} is not as the header says: {error}") from error
    return _Row(value["image"], value.get("label"), box, value.get("split") or None, value.get("group") or None)


class _Places:
    """Finds the images of a folder by the names of a table."""

    def __init__(self, images: Path) -> None:
        self._images = images
        self._by_name: dict[str, Path] = {}
        for image in image_files(images):
            for name in (image.stem, image.name):
                self._by_name.setdefault(name, image)

    def find(self, written: str, table: Path) -> Path:
        """Return the image; one that is not there is named as if it were below the folder."""
        direct = below(self._images, written.removeprefix("./"), table)
        if direct.is_file():
            return direct
        return self._by_name.get(Path(written).name, direct)


def _in_pixels(boxes: tuple[Box, ...], size: Size) -> tuple[Box, ...]:
    width, height = size
    return tuple((x0 * width, y0 * height, x1 * width, y1 * height) for x0, y0, x1, y1 in boxes)
