"""ImageNet-1K: boxes of the classification and localisation task.

Layouts: Kaggle's, `ILSVRC/Data/CLS-LOC/val/NAME.JPEG` (train has a folder a synset), `LOC_val_solution.csv` with
`ImageId,PredictionString` = repeated `SYNSET x0 y0 x1 y1`, `ILSVRC/Annotations/CLS-LOC/val/NAME.xml` (Pascal VOC); and
torchvision's, `val/SYNSET/NAME.JPEG`, with boxes given apart. Source: the data page of Kaggle's "ImageNet Object
Localization Challenge"; Russakovsky et al., "ImageNet Large Scale Visual Recognition Challenge", IJCV 2015.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import TypeAlias

from rate.data.make.index import image_files
from rate.data.make.layouts.base import BROKEN, MISSING, Entry, LeftOut, class_name
from rate.data.make.layouts.names import SYNSET
from rate.data.make.layouts.voc import Annotation, read_voc
from rate.errors import DataError, SampleError
from rate.files import read_text

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
    images = next((candidate for candidate in _image_folders(root, split) if candidate.is_dir()), root)
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


def _image_folders(root: Path, split: str) -> tuple[Path, ...]:
    return root / "ILSVRC" / "Data" / "CLS-LOC" / split, root / split


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
