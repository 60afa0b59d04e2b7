"""The selection of samples: a few of every head and quadrant, reproducibly."""

from __future__ import annotations

import heapq
import itertools
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from rate.data.digests import fingerprint
from rate.report.heads import VALUES, HeadRun
from rate.runs.maps import read_maps
from rate.runs.part_list import read_list
from rate.runs.rows import SKETCH
from rate.runs.summary.shuffled import SKETCHES
from rate.runs.summary.slice_sums import states
from rate.statistics.metrics import QUADRANTS, STATES, UNDEFINED, quadrant_of
from rate.types import Bool, Float64, Json

GROUPS = (*QUADRANTS, UNDEFINED)
"""The groups of cards, in order."""

_LARGEST_SIDE = 1024


@dataclass(frozen=True, slots=True, eq=False)
class ShownSample:
    """One head's view of one sample."""

    head: int  # index among the heads of the report
    quadrant: str
    rank: int
    row: Json  # `rate.report.heads.VALUES` and `SKETCHES`
    heat: Float64 | None  # [side,side] in [0, 1]
    coarse: bool  # whether the map is the row's sketch, because no map was saved

    @property
    def id(self) -> str:
        """The id of the sample."""
        return str(self.row["id"])

    @property
    def coarse_region(self) -> Bool:
        """The region [14,14] of the row."""
        region = self.row["region_sketch"]
        if region is None or len(region) != SKETCH * SKETCH:
            return np.zeros((SKETCH, SKETCH), np.bool_)
        return np.asarray(np.frombuffer(region, np.uint8).reshape(SKETCH, SKETCH) >= 128)


def select(heads: Sequence[HeadRun], most: int) -> list[ShownSample]:
    """Select at most ``most`` samples over all heads, one of every head and quadrant in turn, lowest ranks first.

    If a head has saved maps, only samples with a map are used; otherwise all predicted ones.

    Raises:
        RunError: the saved maps of a run cannot be read.
    """
    strata: dict[tuple[int, str], list[ShownSample]] = {}
    for position, head in enumerate(heads):
        for shown in _candidates(position, head, most):
            strata.setdefault((position, shown.quadrant), []).append(shown)
    queues = [
        sorted(strata.get((position, quadrant), ()), key=lambda shown: (shown.rank, shown.id))
        for quadrant in GROUPS
        for position in range(len(heads))
    ]
    turns = (shown for turn in itertools.zip_longest(*queues) for shown in turn if shown is not None)
    return sorted(itertools.islice(turns, most), key=_order)


def _order(shown: ShownSample) -> tuple[int, int, str, int]:
    """Return the sorting key that puts one sample of two heads in one quadrant side by side."""
    return GROUPS.index(shown.quadrant), shown.rank, shown.id, shown.head


def _candidates(position: int, head: HeadRun, most: int) -> Iterator[ShownSample]:
    """Yield the samples of a head that may be shown: at most ``most`` of a quadrant, or all with a saved map."""
    saved = {one["id"]: one for one in _saved_maps(head)}
    rows = list(_rows(head, saved)) if saved else []
    coarse = not rows
    for row in rows or _rows(head, _lowest(head, most)):
        one = saved.get(row["id"])
        heat = _heat(row["evidence_sketch"], SKETCH) if one is None else _heat(one["map"], one["side"])
        rank = fingerprint(row["id"]) if one is None else one["rank"]
        yield ShownSample(position, _group(row), rank, row, heat, coarse)


def _lowest(head: HeadRun, most: int) -> list[str]:
    """Return the ids of the predicted samples with the ``most`` lowest ranks of every state."""
    lowest: dict[int, list[tuple[int, str]]] = {}
    for rows in head.batches(["correct", "valid", "undefined_reason", "error"]) if most else ():
        ids = zip(states(rows).tolist(), rows["id"].to_pylist(), strict=True)
        for state, own in itertools.groupby(sorted(ids), key=lambda one: one[0]):
            ranked = [(fingerprint(name), name) for _, name in own]
            lowest[state] = heapq.nsmallest(most, [*lowest.get(state, ()), *ranked])
    return [name for state, own in lowest.items() if STATES[state] != "error" for _, name in own]


def _rows(head: HeadRun, ids: Iterable[str]) -> Iterator[Json]:
    """Read the rows of some samples that were predicted, with their sketches."""
    wanted = pa.array(ids, pa.string())
    if not len(wanted):
        return
    for rows in head.batches(list(dict.fromkeys([*VALUES, *SKETCHES]))):
        chosen = rows.filter(pc.and_(pc.is_in(rows["id"], wanted), pc.is_null(rows["error"])))
        yield from chosen.to_pylist()


def _saved_maps(head: HeadRun) -> list[Json]:
    """Return the saved maps of a head; of an interrupted run, those of its listed parts."""
    folder = head.folder / "maps"
    names = ["maps.parquet", *(part.name for part in read_list(head.folder))]
    maps = {
        saved["id"]: saved
        for path in (folder / name for name in names)
        if path.exists()
        for saved in _read_maps(path, head.head)
    }
    return list(maps.values())


def _read_maps(path: Path, head: str) -> list[Json]:
    table = read_maps(path)
    return list(table.filter(pc.equal(table["head"], head)).to_pylist())


def _heat(data: bytes | None, side: int) -> Float64 | None:
    """Decode a map [side,side] with maximum 1; None if the data is no map."""
    if data is None or not 0 < side <= _LARGEST_SIDE or len(data) != 2 * side * side:
        return None
    values = np.nan_to_num(np.frombuffer(data, np.float16).astype(np.float64), posinf=0.0).clip(0.0)
    peak = values.max()
    return np.asarray((values / peak if peak > 0 else values).reshape(side, side))


def _group(row: Json) -> str:
    return quadrant_of(row["correct"], row["valid"])
