"""The check that boxes are in pixels: a set whose boxes are all shares of the image is refused."""

from __future__ import annotations

from dataclasses import dataclass

from rate.types import Box, Sample

_MOST = 1.01
"""Shares end at 1, and annotation tools round them."""


@dataclass(slots=True)
class BoxUnits:
    """Checks the boxes of a set, one sample after the other."""

    _boxes: int = 0
    _row: int = 0
    _example: Box | None = None  # the first box with a coordinate between 0 and 1
    _are_pixels: bool = False  # a coordinate lies outside 0 to 1

    def add(self, sample: Sample) -> None:
        """Check a sample; the check is skipped once a coordinate shows that the boxes are in pixels."""
        if self._are_pixels or not sample.boxes:
            return
        for box in sample.boxes:
            self._boxes += 1
            if min(box) < 0.0 or max(box) > _MOST:
                self._are_pixels = True
                return
            if self._example is None and any(0.0 < number < 1.0 for number in box):
                self._row, self._example = sample.row, box

    def problem(self) -> str | None:
        """Return the problem and its cure if all boxes are shares of the image, and otherwise None."""
        if self._are_pixels or self._example is None:
            return None
        return (
            f"all {self._boxes} boxes lie between 0 and 1, such as {[*self._example]} of row {self._row}: they are "
            "shares of the image, and boxes are x0, y0, x1, y1 in pixels of the upright image; multiply x0 and x1 by "
            "the image's width, y0 and y1 by its height"
        )
