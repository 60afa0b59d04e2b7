"""Decoded images of a set in order, cached in memory up to a limit."""

from __future__ import annotations

import copy
import math
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import islice

import numpy as np
from msgspec import structs
from PIL import Image

from rate.data.images.geometry import Geometry
from rate.data.images.prepare import check_resize, load_image
from rate.errors import DataError, SampleError
from rate.types import Sample, UInt8

CACHE_BYTES = 1 << 30
"""The limit of decoded images in memory, both splits together, bytes; other images are decoded in every epoch."""

ROOM = 1.15
"""The short side of a stored image as a multiple of the model's input, so that a crop keeps its resolution."""

_AHEAD = 8
"""The number of images that each thread decodes ahead."""

Convert = Callable[[Sample], UInt8]


class DecodedImages:
    """The readable images of ``samples`` as `convert` makes them: u8 [3,h,w] each."""

    def __init__(
        self,
        samples: Sequence[Sample],
        convert: Convert,
        threads: int,
        cache_bytes: int = CACHE_BYTES,
        tick: Callable[[int, int], None] = lambda done, total: None,
    ) -> None:
        """Decode every sample once.

        Args:
            samples: in the order of the indices.
            convert: a thread-safe converter that raises SampleError for an unreadable image.
            threads: the number of decoding threads.
            cache_bytes: the limit of images in memory.
            tick: receives (samples decoded or refused, total).

        Raises:
            DataError: no sample could be read; the message names the first.
        """
        self._convert, self._threads = convert, threads
        self._cache: dict[int, UInt8] = {}  # by index in `samples`
        self.samples: list[Sample] = []
        self.failed: list[tuple[str, str]] = []
        self.bytes = 0
        for done, (sample, image) in enumerate(_decoded(samples, convert, threads), 1):
            if isinstance(image, SampleError):
                self.failed.append((sample.id, str(image)))
            else:
                if self.bytes + image.nbytes <= cache_bytes:
                    self._cache[len(self.samples)] = image
                    self.bytes += image.nbytes
                self.samples.append(sample)
            tick(done, len(samples))
        if not self.samples:
            raise DataError(f"none of the {len(samples)} samples could be read; the first: {self.failed[0][1]}")

    def __len__(self) -> int:
        return len(self.samples)

    def converted(self, convert: Convert) -> DecodedImages:
        """Return the same images with another converter and an empty cache, without decoding."""
        other = copy.copy(self)
        other._convert, other._cache, other.bytes = convert, {}, 0
        return other

    def stream(self, batches: Sequence[Sequence[int]]) -> Iterator[list[UInt8]]:
        """Yield the images of each batch of indices; threads decode ahead what is not in memory.

        Raises:
            DataError: an image that could be read before cannot be read any more.
        """
        absent = [self.samples[index] for batch in batches for index in batch if index not in self._cache]
        fresh = _decoded(absent, self._convert, self._threads)
        for batch in batches:
            yield [self._cache[index] if index in self._cache else _must(next(fresh)) for index in batch]


def roomy(geometry: Geometry) -> Convert:
    """Make a decoder of images for augmentation: resized with a margin, not cropped."""
    side = max(geometry.resize, math.ceil(ROOM * geometry.size))
    resize = structs.replace(geometry, resize=side, size=side if geometry.crop == "squash" else geometry.size)
    filters = {"bicubic": Image.Resampling.BICUBIC, "bilinear": Image.Resampling.BILINEAR}

    def convert(sample: Sample) -> UInt8:
        image = load_image(sample.image)
        check_resize(sample, resize, image.size)
        resized = image.resize(resize.resized(*image.size), filters[resize.interpolation])
        return np.array(np.asarray(resized, np.uint8).transpose(2, 0, 1), order="C")

    return convert


def exact(geometry: Geometry) -> Convert:
    """Make a decoder of an evaluation's pixels, [3,size,size], before normalisation."""

    def convert(sample: Sample) -> UInt8:
        image = load_image(sample.image)
        check_resize(sample, geometry, image.size)
        return geometry.image_to_picture(image).levels

    return convert


def _decoded(samples: Sequence[Sample], convert: Convert, threads: int) -> Iterator[tuple[Sample, UInt8 | SampleError]]:
    """Yield samples in order with their images, decoded by threads that run only slightly ahead."""
    if not samples:
        return
    rest = iter(samples)
    with ThreadPoolExecutor(threads, thread_name_prefix="rate-decode") as pool:
        ahead = deque((sample, pool.submit(convert, sample)) for sample in islice(rest, _AHEAD * threads))
        try:
            while ahead:
                sample, future = ahead.popleft()
                try:
                    yield sample, future.result()
                except SampleError as error:
                    yield sample, error
                if (following := next(rest, None)) is not None:
                    ahead.append((following, pool.submit(convert, following)))
        finally:
            pool.shutdown(wait=False, cancel_futures=True)


def _must(decoded: tuple[Sample, UInt8 | SampleError]) -> UInt8:
    if isinstance(decoded[1], SampleError):
        raise DataError(f"an image that could be read before is gone: {decoded[1]}; restore it and run this again")
    return decoded[1]
