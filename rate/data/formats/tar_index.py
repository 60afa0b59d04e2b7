"""The index of a packed archive: its last member, with all that a reading of the archive's samples needs of it.

The end of an archive on a remote storage is one request, and the headers and texts between its images are one for each
sample. The name of the index is a hidden one, so readers of WebDataset shards skip it. It is a JSON list of the members
before it, `[name, bytes]` or `[name, bytes, text]`, and ends with its own length.
"""

from __future__ import annotations

import json
import re
import tarfile
from collections.abc import Iterator
from contextlib import suppress
from tarfile import BLOCKSIZE, RECORDSIZE, TarInfo

from rate.data.formats.tar_headers import whole_blocks
from rate.data.storage.container import Container

NAME = ".rate-index"

_END = "\nrate.tar-index/1 {:012d}\n"
_ENDS = re.compile(rb"\nrate\.tar-index/1 ([0-9]{12})\n\Z")
_END_BYTES = len(_END.format(0))
_MARK = b"rate-index/1"


def header(name: str, size: int) -> TarInfo:
    """Return the header of a member without time and owner, so that the bytes depend on the samples alone."""
    info = TarInfo(name)
    info.size = size
    return info


class Index:
    """The index of an archive that is being written."""

    def __init__(self) -> None:
        self._members: list[str] = []

    def add(self, name: str, data: bytes) -> None:
        """Note the next member of the archive."""
        text = [data.decode()] if name.endswith(".json") else []
        self._members.append(json.dumps([name, len(data), *text], ensure_ascii=False))

    def content(self) -> bytes:
        """Return the bytes of the member with the index, which fill whole blocks."""
        data = ("[" + ",\n".join(self._members) + "]").encode()
        size = whole_blocks(len(data) + _END_BYTES)
        return _marked(size) + data.ljust(size - _END_BYTES) + _END.format(size).encode()


def indexed(container: Container) -> Iterator[tuple[int, bytes]]:
    """Yield the offset and the bytes of every header and text that the index of an archive has; without one nothing.

    Tools that write an archive anew, with the index as a member of it, lose the mark, and its index is not used.
    """
    with suppress(
        EOFError, ValueError, TypeError, OverflowError, RecursionError
    ):  # whatever else it is, it is no index
        data, begin = _content(container)
        parts, at = [], 0
        for name, size, *texts in json.loads(data):
            parts.append((at, _block(str(name), int(size))))
            parts += [(at + BLOCKSIZE, str(text).encode()) for text in texts]
            at += BLOCKSIZE + whole_blocks(int(size))
        if at == begin:
            yield from parts


def _content(container: Container) -> tuple[bytes, int]:
    """Return the index and the offset of its header.

    Raises:
        ValueError: there is none.
    """
    end = container.size - container.size % BLOCKSIZE
    lowest = max(end - RECORDSIZE - 2 * BLOCKSIZE, 0)
    end = lowest + len(container.read(lowest, end - lowest).rstrip(b"\0"))
    ending = _ENDS.search(container.read(max(end - _END_BYTES, 0), min(end, _END_BYTES)))
    size = 0 if ending is None else int(ending[1])
    begin = end - size - BLOCKSIZE
    data = container.read(begin, BLOCKSIZE + size) if size and begin >= 0 else b""
    if data[:BLOCKSIZE] != _marked(size):
        raise ValueError("it has no index")
    return data[BLOCKSIZE:-_END_BYTES], begin


def _marked(size: int) -> bytes:
    """Return the header of the index, with a mark in the bytes of a header that have no meaning."""
    block = _block(NAME, size)[: -len(_MARK)] + _MARK
    checksum = sum(block[:148]) + 8 * ord(" ") + sum(block[156:])  # its own field counts as spaces
    return block[:148] + f"{checksum:06o}\0".encode() + block[155:]


def _block(name: str, size: int) -> bytes:
    return header(name, size).tobuf(tarfile.USTAR_FORMAT)
