"""The other pictures that stood where a pixel was hidden, as run.json records them.

A run.json may be of untrusted origin. As of the evaluated set, pictures are shown only if they are the recorded ones by
the digest of their contents, so that a report shows no other file of this machine.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Annotated

import numpy as np

from rate.data.bank import Bank
from rate.engine.verdicts.fills import order_met
from rate.errors import DataError, SampleError, UsageError
from rate.kernels.region import sketch
from rate.report.heatmap import levels
from rate.runs.run_document import RunDocument
from rate.types import Bool, Float32, Prepared, Sample, UInt8


@dataclass(frozen=True, slots=True, eq=False)
class BankPictures:
    """The pictures of a bank in the order of run.json."""

    bank: Bank
    views: tuple[UInt8, ...]  # [h,w,3] each
    regions: Annotated[Float32, "f s s"]  # the sketch of each one's own region
    count: int  # the number that a sample meets

    def met(self, sample: Sample, region: Bool, most: int) -> list[UInt8]:
        """Return the first ``most`` pictures that a sample with ``region`` [h,w] met."""
        order = order_met(self.bank, self.regions, sample, region, self.count)
        return [self.views[number] for number in order[:most].tolist()]


def recorded_bank(
    run: RunDocument, samples: Mapping[str, Sample], decode: Callable[[Sample], Prepared], remote: bool
) -> BankPictures:
    """Read the pictures of the bank of ``run``.

    Args:
        run: a run by swaps.
        samples: the samples of its set by id.
        decode: gives the pixels and the region of a sample, as in the run.
        remote: whether pictures may be fetched.

    Raises:
        DataError: the pictures cannot be read, or are others; the message is why.
    """
    seed = run.measurement.get("seed")
    if not isinstance(seed, int) or not 0 <= seed < 2**63:
        raise DataError(f"run.json has the seed {seed!r}")
    pictures, views, regions = [], [], []
    for name in run.bank.pictures:
        picture = samples.get(name) if run.rule.fill == "pictures" else _in_folder(run.rule.fill, name)
        if picture is None:
            raise DataError(f"there is no {name!r} among them")
        if "://" in f"{picture.image} {picture.mask}" and not remote:
            raise DataError(f"{name!r} is remote, and is fetched only where --data names its set")
        try:
            prepared = decode(picture)
        except (SampleError, UsageError) as error:
            raise DataError(str(error)) from error
        pictures.append(prepared.sample)
        views.append(levels(prepared.pixels, run.identity.geometry))
        regions.append(sketch(prepared.region))
    bank = Bank(tuple(pictures), seed)
    if not pictures or bank.digest != run.identity.bank:
        raise DataError("they are not those of the run, by their digest")
    return BankPictures(bank, tuple(views), np.stack(regions), run.bank.met)


def _in_folder(folder: str, name: str) -> Sample | None:
    """Return a picture of a folder of fills; None if there is none of that name inside it."""
    place = PurePosixPath(name)
    path = Path(folder, *place.parts)
    inside = not place.is_absolute() and ".." not in place.parts and path.is_file()
    return Sample(name, "", str(path.resolve()), boxes=()) if inside else None
