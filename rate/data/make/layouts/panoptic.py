"""COCO panoptic: a row for each image and class, with all pixels of the class's segments.

Layout, from the format's description: a JSON with `images`, `categories` (`isthing`) and `annotations`, each with an
`image_id`, a `file_name` of a PNG and `segments_info` (`id`, `category_id`); a pixel of the PNG is of segment R + 256 G
+ 65536 B, and 0 is unlabelled, of neither side.
Kirillov, He, Girshick, Rother, Dollar, "Panoptic Segmentation", CVPR 2019.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from rate.data.formats.manifest_files import parse_json, short
from rate.data.images.masks import Mask
from rate.data.images.prepare import read_image
from rate.data.make.coco import MAX_JSON_BYTES
from rate.data.make.layouts.base import MISSING, Entry, LeftOut, Size, below
from rate.errors import DataError, SampleError
from rate.files import read_whole
from rate.types import Int64


def read_panoptic(
    annotations: Path, masks: Path, images: Path, *, stuff: bool = False, max_bytes: int = MAX_JSON_BYTES
) -> Iterator[Entry | LeftOut]:
    """Yield every annotated image once for each class in it; of things alone, or also of stuff such as sky.

    Args:
        annotations: the JSON.
        masks: the folder of the PNG files.
        images: the folder to which `file_name` of an image is relative.
        stuff: whether classes that are no things get rows, too.
        max_bytes: the largest JSON that is read.

    Raises:
        DataError: the JSON cannot be read or has another form, or names a file outside the folders.
    """
    try:
        value: Any = parse_json(read_whole(annotations, max_bytes), finite=True)
        names = {one["id"]: str(one["name"]) for one in value["categories"] if stuff or one.get("isthing", 1)}
        files = {one["id"]: str(one["file_name"]) for one in value["images"]}
        listed = [(files[one["image_id"]], str(one["file_name"]), _segments(one)) for one in value["annotations"]]
    except (OSError, ValueError, TypeError, KeyError, AttributeError) as error:
        raise DataError(
            f"{annotations} is not COCO's panoptic JSON ({type(error).__name__}: {short(str(error))}): it needs "
            "images, categories, and annotations with file_name and segments_info"
        ) from error
    for written, file, segments in sorted(listed):
        image, mask = below(images, written, annotations), below(masks, file, annotations)
        if not mask.is_file():
            yield LeftOut(image, MISSING)
            continue
        for kind in sorted({kind for _, kind in segments} & names.keys(), key=names.__getitem__):
            wanted = np.array([number for number, other in segments if other == kind], np.int64)
            region = partial(_segmented, mask, wanted)
            name = f"{Path(file).stem}-{kind}.png"
            yield Entry(image, names[kind], region, mask_name=name, of_several=True)


def _segments(annotation: Any) -> tuple[tuple[int, int], ...]:
    return tuple((int(one["id"]), int(one["category_id"])) for one in annotation["segments_info"])


def _segmented(path: Path, wanted: Int64, size: Size) -> Mask:
    colours = read_image(str(path), lambda opened: np.asarray(opened.convert("RGB")))
    if colours.shape[:2] != size[::-1]:
        raise SampleError(f"{path} is {colours.shape[1]} x {colours.shape[0]} pixels, its image {size[0]} x {size[1]}")
    numbers = colours.astype(np.int64) @ np.array([1, 256, 65536])
    return Mask(np.isin(numbers, wanted), numbers == 0)
