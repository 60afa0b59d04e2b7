"""Manifest files as blocks of raw rows, with one reader for each format and no validation of values.

A block gives its rows one after the other, and all of them at once as Arrow columns where every value has the type of
its column.
"""

from __future__ import annotations

import codecs
import csv
import io
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import chain
from operator import attrgetter
from pathlib import Path
from typing import Any, BinaryIO, Protocol, TextIO, TypeAlias, TypeVar

import msgspec
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from pyarrow import csv as arrow_csv
from pyarrow import parquet

from rate.data.formats.manifest_files import CORNERS, MANIFEST_COLUMNS, Problem, Raw, format_of, parse_json
from rate.data.storage.limits import LINE_CHARS
from rate.errors import DataError

BLOCK_ROWS = 4096
BLOCK_CHARS = 4 << 20
"""The most rows of a block, or about so many characters."""

BLOCK_BYTES = 1 << 18
"""The size of a block of plain lines: enough that the cost of a column is small beside that of its values."""

BOXES = pa.list_(pa.list_(pa.float64()))
NOT_TYPED = (ValueError, TypeError, OverflowError, pa.ArrowException, msgspec.MsgspecError)
"""Raised by `RawBlock.columns`."""

T = TypeVar("T")
Row: TypeAlias = tuple[int, Raw] | Problem


class RawBlock(Protocol):
    """Rows of a manifest that follow each other."""

    @property
    def before(self) -> int:
        """The number of rows before the block."""

    def __len__(self) -> int: ...

    def rows(self) -> Iterator[Row]:
        """Yield the rows, numbered from 1; a malformed row is a problem."""

    def columns(self) -> dict[str, Any]:
        """Return the columns that the file has: texts as strings, or whole numbers, corners and boxes as float64.

        None = no value, and so is an empty text.

        Raises:
            *NOT_TYPED: a value has another type than its column.
        """


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


@dataclass(frozen=True, slots=True)
class _Rows:
    """Rows that have been read one by one."""

    before: int
    read: Sequence[Row]

    def __len__(self) -> int:
        return len(self.read)

    def rows(self) -> Iterator[Row]:
        return iter(self.read)

    def columns(self) -> dict[str, Any]:
        raise ValueError("the rows need not be alike")


def _unreadable(before: int, error: Exception) -> _Rows:
    cure = "this row and those after it are lost: mend the file"
    return _Rows(before, [Problem(before + 1, None, None, f"cannot be read ({error}); {cure}")])


@dataclass(frozen=True, slots=True)
class _CsvBlock:
    before: int
    header: Sequence[str]
    lines: bytes
    table: Any  # pa.Table

    def __len__(self) -> int:
        return int(self.table.num_rows)

    def rows(self) -> Iterator[Row]:
        return _csv_rows(self.before, self.header, _records(self.lines))

    def columns(self) -> dict[str, Any]:
        return {name: _of_column(name, self.table.column(name).combine_chunks()) for name in self.table.column_names}


def _records(lines: bytes) -> Iterator[list[str]]:
    return filter(None, csv.reader(io.StringIO(lines.decode(), newline=""), strict=True))


def _csv_rows(before: int, header: Sequence[str], records: Iterable[list[str]]) -> Iterator[Row]:
    for row, values in enumerate(records, before + 1):
        if len(values) == len(header):
            yield row, dict(zip(header, values, strict=True))
        else:
            counts = f"has {len(values)} cells, the header has {len(header)}"
            yield Problem(row, None, None, f"{counts}; quote cells that hold commas")


class _Line(msgspec.Struct, gc=False):
    """A line of JSON in which every value has the type of its column."""

    image: str
    label: str
    id: str | int | None = None
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
_DECODE_BOXES = msgspec.json.Decoder(list[tuple[float, float, float, float]]).decode


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
        return _of_boxes(values)
    return _of_column(name, pa.array(values))


def _of_boxes(boxes: Sequence[Any]) -> Any:
    corners = pa.array(np.fromiter(chain.from_iterable(chain.from_iterable(boxes)), np.float64))
    single = pa.ListArray.from_arrays(pa.array(np.arange(0, len(corners) + 1, 4), pa.int32()), corners)
    return pa.ListArray.from_arrays(pa.array(np.cumsum([0, *map(len, boxes)]), pa.int32()), single)


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
            yield from _unreadable(self.before, error).rows()
        else:
            yield from enumerate(values, self.before + 1)

    def columns(self) -> dict[str, Any]:
        return {name: _of_column(name, self.batch.column(name)) for name in self.batch.schema.names}


