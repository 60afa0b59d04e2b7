"""One set of photographs in every form that a reader of `rate` takes, written from its panoptic masks and outlines.

The set is `coco-regions` of the folder named by RATE_TEST_DATA. What is expected of a form is computed here from the
panoptic file and its PNG masks alone, without the readers.
"""

from __future__ import annotations

import io
import json
import re
import shutil
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, ImageFilter

from rate.data.make.layouts.pascal_voc import CLASSES
from rate.types import Bool, Box, UInt8

_VOC = {"airplane": "aeroplane", "couch": "sofa", "dining table": "diningtable", "motorcycle": "motorbike"}
_VOC |= {"potted plant": "pottedplant", "tv": "tvmonitor"}

REST, OBJECT, VOID = 0, 1, 255
"""Values of the masks that are written here, as of Pascal VOC."""

BORDER = 5
"""Pixels on both sides of an object's outline that are the border of its trimap."""


@dataclass(frozen=True)
class Photograph:
    """A photograph and its things."""

    name: str
    size: tuple[int, int]  # width and height, pixels
    regions: dict[str, Bool]  # class -> pixels of all its segments
    boxes: dict[str, list[Box]]  # class -> corners of each segment
    void: Bool  # pixels of no segment
    largest: str  # class of the largest segment

    def values(self, label: str) -> UInt8:
        """The mask of a class with void, as `REST`, `OBJECT` and `VOID`."""
        return np.where(self.void, VOID, np.where(self.regions[label], OBJECT, REST)).astype(np.uint8)

    def trimap(self, label: str) -> UInt8:
        """The trimap of a class as Oxford-IIIT Pets has it: 1 object, 2 rest, 3 the border between them."""
        region = self.regions[label]
        inner, outer = ~grown(~region, BORDER), grown(region, BORDER)
        return np.where(inner, 1, np.where(outer, 3, 2)).astype(np.uint8)


def grown(mask: Bool, pixels: int) -> Bool:
    """A mask with all pixels that are at most so many columns and rows away."""
    return np.asarray(Image.fromarray(mask.astype(np.uint8)).filter(ImageFilter.MaxFilter(2 * pixels + 1))) > 0


def photographs(source: Path, most: int | None = None) -> dict[str, Photograph]:
    """Read the photographs that have things, by name; at ``most`` so many."""
    folder = source / "panoptic_segmentation" / "annotations"
    document = json.loads((folder / "panoptic_train2017.json").read_text())
    things = {one["id"]: one["name"] for one in document["categories"] if one["isthing"]}
    found = {}
    for one in sorted(document["annotations"], key=lambda one: str(one["file_name"])):
        name = Path(one["file_name"]).stem
        colours = np.asarray(Image.open(folder / "panoptic_train2017" / f"{name}.png").convert("RGB"))
        numbers = colours.astype(np.int64) @ np.array([1, 256, 65536])
        segments = [part for part in one["segments_info"] if part["category_id"] in things]
        if not segments:
            continue
        regions: dict[str, Bool] = {}
        boxes: dict[str, list[Box]] = {}
        for part in segments:
            label, (x, y, width, height) = things[part["category_id"]], part["bbox"]
            regions[label] = regions.get(label, np.zeros(numbers.shape, np.bool_)) | (numbers == part["id"])
            boxes.setdefault(label, []).append((x, y, x + width, y + height))
        largest = things[max(segments, key=lambda part: int(part["area"]))["category_id"]]
        found[name] = Photograph(name, numbers.shape[::-1], regions, boxes, numbers == 0, largest)
        if len(found) == most:
            break
    return found


def others(source: Path, known: dict[str, Photograph]) -> dict[str, str]:
    """The photographs that have boxes alone -> the class of the largest box."""
    folder = source / "object_detection"
    lines = re.findall(r"^ +(\d+): (.+)$", (folder / "config.yaml").read_text(), re.MULTILINE)
    names = {int(number): name.strip() for number, name in lines}
    found = {}
    for path in sorted((folder / "labels" / "train2017").glob("*.txt")):
        boxes = [line.split() for line in path.read_text().splitlines()]
        if path.stem not in known and boxes:
            found[path.stem] = names[int(max(boxes, key=lambda box: float(box[3]) * float(box[4]))[0])]
    return found


