"""The rows of a run written as few parts, each a range of ranks, in memory that does not grow with the run."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.ipc

from rate.errors import RunError
from rate.files import draft_folder
from rate.runs.order import in_order
from rate.runs.part_list import ListedPart
from rate.runs.parts import write_part
from rate.runs.rows import SCHEMA
from rate.types import Codes, UInt64

SORTED_ROWS = 4096
"""The mean number of rows of a part of a finished run."""

_FILES = 64  # the most that are written to at a time
_PARTS = 16  # the least number of parts whose rows one file holds
_AT_ONCE = 1024  # rows that are collected before they are written to a file


class StoredTwiceError(RunError):
    """A sample has more than one row of a head."""

    def __init__(self, sample: str) -> None:
        super().__init__(f"sample {sample!r} is stored twice")
        self.sample = sample


def write_in_order(folder: Path, key: str, tables: Iterable[pa.Table], rows: int, least: int) -> list[ListedPart]:
    """Write rows of a run to parts of ``least`` rows on average, in order of rank; nothing is deleted or listed.

    The rows are first divided between files by their ranks, and each file, which the memory holds, is then sorted.

    Args:
        folder: the run folder.
        key: the key of the run.
        tables: the rows, all heads of a sample in one table.
        rows: their number.
        least: the mean number of rows of a part; there is at most one part for so many.

    Raises:
        StoredTwiceError: a sample comes twice.
        StorageError: a part cannot be written.
    """
    count = max(1, rows // least)
    together = max(_PARTS, -(-count // _FILES))
    with draft_folder(folder / "samples" / "order") as place:
        files = [_Spool(place / str(k)) for k in range(-(-count // together))]
        for table in tables:
            ordered, rank = in_order(table)
            for k, own in _ranges(_ranges_of(rank, count) // together):
                files[k].add(ordered.slice(own.start, own.stop - own.start))
        return [part for file in files for part in _parts(folder, key, file.taken(), count)]


def _parts(folder: Path, key: str, table: pa.Table, count: int) -> Iterable[ListedPart]:
    ordered, rank = in_order(table)
    _check_once(ordered, rank)
    for _, own in _ranges(_ranges_of(rank, count)):
        rows = ordered.slice(own.start, own.stop - own.start).combine_chunks()
        yield write_part(folder, key, rows.replace_schema_metadata(SCHEMA.metadata))


def _check_once(ordered: pa.Table, rank: UInt64) -> None:
    head = ordered["head"].combine_chunks().dictionary_encode()
    pairs = np.unique(rank, return_inverse=True)[1] * len(head.dictionary) + head.indices.to_numpy()
    if len(np.unique(pairs)) == len(pairs):
        return
    seen: set[tuple[str, str]] = set()
    for key in zip(ordered["id"].to_pylist(), ordered["head"].to_pylist(), strict=True):
        if key in seen:
            raise StoredTwiceError(key[0])
        seen.add(key)


def _ranges_of(rank: UInt64, count: int) -> Codes:
    """Compute the number [n] of the range, of ``count`` equal ones, in which each rank lies."""
    return ((rank >> np.uint64(32)) * np.uint64(count) >> np.uint64(32)).astype(np.int64)


def _ranges(codes: Codes) -> Iterable[tuple[int, slice]]:
    """Yield each of the ascending codes with its rows."""
    present, start = np.unique(codes, return_index=True)
    for code, begin, end in zip(present.tolist(), start.tolist(), [*start[1:].tolist(), len(codes)], strict=True):
        yield code, slice(begin, end)


@dataclass(slots=True)
class _Spool:
    """Rows that are collected, in a file if they are many."""

    path: Path
    _tables: list[pa.Table] = field(default_factory=list)
    _rows: int = 0
    _file: Any = None
    _writer: Any = None

    def add(self, table: pa.Table) -> None:
        self._tables.append(table)
        self._rows += len(table)
        if self._rows >= _AT_ONCE:
            if self._writer is None:
                self._file = pa.OSFile(str(self.path), "wb")
                self._writer = pa.ipc.new_stream(self._file, SCHEMA)
            self._writer.write_table(self._collected())

    def taken(self) -> pa.Table:
        """Return all rows."""
        rest = self._collected()
        if self._writer is None:
            return rest
        self._writer.close()
        self._file.close()
        with pa.OSFile(str(self.path)) as file:
            return pa.concat_tables([pa.ipc.open_stream(file).read_all(), rest])

    def _collected(self) -> pa.Table:
        tables = [table.replace_schema_metadata(SCHEMA.metadata) for table in self._tables]
        self._tables, self._rows = [], 0
        return pa.concat_tables([SCHEMA.empty_table(), *tables]).combine_chunks()
