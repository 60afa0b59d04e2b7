"""What the values of a set's masks mean: by the side file of the set, by words of the user, or both.

The side file of `set.csv` is `set.masks.json`, that of shards is `masks.json` in their folder, on the disk or remote.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import replace
from itertools import chain
from pathlib import Path, PurePath
from typing import TYPE_CHECKING, Annotated, Literal

from msgspec import Meta

from rate.data.formats.manifest_files import Problem
from rate.data.images.masks import IGNORED, OBJECT
from rate.data.set_faults import suggestion
from rate.data.storage.objects import url_of
from rate.data.storage.remote_cache import fetched_as
from rate.errors import DataError
from rate.files import read_text
from rate.reading import LARGEST, Reading, ranges
from rate.records import Document, read, write
from rate.types import MaskValues, Sample

if TYPE_CHECKING:
    from rate.data.manifest import ParsedRow

_MANIFESTS = (".csv", ".jsonl", ".parquet")
_PATTERN = re.compile(r"[*?\[{]")

Values = Annotated[str | int, Meta(description="such as 1 or 1,3-5")]


class MaskDocument(Document, frozen=True, omit_defaults=True, tag="rate.masks/1"):
    """What the values of the masks of a set mean."""

    values: Annotated[Values | None, Meta(description="the object; absent: all but 0 and the ignored ones")] = None
    ignore: Annotated[Values | None, Meta(description="neither object nor rest")] = None
    classes: Annotated[dict[str, Values] | None, Meta(description="the object of each class")] = None
    instances: Literal["union", "largest"] = "union"


OF_MADE_MASKS = MaskDocument(values=OBJECT, ignore=IGNORED)
"""The document of masks that `rate` writes, where some of their pixels are ignored."""


class MaskTable:
    """A document with its values as numbers."""

    def __init__(self, document: MaskDocument, source: str) -> None:
        """Parse ``document``; messages call it ``source``.

        Raises:
            ConfigError: values of it have another form.
        """
        self.document, self.source = document, source
        chosen = None if document.values is None else ranges(str(document.values), f"{source}: values")
        ignored = () if document.ignore is None else ranges(str(document.ignore), f"{source}: ignore")
        self.of_all = MaskValues(chosen, ignored, document.instances == LARGEST)
        self.of_classes = {
            name: replace(self.of_all, object=ranges(str(values), f"{source}: {name}"))
            for name, values in (document.classes or {}).items()
        }

    def applied(self, sample: Sample) -> Sample | str:
        """Return the sample with the meaning of its mask, or why it has none."""
        if sample.mask is None:
            return replace(sample, values=self.of_all) if self.of_all.largest else sample
        if self.document.classes is None:
            return replace(sample, values=self.of_all)
        if sample.label not in self.of_classes:
            meant = suggestion(sample.label, tuple(self.of_classes))
            return f"has no values for the class {sample.label!r} in {self.source}{meant}; add a line for it"
        return replace(sample, values=self.of_classes[sample.label])


def with_mask_values(rows: Iterator[ParsedRow], data: str, reading: Reading) -> Iterator[ParsedRow]:
    """Yield the rows with what the values of their masks mean, where a side file or the user says it.

    A side file is read after the first row, so that a set that cannot be read is named by its own name.

    Raises:
        DataError: the side file or the table of classes cannot be read.
        ConfigError: one of them does not give values.
    """
    for first in rows:
        table = mask_table(data, reading)
        yield from chain([first], rows) if table is None else _applied(chain([first], rows), table)


def _applied(rows: Iterator[ParsedRow], table: MaskTable) -> Iterator[ParsedRow]:
    for parsed in rows:
        if (sample := parsed.sample) is None:
            yield parsed
        elif isinstance(made := table.applied(sample), str):
            yield replace(parsed, sample=None, problems=(Problem(parsed.row, sample.id, "mask", made),))
        else:
            yield replace(parsed, sample=made)


def mask_table(data: str | None, reading: Reading) -> MaskTable | None:
    """Return what the side file of a set says, with the words of the user before it; None = nothing is said.

    ``data`` of None is an image of no set.

    Raises:
        DataError: the side file or the table of classes cannot be read, or the file has both.
        ConfigError: one of them does not give values.
    """
    place = None if data is None else side_file(data)
    document, source = MaskDocument(), "--mask-values"
    if place is not None and (stated := _read_side_file(place)) is not None:
        document, source = stated, place
    classes = reading.mask_classes
    if classes is not None:
        listed = dict(classes) if isinstance(classes, Mapping) else read_classes(classes)
        document, source = _with(document, values=None, classes=listed), "--mask-classes"
    if reading.mask_values is not None:
        document = _with(document, values=reading.mask_values, classes=None)
    if reading.mask_ignore is not None:
        document = _with(document, ignore=reading.mask_ignore)
    if reading.instances is not None:
        document = _with(document, instances=reading.instances)
    return None if document == MaskDocument() else MaskTable(document, source)


def _read_side_file(place: str) -> MaskDocument | None:
    """Read a side file; None = there is none, or the storage does not say whether there is."""
    path: Path | None = Path(place)
    if "://" in place:
        with suppress(PermissionError):  # S3's answer for what is not there, to those who may not list the bucket
            path = _fetched(place, ".json")
    if path is None or not path.is_file():
        return None
    cure = 'expected such as {"schema": "rate.masks/1", "values": "1,3-5", "ignore": 255}'
    try:
        document = read(path, MaskDocument, DataError, cure)
    except DataError as error:
        raise DataError(str(error).replace(str(path), place)) from error
    if document.values is not None and document.classes is not None:
        raise DataError(f"{place} has values and classes, which both say what the object is; keep one of them")
    return document


def _fetched(url: str, suffix: str) -> Path | None:
    """Return the local copy of a file; None = there is none."""
    try:
        return fetched_as(url, suffix)
    except FileNotFoundError:
        return None
    except PermissionError:
        raise
    except (OSError, ImportError, ValueError) as error:
        raise DataError(f"{url} cannot be fetched: {error}") from error


def _with(document: MaskDocument, **changed: object) -> MaskDocument:
    kept = {name: getattr(document, name) for name in document.__struct_fields__}
    return MaskDocument(**(kept | changed))


def recorded(data: str, reading: Reading) -> Reading:
    """Return a reading that says by itself what a side file, a table of classes and a file of names say now."""
    reading = replace(reading, label_names=reading.names)
    table = mask_table(data, reading)
    if table is None:
        return reading
    said = table.document
    return replace(
        reading,
        mask_values=said.values,
        mask_ignore=said.ignore,
        mask_classes=said.classes,
        instances=said.instances,
    )


def side_file(data: str) -> str | None:
    """Return the place of the side file of a set, which need not exist, a path or a URL; None = it can have none.

    Of a remote set that is a manifest or shards in one folder; a signed URL, or one inside of another, is of one file.
    """
    remote = "://" in data
    folder, name = data.rsplit("/", 1) if remote else (str(Path(data).parent), Path(data).name)
    shards = PurePath(name).suffix == ".tar" or _PATTERN.search(name)
    if remote and ("::" in data or (data.startswith("http") and "?" in name) or _PATTERN.search(folder)):
        return None
    if remote and not shards and PurePath(name).suffix not in _MANIFESTS:
        return None
    return f"{folder}/masks.json" if shards else f"{folder}/{PurePath(name).stem}.masks.json"


def write_side_file(data: Path, document: MaskDocument) -> None:
    """Write the side file of a set."""
    place = side_file(str(data))
    assert place is not None, "a set on the local disk"
    write(Path(place), document)


def read_classes(path: str | Path) -> dict[str, str | int]:
    """Read lines `VALUES CLASS`, such as `8 cat`; a class on several lines has the values of all of them.

    Raises:
        DataError: the file cannot be read, or a line has another form.
    """
    try:
        local = Path(path) if (url := url_of(path)) is None else fetched_as(url, ".txt")
        lines = [line.strip() for line in read_text(local).splitlines() if line.strip()]
    except (OSError, ImportError, ValueError) as error:
        raise DataError(f"--mask-classes {path} cannot be read: {error}; expected lines such as `8 cat`") from error
    classes: dict[str, str | int] = {}
    for line in lines:
        values, _, name = line.replace("\t", " ").partition(" ")
        if not name.strip() or not values[0].isdigit():
            raise DataError(f"--mask-classes {path}: the line {line!r} is not `VALUES CLASS`, such as `8 cat`")
        before = classes.get(name.strip())
        classes[name.strip()] = values if before is None else f"{before},{values}"
    if not classes:
        raise DataError(f"--mask-classes {path} has no line; expected lines such as `8 cat`")
    return classes
