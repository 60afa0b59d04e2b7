"""stdin, stdout and stderr as the command finds them: closed, a pipe whose reader goes away, a full disk.

Who reads the output decides nothing: the command goes on, its files are written, and its exit code is that of its work.
Only where stdout is a file that cannot be written are results lost, and that is said.
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


def settle() -> None:
    """Open what is closed, and give stdout and stderr writers that outlive their readers.

    A number of a standard stream that stays free is given to the next file that is opened, and a library that then
    prints a warning writes into that file.
    """
    for number in (0, _OUT, _ERR):
        try:
            os.fstat(number)
        except OSError:
            os.set_inheritable(os.open(os.devnull, os.O_RDWR), True)  # it takes the lowest number that is free
    sys.stdout, sys.stderr = _stream(_OUT, sys.stdout), _stream(_ERR, sys.stderr)


def _stream(number: int, before: TextIO | None) -> TextIO:
    raw = _Patient(number)
    return io.TextIOWrapper(
        io.BufferedWriter(raw),
        encoding="utf-8" if before is None else before.encoding,
        errors="backslashreplace",
        line_buffering=raw.isatty() or number == _ERR,
    )


class _Patient(io.FileIO):
    """What is written goes nowhere once nobody can read it any more."""

    def __init__(self, number: int) -> None:
        super().__init__(number, "w", closefd=False)
        self._is_gone = False

    def write(self, data: ReadableBuffer, /) -> int:
        """Write, or pretend to.

        Raises:
            StorageError: results go to a file, and it cannot be written.
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
