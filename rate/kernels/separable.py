"""Perturbation masks in the form M = a + b * (table[oy] @ grid @ table[ox]^T).

RISE masks and occlusion windows share this form, so one exported graph computes both, and the host sends small grids
instead of images. The graph, the fold and the bounds use the same tables.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import lru_cache
from typing import Annotated

import numpy as np

from rate.errors import ConfigError
from rate.types import Float32, Float64, Int64


@dataclass(frozen=True, slots=True, eq=False)
class Perturbation:
    """A family of masks: its table, its two constants, and the grid of the mask that is 1 everywhere."""

    name: str
    table: Annotated[Float32, "t h s"]  # rows of a RISE table sum to 1
    a: float
    b: float
    clean: Annotated[Float32, "s s"]  # with offset (0, 0) its mask is 1 everywhere

    @property
    def size(self) -> int:
        """The side of the square image in pixels."""
        return int(self.table.shape[1])

    @property
    def side(self) -> int:
        """The side s of the grid."""
        return int(self.table.shape[2])

    @property
    def offsets(self) -> int:
        """The number t of offsets in the table."""
        return int(self.table.shape[0])


@lru_cache(maxsize=8)
def rise(size: int, side: int) -> Perturbation:
    """Describe the masks of RISE (Petsiuk et al. 2018, section 3.2), which equal those of the authors' code.

    A grid of ``side`` x ``side`` bits is stretched to (side + 1) * cell pixels with cell = ceil(size / side), by
    bilinear interpolation with half-pixel centres and a mirrored border, and cropped to ``size`` at an offset in
    [0, cell).

    >>> rise(4, 2).table.shape
    (2, 4, 2)
    >>> bool((rise(4, 2).table.sum(axis=2) == 1).all())
    True

    Args:
        size: side of the square image, pixels.
        side: side s of the grid, 2 <= s <= size.

    Raises:
        ConfigError: the side is out of range.
    """
    if not 2 <= side <= size:
        raise ConfigError(f"the grid's side must lie between 2 and the image size {size}, got {side}; RISE uses 7 or 8")
    cell = math.ceil(size / side)
    stretched = (side + 1) * cell
    weights = _interpolation(side, stretched)
    table = np.stack([weights[t : t + size] for t in range(cell)]).astype(np.float32)
    return Perturbation("rise", _read_only(table), 0.0, 1.0, _read_only(np.ones((side, side), np.float32)))


@lru_cache(maxsize=8)
def occlusion(size: int, window: int, stride: int) -> Perturbation:
    """Describe square windows that hide a part of the image (Zeiler and Fergus 2014): M = 1 - window.

    Window j starts at pixel j * stride. The last window ends at the border, so every pixel is covered.
    ``table[0][:, j]`` is the indicator of window j, so grids are one-hot.

    >>> occlusion(5, window=2, stride=2).table[0].T
    array([[1., 1., 0., 0., 0.],
           [0., 0., 1., 1., 0.],
           [0., 0., 0., 1., 1.]], dtype=float32)

    Args:
        size: side of the square image, pixels.
        window: side of the window, 1 <= window < size.
        stride: step in pixels, 1 <= stride <= window, so that every pixel is covered.

    Raises:
        ConfigError: the window or the stride is out of range.
    """
    if not 1 <= window < size:
        raise ConfigError(f"the window must lie between 1 and {size - 1} pixels, got {window}")
    if not 1 <= stride <= window:
        raise ConfigError(
            f"the stride must lie between 1 and the window ({window}), got {stride}; a larger stride "
            "never hides the pixels between the windows"
        )
    starts = window_starts(size, window, stride)
    rows = np.arange(size)[:, None]
    table = ((rows >= starts) & (rows < starts + window)).astype(np.float32)[None]
    return Perturbation("occlusion", _read_only(table), 1.0, -1.0, _read_only(np.zeros((len(starts),) * 2, np.float32)))


def window_starts(size: int, window: int, stride: int) -> Annotated[Int64, "s"]:
    """List the first pixel of every window along one axis; the last window ends at the border.

    >>> window_starts(5, window=2, stride=2)
    array([0, 2, 3])
    """
    starts = list(range(0, size - window + 1, stride))
    if starts[-1] != size - window:
        starts.append(size - window)
    return np.array(starts, np.int64)


def _interpolation(side: int, stretched: int) -> Annotated[Float64, "stretched side"]:
    """Compute bilinear weights with half-pixel centres; index -1 is mirrored to 1 and ``side`` to ``side - 2``."""
    position = (np.arange(stretched) + 0.5) * side / stretched - 0.5
    low = np.floor(position).astype(np.int64)
    fraction = position - low
    weights = np.zeros((stretched, side))
    rows = np.arange(stretched)
    np.add.at(weights, (rows, _mirror(low, side)), 1.0 - fraction)
    np.add.at(weights, (rows, _mirror(low + 1, side)), fraction)
    return weights


def _mirror(index: Int64, side: int) -> Int64:
    return np.where(index < 0, -index, np.where(index >= side, 2 * side - 2 - index, index))


def _read_only(array: Float32) -> Float32:
    """Protect an array from writes, because all callers share the cached array."""
    array.setflags(write=False)
    return array
