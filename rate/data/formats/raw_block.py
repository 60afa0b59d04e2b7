"""Rows of a manifest that follow each other: one after the other, or all at once as Arrow columns."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import chain
from typing import Any, Protocol, TypeAlias

import msgspec
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from rate.data.formats.manifest_files import CORNERS, Problem, Raw

BOXES = pa.list_(pa.list_(pa.float64()))

NOT_TYPED = (ValueError, TypeError, OverflowError, pa.ArrowException, msgspec.MsgspecError)
"""Raised by `RawBlock.columns`."""

Row: TypeAlias = tuple[int, Raw] | Problem


class RawBlock(Protocol):
    """Rows of a manifest that follow each other."""

    @property
    def before(self) -> int:
        """The number of rows before the block."""

    def __len__(self) -> int: ...

    def rows(self) -> Iterator[Row]:
        """Yield the rows, numbered from 1; a malformed row is a problem."""

    def columns(self) -> dict[str, Any]:
        """Return the columns that the file has: texts as strings, or whole numbers, corners and boxes as float64.

        None = no value, and so is an empty text.

        Raises:
            *NOT_TYPED: a value has another type than its column.
        """


@dataclass(frozen=True, slots=True)
class ReadRows:
    """Rows that have been read one by one."""

    before: int
    read: Sequence[Row]

    def __len__(self) -> int:
        return len(self.read)

    def rows(self) -> Iterator[Row]:
        """See `RawBlock`."""
        return iter(self.read)

    def columns(self) -> dict[str, Any]:
        """See `RawBlock`."""
        raise ValueError("the rows need not be alike")


def unreadable(before: int, error: Exception) -> ReadRows:
    """Return the problem of a file that cannot be read on."""
    cure = "this row and those after it are lost: mend the file"
    return ReadRows(before, [Problem(before + 1, None, None, f"cannot be read ({error}); {cure}")])


DECODE_BOXES = msgspec.json.Decoder(list[tuple[float, float, float, float]]).decode


def boxes_of(boxes: Sequence[Any]) -> Any:
    """Make a column of the boxes of every row, four numbers each."""
    corners = pa.array(np.fromiter(chain.from_iterable(chain.from_iterable(boxes)), np.float64))
    single = pa.ListArray.from_arrays(pa.array(np.arange(0, len(corners) + 1, 4), pa.int32()), corners)
    return pa.ListArray.from_arrays(pa.array(np.cumsum([0, *map(len, boxes)]), pa.int32()), single)


def column_of(name: str, column: Any) -> Any:
    """Make a column of one type; see `RawBlock.columns`."""
    if pa.types.is_dictionary(column.type):
        column = column.dictionary_decode()
    kind = column.type
    if pa.types.is_null(kind) or (pa.types.is_integer(kind) and name not in CORNERS):
        return column
    if name == "boxes" and pa.types.is_string(kind):  # JSON, as in CSV
        return boxes_of(list(map(DECODE_BOXES, column.to_numpy(zero_copy_only=False))))
    if name == "boxes":
        return column.cast(BOXES)
    if name in CORNERS and (pa.types.is_integer(kind) or pa.types.is_floating(kind)):
        return column.cast(pa.float64())
    if not (pa.types.is_string(kind) or pa.types.is_large_string(kind)):
        raise TypeError(f"{name} is {kind}")
    texts = column.cast(pa.string())
    texts.validate(full=True)  # Parquet may hold texts that are not UTF-8
    return pc.if_else(pc.equal(texts, ""), pa.scalar(None, pa.string()), texts)
