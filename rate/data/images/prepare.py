"""The conversion of a sample to a picture for the model and its region: read, decode, turn upright, resize and crop.

All functions are deterministic and thread-safe; the only state is Pillow's table of decoders.
"""

from __future__ import annotations

import hashlib
import io
import re
import struct
from collections.abc import Callable, Iterable
from contextlib import suppress
from dataclasses import replace
from functools import partial
from itertools import islice
from typing import TypeVar

import numpy as np
from PIL import ExifTags, Image

from rate.data.digests import CONTENT_BYTES
from rate.data.images.geometry import Geometry, to_rgb
from rate.data.images.masks import Mask, MaskMeaning, read_mask
from rate.data.images.with_torchvision import picture_with_torchvision
from rate.data.storage.limits import DECODING, max_pixels
from rate.data.storage.location import read_bytes
from rate.errors import DataError, SampleError
from rate.types import Bool, Box, MaskValues, Picture, Prepared, Sample, Stamp

FORMATS = ("JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF", "PPM", "JPEG2000", "AVIF")
"""The formats that are decoded.

Other formats of Pillow are refused: an EPS file of any name would start Ghostscript.
"""

SCANS = 16
"""The number of scans up to which a progressive JPEG of any size is decoded; encoders write about ten."""

SCAN_PIXELS = 1 << 28
"""The largest number of pixels in all scans of a JPEG with more scans, about a second of decoding."""

_VERSIONS = {"pillow": 2, "torchvision": 1}
"""The libraries that decode and resize; a number rises where the pixels change."""

_START_OF_SCAN = b"\xff\xda"
_MARKER = re.compile(rb"\xff+([^\x00\xff\xd0-\xd7])", re.DOTALL)
"""A marker of a segment with a length; the other markers are within the data of a scan."""

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


def pixel_path(interpolation: str = "bicubic", library: str = "pillow") -> str:
    """Return the name and version of the decoder and resizer; two runs are comparable if theirs are equal."""
    return f"{library}-{interpolation}/{_VERSIONS[library]}"


Alter = Callable[[Image.Image, str], Image.Image]
"""Replaces a crop [size x size, RGB] of the sample with that id by an image of the same size and mode."""


def prepare(sample: Sample, geometry: Geometry, alter: Alter | None = None, library: str = "pillow") -> Prepared:
    """Decode a sample and apply the same geometry to image and region.

    ``alter`` is applied to the crop, so it does not move pixels relative to the region. ``library``: pillow, or
    torchvision, which must be installed then.

    Raises:
        SampleError: the image or its mask is missing, broken or too large, or their sizes differ; the message names
            the file and the cause.
    """
    data = read_bytes(sample.image, sample.image_stamp)

    def cut(image: Image.Image) -> tuple[Picture, tuple[int, int]]:
        check = partial(check_resize, sample, geometry)
        if library == "torchvision":
            return picture_with_torchvision(data, image, geometry, upright_rgb, check)
        upright = upright_rgb(image)
        check(upright.size)
        return geometry.image_to_picture(upright), upright.size

    picture, size = decoded(data, sample.image, cut)
    if alter is not None:
        picture = geometry.crop_to_picture(alter(Image.fromarray(np.ascontiguousarray(picture.view)), sample.id))
    mask = None if sample.mask is None else read_bytes(sample.mask, sample.mask_stamp)
    read = replace(sample, content=content_of(data, mask))
    return Prepared(read, picture, *_region(sample, mask, geometry, size), image_size=size)


FIRST_MASKS = 8
"""The number of samples whose masks are looked at before a run."""


def check_first_masks(samples: Iterable[Sample]) -> None:
    """Refuse a set before a run if most of its first masks need a word of what their values mean.

    Remote masks are not fetched for it, and masks that cannot be read become rows with an error.

    Raises:
        DataError: names the first of them.
    """
    first, looked_at, unclear = islice(samples, FIRST_MASKS), 0, list[MaskMeaning]()
    for sample in first:
        if sample.mask is None or "://" in sample.mask:
            continue
        with suppress(SampleError):
            try:
                load_mask(sample.mask, sample.mask_stamp, sample.values)
            except MaskMeaning as error:
                unclear.append(error)
            looked_at += 1
    if 2 * len(unclear) > looked_at:
        raise DataError(str(unclear[0]))


def content_of(image: bytes, mask: bytes | None) -> bytes:
    """Compute the digest of the bytes of a sample's image and mask."""
    digest = hashlib.blake2b(image, digest_size=CONTENT_BYTES)
    digest.update(b"" if mask is None else len(image).to_bytes(8, "little") + mask)
    return digest.digest()


def read_content(sample: Sample) -> bytes:
    """Compute `content_of` the current files of a sample, without decoding them.

    Raises:
        SampleError: as `read_bytes`.
        SetChanged: as `read_bytes`.
    """
    mask = None if sample.mask is None else read_bytes(sample.mask, sample.mask_stamp)
    return content_of(read_bytes(sample.image, sample.image_stamp), mask)


def _region(sample: Sample, data: bytes | None, geometry: Geometry, size: tuple[int, int]) -> tuple[Bool, Bool | None]:
    """Return region and ignored pixels [h,w] of the model."""
    if sample.boxes is not None:
        return geometry.region_from_boxes(chosen_boxes(sample), size), None
    if sample.mask is None or data is None:
        raise SampleError(f"{sample.id}: has neither boxes nor a mask")

    def cut(image: Image.Image) -> tuple[Bool, Bool | None]:
        return mask_in_crop(sample, read_mask(image, sample.values, str(sample.mask)), geometry, size)

    return decoded(data, sample.mask, cut)


