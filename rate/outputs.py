"""Writing of result files and folders that the user names: existing ones are kept, followed, or refused.

A regular file is replaced atomically. A symbolic link stays, and its target is replaced. A pipe, a terminal or another
stream is written to. Folders, disks and sockets are refused.
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
"""The largest number of consecutive symbolic links, as in the system."""


def write_output(path: Path, write: Write) -> None:
    """Let ``write`` fill the file ``path``, whose folders are made, or the stream ``path``.

    Raises:
        UsageError: it is a folder, a disk or a socket.
        StorageError: it cannot be written; an existing regular file is unchanged.
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
    """Append ``content`` to the file ``path``, all or nothing, or write it to the stream ``path``.

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
    """Tell whether ``path`` is a stream: a pipe, a terminal, `/dev/null`, `/dev/stdout`.

    Raises:
        UsageError: it is a folder, a disk or a socket.
        OSError: its type cannot be determined.
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
    """Check that ``path`` can be written, before the work that makes a result.

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
    """Check that ``out`` is a new or empty folder that can be made, before the work that fills it.

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
    """Make and delete a file in ``path`` or its first existing parent, since permissions alone do not decide."""
    place = next(folder for folder in path.parents if os.path.lexists(folder))
    try_writing(place / path.relative_to(place).parts[0])


def _append(file: IO[bytes], content: bytes) -> None:
    """Append all of the content, or leave the file unchanged."""
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
    """Open the stream ``path`` for writing; for a name of an open descriptor, use that descriptor."""
    number = _descriptor(path)
    if number is None:
        opened = os.open(path, os.O_WRONLY | os.O_CLOEXEC)
    else:
        for own in (sys.stdout, sys.stderr):  # flush earlier output first
            if own is not None:
                own.flush()
        opened = os.dup(number)
    with os.fdopen(opened, "wb") as file:
        yield file


def _descriptor(path: Path) -> int | None:
    """Return the number of the open descriptor that ``path`` names, as /dev/stdout names 1."""
    folders = {"/dev/fd", os.path.realpath("/dev/fd"), f"/proc/{os.getpid()}/fd"}
    for _ in range(_LINKS):
        if path.name.isdecimal() and os.path.realpath(path.parent) in folders:
            return int(path.name)
        if not path.is_symlink():
            return None
        path = path.parent / path.readlink()
    return None
