"""What stands where pixels are hidden: one blank picture, or other pictures, in slots behind those of the images."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Annotated

import numpy as np

from rate.backends.base import Backend, Logits
from rate.backends.batches import clean_rows
from rate.data.bank import READS, Bank, read_alone
from rate.engine.job import Job
from rate.engine.outcome import Outcome
from rate.engine.prefetch import Prefetch
from rate.errors import SetChanged
from rate.kernels.region import hidden_steps, sketch
from rate.types import Bool, Float32, Int64, Picture, Prepared, Region, Sample

READ_AHEAD = 8
"""The number of pictures that are read before they are put on the device."""

_ONE = np.zeros(1, np.int64)


@dataclass(frozen=True, eq=False)
class Fills:
    """The fills of a job, resident on a backend."""

    first: int  # slot of the first one
    key: tuple[object, ...]  # equal for jobs with the same fills in the same slots
    logits: Logits  # [f,c] of each by itself; empty where samples ask questions
    regions: Annotated[Bool, "f h w"]  # of each by itself
    ignored: Mapping[int, Region] = field(default_factory=dict)  # of those that have ignored pixels, by number

    @cached_property
    def sketches(self) -> Annotated[Float32, "f s s"]:
        """The sketch of each one's own region."""
        return np.stack([sketch(region) for region in self.regions])


def fills_met(job: Job, fills: Fills, prepared: Prepared) -> Int64:
    """Return the numbers [n] of the fills of ``job`` that a sample meets, in its own order; see `order_met`."""
    if not job.measurement.with_pictures:
        return _ONE
    return order_met(job.bank, fills.sketches, prepared.sample, prepared.region, job.fills_met)


def order_met(bank: Bank, regions: Annotated[Float32, "f s s"], sample: Sample, region: Region, count: int) -> Int64:
    """Compute the order [n] in which ``sample`` meets the pictures of a bank.

    It meets those whose own object its region hides most: the region on such a picture is the object in another scene,
    and the picture in the region is another object in this scene. Pictures with their object beside the region would
    set two objects against each other. Among them the order is one of chance, by seed and id: the first ones estimate
    what all of them do, so a verdict means the same at every checkpoint.

    Args:
        bank: the pictures.
        regions: the `sketch` of each one's own region.
        sample: the sample, which meets neither itself nor its own class.
        region: its region [h,w].
        count: the number n of pictures that it meets.
    """
    by_chance = bank.order(sample)
    hidden = hidden_steps(regions[by_chance], sketch(region))
    met = np.argsort(-hidden, kind="stable")[:count]
    return np.asarray(by_chance[np.sort(met)])


def fills_key(job: Job, first: int) -> tuple[object, ...]:
    """Return what decides the content of the slots from ``first`` on."""
    measurement = job.measurement
    altered = measurement.pixel_path, measurement.corrupt, measurement.corrupt_seed
    return (job.bank.digest, job.geometry, *altered, first)


def load_fills(job: Job, backend: Backend, first: int) -> Fills:
    """Put the fills of ``job`` into the slots from ``first`` on, and compute their logits. This warms the backend up.

    Raises:
        SetChanged: a picture of the bank has changed, or can no longer be read.
    """
    regions, ignored = [], {}
    for number, fill in enumerate(_fills(job)):
        backend.put(first + number, fill.picture)
        regions.append(fill.region)
        if fill.ignored is not None:
            ignored[number] = fill.ignored
    if job.asks:  # each sample asks its own question of them
        return Fills(first, fills_key(job, first), {}, np.stack(regions), ignored)
    size, batch = job.fills, job.execution.batch
    parts = []
    for start in range(0, size, batch):
        # A single blank is a batch of one row; below f32 the others are padded to one size.
        count = 1 if size == 1 else batch
        chosen = first + np.minimum(np.arange(start, start + count), size - 1)
        some = backend.submit(clean_rows(job.perturbation, chosen)).wait()
        parts.append({name: values[: size - start] for name, values in some.items()})
    logits = {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}
    return Fills(first, fills_key(job, first), logits, np.stack(regions), ignored)


def own_mean(picture: Picture) -> Picture:
    """Return a picture of the mean colour of ``picture``, which is not rounded to a level."""
    colour = (picture.levels.mean(axis=(1, 2)) - picture.zero) * picture.scale
    return Picture.of_colour(colour, picture.levels.shape[-1])


def _fills(job: Job) -> Iterator[Prepared]:
    if not job.measurement.with_pictures:
        yield blank(job.geometry.size)
        return
    for picture in job.bank.pictures:
        read_alone(picture)
    with Prefetch(job.bank.pictures, job.decode, READS, READ_AHEAD, job.execution.io) as source:
        for picture in job.bank.pictures:
            fill = source.next()
            assert fill is not None, "every picture is prepared or has its error"
            if isinstance(fill, Outcome):
                raise SetChanged(f"a picture of the bank, {picture.id}, can no longer be read: {fill.error}")
            if fill.sample.content != picture.content:
                raise SetChanged(
                    f"a picture of the bank, {picture.id}, has changed since the run began: {picture.image}; "
                    "put it back, or choose another --out"
                )
            yield fill


def blank(size: int) -> Prepared:
    """Make a picture of the mean colour without a region."""
    return Prepared(
        Sample("", "", ""), Picture.of_colour(np.zeros(3, np.float32), size), np.zeros((size, size), np.bool_)
    )
