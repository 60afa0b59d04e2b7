"""A copy of a set under ImageNet-C's corruptions: PNG images and one manifest for each corruption, ids unchanged."""

from __future__ import annotations

import hashlib
import multiprocessing
import os
import signal
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from functools import partial
from importlib.metadata import version
from pathlib import Path

from PIL import Image, PngImagePlugin

from rate.data.evaluation_set import read_evaluation_set
from rate.data.formats.manifest_files import Raw
from rate.data.images.corrupt import CROP, Corruption, corrupted, mask_of_crop
from rate.data.images.prepare import check_resize, chosen_boxes, load_image
from rate.data.make.index import written
from rate.data.mask_table import OF_MADE_MASKS
from rate.data.questions import cells_of
from rate.data.storage.limits import LINE_CHARS
from rate.errors import ConfigError, DataError, RateError, SampleError, UsageError, need
from rate.files import remove_leftovers, storage_error, write_atomically
from rate.outputs import require_output
from rate.reading import USUAL, Reading
from rate.types import Sample

PNG_LEVEL = 1  # compression level; the default of 6 takes longer than most corruptions
_STAMP = "rate-corrupt"


@dataclass(frozen=True, slots=True)
class CorruptReport:
    """The result of `corrupt_set`."""

    manifests: tuple[Path, ...]  # one for each corruption
    samples: int  # rows of each manifest
    made: int  # number of images written
    kept: int  # number of existing images of the same pixels and corruption
    failed: tuple[str, ...]  # samples without a row, each with its reason


@dataclass(frozen=True, slots=True)
class _Done:
    region: Raw
    made: int
    error: str | None = None
    ignoring: bool = False  # whether pixels of its mask are ignored


def corrupt_set(
    manifest: Path,
    corruptions: Sequence[Corruption],
    out: Path,
    *,
    split: str | None = None,
    reading: Reading = USUAL,
    workers: int = 1,
    tick: Callable[[int, int], None] = lambda done, total: None,
) -> CorruptReport:
    """Write `out/TYPE/SEVERITY/*.png` and `out/TYPE-SEVERITY.csv` for every corruption.

    Images are cropped as in ImageNet-C (`corrupt.CROP`) and then corrupted; boxes and masks are those of the crop. A
    second run makes only missing images: an image is kept if it was made from the same pixels in the same way.

    Args:
        manifest: the manifest of the clean set.
        corruptions: the corruptions.
        out: the folder, which need not exist.
        split: use the rows of this split only.
        reading: where files may lie, and what the values of masks mean.
        workers: the number of processes; 1 = this one.
        tick: receives (samples done, total).

    Raises:
        ConfigError: ``workers`` is out of range, or there is no corruption.
        DataError: the manifest cannot be used, or no sample could be corrupted.
        UsageError: ``out`` is not writable, or a file of another origin would be replaced.
        StorageError: the disk is full.
        RateError: a worker process died.
        MissingExtra: imagecorruptions-imaug is not installed.
    """
    if workers < 1 or not corruptions:
        raise ConfigError(f"expected one worker or more and one corruption or more, got {workers}, {len(corruptions)}")
    need("imagecorruptions", "corrupt")
    for corruption in corruptions:
        _check_own(corruption, out)
    chosen = list(read_evaluation_set(str(manifest), split, reading=reading).with_splits())
    samples, splits = [sample for sample, _ in chosen], {sample.id: own for sample, own in chosen}
    work = partial(_corrupt_one, corruptions=tuple(corruptions), out=out)
    done: list[_Done] = []
    for result in _results(work, samples, workers):
        done.append(result)
        tick(len(done), len(samples))
    pairs = [(sample, result) for sample, result in zip(samples, done, strict=True) if result.error is None]
    failed = tuple(f"{sample.id}: {result.error}" for sample, result in zip(samples, done, strict=True) if result.error)
    if not pairs:
        raise DataError(f"no sample of {manifest} could be corrupted; the first: {failed[0]}")
    os.sync()  # sync the images before the manifests name them
    made = sum(result.made for _, result in pairs)
    manifests = tuple(_write_manifest(corruption, pairs, splits, out) for corruption in corruptions)
    return CorruptReport(manifests, len(pairs), made, len(pairs) * len(corruptions) - made, failed)


