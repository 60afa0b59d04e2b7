"""The versions of the remote objects of a set, so that every read of a run is of the set as it was first read.

Listings tell the versions of S3 objects before anything is read, at a request for up to a thousand of them: a million
images cost a thousand requests instead of a million, and the digest of the set, a resumed run, a shard and a worker
elsewhere all have the same versions. Versions that are known only once an object is read would leave the rest of the
set free to change while a run rests. Other storages are asked for each object; of those that do not say, only the
content of what was read is kept.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import TypeAlias

from rate.credentials import without_credentials
from rate.data.storage.listing import Listing
from rate.data.storage.location import in_container
from rate.errors import DataError
from rate.types import Sample, Stamp

Pin: TypeAlias = tuple[Stamp | None, Stamp | None]
"""The stamps of the remote image and the remote mask of a sample."""


def pins_of(samples: Sequence[Sample], listing: Listing) -> list[Pin]:
    """Return the stamps of the remote objects of some samples, of those whose storage tells them.

    Raises:
        DataError: the storage cannot be reached.
    """
    urls = {url for sample in samples for url in objects_of(sample)}
    try:
        stamps = listing.stamps(urls) if urls else {}
    except OSError as error:
        raise DataError(f"the versions of the images cannot be listed: {error}") from error
    return [(stamps.get(sample.image), stamps.get(sample.mask or "")) for sample in samples]


def pin_of(sample: Sample) -> Pin | None:
    """Return the stamps of a sample's remote objects; None = it has none, or they come with its container."""
    return (sample.image_stamp, sample.mask_stamp) if objects_of(sample) and not is_unpinned(sample) else None


def with_pin(sample: Sample, pin: Pin | None) -> Sample:
    """Return the sample with the stamps of its remote objects."""
    image, mask = pin or (None, None)
    if image is None and mask is None:
        return sample
    return replace(sample, image_stamp=image or sample.image_stamp, mask_stamp=mask or sample.mask_stamp)


def is_unpinned(sample: Sample) -> bool:
    """Tell whether a sample has a remote object whose version is not known before it is read."""
    stamps = {sample.image: sample.image_stamp, sample.mask: sample.mask_stamp}
    return any(stamps[url] is None for url in objects_of(sample))


def unpinned_notice(data: str, unpinned: int, samples: int) -> tuple[str, ...]:
    """Return a notice if objects of some samples have no version before they are read."""
    if not unpinned:
        return ()
    what = (
        "are missing, or lie where nothing tells their versions (S3 does, to those who may list, and most web servers)"
    )
    return (
        f"the images of {unpinned} of {samples} samples in {without_credentials(data)} {what}: their content is "
        "recorded when they are read, and a resumed run compares some of them",
    )


def is_remote(sample: Sample) -> bool:
    """Tell whether reading a sample takes requests of its own; a shard is fetched as a whole."""
    return bool(objects_of(sample))


def objects_of(sample: Sample) -> tuple[str, ...]:
    """Return the URLs of objects that hold one image or mask."""
    if "://" not in sample.image and (sample.mask is None or "://" not in sample.mask):
        return ()
    return tuple(url for url in (sample.image, sample.mask) if url and "://" in url and not in_container(url))