def chosen_boxes(sample: Sample) -> tuple[Box, ...]:
    """Return the boxes of the region: all, or the largest one, the first of equals."""
    boxes = sample.boxes or ()
    if sample.values is None or not sample.values.largest or not boxes:
        return boxes
    return (max(boxes, key=lambda box: (box[2] - box[0]) * (box[3] - box[1])),)


def mask_in_crop(sample: Sample, mask: Mask, geometry: Geometry, size: tuple[int, int]) -> tuple[Bool, Bool | None]:
    """Return region and ignored pixels [h,w] of the model; ``size`` of the upright image.

    Raises:
        SampleError: the mask has another size.
    """
    check_mask_size(sample, mask.object, size)
    ignored = None if mask.ignored is None else geometry.region_from_mask(mask.ignored)
    return geometry.region_from_mask(mask.object), ignored if ignored is not None and ignored.any() else None


def load_image(location: str, expected: Stamp | None = None) -> Image.Image:
    """Decode an image in mode RGB, upright; of an animation the first frame.

    Raises:
        SampleError: missing, empty, broken, not an image, or larger than `max_pixels`.
    """
    return read_image(location, upright_rgb, expected)


def load_mask(location: str, expected: Stamp | None = None, values: MaskValues | None = None) -> Mask:
    """Decode a mask; see `read_mask`.

    Raises:
        SampleError: as `load_image`, or as `read_mask`.
    """
    return read_image(location, lambda image: read_mask(image, values, location), expected)


def check_resize(sample: Sample, geometry: Geometry, size: tuple[int, int]) -> None:
    """Refuse a narrow image whose resize would be huge: 1 x 100,000 pixels become 256 x 25,600,000.

    The intermediate image after the first axis counts too.

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
    """Refuse a mask whose size differs from the upright image.

    Raises:
        SampleError: names both sizes.
    """
    height, width = mask.shape
    if (width, height) != size:
        turned = ", as the image before its EXIF rotation" if (height, width) == size else ""
        actual = f"the mask is {width} x {height} pixels{turned}"
        raise SampleError(f"{sample.mask}: {actual}; the upright image is {size[0]} x {size[1]}")


def read_image(location: str, convert: Callable[[Image.Image], _T], expected: Stamp | None = None) -> _T:
    """Apply ``convert`` to the opened file; the pixels are decoded when ``convert`` reads them.

    Raises:
        SampleError: the file cannot be read, opened, decoded or converted.
        SetChanged: the file is not the one with the stamp ``expected``.
    """
    return decoded(read_bytes(location, expected), location, convert)


def decoded(data: bytes, location: str, convert: Callable[[Image.Image], _T]) -> _T:
    """Apply ``convert`` to a file whose bytes are in memory; see `read_image`.

    Raises:
        SampleError: the bytes cannot be opened, decoded or converted.
    """
    limit = max_pixels()
    try:
        image = _open(data)
        if image is None:
            raise SampleError(f"{location}: is not an image that can be read ({', '.join(FORMATS)})")
        if image.width * image.height > limit:
            actual = f"{image.width} x {image.height} pixels"
            raise SampleError(f"{location}: is {actual}, the limit is {limit:,}; RATE_MAX_PIXELS changes it")
        _check_scans(data, location, image)
        with DECODING.taken(image.width * image.height, limit):
            return convert(image)
    except SampleError:
        raise
    except Exception as error:  # decoders raise arbitrary exceptions: OSError, SyntaxError, struct.error, ...
        raise SampleError(f"{location}: cannot be decoded: {type(error).__name__}: {error}") from error


def _check_scans(data: bytes, location: str, image: Image.Image) -> None:
    """Refuse a JPEG with more scans than encoders write, since each scan costs a pass over all pixels."""
    if not image.info.get("progressive") or data.count(_START_OF_SCAN) <= SCANS:
        return
    scans = _scans(data)
    if scans > SCANS and scans * image.width * image.height > SCAN_PIXELS:
        actual = f"{scans} scans of {image.width} x {image.height} pixels"
        raise SampleError(
            f"{location}: is a progressive JPEG of {actual}; more than {SCANS} are decoded of small images only "
            f"({SCAN_PIXELS:,} pixels in all scans): save it anew"
        )


def _scans(data: bytes) -> int:
    """Count the scans of the first image in a JPEG file; images inside other segments do not count."""
    at, scans = 2, 0
    while (marker := _MARKER.search(data, at)) is not None and marker[1] != b"\xd9":
        scans += marker[1] == b"\xda"
        at = marker.end() + int.from_bytes(data[marker.end() : marker.end() + 2], "big")
    return scans


def upright_rgb(image: Image.Image) -> Image.Image:
    """Decode, turn by the EXIF orientation, convert to RGB."""
    image.load()  # before the orientation is read: the TIFF decoder turns the image itself and removes the tag
    turn = _UPRIGHT.get(image.getexif().get(ExifTags.Base.Orientation, 1))
    return to_rgb(image if turn is None else image.transpose(turn))


def _open(data: bytes) -> Image.Image | None:
    """Run `Image.open` without its warning about size, which only a global filter could silence.

    The caller checks the size in the header before decoding. None = no decoder accepts the file.
    """
    Image.preinit()
    for name in FORMATS:
        if name not in Image.OPEN:
            Image.init()
        if name not in Image.OPEN:  # this Pillow was built without the decoder
            continue
        factory, accept = Image.OPEN[name]
        accepted = accept is None or accept(data[:16])
        if not accepted or isinstance(accepted, str):  # a text names a missing feature of this Pillow
            continue
        try:
            return factory(io.BytesIO(data), "")
        # Image.open treats these exceptions as "another format"
        except (SyntaxError, IndexError, TypeError, struct.error):
            continue
    return None
