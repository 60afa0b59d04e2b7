"""A manifest lists the images to evaluate with label and region. It is read without decoding images.

Columns: `image`; `label`, or `caption`, which is a class of its own; a region, `mask` or `boxes` or x0, y0, x1, y1;
optional `id`, `split`, `group` (a slice of the set that is reported and gated), `cluster` (similar samples: one unit
of tests), and `question` with `options`, of which the label is one.
"""

from __future__ import annotations

import math
import sys
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from rate.credentials import without_credentials
from rate.data.digests import SetDigest, sample_digest
from rate.data.formats.manifest_blocks import read_rows
from rate.data.formats.manifest_files import CORNERS, Problem, Raw, parse_json, short
from rate.data.formats.raw_block import Row
from rate.data.mask_table import with_mask_values
from rate.data.questions import question_of
from rate.data.storage.location import Folder
from rate.errors import DataError
from rate.reading import USUAL, Reading
from rate.types import Box, Question, Sample, Stamp

SHOWN_PROBLEMS = 20
_LONGEST = 10**20  # largest whole number that is accepted as a text
_REGIONS = ("mask", "boxes", "x0, y0, x1, y1")


@dataclass(frozen=True, slots=True)
class Manifest:
    """The samples to evaluate, in the order of the file."""

    path: Path  # absolute
    samples: tuple[Sample, ...]
    notices: tuple[str, ...] = ()  # notices for the user, one sentence each
    roots: tuple[Path, ...] = ()  # further folders in which its files may lie

    def digest(self) -> str:
        """Compute the sha256, hex, over each sample's id, label, image, region, group and cluster, in any order of
        rows.

        Paths count as written, relative to the manifest, so the set may move. The pixels are not read.
        """
        digest, folder = SetDigest(), Folder(self.path.parent, self.roots)
        for sample in self.samples:
            digest.add(sample_digest(sample, folder))
        return digest.hexdigest()


@dataclass(frozen=True, slots=True)
class ParsedRow:
    """One row of a manifest after validation: a sample, or its problems."""

    row: int  # counts from 1
    sample: Sample | None
    split: str | None
    problems: tuple[Problem, ...]


def read_manifest(path: Path, *, split: str | None = None, reading: Reading = USUAL) -> Manifest:
    """Read and validate a whole manifest before any work; images and masks need not exist yet.

    Args:
        path: .csv, .jsonl or .parquet.
        split: use the rows of this split; None = all rows.
        reading: where files may lie, and what the values of masks mean.

    Raises:
        DataError: the file or a row of it is wrong (each is named), or ``split`` has no rows.
        ConfigError: a word of ``reading`` is about other sets.
    """
    reading.refuse_tables(path)
    samples: list[Sample] = []
    problems: list[Problem] = []
    splits: Counter[str | None] = Counter()
    for parsed in without_duplicates(
        with_mask_values(parse_rows(path, Folder(path.parent, reading.roots)), str(path), reading)
    ):
        problems.extend(parsed.problems)
        splits[parsed.split] += 1
        if parsed.sample is not None and split in (None, parsed.split):
            samples.append(parsed.sample)
    if problems:
        raise DataError(refusal(path, problems))
    check_split(path, splits, split)
    return Manifest(path.absolute(), tuple(samples), notices_of(path, splits, split), reading.roots)


def parse_rows(path: Path, folder: Folder | None = None) -> Iterator[ParsedRow]:
    """Yield every row of the file, valid or not; rows are validated independently.

    ``folder`` is where its locations start, and may lead; None = the folder of the file.

    Raises:
        DataError: the file as a whole cannot be read, lacks a column, or has no rows.
    """
    folder, row = folder or Folder(path.parent), 0
    for item in read_rows(path):
        parsed = parse_row(item, folder)
        row = parsed.row
        yield parsed
    require_rows(path, row)


def parse_row(row: Row, folder: Folder) -> ParsedRow:
    """Validate a row of a manifest file."""
    if isinstance(row, Problem):
        return ParsedRow(row.row, None, None, (row,))
    return sample_from_row(row[1], row[0], folder)


def require_rows(path: Path, rows: int) -> None:
    """Refuse a manifest without rows.

    Raises:
        DataError: ``rows`` is 0.
    """
    if not rows:
        raise DataError(f"the manifest {path} has no rows; each row names an image, its label and its region")


