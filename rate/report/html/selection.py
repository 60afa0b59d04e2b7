"""The selection of samples: a few of every head and quadrant, reproducibly."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from rate.data.digests import fingerprint
from rate.report.heads import HeadRun
from rate.runs.head_rows import states
from rate.runs.maps import read_maps
from rate.runs.part_list import read_list
from rate.runs.parts import iter_parts
from rate.runs.rows import SKETCH
from rate.runs.shuffled import SKETCHES
from rate.statistics.metrics import QUADRANTS, STATES, UNDEFINED, quadrant_of
from rate.types import Bool, Float64, Int64, Json

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
    predicted = head.rows.filter(pc.is_null(head.rows["error"]))
    saved = {one["id"]: one for one in _saved_maps(head)}
    chosen = predicted.filter(pc.is_in(predicted["id"], pa.array(saved, pa.string())))
    coarse = not len(chosen)
    if coarse:
        chosen = predicted.take(_lowest(predicted, most))
    sketches = _sketches(head, chosen["id"].combine_chunks())
    for values in chosen.to_pylist():
        row = values | sketches[values["id"]]
        one = saved.get(row["id"])
        heat = _heat(row["evidence_sketch"], SKETCH) if one is None else _heat(one["map"], one["side"])
        rank = fingerprint(row["id"]) if one is None else one["rank"]
        yield ShownSample(position, _group(row), rank, row, heat, coarse)


def _lowest(rows: pa.Table, most: int) -> Int64:
    """Return the positions of the ``most`` lowest ranks of every state; ``rows`` are in order of id."""
    order = np.argsort(np.array([fingerprint(name) for name in rows["id"].to_pylist()], np.uint64), kind="stable")
    codes = states(rows)[order]
    return np.concatenate([order[codes == code][:most] for code in range(len(STATES))])


def _sketches(head: HeadRun, ids: pa.StringArray) -> dict[str, Json]:
    """Read the sketches of some samples of a head, part by part."""
    sketches: dict[str, Json] = {}
    for part in iter_parts(head.folder, head.run, SKETCHES):
        own = part.filter(pc.and_(pc.equal(part["head"], head.head), pc.is_in(part["id"], ids)))
        sketches |= {row["id"]: row for row in own.to_pylist()}
    return sketches


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