def _check_own(corruption: Corruption, out: Path) -> None:
    """Refuse to replace a manifest of another origin, and remove the leftovers of a killed command."""
    path, images = _manifest_of(corruption, out), out / corruption.type / str(corruption.severity)
    require_output("--out:", path)
    if images.is_dir():
        remove_leftovers(images)
    if path.exists() and not any(f"{corruption.type}/{corruption.severity}/" in line for line in _head(path)):
        raise UsageError(f"{path} was not written by `rate data corrupt`; move it, or choose another --out")


def _head(path: Path) -> list[str]:
    with path.open(encoding="utf-8", errors="replace") as file:
        return [file.readline(LINE_CHARS) for _ in range(2)]


def _results(work: Callable[[Sample], _Done], samples: Sequence[Sample], workers: int) -> Iterator[_Done]:
    if workers == 1:
        yield from map(work, samples)
        return
    pool = ProcessPoolExecutor(workers, multiprocessing.get_context("spawn"), _ignore_interrupts)
    try:
        yield from pool.map(work, samples)
    except BrokenProcessPool as error:
        raise RateError("a worker process died, perhaps for lack of memory; the same command resumes") from error
    finally:  # also when interrupted: running tasks finish, and pending ones are dropped
        pool.shutdown(cancel_futures=True)


def _ignore_interrupts() -> None:
    """Ignore Ctrl-C, which reaches the whole process group, so that only the parent handles it."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)


def _corrupt_one(sample: Sample, corruptions: Iterable[Corruption], out: Path) -> _Done:
    try:
        image = load_image(sample.image, sample.image_stamp)
        check_resize(sample, CROP, image.size)
        crop = CROP.image_to_crop(image)
        region, ignoring = _region(sample, image.size, out)
        source = hashlib.blake2b(crop.tobytes(), digest_size=16).hexdigest()
        made = sum(_make(sample, crop, source, corruption, out) for corruption in corruptions)
        return _Done(region, made, ignoring=ignoring)
    except SampleError as error:
        return _Done({}, 0, str(error))


def _region(sample: Sample, size: tuple[int, int], out: Path) -> tuple[Raw, bool]:
    """Return the region's cells, and whether pixels of its mask are ignored."""
    if sample.boxes is not None:
        return {"boxes": [list(box) for box in CROP.boxes_in_crop(chosen_boxes(sample), size)]}, False
    name = f"masks/{_file(sample)}"
    mask = mask_of_crop(sample, size)
    _save(out / name, mask.drawn())
    return {"mask": name}, mask.ignored is not None


def _make(sample: Sample, crop: Image.Image, source: str, corruption: Corruption, out: Path) -> bool:
    """Make one image; return False if it exists."""
    path = out / corruption.type / str(corruption.severity) / _file(sample)
    stamp = f"{source} {corruption} seed {corruption.seed} imagecorruptions-imaug {version('imagecorruptions-imaug')}"
    if _stamp_of(path) == stamp:
        return False
    info = PngImagePlugin.PngInfo()
    info.add_text(_STAMP, stamp)
    _save(path, corrupted(crop, corruption, sample.id), info)
    return True


def _save(path: Path, image: Image.Image, info: PngImagePlugin.PngInfo | None = None) -> None:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise storage_error(path, error) from error
    write_atomically(path, lambda file: image.save(file, "PNG", pnginfo=info, compress_level=PNG_LEVEL), sync=False)


def _stamp_of(path: Path) -> str | None:
    try:
        with Image.open(path) as image:
            image.load()
            return str(image.info.get(_STAMP))
    except (OSError, SyntaxError):  # missing, not an image, or truncated
        return None


def _file(sample: Sample) -> str:
    """Return a valid file name for any id."""
    return f"{hashlib.blake2b(sample.id.encode(), digest_size=12).hexdigest()}.png"


def _manifest_of(corruption: Corruption, out: Path) -> Path:
    return out / f"{corruption.type}-{corruption.severity}.csv"


def _write_manifest(
    corruption: Corruption, pairs: Sequence[tuple[Sample, _Done]], splits: dict[str, str | None], out: Path
) -> Path:
    path = _manifest_of(corruption, out)
    rows: list[Raw] = []
    for sample, done in pairs:
        image = f"{corruption.type}/{corruption.severity}/{_file(sample)}"
        row: Raw = {"id": sample.id, "image": image, "label": sample.label, **done.region} | cells_of(sample.question)
        optional = {"split": splits[sample.id], "group": sample.group, "cluster": sample.cluster}
        rows.append(row | {name: value for name, value in optional.items() if value is not None})
    written(path, rows, OF_MADE_MASKS if any(done.ignoring for _, done in pairs) else None)
    return path
