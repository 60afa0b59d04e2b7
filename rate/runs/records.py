"""The results of one sample: its rows, the maps that may be saved, and the cost of the computation."""

from __future__ import annotations

import heapq
from collections.abc import Sequence
from dataclasses import dataclass, field

from rate.data.digests import fingerprint
from rate.engine.verdict import Verdict
from rate.records import Count
from rate.runs.rows import map_from_verdict, quadrant, row_from_error, row_from_verdict
from rate.types import Json, Sample


@dataclass(frozen=True, slots=True)
class RunStats:
    """Statistics of a batch or a session; a run has their sums."""

    forwards: Count = 0  # rows of samples
    used: Count = 0  # rows behind a verdict
    rows: Count = 0  # rows computed, padding included
    seconds: float = 0.0
    waiting_s: float = 0.0  # seconds in which the device had no image
    samples: Count = 0

    def __add__(self, other: RunStats) -> RunStats:
        return RunStats(*(getattr(self, name) + getattr(other, name) for name in self.__slots__))


@dataclass(frozen=True, slots=True)
class Record:
    """The stored results of one sample: all of its heads or none."""

    rows: tuple[Json, ...]  # one for each head
    maps: tuple[Json, ...] = ()  # maps that the run may keep

    @property
    def id(self) -> str:
        """The id of the sample."""
        return str(self.rows[0]["id"])

    @property
    def error(self) -> str | None:
        """The reason why the sample has no verdict; None if it was evaluated."""
        error: str | None = self.rows[0]["error"]
        return error


@dataclass(frozen=True, slots=True)
class Records:
    """Finished samples, and the computation since the previous ones."""

    records: tuple[Record, ...]
    stats: RunStats


@dataclass(slots=True)
class Recorder:
    """Converts verdicts and errors to records."""

    heads: Sequence[str]
    keep_maps: int | None  # per head and quadrant; None = all
    _lowest: dict[tuple[str, str], list[int]] = field(default_factory=dict)  # heaps of minus the ranks kept so far

    def of_verdicts(self, verdicts: Sequence[Verdict]) -> Record:
        """Make the record of a sample from the verdicts of all heads on it."""
        maps = tuple(map_from_verdict(verdict) for verdict in verdicts if self._is_kept(verdict))
        return Record(tuple(map(row_from_verdict, verdicts)), maps)

    def of_error(self, sample: Sample, error: str) -> Record:
        """Make the record of a sample without a verdict."""
        return Record(tuple(row_from_error(sample, head, error) for head in self.heads))

    def _is_kept(self, verdict: Verdict) -> bool:
        """Tell whether the run may keep the verdict's map; in a large set most maps are excluded early."""
        if not self.keep_maps:
            return self.keep_maps is None
        lowest = self._lowest.setdefault((verdict.prediction.head, quadrant(verdict)), [])
        minus = -fingerprint(verdict.sample.id)
        if len(lowest) < self.keep_maps:
            heapq.heappush(lowest, minus)
            return True
        return heapq.heappushpop(lowest, minus) != minus
