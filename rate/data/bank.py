"""The bank of pictures that stand where a pixel is hidden: a function of the seed and the ids of a set alone.

The pictures with the smallest digest of seed and id are taken, at most half of them of one class, so that every sample
meets pictures of other classes. Order, shard, worker and resume do not matter.
"""

from __future__ import annotations

import bisect
import hashlib
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path

import numpy as np

from rate.data.blocks import Block
from rate.data.digests import CONTENT_BYTES, fingerprints
from rate.data.pins import is_remote
from rate.data.storage.container import allow_read
from rate.data.storage.limits import REMOTE_READS
from rate.data.storage.location import container_of
from rate.errors import DataError, SampleError
from rate.types import Int64, Prepared, Sample

SPARE = 16
"""The number of further pictures that are remembered in case some of the bank cannot be read."""

READS = 2
"""The number of pictures of a bank that are read at once; of remote ones it is `REMOTE_READS`."""

_SUFFIXES = (".jpg", ".jpeg", ".png", ".webp", ".bmp", ".tif", ".tiff")


@dataclass(frozen=True)
class Bank:
    """The pictures in the order of their digests.

    >>> Bank((), seed=0).digest
    ''
    """

    pictures: tuple[Sample, ...]  # with the digests of their contents
    seed: int
    skipped: tuple[str, ...] = ()  # the ids of pictures that could not be read, with the reason
    asks: bool = False  # whether a sample is asked its own question, so that its kind is not its label alone

    def __len__(self) -> int:
        return len(self.pictures)

    @property
    def digest(self) -> str:
        """The digest of ids and contents, 32 hex digits; empty without pictures."""
        if not self.pictures:
            return ""
        content = hashlib.blake2b(digest_size=16)
        for picture in self.pictures:
            content.update(f"{picture.id}\0".encode() + (picture.content or b"").ljust(CONTENT_BYTES, b"\0"))
        return content.hexdigest()

    @cached_property
    def fewest(self) -> int:
        """The fewest pictures that a sample can meet: those that are not of the kind with most pictures."""
        kinds = Counter(_kind(picture, self.asks) for picture in self.pictures if picture.label)
        same = Counter(picture.image for picture in self.pictures if self.asks and picture.label)
        return max(len(self.pictures) - sum(max(one.values(), default=0) for one in (kinds, same)), 0)

    def order(self, sample: Sample) -> Int64:
        """Return the indices [n] of the pictures that ``sample`` meets, in its own order.

        The order depends on the seed and the id alone. The sample itself and pictures of its class are left out; where
        samples are asked questions, these are the pictures with the same question and answer, and its own image is left
        out with any question.
        """
        key = _digest(self.seed, f"order\0{sample.id}")
        shuffled = np.random.Generator(np.random.Philox(key=key)).permutation(len(self.pictures))
        # A picture of a folder has no label, and its name says nothing of the sample with the same id.
        ids, kinds, images = self._names
        may_meet = (kinds == "") | ((kinds != _kind(sample, self.asks)) & (ids != sample.id))
        if self.asks:
            may_meet &= images != sample.image
        return np.asarray(shuffled[may_meet[shuffled]], np.int64)

    def partner(self, sample: Sample, share: float) -> int | None:
        """Return the index of the picture whose region ``sample`` borrows; None for all but a ``share`` of the samples.

        Both depend on the seed and the id alone. A sample never borrows its own region.
        """
        if _digest(self.seed, f"shuffled\0{sample.id}") >= share * 2**64:
            return None
        others = [k for k, picture in enumerate(self.pictures) if picture.id != sample.id]
        return others[_digest(self.seed, f"partner\0{sample.id}") % len(others)]

    @cached_property
    def _names(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """The ids, the kinds and the places of the pictures."""
        ids, images = (np.array([getattr(one, name) for one in self.pictures]) for name in ("id", "image"))
        return ids, np.array([_kind(one, self.asks) for one in self.pictures]), images


NO_BANK = Bank((), 0)


@dataclass(slots=True)
class BankDraw:
    """Chooses the pictures of a bank while a set streams by; it never holds more than it may need."""

    size: int  # number of pictures wanted
    seed: int
    asks: bool = False  # see `Bank`
    _kept: list[tuple[int, str, Sample]] = field(default_factory=list)  # ascending digests
    _of_class: Counter[str] = field(default_factory=Counter)

    def add(self, sample: Sample) -> None:
        """Offer a sample."""
        digest = _digest(self.seed, sample.id)
        if len(self._kept) >= self.size + SPARE and digest > self._kept[-1][0]:
            return
        bisect.insort(self._kept, (digest, sample.id, sample))
        kind = _kind(sample, self.asks)
        self._of_class[kind] += 1
        # Taking in ascending order what no limit forbids is the same as dropping the last one that breaks a limit.
        if self._of_class[kind] > self.size // 2:
            self._drop(next(k for k in range(len(self._kept))[::-1] if _kind(self._kept[k][2], self.asks) == kind))
        elif len(self._kept) > self.size + SPARE:
            self._drop(-1)

    def add_from(self, block: Block, chosen: Int64) -> None:
        """Offer samples of a block; those that cannot be kept are not made."""
        key = _key(self.seed)
        digests = fingerprints(key + block.ids[number] for number in chosen.tolist())
        if len(self._kept) >= self.size + SPARE:
            chosen = chosen[digests <= self._kept[-1][0]]
        for sample in block.samples(chosen):
            self.add(sample)

    def bank(self, decode: Callable[[Sample], Prepared], io: int = 0) -> Bank:
        """Read the pictures; one that cannot be read is replaced by the next one.

        Args:
            decode: gives the pixels of a sample and the digest of its content.
            io: the number of reads at once; 0 = `READS`, or `REMOTE_READS` of remote objects.
        """
        samples = [sample for _, _, sample in self._kept]
        io = io or (REMOTE_READS if any(map(is_remote, samples)) else 0)
        return replace(_read(samples, self.size, self.seed, decode, io), asks=self.asks)

    def _drop(self, at: int) -> None:
        self._of_class[_kind(self._kept.pop(at)[2], self.asks)] -= 1


def _kind(sample: Sample, asks: bool) -> str:
    """Return the class of a sample, or what it is asked with the right answer; of a picture of a folder it is empty."""
    return f"{sample.question.text}\0{sample.label}" if asks and sample.question else sample.label


def folder_bank(folder: Path, size: int, seed: int, decode: Callable[[Sample], Prepared]) -> Bank:
    """Read the bank from the images in a folder and the folders below it; their classes are unknown.

    Raises:
        DataError: it is no folder, or has no image.
    """
    if not folder.is_dir():
        raise DataError(f"--fill {folder} is no folder; give mean, own, pictures, or a folder of images")
    paths = [path for path in folder.rglob("*") if path.suffix.lower() in _SUFFIXES and path.is_file()]
    if not paths:
        raise DataError(f"--fill {folder} has no image ({', '.join(_SUFFIXES)}); give a folder of pictures")
    samples = [Sample(path.relative_to(folder).as_posix(), "", str(path.resolve()), boxes=()) for path in paths]
    samples.sort(key=lambda sample: _digest(seed, sample.id))
    return _read(samples, size, seed, decode)


def _read(candidates: list[Sample], size: int, seed: int, decode: Callable[[Sample], Prepared], reads: int = 0) -> Bank:
    pictures: list[Sample] = []
    skipped: list[str] = []

    def content(sample: Sample) -> Sample | str:
        read_alone(sample)
        try:
            return decode(sample).sample
        except SampleError as error:
            return f"{sample.id}: {error}"

    with ThreadPoolExecutor(reads or READS) as pool:
        for start in range(0, len(candidates), size):
            wanted = size - len(pictures)
            for read in pool.map(content, candidates[start : start + size] if wanted else ()):
                if isinstance(read, str):
                    skipped.append(read)
                elif len(pictures) < size:
                    pictures.append(read)
    return Bank(tuple(pictures), seed, tuple(skipped))


def read_alone(picture: Sample) -> None:
    """Let the files of a picture be read once without the shards in which they are, which are fetched for samples."""
    for shard in filter(None, map(container_of, filter(None, (picture.image, picture.mask)))):
        allow_read(shard)


def _digest(seed: int, identifier: str) -> int:
    return int(fingerprints([_key(seed) + identifier.encode()])[0])


def _key(seed: int) -> bytes:
    return seed.to_bytes(8, "little")
