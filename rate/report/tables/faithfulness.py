"""The faithfulness of a run's maps as text."""

from __future__ import annotations

from collections.abc import Iterator

from rich.console import Group, RenderableType
from rich.text import Text

from rate.runs.summary.faithfulness import FaithfulHead, FaithfulMean, FaithfulnessDocument
from rate.runs.summary.numbers import number_table
from rate.statistics.metrics import RatioRecord

Row = tuple[str, str, str, str]
"""Title, value, 95 % interval, number of samples."""

_TITLES = {
    "deletion": "deletion area, low is good",
    "deletion_below_random": "  below a random order by",
    "insertion": "insertion area, high is good",
    "insertion_above_random": "  above a random order by",
    "randomized_model": "rank correlation with the maps of a model with random weights, 0 is good",
}


def faithfulness_table(document: FaithfulnessDocument) -> RenderableType:
    """Format one block for each head: areas beside those of a random order, pointing game beside uniform pixels,
    randomised model.
    """
    return Group(*(block for name, head in document.heads.items() for block in _head(name, head, document.steps)))


def rows_of(head: FaithfulHead) -> list[Row]:
    """Format a head's part of faithfulness.json, one row per measure."""
    pointing = head.pointing
    uniform = "" if pointing.uniform is None else f", uniform {pointing.uniform:.3f}"
    last = f"pointing game: maximum inside the region{uniform}", *_cells(pointing, pointing.denominator)
    return [*((title, *_cells(getattr(head, key), getattr(head, key).n)) for key, title in _TITLES.items()), last]


def _head(name: str, head: FaithfulHead, steps: int) -> Iterator[RenderableType]:
    skipped = f", {head.skipped} without a map" if head.skipped else ""
    yield Text(f"{name}: are the maps faithful? {head.samples} images, {steps} steps{skipped}", style="bold")
    table = number_table("", "value", "95 % interval", "of")
    for row in rows_of(head):
        table.add_row(*row)
    yield table
    yield Text("")


def _cells(share: FaithfulMean | RatioRecord, of: int) -> tuple[str, str, str]:
    if share.value is None:
        return "undefined", "", str(of)
    interval = "" if share.low is None else f"{share.low:.3f} to {share.high:.3f}"
    return f"{share.value:.3f}", interval, str(of)
