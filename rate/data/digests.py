"""What samples and sets of samples are known by: digests that no order, machine or version changes."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator

import numpy as np
from numpy.typing import NDArray

from rate.credentials import without_credentials
from rate.data.storage.location import Folder
from rate.types import Sample


def fingerprint(identifier: str) -> int:
    """blake2b-64 of an id, as a number: orders and divides samples the same way everywhere."""
    return int.from_bytes(hashlib.blake2b(identifier.encode(), digest_size=8).digest(), "little")


class SetDigest:
    """A digest of a set of samples that needs none of them afterwards: the sum of their sha256 modulo 2^256.

    The order of samples does not matter. Samples differ in their ids, so that a sum stands for one set.
    """

    def __init__(self) -> None:
        self._sum = 0

    def add(self, digest: bytes) -> None:
        """Take in what `sample_digest` gives of a sample."""
        self._sum += int.from_bytes(digest, "big")

    def hexdigest(self) -> str:
        """64 hex digits."""
        return f"{self._sum % (1 << 256):064x}"


def sample_digest(sample: Sample, folder: Folder) -> bytes:
    """Sha256 of what a sample is: id, label, image, region, group. Files count by their paths from ``folder`` on."""
    mask = None if sample.mask is None else _place(sample.mask, folder)
    image = _place(sample.image, folder)
    line = ascii((sample.id, sample.label, image, mask, sample.boxes, sample.group, sample.cluster))
    return hashlib.sha256(line.encode("ascii")).digest()


def _place(located: str, folder: Folder) -> str:
    """Where a file is: a URL that was signed again is the same place."""
    place = folder.relative(located)
    return without_credentials(place) if "://" in place else place


class IdSet:
    """A set of ids that takes 16 bytes of each: their blake2b-128, in order."""

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
    """The ids of samples, each with the digest of what was read of its files: 24 bytes a sample."""

    def __init__(self, contents: Iterable[tuple[str, bytes | None]] = ()) -> None:
        """``contents``: None or nothing = nothing was read."""
        self._rows = _sorted((identifier, content or b"") for identifier, content in contents)

    def content(self, identifier: str) -> bytes | None:
        """The digest; None = the id is not there, or nothing was read."""
        at = self._at(identifier)
        found = b"" if at is None else bytes(self._rows["content"][at])
        return found.ljust(CONTENT_BYTES, b"\0") if found else None


CONTENT_BYTES = 8
"""Of the digest of a sample's image and mask: it tells files apart, and need not withstand who would forge one."""

_DIGEST = np.dtype("S16")  # compared byte by byte; a zero at the end is the same as none there, in both of a pair
_ROW = np.dtype([("id", _DIGEST), ("content", f"S{CONTENT_BYTES}")])


def _sorted(contents: Iterator[tuple[str, bytes]]) -> NDArray[np.void]:
    rows = bytearray()
    for identifier, content in contents:
        rows += _digest(identifier) + content.ljust(CONTENT_BYTES, b"\0")
    found = np.frombuffer(bytes(rows), _ROW)
    _, first = np.unique(found["id"], return_index=True)
    return np.asarray(found[first])


def _digest(identifier: str) -> bytes:
    return hashlib.blake2b(identifier.encode(), digest_size=16).digest()
