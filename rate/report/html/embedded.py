"""The data that a page embeds: the summaries of its heads, and the figures of every class and group."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from typing import Any

from markupsafe import Markup

from rate.credentials import storable
from rate.records import plain
from rate.report.heads import HeadRun
from rate.statistics.metrics import Ratio
from rate.types import Json
from rate.version import __version__

REPORT_SCHEMA_ID = "rate.report/1"

SLICE_COLUMNS = ("slice", "head", "name", "images", "errors", "undefined", "accuracy", "pt", "ir")
"""The columns of a row; the last three are [numerator, denominator, low, high]."""


def report_data(heads: Sequence[HeadRun], names: Sequence[str]) -> Json:
    """Return the data of a page whose heads have these ``names``."""
    return {
        "schema": REPORT_SCHEMA_ID,
        "rate": __version__,
        "heads": [
            {"name": name, "run": str(head.folder), "head": head.head, "status": head.status}
            | {"summary": plain(head.summary.document)}
            for name, head in zip(names, heads, strict=True)
        ],
        "slices": {"columns": SLICE_COLUMNS, "rows": slice_rows(heads)},
    }


def embedded_json(value: Any) -> Markup:
    """Encode JSON for a script element, so that no value can end the element or start another."""
    text = json.dumps(storable(value), ensure_ascii=False, allow_nan=False, separators=(",", ":"))
    for character in "<>&\u2028\u2029":
        text = text.replace(character, f"\\u{ord(character):04x}")
    return Markup(text)


def slice_rows(heads: Iterable[HeadRun]) -> list[list[Any]]:
    """Make rows of `SLICE_COLUMNS`, short enough to embed a thousand classes; heads are given by index."""
    return [
        [kind, position, *row]
        for position, head in enumerate(heads)
        for kind, column in (("class", "label"), ("group", "group"))
        for row in _rows(head, column)
    ]


def _rows(head: HeadRun, column: str) -> Iterable[list[Any]]:
    for name, own in head.sums.slices(column):
        counts = own.counts
        yield [name, own.rows, counts.errors, counts.undefined, *(_short(own.ratio(m)) for m in SLICE_COLUMNS[-3:])]


def _short(ratio: Ratio) -> list[float | None]:
    low, high = ratio.interval or (None, None)
    return [ratio.numerator, ratio.denominator, *(None if end is None else round(end, 4) for end in (low, high))]
