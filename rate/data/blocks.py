"""Rows of a set in blocks, with what a reading of the set needs of each sample.

A block whose rows are all valid and plain is checked as Arrow columns. Any other block is checked row by row, which
decides what is refused, and why.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice, repeat
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from rate.data.digests import Boxes, fingerprints, plain_digests, sample_digest
from rate.data.formats.manifest_blocks import read_blocks
from rate.data.formats.manifest_files import CORNERS, QUESTION
from rate.data.formats.raw_block import NOT_TYPED, RawBlock
from rate.data.manifest import ParsedRow, parse_row, require_rows
from rate.data.pins import Pin, is_remote, with_pin
from rate.data.storage.local_file import identities, stamp_of
from rate.data.storage.location import Folder
from rate.types import Int64, Question, Sample, Stamp, UInt64

FEW_ROWS = 256
"""The rows of a block of shards."""

MANY_ROWS = 1 << 14
"""The most rows of a block of a manifest that are checked one by one; their objects are listed together."""

_TEXTS = ("id", "image", "label", "mask", "split", "group", "cluster")
_WORD = (1 << 64) - 1


@dataclass(frozen=True, slots=True, eq=False)
class Block:
    """Rows of a set that follow each other: columns of the valid ones, and the refused ones."""

    ids: Sequence[bytes]  # in UTF-8
    labels: Sequence[str]
    splits: Sequence[str | None]
    names: UInt64  # the `fingerprint` of each id
    digests: bytes  # the `sample_digest` of each sample, 32 bytes
    files: UInt64  # hashes of the stamps of each sample's files; see `hash_of_files`
    has_boxes: bool
    has_objects: bool  # whether a sample's image or mask is an object of a remote storage
    samples: Callable[[Int64], Iterator[Sample]]  # gives the samples of some numbers, counted from 0
    clusters: Sequence[str | None]
    are_there: bool = False  # whether all files are
    refused: Sequence[ParsedRow] = ()
    questions: Sequence[Question | None] | None = None  # what each row asks; None = none asks anything

    def __len__(self) -> int:
        return len(self.ids)

    def rows_of(self, split: str | None) -> Int64:
        """Return the numbers of the samples of a split, counted from 0; None = of all."""
        if split is None:
            return np.arange(len(self), dtype=np.int64)
        return np.array([k for k, own in enumerate(self.splits) if split == own], np.int64)


def manifest_blocks(path: Path, folder: Folder) -> Iterator[Block]:
    """Read the rows of a manifest.

    Raises:
        DataError: as `parse_rows`.
    """
    count, held = 0, list[ParsedRow]()
    for raw in read_blocks(path):
        count += len(raw)
        block = plain_block(raw, folder)
        if block is None:
            held += [parse_row(row, folder) for row in raw.rows()]
        if held and (block is not None or len(held) >= MANY_ROWS):
            yield block_of(held, folder)
            held = []
        if block is not None:
            yield block
    if held:
        yield block_of(held, folder)
    require_rows(path, count)


def in_blocks(rows: Iterable[ParsedRow], folder: Folder) -> Iterator[Block]:
    """Put rows together that are read one by one."""
    rows = iter(rows)
    while few := list(islice(rows, FEW_ROWS)):
        yield block_of(few, folder)


def block_of(rows: Sequence[ParsedRow], folder: Folder) -> Block:
    """Make a block of rows that are checked."""
    samples = [row.sample for row in rows if row.sample is not None]
    ids = [sample.id.encode() for sample in samples]
    return Block(
        ids,
        [sample.label for sample in samples],
        [row.split for row in rows if row.sample is not None],
        fingerprints(ids),
        b"".join([sample_digest(sample, folder) for sample in samples]),
        np.array([hash_of_files(sample.image_stamp, sample.mask_stamp) for sample in samples], np.uint64),
        any(sample.boxes for sample in samples),
        any(map(is_remote, samples)),
        lambda numbers: map(samples.__getitem__, numbers.tolist()),
        [sample.cluster for sample in samples],
        refused=[row for row in rows if row.sample is None],
        questions=[sample.question for sample in samples],
    )


def with_pins(block: Block, chosen: Int64, pins: Sequence[Pin | None], folder: Folder) -> Block:
    """Return the block with the stamps of the remote objects of some samples."""
    samples = list(block.samples(np.arange(len(block))))
    for number, pin in zip(chosen.tolist(), pins, strict=True):
        samples[number] = with_pin(samples[number], pin)
    splits = zip(samples, block.splits, strict=True)
    return block_of([*(ParsedRow(one.row, one, split, ()) for one, split in splits), *block.refused], folder)


def hash_of_files(image: Stamp | None, mask: Stamp | None) -> int:
    """Hash the stamps of a sample's files within this process; a missing file may appear later."""
    if image is None and mask is None:
        return UNKNOWN_FILES
    return hash((image and image.identity, mask and mask.identity)) & _WORD


UNKNOWN_FILES = 0


def plain_block(raw: RawBlock, folder: Folder) -> Block | None:
    """Check a block by columns; None = a row is refused, or has anything that is better looked at alone."""
    try:
        return _PlainRows(raw, folder).block()
    except (*NOT_TYPED, OSError):
        return None


