"""The division of a set between machines that each evaluate a part of it."""

from __future__ import annotations

import heapq
from collections import Counter
from dataclasses import dataclass

import numpy as np

from rate.data.blocks import Block
from rate.data.storage.location import container_of
from rate.errors import ConfigError
from rate.types import Bool, Int64, Sample, UInt64


@dataclass(frozen=True, slots=True)
class Shard:
    """One of several parts of a set of about equal size; the part of a sample depends on its id alone."""

    number: int = 1  # counts from 1
    of: int = 1

    def __post_init__(self) -> None:
        if not 1 <= self.number <= self.of:
            raise ConfigError(f"shard {self.number}/{self.of}: the first number must lie between 1 and the second")

    def holds(self, names: UInt64) -> Bool:
        """Tell of each of some fingerprints whether the sample is in this part."""
        return np.asarray(names % np.uint64(self.of) == self.number - 1)

    @classmethod
    def parse(cls, text: str) -> Shard:
        """Parse a part such as `2/8`.

        Raises:
            ConfigError: it has another form.
        """
        number, slash, of = text.partition("/")
        if not (slash and number.isdecimal() and of.isdecimal()):
            raise ConfigError(f"--shard {text!r}: expected NUMBER/OF, such as 1/8 to 8/8 on eight machines")
        return cls(int(number), int(of))

    def __str__(self) -> str:
        return f"{self.number}/{self.of}"


WHOLE = Shard()


class Shards:
    """The samples of each remote container of a set, of which each part of the set then has whole ones.

    So each is fetched for one part. Where there are fewer than parts, the ids of samples decide.
    """

    def __init__(self, part: Shard) -> None:
        self._part, self._are_remote = part, part != WHOLE
        self._samples: Counter[str] = Counter()

    def add(self, block: Block, chosen: Int64) -> None:
        """Count samples of a block."""
        first = map(_shard_of, block.samples(chosen[:1]))  # where it lies in none, the others are not made
        self._are_remote = self._are_remote and all(first)
        if self._are_remote:
            self._samples.update(map(_shard_of, block.samples(chosen)))

    def own(self) -> dict[str, int] | None:
        """Return the containers of the part with their samples, the largest first to the part that has the least."""
        if not self._are_remote or "" in self._samples or len(self._samples) < self._part.of:
            return None
        parts = [(0, number) for number in range(1, self._part.of + 1)]
        own = {}
        for one, count in sorted(self._samples.items(), key=lambda item: (-item[1], item[0])):
            samples, number = heapq.heappop(parts)
            heapq.heappush(parts, (samples + count, number))
            if number == self._part.number:
                own[one] = count
        return own


def _shard_of(sample: Sample) -> str:
    """Return the URL of the container of a sample, or an empty text."""
    container = container_of(sample.image) or ""
    return container if "://" in container else ""