def without_duplicates(rows: Iterable[ParsedRow]) -> Iterator[ParsedRow]:
    """Yield the rows; a row with the id of an earlier row is a problem. All ids are kept in memory."""
    first: dict[str, int] = {}
    for parsed in rows:
        sample = parsed.sample
        if sample is not None and first.setdefault(sample.id, parsed.row) != parsed.row:
            problem = duplicate_id(sample, first[sample.id])
            yield ParsedRow(parsed.row, None, parsed.split, (problem,))
        else:
            yield parsed


def sample_from_row(raw: Raw, row: int, folder: Folder) -> ParsedRow:
    """Validate one raw row; all of its problems are named."""
    cells = _Cells(raw, row)
    written = cells.text("image", required=True)
    cells.id = _identifier(cells.text("id") or written)
    image, image_stamp = cells.location("image", written, folder)
    label = cells.label()
    question = cells.question(label)
    mask, mask_stamp, boxes = cells.region(folder)
    split, group, cluster = cells.text("split"), cells.text("group"), cells.text("cluster")
    if cells.problems or cells.id is None or image is None or label is None:
        return ParsedRow(row, None, split, tuple(cells.problems))
    group, cluster = group and sys.intern(group), cluster and sys.intern(cluster)
    stamps = image_stamp, mask_stamp
    sample = Sample(cells.id, sys.intern(label), image, boxes, mask, group, cluster, row, *stamps, question=question)
    return ParsedRow(row, sample, split, ())


def check_split(path: Path | str, splits: Counter[str | None], split: str | None) -> None:
    """Refuse a split without rows.

    Args:
        path: the source, for the message.
        splits: the number of rows of each split; None = rows without a split.
        split: the requested split.

    Raises:
        DataError: names the existing splits.
    """
    if split is None or splits[split]:
        return
    named = _counted(splits)
    cure = f"it has {named}" if named else "none of its rows names a split: leave --split out to use them all"
    raise DataError(f"{path} has no split {split!r}; {cure}")


@dataclass(slots=True)
class _Cells:
    """The cells of one raw row, with the problems of the reading."""

    raw: Raw
    row: int
    id: str | None = None
    problems: list[Problem] = field(default_factory=list)

    def refuse(self, column: str | None, message: str) -> None:
        """Add a problem with a column, or with the whole row."""
        self.problems.append(Problem(self.row, self.id, column, message))

    def has(self, column: str) -> bool:
        """Tell whether the cell has more than blanks."""
        value = self.raw.get(column)
        return value is not None and not (isinstance(value, str) and (not value or value.isspace()))

    def text(self, column: str, *, required: bool = False) -> str | None:
        """Return a text, or a whole number as text; None = no value, or refused."""
        value = self.raw.get(column)
        if value is None and not required:
            return None
        if type(value) is str and value.isascii() and not value.isspace() and value:
            return value
        if not self.has(column):
            if required:
                self.refuse(column, "is missing")
            return None
        if isinstance(value, int) and not isinstance(value, bool) and abs(value) < _LONGEST:
            return str(value)
        if not isinstance(value, str):
            self.refuse(column, f"must be a text, got {short(value)}")
            return None
        if not _is_unicode(value):
            self.refuse(column, f"is not valid Unicode text: {short(value)}")
            return None
        return value

    def label(self) -> str | None:
        """Return the name of the class, or the caption in its place, as one line; None = refused."""
        if not self.has("label") and self.has("caption"):
            return " ".join((self.text("caption") or "").split()) or None
        if isinstance(self.raw.get("label"), int):  # true and false are ints too
            self.refuse("label", f"must be the name of a class, got {short(self.raw['label'])}; write it as a text")
            return None
        return self.text("label", required=True)

    def question(self, label: str | None) -> Question | None:
        """Return what the row asks; None = nothing, or refused."""
        try:
            return question_of(self.raw, label)
        except ValueError as error:
            self.refuse(*error.args)
            return None

    def location(self, column: str, written: str | None, folder: Folder) -> tuple[str | None, Stamp | None]:
        """Return the place of a file with its stamp; twice None = no file, or refused."""
        if written is None:
            return None, None
        try:
            return folder.find(written)
        except ValueError as error:
            self.refuse(column, f"{short(written)} {error}")
            return None, None

    def region(self, folder: Folder) -> tuple[str | None, Stamp | None, tuple[Box, ...] | None]:
        """Return (mask, its stamp, None) or (None, None, boxes); three times None = refused."""
        corners = not self.raw.keys().isdisjoint(CORNERS) and any(map(self.has, CORNERS))
        present = (self.has("mask"), self.has("boxes"), corners)
        if sum(present) != 1:
            given = " and ".join(name for name, there in zip(_REGIONS, present, strict=True) if there)
            self.refuse(
                None, f"needs one region, got {given or 'none'}; give one of mask, boxes ([] = empty), x0, y0, x1, y1"
            )
            return None, None, None
        if present[0]:
            return *self.location("mask", self.text("mask"), folder), None
        try:
            if present[1]:
                return None, None, _boxes(self.raw["boxes"])
            return None, None, (_box([self.raw.get(name) for name in CORNERS]),)
        except ValueError as error:
            self.refuse("boxes" if present[1] else None, str(error))
            return None, None, None


