"""Array types with named axes, and the frozen records that travel between the stages.

Axes, used in every array type and array comment of the package:

    b      rows of one device batch
    i      image slots of a backend
    k      heads of a job
    m      samples that have a verdict
    n      masks of one sample (in `rate.kernels.swap`: fills)
    s      side of a mask's grid
    t      rows of an interpolation table
    c      classes of a head
    h, w   image height and width in model pixels
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Annotated, Any, NamedTuple, Protocol, TypeAlias

import numpy as np
from numpy.typing import NDArray

Float32: TypeAlias = NDArray[np.float32]
Float64: TypeAlias = NDArray[np.float64]
Int64: TypeAlias = NDArray[np.int64]
Bool: TypeAlias = NDArray[np.bool_]
UInt64: TypeAlias = NDArray[np.uint64]
UInt8: TypeAlias = NDArray[np.uint8]
Json: TypeAlias = dict[str, Any]

Pixels: TypeAlias = Annotated[Float32, "3 h w"]
"""A normalised image: 0 is the channel mean."""
Region: TypeAlias = Annotated[Bool, "h w"]
"""True where a pixel is valid evidence."""
SoftRegion: TypeAlias = Annotated[UInt8, "h w"]
"""A region with weights in 255ths: 255 = inside, 0 = outside."""
Grids: TypeAlias = Annotated[Float32, "n s s"]
"""The grids of masks; see `rate.kernels.separable`."""
Offsets: TypeAlias = Annotated[Int64, "n 2"]
"""The rows of the interpolation table for y and for x."""
Levels: TypeAlias = Annotated[Int64, "n"]
"""The number of the distribution from which each mask is drawn."""
FullMasks: TypeAlias = Annotated[Float64, "n h w"]
"""Masks at the size of the image: 1 keeps a pixel, 0 hides it."""
Scores: TypeAlias = Annotated[Float64, "k n"]
"""The scores of each head's explained class, one for each mask."""
HeatMap: TypeAlias = Annotated[Float64, "h w"]
HeadMaps: TypeAlias = Annotated[Float64, "k h w"]
HeadValues: TypeAlias = Annotated[Float64, "k"]
HeadFlags: TypeAlias = Annotated[Bool, "k"]
SampleValues: TypeAlias = Annotated[Float64, "m"]
SampleFlags: TypeAlias = Annotated[Bool, "m"]
Codes: TypeAlias = Annotated[Int64, "n"]
"""One code for each sample."""

Box: TypeAlias = tuple[float, float, float, float]
"""x0, y0, x1, y1 in pixels of the original image after EXIF rotation; x1 and y1 are exclusive."""


class Stamp(NamedTuple):
    """Facts of a file at its first reading. A later reading compares them to detect a changed file."""

    size: int  # bytes
    modified_ns: int
    inode: int
    changed_ns: int  # when name, owner or content last changed; a link count or a rename changes it, too
    host: str  # the machine that read the file: times and inodes of another machine's copy differ
    version: str = ""  # the storage's version of a remote file; it replaces the facts of the local copy

    @property
    def identity(self) -> tuple[object, ...]:
        """The values that stay equal on one machine as long as the file is the same."""
        return (self.size, self.modified_ns, self.inode) if not self.version else (self.version,)


@dataclass(frozen=True, slots=True)
class MaskValues:
    """What the values of a mask mean for one class. A range (low, high) holds both of its ends."""

    object: tuple[tuple[int, int], ...] | None = None  # None = every value but 0 and the ignored ones
    ignored: tuple[tuple[int, int], ...] = ()  # of neither side
    largest: bool = False  # the region is the largest connected part of the mask, or the largest box, instead of all


@dataclass(frozen=True, slots=True)
class Question:
    """What a generative model is asked about an image, and the answers among which it chooses."""

    text: str
    options: tuple[str, ...]  # at least two, in the order of their logits


@dataclass(frozen=True, slots=True)
class Sample:
    """One row of an evaluation set, not decoded yet.

    Exactly one of ``boxes`` and ``mask`` is set. Empty ``boxes`` are an empty region: the verdict is undefined.
    """

    id: str
    label: str
    image: str  # absolute path, fsspec URL, or a place in a container; see rate.data.storage.location
    boxes: tuple[Box, ...] | None = None
    mask: str | None = None  # a location like that of the image
    group: str | None = None  # the slice of the set for which metrics are reported and gated
    cluster: str | None = None  # samples of one cluster are similar, and one unit of intervals and tests
    row: int = 0  # 1-based data row of the manifest, for messages
    image_stamp: Stamp | None = field(default=None, compare=False, repr=False)  # None: the file has not been read
    mask_stamp: Stamp | None = field(default=None, compare=False, repr=False)
    content: bytes | None = field(
        default=None, compare=False, repr=False
    )  # digest of image and mask, once they are read
    values: MaskValues | None = None  # None: every pixel of a mask but 0 is the object, and every box
    question: Question | None = None  # the label is one of its options; None = the row asks nothing

    @property
    def version(self) -> str | None:
        """The versions of the image and the mask in a remote storage; None = there are none."""
        stamps = (self.image_stamp, self.mask_stamp)
        return " ".join(stamp.version for stamp in stamps if stamp and stamp.version) or None


