"""CSV as blocks: cells by Arrow where it reads what Python reads, and otherwise by Python."""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import pyarrow as pa
from pyarrow import csv as arrow_csv

from rate.data.formats.manifest_files import CORNERS, MANIFEST_COLUMNS, Problem, header_of
from rate.data.formats.raw_block import RawBlock, ReadRows, Row, column_of, unreadable
from rate.data.formats.text_pieces import BLOCK_BYTES, in_blocks, is_text, opened, pieces, text_of


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
        return {name: column_of(name, self.table.column(name).combine_chunks()) for name in self.table.column_names}


def _records(lines: bytes) -> Iterator[list[str]]:
    return filter(None, csv.reader(io.StringIO(lines.decode(), newline=""), strict=True))


def _csv_rows(before: int, header: Sequence[str], records: Iterable[list[str]]) -> Iterator[Row]:
    for row, values in enumerate(records, before + 1):
        if len(values) == len(header):
            yield row, dict(zip(header, values, strict=True))
        else:
            counts = f"has {len(values)} cells, the header has {len(header)}"
            yield Problem(row, None, None, f"{counts}; quote cells that hold commas")


def csv_blocks(path: Path) -> Iterator[RawBlock]:
    """Read plain lines by Arrow, and from the first piece that is not plain on by Python, which names every fault."""
    before, header = 0, None
    with opened(path) as file:
        start, first = file.tell(), file.readline(2 * BLOCK_BYTES)
        if _is_plain_csv(first):
            header = header_of(path, next(csv.reader([first.decode()])))
            for lines in pieces(file, _is_plain_csv):
                block = _csv_block(before, header, lines)
                before += len(block)
                yield block
        else:
            file.seek(start)
        yield from _by_python(path, file, header, before)


def _by_python(path: Path, file: BinaryIO, header: list[str] | None, before: int) -> Iterator[RawBlock]:
    """Read CSV record by record."""
    with text_of(file, newline="") as lines:
        records = csv.reader(lines, strict=True)
        try:
            columns = header or header_of(path, next(records, []))
        except (csv.Error, ValueError) as error:
            yield unreadable(before, error)
            return

        def checked(before: int, read: list[list[str]]) -> RawBlock:
            return ReadRows(before, [*_csv_rows(before, columns, read)])

        yield from in_blocks(filter(None, records), lines, before, checked)


_QUOTED = re.compile(rb'(?<![^,\n])"[^"\r\n]*"(?![^,\r\n])')
"""A cell in quotes without a quote or an end of a line in it."""


def _is_plain_csv(lines: bytes) -> bool:
    """Tell whether Arrow and Python read the same cells: quotes are none, or round whole cells, and no cell is long."""
    if not is_text(lines):
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
        return ReadRows(before, [*_csv_rows(before, header, _records(lines))])
    return _CsvBlock(before, header, lines, table)
