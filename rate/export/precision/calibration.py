"""Images for an int8 graph: calibration images for its ranges, and check images for its verdicts."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from rate.artifacts.records import HeadInfo
from rate.backends.batches import HostImages, perturbation_feeds, row_feeds
from rate.config import Measurement
from rate.data.images.geometry import Geometry
from rate.data.images.prepare import prepare
from rate.errors import DataError, SampleError
from rate.kernels.rise import Rise
from rate.types import GRID, INSIDE, OUTSIDE, Picture, Prepared, Rows, Sample

CHECKED = 100
"""The number of images whose verdicts are compared."""

Feed = dict[str, np.ndarray]
"""Maps each graph input to its value."""


@dataclass(frozen=True, slots=True)
class Calibration:
    """Samples ordered so that every class is among the first ones."""

    learn: tuple[Sample, ...]
    check: tuple[Sample, ...]  # from the other end of the order; disjoint from `learn` if the set is large enough

    @property
    def shared(self) -> int:
        """The number of samples in both lists."""
        return len({sample.id for sample in self.learn} & {sample.id for sample in self.check})


def choose(samples: Sequence[Sample], heads: Sequence[HeadInfo], images: int, source: str) -> Calibration:
    """Choose up to ``images`` calibration samples and `CHECKED` check samples, independent of the manifest's order.

    Args:
        samples: all samples of the manifest.
        heads: a check sample's label must be a class of each.
        images: the largest number of calibration samples.
        source: the origin of the samples, for the message.

    Raises:
        DataError: no label is a class of every head.
    """
    mixed = sorted(samples, key=lambda sample: hashlib.blake2b(sample.id.encode(), digest_size=8).digest())
    usable = [sample for sample in mixed if all(sample.label in head.classes for head in heads)]
    if not usable:
        raise DataError(
            f"--calibrate {source}: no label, such as {mixed[0].label!r}, is a class of every head "
            f"({', '.join(heads[0].classes[:4])}, ...); labels must be class names of the model"
        )
    return Calibration(tuple(mixed[:images]), tuple(usable[-CHECKED:]))


class Feeds:
    """Inputs of the perturbed graph, one feed for each image.

    The image is unmasked, fully masked, under a mask of every share, and in exchange with the image before it.

    Exchange pastes the cells of a mask, the region, and the rest of the image on the other one. The feeds can be
    iterated several times. Images are decoded each time, so memory does not grow with their number.
    """

    def __init__(self, samples: Sequence[Sample], geometry: Geometry) -> None:
        usual = Measurement()
        side, shares = min(usual.grid, geometry.size), usual.shares
        self._method = Rise(geometry.size, side, shares, "fixed", len(shares), usual.seed)
        self._samples, self._geometry = samples, geometry

    def __len__(self) -> int:
        return len(self._samples)

    def __iter__(self) -> Iterator[Feed]:
        before = prepare(self._samples[-1], self._geometry).picture
        for sample in self._samples:
            prepared = prepare(sample, self._geometry)
            yield self._feed(prepared, before)
            before = prepared.picture

    def _feed(self, prepared: Prepared, other: Picture) -> Feed:
        perturbation, count = self._method.perturbation, self._method.count
        drawn = self._method.draw(prepared.sample.id, 0, count)
        clean, last = perturbation.clean[None], np.full(3, count - 1)
        # the slots hold the image, the other one, and the mean colour
        rows = Rows(
            slot=np.zeros(count + 5, np.int64),
            grid=np.concatenate([clean, np.zeros_like(clean), drawn.grid, drawn.grid[last]]).astype(np.float32),
            offset=np.concatenate([np.zeros((2, 2), np.int64), drawn.offset, drawn.offset[last]]),
            fill=np.repeat(np.array([2, 1], np.int64), [count + 2, 3]),
            side=np.repeat(np.array([GRID, INSIDE, OUTSIDE], np.int64), [count + 3, 1, 1]),
        )
        images = HostImages(3, perturbation.size)
        images.put(0, prepared.picture, prepared.region * np.uint8(255))
        images.put(1, other, None)
        return {
            **images.feeds,
            **row_feeds(rows),
            **perturbation_feeds(perturbation),
        }


def readable(samples: Sequence[Sample], geometry: Geometry, count: int | None = None) -> list[Sample]:
    """Return the first ``count`` samples whose files can be decoded; all of them by default.

    Raises:
        DataError: no file can be decoded; the message has the reason of the first.
    """
    decoded: list[Sample] = []
    failed: SampleError | None = None
    for sample in samples:
        if count is not None and len(decoded) == count:
            break
        try:
            prepare(sample, geometry)
        except SampleError as error:
            failed = failed or error
        else:
            decoded.append(sample)
    if not decoded:
        raise DataError(f"--calibrate: no image can be read: {failed}; see `rate data check`")
    return decoded
