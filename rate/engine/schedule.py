"""Continuous batching: batches of one fixed size, each filled from several samples. It uses indices, never pixels."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

CLEAN_ROWS = 1
"""Row 0 of a sample is the unmasked image; row j > 0 is mask j - 1."""


@dataclass(frozen=True, slots=True)
class Span:
    """Consecutive rows of one sample inside a batch."""

    ticket: int  # ticket of the sample from `Scheduler.admit`
    slot: int  # slot of its pixels
    start: int  # first row; 0 is the clean image
    stop: int  # one past the last row

    def __len__(self) -> int:
        return self.stop - self.start


@dataclass(frozen=True, slots=True)
class BatchPlan:
    """One batch. The rows of the spans are consecutive; the rest of the batch is padding."""

    spans: tuple[Span, ...]
    batch: int  # rows of the batch, padding included

    @property
    def filled(self) -> int:
        """The rows that are not padding: the sum of the spans' lengths."""
        return sum(len(span) for span in self.spans)


@dataclass(slots=True)
class _Active:
    slot: int
    rows: int  # rows of the sample that are wanted so far
    most: int  # rows that it can ever need
    planned: int = 0
    in_flight: int = 0  # number of batches that use its slot and are not folded yet
    finished: bool = False


class Scheduler:
    """Assigns slots to samples and rows to batches, oldest sample first, so that all batches are full."""

    def __init__(self, batch: int, slots: int, first_slot: int = 0, padded: bool = True) -> None:
        """Schedule batches of ``batch`` rows; a last one that is not full is ``padded``, or short."""
        self._batch, self._padded = batch, padded
        self._free = list(range(first_slot, first_slot + slots))[::-1]
        self._active: dict[int, _Active] = {}  # ticket -> state, in order of admission
        self._next_ticket = 0

    @property
    def wants_more(self) -> bool:
        """Whether another sample could fill empty rows of the next batch."""
        waiting = sum(max(sample.rows - sample.planned, 0) for sample in self._active.values() if not sample.finished)
        return bool(self._free) and waiting < self._batch

    def admit(self, rows: int, most: int | None = None) -> tuple[int, int]:
        """Admit a sample that needs ``rows`` rows, at most ``most``, if `wants_more`; return (ticket, slot)."""
        ticket, slot = self._next_ticket, self._free.pop()
        self._next_ticket += 1
        self._active[ticket] = _Active(slot, rows, rows if most is None else most)
        return ticket, slot

    def want(self, ticket: int, rows: int) -> None:
        """Raise the total rows of a sample to ``rows``."""
        self._active[ticket].rows = rows

    def schedule(self) -> BatchPlan | None:
        """Return the next batch, or None when every row that any sample may need is planned.

        Free rows are filled with rows that may be wanted next, since the device would idle otherwise.
        """
        taken: dict[int, Span] = {}
        room = self._batch
        for ahead in (False, True):
            for ticket, sample in self._active.items():
                take = min(room, (sample.most if ahead else sample.rows) - sample.planned)
                if take <= 0 or sample.finished:
                    continue
                room -= take
                start = taken[ticket].start if ticket in taken else sample.planned
                sample.in_flight += ticket not in taken
                sample.planned += take
                taken[ticket] = Span(ticket, sample.slot, start, sample.planned)
        rows = self._batch if self._padded else self._batch - room
        return BatchPlan(tuple(taken.values()), rows) if taken else None

    def folded(self, plan: BatchPlan, settled: Iterable[int]) -> None:
        """Record that the batch is done and the tickets ``settled`` need no more rows; unused slots become free."""
        for ticket in settled:
            sample = self._active[ticket]
            sample.finished = True
        for span in plan.spans:
            sample = self._active[span.ticket]
            sample.in_flight -= 1
            if sample.finished and not sample.in_flight:
                self._free.append(self._active.pop(span.ticket).slot)


def slots_for(batch: int, step: int, depth: int) -> int:
    """Compute the image slots that keep every batch full when a sample asks for ``step`` rows or more at a time.

    ``depth`` batches are in flight, and all samples in them may wait for their outcome.
    """
    return depth * (-(-batch // step) + 1) + 1
