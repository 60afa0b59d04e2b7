"""Continuous batching: batches of one fixed size, each filled from several samples. Sees indices, never pixels."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

CLEAN_ROWS = 1
"""Row 0 of a sample is the image as it is; row j > 0 is mask j - 1."""


@dataclass(frozen=True, slots=True)
class Span:
    """Consecutive rows of one sample inside a batch."""

    ticket: int  # of the sample, as given by `Scheduler.admit`
    slot: int  # where its pixels are resident
    start: int  # first row; 0 is the clean image
    stop: int  # one past the last row

    def __len__(self) -> int:
        return self.stop - self.start


@dataclass(frozen=True, slots=True)
class Plan:
    """One batch. The spans' rows follow one another; the rest of the batch is padding."""

    spans: tuple[Span, ...]
    batch: int  # rows of the batch, padding included

    @property
    def filled(self) -> int:
        """Rows that do work: the sum of the spans' lengths."""
        return sum(len(span) for span in self.spans)


@dataclass(slots=True)
class _Active:
    slot: int
    rows: int  # rows the sample needs in all
    planned: int = 0
    in_flight: int = 0  # batches that use its slot and are not folded yet
    finished: bool = False


class Scheduler:
    """Gives slots to samples and rows to batches, oldest sample first, so that no batch has holes."""

    def __init__(self, batch: int, slots: int) -> None:
        self._batch = batch
        self._free = list(range(slots))[::-1]
        self._active: dict[int, _Active] = {}  # ticket -> state, in order of admission
        self._next_ticket = 0

    @property
    def wants_more(self) -> bool:
        """Whether the next batch would have holes that another sample could fill."""
        waiting = sum(sample.rows - sample.planned for sample in self._active.values())
        return bool(self._free) and waiting < self._batch

    def admit(self, rows: int) -> tuple[int, int]:
        """Take a sample that needs ``rows`` rows; returns (ticket, slot). Only when `wants_more`."""
        ticket, slot = self._next_ticket, self._free.pop()
        self._next_ticket += 1
        self._active[ticket] = _Active(slot, rows)
        return ticket, slot

    def schedule(self) -> Plan | None:
        """The next batch, or None when every admitted row is planned."""
        spans: list[Span] = []
        room = self._batch
        for ticket, sample in self._active.items():
            take = min(room, sample.rows - sample.planned)
            if take > 0:
                spans.append(Span(ticket, sample.slot, sample.planned, sample.planned + take))
                sample.planned += take
                sample.in_flight += 1
                room -= take
            if room == 0:
                break
        return Plan(tuple(spans), self._batch) if spans else None

    def folded(self, plan: Plan, settled: Iterable[int]) -> None:
        """The batch is done, and the tickets ``settled`` need no more rows; slots that nothing uses become free."""
        for ticket in settled:
            sample = self._active[ticket]
            sample.rows, sample.finished = sample.planned, True
        for span in plan.spans:
            sample = self._active[span.ticket]
            sample.in_flight -= 1
            if sample.finished and not sample.in_flight:
                self._free.append(self._active.pop(span.ticket).slot)


def slots_for(batch: int, rows: int, depth: int) -> int:
    """Resident images that keep every batch full when each sample needs ``rows`` rows and ``depth`` are in flight."""
    return depth * -(-batch // rows) + 1
