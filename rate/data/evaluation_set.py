"""The samples to evaluate. Every iteration reads them again, so memory does not grow with the size of the set."""

from __future__ import annotations

from array import array
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

import numpy as np

from rate.data.bank import BankDraw
from rate.data.blocks import UNKNOWN_FILES, Block, hash_of_files, with_pins
from rate.data.digests import SetDigest, fingerprint
from rate.data.formats.manifest_files import Problem
from rate.data.manifest import ParsedRow, check_split, duplicate_id, notices_of, refusal
from rate.data.open_data import folder_of, open_blocks, open_rows
from rate.data.pins import Pin, is_unpinned, pin_of, pins_of, unpinned_notice
from rate.data.questions import AskedRows
from rate.data.set_faults import BoxUnits
from rate.data.set_parts import WHOLE, Shard, Shards
from rate.data.storage.listing import Listing
from rate.data.storage.local_file import CURE
from rate.data.storage.location import container_of
from rate.errors import DataError, SetChanged
from rate.reading import USUAL, Reading
from rate.types import Bool, Int64, Sample, UInt64


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

    def add(self, block: Block, chosen: Int64) -> None:
        """Record rows of a block."""
        if block.has_objects:
            pins = enumerate(map(pin_of, block.samples(chosen)), len(self))
            self._pins |= {number: pin for number, pin in pins if pin is not None}
        for column, values in zip((self._ids, self._rows, self._files), _columns(block), strict=True):
            column.frombytes(values[chosen].tobytes())

    def pins(self, number: int, count: int) -> list[Pin | None]:
        """Return the versions of remote objects that ``count`` rows from ``number`` on had."""
        return [self._pins.get(place) for place in range(number, number + count)]

    def holds(self, number: int, block: Block, chosen: Int64) -> bool:
        """Tell whether rows of a later reading equal the rows from ``number`` on, counted from 0."""
        known = [np.array(column[number : number + len(chosen)]) for column in (self._ids, self._rows, self._files)]
        if len(known[0]) < len(chosen):
            return False
        ids, rows, files = (now[chosen] == then for now, then in zip(_columns(block), known, strict=True))
        return bool(ids.all() and rows.all() and (files | (known[2] == UNKNOWN_FILES)).all())

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
        if self._files[number] not in (hash_of_files(sample.image_stamp, sample.mask_stamp), UNKNOWN_FILES):
            named = sample.image if sample.mask is None else f"{sample.image} or {sample.mask}"
            raise _changed(data, f"the file of {sample.id!r} was written to, replaced or removed: {named}")

    def check_count(self, number: int, data: str) -> None:
        """Check that a later reading has as many samples as the first one.

        Raises:
            SetChanged: names both numbers.
        """
        if number != len(self):
            raise _changed(data, f"it had {len(self)} samples, and now it has {number}")


def _columns(block: Block) -> tuple[UInt64, UInt64, UInt64]:
    """Return what is known of the id, the content and the files of each sample."""
    return block.names, np.frombuffer(block.digests, "<u8")[::4], block.files