def _of_column(name: str, column: Any) -> Any:
    if pa.types.is_dictionary(column.type):
        column = column.dictionary_decode()
    kind = column.type
    if pa.types.is_null(kind) or (pa.types.is_integer(kind) and name not in CORNERS):
        return column
    if name == "boxes" and pa.types.is_string(kind):  # JSON, as in CSV
        return _of_boxes(list(map(_DECODE_BOXES, column.to_numpy(zero_copy_only=False))))
    if name == "boxes":
        return column.cast(BOXES)
    if name in CORNERS and (pa.types.is_integer(kind) or pa.types.is_floating(kind)):
        return column.cast(pa.float64())
    if not (pa.types.is_string(kind) or pa.types.is_large_string(kind)):
        raise TypeError(f"{name} is {kind}")
    texts = column.cast(pa.string())
    texts.validate(full=True)  # Parquet may hold texts that are not UTF-8
    return pc.if_else(pc.equal(texts, ""), pa.scalar(None, pa.string()), texts)


@dataclass(slots=True)
class _Lines:
    """The lines of a text, each of bounded length."""

    file: TextIO
    chars: int = 0  # characters read since it was set to 0

    def __iter__(self) -> Iterator[str]:
        """Yield them.

        Raises:
            ValueError: a line is longer than LINE_CHARS.
        """
        while line := self.file.readline(LINE_CHARS + 1):
            self.chars += len(line)
            if len(line) > LINE_CHARS:
                raise ValueError(f"a line of more than {LINE_CHARS:,} characters")
            yield line


def _read_csv(path: Path) -> Iterator[RawBlock]:
    """Read plain lines by Arrow, and from the first piece that is not plain on by Python, which names every fault."""
    before, header = 0, None
    with _opened(path) as file:
        start, first = file.tell(), file.readline(2 * BLOCK_BYTES)
        if _is_plain_csv(first):
            header = _header(path, next(csv.reader([first.decode()])))
            for lines in _pieces(file, _is_plain_csv):
                block = _csv_block(before, header, lines)
                before += len(block)
                yield block
        else:
            file.seek(start)
        yield from _by_python(path, file, header, before)


def _by_python(path: Path, file: BinaryIO, header: list[str] | None, before: int) -> Iterator[RawBlock]:
    """Read CSV record by record."""
    with _lines(file, newline="") as lines:
        records = csv.reader(lines, strict=True)
        try:
            columns = header or _header(path, next(records, []))
        except (csv.Error, ValueError) as error:
            yield _unreadable(before, error)
            return

        def checked(before: int, read: list[list[str]]) -> RawBlock:
            return _Rows(before, [*_csv_rows(before, columns, read)])

        yield from _in_blocks(filter(None, records), lines, before, checked)


def _read_jsonl(path: Path) -> Iterator[RawBlock]:
    before = 0
    with _opened(path) as file:
        for piece in _pieces(file, _is_text):
            block = _JsonBlock(before, list(filter(str.strip, piece.decode().split("\n"))))
            before += len(block)
            yield block
        with _lines(file) as lines:
            yield from _in_blocks(filter(str.strip, lines), lines, before, _JsonBlock)


@contextmanager
def _opened(path: Path) -> Iterator[BinaryIO]:
    """Open a text in UTF-8 after its byte order mark, if it has one."""
    with path.open("rb") as file:
        if file.read(len(codecs.BOM_UTF8)) != codecs.BOM_UTF8:
            file.seek(0)
        yield file


@contextmanager
def _lines(file: BinaryIO, newline: str | None = None) -> Iterator[_Lines]:
    """Give the rest of a file as text."""
    text = io.TextIOWrapper(file, "utf-8", newline=newline)
    try:
        yield _Lines(text)
    finally:
        text.detach()


def _pieces(file: BinaryIO, is_plain: Callable[[bytes], bool]) -> Iterator[bytes]:
    """Yield whole lines until they are not plain; the file then stands before those."""
    while True:
        start = file.tell()
        lines = file.read(BLOCK_BYTES)
        if not lines.endswith(b"\n"):
            lines += file.readline(BLOCK_BYTES)
        if not lines or not is_plain(lines):
            file.seek(start)
            return
        yield lines


