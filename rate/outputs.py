"""Files and folders that the user has named for results: what is there already is kept, followed, or refused.

A regular file is replaced by a whole one. A symbolic link stays, and its target is replaced. A pipe, a terminal or
another stream is written through. Folders, disks and sockets are refused.
"""

from __future__ import annotations

import errno
import os
import stat
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO

from rate.errors import UsageError
from rate.files import Write, storage_error, try_writing, write_atomically

_LINKS = 40
"""Symbolic links that are followed one after the other, as the system does."""


def write_output(path: Path, write: Write) -> None:
    """Let ``write`` fill the file ``path``, with its folders, or the stream that ``path`` is.

    Raises:
        UsageError: it is a folder, a disk or a socket.
        StorageError: it cannot be written; a regular file is still there as it was.
    """
    try:
        if is_stream(path):
            with _stream(path) as file:
                write(file)
            return
        target = Path(os.path.realpath(path))
        target.parent.mkdir(parents=True, exist_ok=True)
        before = target.stat() if target.exists() else None
    except OSError as error:
        raise storage_error(path, error) from error

    def fill(file: IO[bytes]) -> None:
        if before is not None:
            with suppress(PermissionError):
                os.fchown(file.fileno(), before.st_uid, before.st_gid)
            os.fchmod(file.fileno(), stat.S_IMODE(before.st_mode))
        write(file)

    write_atomically(target, fill)


def append_output(path: Path, content: bytes) -> None:
    """Add ``content`` to the file ``path``, whole or not at all, or write it to the stream that ``path`` is.

    Raises:
        UsageError: it is a folder, a disk or a socket.
        StorageError: it cannot be written.
    """
    try:
        if is_stream(path):
            with _stream(path) as file:
                file.write(content)
            return
        Path(os.path.realpath(path)).parent.mkdir(parents=True, exist_ok=True)
        is_new = not path.exists()
        try:
            with path.open("ab", buffering=0) as file:
                _append(file, content)
        except OSError:
            if is_new:
                Path(os.path.realpath(path)).unlink(missing_ok=True)
            raise
    except OSError as error:
        raise storage_error(path, error) from error


def is_stream(path: Path) -> bool:
    """Whether what is written to ``path`` passes through it: a pipe, a terminal, `/dev/null`, `/dev/stdout`.

    Raises:
        UsageError: it is a folder, a disk or a socket.
        OSError: what it is cannot be found out.
    """
    if _descriptor(path) is not None:
        return True
    try:
        mode = path.stat().st_mode
    except FileNotFoundError:
        return False
    if stat.S_ISDIR(mode):
        raise UsageError(f"{path} is a folder; name a file in it, such as {path / 'result'}{path.suffix}")
    if not (stat.S_ISREG(mode) or stat.S_ISFIFO(mode) or stat.S_ISCHR(mode)):
        raise UsageError(f"{path} is a disk or a socket; name a file, a pipe or a terminal")
    return not stat.S_ISREG(mode)


def require_output(option: str, path: Path, appended: bool = False) -> None:
    """Find out, before the work that makes a result, that ``path`` cannot be written.

    Raises:
        UsageError: names the option, the path and the reason.
        StorageError: the disk is full.
    """
    try:
        if is_stream(path):
            if _descriptor(path) is None and not os.access(path, os.W_OK):
                raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))
        elif appended and path.exists():
            with path.open("ab"):
                pass
        else:
            _try(Path(os.path.realpath(path)))
    except UsageError as error:
        raise UsageError(f"{option} {error}") from error
    except OSError as error:
        raise _refused(option, path, error) from error


def require_new_folder(option: str, out: Path) -> None:
    """Find out, before the work that fills it, that ``out`` is no new or empty folder, or cannot be made.

    Raises:
        UsageError: names the option, the path and the reason.
        StorageError: the disk is full.
    """
    try:
        if out.exists() and (not out.is_dir() or any(out.iterdir())):
            raise UsageError(f"{option} {out} exists and is not an empty folder; choose a new one")
        _try(Path(os.path.realpath(out)))
    except OSError as error:
        raise _refused(option, out, error) from error


def _refused(option: str, path: Path, error: OSError) -> Exception:
    if error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EIO):
        return storage_error(path, error)
    return UsageError(f"{option} {path} cannot be written: {error.strerror}; name a place that can be written to")


def _try(path: Path) -> None:
    """Make and delete a file where ``path`` or the first of its folders would come: permissions do not say it all."""
    place = next(folder for folder in path.parents if os.path.lexists(folder))
    try_writing(place / path.relative_to(place).parts[0])


def _append(file: IO[bytes], content: bytes) -> None:
    """Add all of it, or leave the file as it was."""
    before = os.fstat(file.fileno()).st_size
    try:
        rest = memoryview(content)
        while rest:
            rest = rest[file.write(rest) :]
        os.fsync(file.fileno())
    except BaseException:
        os.ftruncate(file.fileno(), before)
        raise


@contextmanager
def _stream(path: Path) -> Iterator[IO[bytes]]:
    """The stream at ``path``, open for writing; of an open descriptor of this process, that descriptor itself."""
    number = _descriptor(path)
    if number is None:
        opened = os.open(path, os.O_WRONLY | os.O_CLOEXEC)
    else:
        for own in (sys.stdout, sys.stderr):  # what was printed before comes before
            if own is not None:
                own.flush()
        opened = os.dup(number)
    with os.fdopen(opened, "wb") as file:
        yield file


def _descriptor(path: Path) -> int | None:
    """The number of the open descriptor of this process that ``path`` is a name of, as /dev/stdout is of 1."""
    folders = {"/dev/fd", os.path.realpath("/dev/fd"), f"/proc/{os.getpid()}/fd"}
    for _ in range(_LINKS):
        if path.name.isdecimal() and os.path.realpath(path.parent) in folders:
            return int(path.name)
        if not path.is_symlink():
            return None
        path = path.parent / path.readlink()
    return None
