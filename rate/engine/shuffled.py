"""The shuffled baseline: each map against the regions of other samples, from the sketches that every row carries."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from rate.engine.rows import SKETCH
from rate.metrics import Counts, quadrants
from rate.types import Bool, Float64

SHUFFLES = 8
"""Other samples' regions that each map is held against."""

SHUFFLED_SAMPLES = 4096
"""Samples that take part; the baseline is an average, more would not move it."""

UInt64 = npt.NDArray[np.uint64]
SKETCHES = ["id", "head", "evidence_sketch", "region_sketch"]
"""The columns of a part that `take_sketches` asks for."""


def ranks(identifiers: Iterable[str]) -> UInt64:
    """[n] places of samples on the ring: a digest of the id, the same for any order of arrival."""
    digests = b"".join(hashlib.blake2b(one.encode(), digest_size=8).digest() for one in identifiers)
    return np.frombuffer(digests, ">u8").astype(np.uint64)


@dataclass(slots=True)
class Ring:
    """Samples of one head in the order of their ranks, and their sketches once they were taken."""

    rank: UInt64  # [m] ascending
    correct: Bool  # [m]
    threshold: Float64  # [m] that the region of each sample asks for
    evidence: Float64  # [m,14*14] share of the evidence in each block
    region: Float64  # [m,14*14] share of each block inside the region

    @classmethod
    def of(cls, rank: UInt64, correct: Bool, threshold: Float64) -> Ring:
        """The `SHUFFLED_SAMPLES` first of the given samples [n], without their sketches."""
        order = np.argsort(rank, kind="stable")[:SHUFFLED_SAMPLES]
        empty = np.zeros((len(order), SKETCH * SKETCH))
        return cls(rank[order], correct[order], threshold[order], empty, empty.copy())

    def counts(self) -> Counts:
        """Each map against the regions of the next `SHUFFLES` samples, by the threshold of the region's own sample."""
        total = Counts()
        for shift in range(1, min(SHUFFLES, len(self.rank) - 1) + 1):
            mass = (self.evidence * np.roll(self.region, -shift, axis=0)).sum(axis=1)
            total += quadrants(self.correct, mass >= np.roll(self.threshold, -shift))
        return total


def take_sketches(rings: dict[str, Ring], parts: Iterator[pa.Table]) -> None:
    """Give every sample of the rings (head -> ring) its sketches, from parts with the columns `SKETCHES`."""
    for table in parts:
        rank = ranks(table["id"].to_pylist())
        for head, ring in rings.items():
            own = np.asarray(pc.equal(table["head"], head))
            at = np.searchsorted(ring.rank, rank)
            found = own & (at < len(ring.rank)) & (ring.rank[np.minimum(at, len(ring.rank) - 1)] == rank)
            rows = np.flatnonzero(found)
            if len(rows):
                chosen = table.take(rows)
                ring.evidence[at[rows]] = _blocks(chosen["evidence_sketch"], np.float16)
                ring.region[at[rows]] = _blocks(chosen["region_sketch"], np.uint8) / 255.0


def _blocks(column: pa.ChunkedArray, dtype: type[np.generic]) -> Float64:
    """[m,14*14] coarse maps."""
    joined = b"".join(column.to_pylist())
    return np.frombuffer(joined, dtype).astype(np.float64).reshape(len(column), SKETCH * SKETCH)
