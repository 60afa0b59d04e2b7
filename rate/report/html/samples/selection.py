"""The selection of samples: of every head and quadrant those that are the furthest from what they should be."""

from __future__ import annotations

import heapq
import itertools
from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from rate.report.heads import VALUES, HeadRun
from rate.runs.maps import read_maps
from rate.runs.part_list import read_list
from rate.runs.rows import SKETCH
from rate.runs.summary.shuffled import SKETCHES
from rate.runs.summary.slice_sums import column_values, states
from rate.statistics.metrics import STATES, UNDEFINED, quadrant_of
from rate.types import Bool, Float64, Json, SampleValues

GROUPS = ("rw", "ww", "wr", "rr", UNDEFINED)
"""The groups of cards, in order: failures come first."""

BY_SHARE = ("rw", "rr")
"""The groups in which the lowest values of what is compared with tau come first; in others the highest probability."""

_LARGEST_SIDE = 1024


@dataclass(frozen=True, slots=True, eq=False)
class ShownSample:
    """One head's view of one sample."""

    head: int  # index among the heads of the report
    quadrant: str
    order: float  # lower ones are worse, and come first
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


def select(heads: Sequence[HeadRun], most: int, among: Collection[int] = ()) -> list[ShownSample]:
    """Select at most ``most`` samples, one of every head and quadrant in turn, the worst first.

    They are of all heads, or of those at the positions ``among``.
    If a head has saved maps, only samples with a map are used; otherwise all predicted ones.

    Raises:
        RunError: the saved maps of a run cannot be read.
    """
    strata: dict[tuple[int, str], list[ShownSample]] = {}
    positions = among or range(len(heads))
    for position in positions:
        head = heads[position]
        maps = saved_maps(head)
        for shown in shown_samples(position, head, _worst(head, most, maps["id"] if len(maps) else None), maps):
            strata.setdefault((position, shown.quadrant), []).append(shown)
    queues = [
        sorted(strata.get((position, quadrant), ()), key=lambda shown: (shown.order, shown.id))
        for quadrant in GROUPS
        for position in positions
    ]
    turns = (shown for turn in itertools.zip_longest(*queues) for shown in turn if shown is not None)
    return sorted(itertools.islice(turns, most), key=_order)


def shown_samples(position: int, head: HeadRun, ids: Iterable[str], maps: pa.Table) -> Iterator[ShownSample]:
    """Read the rows of samples that were predicted, with their maps or else the sketches of their rows.

    Args:
        position: the index of the head among those of the report.
        head: the head.
        ids: the samples.
        maps: what `saved_maps` gives.
    """
    wanted = pa.array(ids, pa.string())
    if not len(wanted):
        return
    saved = {one["id"]: one for one in maps.filter(pc.is_in(maps["id"], wanted)).to_pylist()}
    for rows in head.batches(list(dict.fromkeys([*VALUES, *SKETCHES]))):
        chosen = rows.filter(pc.and_(pc.is_in(rows["id"], wanted), pc.is_null(rows["error"])))
        for row, order in zip(chosen.to_pylist(), _badness(chosen, head).tolist(), strict=True):
            one = saved.get(row["id"])
            heat = _heat(row["evidence_sketch"], SKETCH) if one is None else _heat(one["map"], one["side"])
            yield ShownSample(position, quadrant_of(row["correct"], row["valid"]), order, row, heat, one is None)


def saved_maps(head: HeadRun) -> pa.Table:
    """Read the saved maps of a head; of an interrupted run, those of its listed parts.

    Raises:
        RunError: they cannot be read.
    """
    folder = head.folder / "maps"
    names = ["maps.parquet", *(part.name for part in read_list(head.folder))]
    tables = [_read_maps(path, head.head) for path in (folder / name for name in names) if path.exists()]
    return pa.concat_tables(tables) if tables else pa.table({"id": pa.array([], pa.string())})


def _order(shown: ShownSample) -> tuple[int, float, str, int]:
    return GROUPS.index(shown.quadrant), shown.order, shown.id, shown.head


def _worst(head: HeadRun, most: int, among: pa.ChunkedArray | None) -> list[str]:
    """Return the ids of the ``most`` worst predicted samples of every state, of all or ``among`` some."""
    worst: dict[int, list[tuple[float, str]]] = {}
    columns = ["correct", "valid", "undefined_reason", "error", "probability", head.summary.rule.judged_column]
    for rows in head.batches(columns) if most else ():
        own = rows if among is None else rows.filter(pc.is_in(rows["id"], among))
        codes, order = states(own), _badness(own, head)
        for state in np.unique(codes).tolist():
            at = np.flatnonzero(codes == state)
            pairs = zip(order[at].tolist(), own["id"].take(at).to_pylist(), strict=True)
            worst[state] = heapq.nsmallest(most, [*worst.get(state, ()), *pairs])
    return [name for state, own in worst.items() if STATES[state] != "error" for _, name in own]


def _badness(rows: pa.Table, head: HeadRun) -> SampleValues:
    """Return the order [n] of rows within their quadrant: what is compared with tau where a prediction with a verdict
    is right, and else the probability of the prediction, the highest first; a value that is not known comes last.
    """
    right_with_verdict = states(rows) < 2
    judged = column_values(rows, head.summary.rule.judged_column)
    order = np.where(right_with_verdict, judged, -column_values(rows, "probability"))
    return np.asarray(np.where(np.isnan(order), np.inf, order), np.float64)


def _read_maps(path: Path, head: str) -> pa.Table:
    table = read_maps(path)
    return table.filter(pc.equal(table["head"], head))


def _heat(data: bytes | None, side: int) -> Float64 | None:
    """Decode a map [side,side] with maximum 1; None if the data is no map."""
    if data is None or not 0 < side <= _LARGEST_SIDE or len(data) != 2 * side * side:
        return None
    values = np.nan_to_num(np.frombuffer(data, np.float16).astype(np.float64), posinf=0.0).clip(0.0)
    peak = values.max()
    return np.asarray((values / peak if peak > 0 else values).reshape(side, side))
