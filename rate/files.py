"""Bounded reads of files, and atomic writes of files and folders: under a temporary name beside them, synced, renamed.

The writer holds a lock on the temporary file, which the system releases when the process ends in any way. Leftovers of
killed processes are thereby distinguished from files in use, and can be removed.
"""

from __future__ import annotations

import errno
import fcntl
import os
import re
import shutil
import stat
import tomllib
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO, Any

from rate.errors import ConfigError, RateError, StorageError

Write = Callable[[IO[bytes]], object]
"""Fills an open file."""

MANY = 100
"""The number of files from which one sync of all disks is faster than one for each file, which takes milliseconds."""

MAX_BYTES = 256 << 20
"""The largest file that is read as a whole, bytes; a run of ten million samples lists its parts in less."""

_TEMPORARY = re.compile(r"\..+\.rate-[0-9a-f]{16}\.tmp", re.DOTALL)
_FAILING = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EIO, errno.EROFS, errno.EFBIG})
"""Errors of a disk that is full, broken or read-only, and that reading never raises."""


def is_temporary(name: str) -> bool:
    """Tell whether a name is a temporary one of `rate`."""
    return _TEMPORARY.fullmatch(name) is not None


def read_whole(path: Path, most: int = MAX_BYTES) -> bytes:
    """Return the content of a regular file of at most ``most`` bytes; its size decides before it is read.

    Raises:
        OSError: it cannot be read.
        ValueError: it is larger or no regular file: a pipe would block, and a device may be endless.
    """
    descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    try:
        status = os.fstat(descriptor)
        if not stat.S_ISREG(status.st_mode):
            raise ValueError("it is no regular file")
        if status.st_size > most:
            raise ValueError(f"it has {status.st_size:,} bytes, the limit is {most:,}")
        with os.fdopen(descriptor, "rb", closefd=False) as file:
            return file.read(most)
    finally:
        os.close(descriptor)


def read_text(path: Path, most: int = MAX_BYTES) -> str:
    """Return the text of a UTF-8 file, which may begin with a byte-order mark; raises as `read_whole`."""
    return read_whole(path, most).decode("utf-8-sig")


def read_toml(path: Path, what: str, most: int = 1 << 20) -> dict[str, Any]:
    """Return the values of a TOML file.

    Raises:
        ConfigError: it cannot be read or is no TOML; ``what`` says in the message what the file is for.
    """
    try:
        return tomllib.loads(read_text(path, most))
    except OSError as error:
        raise ConfigError(f"{what} {path} cannot be read: {error.strerror}") from error
    except (ValueError, RecursionError) as error:  # includes numbers of thousands of digits and deep nesting
        raise ConfigError(f"{what} {path} is not valid TOML: {error}") from error


def write_atomically(path: Path, write: Write, sync: bool = True) -> None:
    """Let ``write`` fill a file that is then renamed to ``path``; a crash leaves the old file or none.

    A symbolic link of that name is replaced, never followed; `rate.outputs` handles files that the user names.

    Args:
        path: a path in an existing folder.
        write: fills the file.
        sync: whether to sync the file; False = the caller syncs many files together.

    Raises:
        StorageError: the disk is full, gone or read-only; the old file still exists.
    """
    try:
        with storing(path, path.parent), placed(path, sync) as name, name.open("wb") as file:
            write(file)
    except OSError as error:
        raise storage_error(path, error) from error


@contextmanager
def placed(path: Path, sync: bool = True) -> Iterator[Path]:
    """Yield an empty file that is renamed to ``path`` when the block succeeds, as `write_atomically` with plain errors.

    Raises:
        OSError: the system's own error.
    """
    flags = os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
    temporary, descriptor = _claimed(path, lambda name: os.open(name, flags, 0o666))
    try:
        yield temporary
        if sync:
            os.fsync(descriptor)
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)
        os.close(descriptor)
    if sync:
        _sync_folder(path.parent)


@contextmanager
def new_folder(out: Path) -> Iterator[Path]:
    """Yield a temporary folder that is renamed to ``out`` when the block succeeds, and deleted when it fails.

    Only an empty folder is replaced. If ``out`` is a symbolic link, its target is made.

    Raises:
        StorageError: the disk is full, gone or read-only, or ``out`` is no longer empty.
    """
    out = Path(os.path.realpath(out))
    with draft_folder(out) as draft:
        yield draft
        _sync_tree(draft)
        draft.replace(out)
        _sync_folder(out.parent)


@contextmanager
def folder_instead(out: Path) -> Iterator[Path]:
    """Yield a folder as `new_folder` that replaces the folder ``out``, whose content must all be of `rate`.

    The older folder is never visible half deleted under its name.
    """
    out = Path(os.path.realpath(out))
    with draft_folder(out) as draft:
        yield draft
        _sync_tree(draft)
        older = _temporary_beside(out).with_suffix(".old")
        out.replace(older)
        draft.replace(out)
        _sync_folder(out.parent)
        shutil.rmtree(older)


