"""The members of a tar archive from its headers alone, without extraction.

`tarfile` decodes and verifies one header block (`TarInfo.frombuf`). Its loop over an archive is not used, because it
reads extended headers of any size into memory and trusts sparse maps.
"""

from __future__ import annotations

import tarfile
from collections.abc import Iterator
from dataclasses import dataclass, field
from tarfile import BLOCKSIZE, ReadError, TarInfo

from rate.data.storage.container import Container

EXTENDED_BYTES = 1 << 20
"""The largest extended header that is read, bytes; a long name takes a few hundred."""

_PAX = (tarfile.XHDTYPE, tarfile.SOLARIS_XHDTYPE, tarfile.XGLTYPE)
_WITHOUT_DATA = (tarfile.LNKTYPE, tarfile.SYMTYPE, tarfile.CHRTYPE, tarfile.BLKTYPE, tarfile.FIFOTYPE, tarfile.DIRTYPE)
_WHAT = {
    tarfile.LNKTYPE: "a link",
    tarfile.SYMTYPE: "a link",
    tarfile.CHRTYPE: "a device",
    tarfile.BLKTYPE: "a device",
    tarfile.FIFOTYPE: "a pipe",
}


@dataclass(frozen=True, slots=True)
class Member:
    """One member that is not a folder."""

    name: str  # without a leading "./"
    offset: int  # offset of its data, bytes
    size: int  # bytes
    refusal: str | None  # reason for a refusal; the text continues the name


@dataclass(slots=True)
class _Extended:
    name: str | None = None
    size: int | None = None
    sparse: bool = False


@dataclass(slots=True)
class _Position:
    at: int = 0
    extended: _Extended = field(default_factory=_Extended)


def members(container: Container) -> Iterator[Member]:
    """Yield the members in the order of the archive.

    Raises:
        tarfile.TarError: the archive cannot be read from some byte on; members before it were yielded.
    """
    position = _Position()
    while (header := _header(container, position.at)) is not None:
        data = position.at + BLOCKSIZE
        if header.type in (*_PAX, tarfile.GNUTYPE_LONGNAME, tarfile.GNUTYPE_LONGLINK):
            _extend(position.extended, header, _extended_data(container, header, data))
            position.at = data + whole_blocks(header.size)
            continue
        if header.type == tarfile.GNUTYPE_SPARSE:
            raise ReadError(f"at byte {position.at}, a sparse file; archive without holes (no --sparse)")
        size = header.size if position.extended.size is None else position.extended.size
        if header.type in _WITHOUT_DATA:
            size = 0
        name = position.extended.name or header.name
        if size < 0 or data + size > container.size:
            raise ReadError(f"at byte {position.at}, {name[:80]!r} of {size} bytes ends beyond the archive")
        if header.type != tarfile.DIRTYPE:
            yield Member(name.removeprefix("./"), data, size, _refusal(header, name, position.extended.sparse))
        position.at, position.extended = data + whole_blocks(size), _Extended()


def _header(container: Container, at: int) -> TarInfo | None:
    """Read the header at a byte offset; None = the end marker."""
    if at + BLOCKSIZE > container.size:
        raise ReadError(f"at byte {container.size}, it ends without its end marker: it was cut off")
    block = container.read(at, BLOCKSIZE)
    if not any(block):
        return None
    try:
        return TarInfo.frombuf(block, "utf-8", "surrogateescape")
    except tarfile.HeaderError as error:
        raise ReadError(f"at byte {at}, {error}") from error


def whole_blocks(size: int) -> int:
    """Return the bytes of the blocks that hold ``size`` bytes."""
    return -(-size // BLOCKSIZE) * BLOCKSIZE


def _extended_data(container: Container, header: TarInfo, at: int) -> bytes:
    if not 0 <= header.size <= EXTENDED_BYTES:
        raise ReadError(f"at byte {at}, an extended header of {header.size} bytes; the limit is {EXTENDED_BYTES}")
    if at + header.size > container.size:
        raise ReadError(f"at byte {at}, an extended header ends beyond the archive")
    return container.read(at, header.size)


def _extend(extended: _Extended, header: TarInfo, data: bytes) -> None:
    if header.type == tarfile.GNUTYPE_LONGNAME:
        extended.name = data.partition(b"\0")[0].decode("utf-8", "surrogateescape")
    if header.type not in _PAX:
        return
    for key, value in _pax_records(data):
        if header.type == tarfile.XGLTYPE and (key in ("path", "size") or key.startswith("GNU.sparse.")):
            raise ReadError(f"a global header sets {key!r} of all members")
        if key == "path":
            extended.name = value
        elif key == "size":
            extended.size = _whole_number(value)
        elif key.startswith("GNU.sparse."):
            extended.sparse = True


def _pax_records(data: bytes) -> Iterator[tuple[str, str]]:
    """Parse records `LENGTH KEY=VALUE\n`; the length includes itself (POSIX.1-2001)."""
    at = 0
    while at < len(data) and data[at]:
        digits, space, _ = data[at : at + 9].partition(b" ")
        length = _whole_number(digits.decode("ascii", "replace"))
        record = data[at : at + length]
        key, equals, value = record[len(digits) + 1 : -1].partition(b"=")
        if not (space and equals and len(record) == length and record.endswith(b"\n")):
            raise ReadError("an extended header is malformed")
        yield key.decode("utf-8", "replace"), value.decode("utf-8", "surrogateescape")
        at += length


def _whole_number(text: str) -> int:
    if not (text.isascii() and text.isdigit() and len(text) < 20):
        raise ReadError(f"an extended header has {text[:20]!r} in place of a whole number")
    return int(text)


def _refusal(header: TarInfo, name: str, sparse: bool) -> str | None:
    if header.type in _WHAT:
        return f"is {_WHAT[header.type]}, not a file; archive the file itself"
    if sparse:
        return "is a sparse file; archive it without holes (no --sparse)"
    if name.startswith("/") or "\\" in name or ".." in name.split("/"):
        return "leaves the archive: names are relative, without '..' or backslashes"
    return None
