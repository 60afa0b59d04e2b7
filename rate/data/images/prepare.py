"""From a sample to model pixels and region: read, decode, turn upright, resize and crop.

Thread-safe and deterministic: no state but Pillow's table of decoders.
"""

from __future__ import annotations

import hashlib
import io
import re
import struct
from collections.abc import Callable
from dataclasses import replace
from typing import TypeVar

import numpy as np
from PIL import ExifTags, Image

from rate.data.digests import CONTENT_BYTES
from rate.data.images.budget import DECODING
from rate.data.images.geometry import Geometry, to_rgb
from rate.data.storage.limits import max_pixels
from rate.data.storage.location import read_bytes
from rate.errors import SampleError
from rate.types import Bool, Prepared, Sample, Stamp

PIXEL_PATH = "pillow"

FORMATS = ("JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF", "PPM", "JPEG2000", "AVIF")
"""What is decoded. Not all that Pillow knows: an EPS file would start Ghostscript, whatever its name ends in."""

SCANS = 16
"""Of a progressive JPEG of any size that is decoded; encoders write about ten."""

SCAN_PIXELS = 1 << 28
"""Pixels in all scans together of a JPEG with more of them, about a second of decoding."""

_START_OF_SCAN = b"\xff\xda"
_MARKER = re.compile(rb"\xff+([^\x00\xff\xd0-\xd7])", re.DOTALL)
"""Of a segment with a length behind it; the others stand within the data of a scan."""

_UPRIGHT = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
_T = TypeVar("_T")


def pixel_path(interpolation: str = "bicubic") -> str:
    """Name and version of the way from file to pixels; two runs are comparable when theirs are equal.

    Pillow everywhere. torch resizes 8-bit pixels faster, but its bicubic differs by more than a level, and importing it
    costs a run seconds and memory that the pixels do not pay back.
    """
    return f"{PIXEL_PATH}-{interpolation}/2"


Alter = Callable[[Image.Image, str], Image.Image]
"""Another picture in the place of a crop [size x size, RGB] of the sample of that id: of the same size, RGB."""


def prepare(sample: Sample, geometry: Geometry, alter: Alter | None = None) -> Prepared:
    """Decode a sample and put image and region through the same geometry.

    ``alter`` is done to the crop, so it moves no pixel from under the region.

    Raises:
        SampleError: the image or its mask is missing, broken, too large, or their sizes differ; the message names
            the file and the cause.
    """
    data = read_bytes(sample.image, sample.image_stamp)

    def cut(image: Image.Image) -> tuple[Image.Image, tuple[int, int]]:
        upright = upright_rgb(image)
        check_resize(sample, geometry, upright.size)
        return geometry.image_to_crop(upright), upright.size

    crop, size = decoded(data, sample.image, cut)
    pixels = geometry.crop_to_pixels(crop if alter is None else alter(crop, sample.id))
    mask = None if sample.mask is None else read_bytes(sample.mask, sample.mask_stamp)
    read = replace(sample, content=content_of(data, mask))
    return Prepared(read, pixels, _region(sample, mask, geometry, size))


def content_of(image: bytes, mask: bytes | None) -> bytes:
    """Digest of what was read for a sample: its image's bytes, and its mask's."""
    digest = hashlib.blake2b(image, digest_size=CONTENT_BYTES)
    digest.update(b"" if mask is None else len(image).to_bytes(8, "little") + mask)
    return digest.digest()


def read_content(sample: Sample) -> bytes:
    """`content_of` the files of a sample as they are now, without decoding them.

    Raises:
        SampleError: as `read_bytes`.
        SetChanged: as `read_bytes`.
    """
    mask = None if sample.mask is None else read_bytes(sample.mask, sample.mask_stamp)
    return content_of(read_bytes(sample.image, sample.image_stamp), mask)


def _region(sample: Sample, data: bytes | None, geometry: Geometry, size: tuple[int, int]) -> Bool:
    if sample.boxes is not None:
        return geometry.region_from_boxes(sample.boxes, size)
    if sample.mask is None or data is None:
        raise SampleError(f"{sample.id}: has neither boxes nor a mask")

    def cut(image: Image.Image) -> Bool:
        mask = foreground(image)
        check_mask_size(sample, mask, size)
        return geometry.region_from_mask(mask)

    return decoded(data, sample.mask, cut)


def load_image(location: str, expected: Stamp | None = None) -> Image.Image:
    """The image in mode RGB, upright, decoded; of an animation the first frame.

    Raises:
        SampleError: missing, empty, broken, not an image, or larger than `max_pixels`.
    """
    return read_image(location, upright_rgb, expected)


def load_mask(location: str, expected: Stamp | None = None) -> Bool:
    """[height,width] True = object: a pixel with a non-zero channel, alpha aside, or a non-zero palette index.

    EXIF is not applied: a mask is drawn over the upright image.

    Raises:
        SampleError: as `load_image`.
    """
    return read_image(location, foreground, expected)