def remove_leftovers(folder: Path, of: str | None = None) -> None:
    """Delete what killed processes left in ``folder`` under temporary names; what is being written stays.

    Args:
        folder: the folder to clean.
        of: only what was to have this name; None = anything.
    """
    with suppress(OSError):
        for path in list(folder.iterdir()):
            if is_temporary(path.name) and (of is None or path.name.startswith(f".{of}.rate-")):
                _remove_leftover(path)


def try_writing(path: Path) -> None:
    """Make and delete a temporary file beside ``path``.

    Raises:
        OSError: nothing can be written there.
    """
    temporary, descriptor = _claimed(path, lambda name: os.open(name, os.O_WRONLY | os.O_CREAT | os.O_EXCL))
    os.close(descriptor)
    temporary.unlink()


def storage_error(path: Path, error: OSError) -> StorageError:
    """Make the exception for a ``path`` that could not be written."""
    full = error.errno in (errno.ENOSPC, errno.EDQUOT)
    cure = "Make room" if full else "See that its folder is there and can be written to"
    return StorageError(
        f"{path} cannot be written: {os.strerror(error.errno) if error.errno else error}; what was stored before is "
        f"whole. {cure}, then run the same command again to go on"
    )


@contextmanager
def storing(out: Path, inside: Path | None = None) -> Iterator[None]:
    """Convert errors of a failing disk in the block, as libraries raise them, to a StorageError about ``out``.

    Errors about files elsewhere, which are only read, are unchanged.

    Args:
        out: the path in the message.
        inside: the folder that is written to, if it has another name.
    """
    try:
        yield
    except Exception as error:
        if (failure := _disk_failure(error, inside or out)) is not None:
            raise storage_error(out, failure) from error
        raise


def _disk_failure(error: BaseException | None, inside: Path) -> OSError | None:
    """Return the failure of the disk behind an error, or None; many libraries keep only its text."""
    if isinstance(error, OSError):
        about = isinstance(error.filename, str | os.PathLike) and Path(error.filename).is_relative_to(inside)
        if error.errno is None and "written" in str(error):  # numpy states how much was written, and not the reason
            return _refusal(inside)
        return error if about or error.errno in _FAILING else None
    if error is None or (isinstance(error, RateError) and str(inside) not in str(error)):
        return None
    said = next((number for number in _FAILING if os.strerror(number) in str(error)), None)
    return _disk_failure(error.__cause__, inside) if said is None else OSError(said, os.strerror(said))


def _refusal(inside: Path) -> OSError | None:
    """Write a block of 64 KiB and return the disk's error."""
    try:
        block = _temporary_beside((inside if inside.is_dir() else inside.parent) / "block")
        try:
            block.write_bytes(bytes(1 << 16))
        finally:
            block.unlink(missing_ok=True)
    except OSError as error:
        return error
    return None


@contextmanager
def draft_folder(out: Path) -> Iterator[Path]:
    """Yield a temporary folder beside ``out``, which is deleted at the end unless it was renamed."""

    def make(name: Path) -> int:
        name.mkdir()
        return os.open(name, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)

    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        remove_leftovers(out.parent, of=out.name)
        draft, descriptor = _claimed(out, make)
    except OSError as error:
        raise storage_error(out, error) from error
    try:
        with storing(out, draft):
            yield draft
    finally:
        os.close(descriptor)
        shutil.rmtree(draft, ignore_errors=True)


def _temporary_beside(path: Path) -> Path:
    return path.with_name(f".{path.name}.rate-{os.urandom(8).hex()}.tmp")


def _sync_folder(path: Path) -> None:
    folder = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)


def _sync_tree(path: Path) -> None:
    paths = [path, *path.rglob("*")]
    if len(paths) > MANY:
        os.sync()
        return
    for one in paths:
        descriptor = os.open(one, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def _claimed(path: Path, make: Callable[[Path], int]) -> tuple[Path, int]:
    """Make a file or folder under a new temporary name for ``path``, and return it with a locked descriptor."""
    while True:
        temporary = _temporary_beside(path)
        descriptor = make(temporary)
        with suppress(OSError):  # on a file system without locks leftovers are never removed
            fcntl.flock(descriptor, fcntl.LOCK_EX)
        if os.fstat(descriptor).st_nlink:
            return temporary, descriptor
        os.close(descriptor)  # another process removed it as a leftover before it was locked


def _remove_leftover(path: Path) -> None:
    """Delete a leftover, unless a running process is writing it."""
    with suppress(OSError):
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if path.is_dir():
                shutil.rmtree(path)
            else:
                path.unlink()
        finally:
            os.close(descriptor)
