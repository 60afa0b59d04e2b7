"""ImageNet-C as its archives unpack, in small: regions follow the crop that was corrupted."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from layout_files import picture
from PIL import Image

from rate.cli.main import run
from rate.data.evaluation_set import read_evaluation_set
from rate.data.formats.manifest_files import write_rows
from rate.data.images.corrupt import CROP, Corruption
from rate.data.images.geometry import Geometry
from rate.data.images.prepare import load_mask
from rate.data.make.layouts.base import Entry, LeftOut
from rate.data.make.layouts.imagenet import UNKNOWN, read_imagenet_c
from rate.data.make.layouts.write import write_layout
from rate.data.manifest import read_manifest
from rate.errors import DataError

TENCH = "n01440764"
ONE, TWO = "ILSVRC2012_val_00000001", "ILSVRC2012_val_00000002"
SAME = Geometry(224, 224, (0.0,) * 3, (1.0,) * 3)
"""A model that takes the corrupted images as they are."""


def corrupted(root: Path, corruption: str, severity: int, name: str, size: int = 224) -> Path:
    return picture(root / corruption / str(severity) / TENCH / f"{name}.JPEG", (size, size), format="JPEG")


def clean(folder: Path, **region: object) -> Path:
    """A manifest of two images of 500 x 375 pixels."""
    rows = []
    for name in (ONE, TWO):
        picture(folder / "clean" / f"{name}.JPEG", (500, 375), format="JPEG")
        rows.append({"image": f"clean/{name}.JPEG", "label": "tench", **region})
    write_rows(folder / "clean.csv", rows)
    return folder / "clean.csv"


@pytest.fixture
def root(tmp_path: Path) -> Path:
    for corruption in ("fog", "blur/glass_blur"):
        for severity in (1, 3):
            for name in (ONE, TWO):
                corrupted(tmp_path / "c", corruption, severity, name)
    (tmp_path / "c/fog/notes").mkdir()
    return tmp_path / "c"


def test_labels_and_boxes_come_from_the_clean_set(root):
    boxes = [[100.0, 50.0, 300.0, 330.0], [0.0, 0.0, 20.0, 20.0]]
    manifest = clean(root.parent, boxes=boxes)
    report = write_layout(read_imagenet_c(root, clean=manifest), root, root.parent / "c.csv")
    assert report.splits == {"fog:1": 2, "fog:3": 2, "glass_blur:1": 2, "glass_blur:3": 2}
    expected = CROP.region_from_boxes([tuple(box) for box in boxes], (500, 375))
    for sample in read_manifest(root.parent / "c.csv").samples:
        assert (sample.label, sample.cluster) == ("tench", Path(sample.image).stem)
        np.testing.assert_array_equal(SAME.region_from_boxes(sample.boxes or (), (224, 224)), expected)


def test_a_box_that_the_crop_drops_is_an_empty_region(root):
    manifest = clean(root.parent, boxes=[[0.0, 0.0, 20.0, 375.0]])
    assert {item.region for item in read_imagenet_c(root, clean=manifest) if isinstance(item, Entry)} == {()}


def test_masks_come_from_the_clean_set_and_are_written_once(root):
    mask = np.zeros((375, 500), np.uint8)
    mask[60:200, 150:420] = 255
    (root.parent / "clean").mkdir()
    Image.fromarray(mask).save(root.parent / "clean/mask.png")
    manifest = clean(root.parent, mask="clean/mask.png")
    write_layout(read_imagenet_c(root, clean=manifest), root, root.parent / "c.csv")
    samples = read_manifest(root.parent / "c.csv").samples
    assert len(samples) == 8
    assert {sample.mask for sample in samples} == {str(root.parent / f"c-masks/{name}.png") for name in (ONE, TWO)}
    np.testing.assert_array_equal(load_mask(samples[0].mask or "").object, CROP.region_from_mask(mask))


def test_words_about_the_clean_set_are_those_of_every_other_command(root, tmp_path_factory):
    trimap = np.full((375, 500), 2, np.uint8)
    trimap[50:210, 140:430], trimap[60:200, 150:420] = 3, 1
    elsewhere = tmp_path_factory.mktemp("elsewhere")
    clean(elsewhere)
    Image.fromarray(trimap).save(elsewhere / "mask.png")
    rows = [{"image": f"clean/{name}.JPEG", "label": "tench", "mask": "mask.png"} for name in (ONE, TWO)]
    write_rows(root.parent / "clean.csv", rows)
    command = ["data", "index", "imagenet-c", str(root), "--clean", str(root.parent / "clean.csv")]
    command += ["--out", str(root.parent / "c.csv"), "--mask-values", "1", "--mask-ignore", "3"]
    assert run([*command, "--root", str(elsewhere)]) == 0
    samples = list(read_evaluation_set(str(root.parent / "c.csv")))
    assert len(samples) == 8
    mask = load_mask(samples[0].mask or "", values=samples[0].values)
    np.testing.assert_array_equal(mask.object, CROP.region_from_mask(trimap == 1))
    np.testing.assert_array_equal(mask.ignored, CROP.region_from_mask(trimap == 3))


def test_some_corruptions_only(root):
    manifest = clean(root.parent, boxes=[[0.0, 0.0, 200.0, 200.0]])
    wanted = (Corruption("fog", 3), Corruption("snow", 1))
    found = read_imagenet_c(root, clean=manifest, corruptions=wanted)
    assert {item.split for item in found if isinstance(item, Entry)} == {"fog:3"}
    with pytest.raises(DataError, match="none of the folders CORRUPTION/SEVERITY"):
        list(read_imagenet_c(root, clean=manifest, corruptions=wanted[1:]))


def test_what_does_not_fit_the_clean_set_is_left_out(root):
    manifest = clean(root.parent, boxes=[[0.0, 0.0, 200.0, 200.0]])
    corrupted(root, "fog", 1, "ILSVRC2012_val_00000009")
    corrupted(root, "fog", 1, TWO, size=299)
    report = write_layout(read_imagenet_c(root, clean=manifest), root, root.parent / "c.csv")
    assert report.rows == 7
    assert {why: count for why, (count, _) in report.left_out.items()} == {
        UNKNOWN: 1,
        "are not of the size that their annotation was drawn over": 1,
    }


def test_a_clean_image_that_is_gone(root):
    manifest = clean(root.parent, boxes=[[0.0, 0.0, 200.0, 200.0]])
    (root.parent / f"clean/{TWO}.JPEG").unlink()
    left = [item for item in read_imagenet_c(root, clean=manifest) if isinstance(item, LeftOut)]
    assert len(left) == 4
    assert all("no such file" in item.detail for item in left)
