"""What samples and sets of samples are known by: digests that no order, machine or version changes."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable

import numpy as np

from rate.data.storage.location import Folder
from rate.types import Sample


def fingerprint(identifier: str) -> int:
    """blake2b-64 of an id, as a number: orders and divides samples the same way everywhere."""
    return int.from_bytes(hashlib.blake2b(identifier.encode(), digest_size=8).digest(), "little")


class SetDigest:
    """A digest of a set of samples that needs none of them afterwards: the sum of their sha256 modulo 2^256.

    The order of samples does not matter. Samples differ in their ids, so that a sum stands for one set.
    """

    def __init__(self, folder: Folder) -> None:
        """``folder``: that paths are taken relative to."""
        self._folder = folder
        self._sum = 0

    def add(self, sample: Sample) -> None:
        """Take one sample in."""
        line = _identity(sample, self._folder).encode("ascii")
        self._sum = (self._sum + int.from_bytes(hashlib.sha256(line).digest(), "big")) % (1 << 256)

    def hexdigest(self) -> str:
        """64 hex digits."""
        return f"{self._sum:064x}"


def _identity(sample: Sample, folder: Folder) -> str:
    mask = None if sample.mask is None else folder.relative(sample.mask)
    image = folder.relative(sample.image)
    return ascii((sample.id, sample.label, image, mask, sample.boxes, sample.group, sample.cluster))


class IdSet:
    """A set of ids that takes 16 bytes of each: their blake2b-128, in order."""

    def __init__(self, identifiers: Iterable[str] = ()) -> None:
        digests = bytearray()
        for identifier in identifiers:
            digests += _digest(identifier)
        self._digests = np.unique(np.frombuffer(digests, _DIGEST))

    def __len__(self) -> int:
        return len(self._digests)

    def __contains__(self, identifier: str) -> bool:
        if not len(self._digests):
            return False
        wanted = np.frombuffer(_digest(identifier), _DIGEST)[0]
        at = int(np.searchsorted(self._digests, wanted))
        return at < len(self._digests) and bool(self._digests[at] == wanted)


_DIGEST = np.dtype("S16")  # compared byte by byte; a zero at the end is the same as none there, in both of a pair


def _digest(identifier: str) -> bytes:
    return hashlib.blake2b(identifier.encode(), digest_size=16).digest()
