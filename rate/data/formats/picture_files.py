"""Files of tables with pictures: their rows without the pictures, and where the pictures of a row are."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Protocol

from rate.data.formats.row_groups import GROUP_BYTES, check_group, chunk_bytes, leaf_of, parquet_place
from rate.data.storage.container import container_stamp, regular_file
from rate.data.storage.location import Folder, InPlace
from rate.errors import DataError

_BATCH = 1024  # rows


class PictureFile(Protocol):
    """A file of a table with pictures; its rows lie in groups."""

    @property
    def location(self) -> str:
        """Its path or URL."""

    @property
    def schema(self) -> Any:
        """The Arrow schema."""

    @property
    def groups(self) -> int:
        """The number of groups."""

    @property
    def rows(self) -> int:
        """The number of rows."""

    def cells(
        self, group: int, columns: Sequence[str], paths_of: str | None = None
    ) -> Iterator[tuple[dict[str, Any], str | None]]:
        """Yield the cells of each row of a group, and the path in its picture in the column ``paths_of``.

        Raises:
            SampleError: the columns take too much memory.
            ValueError, OSError: the file is broken.
        """

    def has_bytes(self, group: int, column: str) -> bool:
        """Tell whether a picture of a group may have bytes, as far as it can be told without reading them."""

    def place(self, group: int, row: int, column: str) -> str:
        """Return the location of a picture."""


@contextmanager
def open_pictures(location: str, group_bytes: int = GROUP_BYTES) -> Iterator[tuple[PictureFile, Folder]]:
    """Open a file with the folder of its locations; the stamp is taken before anything is read.

    Raises:
        DataError: it cannot be opened.
    """
    import pyarrow as pa
    from pyarrow import parquet

    try:
        stamp = container_stamp(location)
        file = parquet.ParquetFile(regular_file(location)[0])
    except FileNotFoundError as error:
        raise DataError(f"{location} does not exist") from error
    except (OSError, ImportError, ValueError, pa.ArrowException) as error:
        raise DataError(f"{location} cannot be read as a Parquet file: {error}") from error
    with file:
        yield _Parquet(location, file, group_bytes), InPlace(stamp)


@dataclass(frozen=True, slots=True)
class _Parquet:
    location: str
    file: Any  # pyarrow.parquet.ParquetFile
    group_bytes: int  # the most text of a row group that is held

    @property
    def schema(self) -> Any:
        return self.file.schema_arrow

    @property
    def groups(self) -> int:
        return int(self.file.metadata.num_row_groups)

    @property
    def rows(self) -> int:
        return int(self.file.metadata.num_rows)

    def cells(
        self, group: int, columns: Sequence[str], paths_of: str | None = None
    ) -> Iterator[tuple[dict[str, Any], str | None]]:
        selected = [*columns, *([] if paths_of is None else [f"{paths_of}.path"])]
        size = chunk_bytes(self.file.metadata, group, tuple(selected))
        check_group(size, self.location, group, "the text", self.group_bytes)
        for batch in self.file.iter_batches(batch_size=_BATCH, row_groups=[group], columns=selected):
            for cells in batch.to_pylist():
                picture = None if paths_of is None else cells[paths_of]
                yield cells, None if picture is None else picture["path"]

    def has_bytes(self, group: int, column: str) -> bool:
        leaf, chunks = leaf_of(self.schema, column), self.file.metadata.row_group(group)
        for index in range(chunks.num_columns):
            chunk = chunks.column(index)
            if chunk.path_in_schema == leaf and chunk.statistics and chunks.num_rows:
                return bool(chunk.statistics.null_count != chunks.num_rows)
        return True

    def place(self, group: int, row: int, column: str) -> str:
        return parquet_place(group, row, column, self.location)
