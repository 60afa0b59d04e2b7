"""A manifest for a set in COCO's JSON: each pair of image and class is a sample, all its instances are its region."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from rate.data.formats.manifest_files import Raw, parse_json, require_manifest, short
from rate.data.images.drawn_masks import rle_mask, union_mask
from rate.data.make.index import SHOWN, ManifestReport, masks_folder, named, plain, reachable, written
from rate.data.storage.limits import max_pixels
from rate.data.storage.local_file import is_file
from rate.data.storage.location import Folder
from rate.errors import ConfigError, DataError
from rate.files import read_whole
from rate.types import Bool, Json

MAX_JSON_BYTES = 512 << 20
"""The largest annotation file that is read, bytes; `json` needs up to ten times as much memory."""

REGIONS = ("boxes", "masks")


@dataclass(frozen=True, slots=True)
class CocoReport(ManifestReport):
    """The result of `index_coco`; COCO's JSON does not name its split."""

    missing: tuple[str, ...]  # annotated images whose file is missing
    unannotated: int  # number of images in the JSON without an annotation
    crowds: int  # number of annotations that outline a crowd, which are included

    def notices(self) -> tuple[str, ...]:
        """Name what is missing and what counts all the same."""
        sentences = []
        if self.missing:
            sentences.append(
                f"{len(self.missing)} annotated images are not there and were left out: {named(self.missing)}"
            )
        if self.unannotated:
            sentences.append(f"{self.unannotated} images have no annotation and were left out")
        if self.crowds:
            sentences.append(f"{self.crowds} annotations are crowds; they are part of their class's region")
        return tuple(sentences)


@dataclass(frozen=True, slots=True)
class _Set:
    images: dict[int, Json]
    names: dict[int, str]  # category -> name
    grouped: dict[tuple[int, int], list[Json]]  # (image, category) -> annotations


def index_coco(
    annotations: Path, images: Path, out: Path, *, regions: str = "boxes", max_bytes: int = MAX_JSON_BYTES
) -> CocoReport:
    """Write a manifest with a row for each image and class in it: id `image:class`, cluster `image`.

    The region is the union of the class's instances in the image, crowds included: `boxes` = their `bbox`;
    `masks` = their polygons (`polygon_mask`: a pixel is inside if its centre is) and run lengths, as PNG in
    `<out's name>-masks` beside ``out``. Rows are sorted by image and class.

    Args:
        annotations: COCO's JSON: `images`, `categories`, `annotations`.
        images: the folder to which `file_name` is relative, in or below the folder of ``out``.
        out: .csv, .jsonl or .parquet; replaced if it exists. An older folder of masks is replaced if it holds
            nothing else.
        regions: "boxes" | "masks".
        max_bytes: the largest JSON that is read.

    Raises:
        ConfigError: ``regions`` is unknown.
        DataError: the JSON is too large or malformed (each problem is named), or no image exists.
    """
    require_manifest(out)
    if regions not in REGIONS:
        raise ConfigError(f"regions must be one of {', '.join(REGIONS)}; got {regions!r}")
    coco = _checked(_parsed(annotations, max_bytes), annotations, regions)
    images, out = plain(images), out.absolute()
    there = {key for key, image in coco.images.items() if is_file(images / image["file_name"])}
    used = {key: group for key, group in coco.grouped.items() if key[0] in there}
    if not used:
        raise DataError(f"no annotated image of {annotations} lies in {images}; --images is where `file_name` starts")
    masks = out.with_name(f"{out.stem}-masks") if regions == "masks" else None
    rows = list(_rows(coco, used, images, out, masks))
    if masks is not None:
        _write_masks(coco, used, masks_folder(masks, out))
    annotated = {image for image, _ in coco.grouped}
    return CocoReport(
        *written(out, rows),
        missing=tuple(sorted(coco.images[key]["file_name"] for key in annotated - there)),
        unannotated=len(coco.images) - len(annotated),
        crowds=sum(bool(one.get("iscrowd")) for group in used.values() for one in group),
    )


def _order(coco: _Set, key: tuple[int, int]) -> tuple[str, str]:
    return coco.images[key[0]]["file_name"], coco.names[key[1]]


def _rows(
    coco: _Set, used: dict[tuple[int, int], list[Json]], images: Path, out: Path, masks: Path | None
) -> Iterator[Raw]:
    folder = Folder(out.parent)
    for key in sorted(used, key=lambda key: _order(coco, key)):
        name, label = _order(coco, key)
        region = {"boxes": _boxes(used[key])} if masks is None else {"mask": f"{masks.name}/{key[0]}-{key[1]}.png"}
        written = reachable(folder, images / name, out)
        yield {"id": f"{name}:{label}", "image": written, "label": label, "cluster": name, **region}


def _boxes(group: list[Json]) -> list[list[float]]:
    return [[x, y, x + width, y + height] for x, y, width, height in (one["bbox"] for one in group)]


def _write_masks(coco: _Set, used: dict[tuple[int, int], list[Json]], folder: AbstractContextManager[Path]) -> None:
    """Write the masks all or nothing: the folder is renamed when it is complete."""
    with folder as draft:
        for key, group in used.items():
            mask = _union(group, coco.images[key[0]])
            Image.fromarray(mask).save(draft / f"{key[0]}-{key[1]}.png")


