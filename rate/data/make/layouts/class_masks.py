"""Masks whose values are numbers of classes, as ADE20K's scene parsing, COCO-Stuff or Cityscapes have them.

Layout of ADE20K (ADEChallengeData2016): `images/SPLIT/NAME.jpg`, `annotations/SPLIT/NAME.png` with 0 = none of the 150
classes, and `objectInfo150.txt`, a table with tabs whose columns `Idx` and `Name` number and name the classes.
Zhou, Zhao, Puig, Fidler, Barriuso, Torralba, "Scene Parsing through ADE20K Dataset", CVPR 2017.
"""

from __future__ import annotations

import csv
import re
from collections.abc import Iterator, Mapping
from pathlib import Path

import numpy as np

from rate.data.images.masks import values_in
from rate.data.images.prepare import read_image
from rate.data.make.index import image_files
from rate.data.make.layouts.base import BROKEN, MISSING, Entry, LeftOut, text_lines, unique
from rate.errors import DataError, SampleError
from rate.reading import ranges

_LINE = re.compile(r"\s*(\d{1,8})\s*[:,;\s]\s*(\S.*)")


def read_class_numbers(path: Path) -> dict[int, str]:
    """Read the classes' numbers and names: lines `8 cat`, `8: cat` or `8,cat`, or ADE20K's `objectInfo150.txt`.

    Of several names of a class, with commas between them, the first is taken. Value 0 and lines of another form, such
    as comments and headings, are left out.

    Raises:
        DataError: the file cannot be read, or names no class.
    """
    lines = text_lines(path)
    columns = lines[0].split("\t") if lines else []
    if {"Idx", "Name"} <= set(columns):
        rows = csv.DictReader(lines, dialect="excel-tab")
        named = {int(row["Idx"]): row["Name"] for row in rows if (row["Idx"] or "").isdecimal() and row["Name"]}
    else:
        named = {int(match[1]): match[2] for match in map(_LINE.fullmatch, lines) if match}
    first = {number: name.split(",")[0].strip() for number, name in named.items() if number}
    if not first:
        raise DataError(f"{path} names no class; expected lines `VALUE CLASS`, such as `8 cat`")
    names = unique((str(number), name) for number, name in first.items())
    return {int(number): name for number, name in names.items()}


def read_class_masks(
    images: Path, masks: Path, classes: Mapping[int, str], *, ignore: str | None = None, split: str | None = None
) -> Iterator[Entry | LeftOut]:
    """Yield every image with a mask of the same name, once for each class in the mask.

    Args:
        images: folder of images.
        masks: folder of the same structure with masks as .png.
        classes: the value of a class -> its name; other values are no class.
        ignore: values that are neither object nor rest, which are no class either.
        split: the split of all rows.

    Raises:
        DataError: one of the folders is none.
        ConfigError: ``ignore`` is of another form than `1,3-5`.
    """
    for folder, what in ((images, "images"), (masks, "masks, --masks, with the names of the images")):
        if not folder.is_dir():
            raise DataError(f"{folder} is not a folder of {what}")
    ignored = () if ignore is None else ranges(ignore, "--mask-ignore")
    for image in image_files(images):
        mask = (masks / image.relative_to(images)).with_suffix(".png")
        if not mask.is_file():
            yield LeftOut(image, MISSING)
            continue
        try:
            present = read_image(str(mask), lambda opened: np.unique(values_in(opened)).tolist())
        except SampleError as error:
            yield LeftOut(image, BROKEN, str(error))
            continue
        chosen = [number for number in present if not any(low <= number <= high for low, high in ignored)]
        for number in chosen:
            if number in classes:
                yield Entry(image, classes[number], mask, split, of_several=True)