class _PlainRows:
    """The valid rows of a block, all of the same form."""

    def __init__(self, raw: RawBlock, folder: Folder) -> None:
        """Check the rows.

        Raises:
            ValueError: the block is not plain, and so are the other errors of `plain_block`.
        """
        columns, self.count, self.before = raw.columns(), len(raw), raw.before
        self.texts = {name: _texts(columns.get(name), self.count) for name in _TEXTS}
        image, label = self.texts["image"], self.texts["label"]
        if image.null_count or label.null_count or pa.types.is_integer(columns["label"].type):
            raise ValueError("image or label is missing, or the label is a number")
        if any(columns[name].null_count < self.count for name in QUESTION if name in columns):
            raise ValueError("a row asks a question")
        if pc.any(pc.match_substring(self.texts["id"], "://")).as_py():
            raise ValueError("an id is a URL, which may have credentials")
        self.texts["id"] = pc.coalesce(self.texts["id"], image)
        self.boxes = _boxes(columns, self.texts["mask"])
        self.images, self.image_statuses = folder.find_plain(image)
        self.masks, self.mask_statuses = self.texts["mask"], list[os.stat_result]()
        if self.boxes is None:
            self.masks, self.mask_statuses = folder.find_plain(self.masks)

    def block(self) -> Block:
        """Return them as columns."""
        texts = self.texts
        named = (texts["id"], texts["label"], texts["image"], texts["mask"])
        ids = texts["id"].cast(pa.binary()).to_numpy(zero_copy_only=False).tolist()
        return Block(
            ids,
            _list(texts["label"]),
            _list(texts["split"]),
            fingerprints(ids),
            plain_digests(*named, self.boxes, texts["group"], texts["cluster"]),
            self._files(),
            self.boxes is not None,
            False,
            self.samples,
            _list(texts["cluster"]),
            are_there=True,
        )

    def samples(self, numbers: Int64) -> Iterator[Sample]:
        """Yield the samples of some numbers, counted from 0."""
        columns = (self.texts["id"], self.texts["label"], self.images, self.masks)
        more = (self.texts["group"], self.texts["cluster"])
        taken, rows = pa.array(numbers), numbers.tolist()
        values = [_list(column.take(taken)) for column in (*columns, *more)]
        boxes = repeat(None) if self.boxes is None else self.boxes.tuples(numbers)
        for row, one, *texts in zip(rows, boxes, *values, strict=False):
            identifier, label, image, mask, group, cluster = texts
            of_image, of_mask = (
                stamp_of(statuses[row]) if statuses else None for statuses in (self.image_statuses, self.mask_statuses)
            )
            group, cluster = group and sys.intern(group), cluster and sys.intern(cluster)
            place = self.before + row + 1
            yield Sample(identifier, sys.intern(label), image, one, mask, group, cluster, place, of_image, of_mask)

    def _files(self) -> UInt64:
        """Return the `hash_of_files` of every row."""
        if not self.image_statuses and not self.mask_statuses:
            return np.full(self.count, UNKNOWN_FILES, np.uint64)
        of_images, of_masks = map(_identities, (self.image_statuses, self.mask_statuses))
        return np.fromiter(map(hash, zip(of_images, of_masks, strict=False)), np.int64, self.count).view(np.uint64)


def _identities(statuses: Sequence[os.stat_result]) -> Iterable[tuple[object, ...] | None]:
    return identities(statuses) if statuses else repeat(None)


def _list(texts: Any) -> list[Any]:
    values: list[Any] = texts.to_numpy(zero_copy_only=False).tolist()
    return values


def _texts(column: Any | None, count: int) -> Any:
    """Return a column as strings; whole numbers become texts."""
    if column is None or pa.types.is_null(column.type):
        return pa.nulls(count, pa.string())
    if not (pa.types.is_string(column.type) or pa.types.is_integer(column.type)):
        raise TypeError("must be texts")
    texts = column.cast(pa.string())
    if pc.any(pc.utf8_is_space(texts)).as_py():
        raise ValueError("a text of blanks is no value")
    return texts


def _boxes(columns: dict[str, Any], mask: Any) -> Boxes | None:
    """Return the boxes of all rows; None = all regions are masks.

    Raises:
        ValueError: the regions are not all of one kind, or boxes are not valid.
    """
    count = len(mask)
    given = {name: columns[name] for name in ("boxes", *CORNERS) if name in columns}
    given = {name: column for name, column in given.items() if column.null_count < count}
    if mask.null_count == 0 and not given:
        return None
    if mask.null_count < count or any(column.null_count for column in given.values()):
        raise ValueError("not every row has the same kind of region")
    if tuple(given) == CORNERS:
        counts, corners = np.ones(count, np.int64), np.column_stack([given[name].to_numpy() for name in CORNERS])
    elif tuple(given) == ("boxes",):
        boxes = given["boxes"].flatten()
        numbers = boxes.flatten()
        if (
            boxes.null_count
            or numbers.null_count
            or not pc.all(pc.equal(pc.list_value_length(boxes), 4), min_count=0).as_py()
        ):
            raise ValueError("a box has other than 4 numbers")
        counts = pc.list_value_length(given["boxes"]).to_numpy().astype(np.int64)
        corners = numbers.to_numpy().reshape(-1, 4)
    else:
        raise ValueError("not one kind of region")
    corners = corners + 0.0  # minus zero becomes zero: equal boxes have equal digests
    if not np.isfinite(corners).all() or (corners[:, 2:] < corners[:, :2]).any():
        raise ValueError("a box is not valid")
    return Boxes(counts, corners)
