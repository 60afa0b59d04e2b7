"""The same set as a CSV manifest and as the libraries `datasets` and `webdataset` write it."""

from __future__ import annotations

import io
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import datasets
import numpy as np
import webdataset
from datasets import ClassLabel, Dataset, Features, Value
from datasets import Image as Picture
from PIL import Image

NAMES = ["light", "dark"]  # not in the order of the alphabet
SIDE = 40
datasets.disable_progress_bars()


@dataclass(frozen=True)
class Row:
    """A picture, its class as a number, and the corners of the objects with the class of each."""

    id: str
    picture: Image.Image
    label: int
    boxes: tuple[tuple[int, int, int, int], ...]
    kinds: tuple[int, ...]

    @property
    def mask(self) -> Image.Image:
        """The boxes of the label, drawn."""
        drawn = np.zeros((self.picture.height, self.picture.width), np.uint8)
        for x0, y0, x1, y1 in self.of(self.label):
            drawn[y0:y1, x0:x1] = 255
        return Image.fromarray(drawn)

    def of(self, kind: int) -> list[list[int]]:
        return [list(box) for box, own in zip(self.boxes, self.kinds, strict=True) if own == kind]


def some_rows(count: int = 12) -> list[Row]:
    rng, made = np.random.default_rng(4), []
    for k in range(count):
        level = (190, 60)[k % 2]
        picture = rng.normal(level, 40, (SIDE, SIDE + k, 3)).clip(0, 255).astype(np.uint8)
        boxes = ((2, 1, 21 + k, 20), (30, 25, 39, 38))
        made.append(Row(f"s{k}", Image.fromarray(picture), k % 2, boxes, (k % 2, 1 - k % 2)))
    return made


def write_csv(rows: list[Row], folder: Path, regions: str = "boxes") -> str:
    """Write images and a manifest with boxes or masks."""
    folder.mkdir()
    lines = [f"id,image,label,{regions}"]
    for row in rows:
        row.picture.save(folder / f"{row.id}.png")
        row.mask.save(folder / f"{row.id}-mask.png")
        region = f'"{row.of(row.label)}"' if regions == "boxes" else f"{row.id}-mask.png"
        lines.append(f"{row.id},{row.id}.png,{NAMES[row.label]},{region}")
    (folder / "manifest.csv").write_text("\n".join(lines) + "\n")
    return str(folder / "manifest.csv")


def with_size(box: tuple[int, int, int, int]) -> list[int]:
    x0, y0, x1, y1 = box
    return [x0, y0, x1 - x0, y1 - y0]


def dataset(rows: list[Row], *, corners: bool = False, structs: bool = False, masks: bool = False) -> Dataset:
    """Make a dataset with objects as a struct of lists or a list of structs, or with masks as a second image."""
    box, kind = datasets.List(Value("float32"), length=4), ClassLabel(names=NAMES)
    columns: dict[str, Any] = {
        "id": [row.id for row in rows],
        "image": [row.picture for row in rows],
        "label": [row.label for row in rows],
    }
    features = {"id": Value("string"), "image": Picture(), "label": ClassLabel(names=NAMES)}
    if masks:
        columns["mask"], features["mask"] = [row.mask for row in rows], Picture()
    else:
        own = [[list(box) if corners else with_size(box) for box in row.boxes] for row in rows]
        kinds = [list(row.kinds) for row in rows]
        objects: list[Any] = [{"bbox": one, "category": two} for one, two in zip(own, kinds, strict=True)]
        features["objects"] = {"bbox": datasets.List(box), "category": datasets.List(kind)}
        if structs:
            objects = [
                [{"bbox": box, "category": kind} for box, kind in zip(one, two, strict=True)]
                for one, two in zip(own, kinds, strict=True)
            ]
            features["objects"] = datasets.List({"bbox": box, "category": kind})
        columns["objects"] = objects
    return Dataset.from_dict(columns, features=Features(features))


def write_shards(rows: list[Row], folder: Path, *, masks: bool = False) -> str:
    """Write shards of five rows by `webdataset`, with keys in subfolders and classes as numbers."""
    folder.mkdir()
    with webdataset.ShardWriter(str(folder / "set-%06d.tar"), maxcount=5, verbose=0) as shards:
        for row in rows:
            objects = {"bbox": [with_size(box) for box in row.boxes], "category": list(row.kinds)}
            region: dict[str, Any] = {"png": png(row.mask)} if masks else {"json": {"id": row.id, "objects": objects}}
            shards.write(
                {"__key__": f"val/v1.0/{row.id}", "cls": row.label, "txt": "a caption", **region} | _image(row, masks)
            )
    return f"{folder}/set-{{000000..{(len(rows) - 1) // 5:06d}}}.tar"


def _image(row: Row, masks: bool) -> dict[str, bytes]:
    return {"image.png" if masks else "png": png(row.picture)}


def png(picture: Image.Image) -> bytes:
    stream = io.BytesIO()
    picture.save(stream, "PNG")
    return stream.getvalue()
