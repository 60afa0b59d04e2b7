"""ImageNet-S: pixel masks for 50, 300 or 919 classes of ImageNet.

Layout, from the set's README: `validation/SYNSET/NAME.JPEG` and `validation-segmentation/SYNSET/NAME.png` (also
`train-semi`). A mask is RGB; R + 256 G is the class, 0 another category, 1000 a part to be ignored. Classes are
numbered from 1 in the order of their sorted synsets.
Gao et al., "Large-scale Unsupervised Semantic Segmentation", TPAMI 2022.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import partial
from pathlib import Path

import numpy as np

from rate.data.images.prepare import read_image
from rate.data.make.index import image_files
from rate.data.make.layouts.base import MISSING, Entry, LeftOut, Size, class_name, folder_of, text_lines
from rate.data.make.layouts.names import SYNSET
from rate.errors import DataError, SampleError
from rate.types import Bool

CLASSES = (50, 300, 919)
"""The numbers of classes of the three sets."""


def read_imagenet_s(
    root: Path, *, split: str = "validation", categories: Path | None = None, names: Mapping[str, str] | None = None
) -> Iterator[Entry | LeftOut]:
    """Yield every image of a split with the pixels of its class as the region, without ignored parts.

    Args:
        root: one of the folders `ImageNetS50`, `ImageNetS300`, `ImageNetS919`.
        split: validation or train-semi; the others have no masks.
        categories: `ImageNetS_categories_im*.txt`; needed only if folders of synsets are missing.
        names: synset -> class name; the default is the synset itself.

    Raises:
        DataError: the folders do not exist, or the classes cannot be numbered.
    """
    images = folder_of(root, split)
    masks = folder_of(root, f"{split}-segmentation")
    numbers = _numbers(images, categories)
    for image in image_files(images):
        synset = image.relative_to(images).parts[0]
        mask = (masks / image.relative_to(images)).with_suffix(".png")
        if synset not in numbers:
            yield LeftOut(image, "lie in no folder of a class")
        elif not mask.is_file():
            yield LeftOut(image, MISSING)
        else:
            label = class_name(names, synset, synset)
            yield Entry(image, label, partial(_pixels, mask, numbers[synset]), split)


def _numbers(images: Path, categories: Path | None) -> dict[str, int]:
    """Map each synset to its number in the masks."""
    if categories is None:
        synsets = {entry.name for entry in images.iterdir() if entry.is_dir() and SYNSET.fullmatch(entry.name)}
        if len(synsets) not in CLASSES:
            raise DataError(
                f"{images} has folders of {len(synsets)} synsets, a whole set has {', '.join(map(str, CLASSES))}: "
                "classes are numbered over all of them; name the set's list: --categories ImageNetS_categories_im*.txt"
            )
    else:
        synsets = {line.strip() for line in text_lines(categories)}
        if strangers := [name for name in synsets if not SYNSET.fullmatch(name)]:
            raise DataError(f"{categories}: {strangers[0]!r} is no synset; expected one a line, e.g. n01440764")
    return {synset: number for number, synset in enumerate(sorted(synsets), 1)}


def _pixels(path: Path, number: int, size: Size) -> Bool:
    values = read_image(str(path), lambda image: np.asarray(image.convert("RGB")))
    if values.shape[:2] != size[::-1]:
        raise SampleError(f"{path} is {values.shape[1]} x {values.shape[0]} pixels, its image {size[0]} x {size[1]}")
    mask = np.asarray(values[..., 0] + 256 * values[..., 1].astype(np.int64) == number)
    if not mask.any():
        raise SampleError(f"{path} has no pixel of class {number}")
    return mask