def splits(known: dict[str, Photograph], more: dict[str, str]) -> dict[str, str]:
    """Photograph -> train or test: of every class the first photograph trains, and the ones with boxes alone do."""
    seen, found = Counter(more.values()), dict.fromkeys(more, "train")
    for name, one in known.items():
        found[name] = "test" if seen[one.largest] % 3 else "train"
        seen[one.largest] += 1
    return found


def coco(source: Path, known: dict[str, Photograph]) -> dict[str, Any]:
    """COCO's instances three times: segments' boxes, the set's outlines, and run lengths of the panoptic masks."""
    numbers = {int(n): name for n, name in re.findall(r"^ +(\d+): (.+)$", _outlines(source)[0], re.MULTILINE)}
    kinds = {name.strip(): number for number, name in numbers.items()}
    boxes, outlines, lengths = [], [], []
    for key, one in enumerate(known.values(), 1):
        for label, corners in one.boxes.items():
            common = {"image_id": key, "category_id": kinds[label]}
            boxes += [common | {"bbox": [x0, y0, x1 - x0, y1 - y0]} for x0, y0, x1, y1 in corners]
            lengths.append(common | {"segmentation": {"counts": _counts(one.regions[label]), "size": one.size[::-1]}})
        for line in (_outlines(source)[1] / f"{one.name}.txt").read_text().splitlines():
            number, *shares = line.split()
            corners = (np.array(shares, np.float64).reshape(-1, 2) * one.size).ravel().tolist()
            outlines.append({"image_id": key, "category_id": int(number), "segmentation": [corners]})
    images = [
        {"id": key, "file_name": f"{one.name}.jpg", "width": one.size[0], "height": one.size[1]}
        for key, one in enumerate(known.values(), 1)
    ]
    categories = [{"id": number, "name": name} for name, number in kinds.items()]
    documents = {"boxes": boxes, "outlines": outlines, "run-lengths": lengths}
    return {
        form: {
            "images": images,
            "categories": categories,
            "annotations": [{"id": k, "iscrowd": 0, "area": 1} | one for k, one in enumerate(annotations, 1)],
        }
        for form, annotations in documents.items()
    }


def _outlines(source: Path) -> tuple[str, Path]:
    folder = source / "instance_segmentation"
    return (folder / "config.yaml").read_text(), folder / "labels" / "train2017"


def _counts(region: Bool) -> list[int]:
    """Lengths of runs down the columns, of the rest and of the object in turn, the rest first."""
    flat = region.T.ravel()
    ends = np.concatenate([[0], np.flatnonzero(np.diff(flat)) + 1, [flat.size]])
    return ([0] if flat[0] else []) + np.diff(ends).tolist()


def voc_name(label: str) -> str:
    """What Pascal VOC calls a class of COCO, or would call it in one word."""
    return _VOC.get(label, label.replace(" ", "_"))


def write_voc(known: dict[str, Photograph], images: Path, folder: Path) -> None:
    """The development kit of Pascal VOC: boxes of all classes, and pixels of those that VOC has."""
    for name in ("JPEGImages", "Annotations", "SegmentationClass", "ImageSets/Main", "ImageSets/Segmentation"):
        (folder / name).mkdir(parents=True)
    for one in known.values():
        shutil.copyfile(images / f"{one.name}.jpg", folder / "JPEGImages" / f"{one.name}.jpg")
        objects, drawn = "", np.where(one.void, VOID, REST).astype(np.uint8)
        for label, boxes in one.boxes.items():
            name = voc_name(label)
            for box in boxes:
                corners = "".join(
                    f"<{tag}>{x}</{tag}>" for tag, x in zip(("xmin", "ymin", "xmax", "ymax"), box, strict=True)
                )
                objects += f"<object><name>{name}</name><bndbox>{corners}</bndbox></object>"
            if name in CLASSES:
                drawn[one.regions[label]] = CLASSES.index(name) + 1
        size = "<size><width>{}</width><height>{}</height><depth>3</depth></size>".format(*one.size)
        (folder / "Annotations" / f"{one.name}.xml").write_text(f"<annotation>{size}{objects}</annotation>")
        palette = Image.fromarray(drawn).convert("P")
        palette.save(folder / "SegmentationClass" / f"{one.name}.png")
    for name in ("Main", "Segmentation"):
        (folder / "ImageSets" / name / "val.txt").write_text("".join(f"{name}\n" for name in known))


