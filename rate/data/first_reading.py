"""The facts of a first reading in 24 bytes per row, with which a later reading detects changes."""

from __future__ import annotations

from array import array
from dataclasses import dataclass, field

from rate.data.digests import fingerprint
from rate.data.manifest import ParsedRow
from rate.data.storage.local_file import CURE
from rate.errors import SetChanged
from rate.types import Sample

_WORD = (1 << 64) - 1


@dataclass(slots=True)
class FirstReading:
    """The used rows of a set in order: for each its id, its content, and its files."""

    _ids: array[int] = field(default_factory=lambda: array("Q"))
    _rows: array[int] = field(default_factory=lambda: array("Q"))
    _files: array[int] = field(default_factory=lambda: array("Q"))

    def __len__(self) -> int:
        return len(self._ids)

    def add(self, sample: Sample, name: int, digest: bytes) -> None:
        """Record a row; ``name`` is the `fingerprint` of its id, ``digest`` its `sample_digest`."""
        self._ids.append(name)
        self._rows.append(int.from_bytes(digest[:8], "little"))
        self._files.append(_files(sample))

    def check(self, number: int, data: str, parsed: ParsedRow, digest: bytes | None) -> None:
        """Check that a row of a later reading equals the row ``number`` of the first one, counted from 0.

        Raises:
            SetChanged: names the row with its expected and actual content.
        """
        sample = parsed.sample
        if sample is None or digest is None:
            raise _changed(data, f"row {parsed.row} was a sample, and now {parsed.problems[0]}")
        if number >= len(self):
            raise _changed(data, f"it had {len(self)} samples, and now row {parsed.row} is one more: {sample.id!r}")
        if self._ids[number] != fingerprint(sample.id):
            raise _changed(data, f"row {parsed.row} had another id, and now it is {sample.id!r}")
        if self._rows[number] != int.from_bytes(digest[:8], "little"):
            what = f"now it is labelled {sample.label!r} and names {sample.image}"
            raise _changed(data, f"label, image, region, group or cluster of {sample.id!r} was another; {what}")
        if self._files[number] not in (_files(sample), _UNKNOWN):
            named = sample.image if sample.mask is None else f"{sample.image} or {sample.mask}"
            raise _changed(data, f"the file of {sample.id!r} was written to, replaced or removed: {named}")

    def check_count(self, number: int, data: str) -> None:
        """Check that a later reading has as many samples as the first one.

        Raises:
            SetChanged: names both numbers.
        """
        if number != len(self):
            raise _changed(data, f"it had {len(self)} samples, and now it has {number}")


def _files(sample: Sample) -> int:
    """Hash the stamps of a sample's files within this process; a missing file may appear later."""
    image, mask = sample.image_stamp, sample.mask_stamp
    if image is None and mask is None:
        return _UNKNOWN
    return hash((image and image.identity, mask and mask.identity)) & _WORD


_UNKNOWN = 0


def _changed(data: str, what: str) -> SetChanged:
    return SetChanged(f"{data} has changed since it was first read: {what}. {CURE[0].upper()}{CURE[1:]}")
