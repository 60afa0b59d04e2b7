"""Faults of a set as a whole: labels that are no classes, with suggestions, and boxes that are no pixels."""

from __future__ import annotations

import difflib
from collections.abc import Collection
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING

from rate.types import Box, Int64, Sample

if TYPE_CHECKING:
    from rate.data.blocks import Block

SHOWN = 5
CURE = (
    "labels must be class names of the artifact, see `rate inspect`: rename them in the set, or export with --classes "
    "FILE, a line `LABEL<TAB>NAME` for each class, where a prompt is to say another name than the label"
)
_LARGEST_SHARE = 1.01
"""Shares end at 1, and annotation tools round them."""


def unknown_labels(labels: Collection[str], classes: Collection[str]) -> tuple[str, ...]:
    """Return the labels that are none of the classes, sorted."""
    known = frozenset(classes)
    return tuple(sorted(label for label in labels if label not in known))


def with_suggestions(labels: Collection[str], classes: Collection[str]) -> str:
    """Name the first of some unknown labels with suggested classes, and the number of the others."""
    known = tuple(classes)
    shown = ", ".join(f"{label!r}{suggestion(label, known)}" for label in sorted(labels)[:SHOWN])
    more = len(labels) - SHOWN
    return shown + (f" and {more} more" if more > 0 else "")


@lru_cache(maxsize=4096)
def suggestion(label: str, classes: tuple[str, ...]) -> str:
    """Return ` (did you mean 'NAME'?)`, or an empty text if no class is similar to the label."""
    plain = {_plain(name): name for name in reversed(classes)}
    close = [_plain(label)] if _plain(label) in plain else difflib.get_close_matches(_plain(label), plain, n=1)
    return f" (did you mean {plain[close[0]]!r}?)" if close else ""


def _plain(name: str) -> str:
    """Lower the case, and replace word separators of file names by spaces."""
    return " ".join(name.casefold().replace("_", " ").replace("-", " ").split())


@dataclass(slots=True)
class BoxUnits:
    """Checks the boxes of a set, one sample after the other."""

    are_pixels: bool = False  # a coordinate lies outside 0 to 1
    _boxes: int = 0
    _row: int = 0
    _example: Box | None = None  # the first box with a coordinate between 0 and 1

    def add_from(self, block: Block, chosen: Int64) -> None:
        """Check samples of a block, of which the first usually tells."""
        for numbers in (chosen[:1], chosen[1:]):
            for sample in block.samples(numbers) if block.has_boxes and not self.are_pixels else ():
                self.add(sample)

    def add(self, sample: Sample) -> None:
        """Check a sample; the check is skipped once a coordinate shows that the boxes are in pixels."""
        if self.are_pixels or not sample.boxes:
            return
        for box in sample.boxes:
            self._boxes += 1
            if min(box) < 0.0 or max(box) > _LARGEST_SHARE:
                self.are_pixels = True
                return
            if self._example is None and any(0.0 < number < 1.0 for number in box):
                self._row, self._example = sample.row, box

    def problem(self) -> str | None:
        """Return the problem and its cure if all boxes are shares of the image, and otherwise None."""
        if self.are_pixels or self._example is None:
            return None
        return (
            f"all {self._boxes} boxes lie between 0 and 1, such as {[*self._example]} of row {self._row}: they are "
            "shares of the image, and boxes are x0, y0, x1, y1 in pixels of the upright image; multiply x0 and x1 by "
            "the image's width, y0 and y1 by its height"
        )