def write_folders(
    known: dict[str, Photograph], images: Path, folder: Path, mask: Callable[[Photograph, str], UInt8]
) -> None:
    """A folder of photographs a class, of the largest object's class, and masks in the same structure."""
    for one in known.values():
        for part in ("photographs", "masks"):
            (folder / part / one.largest).mkdir(parents=True, exist_ok=True)
        shutil.copyfile(images / f"{one.name}.jpg", folder / "photographs" / one.largest / f"{one.name}.jpg")
        Image.fromarray(mask(one, one.largest)).save(folder / "masks" / one.largest / f"{one.name}.png")


def write_library_sets(known: dict[str, Photograph], images: Path, folder: Path, split: dict[str, str]) -> None:
    """The largest object's class of each photograph as `datasets` and `webdataset` write it: boxes and masks."""
    import datasets
    import webdataset

    datasets.disable_progress_bars()
    folder.mkdir()
    classes = datasets.ClassLabel(names=sorted({label for one in known.values() for label in one.regions}))
    chosen = list(known.values())
    files = [f"{one.name}.jpg" for one in chosen]
    common = {
        "id": [key_of(one) for one in chosen],
        "image": [{"bytes": (images / file).read_bytes(), "path": file} for file in files],
        "label": [classes.str2int(one.largest) for one in chosen],
        "split": [split[one.name] for one in chosen],
    }
    kinds = {"id": datasets.Value("string"), "image": datasets.Image(), "label": classes}
    kinds |= {"split": datasets.Value("string")}
    objects = [
        {
            "bbox": [[x0, y0, x1 - x0, y1 - y0] for _, (x0, y0, x1, y1) in _boxes(one)],
            "category": [classes.str2int(label) for label, _ in _boxes(one)],
        }
        for one in chosen
    ]
    box = datasets.List(datasets.Value("float32"), length=4)
    with_objects = kinds | {"objects": {"bbox": datasets.List(box), "category": datasets.List(classes)}}
    masks = [{"bytes": _png(one), "path": f"{one.name}.png"} for one in chosen]
    for name, columns, features in (
        ("boxes", {"objects": objects}, with_objects),
        ("masks", {"mask": masks}, kinds | {"mask": datasets.Image()}),
    ):
        made = datasets.Dataset.from_dict(common | columns, features=datasets.Features(features))
        made.to_parquet(str(folder / f"{name}.parquet"))
        made.save_to_disk(str(folder / f"saved-{name}"))
    with webdataset.ShardWriter(str(folder / "set-%03d.tar"), maxcount=50, verbose=0) as shards:
        for one in chosen:
            picture, about = (images / f"{one.name}.jpg").read_bytes(), {"id": key_of(one), "split": split[one.name]}
            shards.write(
                {"__key__": one.name, "jpg": picture, "json": about | {"label": one.largest}, "mask.png": _png(one)}
            )


def key_of(one: Photograph) -> str:
    """The id of a photograph with the class of its largest object."""
    return f"{one.name}:{one.largest}"


def _boxes(one: Photograph) -> Iterator[tuple[str, Box]]:
    return ((label, box) for label, boxes in one.boxes.items() for box in boxes)


def _png(one: Photograph) -> bytes:
    stream = io.BytesIO()
    Image.fromarray(one.values(one.largest)).save(stream, "PNG")
    return stream.getvalue()
