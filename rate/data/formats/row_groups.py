"""Images inside Parquet and Arrow files: the bytes of one row, of Parquet through a few row groups in memory."""

from __future__ import annotations

import re
import threading
from collections import OrderedDict
from functools import lru_cache
from typing import Any
from urllib.parse import quote, unquote

from rate.data.formats.arrow_streams import arrow_stream
from rate.data.storage.container import container_stamp, regular_file
from rate.data.storage.local_file import check_same
from rate.errors import SampleError
from rate.types import Stamp

PICTURE_PLACE = re.compile(r"(parquet|arrow):([0-9]{1,9})/([0-9]{1,18})/([^:/]+):(.+)", re.DOTALL)
"""Matches FORM: ROW GROUP or batch / ROW in it / COLUMN, quoted as in a URL, and the file.

A digit after the colon distinguishes it from paths and URLs.
"""

GROUP_BYTES = 1 << 30
"""The largest column of one row group that is decompressed, bytes; image writers make groups of 100 to 1,000 rows."""

HELD_BYTES = 1 << 29
"""The limit of decompressed columns in memory, bytes; a larger column is kept alone."""

_BATCH = 16  # rows decompressed at a time, so that the limit is checked in time


class RowGroups:
    """The most recently used columns of row groups, bounded in bytes. Threads share it; one of them reads at a time."""

    def __init__(self, held_bytes: int = HELD_BYTES, group_bytes: int = GROUP_BYTES) -> None:
        self.held_bytes, self.group_bytes = held_bytes, group_bytes
        self._lock = threading.Lock()
        self._held: OrderedDict[tuple[object, ...], Any] = OrderedDict()  # -> pyarrow.ChunkedArray of binary

    def cell(self, location: str, group: int, row: int, column: str) -> bytes | None:
        """Return the bytes of an image; None = the cell is null.

        Raises:
            IndexError: the row does not exist.
            SampleError: the column is larger than ``group_bytes``.
        """
        identity = regular_file(location)
        key = (*identity, group, column)
        with self._lock:
            cells = self._held.get(key)
            if cells is None:
                file = _opened(*identity)
                self._make_room(chunk_bytes(file.metadata, group, (leaf_of(file.schema_arrow, column),)))
                cells = _column(file, location, group, column, self.group_bytes)
                self._make_room(cells.nbytes)  # the footer may state too small a size
                self._held[key] = cells
            self._held.move_to_end(key)
        value = cells[row].as_py()
        return None if value is None else bytes(value)

    def _make_room(self, size: int) -> None:
        while self._held and self.nbytes + size > self.held_bytes:
            self._held.popitem(last=False)

    @property
    def nbytes(self) -> int:
        """The size of the columns in memory, bytes."""
        return sum(cells.nbytes for cells in self._held.values())


_groups = RowGroups()


def picture_place(form: str, group: int, row: int, column: str, location: str) -> str:
    """Return the location of an image's bytes in a file of the form `parquet` or `arrow`."""
    return f"{form}:{group}/{row}/{quote(column, safe='')}:{location}"


def picture_bytes(form: str, group: int, row: int, quoted: str, location: str, expected: Stamp | None = None) -> bytes:
    """Return the bytes of a `picture_place`, whose column is ``quoted``.

    Raises:
        SampleError: the cell is null, or its row group too large.
        SetChanged: the file is not the one with the stamp ``expected``.
        OSError, LookupError, ValueError: the file is missing or broken.
    """
    column = unquote(quoted)
    try:
        if form == "arrow":
            data = arrow_stream(location).picture(group, row, column)
        else:
            data = _groups.cell(location, group, row, column)
    finally:  # also when another file made the reading fail
        if expected is not None:
            check_same(location, expected, container_stamp(location))
    if data is None:
        raise SampleError(f"{location}: row {row} of group {group} has no bytes in its {column}, at most a path")
    return data


def holds_pictures(schema: Any, column: str) -> bool:
    """Tell whether a column of an Arrow schema holds encoded images: binary, or a struct with binary `bytes`."""
    import pyarrow.types as kinds

    if column not in schema.names:
        return False
    kind = schema.field(column).type
    if kinds.is_struct(kind):
        index = kind.get_field_index("bytes")
        return index >= 0 and _is_binary(kind.field(index).type)
    return _is_binary(kind)


def has_paths(schema: Any, column: str) -> bool:
    """Tell whether a column of an Arrow schema is a struct with a text `path` beside its images."""
    import pyarrow.types as kinds

    kind = schema.field(column).type if column in schema.names else None
    if kind is None or not kinds.is_struct(kind) or (index := kind.get_field_index("path")) < 0:
        return False
    return bool(kinds.is_string(kind.field(index).type) or kinds.is_large_string(kind.field(index).type))


def chunk_bytes(metadata: Any, group: int, leaves: tuple[str, ...]) -> int:
    """Return the decompressed size of a row group's columns from the footer, bytes. A leaf covers all below it."""
    chunks = metadata.row_group(group)
    columns = [chunks.column(index) for index in range(chunks.num_columns)]
    return sum(
        chunk.total_uncompressed_size
        for chunk in columns
        if any(f"{chunk.path_in_schema}.".startswith(f"{leaf}.") for leaf in leaves)
    )


def leaf_of(schema: Any, column: str) -> str:
    """Return the leaf that holds the images of a column."""
    import pyarrow.types as kinds

    return f"{column}.bytes" if kinds.is_struct(schema.field(column).type) else column


def check_group(size: int, location: str, group: int, what: str, limit: int) -> None:
    """Refuse a row group of which more than ``limit`` bytes would be in memory.

    Raises:
        SampleError: names size, limit and cure.
    """
    if size > limit:
        cure = "write the file with smaller row groups"
        raise SampleError(
            f"{location}: {what} of row group {group} takes {size:,} bytes, the limit is {limit:,}; {cure}"
        )


def _is_binary(kind: Any) -> bool:
    import pyarrow.types as kinds

    return bool(kinds.is_binary(kind) or kinds.is_large_binary(kind) or kinds.is_binary_view(kind))


@lru_cache(maxsize=8)
def _opened(path: str, size: int, device: int, inode: int, modified_ns: int) -> Any:
    from pyarrow import parquet

    return parquet.ParquetFile(path)


def _column(file: Any, location: str, group: int, column: str, limit: int) -> Any:
    """Return one column of a row group as chunks of binary."""
    import pyarrow as pa
    import pyarrow.compute as compute

    leaf = leaf_of(file.schema_arrow, column)
    check_group(chunk_bytes(file.metadata, group, (leaf,)), location, group, column, limit)
    chunks, size = [], 0
    for batch in file.iter_batches(batch_size=_BATCH, row_groups=[group], columns=[leaf], use_threads=False):
        cells = batch.column(0)
        chunks.append(compute.struct_field(cells, "bytes") if leaf != column else cells)
        size += chunks[-1].nbytes
        # the footer may state too small a size, and a dictionary repeats values without bytes
        check_group(size, location, group, column, limit)
    return pa.chunked_array(chunks)
