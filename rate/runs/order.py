"""The order of the rows of a run: by rank, a digest of the sample's id, not by who wrote them or when.

The parts of a finished run each hold a range of ranks. Readers that need an order, or that look for samples that are
stored twice, then hold one part at a time.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Sequence

import numpy as np
import pyarrow as pa

from rate.runs.part_list import ListedPart
from rate.types import UInt64


def ranks(identifiers: Iterable[str]) -> UInt64:
    """Compute the ranks [n] of samples, which are also their positions on the ring of the shuffled baseline."""
    digests = b"".join(hashlib.blake2b(one.encode(), digest_size=8).digest() for one in identifiers)
    return np.frombuffer(digests, ">u8").astype(np.uint64)


def in_order(table: pa.Table) -> tuple[pa.Table, UInt64]:
    """Return rows, which have a column ``id``, in order of rank, with their ranks [n]; heads keep their order."""
    rank = ranks(table["id"].to_pylist())
    order = np.argsort(rank, kind="stable")
    return table.take(order), rank[order]


def groups_of(parts: Iterable[ListedPart]) -> Iterator[Sequence[ListedPart]]:
    """Yield parts in order of rank, those together whose ranges overlap: each alone in a finished run."""
    group: list[ListedPart] = []
    last = ""
    for part in sorted(parts, key=lambda part: part.first):
        if group and part.first > last:
            yield group
            group = []
        group.append(part)
        last = max(last, part.last)
    if group:
        yield group
