"""YOLO's text files: a row for each image and class, with the class's boxes, or its outlines drawn as a mask.

Layout, from the documentation of Ultralytics: a YAML with `path`, `train`, `val`, `test` (folders of images, or a list
of them) and `names` (a list, or numbers with names); of `images/NAME.jpg` the labels are `labels/NAME.txt`. A line is
`CLASS X Y WIDTH HEIGHT` with the box's centre, or `CLASS X1 Y1 X2 Y2 ...` with three or more corners of an outline; all
are shares of the image's sides. An image without a file, or with an empty one, has no object.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from rate.data.images.drawn_masks import union_mask
from rate.data.images.masks import Mask
from rate.data.make.index import image_files, plain
from rate.data.make.layouts.base import BROKEN, Entry, LeftOut, Size, text_lines
from rate.errors import DataError, SampleError, need
from rate.files import read_text
from rate.types import Box, Float64

NO_OBJECT = "have no object"
SPLITS = ("train", "val", "test")


def read_yolo(
    config: Path,
    *,
    images: Path | None = None,
    labels: Path | None = None,
    split: str | None = None,
    boxes: bool = False,
) -> Iterator[Entry | LeftOut]:
    """Yield every image with an object, once for each class in it.

    Args:
        config: the YAML of the set.
        images: the folder of images, in the place of those that the YAML names.
        labels: the folder of labels, of the same structure; by default beside that of the images.
        split: read this split only; with ``images``, their split.
        boxes: of outlines, their boxes.

    Raises:
        DataError: the YAML cannot be used, or a folder is missing.
        MissingExtra: PyYAML is not installed.
    """
    value = _yaml(config)
    names = _names(config, value.get("names"))
    for folder, own in [(images, split)] if images is not None else _folders(config, value, split):
        assert folder is not None, "the folder of images is given"
        if not folder.is_dir():
            raise DataError(f"{folder} is not a folder of images; --images and --labels say where they are")
        places = labels or _beside(folder)
        if not places.is_dir():
            raise DataError(f"{folder} has no labels beside it: {places} is no folder; name them with --labels")
        for image in image_files(folder):
            path = (places / image.relative_to(folder)).with_suffix(".txt")
            try:
                objects = _objects(path) if path.is_file() else {}
                unknown = sorted(objects.keys() - names.keys())
                if unknown:
                    raise SampleError(f"{path}: class {unknown[0]} has no name in {config}")
            except SampleError as error:
                yield LeftOut(image, BROKEN, str(error))
                continue
            if not objects:
                yield LeftOut(image, NO_OBJECT)
            for number in sorted(objects):
                region = partial(_region, objects[number], boxes)
                name = f"{own or folder.name}/{image.relative_to(folder).with_suffix('').as_posix()}-{number}.png"
                yield Entry(image, names[number], region, own, mask_name=name, of_several=True)


def _yaml(path: Path) -> Mapping[str, Any]:
    yaml = need("yaml", "yolo")
    try:
        value = yaml.safe_load(read_text(path))
    except (OSError, ValueError, yaml.YAMLError) as error:
        raise DataError(f"{path} cannot be read as YAML: {error}") from error
    if not isinstance(value, Mapping):
        raise DataError(f"{path} is not a data set of YOLO: it needs names and train, val or test")
    return value


def _names(path: Path, value: object) -> dict[int, str]:
    pairs = enumerate(value) if isinstance(value, list) else value.items() if isinstance(value, Mapping) else ()
    names = {int(number): str(name) for number, name in pairs if str(number).isdecimal()}
    if not names or len(set(names.values())) < len(names):
        raise DataError(f"{path}: names must be a list of class names, each of its own, or numbers with names")
    return names


def _folders(config: Path, value: Mapping[str, Any], split: str | None) -> Iterator[tuple[Path, str]]:
    root = config.parent / str(value.get("path") or ".")
    given = {name: value[name] for name in SPLITS if value.get(name) and split in (None, name)}
    if not given:
        raise DataError(f"{config} names no images of {split or 'train, val or test'}; say where with --images")
    for name, folders in given.items():
        for written in folders if isinstance(folders, list) else [folders]:
            places = [plain(root / str(written)), plain(config.parent / str(written).removeprefix("../"))]
            # Exported sets write `../train/images` where they mean a folder beside the YAML.
            folder = next((place for place in places if place.is_dir()), places[0])
            if split is not None or folder.is_dir():
                yield folder, name


def _beside(images: Path) -> Path:
    """Return the folder of labels: `images`, the last of that name, is replaced by `labels`."""
    parts = list(images.parts)
    if "images" not in parts:
        return images
    parts[len(parts) - 1 - parts[::-1].index("images")] = "labels"
    return Path(*parts)


def _objects(path: Path) -> dict[int, list[Float64]]:
    """Return the outlines [p,2] of each class as shares of the image; a box has two corners."""
    objects: dict[int, list[Float64]] = {}
    try:
        for line in text_lines(path):
            first, *rest = line.split()
            numbers = np.array(rest, np.float64)
            if len(numbers) == 4:
                x, y, width, height = numbers
                corners = np.array([[x - width / 2, y - height / 2], [x + width / 2, y + height / 2]])
            elif len(numbers) >= 6 and len(numbers) % 2 == 0:
                corners = numbers.reshape(-1, 2)
            else:
                raise ValueError(f"{len(numbers)} numbers after the class, expected 4, or an even number from 6 on")
            if not ((corners > -1.0) & (corners < 2.0)).all():
                raise ValueError("expected shares of the image from 0 to 1")
            objects.setdefault(int(first), []).append(corners)
    except (ValueError, DataError) as error:
        raise SampleError(f"{path}: {error}") from error
    return objects


def _region(outlines: list[Float64], boxes: bool, size: Size) -> Mask | tuple[Box, ...]:
    corners = [outline * np.array(size, np.float64) for outline in outlines]
    if boxes or all(len(one) == 2 for one in corners):
        return tuple(map(_extent, corners))
    try:
        return Mask(union_mask([one if len(one) > 2 else _rectangle(one) for one in corners], size))
    except ValueError as error:
        raise SampleError(f"its polygons {error}") from error


def _extent(corners: Float64) -> Box:
    (x0, y0), (x1, y1) = corners.min(axis=0).tolist(), corners.max(axis=0).tolist()
    return x0, y0, x1, y1


def _rectangle(corners: Float64) -> Float64:
    x0, y0, x1, y1 = _extent(corners)
    return np.array([[x0, y0], [x1, y0], [x1, y1], [x0, y1]])
