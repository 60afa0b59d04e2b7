"""Boxes of a Pascal VOC annotation, the format of ImageNet and Stanford Dogs."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from defusedxml import ElementTree

from rate.errors import SampleError
from rate.files import read_whole
from rate.types import Box

MAX_BYTES = 1 << 20


@dataclass(frozen=True, slots=True)
class Annotation:
    """The objects of one image. The annotation's path identifies the image; `filename` inside is ignored."""

    size: tuple[int, int] | None  # width and height; None = not stated
    objects: tuple[tuple[str, Box], ...]  # name and box


def read_voc(path: Path) -> Annotation:
    """Parse an annotation; entities and document types are refused.

    Corners are used as written with xmax and ymax exclusive, which is at most a pixel off under any counting.

    Raises:
        SampleError: the file is missing, over MAX_BYTES, or not XML of this form.
    """
    try:
        root = ElementTree.fromstring(read_whole(path, MAX_BYTES))
    except Exception as error:  # defusedxml raises ValueError and its own, expat SyntaxError, encodings LookupError
        raise SampleError(f"{path} cannot be read: {type(error).__name__}: {error}") from error
    size = root.find("size")
    sides = None if size is None else (_side(path, size, "width"), _side(path, size, "height"))
    objects = [(_text(path, item, "name"), _box(path, item)) for item in root.iter("object")]
    return Annotation(sides if sides and min(sides) > 0 else None, tuple(objects))


def _box(path: Path, item: Any) -> Box:
    frame = item.find("bndbox")
    if frame is None:
        raise SampleError(f"{path}: an object has no bndbox")
    x0, y0, x1, y1 = (_number(path, frame, name) for name in ("xmin", "ymin", "xmax", "ymax"))
    return x0, y0, x1, y1


def _side(path: Path, item: Any, name: str) -> int:
    text = _text(path, item, name)
    if not text.isdecimal() or len(text) > 9:
        raise SampleError(f"{path}: {name} must be a whole number of pixels, got {text!r}")
    return int(text)


def _number(path: Path, item: Any, name: str) -> float:
    text = _text(path, item, name)
    try:
        return float(text)
    except ValueError as error:
        raise SampleError(f"{path}: {name} must be a number, got {text!r}") from error


def _text(path: Path, item: Any, name: str) -> str:
    text = item.findtext(name)
    if text is None or not text.strip():
        raise SampleError(f"{path}: {name} is missing")
    return str(text).strip()
