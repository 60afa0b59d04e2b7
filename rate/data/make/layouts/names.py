"""Names of ImageNet's synsets, from a file of the user or open_clip's cleaned names.

The names are not part of this package. open_clip's are those of CLIP's zero-shot heads, which the paper's models use;
timm has the order of the synsets. Two of open_clip's names are of two classes each.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from pathlib import Path

from rate.data.make.layouts.base import text_lines
from rate.errors import DataError, MissingExtra, need

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
