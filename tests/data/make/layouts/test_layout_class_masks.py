"""Masks of class numbers: ADE20K's own list, other lists, and what is no class."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from layout_files import picture
from PIL import Image

from rate.data.images.prepare import load_mask
from rate.data.make.layouts.class_masks import read_class_masks, read_class_numbers
from rate.data.make.layouts.write import write_layout
from rate.data.manifest import read_manifest
from rate.data.mask_table import MaskDocument
from rate.errors import DataError

ADE = "Idx\tRatio\tTrain\tVal\tStuff\tName\n1\t0.15\t11664\t1172\t1\twall\n2\t0.1\t6046\t612\t1\tbuilding, edifice\n"


@pytest.mark.parametrize(
    ("text", "classes"),
    [
        (ADE, {1: "wall", 2: "building"}),
        ("0 other\n8 cat\n12\tpotted plant\n", {8: "cat", 12: "potted plant"}),
        ("classes:\n  0: unlabeled\n  8: cat\n# a comment\n", {8: "cat"}),
        ("1,crane\n2,crane\n", {1: "crane", 2: "crane (2)"}),
    ],
    ids=["ade20k", "lines", "yaml", "same names"],
)
def test_lists_of_classes_in_several_forms(tmp_path: Path, text: str, classes: dict[int, str]) -> None:
    (tmp_path / "classes.txt").write_text(text)
    assert read_class_numbers(tmp_path / "classes.txt") == classes


@pytest.mark.parametrize("text", ["", "cat\n", "0 other\n"])
def test_a_list_without_a_class_is_refused(tmp_path: Path, text: str) -> None:
    (tmp_path / "classes.txt").write_text(text)
    with pytest.raises(DataError, match="8 cat"):
        read_class_numbers(tmp_path / "classes.txt")


def test_every_class_of_a_mask_is_a_row_and_ignored_values_are_none(tmp_path: Path) -> None:
    numbers = np.zeros((30, 40), np.uint8)
    numbers[:10, :10], numbers[:10, 20:], numbers[20:], numbers[15] = 8, 12, 255, 99
    for name in ("a/1", "a/2"):
        picture(tmp_path / "images" / f"{name}.jpg")
    (tmp_path / "annotations" / "a").mkdir(parents=True)
    Image.fromarray(numbers).save(tmp_path / "annotations" / "a" / "1.png")
    classes = {8: "cat", 12: "dog", 255: "void", 50: "absent"}
    document = MaskDocument(ignore="255", classes={name: number for number, name in classes.items()})
    entries = read_class_masks(tmp_path / "images", tmp_path / "annotations", classes, ignore="255", split="val")
    report = write_layout(entries, tmp_path, tmp_path / "m.csv", document)
    assert (report.classes, report.splits) == ({"cat": 1, "dog": 1}, {"val": 2})
    assert list(report.left_out) == ["have no annotation"]
    for sample in read_manifest(tmp_path / "m.csv").samples:
        found = load_mask(sample.mask or "", values=sample.values)
        np.testing.assert_array_equal(found.object, numbers == {"cat": 8, "dog": 12}[sample.label])
        np.testing.assert_array_equal(found.ignored, numbers == 255)
    with pytest.raises(DataError, match="is not a folder"):
        list(read_class_masks(tmp_path / "images", tmp_path / "nowhere", classes))