class Samples(Protocol):
    """The samples of a run. Every iteration yields the same samples in the same order."""

    def __len__(self) -> int: ...

    def __iter__(self) -> Iterator[Sample]: ...


@dataclass(frozen=True, slots=True, eq=False)
class Picture:
    """An image as a device holds it: 8-bit levels, of which a model sees (levels - zero) * scale."""

    levels: Annotated[UInt8, "3 h w"]
    zero: Annotated[Float32, "3"]  # the level of each channel that the model sees as 0
    scale: Annotated[Float32, "3"]  # what the model sees of one level

    @classmethod
    def of_colour(cls, colour: Annotated[Float32, "3"], size: int) -> Picture:
        """Make a picture [3,size,size] of one normalised colour, which the model sees exactly.

        >>> Picture.of_colour(np.array([0.1, -0.2, 0.0], np.float32), 1).pixels.ravel().tolist()
        [0.10000000149011612, -0.20000000298023224, 0.0]
        """
        return cls(np.zeros((3, size, size), np.uint8), np.full(3, -1.0, np.float32), colour.astype(np.float32))

    @property
    def view(self) -> Annotated[UInt8, "h w 3"]:
        """The levels as an image file has them."""
        return self.levels.transpose(1, 2, 0)

    @property
    def pixels(self) -> Pixels:
        """What a model sees."""
        return np.asarray((self.levels - self.zero[:, None, None]) * self.scale[:, None, None])


@dataclass(frozen=True, slots=True, eq=False)
class Prepared:
    """A decoded sample in the size of the model."""

    sample: Sample
    picture: Picture
    region: Region
    ignored: Region | None = None  # pixels of neither the region nor the rest; None = there are none
    shuffled: bool = False  # whether boxes, mask and region are those of another sample
    image_size: tuple[int, int] = (0, 0)  # width and height of the upright image, pixels; 0 where no file was read

    @property
    def counted(self) -> Region:
        """The pixels of the region and the rest."""
        return np.ones_like(self.region) if self.ignored is None else ~self.ignored

    @property
    def area(self) -> float:
        """The share of the region in region and rest; 0 where all pixels are ignored."""
        pixels = self.region.size if self.ignored is None else self.region.size - int(self.ignored.sum())
        return int(self.region.sum()) / pixels if pixels else 0.0


GRID, INSIDE, OUTSIDE = 0, 1, 2
"""What a row keeps of its image: the cells of its grid, the region of its slot, or the rest."""


@dataclass(frozen=True, slots=True, eq=False)
class Rows:
    """The input of a backend for one batch: about 200 bytes a row for RISE, never a full-size mask.

    A row keeps one part of the image in ``slot``, and the image in ``fill`` stands where the rest is hidden.
    """

    slot: Annotated[Int64, "b"]  # the image slot of each row
    grid: Annotated[Float32, "b s s"]
    offset: Annotated[Int64, "b 2"]  # rows of the table for y and for x
    fill: Annotated[Int64, "b"]  # the slot of the image that stands where a pixel is hidden
    side: Annotated[Int64, "b"]  # GRID, INSIDE or OUTSIDE: the part that is kept

    @classmethod
    def under_masks(
        cls,
        slot: Annotated[Int64, "b"],
        grid: Annotated[Float32, "b s s"],
        offset: Annotated[Int64, "b 2"],
        fill: int,
    ) -> Rows:
        """Make rows that keep the cells of their grids; the image in slot ``fill`` stands where the rest is hidden."""
        return cls(slot, grid, offset, np.full(len(slot), fill, np.int64), np.full(len(slot), GRID, np.int64))

    def __len__(self) -> int:
        return len(self.slot)

    def __getitem__(self, chosen: slice | Int64) -> Rows:
        """Return some of the rows."""
        return Rows(self.slot[chosen], self.grid[chosen], self.offset[chosen], self.fill[chosen], self.side[chosen])

    def __setitem__(self, chosen: slice, rows: Rows) -> None:
        """Replace some of the rows."""
        self.slot[chosen], self.grid[chosen], self.offset[chosen] = rows.slot, rows.grid, rows.offset
        self.fill[chosen], self.side[chosen] = rows.fill, rows.side

    def shifted(self, first: int) -> Rows:
        """Return the same rows for images that are ``first`` slots further on."""
        return Rows(self.slot + first, self.grid, self.offset, self.fill + first, self.side)
