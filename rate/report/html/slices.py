"""The figures of every class and every group of a head."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from rate.metrics import Counts, Ratio, accuracy, ir, pt
from rate.report.heads import HeadRun
from rate.types import Bool

SLICE_COLUMNS = ("slice", "head", "name", "images", "errors", "undefined", "accuracy", "pt", "ir")
"""The columns of a row; the last three are [numerator, denominator, low, high]."""


def slice_rows(heads: Iterable[HeadRun]) -> list[list[Any]]:
    """Make rows of `SLICE_COLUMNS`, short enough to embed a thousand classes; heads are given by index."""
    return [
        [kind, position, name, images, counts.errors, counts.undefined, *_ratios(counts)]
        for position, head in enumerate(heads)
        for kind, column in (("class", "label"), ("group", "group"))
        for name, images, counts in sliced(head.rows, column)
    ]


def sliced(rows: pa.Table, column: str) -> list[tuple[str, int, Counts]]:
    """Return (value, images, counts) for every value of a column, in order; images without a value are left out."""
    rows = rows.filter(pc.is_valid(rows[column]))
    names, codes = np.unique(np.asarray(rows[column].to_pylist(), np.object_), return_inverse=True)
    error, undefined = (~_null(rows[name]) for name in ("error", "undefined_reason"))
    correct, valid = _true(rows["correct"]), _true(rows["valid"])
    judged = ~error & ~undefined

    def counts_by_code(chosen: Bool) -> list[int]:
        return [int(count) for count in np.bincount(codes[chosen], minlength=len(names))]

    columns = (
        counts_by_code(judged & correct & valid),
        counts_by_code(judged & correct & ~valid),
        counts_by_code(judged & ~correct & valid),
        counts_by_code(judged & ~correct & ~valid),
        counts_by_code(undefined & correct),
        counts_by_code(undefined & ~correct),
        counts_by_code(error),
        counts_by_code(judged & _equal(rows["settled"], "capped")),
    )
    images = counts_by_code(np.ones(len(codes), np.bool_))
    return [(str(name), images[k], Counts(*(values[k] for values in columns))) for k, name in enumerate(names)]


def _ratios(counts: Counts) -> list[list[float | None]]:
    return [_short(ratio) for ratio in (accuracy(counts), pt(counts), ir(counts))]


def _short(ratio: Ratio) -> list[float | None]:
    low, high = ratio.interval or (None, None)
    return [ratio.numerator, ratio.denominator, *(None if end is None else round(end, 4) for end in (low, high))]


def _null(column: pa.ChunkedArray) -> Bool:
    return np.asarray(pc.is_null(column).to_numpy(), np.bool_)


def _true(column: pa.ChunkedArray) -> Bool:
    return np.asarray(pc.fill_null(column, False).to_numpy(), np.bool_)


def _equal(column: pa.ChunkedArray, value: str) -> Bool:
    return np.asarray(pc.equal(column, value).to_numpy(), np.bool_)