def check_resize(sample: Sample, geometry: Geometry, size: tuple[int, int]) -> None:
    """Refuse an image so narrow that the resize would make it huge: 1 x 100,000 pixels become 256 x 25,600,000.

    What the resize holds in between, after its first axis, counts too.

    Raises:
        SampleError: names both sizes.
    """
    (width, height), limit = geometry.resized(*size), max_pixels()
    if width * height > limit:
        resized = f"the resize would make it {width} x {height}, over the limit of {limit:,}"
        raise SampleError(f"{sample.image}: is {size[0]} x {size[1]} pixels, {resized}")
    if width * size[1] > limit:
        between = f"the resize would make it {width} x {size[1]} in between, over the limit of {limit:,}"
        raise SampleError(f"{sample.image}: is {size[0]} x {size[1]} pixels, {between}")


def check_mask_size(sample: Sample, mask: Bool, size: tuple[int, int]) -> None:
    """Refuse a mask that is not exactly as wide and high as the upright image.

    Raises:
        SampleError: names both sizes.
    """
    height, width = mask.shape
    if (width, height) != size:
        turned = ", as the image before its EXIF rotation" if (height, width) == size else ""
        found = f"the mask is {width} x {height} pixels{turned}"
        raise SampleError(f"{sample.mask}: {found}; the upright image is {size[0]} x {size[1]}")


def read_image(location: str, convert: Callable[[Image.Image], _T], expected: Stamp | None = None) -> _T:
    """``convert`` applied to the opened file; the pixels are decoded when it asks for them.

    Raises:
        SampleError: the file cannot be read, opened, decoded or converted.
        SetChanged: the file is not the one with the stamp ``expected``.
    """
    return decoded(read_bytes(location, expected), location, convert)


def decoded(data: bytes, location: str, convert: Callable[[Image.Image], _T]) -> _T:
    """As `read_image`, of a file whose bytes are known.

    Raises:
        SampleError: they cannot be opened, decoded or converted.
    """
    limit = max_pixels()
    try:
        image = _open(data)
        if image is None:
            raise SampleError(f"{location}: is not an image that can be read ({', '.join(FORMATS)})")
        if image.width * image.height > limit:
            found = f"{image.width} x {image.height} pixels"
            raise SampleError(f"{location}: is {found}, the limit is {limit:,}; RATE_MAX_PIXELS changes it")
        _check_scans(data, location, image)
        with DECODING.taken(image.width * image.height, limit):
            return convert(image)
    except SampleError:
        raise
    except Exception as error:  # decoders raise what they like: OSError, SyntaxError, struct.error, ...
        raise SampleError(f"{location}: cannot be decoded: {type(error).__name__}: {error}") from error


def _check_scans(data: bytes, location: str, image: Image.Image) -> None:
    """Refuse a JPEG that goes over its pixels more often than an encoder does: each scan costs a pass over them all."""
    if not image.info.get("progressive") or data.count(_START_OF_SCAN) <= SCANS:
        return
    scans = _scans(data)
    if scans > SCANS and scans * image.width * image.height > SCAN_PIXELS:
        found = f"{scans} scans of {image.width} x {image.height} pixels"
        raise SampleError(
            f"{location}: is a progressive JPEG of {found}; more than {SCANS} are decoded of small images only "
            f"({SCAN_PIXELS:,} pixels in all scans): save it anew"
        )


def _scans(data: bytes) -> int:
    """Scans of the first image in a JPEG file; pictures inside other segments do not count."""
    at, scans = 2, 0
    while (marker := _MARKER.search(data, at)) is not None and marker[1] != b"\xd9":
        scans += marker[1] == b"\xda"
        at = marker.end() + int.from_bytes(data[marker.end() : marker.end() + 2], "big")
    return scans


def upright_rgb(image: Image.Image) -> Image.Image:
    """Decode, turn by the EXIF orientation, convert to RGB."""
    image.load()  # first: the TIFF decoder turns the image itself, and then takes the tag away
    turn = _UPRIGHT.get(image.getexif().get(ExifTags.Base.Orientation, 1))
    return to_rgb(image if turn is None else image.transpose(turn))


def foreground(image: Image.Image) -> Bool:
    """[height,width] True where a channel other than alpha, or the palette index, is not zero."""
    values = np.asarray(image)
    colours = [index for index, band in enumerate(image.getbands()) if band not in ("A", "a")]
    channels = values.reshape(image.height, image.width, -1)[:, :, colours]
    return np.asarray((channels != 0).any(axis=2), np.bool_)


def _open(data: bytes) -> Image.Image | None:
    """`Image.open` without its warning about size, which only a filter of the whole process could silence.

    The size is checked by the caller, from the header, before anything is decoded. None = no decoder knows the file.
    """
    Image.preinit()
    for name in FORMATS:
        if name not in Image.OPEN:
            Image.init()
        if name not in Image.OPEN:  # a Pillow built without this decoder
            continue
        factory, accept = Image.OPEN[name]
        accepted = accept is None or accept(data[:16])
        if not accepted or isinstance(accepted, str):  # a text says what this Pillow lacks to read it
            continue
        try:
            return factory(io.BytesIO(data), "")
        except (SyntaxError, IndexError, TypeError, struct.error):  # "not mine", as Image.open understands them
            continue
    return None