def _boxes(value: object) -> tuple[Box, ...]:
    """Parse a list of boxes, or its JSON.

    Raises:
        ValueError: reads on from the column's name.
    """
    if isinstance(value, str):
        try:
            value = parse_json(value)
        except ValueError as error:
            raise ValueError(f"is not JSON ({error}): {short(value)}; write [[x0, y0, x1, y1], ...]") from error
    if not isinstance(value, list) or not all(isinstance(corners, list) for corners in value):
        raise ValueError(f"must be a list of boxes [[x0, y0, x1, y1], ...], got {short(value)}")
    return tuple(_box(corners) for corners in value)


def _box(corners: Sequence[object]) -> Box:
    numbers = [corner + 0.0 if type(corner) is float else _number(corner) for corner in corners]
    if len(numbers) != 4 or not all(map(math.isfinite, numbers)):
        raise ValueError(f"must give 4 finite numbers x0, y0, x1, y1, got {short(list(corners))}")
    x0, y0, x1, y1 = numbers
    if x1 < x0 or y1 < y0:
        raise ValueError(
            f"must have x0 <= x1 and y0 <= y1, got {short(numbers)}; boxes are corners, not x, y, width, height"
        )
    return x0, y0, x1, y1


def _number(value: object) -> float:
    """Return the number, or NaN for any other value. Minus zero becomes zero: equal boxes have equal digests."""
    if isinstance(value, bool) or not isinstance(value, (int, float, str)):
        return math.nan
    try:
        return float(value) + 0.0
    except (ValueError, OverflowError):
        return math.nan


def _identifier(text: str | None) -> str | None:
    """Return the id, which is stored and seeds the masks; a URL is stored without its signature."""
    return without_credentials(text) if text is not None and "://" in text else text


def _is_unicode(text: str) -> bool:
    if text.isascii():
        return True
    try:
        text.encode("utf-8")
    except UnicodeEncodeError:
        return False
    return True


def duplicate_id(sample: Sample, first: int) -> Problem:
    """Return the problem of a sample whose id row ``first`` has."""
    cure = "put all boxes of an image in one row, or give an `id` column"
    return Problem(sample.row, sample.id, "id", f"{short(sample.id)} is already the id of row {first}; {cure}")


def refusal(path: Path | str, problems: Sequence[Problem]) -> str:
    """Return the message that names the problems of a source, the first of them in full."""
    shown = [f"  {problem}" for problem in problems[:SHOWN_PROBLEMS]]
    if len(problems) > SHOWN_PROBLEMS:
        shown.append(f"  and {len(problems) - SHOWN_PROBLEMS} more; `rate data check {path}` names them all")
    count = "1 problem" if len(problems) == 1 else f"{len(problems)} problems"
    return "\n".join([f"the manifest {path} cannot be used, {count}:", *shown])


def notices_of(path: Path | str, splits: Counter[str | None], split: str | None) -> tuple[str, ...]:
    """Return a notice if rows of several splits are used without a choice."""
    if split is not None or len(splits) < 2:
        return ()
    return (f"{path} has {_counted(splits)}; all {splits.total()} rows are used: --split NAME takes one of them",)


def _counted(splits: Counter[str | None]) -> str:
    """Format `the splits test (180 rows), train (270 rows)`, or an empty text if no row names a split."""
    named = sorted((name, count) for name, count in splits.items() if name is not None)
    return f"the splits {', '.join(f'{name} ({count} rows)' for name, count in named)}" if named else ""
