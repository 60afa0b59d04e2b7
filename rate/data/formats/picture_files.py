"""Files of tables with pictures: their rows without the pictures, and where the pictures of a row are."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import PurePath
from typing import Any, Protocol, TypeAlias

from rate.data.formats.arrow_streams import ArrowStream, arrow_stream, saved_split
from rate.data.formats.row_groups import GROUP_BYTES, check_group, chunk_bytes, leaf_of, picture_place
from rate.data.storage.container import container_stamp, regular_file
from rate.data.storage.location import Folder, InPlace
from rate.errors import DataError

_BATCH = 1024  # rows

_OF_SPLIT = re.compile(r"(.+)-[0-9]{5,}-of-[0-9]{5,}\.[a-z]+")
"""Matches names that `datasets` gives to the Parquet files of a split."""

_OF_CONVERTED = re.compile(r"hf://.+@refs(?:/|%2F)convert(?:/|%2F)parquet/[^/]+/(?:partial-)?([^/]+)/[0-9]+\.parquet")
"""Matches files of a split that the Hugging Face Hub converted."""

Cells: TypeAlias = Iterator[tuple[dict[str, Any], str | None]]


class PictureFile(Protocol):
    """A file of a table with pictures."""

    location: str  # path or URL
    schema: Any  # pyarrow.Schema
    groups: int  # its rows lie in so many groups
    rows: int
    split: str | None  # as file or folder say

    def cells(self, group: int, columns: Sequence[str], paths_of: str | None = None) -> Cells:
        """Yield the cells of each row of a group, and the path in its image in the column ``paths_of``.

        Raises:
            SampleError: the columns take too much memory.
            ValueError, OSError: the file is broken.
        """

    def has_bytes(self, group: int, column: str) -> bool:
        """Tell whether an image of a group may have bytes, as far as it can be told without reading them."""

    def place(self, group: int, row: int, column: str) -> str:
        """Return the location of an image."""


@contextmanager
def open_pictures(location: str, group_bytes: int = GROUP_BYTES) -> Iterator[tuple[PictureFile, Folder]]:
    """Open a file with the folder of its locations; the stamp is taken before anything is read.

    Raises:
        DataError: it cannot be opened.
    """
    import pyarrow as pa
    from pyarrow import parquet

    is_arrow = PurePath(location.partition("?")[0]).suffix.lower() == ".arrow"
    try:
        stamp = container_stamp(location)
        opened: Any = arrow_stream(location) if is_arrow else parquet.ParquetFile(regular_file(location)[0])
    except FileNotFoundError as error:
        raise DataError(f"{location} does not exist") from error
    except (OSError, ImportError, ValueError, pa.ArrowException) as error:
        what = "an Arrow stream" if is_arrow else "a Parquet file"
        raise DataError(f"{location} cannot be read as {what}: {error}") from error
    if is_arrow:  # it stays open, as images are read from it
        yield _Arrow(location, opened), InPlace(stamp)
    else:
        with opened:
            yield _Parquet(location, opened, group_bytes), InPlace(stamp)


class _Arrow:
    def __init__(self, location: str, stream: ArrowStream) -> None:
        self.location, self.schema, self.groups = location, stream.schema, len(stream.batches)
        self.rows = sum(batch.num_rows for batch in stream.batches)
        self.split = saved_split(location)
        self._stream = stream

    def cells(self, group: int, columns: Sequence[str], paths_of: str | None = None) -> Cells:
        return self._stream.cells(group, columns, paths_of)

    def has_bytes(self, group: int, column: str) -> bool:
        return self._stream.has_bytes(group, column)

    def place(self, group: int, row: int, column: str) -> str:
        return picture_place("arrow", group, row, column, self.location)


class _Parquet:
    def __init__(self, location: str, file: Any, group_bytes: int) -> None:
        self.location, self.schema, self.groups = location, file.schema_arrow, file.metadata.num_row_groups
        self.rows = file.metadata.num_rows
        name = PurePath(location.partition("?")[0]).name
        named = _OF_SPLIT.fullmatch(name) or _OF_CONVERTED.fullmatch(location)
        self.split = named[1] if named else None
        self._file, self._group_bytes = file, group_bytes

    def cells(self, group: int, columns: Sequence[str], paths_of: str | None = None) -> Cells:
        selected = [*columns, *([] if paths_of is None else [f"{paths_of}.path"])]
        size = chunk_bytes(self._file.metadata, group, tuple(selected))
        check_group(size, self.location, group, "the text", self._group_bytes)
        for batch in self._file.iter_batches(batch_size=_BATCH, row_groups=[group], columns=selected):
            for cells in batch.to_pylist():
                picture = None if paths_of is None else cells[paths_of]
                yield cells, None if picture is None else picture["path"]

    def has_bytes(self, group: int, column: str) -> bool:
        leaf, chunks = leaf_of(self.schema, column), self._file.metadata.row_group(group)
        for index in range(chunks.num_columns):
            chunk = chunks.column(index)
            if chunk.path_in_schema == leaf and chunk.statistics and chunks.num_rows:
                return bool(chunk.statistics.null_count != chunks.num_rows)
        return True

    def place(self, group: int, row: int, column: str) -> str:
        return picture_place("parquet", group, row, column, self.location)
