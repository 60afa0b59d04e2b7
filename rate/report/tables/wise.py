"""Accuracy, PT, IR and what swaps tell over the weights between two models, as text."""

from __future__ import annotations

from collections.abc import Iterable

from rich.console import Group, RenderableType
from rich.text import Text

from rate.runs.summary.numbers import number, number_table
from rate.studies.corruption_grid import CellHead
from rate.studies.wise_curve import Curve

_SWAPS = {"object_only": "object-only", "background_only": "background-only", "gap": "gap"}


def wise_table(curve: Curve) -> RenderableType:
    """Format one block for each head, with a line for each alpha."""
    return Group(*(block for head in curve.points[0].heads for block in _head(curve, head)))


def _head(curve: Curve, head: str) -> Iterable[RenderableType]:
    heads = {point.alpha: point.heads[head] for point in curve.points}
    unfinished = sum(point.status != "complete" for point in curve.points)
    yield Text(
        f"{head}: {len(heads)} runs of {max(one.n for one in heads.values())} images"
        + (f"; {unfinished} of them are not complete" if unfinished else ""),
        style="bold",
    )
    has_swaps = all(one.swap is not None for one in heads.values())
    table = number_table("alpha", "accuracy", "PT", "IR", *(_SWAPS.values() if has_swaps else ()))
    for alpha, one in heads.items():
        table.add_row(f"{alpha:g}", *map(number, _values(one)))
    yield table
    yield Text(f"each run has its own intervals: rate show {curve.folder / curve.points[0].run}")
    yield Text("")


def _values(head: CellHead) -> list[float | None]:
    means = [] if head.swap is None else [getattr(head.swap, name).value for name in _SWAPS]
    return [head.accuracy.value, head.pt.value, head.ir.value, *means]
