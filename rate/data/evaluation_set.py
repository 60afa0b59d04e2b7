"""The samples to evaluate. Every iteration reads them again, so memory does not grow with the size of the set."""

from __future__ import annotations

from array import array
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field, replace

import numpy as np

from rate.data.bank import BankDraw
from rate.data.digests import SetDigest, fingerprint, sample_digest
from rate.data.formats.manifest_files import Problem
from rate.data.manifest import ParsedRow, check_split, duplicate_id, notices_of, refusal
from rate.data.open_data import folder_of, open_rows
from rate.data.pins import Pin, is_unpinned, pin_of, pinned, unpinned_notice, with_pin
from rate.data.set_faults import BoxUnits
from rate.data.storage.local_file import CURE
from rate.errors import ConfigError, DataError, SetChanged
from rate.reading import USUAL, Reading
from rate.types import Sample

_WORD = (1 << 64) - 1


@dataclass(slots=True)
class FirstReading:
    """The used rows of a set in order, by which a later reading detects changes: id, content, files; 24 bytes each.

    The versions of remote objects take about 200 bytes more for each sample that has any.
    """

    _ids: array[int] = field(default_factory=lambda: array("Q"))
    _rows: array[int] = field(default_factory=lambda: array("Q"))
    _files: array[int] = field(default_factory=lambda: array("Q"))
    _pins: dict[int, Pin] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self._ids)

    def add(self, sample: Sample, name: int, digest: bytes) -> None:
        """Record a row; ``name`` is the `fingerprint` of its id, ``digest`` its `sample_digest`."""
        if (pin := pin_of(sample)) is not None:
            self._pins[len(self)] = pin
        self._ids.append(name)
        self._rows.append(int.from_bytes(digest[:8], "little"))
        self._files.append(_files(sample))

    def pinned(self, number: int, sample: Sample) -> Sample:
        """Return the sample with the versions of remote objects that the row ``number`` of the first reading had."""
        return with_pin(sample, self._pins.get(number))

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


@dataclass(frozen=True, slots=True)
class Shard:
    """One of several parts of a set of about equal size; the part of a sample depends on its id alone."""

    number: int = 1  # counts from 1
    of: int = 1

    def __post_init__(self) -> None:
        if not 1 <= self.number <= self.of:
            raise ConfigError(f"shard {self.number}/{self.of}: the first number must lie between 1 and the second")

    def holds(self, identifier: str) -> bool:
        """Tell whether the sample is in this part."""
        return self.of == 1 or fingerprint(identifier) % self.of == self.number - 1

    @classmethod
    def parse(cls, text: str) -> Shard:
        """Parse a part such as `2/8`.

        Raises:
            ConfigError: it has another form.
        """
        number, slash, of = text.partition("/")
        if not (slash and number.isdecimal() and of.isdecimal()):
            raise ConfigError(f"--shard {text!r}: expected NUMBER/OF, such as 1/8 to 8/8 on eight machines")
        return cls(int(number), int(of))

    def __str__(self) -> str:
        return f"{self.number}/{self.of}"


WHOLE = Shard()


@dataclass(frozen=True, slots=True)
class EvaluationSet:
    """A source of samples and the facts of its first reading, in at most 24 bytes per sample.

    Iterating reads the source again, and compares every row with the first reading before the row is used.
    """

    data: str  # the source, in a form of `open_rows`
    split: str | None
    limit: int | None  # number of first samples of the split to use
    shard: Shard
    size: int  # number of samples of an iteration
    available: int  # number of samples of the split
    labels: frozenset[str]  # labels of all samples up to the limit
    digest: str  # order-independent digest of all samples up to the limit; see `SetDigest`
    notices: tuple[str, ...] = ()  # notices for the user, one sentence each
    reading: Reading = USUAL
    _first: FirstReading = field(default_factory=FirstReading, compare=False, repr=False)

    def __len__(self) -> int:
        return self.size

    def __iter__(self) -> Iterator[Sample]:
        """Yield the samples in the order of the source.

        Raises:
            SetChanged: a row is no longer what it was when it was first read.
        """
        return (sample for sample, _ in self.with_splits())

    def with_splits(self) -> Iterator[tuple[Sample, str | None]]:
        """Yield the samples of an iteration with their splits.

        Raises:
            SetChanged: a row is no longer what it was when it was first read.
        """
        folder, number = folder_of(self.data, self.reading), 0
        for parsed in open_rows(self.data, self.reading):
            sample = parsed.sample
            if sample is not None and self.split not in (None, parsed.split):
                continue
            if number == self.limit:
                return
            if sample is not None:
                sample = self._first.pinned(number, sample)
                parsed = replace(parsed, sample=sample)
            self._first.check(number, self.data, parsed, None if sample is None else sample_digest(sample, folder))
            number += 1
            if sample is not None and self.shard.holds(sample.id):
                yield sample, parsed.split
        self._first.check_count(number, self.data)


