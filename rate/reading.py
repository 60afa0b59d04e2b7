"""How a set is read, beside what its rows say: the settings that every command with DATA takes."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, fields
from pathlib import Path, PurePath

from rate.errors import ConfigError, DataError
from rate.option import Settings, option

UNION, LARGEST = "union", "largest"

MASKS = ("mask_values", "mask_ignore", "mask_classes", "instances")
"""The settings about masks."""

_RANGE = re.compile(r"(\d{1,8})(?:-(\d{1,8}))?")


@dataclass(frozen=True, slots=True)
class Reading(Settings):
    """Where images lie, and what the values of masks mean.

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

    def __post_init__(self) -> None:
        self.check_options()
        roots = (self.root,) if isinstance(self.root, (str, PurePath)) else self.root
        object.__setattr__(self, "root", tuple(map(str, roots)))
        for name in ("mask_values", "mask_ignore"):
            if (given := getattr(self, name)) is not None:
                object.__setattr__(self, name, str(given))  # one value may be a number in Python and TOML
                ranges(str(given), f"--{name.replace('_', '-')}")
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

    def to_json(self) -> dict[str, object]:
        """Return the settings that are not the usual ones, by name."""
        given = {one.name: getattr(self, one.name) for one in fields(self)}
        return {name: _plain(value) for name, value in given.items() if value}


def _plain(value: object) -> object:
    return dict(value) if isinstance(value, Mapping) else list(value) if isinstance(value, tuple) else value


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
