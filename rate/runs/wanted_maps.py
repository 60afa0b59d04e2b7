"""The choice of the maps that a run keeps: the lowest ranks of every head and quadrant."""

from __future__ import annotations

import heapq
from collections.abc import Iterable
from pathlib import Path

from rate.data.digests import fingerprint
from rate.metrics import quadrant_of
from rate.runs.parts import read_part
from rate.runs.run_document import ListedPart

MapKey = tuple[str, str]
"""The id and head of a saved map."""

_JUDGED = ["id", "head", "error", "correct", "valid"]


def wanted_maps(folder: Path, parts: Iterable[ListedPart], keep: int | None) -> dict[MapKey, str]:
    """Map the samples and heads of which a run keeps a map to their quadrants.

    Args:
        folder: the run folder.
        parts: its listed parts.
        keep: the number of maps of each head and quadrant; None = all.

    Raises:
        RunError: a part is missing or damaged.
    """
    lowest: dict[tuple[str, str], list[tuple[int, MapKey]]] = {}  # head and quadrant -> minus the lowest ranks
    for part in parts if keep != 0 else ():
        for row in read_part(folder, part, _JUDGED).to_pylist():
            if row["error"] is not None:
                continue
            ranks = lowest.setdefault((row["head"], quadrant_of(row["correct"], row["valid"])), [])
            ranked = -fingerprint(row["id"]), (row["id"], row["head"])
            if keep is None or len(ranks) < keep:
                heapq.heappush(ranks, ranked)
            else:
                heapq.heappushpop(ranks, ranked)
    return {key: quadrant for (_, quadrant), ranks in lowest.items() for _, key in ranks}
