"""Caltech-101: clicked contours and boxes.

Layout: `101_ObjectCategories/CLASS/image_0001.jpg` and `Annotations/CLASS/annotation_0001.mat`. In the set's own
`show_annotation.m`, `box_coord` is top, bottom, left, right and `obj_contour` is x over y relative to the box's corner,
both in MATLAB's pixels, whose first has its centre at 1.
Li, Andreeto, Ranzato, Perona, "Caltech 101" (2022), doi 10.22002/D1.20086.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rate.data.images.drawn_masks import polygon_mask
from rate.data.images.masks import Mask
from rate.data.make.index import image_files
from rate.data.make.layouts.base import BROKEN, MISSING, Entry, LeftOut, Region, Size, class_name, folder_of
from rate.data.make.layouts.mat import load_mat
from rate.errors import SampleError, need
from rate.types import Float64

ANNOTATION_FOLDERS = {
    "Faces": "Faces_2",
    "Faces_easy": "Faces_3",
    "Motorbikes": "Motorbikes_16",
    "airplanes": "Airplanes_Side_2",
}
"""Classes whose annotations lie in a folder of another name."""

_FARTHEST = 1e6  # pixels from the corner; larger values are invalid


def read_caltech101(
    root: Path, *, boxes: bool = False, names: Mapping[str, str] | None = None
) -> Iterator[Entry | LeftOut]:
    """Yield every image with its contour as the region, or its box. BACKGROUND_Google has neither.

    Args:
        root: the folder that holds `101_ObjectCategories` and `Annotations`.
        boxes: use the box instead of the contour.
        names: folder -> class name; the default is the folder's name with spaces for underscores.

    Raises:
        DataError: the folders do not exist.
        MissingExtra: scipy is not installed.
    """
    need("scipy.io", "mat")
    images = folder_of(root, "101_ObjectCategories")
    annotations = folder_of(root, "Annotations")
    for image in image_files(images):
        folder = image.relative_to(images).parts[0]
        number = image.stem.removeprefix("image_")
        annotation = annotations / ANNOTATION_FOLDERS.get(folder, folder) / f"annotation_{number}.mat"
        if not annotation.is_file():
            yield LeftOut(image, MISSING)
            continue
        try:
            region = _region(annotation, boxes)
        except SampleError as error:
            yield LeftOut(image, BROKEN, str(error))
            continue
        yield Entry(image, class_name(names, folder, folder.replace("_", " ")), region)


def _region(path: Path, boxes: bool) -> Region:
    variables = load_mat(path, ("box_coord", "obj_contour"))
    box = _numbers(path, "box_coord", variables["box_coord"])
    contour = _numbers(path, "obj_contour", variables["obj_contour"])
    if box.shape != (1, 4) or contour.shape[0] != 2 or contour.shape[1] < 3:
        shapes = f"box_coord {box.shape} and obj_contour {contour.shape}"
        raise SampleError(f"{path}: expected box_coord (1, 4) and obj_contour (2, 3 or more), got {shapes}")
    top, bottom, left, right = box[0].tolist()
    if boxes:
        return ((left - 1, top - 1, right, bottom),)
    return partial(_inside, contour.T + np.array([left, top]) - 0.5)


def _inside(corners: Float64, size: Size) -> Mask:
    return Mask(polygon_mask(corners, size))


def _numbers(path: Path, name: str, values: NDArray[Any]) -> Float64:
    """Read the variable, a matrix of pixel coordinates."""
    if values.dtype.kind not in "iuf" or values.ndim != 2 or not (abs(values.astype(np.float64)) < _FARTHEST).all():
        raise SampleError(f"{path}: {name} must be a matrix of pixel coordinates, got {values.dtype} {values.shape}")
    return values.astype(np.float64)
