"""The samples of tables with pictures, as Hugging Face `datasets` writes them; rows are read without the pictures."""

from __future__ import annotations

import hashlib
import itertools
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np

from rate.credentials import without_credentials
from rate.data.formats.manifest_files import Raw
from rate.data.formats.object_boxes import Numbers, is_corner_and_size, numbers_of
from rate.data.formats.object_rows import refused, value_of
from rate.data.formats.picture_files import PictureFile, open_pictures
from rate.data.formats.row_groups import GROUP_BYTES, has_paths, holds_pictures
from rate.data.formats.table_columns import TableColumns, first_of, table_columns
from rate.data.manifest import ParsedRow
from rate.data.storage.location import Folder, read_bytes
from rate.errors import DataError, SampleError
from rate.reading import USUAL, Reading


def is_picture_table(location: str, reading: Reading = USUAL) -> bool:
    """Tell whether a Parquet file holds pictures, instead of the paths of a manifest.

    Raises:
        DataError: the file cannot be opened.
    """
    with open_pictures(location) as (file, _):
        named = reading.columns.get("image") if isinstance(reading.columns, dict) else None
        names = [named or "image"] if {named, "image"} & {*file.schema.names} else file.schema.names
        return named is not None or any(holds_pictures(file.schema, name) for name in names)


def picture_rows(files: Sequence[str], reading: Reading = USUAL, group_bytes: int = GROUP_BYTES) -> Iterator[ParsedRow]:
    """Yield the samples of files, numbered by the rows of all of them; only labels and boxes are read.

    The image is binary or {bytes, path}; the label a text, or a number that the schema's `huggingface` metadata or
    the user names. The region of a row is its `boxes` ([[x0, y0, x1, y1], ...]), its x0, y0, x1, y1, or its
    `objects.bbox` (of the objects whose `category` is the label, if there are categories); a row without boxes has its
    region in `mask`, of the same form as the image. Of rows without a label each class among the objects is a sample,
    with the id `row:class` and the row as its cluster. Optional `id`, `split`, `group`, `cluster`,
    `question`, `options`.
    Without `id` a sample's id is the `path` in its image, if every row of the set has another one, else the file's
    name and the row's number in it. The split may be that of the file.

    Args:
        files: absolute paths or URLs.
        reading: columns by other names, what boxes are, and the names of numbered classes.
        group_bytes: the most text of a row group that is held, bytes.

    Raises:
        DataError: a file cannot be read, lacks a column, or refers to images outside the file; or nothing says what
            the boxes are.
    """
    has_own_paths = _have_own_paths(files, reading, group_bytes)
    has_size: bool | None = None
    before = 0
    for location, name in zip(files, _short_names(files), strict=True):
        with open_pictures(location, group_bytes) as (file, place):
            columns = table_columns(location, file.schema, reading)
            if columns.of_datasets and has_size is None:
                boxes = _boxes(files, reading, group_bytes)
                has_size = is_corner_and_size(boxes, reading.box_format, str(columns.boxes), _named(files))
            table = _Table(name, file, place, columns, has_own_paths, has_size)
            row = before
            try:
                for parsed in table.samples(before):
                    row = parsed.row
                    yield parsed
            except (OSError, ValueError, SampleError) as error:  # includes Arrow's exceptions
                lost = "this row and those after it in the file are lost: write it anew"
                yield refused(row + 1, {}, f"{location}: {error}; {lost}")
            before += file.rows


@dataclass(frozen=True, slots=True)
class _Table:
    name: str  # of the file
    file: PictureFile
    place: Folder
    columns: TableColumns
    has_own_paths: bool  # whether the paths of images are ids
    has_size: bool | None  # whether boxes that may be either are x, y, width, height

    def samples(self, before: int) -> Iterator[ParsedRow]:
        """Yield the samples of every row; ``before`` rows came from other files."""
        number = 0
        rows = self.columns.rows(self.has_size)
        paths_of = self.columns.image if self.has_own_paths else None
        for group in range(self.file.groups):
            if not self.file.has_bytes(group, self.columns.image):
                cure = "embed them (`save_to_disk` of datasets does), or make a manifest of the files"
                raise DataError(
                    f"{self.file.location}: `{self.columns.image}` names files and does not hold their bytes; {cure}"
                )
            for within, (cells, path) in enumerate(self.file.cells(group, self.columns.read(), paths_of)):
                number += 1
                raw: Raw = {name: value_of(cells, column) for name, column in self.columns.texts.items()}
                raw |= {name: cells[name] for name in self.columns.corners}
                if raw.get("id") is None:
                    raw["id"] = path or f"{self.name}:{number}"
                if raw.get("split") is None:
                    raw["split"] = self.file.split
                raw["image"] = self.file.place(group, within, self.columns.image)
                has_boxes = any(
                    value_of(cells, name) is not None for name in (self.columns.boxes, *self.columns.corners)
                )
                if self.columns.mask is not None and not has_boxes:
                    raw["mask"] = self.file.place(group, within, self.columns.mask)
                yield from rows.samples(raw, cells, before + number, self.place)


def _boxes(
    files: Sequence[str], reading: Reading, group_bytes: int
) -> Iterator[tuple[int, Numbers, Callable[[], bytes]]]:
    """Yield row, numbers and image of every box of a set."""
    row = 0
    for location in files:
        with open_pictures(location, group_bytes) as (file, _):
            columns = table_columns(location, file.schema, reading)
            if columns.boxes is None or not columns.of_datasets:
                row += file.rows
                continue
            for group in range(file.groups):
                for within, (cells, _) in enumerate(file.cells(group, [first_of(columns.boxes)])):
                    row += 1
                    image = partial(read_bytes, file.place(group, within, columns.image))
                    for box in numbers_of(value_of(cells, columns.boxes)):
                        yield row, box, image


def _have_own_paths(files: Sequence[str], reading: Reading, group_bytes: int) -> bool:
    """Tell whether every image of the files has a `path` of its own, in 8 bytes for each; not if rows have an `id`."""
    digests = bytearray()
    for location in files:
        try:
            with open_pictures(location, group_bytes) as (file, _):
                columns = table_columns(location, file.schema, reading)
                if "id" in columns.texts or not has_paths(file.schema, columns.image):
                    return False
                for group in range(file.groups):
                    for _, path in file.cells(group, (), columns.image):
                        if not path:
                            return False
                        digests += hashlib.blake2b(path.encode(), digest_size=8).digest()
        except (OSError, ValueError, DataError, SampleError):  # includes Arrow's; the reading of the rows reports it
            return False
    return len(np.unique(np.frombuffer(digests, np.uint64))) == len(digests) // 8


def _named(files: Sequence[str]) -> str:
    return files[0] if len(files) == 1 else f"{files[0]} and {len(files) - 1} more"


def _short_names(files: Sequence[str]) -> list[str]:
    """Return unique short names of the files that stay the same when all files move together."""
    parts = [without_credentials(path).split("/") if "://" in path else path.split("/") for path in files]
    levels = zip(*(own[:-1] for own in parts), strict=False)
    shared = sum(1 for _ in itertools.takewhile(lambda level: len(set(level)) == 1, levels))
    return ["/".join(own[shared:]) for own in parts]
