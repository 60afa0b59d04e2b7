"""Which samples of a set a run still has to evaluate, and whether those that it has are what they were."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path

from rate.data.digests import ContentTable, fingerprint
from rate.data.images.prepare import read_content
from rate.errors import SampleError, SetChanged
from rate.types import Sample

MARGIN_NS = 2_000_000_000
"""Clocks of file systems are coarse, and not those of the machine that noted when the run began."""

REMOTE_CHECKS = 32
"""Stored samples with an image of its own on a remote storage that are read again; each costs a request."""


def remaining(samples: Iterable[Sample], done: ContentTable, started_ns: int) -> Iterator[Sample]:
    """The samples that are not ``done``; of those that are, files touched since the run began are read again.

    Args:
        samples: as a set gives them, with the stamps of their files.
        done: what the run holds.
        started_ns: when the run began.

    Raises:
        SetChanged: a file holds something else than what the stored row was computed from.
    """
    every = max(1, len(done) // REMOTE_CHECKS)
    for sample in samples:
        if sample.id not in done:
            yield sample
        elif _is_doubtful(sample, started_ns - MARGIN_NS, every):
            _check_content(sample, done.content(sample.id))


def check_planned(planned: int, stored: int, out: Path) -> None:
    """See that every sample of a set has its rows, failed ones among them, before a run may be called done.

    Raises:
        SetChanged: some have none.
    """
    if stored < planned:
        raise SetChanged(
            f"{out} holds {stored} of the {planned} samples that were planned, and the set gave no more: it has "
            "changed since it was first read. Run the same command again to evaluate the rest"
        )


def _is_doubtful(sample: Sample, since_ns: int, every: int) -> bool:
    stamps = [stamp for stamp in (sample.image_stamp, sample.mask_stamp) if stamp is not None]
    if any(max(stamp.modified_ns, stamp.changed_ns) > since_ns for stamp in stamps):
        return True
    return "://" in sample.image and not stamps and fingerprint(sample.id) % every == 0


def _check_content(sample: Sample, stored: bytes | None) -> None:
    if stored is None:  # it failed, so nothing was computed from it
        return
    try:
        found = read_content(sample)
    except SampleError:  # it cannot be read any more; the row is of the time when it could
        return
    if found != stored:
        files = sample.image if sample.mask is None else f"{sample.image} and {sample.mask}"
        raise SetChanged(
            f"the run holds a result of sample {sample.id!r} from other bytes than {files} gives now (digest "
            f"{stored.hex()} then, {found.hex()} now): the set was changed after the run began. Put back what was "
            "there, or choose another --out to evaluate the set as it is now"
        )
