"""A perturbation mask as two small matrices: M = a + b * (table[oy] @ grid @ table[ox]^T).

RISE masks and occlusion windows share this form, so one exported graph serves both and the host sends bits instead of
images. The tables are the same in the graph, in the fold and in the references.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from rate.errors import ConfigError
from rate.types import Float32, Float64


@dataclass(frozen=True, slots=True, eq=False)
class Perturbation:
    """A family of masks: the table, the two constants, and the grid that changes nothing."""

    name: str
    table: Float32  # [t,h,s]; rows of a RISE table sum to 1
    a: float
    b: float
    clean: Float32  # [s,s] grid whose mask is 1 everywhere, with offset (0, 0)

    @property
    def size(self) -> int:
        """Side of the square image in pixels."""
        return int(self.table.shape[1])

    @property
    def side(self) -> int:
        """Side s of the grid."""
        return int(self.table.shape[2])

    @property
    def offsets(self) -> int:
        """Number t of table rows an offset may name."""
        return int(self.table.shape[0])


@lru_cache(maxsize=8)
def rise(size: int, side: int) -> Perturbation:
    """The masks of RISE (Petsiuk et al. 2018, section 3.2), exactly as its reference code makes them.

    A grid of ``side`` x ``side`` bits is stretched to (side + 1) * cell pixels, cell = ceil(size / side), bilinear with
    half-pixel centres and a mirrored border, then cropped to ``size`` at an offset in [0, cell).

    Args:
        size: side of the square image, pixels.
        side: side s of the grid, 2 <= s <= size.
    """
    if not 2 <= side <= size:
        raise ConfigError(f"the grid's side must lie between 2 and the image size {size}, got {side}; RISE uses 7 or 8")
    cell = math.ceil(size / side)
    stretched = (side + 1) * cell
    weights = _interpolation(side, stretched)
    table = np.stack([weights[t : t + size] for t in range(cell)]).astype(np.float32)
    return Perturbation("rise", _frozen(table), 0.0, 1.0, _frozen(np.ones((side, side), np.float32)))


@lru_cache(maxsize=8)
def occlusion(size: int, window: int, stride: int) -> Perturbation:
    """Square windows that hide the image (Zeiler and Fergus 2014): M = 1 - window.

    Window j starts at pixel j * stride; the last one is moved back so that it ends at the border, and every pixel is
    covered. ``table[0][:, j]`` is the indicator of window j, so grids are one-hot.

    Args:
        size: side of the square image, pixels.
        window: side of the window, 1 <= window < size.
        stride: step in pixels, 1 <= stride <= window, so that no pixel is left out.
    """
    if not 1 <= window < size:
        raise ConfigError(f"the window must lie between 1 and {size - 1} pixels, got {window}")
    if not 1 <= stride <= window:
        raise ConfigError(
            f"the stride must lie between 1 and the window ({window}), got {stride}: gaps would stay unseen"
        )
    starts = window_starts(size, window, stride)
    rows = np.arange(size)[:, None]
    table = ((rows >= starts) & (rows < starts + window)).astype(np.float32)[None]
    return Perturbation("occlusion", _frozen(table), 1.0, -1.0, _frozen(np.zeros((len(starts),) * 2, np.float32)))


def window_starts(size: int, window: int, stride: int) -> np.ndarray:
    """First pixel of every window along one axis, int64, ascending, the last one ending at the border."""
    starts = list(range(0, size - window + 1, stride))
    if starts[-1] != size - window:
        starts.append(size - window)
    return np.array(starts, np.int64)


def _interpolation(side: int, stretched: int) -> Float64:
    """[stretched,side] bilinear weights, half-pixel centres, index -1 mirrored to 1 and ``side`` to ``side - 2``."""
    position = (np.arange(stretched) + 0.5) * side / stretched - 0.5
    low = np.floor(position).astype(np.int64)
    fraction = position - low
    weights = np.zeros((stretched, side))
    rows = np.arange(stretched)
    np.add.at(weights, (rows, _mirror(low, side)), 1.0 - fraction)
    np.add.at(weights, (rows, _mirror(low + 1, side)), fraction)
    return weights


def _mirror(index: np.ndarray, side: int) -> np.ndarray:
    return np.where(index < 0, -index, np.where(index >= side, 2 * side - 2 - index, index))


def _frozen(array: Float32) -> Float32:
    """The caches hand out one array to everybody."""
    array.setflags(write=False)
    return array
