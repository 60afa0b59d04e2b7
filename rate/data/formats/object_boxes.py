"""Boxes as other libraries write them: corners, or a corner with width and height; nothing in a file says which."""

from __future__ import annotations

import io
from collections.abc import Callable, Iterable, Iterator

from PIL import Image

from rate.data.formats.manifest_files import short
from rate.errors import DataError, RateError
from rate.reading import XYWH, XYXY

Numbers = tuple[float, float, float, float]

OVERHANG = 1.0
"""The pixels by which a box may exceed its image, because annotation tools round."""

_LOOKED_AT = 32  # images


def is_corner_and_size(
    boxes: Iterable[tuple[int, Numbers, Callable[[], bytes]]], said: str | None, column: str, source: str
) -> bool:
    """Tell whether the boxes of a set are x, y, width, height; otherwise they are corners.

    A box whose third number is smaller than its first has no corners, so a set with one holds widths. In a set without
    one both are possible: the user says which, and is refused where it makes boxes leave their images.

    Args:
        boxes: row, numbers and image of each box, as far as they are needed.
        said: `XYWH`, `XYXY`, or None.
        column: the name of the boxes.
        source: the set.

    Raises:
        DataError: nothing tells, or the word is wrong.
    """
    if said == XYXY:
        return False
    first: tuple[int, Numbers] | None = None
    outside: tuple[int, Numbers] | None = None
    for count, (row, box, image) in enumerate(boxes):
        x, y, third, fourth = box
        if third < x or fourth < y:
            return True
        first = first or (row, box)
        if outside is None and count < _LOOKED_AT and _leaves((x + third, y + fourth), image):
            outside = row, box
    if first is None or (said == XYWH and outside is None):
        return True
    row, box = outside or first
    shown = f"{source}: {column} such as {short([*box])} of row {row}"
    if outside is not None:
        raise DataError(
            f"{shown} leave their images as x, y, width, height: say --box-format {XYXY} if they are corners"
        )
    raise DataError(
        f"{shown} can be corners or x, y, width, height: say --box-format {XYXY} (corners) or --box-format {XYWH}"
    )


def _leaves(corner: tuple[float, float], image: Callable[[], bytes]) -> bool:
    """Tell whether a corner lies outside of the image, whichever way it is turned."""
    try:
        with Image.open(io.BytesIO(image())) as opened:
            sides = opened.size
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError, RateError):
        return False  # the reading of the image reports it
    return max(corner) > max(sides) + OVERHANG or min(corner) > min(sides) + OVERHANG


def numbers_of(boxes: object) -> Iterator[Numbers]:
    """Yield the boxes of a row that are boxes."""
    return filter(None, map(_four, _listed(boxes) if isinstance(boxes, list) else ()))


def all_corners(boxes: object, has_size: bool) -> list[object]:
    """Return the corners of the boxes of a row; a box of another form is unchanged, and refused later.

    Raises:
        ValueError: reads on from the column's name.
    """
    if not isinstance(boxes, list):
        raise ValueError(f"must be a list of boxes of four numbers, got {short(boxes)}")
    return [_corners(box, has_size) for box in _listed(boxes)]


def _listed(boxes: list[object]) -> list[object]:
    """Return the boxes of a row; a single one need not be in a list."""
    return boxes if _four(boxes) is None else [boxes]


def _corners(box: object, has_size: bool) -> object:
    if (numbers := _four(box)) is None:
        return box
    x, y, third, fourth = numbers
    if has_size:
        return [x, y, x + third, y + fourth]
    if third < x or fourth < y:
        cure = f"--box-format {XYWH} reads x, y, width, height"
        raise ValueError(f"holds {short(box)}, which is no x0, y0, x1, y1; {cure}")
    return box


def _four(box: object) -> Numbers | None:
    if not isinstance(box, list) or len(box) != 4 or not all(isinstance(number, (int, float)) for number in box):
        return None
    x, y, third, fourth = box
    return x, y, third, fourth
