"""Resize and crop as one map, so that the image and its region use the same pixels."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Annotated, Any

import numpy as np
from msgspec import Meta
from numpy.typing import NDArray
from PIL import Image

from rate.errors import ConfigError
from rate.records import Record
from rate.types import Bool, Box, Float32, Float64, Int64, Picture, UInt8

CROPS = ("center", "squash")
_FILTERS = {"bicubic": Image.Resampling.BICUBIC, "bilinear": Image.Resampling.BILINEAR}


def three(values: Sequence[float]) -> tuple[float, float, float]:
    """Return the values of the three channels."""
    red, green, blue = (float(value) for value in values)
    return red, green, blue


class Geometry(Record, frozen=True):
    """How an image becomes model pixels: the artifact's `input`.

    Sizes are rounded as in torchvision's `Resize` and `CenterCrop`. With ``resize >= size`` a crop stays inside the
    image.

    Raises:
        ConfigError: a field is out of range.
    """

    size: int  # side of the square model input, pixels
    resize: int  # "center": new short side; "squash": new length of both sides (= size)
    mean: tuple[float, float, float]
    std: tuple[float, float, float]
    crop: Annotated[str, Meta(extra_json_schema={"enum": list(CROPS)})] = "center"
    interpolation: Annotated[str, Meta(extra_json_schema={"enum": list(_FILTERS)})] = "bicubic"

    def __post_init__(self) -> None:
        _check_choice("crop", self.crop, CROPS)
        _check_choice("interpolation", self.interpolation, tuple(_FILTERS))
        _check_side("size", self.size)
        _check_side("resize", self.resize)
        if self.crop == "squash" and self.resize != self.size:
            raise ConfigError(f"a squashed image is resized to size = {self.size}, got resize = {self.resize}")
        if self.resize < self.size:
            raise ConfigError(f"resize must be at least size = {self.size}, got {self.resize}: the crop has to fit")
        _check_channels("mean", self.mean)
        _check_channels("std", self.std)
        if min(self.std) <= 0:
            raise ConfigError(f"std must be 3 positive numbers, got {self.std}")

    def resized(self, width: int, height: int) -> tuple[int, int]:
        """Compute the width and height in pixels of a ``width`` x ``height`` image after the resize and before the
        crop.
        """
        if self.crop == "squash":
            return self.size, self.size
        longer = int(self.resize * max(width, height) / min(width, height))
        return (self.resize, longer) if width <= height else (longer, self.resize)

    def crop_corner(self, width: int, height: int) -> tuple[int, int]:
        """Compute the first column and row of the crop of a resized image of ``width`` x ``height`` pixels."""
        return _crop_start(width, self.size), _crop_start(height, self.size)

    def image_to_picture(self, image: Image.Image) -> Picture:
        """Resize and crop an image to [3,h,w]; EXIF is ignored."""
        return self.crop_to_picture(self.image_to_crop(image))

    def image_to_crop(self, image: Image.Image) -> Image.Image:
        """Resize and crop an image to size x size in mode RGB."""
        rgb = to_rgb(image)
        width, height = self.resized(*rgb.size)
        left, top = self.crop_corner(width, height)
        # The axes are resized one at a time, x first. For both at once Pillow's order depends on shape and version,
        # which
        # changes a bicubic pixel at a hard edge by 20 levels. Rows outside the crop are not resized along y.
        across = rgb.resize((width, rgb.height), _FILTERS[self.interpolation])
        columns = across.crop((left, 0, left + self.size, rgb.height))
        down = columns.resize((self.size, height), _FILTERS[self.interpolation])
        return down.crop((0, top, self.size, top + self.size))

    def crop_to_picture(self, crop: Image.Image) -> Picture:
        """Convert the result of `image_to_crop` to contiguous levels [3,h,w]; a device normalises them."""
        return self.picture(np.ascontiguousarray(np.asarray(crop).transpose(2, 0, 1)))

    def picture(self, levels: Annotated[UInt8, "3 h w"]) -> Picture:
        """Return levels with their normalisation: of (levels / 255 - mean) / std."""
        return Picture(levels, *_normalisation(self))

    def boxes_in_crop(self, boxes: Sequence[Box], image_size_wh: tuple[int, int]) -> tuple[Box, ...]:
        """Convert boxes of the original image to pixels of its crop, cut at the border; boxes outside are dropped."""
        resized = self.resized(*image_size_wh)
        scales = [new / old for new, old in zip(resized, image_size_wh, strict=True)]
        left, top = self.crop_corner(*resized)
        kept = []
        for x0, y0, x1, y1 in boxes:
            across = [min(max(x * scales[0] - left, 0.0), self.size) for x in (x0, x1)]
            down = [min(max(y * scales[1] - top, 0.0), self.size) for y in (y0, y1)]
            if across[0] < across[1] and down[0] < down[1]:
                kept.append((across[0], down[0], across[1], down[1]))
        return tuple(kept)

    def region_from_boxes(self, boxes: Sequence[Box], image_size_wh: tuple[int, int]) -> Bool:
        """Mark [h,w] the model pixels whose centre, mapped back to the original image, lies in a box.

        Args:
            boxes: [x0, x1) x [y0, y1) in pixels of the original image; parts outside it have no effect.
            image_size_wh: width and height of the original image, pixels.
        """
        axes = _axes(self, *image_size_wh)
        region = np.zeros((self.size, self.size), np.bool_)
        for x0, y0, x1, y1 in boxes:
            rows = (axes.y >= y0) & (axes.y < y1)
            region |= rows[:, None] & ((axes.x >= x0) & (axes.x < x1))
        return region

    def region_from_mask(self, mask: NDArray[Any]) -> Bool:
        """Mark [h,w] the model pixels whose centre, mapped back, lies on a non-zero pixel of ``mask``.

        Args:
            mask: [height,width] of the original image, of any number type.
        """
        height, width = mask.shape
        axes = _axes(self, width, height)
        return np.asarray(mask[axes.row[:, None], axes.column] != 0, np.bool_)


def to_rgb(image: Image.Image) -> Image.Image:
    """Convert an image to mode RGB as Pillow does: alpha is dropped, grey of 16 bits is clipped at 255."""
    if image.mode == "RGB":
        return image
    if image.mode == "P" and "transparency" in image.info:
        # A direct conversion of a palette with alpha makes Pillow warn; through RGBA the colours are the same.
        return image.convert("RGBA").convert("RGB")
    return image.convert("RGB")


@lru_cache(maxsize=16)
def _normalisation(geometry: Geometry) -> tuple[Float32, Float32]:
    """Compute zero and scale of a `Picture`; all callers share the arrays."""
    zero, scale = 255.0 * np.array(geometry.mean), 1.0 / (255.0 * np.array(geometry.std))
    made = zero.astype(np.float32), scale.astype(np.float32)
    for array in made:
        array.setflags(write=False)
    return made


@dataclass(frozen=True, slots=True, eq=False)
class _Axes:
    """The positions of the model pixels' centres in the original image, for each axis."""

    x: Float64  # [w] pixels, 0 = left border
    y: Float64  # [h]
    column: Int64  # [w] the original pixel that holds the centre
    row: Int64  # [h]


