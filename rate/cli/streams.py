"""Standard streams that nobody reads any more: `rate gate ... | true`, `2>&-`. What was decided stays as it is."""

from __future__ import annotations

import errno
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Literal

from rate.errors import StorageError

Name = Literal["stdout", "stderr"]

_CLOSED = (errno.EPIPE, errno.EBADF)


def is_terminal(name: Name) -> bool:
    """Whether a person reads the stream as it is written; a closed one (`>&-`) is there for nobody."""
    stream = getattr(sys, name)
    return stream is not None and bool(stream.isatty())


@contextmanager
def reader_may_leave(name: Name) -> Iterator[None]:
    """Print to a stream in this block; where it is closed, what is left goes nowhere and nothing is raised.

    Raises:
        StorageError: stdout goes to a file that cannot take it.
    """
    try:
        yield
        if (stream := getattr(sys, name)) is not None:
            stream.flush()
    except SystemExit:  # with which rich ends the process when a pipe is closed
        _discard(name)
    except OSError as error:
        _discard(name)
        if name == "stdout" and error.errno not in _CLOSED:
            raise StorageError(f"stdout cannot be written: {error.strerror}; make room, or write to another") from error


def _discard(name: str) -> None:
    """Let the stream lead nowhere: the interpreter, which empties it at its end, would fail and exit with code 120."""
    if (stream := getattr(sys, name)) is not None:
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, stream.fileno())
        os.close(nowhere)