def _union(group: list[Json], image: Json) -> Bool:
    width, height = image["width"], image["height"]
    drawn = [corners for one in group if isinstance(one["segmentation"], list) for corners in one["segmentation"]]
    polygons = [np.reshape(corners, (-1, 2)).astype(np.float64) for corners in drawn]
    try:
        union = union_mask(polygons, (width, height))
    except ValueError as error:
        raise DataError(f"image {image['file_name']}: its polygons {error}") from error
    for one in group:
        if isinstance(one["segmentation"], dict):
            try:
                union |= rle_mask(one["segmentation"]["counts"], width, height)
            except ValueError as error:
                raise DataError(f"annotation {short(one.get('id'))}: its run lengths {error}") from error
    return union


def _parsed(path: Path, max_bytes: int) -> Json:
    try:
        size = path.stat().st_size
        if size > max_bytes:
            cure = f"--max-json-bytes {size} allows it, and takes up to ten times as much memory"
            raise DataError(f"{path} has {size:,} bytes, the limit is {max_bytes:,}; {cure}")
        value = parse_json(read_whole(path, max_bytes), finite=True)
    except (OSError, ValueError) as error:
        raise DataError(f"the annotations {path} cannot be read: {error}") from error
    parts = ("images", "categories", "annotations")
    if not isinstance(value, dict) or not all(isinstance(value.get(part), list) for part in parts):
        raise DataError(f"{path} is not COCO's JSON: it needs the lists {', '.join(parts)}")
    return value


def _checked(value: Json, path: Path, regions: str) -> _Set:
    problems: list[str] = []
    images: dict[int, Json] = {}
    names: dict[int, str] = {}
    grouped: dict[tuple[int, int], list[Json]] = {}
    for image in value["images"]:
        problems += _enter(images, image, image, "image", _image_problems(image))
    for category in value["categories"]:
        name = category.get("name") if isinstance(category, dict) else None
        wrong = [] if _is_text(name) and name not in names.values() else [f"needs a name of its own, got {short(name)}"]
        problems += _enter(names, category, name, "category", wrong)
    if len({image["file_name"] for image in images.values()}) < len(images):
        problems.append("two images have the same file_name")
    for one in value["annotations"]:
        image, kind = (one.get("image_id"), one.get("category_id")) if isinstance(one, dict) else (None, None)
        if not (isinstance(image, int) and image in images and isinstance(kind, int) and kind in names):
            given = f"{short(image)}, {short(kind)}"
            problems.append(f"annotation {short(_id(one))}: image_id and category_id must be listed ids, got {given}")
            continue
        problems += [
            f"annotation {short(_id(one))}: {what}" for what in _annotation_problems(one, regions, images[image])
        ]
        grouped.setdefault((image, kind), []).append(one)
    if problems:
        more = [f"  and {len(problems) - SHOWN} more"] if len(problems) > SHOWN else []
        lines = [f"{path} cannot be used, {len(problems)} problems:", *(f"  {one}" for one in problems[:SHOWN]), *more]
        raise DataError("\n".join(lines))
    return _Set(images, names, grouped)


def _enter(table: dict[int, Any], entry: object, value: object, what: str, problems: list[str]) -> Iterator[str]:
    """Add an entry with a unique id to the table."""
    key = _id(entry)
    if not isinstance(key, int) or isinstance(key, bool) or key in table:
        problems = [f"needs an id of its own, a whole number, got {short(key)}", *problems]
    if not problems and isinstance(key, int):
        table[key] = value
    return (f"{what} {short(key)}: {problem}" for problem in problems)


def _is_text(value: object) -> bool:
    try:
        return isinstance(value, str) and bool(value.encode().strip())
    except UnicodeEncodeError:  # JSON can escape half a surrogate pair
        return False


def _id(entry: object) -> object:
    return entry.get("id") if isinstance(entry, dict) else None


def _image_problems(image: object) -> list[str]:
    if not isinstance(image, dict) or not _is_text(image.get("file_name")):
        return ["needs a file_name"]
    sides = (image.get("width"), image.get("height"))
    if not all(isinstance(side, int) and not isinstance(side, bool) and side > 0 for side in sides):
        return [f"needs width and height in pixels, got {short(sides)}"]
    if image["width"] * image["height"] > max_pixels():
        size = f"{short(sides[0])} x {short(sides[1])}"
        return [f"is {size} pixels, the limit is {max_pixels():,}; RATE_MAX_PIXELS changes it"]
    return []


def _annotation_problems(one: Json, regions: str, image: Json) -> list[str]:
    if regions == "boxes":
        box = one.get("bbox")
        right = isinstance(box, list) and len(box) == 4 and _numbers(box) and min(box[2:]) >= 0
        return [] if right else [f"bbox must be [x, y, width, height], got {short(box)}"]
    outline = one.get("segmentation")
    if isinstance(outline, dict):
        counts, size = outline.get("counts"), outline.get("size")
        if size != [image["height"], image["width"]]:
            return [f"its run lengths are of size {short(size)}, the image is [{image['height']}, {image['width']}]"]
        if isinstance(counts, str):
            return []
        if isinstance(counts, list) and _numbers(counts) and all(isinstance(run, int) for run in counts):
            return []
        return ["counts must be a text or a list of whole numbers"]
    if isinstance(outline, list) and outline and all(map(_is_polygon, outline)):
        return []
    return ["has neither polygons nor run lengths; --regions boxes takes its bbox"]


def _is_polygon(corners: object) -> bool:
    return isinstance(corners, list) and len(corners) >= 6 and len(corners) % 2 == 0 and _numbers(corners)


def _numbers(values: list[object]) -> bool:
    return all(isinstance(number, (int, float)) and abs(number) < 1e9 for number in values)  # false for NaN, too
