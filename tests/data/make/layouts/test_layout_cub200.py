"""CUB-200-2011 as its archives unpack, in small."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from layout_files import picture
from PIL import Image

from rate.data.images.prepare import load_mask
from rate.data.make.layouts.base import BROKEN, MISSING, Entry, LeftOut
from rate.data.make.layouts.cub200 import read_cub200
from rate.data.make.layouts.write import write_layout
from rate.data.manifest import read_manifest
from rate.errors import DataError

FILES = ("001.Black_footed_Albatross/Black_Footed_Albatross_0001_796111.jpg", "002.Laysan_Albatross/L_0001_1.jpg")
VOTES = np.zeros((30, 40), np.uint8)
"""Of five annotators in steps of 51: two columns each for nobody, one, two, ..., all."""
for voters in range(6):
    VOTES[:, 2 * voters : 2 * voters + 2] = 51 * voters


def segment(folder: Path, name: str, mode: str = "L", votes: np.ndarray = VOTES) -> None:
    path = (folder / "segmentations" / name).with_suffix(".png")
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(votes).convert(mode).save(path)


@pytest.fixture
def base(tmp_path: Path) -> Path:
    base = tmp_path / "CUB_200_2011"
    for name, mode in zip(FILES, ("RGB", "L"), strict=True):
        picture(base / "images" / name, mode=mode)
        segment(base, name)
    tables = {
        "images.txt": "\n".join(f"{number} {name}" for number, name in enumerate(FILES, 1)),
        "classes.txt": "1 001.Black_footed_Albatross\n2 002.Laysan_Albatross\n",
        "image_class_labels.txt": "1 1\n2 2\n",
        "train_test_split.txt": "1 0\n2 1\n",
        "bounding_boxes.txt": "1 60.0 27.0 325.0 304.0\n2 1.0 2.5 30.0 20.0\n",
    }
    for name, content in tables.items():
        (base / name).write_text(content)
    return base


def test_the_majority_of_the_annotators_decides(base):
    report = write_layout(read_cub200(base), base, base.parent / "m.csv")
    assert (report.splits, report.notices()) == ({"test": 1, "train": 1}, ())
    assert report.classes == {"Black footed Albatross": 1, "Laysan Albatross": 1}
    for sample in read_manifest(base.parent / "m.csv").samples:
        np.testing.assert_array_equal(load_mask(sample.mask or "").object, VOTES >= 3 * 51)


@pytest.mark.parametrize("mode", ["LA", "RGB", "RGBA"])
def test_segmentations_with_more_channels(base, mode):
    segment(base, FILES[0], mode)
    write_layout(read_cub200(base), base, base.parent / "m.csv")
    sample = read_manifest(base.parent / "m.csv", split="test").samples[0]
    np.testing.assert_array_equal(load_mask(sample.mask or "").object, VOTES >= 3 * 51)


def test_boxes_are_corners(base):
    entries = [entry for entry in read_cub200(base.parent, boxes=True) if isinstance(entry, Entry)]
    assert [entry.region for entry in entries] == [((60.0, 27.0, 385.0, 331.0),), ((1.0, 2.5, 31.0, 22.5),)]


def test_segmentations_beside_the_set(base):
    (base / "segmentations").rename(base.parent / "segmentations")
    assert all(isinstance(item, Entry) for root in (base, base.parent) for item in read_cub200(root))


def test_without_segmentations_there_are_boxes(base):
    (base / "segmentations").rename(base / "other")
    with pytest.raises(DataError, match=r"segmentations\.tgz"):
        list(read_cub200(base))
    assert len(list(read_cub200(base, boxes=True))) == 2


def test_one_segmentation_is_missing_and_one_of_another_size(base):
    (base / "segmentations" / FILES[0]).with_suffix(".png").unlink()
    assert [item.why for item in read_cub200(base) if isinstance(item, LeftOut)] == [MISSING]
    segment(base, FILES[0], votes=VOTES[:20])
    report = write_layout(read_cub200(base), base, base.parent / "m.csv")
    assert report.rows == 1
    assert "is 40 x 20 pixels, its image 40 x 30" in report.left_out[BROKEN][1][0]


@pytest.mark.parametrize("box", ["1 1 2 3", "1 a b c d", "1 nan 1 1 1", "1 1 1 -5 1"])
def test_boxes_that_are_none(base, box):
    (base / "bounding_boxes.txt").write_text(f"{box}\n2 1 1 5 5\n")
    report = write_layout(read_cub200(base, boxes=True), base, base.parent / "m.csv")
    assert (report.rows, report.left_out[BROKEN][0]) == (1, 1)


@pytest.mark.parametrize(
    ("table", "content", "message"),
    [
        ("images.txt", "1 ../../etc/passwd.jpg\n2 /etc/passwd.jpg", "expected a path below"),
        ("images.txt", "1\n", "not a row"),
        ("images.txt", f"1 {FILES[0]}\n1 {FILES[1]}\n", "a number appears twice"),
        ("train_test_split.txt", "1 0\n", "do not go together"),
        ("train_test_split.txt", "1 0\n2 7\n", "do not go together"),
        ("image_class_labels.txt", "1 1\n2 3\n", "do not go together"),
    ],
)
def test_tables_that_do_not_fit_are_refused(base, table, content, message):
    (base / table).write_text(content)
    with pytest.raises(DataError, match=message):
        list(read_cub200(base))


def test_names_of_the_user(base):
    names = {"001.Black_footed_Albatross": "black-footed albatross", "002.Laysan_Albatross": "Laysan albatross"}
    assert {item.label for item in read_cub200(base, names=names) if isinstance(item, Entry)} == set(names.values())


def test_another_folder_is_refused(tmp_path):
    with pytest.raises(DataError, match="there is no file"):
        list(read_cub200(tmp_path))