def read_evaluation_set(
    data: str,
    split: str | None = None,
    limit: int | None = None,
    shard: Shard = WHOLE,
    draw: BankDraw | None = None,
    reading: Reading = USUAL,
) -> EvaluationSet:
    """Read and validate a whole source before any work; images and masks need not exist yet.

    The memory is 8 bytes for each row, 24 more for each used row, and the names of labels and splits.

    Args:
        data: a manifest (.csv, .jsonl, .parquet), Parquet files with images, or tar shards; see `open_rows`.
        split: use the rows of this split; None = all rows.
        limit: use this number of first rows of the split.
        shard: use the rows of one part.
        draw: is offered every used row of all parts.
        reading: where files may lie, and what the values of masks mean.

    Raises:
        DataError: the source or a row of it is wrong (each is named), or ``split`` has no rows.
    """
    totals, first, total, folder, units = _Totals(), FirstReading(), SetDigest(), folder_of(data, reading), BoxUnits()
    labels: set[str] = set()
    size = unpinned = 0
    for sample in pinned(totals.chosen(open_rows(data, reading), split, limit)):
        labels.add(sample.label)
        if draw is not None:
            draw.add(sample)
        digest = sample_digest(sample, folder)
        total.add(digest)
        units.add(sample)
        first.add(sample, fingerprint(sample.id), digest)
        size += shard.holds(sample.id)
        unpinned += is_unpinned(sample)
    totals.check(data, reading)
    check_split(data, totals.splits, split)
    if wrong := units.problem():
        raise DataError(f"{data}: {wrong}")
    notices = notices_of(data, totals.splits, split) + unpinned_notice(data, unpinned, len(first))
    chosen = (split, limit, shard, size, totals.available)
    return EvaluationSet(data, *chosen, frozenset(labels), total.hexdigest(), notices, reading, first)


@dataclass(slots=True)
class _Totals:
    """Totals over all rows of a reading, including those of other splits."""

    splits: Counter[str | None] = field(default_factory=Counter)
    problems: list[Problem] = field(default_factory=list)
    ids: array[int] = field(default_factory=lambda: array("Q"))  # fingerprints, 8 bytes each
    available: int = 0  # number of samples of the split

    def chosen(self, rows: Iterable[ParsedRow], split: str | None, limit: int | None) -> Iterator[Sample]:
        """Count all rows, and yield the samples of the split up to the limit."""
        for parsed in rows:
            self.splits[parsed.split] += 1
            if parsed.sample is None:
                self.problems.extend(parsed.problems)
                continue
            self.ids.append(fingerprint(parsed.sample.id))
            if split in (None, parsed.split):
                self.available += 1
                if limit is None or self.available <= limit:
                    yield parsed.sample

    def check(self, data: str, reading: Reading) -> None:
        """Refuse the source for the problems of its rows; a second reading names duplicate ids."""
        ordered = np.sort(np.frombuffer(self.ids, np.uint64)) if self.ids else np.empty(0, np.uint64)
        twice = frozenset(ordered[1:][ordered[1:] == ordered[:-1]].tolist())
        problems = self.problems + (list(_duplicates(open_rows(data, reading), twice)) if twice else [])
        if problems:
            raise DataError(refusal(data, sorted(problems, key=lambda problem: problem.row)))


def _duplicates(rows: Iterable[ParsedRow], twice: frozenset[int]) -> Iterator[Problem]:
    first: dict[str, int] = {}
    for parsed in rows:
        sample = parsed.sample
        if (
            sample is not None
            and fingerprint(sample.id) in twice
            and first.setdefault(sample.id, parsed.row) != parsed.row
        ):
            yield duplicate_id(sample, first[sample.id])
