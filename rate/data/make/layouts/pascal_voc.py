"""Pascal VOC: a row for each image and class, with the class's pixels or boxes.

Layout, of the development kit: `JPEGImages/NAME.jpg`, `Annotations/NAME.xml`, lists of names in
`ImageSets/Segmentation/SPLIT.txt` and `ImageSets/Main/SPLIT.txt`, and `SegmentationClass/NAME.png`, a palette of the
classes from 1 in alphabetical order, 0 = background, 255 = the border of objects and what is too hard, of neither side.
Everingham, Van Gool, Williams, Winn, Zisserman, "The Pascal Visual Object Classes Challenge", IJCV 2010.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path

import numpy as np

from rate.data.images.prepare import read_image
from rate.data.make.layouts.base import BROKEN, MISSING, Entry, LeftOut, below, class_name, folder_of, text_lines
from rate.data.make.layouts.voc import read_voc
from rate.data.mask_table import MaskDocument
from rate.errors import DataError, SampleError

CLASSES = (
    *("aeroplane", "bicycle", "bird", "boat", "bottle", "bus", "car", "cat", "chair", "cow", "diningtable", "dog"),
    *("horse", "motorbike", "person", "pottedplant", "sheep", "sofa", "train", "tvmonitor"),
)
SPLITS = ("train", "val", "test")


def voc_masks(names: Mapping[str, str] | None = None) -> MaskDocument:
    """Return what the values of the set's class masks mean."""
    values = {class_name(names, name, name): number for number, name in enumerate(CLASSES, 1)}
    return MaskDocument(ignore=255, classes=dict(values))


def read_pascal_voc(
    root: Path, *, boxes: bool = False, names: Mapping[str, str] | None = None
) -> Iterator[Entry | LeftOut]:
    """Yield every image of the lists train, val and test, once for each class in it.

    Args:
        root: the folder of a year, such as `VOC2012`, or its parents.
        boxes: the boxes of the larger lists of `Main`, instead of the masks of `Segmentation`.
        names: the set's class name -> class name.

    Raises:
        DataError: a folder is missing, or no list is there.
    """
    base = folder_of(root, "JPEGImages", *(f"{part.name}/JPEGImages" for part in sorted(root.glob("VOC20*")))).parent
    images, lists = base / "JPEGImages", folder_of(base, f"ImageSets/{'Main' if boxes else 'Segmentation'}")
    there = [split for split in SPLITS if (lists / f"{split}.txt").is_file()]
    if not there:
        raise DataError(f"{lists} has none of {', '.join(f'{split}.txt' for split in SPLITS)}")
    for split in there:
        source = lists / f"{split}.txt"
        for line in text_lines(source):
            name = line.split()[0]
            yield from (_boxes if boxes else _masks)(base, below(images, f"{name}.jpg", source), split, names)


def _masks(base: Path, image: Path, split: str, names: Mapping[str, str] | None) -> Iterator[Entry | LeftOut]:
    mask = base / "SegmentationClass" / f"{image.stem}.png"
    if not mask.is_file():
        yield LeftOut(image, MISSING)
        return
    try:
        present = read_image(str(mask), lambda opened: np.unique(np.asarray(opened)).tolist())
    except SampleError as error:
        yield LeftOut(image, BROKEN, str(error))
        return
    for number in present:
        if 1 <= number <= len(CLASSES):
            label = class_name(names, CLASSES[number - 1], CLASSES[number - 1])
            yield Entry(image, label, mask, split, of_several=True)


def _boxes(base: Path, image: Path, split: str, names: Mapping[str, str] | None) -> Iterator[Entry | LeftOut]:
    path = base / "Annotations" / f"{image.stem}.xml"
    if not path.is_file():
        yield LeftOut(image, MISSING)
        return
    try:
        annotation = read_voc(path)
    except SampleError as error:
        yield LeftOut(image, BROKEN, str(error))
        return
    for name in sorted({name for name, _ in annotation.objects}):
        region = tuple(box for other, box in annotation.objects if other == name)
        label = class_name(names, name, name)
        yield Entry(image, label, region, split, annotated=annotation.size, of_several=True)
