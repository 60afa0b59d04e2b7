"""Digests of samples and sets of samples, independent of order, machine and version."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator
from dataclasses import astuple

import numpy as np
from numpy.typing import NDArray

from rate.credentials import without_credentials
from rate.data.storage.location import Folder
from rate.types import Sample


def fingerprint(identifier: str) -> int:
    """Hash an id with blake2b-64 to a number, which orders and divides samples equally on every machine."""
    return int.from_bytes(hashlib.blake2b(identifier.encode(), digest_size=8).digest(), "little")


class SetDigest:
    """A digest of a set of samples in constant memory: the sum of their sha256 modulo 2^256.

    The order of samples does not matter. Ids are unique, so a sum identifies a set.
    """

    def __init__(self) -> None:
        self._sum = 0

    def add(self, digest: bytes) -> None:
        """Add the `sample_digest` of a sample."""
        self._sum += int.from_bytes(digest, "big")

    def hexdigest(self) -> str:
        """Return 64 hex digits."""
        return f"{self._sum % (1 << 256):064x}"


def sample_digest(sample: Sample, folder: Folder) -> bytes:
    """Compute the sha256 of a sample: id, label, image, region, what its values mean, group, cluster, remote versions.

    Files count by their paths relative to ``folder``.
    """
    mask = None if sample.mask is None else _place(sample.mask, folder)
    image = _place(sample.image, folder)
    versions = tuple((one.size, one.version) for one in (sample.image_stamp, sample.mask_stamp) if one and one.version)
    meaning = () if sample.values is None else (astuple(sample.values),)  # absent, it leaves the digest as it was
    line = ascii(
        (sample.id, sample.label, image, mask, sample.boxes, sample.group, sample.cluster, *versions, *meaning)
    )
    return hashlib.sha256(line.encode("ascii")).digest()


def _place(located: str, folder: Folder) -> str:
    """Return the location of a file for its digest; a URL keeps its location when it is signed again."""
    place = folder.relative(located)
    return without_credentials(place) if "://" in place else place


class IdSet:
    """A set of ids in 16 bytes each: their sorted blake2b-128."""

    def __init__(self, identifiers: Iterable[str] = ()) -> None:
        self._rows = _sorted((identifier, b"") for identifier in identifiers)

    def __len__(self) -> int:
        return len(self._rows)

    def __contains__(self, identifier: str) -> bool:
        return self._at(identifier) is not None

    def _at(self, identifier: str) -> int | None:
        wanted = np.frombuffer(_digest(identifier), _DIGEST)[0]
        at = int(np.searchsorted(self._rows["id"], wanted))
        return at if at < len(self._rows) and self._rows["id"][at] == wanted else None


class ContentTable(IdSet):
    """The ids of samples with the digests of their files' contents, in 24 bytes per sample."""

    def __init__(self, contents: Iterable[tuple[str, bytes | None]] = ()) -> None:
        """Build the table; ``contents`` are None or empty if no file was read."""
        self._rows = _sorted((identifier, content or b"") for identifier, content in contents)

    def content(self, identifier: str) -> bytes | None:
        """Return the digest; it is None if the id is not in the table, or no file was read."""
        at = self._at(identifier)
        digest = b"" if at is None else bytes(self._rows["content"][at])
        return digest.ljust(CONTENT_BYTES, b"\0") if digest else None


CONTENT_BYTES = 8
"""Bytes of the digest of a sample's image and mask. It distinguishes files and is not meant to resist forgery."""

_DIGEST = np.dtype("S16")  # compared byte by byte; numpy ignores trailing zeros on both sides
_ROW = np.dtype([("id", _DIGEST), ("content", f"S{CONTENT_BYTES}")])


def _sorted(contents: Iterator[tuple[str, bytes]]) -> NDArray[np.void]:
    rows = bytearray()
    for identifier, content in contents:
        rows += _digest(identifier) + content.ljust(CONTENT_BYTES, b"\0")
    table = np.frombuffer(bytes(rows), _ROW)
    _, first = np.unique(table["id"], return_index=True)
    return np.asarray(table[first])


def _digest(identifier: str) -> bytes:
    return hashlib.blake2b(identifier.encode(), digest_size=16).digest()
