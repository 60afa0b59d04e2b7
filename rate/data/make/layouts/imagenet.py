"""ImageNet-1K with the boxes of its localisation task, ImageNet-C with regions of the clean set, ImageNet-S with masks.

ImageNet-1K: Kaggle's layout, `ILSVRC/Data/CLS-LOC/val/NAME.JPEG` (train has a folder a synset), `LOC_val_solution.csv`
with `ImageId,PredictionString` = repeated `SYNSET x0 y0 x1 y1`, `ILSVRC/Annotations/CLS-LOC/val/NAME.xml` (Pascal VOC);
and torchvision's, `val/SYNSET/NAME.JPEG`, with boxes given apart. Source: the data page of Kaggle's "ImageNet Object
Localization Challenge"; Russakovsky et al., "ImageNet Large Scale Visual Recognition Challenge", IJCV 2015.

ImageNet-C, from the authors' script (create_c/make_imagenet_c.py): `CORRUPTION/SEVERITY/SYNSET/NAME.JPEG`, with NAME
as in the clean set; unpacked archives may put `noise`, `blur`, `weather`, `digital` or `extra` above. Images have
224 x 224 pixels: the short side of the clean one is resized to 256, the centre is cropped and then corrupted.
Hendrycks, Dietterich, "Benchmarking Neural Network Robustness to Common Corruptions and Perturbations", ICLR 2019.

ImageNet-S, from the set's README: `validation/SYNSET/NAME.JPEG` and `validation-segmentation/SYNSET/NAME.png` (also
`train-semi`). A mask is RGB; R + 256 G is the class, 0 another category, 1000 a part to be ignored. Classes are
numbered from 1 in the order of their sorted synsets.
Gao et al., "Large-scale Unsupervised Semantic Segmentation", TPAMI 2022.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Callable, Iterator, Mapping
from functools import lru_cache, partial
from pathlib import Path
from typing import TypeAlias

import numpy as np

from rate.data.images.corrupt import CROP, EXTRA, TYPES, Corruption, mask_of_crop
from rate.data.images.masks import Mask
from rate.data.images.prepare import chosen_boxes, read_image
from rate.data.make.index import image_files
from rate.data.make.layouts.base import (
    BROKEN,
    MISSING,
    SYNSET,
    Entry,
    LeftOut,
    Region,
    Size,
    class_name,
    folder_of,
    text_lines,
)
from rate.data.make.layouts.voc import Annotation, read_voc
from rate.data.make.layouts.write import stored
from rate.data.manifest import read_manifest
from rate.errors import DataError, SampleError
from rate.files import read_text
from rate.reading import USUAL, Reading
from rate.types import Sample

NO_BOX = "have no box of their class"

Lookup: TypeAlias = Callable[[Path], Annotation | None]
"""Maps an image to its objects; None = it has no annotation. It may raise SampleError."""


def read_imagenet(
    root: Path, *, split: str = "val", boxes: Path | None = None, names: Mapping[str, str] | None = None
) -> Iterator[Entry | LeftOut]:
    """Yield every image of a split with the boxes of its class; only a part of the training images has boxes.

    The class is the synset of the image's folder; in a flat folder it is that of the annotation's first object.

    Args:
        root: the set in one of the layouts, or a folder of images.
        split: the folder and list to read: val or train.
        boxes: a solution file (.csv) or a folder of annotations; by default it is searched below ``root``.
        names: synset -> class name; the default is the synset itself.

    Raises:
        DataError: there are no boxes, or the solution file is malformed.
    """
    kaggle, torchvision = root / "ILSVRC" / "Data" / "CLS-LOC" / split, root / split
    images = next((folder for folder in (kaggle, torchvision) if folder.is_dir()), root)
    lookup = _lookup(_boxes_of(root, split) if boxes is None else boxes)
    for image in image_files(images):
        try:
            annotation = lookup(image)
        except SampleError as error:
            yield LeftOut(image, BROKEN, str(error))
            continue
        if annotation is None:
            yield LeftOut(image, MISSING)
            continue
        folder = image.parent.name
        synset = folder if SYNSET.fullmatch(folder) else next((name for name, _ in annotation.objects), "")
        region = tuple(box for name, box in annotation.objects if name == synset)
        if not region:
            yield LeftOut(image, NO_BOX)
            continue
        yield Entry(image, class_name(names, synset, synset), region, split, annotated=annotation.size)


def _boxes_of(root: Path, split: str) -> Path:
    places = (
        root / f"LOC_{split}_solution.csv",
        root / "ILSVRC" / "Annotations" / "CLS-LOC" / split,
        root / "Annotations" / "CLS-LOC" / split,
    )
    for place in places:
        if place.exists():
            return place
    looked = ", ".join(str(place) for place in places)
    raise DataError(f"no boxes of split {split} found ({looked}); name the file or folder with --boxes")


def _lookup(boxes: Path) -> Lookup:
    if boxes.is_dir():
        return lambda image: _annotation(boxes, image)
    solutions = read_solution(boxes)
    return lambda image: _objects(boxes, solutions[image.stem]) if image.stem in solutions else None


def _annotation(folder: Path, image: Path) -> Annotation | None:
    for place in (folder / image.parent.name / f"{image.stem}.xml", folder / f"{image.stem}.xml"):
        if place.is_file():
            return read_voc(place)
    return None


def read_solution(path: Path) -> dict[str, str]:
    """Map ImageId to PredictionString of a `LOC_*_solution.csv`.

    Raises:
        DataError: it cannot be read, or has other columns.
    """
    try:
        rows = csv.reader(io.StringIO(read_text(path), newline=""), strict=True)
        if next(rows, None) != ["ImageId", "PredictionString"]:
            raise DataError(f"{path}: expected the columns ImageId,PredictionString")
        return dict(row for row in rows if row)
    except (OSError, ValueError, csv.Error) as error:
        raise DataError(f"{path} cannot be read: {error}; expected rows ImageId,PredictionString") from error


def _objects(path: Path, written: str) -> Annotation:
    """Parse `SYNSET x0 y0 x1 y1` groups."""
    words = written.split()
    try:
        groups = [(words[at], [float(word) for word in words[at + 1 : at + 5]]) for at in range(0, len(words), 5)]
        boxes = [(synset, (x0, y0, x1, y1)) for synset, (x0, y0, x1, y1) in groups]
    except ValueError as error:
        raise SampleError(f"{path}: {written[:80]!r} is not made of SYNSET x0 y0 x1 y1") from error
    for synset, _ in boxes:
        if not SYNSET.fullmatch(synset):
            raise SampleError(f"{path}: {written[:80]!r} is not made of SYNSET x0 y0 x1 y1")
    return Annotation(None, tuple(boxes))


UNKNOWN = "are not in the clean manifest"


def read_imagenet_c(
    root: Path, *, clean: Path, corruptions: tuple[Corruption, ...] | None = None, reading: Reading = USUAL
) -> Iterator[Entry | LeftOut]:
    """Yield every corrupted image with label and region of the clean one; split = `fog:3`, cluster = the clean image.

    Args:
        root: the folder that holds the corruptions.
        clean: manifest of the clean validation set, e.g. of `read_imagenet`; images are matched by name.
        corruptions: the corruptions to read; None = all that exist.
        reading: where files of the clean manifest may lie, and what the values of its masks mean.

    Raises:
        DataError: the clean manifest cannot be used, or there is no corruption.
    """
    samples = {Path(sample.image).stem: sample for sample in read_manifest(clean, reading=reading).samples}
    folders = [
        candidate for candidate in _corruption_folders(root) if corruptions is None or candidate[1] in corruptions
    ]
    if not folders:
        raise DataError(
            f"{root} has none of the folders CORRUPTION/SEVERITY that are wanted, e.g. {root / 'fog' / '3'}"
        )
    clean_region = lru_cache(maxsize=None)(_clean_region)
    for folder, corruption in folders:
        for image in image_files(folder):
            sample = samples.get(image.stem)
            if sample is None:
                yield LeftOut(image, UNKNOWN)
                continue
            try:
                region = clean_region(sample)
            except SampleError as error:
                yield LeftOut(image, BROKEN, str(error))
                continue
            side = (CROP.size, CROP.size)
            name = f"{image.stem}.png"
            yield Entry(image, sample.label, region, str(corruption), image.stem, annotated=side, mask_name=name)


def _corruption_folders(root: Path) -> list[tuple[Path, Corruption]]:
    places = sorted((*root.glob("*/[1-5]"), *root.glob("*/*/[1-5]")))
    known = [place for place in places if place.is_dir() and place.parent.name in (*TYPES, *EXTRA)]
    return [(place, Corruption(place.parent.name, int(place.name))) for place in known]


def _clean_region(sample: Sample) -> Region:
    """Return the clean region in pixels of the crop; a mask is made when it is written, once for all corruptions."""
    size, _ = stored(sample.image)
    if sample.boxes is not None:
        return CROP.boxes_in_crop(chosen_boxes(sample), size)
    return lambda _: mask_of_crop(sample, size)


CLASSES = (50, 300, 919)
"""The numbers of classes of the three sets."""

IGNORED_CLASS = 1000


def read_imagenet_s(
    root: Path, *, split: str = "validation", categories: Path | None = None, names: Mapping[str, str] | None = None
) -> Iterator[Entry | LeftOut]:
    """Yield every image of a split with the pixels of its class as the region.

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
    numbers = _class_numbers(images, categories)
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


def _class_numbers(images: Path, categories: Path | None) -> dict[str, int]:
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


def _pixels(path: Path, number: int, size: Size) -> Mask:
    values = read_image(str(path), lambda image: np.asarray(image.convert("RGB")))
    if values.shape[:2] != size[::-1]:
        raise SampleError(f"{path} is {values.shape[1]} x {values.shape[0]} pixels, its image {size[0]} x {size[1]}")
    classes = values[..., 0] + 256 * values[..., 1].astype(np.int64)
    mask = Mask(np.asarray(classes == number), np.asarray(classes == IGNORED_CLASS))
    if not mask.object.any():
        raise SampleError(f"{path} has no pixel of class {number}")
    return mask
