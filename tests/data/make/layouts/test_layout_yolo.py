"""YOLO: boxes and outlines, in the folders that several tools write."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from layout_files import picture

from rate.data.images.prepare import load_mask
from rate.data.make.layouts.write import LayoutReport, write_layout
from rate.data.make.layouts.yolo import read_yolo
from rate.data.manifest import read_manifest
from rate.errors import DataError


def labelled(root: Path, images: str, text: str) -> Path:
    path = picture(root / images / "a.jpg", (40, 20))
    label = root / images.replace("images", "labels") / "a.txt"
    label.parent.mkdir(parents=True, exist_ok=True)
    label.write_text(text)
    return path


def index(config: Path, **options: object) -> LayoutReport:
    return write_layout(read_yolo(config, **options), config.parent, config.parent / "m.csv")


@pytest.mark.parametrize(
    ("images", "yaml"),
    [
        ("images/train", "path: .\ntrain: images/train\nnames:\n  0: cat\n  1: dog\n"),
        ("train/images", "train: ../train/images\nval: ../valid/images\nnc: 2\nnames: ['cat', 'dog']\n"),
        ("images/train", "train: [images/train]\nnames: {0: cat, 1: dog}\n"),
    ],
    ids=["ultralytics", "exported", "lists"],
)
def test_boxes_are_in_pixels_and_of_one_class_each(tmp_path: Path, images: str, yaml: str) -> None:
    labelled(tmp_path, images, "1 0.5 0.5 0.5 0.5\n1 0.1 0.2 0.1 0.2\n0 0.25 0.25 0.5 0.5\n")
    (tmp_path / "data.yaml").write_text(yaml)
    assert index(tmp_path / "data.yaml").splits == {"train": 2}
    boxes = {sample.label: sample.boxes for sample in read_manifest(tmp_path / "m.csv").samples}
    assert boxes["cat"] == ((0.0, 0.0, 20.0, 10.0),)
    np.testing.assert_allclose(boxes["dog"], [(10, 5, 30, 15), (2, 2, 6, 6)])


def test_outlines_are_drawn_beside_boxes_or_become_boxes(tmp_path: Path) -> None:
    labelled(tmp_path, "images/train", "0 0 0 0.5 0 0.5 1 0 1\n0 0.75 0.5 0.5 1\n1 0.5 0 1 0 1 1\n")
    (tmp_path / "data.yaml").write_text("train: images/train\nnames: [cat, dog]\n")
    index(tmp_path / "data.yaml")
    cat, dog = read_manifest(tmp_path / "m.csv").samples
    assert load_mask(cat.mask or "").object.all()
    assert abs(load_mask(dog.mask or "").object.mean() - 0.25) < 0.02
    assert cat.mask != dog.mask
    index(tmp_path / "data.yaml", boxes=True)
    assert [sample.boxes for sample in read_manifest(tmp_path / "m.csv").samples] == [
        ((0.0, 0.0, 20.0, 20.0), (20.0, 0.0, 40.0, 20.0)),
        ((20.0, 0.0, 40.0, 20.0),),
    ]


@pytest.mark.parametrize(
    "line", ["0 1 2", "x 0 0 1 1", "0 0 0 1 one", "0 12 30 410 300", "7 0.5 0.5 1 1", "0 0 0 1 1 1"]
)
def test_lines_that_are_wrong_leave_the_image_out(tmp_path: Path, line: str) -> None:
    labelled(tmp_path, "images/train", line)
    picture(tmp_path / "images/train/b.jpg")
    picture(tmp_path / "images/train/c.jpg")
    (tmp_path / "labels/train/c.txt").write_text("0 0.5 0.5 1 1\n")
    (tmp_path / "data.yaml").write_text("train: images/train\nnames: [cat]\n")
    report = index(tmp_path / "data.yaml")
    assert report.rows == 1
    assert {why: count for why, (count, _) in report.left_out.items()} == {
        "have an annotation that cannot be used": 1,
        "have no object": 1,
    }


@pytest.mark.parametrize(
    ("yaml", "said"),
    [
        ("train: [", "cannot be read as YAML"),
        ("- a", "is not a data set of YOLO"),
        ("train: images\n", "names must be a list"),
        ("train: images\nnames: [a, a]\n", "names must be a list"),
        ("names: [a]\n", "names no images"),
        ("train: nowhere\nnames: [a]\n", "gives no row"),
    ],
)
def test_a_yaml_that_cannot_be_used_is_refused(tmp_path: Path, yaml: str, said: str) -> None:
    (tmp_path / "data.yaml").write_text(yaml)
    with pytest.raises(DataError, match=said):
        index(tmp_path / "data.yaml")
    with pytest.raises(DataError, match=r"is not a folder of images|cannot be read|not a data set|names"):
        index(tmp_path / "data.yaml", images=tmp_path / "nowhere")
