"""The samples of a row as other libraries write it: a class by its name or number, and the objects with their boxes."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from rate.data.formats.manifest_files import Problem, Raw
from rate.data.formats.object_boxes import all_corners
from rate.data.manifest import ParsedRow, sample_from_row
from rate.data.storage.location import Folder


@dataclass(frozen=True, slots=True)
class ObjectRows:
    """What the rows of a set have."""

    label: str | None  # None = each class among the objects of a row is a sample, unless it has a caption
    boxes: str | None  # a column, or a field of one, as in `objects.bbox`
    category: str | None  # the class of each box
    has_size: bool | None  # whether boxes are x, y, width, height; None = they are corners as in a manifest
    label_names: Sequence[str] = ()  # of numbered labels
    category_names: Sequence[str] = ()  # of numbered categories
    caption: str | None = None  # in the place of a label

    def samples(self, raw: Raw, cells: Mapping[str, object], row: int, place: Folder) -> Iterator[ParsedRow]:
        """Yield the samples of a row, or its problems.

        Args:
            raw: the columns of a manifest as far as they are known: id, image, mask and others.
            cells: the row, for label and boxes.
            row: its number.
            place: the folder of its locations.
        """
        boxes, kinds = value_of(cells, self.boxes), value_of(cells, self.category)
        if self.has_size is not None and boxes is not None:
            try:
                boxes = all_corners(boxes, self.has_size)
            except ValueError as error:
                yield refused(row, raw, f"{self.boxes} {error}")
                return
        named = None
        if isinstance(kinds, list) and isinstance(boxes, list) and len(kinds) == len(boxes):
            try:
                named = [name_of(kind, self.category_names) for kind in kinds]
            except ValueError as error:
                yield refused(row, raw, f"{self.category} {error}")
                return
        elif self.label is None and self.caption is None and boxes is not None:
            yield refused(row, raw, f"{self.category} must have a class for each box")
            return
        if self.caption is not None:
            yield _sample(raw | {"caption": value_of(cells, self.caption)}, boxes, None, row, place)
            return
        if self.label is not None:
            try:
                label = name_of(value_of(cells, self.label), self.label_names)
            except ValueError as error:
                yield refused(row, raw, f"{self.label} {error}")
                return
            yield _sample(raw | {"label": label}, boxes, named, row, place)
            return
        for label in dict.fromkeys(named or ()):
            cluster = raw["id"] if raw.get("cluster") is None else raw["cluster"]
            own = {"id": f"{raw['id']}:{label}", "label": label, "cluster": cluster}
            yield _sample(raw | own, boxes, named, row, place)


def value_of(cells: Mapping[str, object], name: str | None) -> object:
    """Return the value of a column or of a field of it; of a list of structs it is the list of their values."""
    if name is None or name in cells:
        return None if name is None else cells[name]
    column, _, field = name.partition(".")
    value = cells.get(column)
    if isinstance(value, list):
        return [one.get(field) if isinstance(one, dict) else None for one in value]
    return value.get(field) if isinstance(value, dict) else None


def refused(row: int, raw: Raw, message: str) -> ParsedRow:
    """Return a row with one problem."""
    identifier = raw.get("id")
    return ParsedRow(row, None, None, (Problem(row, None if identifier is None else str(identifier), None, message),))


def _sample(raw: Raw, boxes: object, named: Sequence[object] | None, row: int, place: Folder) -> ParsedRow:
    """Return the sample whose region is the boxes of its label."""
    if named is not None and isinstance(boxes, list):
        boxes = [box for box, kind in zip(boxes, named, strict=True) if kind == raw["label"]]
    if boxes is not None:
        raw["boxes"] = boxes
    return sample_from_row(raw, row, place)


def name_of(value: object, names: Sequence[str]) -> object:
    """Return the name of a class number; of another value itself, and the row may be refused later.

    Raises:
        ValueError: the number has no name; reads on from the column's name.
    """
    if not names or not isinstance(value, int) or isinstance(value, bool):
        return value
    if not 0 <= value < len(names):
        known = f"{len(names)} classes have names, from 0 to {len(names) - 1}"
        raise ValueError(f"holds class {value}, and {known}; --label-names FILE has a line for each class")
    return names[value]
