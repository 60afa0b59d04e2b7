"""Stanford Dogs as its archives unpack, in small."""

from __future__ import annotations

from pathlib import Path

import pytest
from layout_files import cells, mat, picture, voc

from rate.data.make.layouts.base import BROKEN, MISSING, Entry, LeftOut
from rate.data.make.layouts.stanford_dogs import read_stanford_dogs
from rate.data.make.layouts.write import write_layout
from rate.data.manifest import read_manifest
from rate.errors import DataError

TRAIN = ("n02085620-Chihuahua/n02085620_7.jpg", "n02089078-black-and-tan_coonhound/n02089078_1.jpg")
TEST = ("n02085620-Chihuahua/n02085620_199.jpg",)


def annotation(root: Path, written: str) -> Path:
    return root / "Annotation" / written.removesuffix(".jpg")


def lists(root: Path, train: object = TRAIN, test: object = TEST) -> None:
    for split, files in (("train", train), ("test", test)):
        mat(root / f"{split}_list.mat", file_list=cells(files), labels=[[1.0]] * len(files))


@pytest.fixture
def root(tmp_path: Path) -> Path:
    for written in (*TRAIN, *TEST):
        picture(tmp_path / "Images" / written)
        voc(annotation(tmp_path, written), (40, 30), ("dog", (1, 2, 30, 29)))
    lists(tmp_path)
    return tmp_path


def test_lists_give_splits_and_annotations_boxes(root):
    voc(annotation(root, TEST[0]), (40, 30), ("Chihuahua", (0, 0, 5, 6)), ("Chihuahua", (20, 3, 40, 30)))
    report = write_layout(read_stanford_dogs(root), root, root / "m.csv")
    assert (report.classes, report.notices()) == ({"Chihuahua": 2, "black-and-tan coonhound": 1}, ())
    assert report.splits == {"test": 1, "train": 2}
    (sample,) = read_manifest(root / "m.csv", split="test").samples
    assert sample.boxes == ((0.0, 0.0, 5.0, 6.0), (20.0, 3.0, 40.0, 30.0))


def test_annotations_missing_torn_and_of_another_image(root):
    annotation(root, TRAIN[0]).unlink()
    annotation(root, TRAIN[1]).write_text("<annotation>")
    voc(annotation(root, TEST[0]), (500, 375), ("dog", (1, 2, 30, 29)))
    left = [item.why for item in read_stanford_dogs(root) if isinstance(item, LeftOut)]
    assert left == [MISSING, BROKEN]
    with pytest.raises(DataError, match="1 are not of the size that their annotation was drawn over"):
        write_layout(read_stanford_dogs(root), root, root / "m.csv")


def test_a_png_that_is_named_jpg(root):
    (root / "Images" / TEST[0]).unlink()
    picture(root / "Images" / TEST[0], mode="RGBA", format="PNG")
    assert write_layout(read_stanford_dogs(root), root, root / "m.csv").rows == 3


ENTITIES = '<!DOCTYPE a [<!ENTITY a "aaaa"><!ENTITY b "&a;&a;&a;">]><annotation>&b;</annotation>'
OUTSIDE = '<!DOCTYPE a [<!ENTITY a SYSTEM "file:///etc/passwd">]><annotation><object>&a;</object></annotation>'


@pytest.mark.parametrize(
    "content",
    [
        ENTITIES,
        OUTSIDE,
        "",
        "<annotation><object><name>dog</name></object></annotation>",
        "<annotation><object><bndbox/></object></annotation>",
        "<annotation><object><name>d</name><bndbox><xmin>a</xmin></bndbox></object></annotation>",
        "<annotation><size><width>-1</width><height>2</height></size></annotation>",
        f"<annotation>{' ' * (1 << 20)}</annotation>",
        '<?xml version="1.0" encoding="no-such"?><annotation/>',
    ],
)
def test_hostile_and_broken_annotations(root, content):
    annotation(root, TEST[0]).write_text(content)
    (left,) = [item for item in read_stanford_dogs(root) if isinstance(item, LeftOut)]
    assert left.why == BROKEN
    assert "n02085620_199" in left.detail


@pytest.mark.parametrize(
    ("train", "message"),
    [
        (("../../x.jpg",), "expected a path below"),
        (("/etc/passwd.jpg",), "expected a path below"),
        ((TRAIN[0], TRAIN[0]), "listed twice"),
        ((TEST[0],), "listed twice"),
        ((1.5, 2.5), "expected a cell array of texts"),
    ],
)
def test_lists_that_are_refused(root, train, message):
    lists(root, train=train)
    with pytest.raises(DataError, match=message):
        list(read_stanford_dogs(root))


def test_lists_may_lie_apart_but_must_be_there(root):
    (root / "lists").mkdir()
    for name in ("train_list.mat", "test_list.mat"):
        (root / name).rename(root / "lists" / name)
    assert len(list(read_stanford_dogs(root))) == 3
    (root / "lists/test_list.mat").unlink()
    with pytest.raises(DataError, match=r"test_list\.mat"):
        list(read_stanford_dogs(root))


def test_names_of_the_user(root):
    names = {"n02085620": "chihuahua dog", "n02089078": "coonhound"}
    assert {item.label for item in read_stanford_dogs(root, names=names) if isinstance(item, Entry)} == {
        "chihuahua dog",
        "coonhound",
    }