def _changed(data: str, what: str) -> SetChanged:
    return SetChanged(f"{data} has changed since it was first read: {what}. {CURE[0].upper()}{CURE[1:]}")


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
    headers: bool = False  # whether the images of remote shards are left there; see `tar_rows`
    asked: AskedRows = field(default_factory=AskedRows)
    own: frozenset[str] | None = None  # the containers of the part; None = the ids of samples decide
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
        for block in open_blocks(self.data, self.reading, self.headers):
            chosen = block.rows_of(self.split)[: None if self.limit is None else self.limit - number]
            if block.has_objects:
                block = with_pins(block, chosen, self._first.pins(number, len(chosen)), folder)
            if block.refused or not self._first.holds(number, block, chosen):
                self._refuse(number, block)
            number += len(chosen)
            chosen = chosen[self._is_own(block, chosen)]
            yield from zip(block.samples(chosen), map(block.splits.__getitem__, chosen.tolist()), strict=True)
            if number == self.limit:
                return
        self._first.check_count(number, self.data)

    def _is_own(self, block: Block, chosen: Int64) -> Bool:
        if self.own is None:
            return self.shard.holds(block.names[chosen])
        return np.array([container_of(sample.image) in self.own for sample in block.samples(chosen)], np.bool_)

    def _refuse(self, number: int, block: Block) -> None:
        """Name the row of a block that is no longer as it was; ``number`` used rows come before the block."""
        chosen = block.rows_of(self.split)
        rows: list[tuple[ParsedRow, bytes | None]] = [
            (ParsedRow(sample.row, sample, block.splits[k], ()), block.digests[32 * k : 32 * k + 32])
            for k, sample in zip(chosen.tolist(), block.samples(chosen), strict=True)
        ]
        rows += [(parsed, None) for parsed in block.refused]
        for place, (parsed, digest) in enumerate(sorted(rows, key=lambda pair: pair[0].row), number):
            if place == self.limit:
                return
            self._first.check(place, self.data, parsed, digest)


def read_evaluation_set(
    data: str,
    split: str | None = None,
    limit: int | None = None,
    shard: Shard = WHOLE,
    draw: BankDraw | None = None,
    reading: Reading = USUAL,
    elsewhere: bool = False,
    pinned: bool = True,
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
        elsewhere: whether other machines read the images.
        pinned: whether storages are asked for the versions of remote images, which are part of the digest.

    Raises:
        DataError: the source or a row of it is wrong (each is named), or ``split`` has no rows.
    """
    totals, first, total, units, asked = _Totals(), FirstReading(), SetDigest(), BoxUnits(), AskedRows()
    folder, listing = folder_of(data, reading), Listing()
    headers = elsewhere or shard != WHOLE
    shards = Shards(shard)
    available = size = unpinned = 0
    labels: set[str] = set()
    for block in open_blocks(data, reading, headers):
        totals.add(block)
        chosen = block.rows_of(split)
        available += len(chosen)
        chosen = chosen[: None if limit is None else max(limit - len(first), 0)]
        if block.has_objects and pinned:
            block = with_pins(block, chosen, pins_of(list(block.samples(chosen)), listing), folder)
            unpinned += sum(map(is_unpinned, block.samples(chosen)))
        labels.update(block.labels if len(chosen) == len(block) else map(block.labels.__getitem__, chosen.tolist()))
        if block.questions is None:
            asked.without += len(chosen)
        else:
            asked.add([block.questions[k] for k in chosen.tolist()])
        if draw is not None:
            draw.add_from(block, chosen)
        total.add_all(np.frombuffer(block.digests, "V32")[chosen].tobytes())
        units.add_from(block, chosen)
        first.add(block, chosen)
        size += int(shard.holds(block.names[chosen]).sum())
        shards.add(block, chosen)
    totals.check(data, reading)
    check_split(data, totals.splits, split)
    if wrong := units.problem():
        raise DataError(f"{data}: {wrong}")
    notices = notices_of(data, totals.splits, split) + unpinned_notice(data, unpinned, len(first))
    if (own := shards.own()) is not None:
        size = sum(own.values())
    request = (split, limit, shard, size, available)
    known = (frozenset(labels), total.hexdigest(), notices, reading)
    return EvaluationSet(data, *request, *known, headers, asked, None if own is None else frozenset(own), first)


@dataclass(slots=True)
class _Totals:
    """Totals over all rows of a reading, including those of other splits."""

    splits: Counter[str | None] = field(default_factory=Counter)
    problems: list[Problem] = field(default_factory=list)
    ids: array[int] = field(default_factory=lambda: array("Q"))  # fingerprints, 8 bytes each

    def add(self, block: Block) -> None:
        """Count the rows of a block."""
        self.splits.update(block.splits)
        self.splits.update(parsed.split for parsed in block.refused)
        for parsed in block.refused:
            self.problems.extend(parsed.problems)
        self.ids.frombytes(block.names.tobytes())

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
