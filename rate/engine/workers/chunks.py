"""Which samples a worker gets next, and what becomes of those that a worker died with. Sees samples, never results."""

from __future__ import annotations

import itertools
from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass

from rate.runs.parts import PART_ROWS
from rate.types import Sample

CHUNK_SECONDS = 20.0
"""What a chunk should take: as much is lost with a worker, and a worker that is done early waits as long at the end."""

FIRST = 4
"""Samples of a chunk while nobody knows how long one takes."""

ATTEMPTS = 2
"""Workers that may die with a chunk before it is halved, and with a single sample before it is given up."""


@dataclass(frozen=True, slots=True)
class Chunk:
    """Samples that one worker evaluates and stores together."""

    samples: tuple[Sample, ...]
    attempts: int = 0  # workers that died with it


class Chunks:
    """Cuts samples into chunks of about equal time."""

    def __init__(self, samples: Iterable[Sample], total: int, workers: int) -> None:
        """``total``: how many samples there are about; it only shapes the last chunks."""
        self._samples, self._left, self._workers = iter(samples), total, workers
        self._again: deque[Chunk] = deque()
        self._seconds = 0.0
        self._done = 0

    def next(self) -> Chunk | None:
        """The next chunk, those that were lost first; None = there is none at the moment."""
        if self._again:
            return self._again.popleft()
        taken = tuple(itertools.islice(self._samples, self._size()))
        self._left -= len(taken)
        return Chunk(taken) if taken else None

    def finished(self, chunk: Chunk, seconds: float) -> None:
        """Learn from a chunk how long a sample takes."""
        self._done += len(chunk.samples)
        self._seconds += seconds

    def lost(self, chunk: Chunk) -> Sample | None:
        """Take back a chunk whose worker died; the sample to give up, if that is what it comes to."""
        attempts = chunk.attempts + 1
        if attempts < ATTEMPTS:
            self._again.append(Chunk(chunk.samples, attempts))
        elif len(chunk.samples) == 1:
            return chunk.samples[0]
        else:
            middle = len(chunk.samples) // 2
            self._again += [Chunk(chunk.samples[:middle]), Chunk(chunk.samples[middle:])]
        return None

    def _size(self) -> int:
        fitting = round(CHUNK_SECONDS * self._done / self._seconds) if self._seconds > 0 else FIRST
        # Towards the end smaller ones, so that no worker is left with the last chunk alone.
        return max(1, min(fitting, PART_ROWS, self._left // (2 * self._workers)))
