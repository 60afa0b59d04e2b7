"""The interface of a layout's reader: entries in the order of the set, left-out images with the reason, class names.

ImageNet's names are not part of this package. open_clip's are those of CLIP's zero-shot heads, which the paper's models
use; timm has the order of the synsets. Two of open_clip's names are of two classes each.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import TypeAlias

from rate.data.images.masks import Mask
from rate.data.make.layouts.layout import Layout as Layout
from rate.errors import DataError, MissingExtra, need
from rate.files import read_text
from rate.types import Box

Size: TypeAlias = tuple[int, int]
"""Width and height, pixels."""

Region: TypeAlias = tuple[Box, ...] | Path | Callable[[Size], Mask | tuple[Box, ...]]
"""Boxes, a file of the set that is the mask, or a function that makes either for an image of that size; it may raise
SampleError."""

BROKEN = "have an annotation that cannot be used"
MISSING = "have no annotation"


@dataclass(frozen=True, slots=True)
class Entry:
    """One image of the set with its label and region, in the orientation of the stored pixels."""

    image: Path
    label: str
    region: Region
    split: str | None = None
    cluster: str | None = None
    annotated: Size | None = None  # the image size of the annotation; None = not stated
    mask_name: str | None = None  # name of a mask file that several images share; None = named by the image
    group: str | None = None
    of_several: bool = False  # whether the image has a row for each class in it: its id is then `image:label`


@dataclass(frozen=True, slots=True)
class LeftOut:
    """One image without a row."""

    image: Path
    why: str  # the reason, one of a few; the text continues "12 images "
    detail: str = ""  # the details of this image


def folder_of(root: Path, *names: str) -> Path:
    """Return the first of some folders below ``root`` that exists.

    Raises:
        DataError: none exists; names the expected ones.
    """
    return _first(root, names, "folder", Path.is_dir)


def file_of(root: Path, *names: str) -> Path:
    """Return the first of some files below ``root`` that exists.

    Raises:
        DataError: none exists; names the expected ones.
    """
    return _first(root, names, "file", Path.is_file)


def _first(root: Path, names: tuple[str, ...], kind: str, is_one: Callable[[Path], bool]) -> Path:
    for name in names:
        if is_one(root / name):
            return root / name
    expected = " or ".join(str(root / name) for name in names)
    raise DataError(f"{root} is not laid out as expected: there is no {kind} {expected}")


def below(root: Path, written: str, source: Path) -> Path:
    """Return the file that a list or an annotation names, relative to ``root``.

    Raises:
        DataError: the name is empty, absolute, or leads out by `..`.
    """
    parts = PurePosixPath(written).parts
    if not parts or parts[0] == "/" or ".." in parts or any(mark in written for mark in "\\:\0"):
        raise DataError(f"{source} names the file {written!r}; expected a path below {root}")
    return root.joinpath(*parts)


def text_lines(path: Path) -> list[str]:
    """Return the non-blank lines of a text file.

    Raises:
        DataError: it cannot be read.
    """
    try:
        return [line for line in read_text(path).splitlines() if line.strip()]
    except (OSError, ValueError) as error:
        raise DataError(f"{path} cannot be read: {error}; expected a UTF-8 text file") from error


def class_name(names: Mapping[str, str] | None, key: str, default: str) -> str:
    """Return the name of the class with ``key`` in the layout.

    Args:
        names: the user's names of the classes; None = ``default``.
        key: the class in the layout.
        default: the name without ``names``.

    Raises:
        DataError: the user's names lack this class.
    """
    if names is None:
        return default
    if key not in names:
        raise DataError(f"the class names have no line for {key}; expected `{key} NAME`")
    return names[key]


SYNSET = re.compile(r"n\d{8}")


def read_names(path: Path) -> dict[str, str]:
    """Read the first class name of every line `KEY NAME[, NAME]`, e.g. `n01440764 tench, Tinca tinca`.

    This is the format of `LOC_synset_mapping.txt`. Names must be unique after `unique`.

    Raises:
        DataError: the file cannot be read, a line has no name, or a key is on two lines.
    """
    names: dict[str, str] = {}
    for line in text_lines(path):
        key, _, rest = line.strip().partition(" ")
        name = rest.partition(",")[0].strip()
        if not name:
            raise DataError(f"{path}: the line {line!r} has no name; expected `KEY NAME`")
        if key in names:
            raise DataError(f"{path}: {key} is on two lines")
        names[key] = name
    return unique(names.items())


def open_clip_names() -> dict[str, str]:
    """Map each synset to open_clip's name of ImageNet's 1000 classes.

    Raises:
        MissingExtra: open_clip or timm is not installed; a file of names needs neither.
    """
    try:
        names = need("open_clip", "train").IMAGENET_CLASSNAMES
        synsets = need("timm.data", "train").ImageNetInfo("imagenet-1k").label_names()
    except MissingExtra as error:
        raise MissingExtra(
            f"{error}; or name the classes with --classes, or by their synsets with --synsets"
        ) from error
    return unique(zip(synsets, names, strict=True))


def unique(names: Iterable[tuple[str, str]]) -> dict[str, str]:
    """Append the key to repeated names, except the first: `crane`, `crane (n03126707)`."""
    taken: set[str] = set()
    result = {}
    for key, name in names:
        result[key] = f"{name} ({key})" if name in taken else name
        taken.add(name)
    return result
