"""The check of a manifest and its files before an evaluation."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator, Sequence
from functools import partial
from itertools import islice
from pathlib import Path

import numpy as np

from rate.data.blocks import Block
from rate.data.daemon_threads import DaemonThreads
from rate.data.formats.manifest_files import Problem
from rate.data.images.geometry import Geometry
from rate.data.images.masks import read_mask
from rate.data.images.prepare import check_mask_size, check_resize, chosen_boxes, read_image, upright_rgb
from rate.data.manifest import check_split, without_duplicates
from rate.data.open_data import open_blocks, open_rows
from rate.data.set_faults import BoxUnits, suggestion
from rate.data.storage.local_file import is_file
from rate.data.storage.location import in_container
from rate.errors import ConfigError, DataError, SampleError
from rate.reading import USUAL, Reading
from rate.records import Count, Document
from rate.statistics.intervals import MIN_CLUSTERS
from rate.types import Bool, Box, Sample

OVERHANG = 1.0
"""The pixels by which a box may exceed its image, because annotation tools round."""

_CHUNK = 256  # samples submitted at once, so that memory does not grow with the set


class CheckReport(Document, frozen=True, tag="rate.check/1"):
    """The contents and problems of a source."""

    path: str  # the source as the user wrote it
    rows: Count
    samples: Count  # number of valid rows of the split, whose files were checked
    classes: dict[str, Count]  # label -> samples
    splits: dict[str, Count]  # split -> rows; rows without a split are not counted
    problems: tuple[Problem, ...]  # ordered by row; 0 = the file as a whole
    errors: Count  # problems because of which the set or a sample cannot be evaluated as intended
    warnings: Count  # problems that do not prevent an evaluation but are probably mistakes


def check_manifest(
    data: Path | str,
    *,
    split: str | None = None,
    classes: Sequence[str] | None = None,
    decode: bool = True,
    reading: Reading = USUAL,
    geometry: Geometry | None = None,
    threads: int = 2,
) -> CheckReport:
    """List every problem of a source and of its files. Problems of the set do not raise exceptions.

    Args:
        data: a manifest, or another source of `open_rows`.
        split: check the files of this split only; rows are validated in all splits.
        classes: the allowed labels; None = any label.
        decode: whether to decode images and masks; False = only check that local files exist.
        reading: what the values of masks mean.
        geometry: judge regions in the pixels of this model; None = in the image's own.
        threads: the number of decoding threads.

    Raises:
        ConfigError: ``threads`` is out of range.
    """
    if threads < 1:
        raise ConfigError(f"threads must be at least 1, got {threads}")
    counter = _RowCounter(str(data), split, reading)
    problems_of = partial(_decoded, geometry=geometry) if decode else _present
    known = None if classes is None else tuple(classes)
    if decode or not counter.count_blocks(known):
        counter = _RowCounter(str(data), split, reading)
        with DaemonThreads(threads, "rate-check") as pool:
            remaining = counter.samples()
            while chunk := list(islice(remaining, _CHUNK)):
                counter.problems.extend(_unknown_labels(chunk, known))
                for more in pool.map(problems_of, chunk):
                    counter.problems.extend(more)
    problems = tuple(sorted(counter.problems, key=lambda problem: problem.row))
    errors = sum(problem.severity == "error" for problem in problems)
    return CheckReport(
        path=str(data),
        rows=counter.splits.total(),
        samples=counter.labels.total(),
        classes=dict(sorted(counter.labels.items())),
        splits=dict(sorted((name, count) for name, count in counter.splits.items() if name is not None)),
        problems=problems,
        errors=errors,
        warnings=len(problems) - errors,
    )


class _RowCounter:
    """Counts streaming rows, keeps their problems and passes on their samples, or takes them in blocks."""

    def __init__(self, data: str, split: str | None, reading: Reading) -> None:
        self.splits: Counter[str | None] = Counter()  # rows
        self.labels: Counter[str] = Counter()  # samples of the split
        self.clusters: set[str] = set()  # clusters of the split, at least so many as are needed
        self.unclustered = 0
        self.problems: list[Problem] = []
        self._units = BoxUnits()
        self._data, self._split, self._reading = data, split, reading

    def samples(self) -> Iterator[Sample]:
        """Yield the samples of the split; an error of the reading becomes a problem."""
        try:
            for parsed in without_duplicates(open_rows(self._data, self._reading)):
                self.problems.extend(parsed.problems)
                self.splits[parsed.split] += 1
                if parsed.sample is not None and self._split in (None, parsed.split):
                    self.labels[parsed.sample.label] += 1
                    self._units.add(parsed.sample)
                    if parsed.sample.cluster is None:
                        self.unclustered += 1
                    elif len(self.clusters) < MIN_CLUSTERS:
                        self.clusters.add(parsed.sample.cluster)
                    yield parsed.sample
            self._check_whole()
        except DataError as error:
            self.problems.append(Problem(0, None, None, str(error)))
        self.problems.extend(self._few_clusters())

    def count_blocks(self, known: tuple[str, ...] | None) -> bool:
        """Take all rows without their images; False = an id comes twice, so they are to be taken one by one."""
        names = bytearray()
        try:
            for block in open_blocks(self._data, self._reading):
                names += block.names.tobytes()
                self._take(block, known)
            self._check_whole()
        except DataError as error:
            self.problems.append(Problem(0, None, None, str(error)))
        self.problems.extend(self._few_clusters())
        ordered = np.sort(np.frombuffer(names, np.uint64))
        return not (ordered[1:] == ordered[:-1]).any()

    def _take(self, block: Block, known: tuple[str, ...] | None) -> None:
        for parsed in block.refused:
            self.problems.extend(parsed.problems)
        self.splits.update(parsed.split for parsed in block.refused)
        self.splits.update(block.splits)
        chosen = block.rows_of(self._split)
        labels, clusters = ([column[k] for k in chosen.tolist()] for column in (block.labels, block.clusters))
        self.labels.update(labels)
        self.unclustered += clusters.count(None)
        if len(self.clusters) < MIN_CLUSTERS:
            self.clusters.update(one for one in clusters if one is not None)
        self._units.add_from(block, chosen)
        if known is not None and not {*labels} <= {*known}:
            self.problems.extend(_unknown_labels(list(block.samples(chosen)), known))
        for sample in block.samples(chosen) if not block.are_there else ():
            self.problems.extend(_present(sample))

    def _check_whole(self) -> None:
        check_split(self._data, self.splits, self._split)
        if wrong := self._units.problem():
            self.problems.append(Problem(0, None, None, f"{self._data}: {wrong}"))

    def _few_clusters(self) -> Iterator[Problem]:
        count = len(self.clusters) + self.unclustered  # a sample without a cluster is its own cluster
        if self.clusters and count < MIN_CLUSTERS:
            few = f"makes {count} clusters, and intervals are over samples instead of fewer than {MIN_CLUSTERS}"
            cure = "evaluate more clusters; a slice to report and to gate is `group`"
            yield Problem(0, None, "cluster", f"{few}: {cure}", severity="warning")


def _unknown_labels(samples: Sequence[Sample], classes: tuple[str, ...] | None) -> Iterator[Problem]:
    if classes is None:
        return
    known = frozenset(classes)
    for sample in samples:
        if sample.label not in known:
            meant = suggestion(sample.label, classes)
            yield _problem(sample, "label", f"{sample.label!r} is none of the {len(classes)} classes{meant}")


def _present(sample: Sample) -> list[Problem]:
    """List the missing local files; URLs and members of containers are not checked."""
    files = (("image", sample.image), ("mask", sample.mask))
    return [
        _problem(sample, column, f"{location}: no such file")
        for column, location in files
        if not (location is None or "://" in location or in_container(location) or is_file(Path(location)))
    ]


def _decoded(sample: Sample, geometry: Geometry | None) -> list[Problem]:
    """List the problems of the image, of the mask, and of the region in the image."""
    problems: list[Problem] = []
    size: tuple[int, int] | None = None
    try:
        size, mode = read_image(sample.image, lambda image: (upright_rgb(image).size, image.mode))
        if geometry is not None:
            check_resize(sample, geometry, size)
        if mode.startswith("I;16"):
            problems.append(
                _warning(sample, "image", "is grey of 16 bits, which is clipped at 255; save it with 8 bits")
            )
    except SampleError as error:
        problems.append(_problem(sample, "image", str(error)))
    if sample.mask is not None:
        problems.extend(_mask_problems(sample, sample.mask, size, geometry))
    elif sample.boxes is not None and size is not None:
        problems.extend(_box_problems(sample, sample.boxes, size, geometry))
    return problems


def _mask_problems(
    sample: Sample, location: str, size: tuple[int, int] | None, geometry: Geometry | None
) -> Iterator[Problem]:
    try:
        mask, form = read_image(location, lambda image: (read_mask(image, sample.values, location), image.format))
        if size is not None:
            check_mask_size(sample, mask.object, size)
    except SampleError as error:
        yield _problem(sample, "mask", str(error))
        return
    if form == "JPEG":
        yield _warning(sample, "mask", "is a JPEG: pixels round the object are not exactly 0; save masks as PNG")
    counted = mask.object if mask.ignored is None else mask.object | mask.ignored
    parts = (mask.object, counted) if geometry is None else map(geometry.region_from_mask, (mask.object, counted))
    yield from _area_problems(sample, "mask", *parts)


def _box_problems(
    sample: Sample, boxes: Sequence[Box], size: tuple[int, int], geometry: Geometry | None
) -> Iterator[Problem]:
    for number, (x0, y0, x1, y1) in enumerate(boxes, start=1):
        if max(-x0, -y0, x1 - size[0], y1 - size[1]) > OVERHANG:
            box, image = f"box {number} [{x0:g}, {y0:g}, {x1:g}, {y1:g}]", f"the image of {size[0]} x {size[1]} pixels"
            yield _problem(
                sample, None, f"{box} leaves {image}; boxes are x0, y0, x1, y1 in pixels of the upright image"
            )
    chosen = chosen_boxes(sample)
    region = _drawn(chosen, size) if geometry is None else geometry.region_from_boxes(chosen, size)
    yield from _area_problems(sample, None, region, region)


def _drawn(boxes: Sequence[Box], size: tuple[int, int]) -> Bool:
    """Mark [height,width] the pixels whose centre lies in a box."""
    width, height = size
    region = np.zeros((height, width), np.bool_)
    for x0, y0, x1, y1 in boxes:
        left, right = (math.ceil(min(max(x, 0.0), width) - 0.5) for x in (x0, x1))
        top, bottom = (math.ceil(min(max(y, 0.0), height) - 0.5) for y in (y0, y1))
        region[top:bottom, left:right] = True
    return region


def _area_problems(sample: Sample, column: str | None, region: Bool, all_but_rest: Bool) -> Iterator[Problem]:
    if not region.any():
        yield _warning(sample, column, "gives an empty region: the verdict will be undefined")
    elif all_but_rest.all():
        yield _warning(sample, column, "gives a region of the whole image: the verdict will be undefined")


def _problem(sample: Sample, column: str | None, message: str) -> Problem:
    return Problem(sample.row, sample.id, column, message)


def _warning(sample: Sample, column: str | None, message: str) -> Problem:
    return Problem(sample.row, sample.id, column, message, severity="warning")
