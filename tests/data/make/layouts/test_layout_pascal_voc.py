"""Pascal VOC: a row an image and class, void ignored, boxes from the annotations; lists that lie are refused."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from layout_files import picture, voc
from PIL import Image

from rate.data.images.geometry import Geometry
from rate.data.images.prepare import load_mask, prepare
from rate.data.make.layouts.pascal_voc import CLASSES, read_pascal_voc, voc_masks
from rate.data.make.layouts.write import write_layout
from rate.data.manifest import read_manifest
from rate.errors import DataError


@pytest.fixture
def root(tmp_path: Path) -> Path:
    base = tmp_path / "VOCdevkit" / "VOC2012"
    numbers = np.zeros((30, 40), np.uint8)
    numbers[5:15, 5:15], numbers[5:15, 20:30], numbers[15:18, 5:30] = 8, 12, 255
    for name, split in (("2007_1", "train"), ("2007_2", "val")):
        picture(base / "JPEGImages" / f"{name}.jpg")
        for part, text in (("Segmentation", name), ("Main", f"{name} -1")):
            (base / "ImageSets" / part).mkdir(parents=True, exist_ok=True)
            (base / "ImageSets" / part / f"{split}.txt").write_text(f"{text}\n")
        (base / "SegmentationClass").mkdir(exist_ok=True)
        mask = Image.fromarray(numbers, "P")
        mask.putpalette([value for number in range(256) for value in (number, 255 - number, 7)])
        mask.save(base / "SegmentationClass" / f"{name}.png")
        objects = (("dog", (1, 2, 9, 9)), ("cat", (0, 0, 5, 5)), ("dog", (20, 3, 30, 9)))
        voc(base / "Annotations" / f"{name}.xml", (40, 30), *objects)
    return base


@pytest.mark.parametrize("above", [0, 1])
def test_masks_have_a_row_for_each_class_and_the_border_is_ignored(root: Path, above: int) -> None:
    report = write_layout(read_pascal_voc((root, *root.parents)[above]), root, root / "m.csv", voc_masks())
    assert (report.classes, report.splits) == ({"cat": 2, "dog": 2}, {"train": 2, "val": 2})
    for sample in read_manifest(root / "m.csv").samples:
        found = load_mask(sample.mask or "", values=sample.values)
        rows, columns = np.nonzero(found.object)
        assert (rows.min(), rows.max(), int(columns.min())) == (5, 14, 5 if sample.label == "cat" else 20)
        assert found.ignored is not None
        assert int(found.ignored.sum()) == 75
        assert (sample.id, sample.cluster) == (f"{sample.cluster}:{sample.label}", sample.cluster)
        assert prepare(sample, Geometry(20, 20, (0.0,) * 3, (1.0,) * 3)).ignored is not None


def test_boxes_are_those_of_the_class(root: Path) -> None:
    write_layout(read_pascal_voc(root, boxes=True), root, root / "m.csv")
    boxes = {sample.label: sample.boxes for sample in read_manifest(root / "m.csv", split="val").samples}
    assert boxes == {"cat": ((0.0, 0.0, 5.0, 5.0),), "dog": ((1.0, 2.0, 9.0, 9.0), (20.0, 3.0, 30.0, 9.0))}


def test_names_are_replaced_in_rows_and_in_the_table_of_values(root: Path) -> None:
    names = {name: name.upper() for name in CLASSES}
    write_layout(read_pascal_voc(root, names=names), root, root / "m.csv", voc_masks(names))
    assert {sample.label for sample in read_manifest(root / "m.csv").samples} == {"CAT", "DOG"}


def test_what_is_missing_is_left_out_and_what_leads_out_is_refused(root: Path) -> None:
    (root / "SegmentationClass" / "2007_1.png").unlink()
    report = write_layout(read_pascal_voc(root), root, root / "m.csv", voc_masks())
    assert report.left_out == {"have no annotation": (1, ("JPEGImages/2007_1.jpg",))}
    (root / "ImageSets" / "Segmentation" / "val.txt").write_text("../../secret\n")
    with pytest.raises(DataError, match="expected a path below"):
        list(read_pascal_voc(root))
    for split in ("train", "val"):
        (root / "ImageSets" / "Segmentation" / f"{split}.txt").unlink()
    with pytest.raises(DataError, match=r"none of train\.txt"):
        list(read_pascal_voc(root))
