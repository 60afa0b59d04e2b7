"""Ids that come twice in a stream of rows, found without keeping the ids."""

from __future__ import annotations

from array import array
from collections.abc import Iterable, Iterator

from rate.data.identity import fingerprint
from rate.data.manifest import ParsedRow, duplicate_id

_FULL = 0.6


class Seen:
    """The row of each id by the id's fingerprint: 27 to 54 bytes an id, however long it is.

    Two of n different ids share a fingerprint with probability n^2 / 2^65: 3e-8 for a million.
    """

    def __init__(self) -> None:
        self._prints = array("Q", [0]) * 1024  # open addressing; 0 = free
        self._rows = array("Q", [0]) * 1024
        self._count = 0

    @property
    def nbytes(self) -> int:
        """Size of the table, bytes."""
        return 2 * self._prints.itemsize * len(self._prints)

    def first(self, identifier: str, row: int) -> int:
        """The row that had the id first: ``row`` itself when it is new."""
        value = fingerprint(identifier) or 1
        slot = self._slot(value)
        if self._prints[slot]:
            return self._rows[slot]
        self._prints[slot], self._rows[slot] = value, row
        self._count += 1
        if self._count > _FULL * len(self._prints):
            self._grow()
        return row

    def _slot(self, value: int) -> int:
        """Where the value is, or would go."""
        mask = len(self._prints) - 1
        slot = value & mask
        while self._prints[slot] not in (0, value):
            slot = (slot + 1) & mask
        return slot

    def _grow(self) -> None:
        prints, rows = self._prints, self._rows
        self._prints = array("Q", [0]) * (2 * len(prints))
        self._rows = array("Q", [0]) * (2 * len(prints))
        for value, row in zip(prints, rows, strict=True):
            if value:
                slot = self._slot(value)
                self._prints[slot], self._rows[slot] = value, row


def unique(rows: Iterable[ParsedRow]) -> Iterator[ParsedRow]:
    """The rows; one with an id that an earlier row has is no sample but a problem."""
    seen = Seen()
    for parsed in rows:
        sample = parsed.sample
        if sample is not None and (first := seen.first(sample.id, parsed.row)) != parsed.row:
            yield ParsedRow(parsed.row, None, parsed.split, (duplicate_id(sample, first),))
        else:
            yield parsed
