"""Sets about backgrounds: ImageNet-9, Hard ImageNet, Waterbirds and Spawrious.

ImageNet-9 (the Backgrounds Challenge): `original/val/00_dog/NAME.JPEG`, likewise `mixed_rand`, `mixed_same`, ..., and
`fg_mask/val/00_dog/NAME.npy`, the foreground as a Boolean array. In the mixed sets NAME begins with `fg_`, and the mask
is that of the foreground's image. Xiao, Engstrom, Ilyas, Madry, "Noise or Signal", ICLR 2021.

Hard ImageNet: masks `SPLIT/SYNSET_NAME.JPEG` of images `SPLIT/SYNSET/NAME.JPEG` of ImageNet; 255 = object, and JPEG
blurs it. Moayeri, Singla, Feizi, "Hard ImageNet: Segmentations for Objects with Strong Spurious Cues", NeurIPS 2022.

Waterbirds: `metadata.csv` with `img_filename`, `y` (0 = landbird, 1 = waterbird), `split` (0, 1, 2 = train, val, test)
and `place` (0 = land, 1 = water); file names, poses and sizes are those of CUB-200-2011, whose masks apply.
Sagawa, Koh, Hashimoto, Liang, "Distributionally Robust Neural Networks for Group Shifts", ICLR 2020.

Spawrious: `spawrious224/ENVIRONMENT/PLACE/BREED/NAME.png`. It has no masks; those of another tool lie in a folder of
the same structure. Lynch, Dovonon, Kaddour, Silva, "Spawrious: A Benchmark for Fine Control of Spurious Correlation
Biases", 2023.
"""

from __future__ import annotations

import csv
from collections.abc import Iterator, Mapping
from functools import partial
from pathlib import Path

import numpy as np

from rate.data.images.masks import Mask
from rate.data.images.prepare import read_image
from rate.data.make.index import image_files
from rate.data.make.layouts.base import MISSING, SYNSET, Entry, LeftOut, Size, below, class_name, folder_of, text_lines
from rate.data.storage.limits import max_pixels
from rate.errors import DataError, SampleError

HALF = 128
"""The grey level from which a pixel of a blurred mask, or of one of several annotators, is the object."""


def read_imagenet9(
    root: Path, *, variant: str = "original", names: Mapping[str, str] | None = None
) -> Iterator[Entry | LeftOut]:
    """Yield every image of a variant with its foreground as the region.

    Args:
        root: the folder that holds the variants and `fg_mask`.
        variant: original, mixed_same, mixed_rand or mixed_next.
        names: class folder (`00_dog`) -> class name; the default is the name after the number.

    Raises:
        DataError: a folder is missing.
    """
    images, masks = folder_of(root, f"{variant}/val"), folder_of(root, "fg_mask/val")
    for image in image_files(images):
        folder = image.parent.name
        # Mixed images are named fg_NAME_bg_OTHER after their foreground.
        stem = image.stem.removeprefix("fg_").partition("_bg_")[0]
        mask = masks / folder / f"{stem}.npy"
        if not mask.is_file():
            yield LeftOut(image, MISSING)
            continue
        label = class_name(names, folder, folder.partition("_")[2] or folder)
        yield Entry(image, label, partial(_array, mask), variant)


def read_hard_imagenet(
    root: Path, images: Path, *, split: str = "val", names: Mapping[str, str] | None = None
) -> Iterator[Entry | LeftOut]:
    """Yield the image of every mask of a split.

    Args:
        root: the folder that holds the masks, with a folder for each split.
        images: ImageNet in torchvision's folders, `SPLIT/SYNSET/NAME.JPEG`.
        split: train or val.
        names: synset -> class name; the default is the synset.

    Raises:
        DataError: a folder is missing.
    """
    masks, folder = folder_of(root, split), folder_of(images, split)
    for mask in image_files(masks):
        synset, _, name = mask.name.partition("_")
        if not SYNSET.fullmatch(synset):
            yield LeftOut(mask, "are masks without a synset in their name")
            continue
        image = (folder / synset / name).with_suffix(".JPEG")
        yield Entry(image, class_name(names, synset, synset), partial(_at_least_half, mask), split)


def read_waterbirds(
    root: Path, segmentations: Path, *, names: Mapping[str, str] | None = None
) -> Iterator[Entry | LeftOut]:
    """Yield every image of `metadata.csv` with CUB's segmentation; group = the place, land or water.

    Args:
        root: the folder that holds `metadata.csv` and the folders of images.
        segmentations: CUB's folder of segmentations, `CLASS/NAME.png`.
        names: landbird and waterbird -> class name.

    Raises:
        DataError: the table or the folder is missing, or the table has other columns.
    """
    table = root / "metadata.csv"
    if not segmentations.is_dir():
        raise DataError(f"{segmentations} is not a folder; it is that of CUB's segmentations.tgz")
    for row in csv.DictReader(text_lines(table)):
        try:
            written, label = row["img_filename"], ("landbird", "waterbird")[int(row["y"])]
            split, place = ("train", "val", "test")[int(row["split"])], ("land", "water")[int(row["place"])]
        except (KeyError, ValueError, IndexError, TypeError) as error:
            raise DataError(f"{table}: expected img_filename, y, split and place in every row: {error}") from error
        image = below(root, written, table)
        mask = below(segmentations, written, table).with_suffix(".png")
        if not mask.is_file():
            yield LeftOut(image, MISSING)
            continue
        yield Entry(image, class_name(names, label, label), partial(_at_least_half, mask), split, group=place)


def read_spawrious(root: Path, masks: Path, *, names: Mapping[str, str] | None = None) -> Iterator[Entry | LeftOut]:
    """Yield every image with its mask; group = the place, split = the environment.

    Args:
        root: the folder `spawrious224`, or its parent.
        masks: a folder of the same structure with masks of one object as .png.
        names: breed -> class name.

    Raises:
        DataError: a folder is missing, or the structure is another one.
    """
    base = next((root / name for name in ("spawrious224",) if (root / name).is_dir()), root)
    if not masks.is_dir():
        raise DataError(f"{masks} is not a folder; Spawrious has no masks: give those of a segmentation tool")
    for image in image_files(base):
        parts = image.relative_to(base).parts
        if len(parts) != 4:
            yield LeftOut(image, "do not lie at ENVIRONMENT/PLACE/BREED/NAME")
            continue
        mask = (masks / image.relative_to(base)).with_suffix(".png")
        if not mask.is_file():
            yield LeftOut(image, MISSING)
            continue
        environment, place, breed, _ = parts
        yield Entry(image, class_name(names, breed, breed), mask, environment, group=place)


def _array(path: Path, size: Size) -> Mask:
    """Read a Boolean array; its header is checked before memory is allocated."""
    try:
        array = np.load(path, mmap_mode="r", allow_pickle=False)
        if array.ndim != 2 or array.size > max_pixels():
            raise ValueError(f"its shape is {array.shape}")
        mask = np.asarray(array) != 0
    except (OSError, ValueError, EOFError) as error:
        raise SampleError(f"{path} cannot be read as a mask [height,width]: {error}") from error
    _check_size(path, mask.shape, size)
    return Mask(mask)


def _at_least_half(path: Path, size: Size) -> Mask:
    grey = read_image(str(path), lambda opened: np.asarray(opened.convert("L")))
    _check_size(path, grey.shape, size)
    return Mask(grey >= HALF)


def _check_size(path: Path, shape: tuple[int, ...], size: Size) -> None:
    if shape != size[::-1]:
        raise SampleError(f"{path} is {shape[1]} x {shape[0]} pixels, its image {size[0]} x {size[1]}")
