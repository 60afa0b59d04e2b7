"""Digests of samples and sets of samples, independent of order, machine and version."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator
from dataclasses import astuple, dataclass
from typing import Annotated, Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from rate.credentials import without_credentials
from rate.data.storage.location import Folder
from rate.types import Box, Float64, Int64, Sample, UInt64


def fingerprint(identifier: str) -> int:
    """Hash an id with blake2b-64 to a number, which orders and divides samples equally on every machine."""
    return int.from_bytes(hashlib.blake2b(identifier.encode(), digest_size=8).digest(), "little")


def fingerprints(identifiers: Iterable[bytes]) -> UInt64:
    """Compute the `fingerprint` of every id; the ids are in UTF-8."""
    digests = b"".join([hashlib.blake2b(identifier, digest_size=8).digest() for identifier in identifiers])
    return np.frombuffer(digests, "<u8")


class SetDigest:
    """A digest of a set of samples in constant memory: the sum of their sha256 modulo 2^256.

    The order of samples does not matter. Ids are unique, so a sum identifies a set.
    """

    def __init__(self) -> None:
        self._sum = 0

    def add(self, digest: bytes) -> None:
        """Add the `sample_digest` of a sample."""
        self._sum += int.from_bytes(digest, "big")

    def add_all(self, digests: bytes) -> None:
        """Add the digests of several samples, which follow each other."""
        words = np.frombuffer(digests, ">u4").reshape(-1, 8).sum(axis=0, dtype=np.uint64)
        self._sum += sum(word << 32 * (7 - place) for place, word in enumerate(words.tolist()))

    def hexdigest(self) -> str:
        """Return 64 hex digits."""
        return f"{self._sum % (1 << 256):064x}"


def sample_digest(sample: Sample, folder: Folder) -> bytes:
    """Compute the sha256 of a sample: id, label, image, region, what its values mean, question, group, cluster, remote
    versions.

    Files count by their paths relative to ``folder``.
    """
    mask = None if sample.mask is None else _place(sample.mask, folder)
    image = _place(sample.image, folder)
    versions = tuple((one.size, one.version) for one in (sample.image_stamp, sample.mask_stamp) if one and one.version)
    meaning = () if sample.values is None else (astuple(sample.values),)  # absent, it leaves the digest as it was
    asked = () if sample.question is None else (astuple(sample.question),)  # likewise
    line = ascii(
        (sample.id, sample.label, image, mask, sample.boxes, sample.group, sample.cluster, *versions, *meaning, *asked)
    )
    return hashlib.sha256(line.encode("ascii")).digest()


def plain_digests(
    ids: Any, labels: Any, images: Any, masks: Any, boxes: Boxes | None, groups: Any, clusters: Any
) -> bytes:
    """Compute the `sample_digest` of many samples at once, 32 bytes each.

    Args:
        ids: Arrow array of strings, as all others but ``boxes``; None in it = no value.
        labels: as ``ids``.
        images: as in the manifest, relative to the folder.
        masks: likewise.
        boxes: None = the regions are masks.
        groups: as ``ids``.
        clusters: as ``ids``.
    """
    texts = (ids, labels, images, masks, groups, clusters)
    if any(pc.any(pc.match_substring_regex(column, _ESCAPED)).as_py() for column in texts):
        named = [column.to_pylist() for column in texts[:4]]
        rest = [column.to_pylist() for column in texts[4:]]
        drawn = [None] * len(ids) if boxes is None else boxes.tuples(np.arange(len(ids)))
        lines = [ascii(row).encode("ascii") for row in zip(*named, drawn, *rest, strict=True)]
    else:
        quoted = [pc.coalesce(pc.binary_join_element_wise("'", column, "'", ""), "None") for column in texts]
        quoted.insert(4, "None" if boxes is None else boxes.texts())
        columns = pc.binary_join_element_wise("(", pc.binary_join_element_wise(*quoted, ", "), ")", "")
        lines = columns.cast(pa.binary()).to_numpy(zero_copy_only=False).tolist()
    return b"".join([hashlib.sha256(line).digest() for line in lines])


_ESCAPED = r"[^ -&(-\[\]-~]"
"""Characters that `ascii` escapes, or that change its quotes."""


@dataclass(frozen=True, slots=True)
class Boxes:
    """The boxes of several samples."""

    counts: Int64  # boxes of each sample
    corners: Annotated[Float64, "boxes 4"]  # x0, y0, x1, y1 of the boxes of all samples

    def tuples(self, numbers: Int64) -> Iterator[tuple[Box, ...]]:
        """Yield the boxes of samples of some numbers, counted from 0."""
        ends = np.cumsum(self.counts)
        for start, end in zip((ends - self.counts)[numbers].tolist(), ends[numbers].tolist(), strict=True):
            yield tuple(map(tuple, self.corners[start:end].tolist()))

    def texts(self) -> Any:
        """Return the boxes of each sample in the form of `repr`, an Arrow array of strings."""
        numbers = pa.array(self.corners.ravel()).dictionary_encode()
        written = pa.array(list(map(repr, numbers.dictionary.to_pylist())), pa.string())
        places = numbers.indices.to_numpy().reshape(-1, 4)
        corners = [written.take(pa.array(places[:, k])) for k in range(4)]
        boxes = pc.binary_join_element_wise("(", pc.binary_join_element_wise(*corners, ", "), ")", "")
        offsets = pa.array(np.concatenate([[0], np.cumsum(self.counts)]), pa.int32())
        joined = pc.binary_join(pa.ListArray.from_arrays(offsets, boxes), ", ")
        return pc.binary_join_element_wise("(", joined, pc.if_else(pa.array(self.counts == 1), ",", ""), ")", "")


def _place(located: str, folder: Folder) -> str:
    """Return the location of a file for its digest; a URL keeps its location when it is signed again."""
    place = folder.relative(located)
    return without_credentials(place) if "://" in place else place


class IdSet:
    """A set of ids in 16 bytes each: their sorted blake2b-128."""

    def __init__(self, identifiers: Iterable[str] = ()) -> None:
        self._rows = _sorted((identifier, b"") for identifier in identifiers)

    def __len__(self) -> int:
        return len(self._rows)

    def __contains__(self, identifier: str) -> bool:
        return self._at(identifier) is not None

    def _at(self, identifier: str) -> int | None:
        wanted = np.frombuffer(_digest(identifier), _DIGEST)[0]
        at = int(np.searchsorted(self._rows["id"], wanted))
        return at if at < len(self._rows) and self._rows["id"][at] == wanted else None


class ContentTable(IdSet):
    """The ids of samples with the digests of their files' contents, in 24 bytes per sample."""

    def __init__(self, contents: Iterable[tuple[str, bytes | None]] = ()) -> None:
        """Build the table; ``contents`` are None or empty if no file was read."""
        self._rows = _sorted((identifier, content or b"") for identifier, content in contents)

    def content(self, identifier: str) -> bytes | None:
        """Return the digest; it is None if the id is not in the table, or no file was read."""
        at = self._at(identifier)
        digest = b"" if at is None else bytes(self._rows["content"][at])
        return digest.ljust(CONTENT_BYTES, b"\0") if digest else None


CONTENT_BYTES = 8
"""Bytes of the digest of a sample's image and mask. It distinguishes files and is not meant to resist forgery."""

_DIGEST = np.dtype("S16")  # compared byte by byte; numpy ignores trailing zeros on both sides
_ROW = np.dtype([("id", _DIGEST), ("content", f"S{CONTENT_BYTES}")])


def _sorted(contents: Iterator[tuple[str, bytes]]) -> NDArray[np.void]:
    rows = bytearray()
    for identifier, content in contents:
        rows += _digest(identifier) + content.ljust(CONTENT_BYTES, b"\0")
    table = np.frombuffer(bytes(rows), _ROW)
    _, first = np.unique(table["id"], return_index=True)
    return np.asarray(table[first])


def _digest(identifier: str) -> bytes:
    return hashlib.blake2b(identifier.encode(), digest_size=16).digest()
