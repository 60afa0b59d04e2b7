"""The division of samples into chunks for workers, which follow the shards of a remote set.

A remote shard is fetched whole, so its samples go to the workers of one host. Only where workers would be idle at the
end is what is left of a shard divided once more, at the price of fetching it twice.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Collection, Iterable
from dataclasses import dataclass
from itertools import chain, islice

from rate.data.storage.location import container_of
from rate.engine.workers.base import IN_FLIGHT
from rate.runs.parts import PART_ROWS
from rate.types import Sample

CHUNK_SECONDS = 10.0
"""The target time of a chunk: a lost worker loses up to `IN_FLIGHT` of them."""

FIRST = 4
"""The number of samples of a chunk until the time of a sample is known."""

ATTEMPTS = 2
"""The number of workers that may die with a chunk before it is halved, or before a single sample is given up."""

WORTH_FETCHING_S = 60.0
"""The time of the rest of a shard from which another host, which would be idle, fetches it and takes half."""


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
        self._waiting: dict[str, deque[Sample]] = {}  # host -> what is left of the shard that it has
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
        return self._ended and not (self._again or self._out or any(self._waiting.values()))

    def next(self, host: str = "", hosts: Collection[str] = ()) -> Chunk | None:
        """Return the next chunk for a worker, lost ones first; None = there is none for its host at the moment.

        Args:
            host: the machine of the worker.
            hosts: the machines that have workers now.
        """
        if self._again:
            chunk = self._again.popleft()
        else:
            waiting, size = self._waiting.setdefault(host, deque()), self._size()
            if not waiting:
                waiting += self._shard(size) or self._of_other_hosts(hosts)
            chunk = Chunk(tuple(waiting.popleft() for _ in range(min(size, len(waiting)))))
            self._left -= len(chunk.samples)
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

    def _shard(self, size: int) -> list[Sample]:
        """Take the samples of the next remote shard, or ``size`` samples that lie in none."""
        first = next(self._samples, None)
        if first is None:
            self._ended = True
            return []
        taken, shard = [first], container_of(first.image)
        if shard is None or "://" not in shard:
            return [*taken, *islice(self._samples, size - 1)]
        for sample in self._samples:
            if container_of(sample.image) != shard:
                self._samples = chain([sample], self._samples)
                break
            taken.append(sample)
        return taken

    def _of_other_hosts(self, hosts: Collection[str]) -> list[Sample]:
        """Take the samples of a host that has no worker any more, or half of those that would keep one long."""
        for host, waiting in self._waiting.items():
            if waiting and host not in hosts:
                left = [*waiting]
                waiting.clear()
                return left
        longest = max(self._waiting.values(), key=len)
        pace = self._seconds / self._done if self._done else 0.0  # seconds a sample
        if len(longest) * pace < WORTH_FETCHING_S:
            return []
        return [longest.pop() for _ in range(len(longest) // 2)][::-1]

    def _size(self) -> int:
        fitting = round(CHUNK_SECONDS * self._done / self._seconds) if self._seconds > 0 else FIRST
        # Chunks shrink towards the end, so that no worker is left with long last ones.
        shrinking = self._left // (2 * IN_FLIGHT * self.workers)
        return min(max(self._least, min(fitting, shrinking)), PART_ROWS)
