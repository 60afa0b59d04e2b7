"""Pieces of a text: whole lines in bytes as long as they are plain, and then line by line."""

from __future__ import annotations

import codecs
import csv
import io
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, TextIO, TypeVar

from rate.data.formats.raw_block import RawBlock, unreadable
from rate.data.storage.limits import LINE_CHARS

BLOCK_ROWS = 4096

BLOCK_CHARS = 4 << 20
"""The most rows of a block, or about so many characters."""

BLOCK_BYTES = 1 << 18
"""The size of a block of plain lines: enough that the cost of a column is small beside that of its values."""

T = TypeVar("T")


@dataclass(slots=True)
class Lines:
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


@contextmanager
def opened(path: Path) -> Iterator[BinaryIO]:
    """Open a text in UTF-8 after its byte order mark, if it has one."""
    with path.open("rb") as file:
        if file.read(len(codecs.BOM_UTF8)) != codecs.BOM_UTF8:
            file.seek(0)
        yield file


@contextmanager
def text_of(file: BinaryIO, newline: str | None = None) -> Iterator[Lines]:
    """Give the rest of a file as text."""
    text = io.TextIOWrapper(file, "utf-8", newline=newline)
    try:
        yield Lines(text)
    finally:
        text.detach()


def pieces(file: BinaryIO, is_plain: Callable[[bytes], bool]) -> Iterator[bytes]:
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


def is_text(lines: bytes) -> bool:
    """Tell whether bytes are whole lines of UTF-8, and each ends where it does to Python."""
    is_whole = lines.endswith(b"\n") or len(lines) < 2 * BLOCK_BYTES
    if not is_whole or lines.count(b"\r") != lines.count(b"\r\n") or lines.startswith(codecs.BOM_UTF8):
        return False
    try:
        lines.decode()
    except UnicodeDecodeError:
        return False
    return True


def in_blocks(
    records: Iterable[T], lines: Lines, before: int, make: Callable[[int, list[T]], RawBlock]
) -> Iterator[RawBlock]:
    """Make blocks of records that are read one by one.

    ``make`` gets the number of rows before a block, and its records.
    """
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
        yield unreadable(before + len(held), stopped)
