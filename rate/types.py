"""Axis glossary and the frozen records that travel between the stages.

Axes, used in every array comment of the package:

    b      rows of one device batch
    i      resident images (slots)
    n      masks of one sample
    s      side of a mask's grid
    t      rows of an interpolation table
    c      classes of a head
    h, w   image height and width in model pixels
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, NamedTuple, Protocol, TypeAlias

import numpy as np
from numpy.typing import NDArray

Float32: TypeAlias = NDArray[np.float32]
Float64: TypeAlias = NDArray[np.float64]
Int64: TypeAlias = NDArray[np.int64]
Bool: TypeAlias = NDArray[np.bool_]
UInt8: TypeAlias = NDArray[np.uint8]
Json: TypeAlias = dict[str, Any]

Box: TypeAlias = tuple[float, float, float, float]
"""x0, y0, x1, y1 in pixels of the original image after EXIF rotation; x1 and y1 are exclusive."""


class Stamp(NamedTuple):
    """What the first reading found of a file, by which a later reading sees that it is still the same."""

    size: int  # bytes
    modified_ns: int
    inode: int
    changed_ns: int  # when name, owner or content last changed; a link count or a rename changes it, too
    host: str  # the machine that looked: times and inodes of another machine's copy mean nothing
    version: str = ""  # of a remote file, what the storage says of it; the local copy's own values do not count then

    @property
    def identity(self) -> tuple[object, ...]:
        """The values that are equal as long as the file is the same, on the machine that looked."""
        return (self.size, self.modified_ns, self.inode) if not self.version else (self.version,)


@dataclass(frozen=True, slots=True)
class Sample:
    """One row of an evaluation set; nothing is decoded yet.

    Exactly one of ``boxes`` and ``mask`` is set. ``boxes`` may be empty: an empty region, undefined by name later.
    """

    id: str
    label: str
    image: str  # absolute path, fsspec URL, or a place in a container; see rate.data.storage.location
    boxes: tuple[Box, ...] | None = None
    mask: str | None = None  # as image; non-zero = object
    group: str | None = None  # a slice to report and to gate
    cluster: str | None = None  # samples of one cluster are alike, and are resampled together
    row: int = 0  # 1-based data row of the manifest, for messages
    image_stamp: Stamp | None = field(default=None, compare=False, repr=False)  # None: nothing is known of the file
    mask_stamp: Stamp | None = field(default=None, compare=False, repr=False)
    content: bytes | None = field(default=None, compare=False, repr=False)  # digest of image and mask, once read


class Samples(Protocol):
    """The samples of a run: as many as it says, the same ones in the same order whenever they are iterated over."""

    def __len__(self) -> int: ...

    def __iter__(self) -> Iterator[Sample]: ...


@dataclass(frozen=True, slots=True, eq=False)
class Prepared:
    """A sample in model pixels."""

    sample: Sample
    pixels: Float32  # [3,h,w] normalised: 0 is the channel mean
    region: Bool  # [h,w] True = valid evidence


@dataclass(frozen=True, slots=True, eq=False)
class Rows:
    """What a backend needs to perturb a batch: about 200 bytes a row for RISE, never a full-size mask."""

    slot: Int64  # [b] resident image of each row
    grid: Float32  # [b,s,s]
    offset: Int64  # [b,2] row of the table for y and for x

    def __len__(self) -> int:
        return len(self.slot)
