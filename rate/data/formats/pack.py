"""The conversion of any source to tar shards with the same samples."""

from __future__ import annotations

import io
import json
import tarfile
from collections.abc import Callable
from pathlib import Path

from rate.data.evaluation_set import read_evaluation_set
from rate.data.formats.tar_headers import whole_blocks
from rate.data.formats.tar_index import Index, header
from rate.data.images.prepare import load_mask
from rate.data.mask_table import OF_MADE_MASKS, mask_table, write_side_file
from rate.data.questions import cells_of
from rate.data.storage.location import read_bytes
from rate.errors import ConfigError, DataError, SampleError
from rate.files import new_folder
from rate.outputs import require_new_folder
from rate.reading import USUAL, Reading
from rate.records import Count, Document
from rate.types import Sample

SHARD_BYTES = 256 << 20

_MAGIC = (
    (b"\xff\xd8\xff", "jpg"),
    (b"\x89PNG\r\n\x1a\n", "png"),
    (b"GIF8", "gif"),
    (b"BM", "bmp"),
    (b"II*\0", "tif"),
    (b"MM\0*", "tif"),
    (b"\0\0\0\x0cjP  ", "jp2"),
)


class PackReport(Document, frozen=True, tag="rate.pack/1"):
    """The result of `pack`."""

    pattern: str  # pattern of all shards, usable as DATA of a command
    shards: Count
    samples: Count
    bytes: Count


def pack(
    data: str,
    out: Path,
    *,
    split: str | None = None,
    reading: Reading = USUAL,
    shard_bytes: int = SHARD_BYTES,
    shard_samples: int | None = None,
    tick: Callable[[int, int], None] = lambda done, total: None,
) -> PackReport:
    """Write the samples of a source as tar shards ``out/000000.tar``, ... in the order of the source.

    A sample's members are neighbours, named by its number: the image's own bytes with a suffix by content; `.json` with
    id, label, boxes, question, options, group, cluster, split; `.mask.png`, with the mask's own bytes if it is a PNG;
    masks whose values are explained are drawn anew. The last member is an `Index`. Equal samples give equal bytes. The
    folder is written all or nothing.

    Args:
        data: a source in a form of `open_rows`.
        out: a new or empty folder.
        split: pack the rows of this split only.
        reading: where files may lie, and what the values of masks mean.
        shard_bytes: the largest size of a shard without its index, unless a single sample is larger.
        shard_samples: the largest number of samples of a shard; None = no limit.
        tick: receives (samples done, total).

    Raises:
        ConfigError: a limit is not positive.
        UsageError: ``out`` is not empty, or cannot be written.
        DataError: a row is wrong, its files cannot be read, or the set changed in the meantime; no file is left.
        StorageError: the disk is full.
    """
    _check_request(out, shard_bytes, shard_samples)
    chosen = read_evaluation_set(data, split, reading=reading)  # refuses a source with invalid rows
    total = len(chosen)
    out = out.absolute()
    with new_folder(out) as draft, _Shards(draft, shard_bytes, shard_samples or total) as shards:
        if mask_table(data, reading) is not None:
            write_side_file(draft / "*.tar", OF_MADE_MASKS)
        for number, (sample, own_split) in enumerate(chosen.with_splits()):
            shards.add(_members(sample, own_split, f"{number:09d}"))
            tick(number + 1, total)
    names = f"{{000000..{shards.count - 1:06d}}}" if shards.count > 1 else "000000"
    return PackReport(f"{out}/{names}.tar", shards.count, total, shards.bytes)


def _check_request(out: Path, shard_bytes: int, shard_samples: int | None) -> None:
    if shard_bytes < 1 or (shard_samples is not None and shard_samples < 1):
        raise ConfigError(f"a shard holds at least 1 byte and 1 sample, got {shard_bytes} and {shard_samples}")
    require_new_folder("--out", out)


class _Shards:
    def __init__(self, folder: Path, most_bytes: int, most_samples: int) -> None:
        self.count, self.bytes = 0, 0
        self._folder, self._most_bytes, self._most_samples = folder, most_bytes, most_samples
        self._samples = 0  # number of samples in the open shard
        self._tar: tarfile.TarFile | None = None
        self._index = Index()

    def __enter__(self) -> _Shards:
        return self

    def __exit__(self, *error: object) -> None:
        self._close()

    def add(self, members: dict[str, bytes]) -> None:
        """Write the members of one sample, sorted by name."""
        size = sum(tarfile.BLOCKSIZE + whole_blocks(len(data)) for data in members.values())
        end = 2 * tarfile.BLOCKSIZE
        if self._tar is not None:
            whole = -(-(self._tar.offset + size + end) // tarfile.RECORDSIZE) * tarfile.RECORDSIZE
            if whole > self._most_bytes or self._samples == self._most_samples:
                self._close()
        if self._tar is None:
            path = self._folder / f"{self.count:06d}.tar"
            self._tar = tarfile.TarFile(path, "w", format=tarfile.USTAR_FORMAT)
            self.count, self._samples, self._index = self.count + 1, 0, Index()
        for name in sorted(members):
            self._tar.addfile(header(name, len(members[name])), io.BytesIO(members[name]))
            self._index.add(name, members[name])
        self._samples += 1

    def _close(self) -> None:
        if self._tar is None:
            return
        content, path = self._index.content(), Path(str(self._tar.name))
        assert self._tar.fileobj is not None  # TarFile keeps the file that it has opened
        self._tar.fileobj.write(content)
        self._tar.offset += len(content)
        self._tar.close()
        self._tar, self._samples = None, 0
        self.bytes += path.stat().st_size


def _members(sample: Sample, split: str | None, key: str) -> dict[str, bytes]:
    fields = {name: getattr(sample, name) for name in ("id", "label", "boxes", "group", "cluster")}
    fields |= {"split": split, **cells_of(sample.question)}
    given = {name: value for name, value in fields.items() if value is not None}
    members = {f"{key}.json": json.dumps(given, ensure_ascii=False, sort_keys=True).encode()}
    try:
        image = read_bytes(sample.image, sample.image_stamp)
        members[f"{key}.{_suffix(image, sample.image)}"] = image
        if sample.mask is not None:
            members[f"{key}.mask.png"] = _png_mask(sample)
    except SampleError as error:
        raise DataError(f"row {sample.row} cannot be packed: {error}; `rate data check` names all such rows") from error
    return members


def _suffix(image: bytes, location: str) -> str:
    """Return the suffix of an image by its content.

    Raises:
        SampleError: the content is of no known format.
    """
    if image[:4] == b"RIFF" and image[8:12] == b"WEBP":
        return "webp"
    if image[4:12] in (b"ftypavif", b"ftypavis"):
        return "avif"
    if image[:1] == b"P" and image[1:2] in b"123456" and image[2:3].isspace():
        return "ppm"
    for magic, suffix in _MAGIC:
        if image.startswith(magic):
            return suffix
    raise SampleError(f"{location}: is not an image that can be read")


def _png_mask(sample: Sample) -> bytes:
    assert sample.mask is not None, "a sample with a mask"
    data = read_bytes(sample.mask, sample.mask_stamp)
    if data.startswith(b"\x89PNG\r\n\x1a\n") and sample.values is None:
        return data
    stream = io.BytesIO()
    load_mask(sample.mask, sample.mask_stamp, sample.values).drawn().save(stream, "PNG")
    return stream.getvalue()
