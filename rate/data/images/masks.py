"""The pixels of a mask: which are the object, which are of neither side, and what looks like no mask of one object."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from rate.data.images.geometry import to_rgb
from rate.errors import SampleError
from rate.types import Bool, MaskValues

SMALL = 32
"""Values below this, several of them in one mask, are numbers of classes; the grey edge of a mask has larger ones."""

FLAT = 0.25
"""The share of the pixels of grey levels from which they are areas: an edge of one pixel has no block of 2 x 2."""

OBJECT, IGNORED = 255, 128
"""The values of masks that `rate` writes; the rest is 0."""

_SHOWN = 6


class MaskMeaning(SampleError):
    """The values of a mask are those of several classes, and it is not said which are the object."""


@dataclass(frozen=True, slots=True, eq=False)
class Mask:
    """The pixels [height,width] of a mask."""

    object: Bool
    ignored: Bool | None = None  # of neither the object nor the rest; None = there are none

    def drawn(self) -> Image.Image:
        """Draw the mask in grey: `OBJECT`, `IGNORED` and 0."""
        grey = self.object * np.uint8(OBJECT)
        if self.ignored is not None:
            grey[self.ignored] = IGNORED
        return Image.fromarray(grey)


def read_mask(image: Image.Image, values: MaskValues | None, location: str) -> Mask:
    """Read an opened mask.

    Without a word of its values, an object pixel has a non-zero channel other than alpha, or a non-zero palette index.
    EXIF is not applied: a mask is drawn over the upright image. ``location`` is for messages.

    Raises:
        MaskMeaning: there is no word, and the values are those of several classes.
    """
    if values is None:
        _check_meaning(image, location)
        return Mask(foreground(image))
    numbers = values_in(image)
    ignored = _within(numbers, values.ignored)
    if values.object is None:
        chosen = numbers != 0
        if ignored is None:
            _check_meaning(image, location)
    else:
        chosen = _within(numbers, values.object)
        assert chosen is not None, "the values of an object are never none"
    if ignored is not None:
        chosen &= ~ignored
    if values.largest:
        chosen = largest_part(chosen)
    return Mask(chosen, ignored if ignored is not None and ignored.any() else None)


def foreground(image: Image.Image) -> Bool:
    """Mark [height,width] the pixels with a non-zero channel other than alpha, or a non-zero palette index."""
    values = np.asarray(image)
    if values.ndim == 2:  # the usual case, and several times as fast as the general one
        return np.asarray(values != 0, np.bool_)
    colours = [index for index, band in enumerate(image.getbands()) if band not in ("A", "a")]
    return np.asarray((values[:, :, colours] != 0).any(axis=2), np.bool_)


def values_in(image: Image.Image) -> NDArray[Any]:
    """Return the value [height,width] of every pixel: its level or palette index, or R + 256 G + 65536 B.

    A mask of three channels whose pixels are all grey has their level.
    """
    values = np.asarray(image)
    if values.ndim == 2:
        return values.astype(np.uint8) if values.dtype == np.bool_ else values
    if image.mode in ("LA", "La", "PA"):
        return np.asarray(values[..., 0])
    colours = np.asarray(to_rgb(image))
    if _is_grey(colours):
        return np.asarray(colours[..., 0])
    return np.asarray(colours.astype(np.int64) @ np.array([1, 256, 65536]))


def _is_grey(colours: NDArray[Any]) -> bool:
    return bool((colours[..., 0] == colours[..., 1]).all() and (colours[..., 0] == colours[..., 2]).all())


def _within(numbers: NDArray[Any], ranges: tuple[tuple[int, int], ...]) -> Bool | None:
    """Mark the pixels whose value lies in one of the ranges; None without ranges."""
    if not ranges:
        return None
    inside = np.zeros(numbers.shape, np.bool_)
    for low, high in ranges:
        inside |= (numbers >= low) & (numbers <= high) if low < high else numbers == low
    return inside


def _check_meaning(image: Image.Image, location: str) -> None:
    """Refuse values that are the numbers or the colours of several classes.

    Accepted are one value or colour beside 0, and grey levels between 0 and the highest one, if they lie along edges.

    Raises:
        MaskMeaning: names the values.
    """
    if image.mode == "1" or (image.mode == "L" and sum(map(bool, image.histogram()[1:])) < 2):  # the usual cases
        return
    levels = values_in(image)
    if image.mode == "P" or len(image.getbands()) > 2:
        colours = np.asarray(to_rgb(image))
        if not _is_grey(colours):
            if len(used := _present(levels)) > 1:
                raise _unclear(location, f"has a colour for each of several classes, {_some(used)}")
            return
        levels = colours[..., 0]
    present = _present(levels)
    if len(present) < 2:
        return
    between = (levels != 0) & (levels != present[-1])
    if present[-1] < SMALL or _share_in_blocks(levels, between) >= FLAT:
        raise _unclear(
            location, f"is a map of several classes, or has a border of its own, with the values {_some(present)}"
        )


def _present(values: NDArray[Any]) -> list[int]:
    """Return the values other than 0 that occur, in their order."""
    if values.dtype == np.uint8:  # several times as fast as sorting
        return [value for value in np.flatnonzero(np.bincount(values.ravel(), minlength=256)).tolist() if value]
    return [value for value in np.unique(values).tolist() if value]


def _unclear(location: str, what: str) -> MaskMeaning:
    return MaskMeaning(
        f"{location}: {what}; say which are the object: --mask-values 1, with --mask-ignore 255 for what is neither "
        "object nor rest, or --mask-classes FILE with lines `VALUES CLASS`"
    )


def _some(values: list[Any]) -> str:
    return ", ".join(map(str, values[:_SHOWN])) + (f" and {len(values) - _SHOWN} more" if len(values) > _SHOWN else "")


def _share_in_blocks(levels: NDArray[Any], chosen: Bool) -> float:
    """Compute the share of the chosen pixels that lie in a block of 2 x 2 pixels of one level."""
    block = (levels[:-1, :-1] == levels[1:, :-1]) & (levels[:-1, :-1] == levels[:-1, 1:])
    block &= levels[:-1, :-1] == levels[1:, 1:]
    inside = np.zeros(levels.shape, np.bool_)
    for down, right in ((0, 0), (0, 1), (1, 0), (1, 1)):
        inside[down : down + block.shape[0], right : right + block.shape[1]] |= block
    return float(inside[chosen].mean())


def largest_part(mask: Bool) -> Bool:
    """Keep the largest connected part of a mask [height,width]; pixels that touch at a corner are connected.

    Of equally large parts the first one in row order is kept.

    >>> largest_part(np.array([[True, False, True], [True, False, False]])).astype(int)
    array([[1, 0, 0],
           [1, 0, 0]])
    """
    edges = np.diff(np.pad(mask, ((0, 0), (1, 1))).astype(np.int8), axis=1)
    rows, starts = np.nonzero(edges == 1)
    stops = np.nonzero(edges == -1)[1]
    if not len(rows):
        return mask
    first = np.searchsorted(rows, np.arange(len(mask) + 1))  # the first run of every row
    root = np.arange(len(rows))

    def find(run: int) -> int:
        while root[run] != run:
            root[run] = root[root[run]]
            run = int(root[run])
        return run

    for row in range(1, len(mask)):
        above, end = int(first[row - 1]), int(first[row])
        for run in range(int(first[row]), int(first[row + 1])):
            while above < end and stops[above] < starts[run]:
                above += 1
            other = above
            while other < end and starts[other] <= stops[run]:
                one, two = find(run), find(other)
                root[max(one, two)] = min(one, two)
                other += 1
    roots = np.array([find(run) for run in range(len(rows))])
    largest = int(np.bincount(roots, weights=stops - starts).argmax())
    kept = np.zeros_like(mask)
    for run in np.nonzero(roots == largest)[0].tolist():
        kept[rows[run], starts[run] : stops[run]] = True
    return kept
