"""Robust standard streams: closed ones, a pipe whose reader ends, a full disk.

A reader that ends does not affect the command: its files are written, and its exit code is that of its work. Only if
stdout is a file that cannot be written are results lost, and that is an error.
"""

from __future__ import annotations

import errno
import io
import os
import sys
from typing import TYPE_CHECKING, TextIO

from rate.errors import StorageError

if TYPE_CHECKING:
    from _typeshed import ReadableBuffer

_OUT, _ERR = 1, 2


def open_standard_streams() -> None:
    """Open closed streams, and give stdout and stderr writers that outlive their readers.

    The next opened file would get the number of a closed standard stream, and a library's warning would go into that
    file.
    """
    for number in (0, _OUT, _ERR):
        try:
            os.fstat(number)
        except OSError:
            os.set_inheritable(os.open(os.devnull, os.O_RDWR), True)  # takes the lowest free number
    sys.stdout, sys.stderr = _stream(_OUT, sys.stdout), _stream(_ERR, sys.stderr)


def _stream(number: int, before: TextIO | None) -> TextIO:
    raw = _DiscardingStream(number)
    return io.TextIOWrapper(
        io.BufferedWriter(raw),
        encoding="utf-8" if before is None else before.encoding,
        errors="backslashreplace",
        line_buffering=raw.isatty() or number == _ERR,
    )


class _DiscardingStream(io.FileIO):
    """A stream that discards its output when its reader has ended."""

    def __init__(self, number: int) -> None:
        super().__init__(number, "w", closefd=False)
        self._is_gone = False

    def write(self, data: ReadableBuffer, /) -> int:
        """Write the data, or discard it.

        Raises:
            StorageError: results go to a file that cannot be written.
        """
        if not self._is_gone:
            try:
                return super().write(data)
            except OSError as error:
                self._is_gone = True
                if self.fileno() == _OUT and error.errno != errno.EPIPE:
                    raise StorageError(
                        f"stdout cannot be written: {error.strerror}; see that there is room where it goes, and run "
                        "the same command again"
                    ) from error
        return memoryview(data).nbytes
