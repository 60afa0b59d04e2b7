"""Caltech-UCSD Birds-200-2011: segmentations, boxes and the suggested split.

Layout, from the set's README: tables in text files, a row for each image, joined by the image's number; `images.txt`,
`image_class_labels.txt`, `classes.txt`, `train_test_split.txt` (1 = train), `bounding_boxes.txt` (x, y, width, height);
`segmentations/CLASS/NAME.png` from a separate archive, which the README does not describe: grey levels are read here as
the share of annotators who marked the pixel.
Wah, Branson, Welinder, Perona, Belongie, CNS-TR-2011-001.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import partial
from pathlib import Path

import numpy as np

from rate.data.images.masks import Mask
from rate.data.images.prepare import read_image
from rate.data.make.layouts.base import BROKEN, MISSING, Entry, LeftOut, Size, below, class_name, file_of, text_lines
from rate.errors import DataError, SampleError
from rate.types import Box

MAJORITY = 128
"""The grey level from which a pixel is the bird: more than half of the annotators."""


def read_cub200(
    root: Path, *, boxes: bool = False, names: Mapping[str, str] | None = None
) -> Iterator[Entry | LeftOut]:
    """Yield every image of `images.txt` with the majority's segmentation as the region, or its box.

    Args:
        root: the folder `CUB_200_2011`, or its parent; segmentations may be in either.
        boxes: use the box instead of the segmentation.
        names: class folder (`001.Black_footed_Albatross`) -> class name; the default is the name after the number, with
            spaces for underscores.

    Raises:
        DataError: a table is missing or malformed, or there are no segmentations.
    """
    base = file_of(root, "images.txt", "CUB_200_2011/images.txt").parent
    images = _table(base / "images.txt")
    labels = _table(base / "image_class_labels.txt")
    classes = _table(base / "classes.txt")
    train = _table(base / "train_test_split.txt")
    frames = _table(base / "bounding_boxes.txt") if boxes else {}
    segmentations = None if boxes else _segmentations(root, base)
    for number, written in images.items():
        image = below(base / "images", written, base / "images.txt")
        try:
            folder = classes[labels[number]]
            split = {"0": "test", "1": "train"}[train[number]]
        except KeyError as error:
            raise DataError(f"{base}: the tables do not go together: image {number} ({written}), {error}") from error
        label = class_name(names, folder, folder.partition(".")[2].replace("_", " ") or folder)
        if segmentations is None:
            box = _box(frames.get(number, ""))
            yield LeftOut(image, BROKEN) if box is None else Entry(image, label, (box,), split)
            continue
        mask = below(segmentations, written, base / "images.txt").with_suffix(".png")
        yield Entry(image, label, partial(_majority, mask), split) if mask.is_file() else LeftOut(image, MISSING)


def _segmentations(root: Path, base: Path) -> Path:
    for folder in (base / "segmentations", root / "segmentations", base.parent / "segmentations"):
        if folder.is_dir():
            return folder
    raise DataError(
        f"{base} has no folder `segmentations`: it comes in an archive of its own, segmentations.tgz; "
        "unpack that one too, or take the boxes with --boxes"
    )


def _table(path: Path) -> dict[str, str]:
    """Map the first word of each line to the rest."""
    rows = [line.strip().split(maxsplit=1) for line in text_lines(path)]
    for row in rows:
        if len(row) != 2:
            raise DataError(f"{path}: {row} is not a row of a number and a value")
    table = {number: value for number, value in rows}
    if len(table) != len(rows):
        raise DataError(f"{path}: a number appears twice")
    return table


def _box(written: str) -> Box | None:
    try:
        x, y, width, height = (float(number) for number in written.split())
    except ValueError:
        return None
    return x, y, x + width, y + height


def _majority(path: Path, size: Size) -> Mask:
    votes = read_image(str(path), lambda image: np.asarray(image.convert("L")))
    if votes.shape != size[::-1]:
        raise SampleError(f"{path} is {votes.shape[1]} x {votes.shape[0]} pixels, its image {size[0]} x {size[1]}")
    return Mask(np.asarray(votes >= MAJORITY))
