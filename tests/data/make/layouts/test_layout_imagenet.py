"""ImageNet-1K in Kaggle's layout and in torchvision's, in small."""

from __future__ import annotations

from pathlib import Path

import pytest
from layout_files import picture, voc

from rate.data.make.layouts.base import BROKEN, MISSING, Entry, LeftOut
from rate.data.make.layouts.imagenet import NO_BOX, read_imagenet
from rate.data.make.layouts.write import write_layout
from rate.data.manifest import read_manifest
from rate.errors import DataError

TENCH, CRANE = "n01440764", "n02012849"
HEAD = "ImageId,PredictionString\n"
SOLUTION = (
    HEAD
    + f"ILSVRC2012_val_00000001,{TENCH} 5 4 30 29 {TENCH} 0 0 10 10 \n"
    + f"ILSVRC2012_val_00000002,{CRANE} 1 2 3 4 \n"
)


@pytest.fixture
def kaggle(tmp_path: Path) -> Path:
    for number, mode in ((1, "RGB"), (2, "L")):
        picture(tmp_path / f"ILSVRC/Data/CLS-LOC/val/ILSVRC2012_val_0000000{number}.JPEG", mode=mode, format="JPEG")
    (tmp_path / "LOC_val_solution.csv").write_text(SOLUTION)
    return tmp_path


def entries(root: Path, **options: object) -> list[Entry]:
    found = list(read_imagenet(root, **options))
    assert all(isinstance(item, Entry) for item in found), found
    return found


def test_a_solution_file_gives_classes_and_boxes(kaggle):
    names = {TENCH: "tench", CRANE: "crane"}
    report = write_layout(read_imagenet(kaggle, names=names), kaggle, kaggle / "m.csv")
    assert (report.classes, report.splits, report.notices()) == ({"crane": 1, "tench": 1}, {"val": 2}, ())
    first, second = read_manifest(kaggle / "m.csv").samples
    assert (first.label, first.boxes) == ("tench", ((5.0, 4.0, 30.0, 29.0), (0.0, 0.0, 10.0, 10.0)))
    assert (second.label, second.boxes) == ("crane", ((1.0, 2.0, 3.0, 4.0),))


def test_annotations_give_the_same(kaggle):
    expected = entries(kaggle)
    (kaggle / "LOC_val_solution.csv").unlink()
    folder = kaggle / "ILSVRC/Annotations/CLS-LOC/val"
    voc(folder / "ILSVRC2012_val_00000001.xml", (40, 30), (TENCH, (5, 4, 30, 29)), (TENCH, (0, 0, 10, 10)))
    voc(folder / "ILSVRC2012_val_00000002.xml", (40, 30), (CRANE, (1, 2, 3, 4)))
    for root in (entries(kaggle), entries(kaggle, boxes=folder)):
        assert [(entry.image, entry.label, entry.region) for entry in root] == [
            (entry.image, entry.label, entry.region) for entry in expected
        ]


def test_train_has_folders_of_synsets_and_boxes_for_a_part(tmp_path):
    for name in (f"{TENCH}_1", f"{TENCH}_2"):
        picture(tmp_path / f"ILSVRC/Data/CLS-LOC/train/{TENCH}/{name}.JPEG", format="JPEG")
    voc(
        tmp_path / f"ILSVRC/Annotations/CLS-LOC/train/{TENCH}/{TENCH}_1.xml",
        (40, 30),
        (TENCH, (1, 1, 9, 9)),
        (CRANE, (0, 0, 40, 30)),
    )
    found, left = read_imagenet(tmp_path, split="train")
    assert isinstance(found, Entry)
    assert (found.region, found.split) == (((1.0, 1.0, 9.0, 9.0),), "train")
    assert isinstance(left, LeftOut)
    assert left.why == MISSING


def test_torchvisions_layout_with_boxes_apart(tmp_path):
    picture(tmp_path / f"set/val/{TENCH}/ILSVRC2012_val_00000001.JPEG", format="JPEG")
    picture(tmp_path / f"set/val/{TENCH}/ILSVRC2012_val_00000002.JPEG", format="JPEG")
    with pytest.raises(DataError, match="--boxes"):
        list(read_imagenet(tmp_path / "set"))
    (tmp_path / "boxes.csv").write_text(SOLUTION)
    for root in (tmp_path / "set", tmp_path / "set/val"):  # the folder says tench, the second boxes say crane
        found, left = read_imagenet(root, boxes=tmp_path / "boxes.csv")
        assert (found.label, left.why) == (TENCH, NO_BOX)


@pytest.mark.parametrize(
    "content",
    ["", "a,b\n", HEAD + "x\n", HEAD + "x,y,z\n", HEAD + 'x,"y\n'],
)
def test_solution_files_that_are_none(kaggle, content):
    (kaggle / "LOC_val_solution.csv").write_text(content)
    with pytest.raises(DataError, match="ImageId,PredictionString"):
        list(read_imagenet(kaggle))


@pytest.mark.parametrize("objects", [f"{TENCH} 1 2 3", "tench 1 2 3 4", f"{TENCH} 1 2 3 x", "../../etc 1 2 3 4"])
def test_objects_that_are_none(kaggle, objects):
    name = "ILSVRC2012_val_00000001"
    (kaggle / "LOC_val_solution.csv").write_text(SOLUTION.replace(SOLUTION.splitlines()[1], f"{name},{objects}"))
    (left,) = [item for item in read_imagenet(kaggle) if isinstance(item, LeftOut)]
    assert left.why == BROKEN


def test_ids_of_the_solution_file_open_nothing(kaggle):
    """They are looked up, never joined to a path."""
    (kaggle / "LOC_val_solution.csv").write_text(f"{SOLUTION}/etc/passwd,{TENCH} 1 2 3 4\n../x,{TENCH} 1 2 3 4\n")
    assert [entry.image.name for entry in entries(kaggle)] == [f"ILSVRC2012_val_0000000{i}.JPEG" for i in (1, 2)]


def test_a_class_without_a_name_is_refused(kaggle):
    with pytest.raises(DataError, match=f"no line for {CRANE}"):
        list(read_imagenet(kaggle, names={TENCH: "tench"}))
