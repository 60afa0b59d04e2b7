"""Manifest files as blocks of raw rows, with one reader for each format and no validation of values."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from operator import attrgetter
from pathlib import Path
from typing import Any

import msgspec
import pyarrow as pa
from pyarrow import parquet

from rate.data.formats.csv_blocks import csv_blocks
from rate.data.formats.manifest_files import MANIFEST_COLUMNS, Problem, check_columns, format_of, parse_json
from rate.data.formats.raw_block import RawBlock, Row, boxes_of, column_of, unreadable
from rate.data.formats.text_pieces import BLOCK_ROWS, in_blocks, is_text, opened, pieces, text_of
from rate.errors import DataError


def read_blocks(path: Path) -> Iterator[RawBlock]:
    """Read the rows of a .csv, .jsonl or .parquet file.

    Blank lines are not rows. Columns other than MANIFEST_COLUMNS are ignored.

    Raises:
        DataError: the file as a whole cannot be read, or lacks a column.
    """
    reader = format_of(path, _READERS)
    if not path.is_file():
        what = "is a folder" if path.is_dir() else "does not exist"
        raise DataError(f"the manifest {path} {what}; `rate data index folder` writes one for a folder of images")
    try:
        yield from reader(path)
    except OSError as error:
        raise DataError(f"the manifest {path} cannot be read: {error}") from error


def read_rows(path: Path) -> Iterator[Row]:
    """Read the rows one by one, numbered from 1.

    Raises:
        DataError: as `read_blocks`.
    """
    return (row for block in read_blocks(path) for row in block.rows())


class _Line(msgspec.Struct, gc=False):
    """A line of JSON in which every value has the type of its column."""

    image: str
    label: str
    id: str | int | None = None
    caption: str | None = None
    question: str | None = None
    options: str | list[str] | None = None
    mask: str | None = None
    boxes: list[tuple[float, float, float, float]] | None = None
    x0: float | None = None
    y0: float | None = None
    x1: float | None = None
    y1: float | None = None
    split: str | int | None = None
    group: str | int | None = None
    cluster: str | int | None = None


_DECODE_LINE = msgspec.json.Decoder(_Line).decode


@dataclass(frozen=True, slots=True)
class _JsonBlock:
    before: int
    lines: Sequence[str]

    def __len__(self) -> int:
        return len(self.lines)

    def rows(self) -> Iterator[Row]:
        for row, line in enumerate(self.lines, self.before + 1):
            yield _json_row(row, line)

    def columns(self) -> dict[str, Any]:
        lines = list(map(_DECODE_LINE, self.lines))
        return {name: _of_values(name, list(map(attrgetter(name), lines))) for name in MANIFEST_COLUMNS}


def _of_values(name: str, values: Sequence[Any]) -> Any:
    if name == "boxes" and any(boxes is not None for boxes in values):
        return boxes_of(values)
    return column_of(name, pa.array(values))


def _json_row(row: int, line: str) -> Row:
    try:
        value = parse_json(line)
    except ValueError as error:
        return Problem(row, None, None, f"is not JSON: {error}")
    if not isinstance(value, dict):
        return Problem(row, None, None, f'must be an object like {{"image": ...}}, got {line.strip()[:60]}')
    return row, value


@dataclass(frozen=True, slots=True)
class _ParquetBlock:
    before: int
    batch: Any  # pa.RecordBatch

    def __len__(self) -> int:
        return int(self.batch.num_rows)

    def rows(self) -> Iterator[Row]:
        try:
            values = self.batch.to_pylist()
        except (pa.ArrowException, ValueError) as error:  # such as a text that is not UTF-8
            yield from unreadable(self.before, error).rows()
        else:
            yield from enumerate(values, self.before + 1)

    def columns(self) -> dict[str, Any]:
        return {name: column_of(name, self.batch.column(name)) for name in self.batch.schema.names}


def _read_jsonl(path: Path) -> Iterator[RawBlock]:
    before = 0
    with opened(path) as file:
        for piece in pieces(file, is_text):
            block = _JsonBlock(before, list(filter(str.strip, piece.decode().split("\n"))))
            before += len(block)
            yield block
        with text_of(file) as lines:
            yield from in_blocks(filter(str.strip, lines), lines, before, _JsonBlock)


def _read_parquet(path: Path) -> Iterator[RawBlock]:
    try:
        file = parquet.ParquetFile(path)
    except pa.ArrowException as error:
        raise DataError(f"the manifest {path} is not a Parquet file: {error}") from error
    before = 0
    with file:
        names = file.schema_arrow.names
        check_columns(path, names)
        columns = [name for name in MANIFEST_COLUMNS if name in names]
        try:
            for batch in file.iter_batches(batch_size=BLOCK_ROWS, columns=columns):
                yield _ParquetBlock(before, batch)
                before += batch.num_rows
        except (pa.ArrowException, ValueError, OSError) as error:
            yield unreadable(before, error)


_READERS: dict[str, Callable[[Path], Iterator[RawBlock]]] = {
    ".csv": csv_blocks,
    ".jsonl": _read_jsonl,
    ".parquet": _read_parquet,
}
