"""The commonest confusions: pairs of a label and another class that is predicted for it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import pyarrow as pa
import pyarrow.compute as pc

from rate.report.heads import HeadRun

MOST = 12
"""The number of pairs that a page shows."""

_PAIR = ["label", "prediction"]


@dataclass(frozen=True, slots=True)
class Confusion:
    """One label with one wrong prediction."""

    label: str
    prediction: str
    counts: tuple[tuple[int, int], ...]  # of each head: images, and those of them on valid evidence


def confusions(heads: Sequence[HeadRun], most: int = MOST) -> list[Confusion]:
    """Count wrong predictions by label and prediction; the ``most`` commonest of any head, in that order.

    Raises:
        RunError: a part of a run is missing or damaged.
    """
    counted = [_counted(head) for head in heads]
    pairs = {pair for counts in counted for pair in sorted(counts, key=lambda pair: (-counts[pair][0], pair))[:most]}
    listed = [Confusion(*pair, tuple(counts.get(pair, (0, 0)) for counts in counted)) for pair in pairs]
    return sorted(listed, key=lambda one: (-max(count for count, _ in one.counts), one.label, one.prediction))[:most]


def _counted(head: HeadRun) -> dict[tuple[str, str], tuple[int, int]]:
    """Count the wrong predictions of a head, part by part: label and prediction -> images, those on valid evidence."""
    sums = pa.table({name: pa.array([], kind) for name, kind in zip(_COLUMNS, _TYPES, strict=True)})
    for rows in head.batches([*_PAIR, "correct", "valid"]):
        wrong = rows.filter(pc.equal(rows["correct"], False))
        ones = [pa.array([1] * len(wrong), pa.int64()), pc.cast(pc.fill_null(wrong["valid"], False), pa.int64())]
        added = pa.table([wrong["label"], wrong["prediction"], *ones], _COLUMNS)
        grouped = pa.concat_tables([sums, added]).group_by(_PAIR).aggregate([("images", "sum"), ("valid", "sum")])
        sums = grouped.select(["label", "prediction", "images_sum", "valid_sum"]).rename_columns(_COLUMNS)
    labels, predictions, images, valid = (column.to_pylist() for column in sums.columns)
    return {pair[:2]: pair[2:] for pair in zip(labels, predictions, images, valid, strict=True)}


_COLUMNS = [*_PAIR, "images", "valid"]
_TYPES = (pa.string(), pa.string(), pa.int64(), pa.int64())
