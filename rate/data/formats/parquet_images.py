"""Parquet files with embedded images, as Hugging Face `datasets` writes them; rows are read without the images."""

from __future__ import annotations

import hashlib
import itertools
import json
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from rate.credentials import without_credentials
from rate.data.formats.manifest_files import CORNERS, Problem, Raw
from rate.data.formats.row_groups import (
    GROUP_BYTES,
    check_group,
    chunk_bytes,
    has_paths,
    holds_pictures,
    leaf_of,
    parquet_place,
)
from rate.data.manifest import ParsedRow, sample_from_row
from rate.data.storage.container import container_stamp, regular_file
from rate.data.storage.location import Folder, InPlace
from rate.errors import DataError, SampleError

_TEXTS = ("id", "label", "boxes", *CORNERS, "split", "group", "cluster")
_PATH = "image.path"
_BATCH = 1024  # rows


def is_image_table(location: str) -> bool:
    """Tell whether a Parquet file holds images in `image`, instead of the paths of a manifest.

    Raises:
        DataError: the file cannot be opened.
    """
    with _open(location)[0] as file:
        return holds_pictures(file.schema_arrow, "image")


def parquet_rows(files: Sequence[str], group_bytes: int = GROUP_BYTES) -> Iterator[ParsedRow]:
    """Yield the samples of Parquet files, numbered through all of them; only labels and boxes are read.

    `image` is binary or {bytes, path}. `label` is a text, or a number that the schema's `huggingface` metadata names.
    The region of a row is its `boxes` ([[x0, y0, x1, y1], ...]), its x0, y0, x1, y1, or its `objects.bbox`
    ([[x, y, width, height], ...]; of the objects whose `category` is the label, if there are categories); a row
    without boxes has its region in `mask`, of the same form as `image`. Optional `id`, `split`, `group`, `cluster`.
    Without `id` a sample's id is the `path` in its `image`, if every row of the set has another one, else the file's
    name and the row's number in it.

    Args:
        files: absolute paths or URLs.
        group_bytes: the most text of a row group that is held, bytes.

    Raises:
        DataError: a file cannot be read, lacks a column, or refers to images outside the file.
    """
    names = _short_names(files)
    by_path = _have_own_paths(files, group_bytes)
    row = 0
    for location, name in zip(files, names, strict=True):
        opened, place = _open(location)
        with opened as file:
            table = _Table(location, name, file, place, group_bytes, by_path)
            try:
                for parsed in table.rows(row):
                    row = parsed.row
                    yield parsed
            except (OSError, ValueError, SampleError) as error:  # includes Arrow's exceptions
                row += 1
                lost = "this row and those after it in the file are lost: write it anew"
                yield ParsedRow(row, None, None, (Problem(row, None, None, f"{location}: {error}; {lost}"),))


class _Table:
    def __init__(self, location: str, name: str, file: Any, place: Folder, group_bytes: int, by_path: bool) -> None:
        self.by_path = by_path
        self.location, self.name, self.file, self.place = location, name, file, place
        self.group_bytes = group_bytes
        schema = file.schema_arrow
        self.has_mask = "mask" in schema.names
        _check_columns(location, schema, self.has_mask)
        features = _features(schema)
        self.classes = _class_names(features.get("label"))
        self.categories = _class_names(features.get("objects"))
        self.columns = (*_columns(schema), *([_PATH] if by_path else []))
        _check_label(location, schema, self.classes)

    def rows(self, before: int) -> Iterator[ParsedRow]:
        """Yield every row; ``before`` rows came from other files."""
        number = 0
        for group in range(self.file.metadata.num_row_groups):
            self._check_group(group)
            batches = self.file.iter_batches(batch_size=_BATCH, row_groups=[group], columns=list(self.columns))
            cells = (cells for batch in batches for cells in batch.to_pylist())
            for within, raw in enumerate(cells):
                number += 1
                yield sample_from_row(self._raw(raw, number, group, within), before + number, self.place)

    def _check_group(self, group: int) -> None:
        size = chunk_bytes(self.file.metadata, group, self.columns)
        check_group(size, self.location, group, "the text", self.group_bytes)
        leaf = leaf_of(self.file.schema_arrow, "image")
        chunks = self.file.metadata.row_group(group)
        for index in range(chunks.num_columns):
            chunk = chunks.column(index)
            nulls = chunk.statistics.null_count if chunk.path_in_schema == leaf and chunk.statistics else None
            if nulls and nulls == chunks.num_rows:
                cure = "embed them when writing, or make a manifest of the files"
                raise DataError(f"{self.location}: `image` names files and does not hold their bytes; {cure}")

    def _raw(self, cells: Raw, number: int, group: int, within: int) -> Raw:
        raw: Raw = {name: cells[name] for name in _TEXTS if name in cells}
        if raw.get("id") is None:
            image = cells.get("image") if self.by_path else None
            raw["id"] = image["path"] if isinstance(image, dict) else f"{self.name}:{number}"
        raw["label"] = _named(raw["label"], self.classes)
        if cells.get("objects") is not None:
            raw["boxes"] = _object_boxes(cells["objects"], raw["label"], self.categories)
        raw["image"] = parquet_place(group, within, "image", self.location)
        if self.has_mask and all(raw.get(name) is None for name in ("boxes", *CORNERS)):
            raw["mask"] = parquet_place(group, within, "mask", self.location)
        return raw


