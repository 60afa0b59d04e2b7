"""The shuffled baseline: each map with the regions of other samples, from the sketches in every row."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from rate.runs.order import ranks
from rate.runs.part_list import read_list
from rate.runs.parts import read_part
from rate.runs.rows import SKETCH
from rate.runs.run_document import RunDocument
from rate.statistics.metrics import Counts, quadrants
from rate.types import Bool, Float64, UInt64

SHUFFLES = 8
"""The number of other samples' regions for each map."""

SHUFFLED_SAMPLES = 4096
"""The number of samples; the baseline is an average that more samples would not change."""

_AT_ONCE = 256  # samples

Sketches = npt.NDArray[Any]
SKETCHES = ["id", "head", "evidence_sketch", "region_sketch"]
"""The columns of a part that hold its sketches, and whose they are."""


@dataclass(slots=True)
class Ring:
    """Samples of one head in the order of their ranks, with their sketches once they were read."""

    rank: UInt64  # [m] ascending
    correct: Bool  # [m]
    threshold: Float64  # [m] least valid relevance mass for the region of each sample
    evidence: Sketches  # f16 [m,14*14] share of the evidence in each block
    region: Sketches  # u8 [m,14*14] share of each block inside the region, in 255ths

    @classmethod
    def of(cls, rank: UInt64, correct: Bool, threshold: Float64) -> Ring:
        """Select the `SHUFFLED_SAMPLES` first of the given samples [n], without their sketches."""
        order = np.argsort(rank, kind="stable")[:SHUFFLED_SAMPLES]
        shape = (len(order), SKETCH * SKETCH)
        evidence, region = np.zeros(shape, np.float16), np.zeros(shape, np.uint8)
        return cls(rank[order], correct[order], threshold[order], evidence, region)

    def counts(self) -> Counts:
        """Count each map with the regions of the next `SHUFFLES` samples, by the threshold of the region's sample."""
        total = Counts()
        for shift in range(1, min(SHUFFLES, len(self.rank) - 1) + 1):
            partner = np.roll(np.arange(len(self.rank)), -shift)
            for part in range(0, len(partner), _AT_ONCE):  # the stored sketches take a fifth of the memory
                own, other = slice(part, part + _AT_ONCE), partner[part : part + _AT_ONCE]
                mass = (self.evidence[own].astype(np.float64) * (self.region[other] / 255.0)).sum(axis=1)
                total += quadrants(self.correct[own], mass >= self.threshold[other])
        return total


def take_sketches(rings: dict[str, Ring], folder: Path, run: RunDocument) -> None:
    """Read the sketches of every sample of the rings (head -> ring) from the parts that may hold one.

    Raises:
        RunError: a part is missing or damaged.
    """
    last = max((int(ring.rank[-1]) for ring in rings.values()), default=-1)
    for part in read_list(folder, run.rows):
        if int(part.first, 16) > last:
            continue
        table = read_part(folder, part, SKETCHES)
        rank = ranks(table["id"].to_pylist())
        for head, ring in rings.items():
            own = np.asarray(pc.equal(table["head"], head))
            at = np.searchsorted(ring.rank, rank)
            selected = own & (at < len(ring.rank)) & (ring.rank[np.minimum(at, len(ring.rank) - 1)] == rank)
            rows = np.flatnonzero(selected)
            if len(rows):
                chosen = table.take(rows)
                ring.evidence[at[rows]] = _blocks(chosen["evidence_sketch"], np.float16)
                ring.region[at[rows]] = _blocks(chosen["region_sketch"], np.uint8)


def _blocks(column: pa.ChunkedArray, dtype: type[np.generic]) -> Sketches:
    """Return coarse maps [m,14*14]."""
    return np.frombuffer(b"".join(column.to_pylist()), dtype).reshape(len(column), SKETCH * SKETCH)
