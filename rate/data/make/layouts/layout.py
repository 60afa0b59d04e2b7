"""A set in a layout, as its reader returns it; imports nothing heavy, since commands are made of readers."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from rate.data.make.layouts.base import Entry, LeftOut
    from rate.data.mask_table import MaskDocument


@dataclass(frozen=True, slots=True, eq=False)
class Layout:
    """The rows of a set."""

    entries: Iterable[Entry | LeftOut]
    root: Path | None = None  # folder of the set, after whose paths masks are named; None = the manifest's
    masks: MaskDocument | None = None  # what the values of masks mean that are files of the set


class LayoutReader(Protocol):
    """Reads a set in one layout: `rate data index NAME`.

    Its parameters are the arguments and options of the command, annotated as Typer has them; a parameter without a
    default is an argument. Its docstring is the command's help.
    """

    __name__: str

    def __call__(self, *arguments: Any, **options: Any) -> Layout:
        """Return the rows of the set.

        Raises:
            DataError: the set as a whole is not laid out as expected.
        """
