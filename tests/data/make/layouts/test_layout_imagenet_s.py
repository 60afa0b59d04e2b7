"""ImageNet-S as its scripts lay it out, in small."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from layout_files import picture
from PIL import Image

from rate.data.images.prepare import load_mask
from rate.data.make.layouts.base import BROKEN, MISSING, Entry, LeftOut
from rate.data.make.layouts.imagenet import read_imagenet_s
from rate.data.make.layouts.write import write_layout
from rate.data.manifest import read_manifest
from rate.errors import DataError

SYNSETS = [f"n{10_000_000 + 7 * number}" for number in range(919)]
"""Sorted; class 300 needs the green channel."""


def coded(path: Path, *areas: tuple[int, slice]) -> Path:
    """An RGB mask, R + 256 G = class, with columns of some classes."""
    classes = np.zeros((30, 40), np.int64)
    for number, columns in areas:
        classes[:, columns] = number
    path.parent.mkdir(parents=True, exist_ok=True)
    rgb = np.stack([classes % 256, classes // 256, 0 * classes], axis=2).astype(np.uint8)
    Image.fromarray(rgb).save(path)
    return path


@pytest.fixture
def root(tmp_path: Path) -> Path:
    for synset in SYNSETS:
        (tmp_path / "validation" / synset).mkdir(parents=True)
    for number in (1, 300, 919):
        synset = SYNSETS[number - 1]
        picture(tmp_path / "validation" / synset / "a.JPEG", mode="L" if number == 1 else "RGB", format="JPEG")
        areas = ((number, slice(3, 9)), (1000, slice(20, 30)), (44, slice(30, 34)))
        coded(tmp_path / "validation-segmentation" / synset / "a.png", *areas)
    return tmp_path


def test_the_pixels_of_the_class_are_the_region_and_ignored_ones_are_no_part(root):
    report = write_layout(read_imagenet_s(root), root, root / "m.csv")
    assert (report.rows, report.splits, report.notices()) == (3, {"validation": 3}, ())
    assert list(report.classes) == [SYNSETS[0], SYNSETS[299], SYNSETS[918]]
    for sample in read_manifest(root / "m.csv").samples:
        mask = load_mask(sample.mask or "", values=sample.values)
        assert np.nonzero(mask.object.all(axis=0))[0].tolist() == list(range(3, 9))
        assert mask.ignored is not None
        assert np.nonzero(mask.ignored.all(axis=0))[0].tolist() == list(range(20, 30))


def test_a_part_of_the_folders_needs_the_list(root):
    (root / "validation" / SYNSETS[5]).rmdir()
    with pytest.raises(DataError, match="918 synsets"):
        list(read_imagenet_s(root))
    (root / "list.txt").write_text("\n".join(reversed(SYNSETS)))
    report = write_layout(read_imagenet_s(root, categories=root / "list.txt"), root, root / "m.csv")
    assert (report.rows, report.notices()) == (3, ())
    (root / "list.txt").write_text("n01440764\ntench\n")
    with pytest.raises(DataError, match="'tench' is no synset"):
        list(read_imagenet_s(root, categories=root / "list.txt"))


def test_masks_missing_of_another_size_and_of_other_classes(root):
    folders = [root / "validation-segmentation" / SYNSETS[number - 1] for number in (1, 300, 919)]
    (folders[0] / "a.png").unlink()
    coded(folders[1] / "a.png", (919, slice(0, 5)))
    Image.new("RGB", (30, 40)).save(folders[2] / "a.png")
    found = list(read_imagenet_s(root))
    assert [item.why for item in found if isinstance(item, LeftOut)] == [MISSING]
    with pytest.raises(DataError, match=f"1 {MISSING}; 2 {BROKEN}"):
        write_layout(found, root, root / "m.csv")


def test_names_and_the_other_split(root):
    for folder in ("validation", "validation-segmentation"):
        (root / folder).rename(root / folder.replace("validation", "train-semi"))
    names = dict.fromkeys(SYNSETS, "thing")
    found = [item for item in read_imagenet_s(root, split="train-semi", names=names) if isinstance(item, Entry)]
    assert {(item.label, item.split) for item in found} == {("thing", "train-semi")}
    with pytest.raises(DataError, match="there is no folder"):
        list(read_imagenet_s(root))
