"""The division of samples into chunks for workers."""

from __future__ import annotations

import itertools
from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass

from rate.engine.workers.base import IN_FLIGHT
from rate.runs.parts import PART_ROWS
from rate.types import Sample

CHUNK_SECONDS = 10.0
"""The target time of a chunk: a lost worker loses up to `IN_FLIGHT` of them."""

FIRST = 4
"""The number of samples of a chunk until the time of a sample is known."""

ATTEMPTS = 2
"""The number of workers that may die with a chunk before it is halved, or before a single sample is given up."""


@dataclass(frozen=True, slots=True)
class Chunk:
    """Samples that one worker evaluates and whose records are stored together."""

    samples: tuple[Sample, ...]
    attempts: int = 0  # number of workers that died with it
    alone: bool = False  # a worker died with it, so it shares none: the next death is its own
    failed_on: str | None = None  # the host on which its samples have failed


class Chunks:
    """Divides samples into chunks of about equal time."""

    def __init__(self, samples: Iterable[Sample], total: int, workers: int = 1, least: int = 1) -> None:
        """Divide ``total`` samples; the number may be approximate and only shapes the last chunks.

        Args:
            samples: the samples in their order.
            total: how many they are.
            workers: the number of workers, which may change.
            least: the samples that a worker needs at once to fill its batches.
        """
        self._samples, self._left, self.workers, self._least = iter(samples), total, workers, least
        self._again: deque[Chunk] = deque()
        self._out = 0  # chunks that are with workers
        self._ended = False  # whether the samples have
        self._seconds = 0.0
        self._done = 0

    @property
    def returned(self) -> Chunk | None:
        """The next chunk, if it was with a worker before."""
        return self._again[0] if self._again else None

    @property
    def are_done(self) -> bool:
        """Whether `next` has returned all samples and none is left with a worker."""
        return self._ended and not self._again and not self._out

    def next(self) -> Chunk | None:
        """Return the next chunk, lost ones first; None = there is none at the moment."""
        if self._again:
            chunk = self._again.popleft()
        else:
            taken = tuple(itertools.islice(self._samples, self._size()))
            self._left -= len(taken)
            self._ended = not taken
            chunk = Chunk(taken)
        self._out += bool(chunk.samples)
        return chunk if chunk.samples else None

    def finished(self, chunk: Chunk, seconds: float) -> None:
        """Update the time of a sample with that of a chunk."""
        self._out -= 1
        self._done += len(chunk.samples)
        self._seconds += seconds

    def failed(self, samples: Iterable[Sample], host: str) -> None:
        """Take back ``samples`` of a finished chunk that have failed on ``host``."""
        if samples := tuple(samples):
            self._again.append(Chunk(samples, failed_on=host))

    def lost(self, chunk: Chunk, with_node: bool = False) -> Sample | None:
        """Take back a chunk whose worker died; return the sample to give up, if any.

        A worker that died ``with_node`` says nothing against the chunk.
        """
        self._out -= 1
        if with_node:
            self._again.append(chunk)
            return None
        attempts = chunk.attempts + 1
        if attempts < ATTEMPTS:
            self._again.append(Chunk(chunk.samples, attempts, alone=True))
        elif len(chunk.samples) == 1:
            return chunk.samples[0]
        else:
            middle = len(chunk.samples) // 2
            self._again += [Chunk(half, alone=True) for half in (chunk.samples[:middle], chunk.samples[middle:])]
        return None

    def _size(self) -> int:
        fitting = round(CHUNK_SECONDS * self._done / self._seconds) if self._seconds > 0 else FIRST
        # Chunks shrink towards the end, so that no worker is left with long last ones.
        shrinking = self._left // (2 * IN_FLIGHT * self.workers)
        return min(max(self._least, min(fitting, shrinking)), PART_ROWS)
