"""The figures of every class and every group of a head."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from rate.report.heads import HeadRun
from rate.runs.head_rows import clusters_of, slices, states
from rate.statistics.metrics import Counts, Ratio, sample_ratio

SLICE_COLUMNS = ("slice", "head", "name", "images", "errors", "undefined", "accuracy", "pt", "ir")
"""The columns of a row; the last three are [numerator, denominator, low, high]."""


def slice_rows(heads: Iterable[HeadRun]) -> list[list[Any]]:
    """Make rows of `SLICE_COLUMNS`, short enough to embed a thousand classes; heads are given by index."""
    return [
        [kind, position, *row]
        for position, head in enumerate(heads)
        for kind, column in (("class", "label"), ("group", "group"))
        for row in _rows(head, column)
    ]


def _rows(head: HeadRun, column: str) -> Iterable[list[Any]]:
    codes, clusters = states(head.rows), clusters_of(head.rows)
    for name, at in slices(head.rows[column]):
        own, cluster = codes[at], None if clusters is None else clusters[at]
        counts = Counts.of(own)
        ratios = (_short(sample_ratio(metric, own, cluster)) for metric in SLICE_COLUMNS[-3:])
        yield [name, len(at), counts.errors, counts.undefined, *ratios]


def _short(ratio: Ratio) -> list[float | None]:
    low, high = ratio.interval or (None, None)
    return [ratio.numerator, ratio.denominator, *(None if end is None else round(end, 4) for end in (low, high))]
