"""What the columns of a table with pictures hold: by their usual names, by the features that `datasets` wrote into the
schema, or as the user says.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from rate.data.formats.manifest_files import CORNERS, QUESTION
from rate.data.formats.object_rows import ObjectRows
from rate.data.formats.row_groups import holds_pictures
from rate.errors import DataError
from rate.reading import Reading

_TEXTS = ("id", *QUESTION, "split", "group", "cluster")


@dataclass(frozen=True, slots=True)
class TableColumns:
    """The columns of a table; a field of a column is named behind a dot, as in `objects.bbox`."""

    image: str
    label: str | None  # None = each class among the objects of an image is a sample, unless it has a caption
    caption: str | None  # in the place of a label
    mask: str | None
    boxes: str | None
    category: str | None  # the class of each box
    texts: Mapping[str, str]  # id, question, options, split, group and cluster, as far as they are there
    corners: Sequence[str]  # x0, y0, x1 and y1, as far as they are there
    of_datasets: bool  # whether the boxes may be corners, or a corner with width and height
    label_names: tuple[str, ...]  # of numbered labels
    category_names: tuple[str, ...]  # of numbered categories

    def rows(self, has_size: bool | None) -> ObjectRows:
        """Say what the rows have; ``has_size`` is whether boxes that may be either are x, y, width, height."""
        form = has_size if self.of_datasets else None
        return ObjectRows(
            self.label, self.boxes, self.category, form, self.label_names, self.category_names, self.caption
        )

    def read(self) -> list[str]:
        """List the columns to read, without pictures."""
        named = (self.label, self.caption, self.boxes, self.category, *self.texts.values(), *self.corners)
        return list(dict.fromkeys(first_of(name) for name in named if name is not None))


def first_of(name: str) -> str:
    """Return the column of a name such as `objects.bbox`."""
    return name.partition(".")[0]


def table_columns(location: str, schema: Any, reading: Reading) -> TableColumns:
    """Find the columns of a table.

    Args:
        location: the file, for messages.
        schema: its Arrow schema.
        reading: the words of the user, which come first.

    Raises:
        DataError: a column is missing, holds something else, or several columns could be meant.
    """
    return _NamedColumns(location, schema, reading).columns()


class _NamedColumns:
    def __init__(self, location: str, schema: Any, reading: Reading) -> None:
        self.location, self.schema, self.reading = location, schema, reading
        self.said: Mapping[str, str] = dict(reading.columns) if isinstance(reading.columns, Mapping) else {}
        self.features = _features(schema)
        for meaning, name in self.said.items():
            if first_of(name) not in schema.names or not self._has(name):
                raise self._wrong(f"--columns {meaning}={name}: there is no such column")

    def columns(self) -> TableColumns:
        image, mask = self._image(), self._mask()
        boxes, of_datasets = self._boxes()
        category = self._category(boxes)
        caption = self._caption(category)
        label = self._label(category) if caption is None else None
        texts = {name: self.said.get(name, name) for name in _TEXTS if self._has(self.said.get(name, name))}
        corners = [name for name in CORNERS if name in self.schema.names]
        if boxes is None and mask is None and not corners:
            raise self._wrong("no column gives the region: mask, boxes, objects.bbox or x0, y0, x1, y1")
        names = self._names(label, is_list=False), self._names(category, is_list=True)
        return TableColumns(image, label, caption, mask, boxes, category, texts, corners, of_datasets, *names)

    def _image(self) -> str:
        pictures = [name for name in self.schema.names if holds_pictures(self.schema, name)]
        named = self.said.get("image") or ("image" if "image" in self.schema.names else None)
        if named is None:
            others = [name for name in pictures if name not in ("mask", self.said.get("mask"))]
            if len(others) > 1:
                raise self._wrong(f"{' and '.join(others)} hold pictures: say which with --columns image=..., mask=...")
            named = others[0] if others else "image"
        if named not in pictures:
            raise self._wrong(f"no column `{named}` holds pictures (binary, or a struct with `bytes`)")
        return named

    def _mask(self) -> str | None:
        named = self.said.get("mask") or ("mask" if "mask" in self.schema.names else None)
        if named is not None and not holds_pictures(self.schema, named):
            raise self._wrong(f"`{named}` must hold pictures as `image` does, got {self.schema.field(named).type}")
        return named

    def _boxes(self) -> tuple[str | None, bool]:
        if "boxes" in self.said:
            return self.said["boxes"], True
        if "boxes" in self.schema.names:
            return "boxes", self.reading.box_format is not None
        return ("objects.bbox", True) if self._has("objects.bbox") else (None, False)

    def _category(self, boxes: str | None) -> str | None:
        if "category" in self.said:
            return self.said["category"]
        if boxes is None or "." not in boxes:
            return None
        column = first_of(boxes)
        if self._has(f"{column}.category"):
            return f"{column}.category"
        fields = [name for name in self._fields(column) if class_names(_field(self.features.get(column), name))]
        return f"{column}.{fields[0]}" if len(fields) == 1 else None

    def _caption(self, category: str | None) -> str | None:
        """Return the column of captions, if that is said, or there is neither a label nor objects with classes."""
        if "caption" in self.said or "label" in self.said:
            return self.said.get("caption")
        labelled = "label" in self.schema.names or any(map(is_class_label, self.features.values()))
        return None if labelled or category is not None or "caption" not in self.schema.names else "caption"

    def _label(self, category: str | None) -> str | None:
        named = self.said.get("label") or ("label" if "label" in self.schema.names else None)
        if named is None:
            classes = [name for name, feature in self.features.items() if is_class_label(feature)]
            if len(classes) > 1:
                raise self._wrong(f"{' and '.join(classes)} could be the label: say which with --columns label=...")
            if not classes and category is None:
                raise self._wrong("the column label is missing; name it with --columns label=...")
            named = classes[0] if classes else None
        if named is not None and holds_pictures(self.schema, named):
            raise self._wrong(f"`{named}` holds pictures and no class: say --columns label=...,mask={named}")
        return named

    def _names(self, column: str | None, *, is_list: bool) -> tuple[str, ...]:
        """Return the names of the numbers in a column, which has one for each object if it ``is_list``.

        Raises:
            DataError: nothing names them.
        """
        import pyarrow.types as kinds

        if column is None:
            return ()
        texts = kinds.is_string, kinds.is_large_string, kinds.is_string_view, kinds.is_dictionary, kinds.is_null
        first, _, field = column.partition(".")
        feature = self.features.get(first)
        names = self.reading.names or class_names(_field(feature, field) if field else feature)
        kind = _type_of(self.schema, column)
        kind = _innermost(kind) if is_list else kind
        if not any(is_one(kind) for is_one in (kinds.is_integer, *texts)):
            raise self._wrong(f"`{column}` must hold names or numbers of classes, got {kind}")
        if not names and kinds.is_integer(kind):
            raise self._wrong(
                f"`{column}` holds numbers and the schema does not name them: name them with --label-names FILE, or "
                "write names or a ClassLabel feature"
            )
        return names

    def _has(self, name: str) -> bool:
        column, _, field = name.partition(".")
        return column in self.schema.names and (not field or field in self._fields(column))

    def _fields(self, column: str) -> Iterator[str]:
        kind = _innermost(self.schema.field(column).type)
        return (kind.field(k).name for k in range(kind.num_fields))

    def _wrong(self, what: str) -> DataError:
        return DataError(f"{self.location}: {what}; the file has: {', '.join(self.schema.names)}")


def _type_of(schema: Any, name: str) -> Any:
    column, _, field = name.partition(".")
    kind = schema.field(column).type
    return _innermost(kind).field(field).type if field else kind


def _innermost(kind: Any) -> Any:
    """Return the type of the values of lists."""
    import pyarrow.types as kinds

    while kinds.is_list(kind) or kinds.is_large_list(kind) or kinds.is_fixed_size_list(kind):
        kind = kind.value_type
    return kind


def _features(schema: Any) -> dict[str, Any]:
    """Return the features that `datasets` wrote into the schema, or an empty mapping."""
    try:
        features = json.loads((schema.metadata or {}).get(b"huggingface", b"{}"))["info"]["features"]
    except (ValueError, RecursionError, LookupError, TypeError):
        return {}
    return features if isinstance(features, dict) else {}


def _field(feature: object, name: str) -> object:
    """Return the feature of a field, below lists of any kind."""
    for _ in range(8):
        if isinstance(feature, list) and feature:
            feature = feature[0]
        elif isinstance(feature, dict) and isinstance(feature.get("_type"), str) and "feature" in feature:
            feature = feature["feature"]
    return feature.get(name) if isinstance(feature, dict) else None


def is_class_label(feature: object) -> bool:
    """Tell whether a feature is a ClassLabel itself."""
    return isinstance(feature, dict) and feature.get("_type") == "ClassLabel"


def class_names(feature: object) -> tuple[str, ...]:
    """Return the names of the first ClassLabel in a feature at any depth; empty = no names."""
    if isinstance(feature, dict) and is_class_label(feature) and isinstance(feature.get("names"), list):
        return tuple(map(str, feature["names"]))
    inner = feature.values() if isinstance(feature, dict) else feature if isinstance(feature, list) else ()
    return next((names for names in map(class_names, inner) if names), ())