def _is_text(lines: bytes) -> bool:
    """Tell whether bytes are whole lines of UTF-8, and each ends where it does to Python."""
    is_whole = lines.endswith(b"\n") or len(lines) < 2 * BLOCK_BYTES
    if not is_whole or lines.count(b"\r") != lines.count(b"\r\n") or lines.startswith(codecs.BOM_UTF8):
        return False
    try:
        lines.decode()
    except UnicodeDecodeError:
        return False
    return True


_QUOTED = re.compile(rb'(?<![^,\n])"[^"\r\n]*"(?![^,\r\n])')
"""A cell in quotes without a quote or an end of a line in it."""


def _is_plain_csv(lines: bytes) -> bool:
    """Tell whether Arrow and Python read the same cells: quotes are none, or round whole cells, and no cell is long."""
    if not _is_text(lines):
        return False
    ends = np.flatnonzero(np.frombuffer(lines, np.uint8) == ord("\n"))
    longest = np.diff(ends, prepend=-1, append=len(lines)).max()
    return bool(longest < csv.field_size_limit()) and (b'"' not in lines or b'"' not in _QUOTED.sub(b"", lines))


def _csv_block(before: int, header: list[str], lines: bytes) -> RawBlock:
    kinds = {name: pa.float64() if name in CORNERS else pa.string() for name in MANIFEST_COLUMNS if name in header}
    try:
        table = arrow_csv.read_csv(
            pa.py_buffer(lines),
            arrow_csv.ReadOptions(use_threads=False, column_names=header),
            arrow_csv.ParseOptions(),
            arrow_csv.ConvertOptions(
                column_types=kinds, include_columns=list(kinds), null_values=[""], strings_can_be_null=True
            ),
        )
    except pa.ArrowException:  # a row with other cells, or a corner that is no number
        return _Rows(before, [*_csv_rows(before, header, _records(lines))])
    return _CsvBlock(before, header, lines, table)


def _in_blocks(
    records: Iterable[T], lines: _Lines, before: int, make: Callable[[int, list[T]], RawBlock]
) -> Iterator[RawBlock]:
    held, stopped = list[T](), None
    try:
        for one in records:
            held.append(one)
            if len(held) == BLOCK_ROWS or lines.chars > BLOCK_CHARS:
                yield make(before, held)
                before, held, lines.chars = before + len(held), [], 0
    except (csv.Error, ValueError) as error:  # includes UnicodeDecodeError
        stopped = error
    if held:
        yield make(before, held)
    if stopped is not None:
        yield _unreadable(before + len(held), stopped)


def _read_parquet(path: Path) -> Iterator[RawBlock]:
    try:
        file = parquet.ParquetFile(path)
    except pa.ArrowException as error:
        raise DataError(f"the manifest {path} is not a Parquet file: {error}") from error
    before = 0
    with file:
        names = file.schema_arrow.names
        _check_columns(path, names)
        columns = [name for name in MANIFEST_COLUMNS if name in names]
        try:
            for batch in file.iter_batches(batch_size=BLOCK_ROWS, columns=columns):
                yield _ParquetBlock(before, batch)
                before += batch.num_rows
        except (pa.ArrowException, ValueError, OSError) as error:
            yield _unreadable(before, error)


def _header(path: Path, cells: Sequence[str]) -> list[str]:
    header = [name.strip() for name in cells]
    _check_columns(path, header)
    return header


def _check_columns(path: Path, names: Sequence[str]) -> None:
    """Check the columns of a table once, so that one message covers all rows."""
    present = f"the file has: {', '.join(names) or 'no columns at all'}"
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise DataError(f"{path}: the columns {', '.join(twice)} appear twice; {present}")
    missing = [name for name in ("image", "label") if name not in names]
    corners = [name for name in CORNERS if name in names]
    if 0 < len(corners) < 4:
        missing += [name for name in CORNERS if name not in names]
    if missing:
        cure = "`rate data index table` reads a table with other names or separators"
        raise DataError(f"{path}: the columns {', '.join(missing)} are missing; {present}; {cure}")
    if not corners and not {"mask", "boxes"} & set(names):
        raise DataError(f"{path}: no column gives the region; add `mask`, `boxes`, or x0, y0, x1, y1; {present}")


_READERS: dict[str, Callable[[Path], Iterator[RawBlock]]] = {
    ".csv": _read_csv,
    ".jsonl": _read_jsonl,
    ".parquet": _read_parquet,
}
