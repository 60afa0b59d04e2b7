"""The opt-in pixel path: torchvision decodes JPEGs, and torch resizes 8-bit pixels, several times as fast as Pillow.

The antialiased resize has weights of 16 bits, so here and there a level differs by one or two. What is no plain JPEG
is decoded by Pillow.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from PIL import ExifTags, Image

from rate.data.images.geometry import Geometry
from rate.errors import need
from rate.types import Picture

_MODES = ("RGB", "L")
"""Pillow's modes of the JPEGs that both libraries convert to RGB alike; CMYK is not among them."""

Upright = Callable[[Image.Image], Image.Image]
"""Decodes an opened image, turns it upright and converts it to RGB."""

Check = Callable[[tuple[int, int]], None]
"""Refuses an image of that width and height."""


def picture_with_torchvision(
    data: bytes, opened: Image.Image, geometry: Geometry, upright: Upright, check: Check
) -> tuple[Picture, tuple[int, int]]:
    """Decode, resize and crop an image; return the picture and the width and height of the upright image.

    Args:
        data: the bytes of the file.
        opened: the same file opened by Pillow, which has read its header.
        geometry: the geometry of the model's input.
        upright: decodes what torchvision does not.
        check: is called with the size of the upright image before the resize.
    """
    torch, reader = need("torch", "train"), need("torchvision.io", "train")
    if _is_plain_jpeg(opened):
        check(opened.size)
        # decode_jpeg takes writable memory, so the bytes are copied
        pixels = reader.decode_jpeg(torch.frombuffer(bytearray(data), dtype=torch.uint8), reader.ImageReadMode.RGB)
    else:
        image = upright(opened)
        check(image.size)
        pixels = torch.from_numpy(np.array(image)).permute(2, 0, 1)
    height, width = pixels.shape[1:]
    across, down = geometry.resized(width, height)
    left, top = geometry.crop_corner(across, down)
    resized = torch.nn.functional.interpolate(
        pixels[None], size=(down, across), mode=geometry.interpolation, antialias=True
    )
    crop = resized[0, :, top : top + geometry.size, left : left + geometry.size].contiguous()
    return geometry.picture(crop.numpy()), (width, height)


def _is_plain_jpeg(image: Image.Image) -> bool:
    upright = image.getexif().get(ExifTags.Base.Orientation, 1) == 1
    return image.format == "JPEG" and image.mode in _MODES and upright
