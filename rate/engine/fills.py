"""What stands where pixels are hidden: one blank picture, or other pictures, in slots behind those of the images."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from rate.backends.base import Backend, Logits
from rate.backends.batches import clean_rows
from rate.engine.job import Job
from rate.types import Int64, Pixels, Sample

FillOrder = Callable[[Sample], Int64]
"""Gives the numbers [n] of the fills that a sample meets, in its own order."""

_ONE = np.zeros(1, np.int64)


@dataclass(frozen=True, slots=True, eq=False)
class Fills:
    """The fills of a job, resident on a backend."""

    key: tuple[object, ...]  # equal for jobs with the same fills in the same slots
    logits: Logits  # [f,c] of each by itself


def fill_order(job: Job) -> FillOrder:
    """Return the order in which samples meet the fills of ``job``."""
    if not job.measurement.with_pictures:
        return lambda sample: _ONE
    return lru_cache(256)(job.bank.order)


def fills_key(job: Job, first: int) -> tuple[object, ...]:
    """Return what decides the content of the slots from ``first`` on."""
    return (job.bank.digest, job.geometry, job.measurement.corrupt, job.measurement.corrupt_seed, first)


def load_fills(job: Job, backend: Backend, first: int) -> Fills:
    """Put the fills of ``job`` into the slots from ``first`` on, and compute their logits. This warms the backend up.

    Raises:
        SampleError: a picture of the bank cannot be read any more.
        SetChanged: a picture of the bank has changed.
    """
    for number, pixels in enumerate(_pixels(job)):
        backend.put(first + number, pixels)
    size, batch = job.fills, job.execution.batch
    parts = []
    for start in range(0, size, batch):
        # A single blank is a batch of one row; below f32 the others are padded to one size.
        count = 1 if size == 1 else batch
        chosen = first + np.minimum(np.arange(start, start + count), size - 1)
        logits = backend.submit(clean_rows(job.perturbation, chosen)).wait()
        parts.append({name: values[: size - start] for name, values in logits.items()})
    return Fills(fills_key(job, first), {name: np.concatenate([part[name] for part in parts]) for name in parts[0]})


def own_mean(pixels: Pixels) -> Pixels:
    """Return an image of the mean colour of ``pixels``."""
    return np.broadcast_to(pixels.mean(axis=(1, 2), keepdims=True, dtype=np.float32), pixels.shape).copy()


def _pixels(job: Job) -> Iterator[Pixels]:
    if not job.measurement.with_pictures:
        yield np.zeros((3, job.geometry.size, job.geometry.size), np.float32)
        return
    for picture in job.bank.pictures:
        yield job.decode(picture).pixels
