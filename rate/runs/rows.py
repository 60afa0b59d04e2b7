"""The rows of a run, one for each sample and head, with the maps and the cost of samples."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from rate.credentials import without_credentials
from rate.records import Count
from rate.types import Bool, Float64, Json, Sample

SKETCH = 14
"""The side of the coarse evidence and region in every row, from which the shuffled baseline is computed."""

MAP = 56
"""The side of a saved map."""

SCHEMA = pa.schema(
    [
        pa.field("id", pa.string(), nullable=False),
        pa.field("head", pa.string(), nullable=False),
        pa.field("label", pa.string(), nullable=False),
        pa.field("prediction", pa.string()),
        pa.field("probability", pa.float32()),
        pa.field("correct", pa.bool_()),
        pa.field("explained", pa.string()),
        pa.field("effect", pa.float32()),
        pa.field("share", pa.float32()),
        pa.field("share_se", pa.float32()),
        pa.field("phi_region", pa.float32()),
        pa.field("phi_region_se", pa.float32()),
        pa.field("phi_rest", pa.float32()),
        pa.field("phi_rest_se", pa.float32()),
        pa.field("kept_alone", pa.float32()),
        pa.field("kept_without", pa.float32()),
        pa.field("object_only", pa.float32()),
        pa.field("background_only", pa.float32()),
        pa.field("fills", pa.int32()),
        pa.field("shuffled_valid", pa.bool_()),
        pa.field("localization", pa.float32()),
        pa.field("rma_positive", pa.float32()),
        pa.field("rma_minmax", pa.float32()),
        pa.field("rma_raw", pa.float32()),
        pa.field("rma_se", pa.float32()),
        pa.field("ceiling", pa.float32()),
        pa.field("floor", pa.float32()),
        pa.field("area", pa.float32()),
        pa.field("valid", pa.bool_()),
        pa.field("valid_midpoint", pa.bool_()),
        pa.field("valid_absolute", pa.bool_()),
        pa.field("undefined_reason", pa.string()),
        pa.field("forwards", pa.int32(), nullable=False),
        pa.field("settled", pa.string(), nullable=False),
        pa.field("error", pa.string()),
        pa.field("group", pa.string()),
        pa.field("cluster", pa.string()),
        pa.field("evidence_sketch", pa.binary()),  # f16 [14,14]: share of the evidence in each block
        pa.field("region_sketch", pa.binary()),  # u8 [14,14]: share of each block inside the region, in 255ths
        pa.field("content", pa.binary()),  # digest of the bytes of image and mask of which the row was computed
        pa.field("version", pa.string()),  # of image and mask in a remote storage, if it has versions
    ],
    metadata={"schema": "rate.samples/5"},
)

MAP_SCHEMA = pa.schema(
    [
        pa.field("id", pa.string(), nullable=False),
        pa.field("head", pa.string(), nullable=False),
        pa.field("quadrant", pa.string(), nullable=False),  # rr rw wr ww undefined
        pa.field("rank", pa.uint64(), nullable=False),  # digest of the id: the lowest of a quadrant are kept
        pa.field("side", pa.int32(), nullable=False),
        pa.field("map", pa.binary(), nullable=False),  # f16 [side,side], evidence with its maximum scaled to 1
    ],
    metadata={"schema": "rate.maps/1"},
)


def block_means(values: Float64 | Bool, side: int) -> Float64:
    """Compute the means [side,side] of nearly equal blocks of ``values`` [h,h]; a smaller input is repeated."""
    sums, areas = blocks(values, side)
    return np.asarray(sums / areas)


def blocks(values: Float64 | Bool, side: int) -> tuple[Float64, Float64]:
    """Compute sums and areas of ``side`` x ``side`` nearly equal blocks; a smaller input is repeated."""
    if len(values) < side:
        nearest = np.arange(side) * len(values) // side
        values = values[np.ix_(nearest, nearest)]
    edges = np.arange(side) * len(values) // side
    lengths = np.diff(np.append(edges, len(values)))
    sums = np.add.reduceat(np.add.reduceat(values.astype(np.float64), edges, axis=0), edges, axis=1)
    return sums, np.outer(lengths, lengths).astype(np.float64)


@dataclass(frozen=True, slots=True)
class RunStats:
    """Statistics of a batch or a session; a run has their sums."""

    forwards: Count = 0  # rows of samples
    used: Count = 0  # rows behind a verdict
    rows: Count = 0  # rows computed, padding included
    seconds: float = 0.0
    waiting_s: float = 0.0  # seconds in which the device had no image
    samples: Count = 0
    idle_s: float = 0.0  # seconds between the first and the last batch in which the device computed nothing

    def __add__(self, other: RunStats) -> RunStats:
        return RunStats(*(getattr(self, name) + getattr(other, name) for name in self.__slots__))


@dataclass(frozen=True, slots=True)
class SampleResult:
    """The stored results of one sample: all of its heads or none."""

    rows: tuple[Json, ...]  # one for each head
    maps: tuple[Json, ...] = ()  # maps that the run may keep

    @classmethod
    def of_error(cls, sample: Sample, heads: Iterable[str], error: str) -> SampleResult:
        """Make the results of a sample that could not be evaluated; all measured values are null."""
        known = {name: getattr(sample, name) for name in ("id", "label", "group", "cluster")}
        known |= {"error": without_credentials(error), "forwards": 0, "settled": "fixed"}
        return cls(tuple(dict.fromkeys(SCHEMA.names) | known | {"head": head} for head in heads))

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

    records: tuple[SampleResult, ...]
    stats: RunStats
