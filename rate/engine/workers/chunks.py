"""The order of samples for workers, and the handling of chunks whose worker died. It uses samples, never results."""

from __future__ import annotations

import itertools
from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass

from rate.runs.parts import PART_ROWS
from rate.types import Sample

CHUNK_SECONDS = 20.0
"""The target time of a chunk: a lost worker loses this much, and idle workers wait up to this long at the end."""

FIRST = 4
"""The number of samples of a chunk until the time of a sample is known."""

ATTEMPTS = 2
"""The number of workers that may die with a chunk before it is halved, or before a single sample is given up."""


@dataclass(frozen=True, slots=True)
class Chunk:
    """Samples that one worker evaluates and stores together."""

    samples: tuple[Sample, ...]
    attempts: int = 0  # number of workers that died with it


class Chunks:
    """Divides samples into chunks of about equal time."""

    def __init__(self, samples: Iterable[Sample], total: int, workers: int) -> None:
        """Divide ``total`` samples; the number may be approximate and only shapes the last chunks."""
        self._samples, self._left, self._workers = iter(samples), total, workers
        self._again: deque[Chunk] = deque()
        self._seconds = 0.0
        self._done = 0

    def next(self) -> Chunk | None:
        """Return the next chunk, lost ones first; None = there is none at the moment."""
        if self._again:
            return self._again.popleft()
        taken = tuple(itertools.islice(self._samples, self._size()))
        self._left -= len(taken)
        return Chunk(taken) if taken else None

    def finished(self, chunk: Chunk, seconds: float) -> None:
        """Update the time of a sample with that of a chunk."""
        self._done += len(chunk.samples)
        self._seconds += seconds

    def lost(self, chunk: Chunk) -> Sample | None:
        """Take back a chunk whose worker died; return the sample to give up, if any."""
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
        # Chunks shrink towards the end, so that no worker is left with a long last chunk.
        return max(1, min(fitting, PART_ROWS, self._left // (2 * self._workers)))