@lru_cache(maxsize=256)
def _axes(geometry: Geometry, width: int, height: int) -> _Axes:
    resized_width, resized_height = geometry.resized(width, height)
    x, column = _axis(width, resized_width, geometry.size)
    y, row = _axis(height, resized_height, geometry.size)
    return _Axes(x, y, column, row)


def _axis(original: int, resized: int, size: int) -> tuple[Float64, Int64]:
    """Compute centres and original indices of ``size`` pixels, cropped from ``resized`` pixels of ``original`` ones."""
    doubled = (2 * (np.arange(size, dtype=np.int64) + _crop_start(resized, size)) + 1) * original
    centre, index = doubled / (2 * resized), doubled // (2 * resized)
    for array in (centre, index):
        array.setflags(write=False)  # all callers share the cached array
    return centre, index


def _crop_start(resized: int, size: int) -> int:
    """Compute the first pixel of a centre crop; halves round to even, as in torchvision."""
    return round((resized - size) / 2.0)


def _check_choice(name: str, value: object, choices: tuple[str, ...]) -> None:
    if value not in choices:
        raise ConfigError(f"{name} must be one of {', '.join(choices)}; got {value!r}")


def _check_side(name: str, value: object) -> None:
    if not isinstance(value, int) or isinstance(value, bool) or value < 2:
        raise ConfigError(f"{name} must be a whole number of pixels, at least 2; got {value!r}")


def _check_channels(name: str, value: object) -> None:
    if not isinstance(value, tuple) or len(value) != 3 or not all(_is_finite(number) for number in value):
        raise ConfigError(f"{name} must be 3 finite numbers, one a channel; got {value!r}")


def _is_finite(value: object) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value)
