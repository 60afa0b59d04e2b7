"""Which ids have come by, in a few bytes each."""

from __future__ import annotations

import hashlib
from array import array

_FULL = 0.6


class Seen:
    """A set of texts by their digests of 64 bits: 13 to 27 bytes a text, however long it is.

    Two of n different texts share a digest with probability n^2 / 2^65: 3e-8 for a million.
    """

    def __init__(self) -> None:
        self._table = array("Q", bytes(8 * 1024))  # open addressing; 0 = free
        self._count = 0

    def __len__(self) -> int:
        return self._count

    @property
    def nbytes(self) -> int:
        """Size of the table, bytes."""
        return self._table.itemsize * len(self._table)

    def add(self, text: str) -> bool:
        """Whether it is new."""
        digest = hashlib.blake2b(text.encode("utf-8", "surrogatepass"), digest_size=8).digest()
        value = int.from_bytes(digest, "little") or 1
        slot = self._slot(value)
        if self._table[slot]:
            return False
        self._table[slot] = value
        self._count += 1
        if self._count > _FULL * len(self._table):
            self._grow()
        return True

    def _slot(self, value: int) -> int:
        """Where the value is, or would go."""
        mask = len(self._table) - 1
        slot = value & mask
        while self._table[slot] not in (0, value):
            slot = (slot + 1) & mask
        return slot

    def _grow(self) -> None:
        before = self._table
        self._table = array("Q", bytes(2 * before.itemsize * len(before)))
        for value in before:
            if value:
                self._table[self._slot(value)] = value