def _open(location: str) -> tuple[Any, Folder]:
    """Open the file with the folder of its locations; the stamp is taken before anything is read."""
    import pyarrow as pa
    from pyarrow import parquet

    try:
        stamp = container_stamp(location)
        return parquet.ParquetFile(regular_file(location)[0]), InPlace(stamp)
    except FileNotFoundError as error:
        raise DataError(f"{location} does not exist") from error
    except (OSError, ImportError, ValueError, pa.ArrowException) as error:
        raise DataError(f"{location} cannot be read as a Parquet file: {error}") from error


def _have_own_paths(files: Sequence[str], group_bytes: int) -> bool:
    """Tell whether every image of the files has a `path` of its own, in 8 bytes for each; not if rows have an `id`."""
    digests = bytearray()
    for location in files:
        try:
            opened, _ = _open(location)
            with opened as file:
                if "id" in file.schema_arrow.names or not has_paths(file.schema_arrow, "image"):
                    return False
                sizes = (chunk_bytes(file.metadata, k, (_PATH,)) for k in range(file.metadata.num_row_groups))
                if max(sizes, default=0) > group_bytes:
                    return False
                for batch in file.iter_batches(batch_size=_BATCH, columns=[_PATH]):
                    for cell in batch.column(0).to_pylist():
                        if cell is None or not cell["path"]:
                            return False
                        digests += hashlib.blake2b(cell["path"].encode(), digest_size=8).digest()
        except (OSError, ValueError, DataError):  # includes Arrow's exceptions; the reading of the rows reports it
            return False
    return len(np.unique(np.frombuffer(digests, np.uint64))) == len(digests) // 8


def _short_names(files: Sequence[str]) -> list[str]:
    """Return unique short names of the files that stay the same when all files move together."""
    parts = [without_credentials(path).split("/") if "://" in path else path.split("/") for path in files]
    levels = zip(*(own[:-1] for own in parts), strict=False)
    shared = sum(1 for _ in itertools.takewhile(lambda level: len(set(level)) == 1, levels))
    return ["/".join(own[shared:]) for own in parts]


def _check_columns(location: str, schema: Any, has_mask: bool) -> None:
    present = f"the file has: {', '.join(schema.names)}"
    if not holds_pictures(schema, "image"):
        raise DataError(f"{location}: no column `image` holds pictures (binary, or a struct with `bytes`); {present}")
    if has_mask and not holds_pictures(schema, "mask"):
        raise DataError(f"{location}: `mask` must hold pictures as `image` does, got {schema.field('mask').type}")
    if "label" not in schema.names:
        raise DataError(f"{location}: the column label is missing; {present}")
    if not has_mask and not {"boxes", "objects", *CORNERS} & set(schema.names):
        raise DataError(
            f"{location}: no column gives the region: mask, boxes, objects.bbox or x0, y0, x1, y1; {present}"
        )


def _check_label(location: str, schema: Any, classes: list[str]) -> None:
    import pyarrow.types as kinds

    if kinds.is_integer(schema.field("label").type) and not classes:
        cure = "write names, or a ClassLabel feature in the `huggingface` metadata"
        raise DataError(f"{location}: `label` holds numbers and the schema does not name them; {cure}")


def _columns(schema: Any) -> tuple[str, ...]:
    """List the columns to read, except the images."""
    selected = [name for name in _TEXTS if name in schema.names]
    if "objects" in schema.names and "boxes" not in selected:
        selected.append("objects")
    return tuple(selected)


def _features(schema: Any) -> dict[str, Any]:
    """Return the features that `datasets` wrote into the schema, or an empty mapping."""
    try:
        features = json.loads((schema.metadata or {}).get(b"huggingface", b"{}"))["info"]["features"]
    except (ValueError, RecursionError, LookupError, TypeError):
        return {}
    return features if isinstance(features, dict) else {}


def _class_names(feature: object) -> list[str]:
    """Return the names of the first ClassLabel in a feature at any depth; empty = no names."""
    if isinstance(feature, dict):
        names = feature.get("names")
        if feature.get("_type") == "ClassLabel" and isinstance(names, list):
            return [str(name) for name in names]
    inner = feature.values() if isinstance(feature, dict) else feature if isinstance(feature, list) else ()
    return next((names for names in map(_class_names, inner) if names), [])


def _named(value: object, names: list[str]) -> object:
    """Return the name of a class index; an invalid value is unchanged, and the row is refused later."""
    if isinstance(value, int) and not isinstance(value, bool) and 0 <= value < len(names):
        return names[value]
    return value


def _object_boxes(objects: object, label: object, categories: list[str]) -> object:
    """Convert `objects`, a struct of lists or a list of structs, to corners; an invalid value is unchanged."""
    if isinstance(objects, list):
        keys = {key for one in objects if isinstance(one, dict) for key in one}
        objects = {key: [one.get(key) for one in objects] for key in keys} if keys else {"bbox": []}
    if not isinstance(objects, dict) or not isinstance(boxes := objects.get("bbox"), list):
        return objects
    kinds = objects.get("category")
    if isinstance(kinds, list) and len(kinds) == len(boxes):
        boxes = [box for box, kind in zip(boxes, kinds, strict=True) if _named(kind, categories) == label]
    return [_corners(box) for box in boxes]


def _corners(box: object) -> object:
    if not isinstance(box, list) or len(box) != 4 or not all(isinstance(number, (int, float)) for number in box):
        return box
    x, y, width, height = box
    return [x, y, x + width, y + height]
