"""How a set is read, beside what its rows say: the settings that every command with DATA takes."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from pathlib import Path, PurePath

from rate.errors import ConfigError, DataError
from rate.files import read_text
from rate.option import Settings, option

UNION, LARGEST = "union", "largest"

MASKS = ("mask_values", "mask_ignore", "mask_classes", "instances")
"""The settings about masks."""

OF_MANIFESTS = ("root", *MASKS)
"""The settings about manifests."""

TABLES = ("columns", "box_format", "label_names")
"""The settings about sets that other libraries write, whose pictures lie in tables or shards."""

XYXY, XYWH = "xyxy", "xywh"

MEANINGS = (
    *("id", "image", "label", "caption", "question", "options", "mask", "boxes", "category", "split", "group"),
    "cluster",
)
"""What a column of a table can hold."""

_RANGE = re.compile(r"(\d{1,8})(?:-(\d{1,8}))?")


@dataclass(frozen=True, slots=True)
class Reading(Settings):
    """Where images lie, what the values of masks mean, and how the columns of other libraries are read.

    None = as the side file of the set says, and otherwise as usual.

    >>> Reading(mask_values="1,3-5", mask_ignore=255).mask_ignore
    '255'
    """

    root: tuple[str, ...] = option(
        (), "FOLDER in which files of the manifest may lie, beside its own; absolute paths and file:// URLs too."
    )
    mask_values: str | int | None = option(
        None, "Values of a mask that are the object, such as 1 or 1,3-5; all but 0 and the ignored ones."
    )
    mask_ignore: str | int | None = option(None, "Values of a mask that are neither object nor rest, such as 255.")
    mask_classes: str | Mapping[str, str | int] | None = option(
        None, "FILE of lines `VALUES CLASS`, such as `8 cat`: the values of the object of each class.", parse=str
    )
    instances: str | None = option(
        None,
        "Of a class that is several times in an image",
        choices={UNION: "all of it (usual)", LARGEST: "the largest connected part of a mask, or the largest box"},
    )
    columns: str | Mapping[str, str] | None = option(
        None,
        "Columns by other names, of tables with pictures: image=img,label=fine_label,boxes=objects.bbox",
        parse=str,
    )
    box_format: str | None = option(
        None, "Boxes of other libraries are", choices={XYXY: "two corners", XYWH: "a corner, width and height"}
    )
    label_names: str | Sequence[str] | None = option(
        None, "FILE with the names of classes that a set numbers: 0 in the first line, 1 in the second.", parse=str
    )

    def __post_init__(self) -> None:
        self.check_options()
        roots = (self.root,) if isinstance(self.root, (str, PurePath)) else self.root
        object.__setattr__(self, "root", tuple(map(str, roots)))
        for name in ("mask_values", "mask_ignore"):
            if (given := getattr(self, name)) is not None:
                object.__setattr__(self, name, str(given))  # one value may be a number in Python and TOML
                ranges(str(given), f"--{name.replace('_', '-')}")
        if self.columns is not None:
            object.__setattr__(self, "columns", _columns(self.columns))
        if self.label_names is not None and not isinstance(self.label_names, (str, PurePath)):
            object.__setattr__(self, "label_names", tuple(self.label_names))
        if self.mask_values is not None and self.mask_classes is not None:
            raise ConfigError(
                f"mask-values {self.mask_values} and mask-classes both say what the object is; give one of them"
            )

    @property
    def roots(self) -> tuple[Path, ...]:
        """The folders in which files may lie.

        Raises:
            DataError: one is no folder.
        """
        roots = tuple(map(Path, self.root))
        for root in roots:
            if not root.is_dir():
                raise DataError(f"--root {root} is no folder; name one in which images or masks of the manifest lie")
        return roots

    @property
    def names(self) -> tuple[str, ...] | None:
        """The names of numbered classes; None = the set names its classes itself.

        Raises:
            DataError: the file of names cannot be read.
        """
        if self.label_names is None or isinstance(self.label_names, tuple):
            return self.label_names
        return _label_names(Path(str(self.label_names)))

    def refuse_tables(self, data: object) -> None:
        """Refuse words about tables and shards, where ``data`` is a manifest.

        Raises:
            ConfigError: names the first of them.
        """
        for name in TABLES:
            if getattr(self, name) is not None:
                raise ConfigError(
                    f"--{name.replace('_', '-')} goes with pictures in Parquet, Arrow or shards, and {data} is a "
                    "manifest, which has columns of fixed names; `rate data index table` reads others"
                )

    def to_json(self) -> dict[str, object]:
        """Return the settings that are not the usual ones, by name."""
        given = {one.name: getattr(self, one.name) for one in fields(self)}
        return {name: _plain(value) for name, value in given.items() if value}


def _plain(value: object) -> object:
    return dict(value) if isinstance(value, Mapping) else list(value) if isinstance(value, tuple) else value


def _columns(given: str | Mapping[str, str]) -> dict[str, str]:
    if isinstance(given, Mapping):
        pairs = [(str(meaning), str(name)) for meaning, name in given.items()]
    else:
        pairs = [
            (meaning.strip(), name.strip()) for meaning, _, name in (one.partition("=") for one in given.split(","))
        ]
    if any(meaning not in MEANINGS or not name for meaning, name in pairs):
        raise ConfigError(
            f"--columns {given!r}: expected such as image=img,label=fine_label,boxes=objects.bbox; what a column can "
            f"hold is {', '.join(MEANINGS)}"
        )
    if twice := sorted({one for one, _ in pairs if [meaning for meaning, _ in pairs].count(one) > 1}):
        raise ConfigError(f"--columns {given!r} says {', '.join(twice)} twice; name one column for each")
    if {"label", "caption"} <= dict(pairs).keys():
        raise ConfigError(
            f"--columns {given!r} says label and caption: the text that is explained is the name of a class or the "
            "row's own; name one of them"
        )
    return dict(pairs)


def _label_names(path: Path) -> tuple[str, ...]:
    try:
        names = tuple(line.partition("\t")[0].strip() for line in read_text(path).rstrip().splitlines())
    except (OSError, ValueError) as error:
        raise DataError(f"--label-names {path} cannot be read: {error}; expected a name of a class a line") from error
    if not all(names) or not names:
        raise DataError(
            f"--label-names {path}: line {names.index('') + 1 if names else 1} is empty; line 1 names class 0"
        )
    return names


USUAL = Reading()


def ranges(text: str, name: str) -> tuple[tuple[int, int], ...]:
    """Parse values of a mask; a range has both of its ends.

    >>> ranges("1,3-5", "--mask-values")
    ((1, 1), (3, 5))

    Args:
        text: whole numbers and ranges of them, with commas between them.
        name: what gives them, for the message.

    Raises:
        ConfigError: it has another form.
    """
    parts = []
    for part in text.split(","):
        match = _RANGE.fullmatch(part.strip())
        low, high = (int(match[1]), int(match[2] or match[1])) if match else (1, 0)
        if low > high:
            raise ConfigError(f"{name} must be values of a mask such as 1 or 1,3-5, got {text!r}")
        parts.append((low, high))
    return tuple(parts)
