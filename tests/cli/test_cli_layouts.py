"""`rate data index NAME` from the command line, and what becomes of the options."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from layout_files import mat, picture, voc

from rate.cli.main import run
from rate.data.manifest import read_manifest
from rate.errors import EXIT_DONE, EXIT_USAGE

TENCH = "n01440764"


@pytest.fixture
def caltech(tmp_path: Path) -> Path:
    for folder in ("Faces", "ant"):
        picture(tmp_path / "101_ObjectCategories" / folder / "image_0001.jpg")
    contour = np.array([[0.0, 9, 9], [0, 0, 9]])
    mat(tmp_path / "Annotations/Faces_2/annotation_0001.mat", box_coord=[[3, 12, 5, 14]], obj_contour=contour)
    return tmp_path


def test_caltech101(caltech, capsys):
    out = caltech / "m.csv"
    assert run(["data", "index", "caltech101", str(caltech), "--out", str(out)]) == EXIT_DONE
    printed = capsys.readouterr()
    assert printed.out == f"{out}: 1 row\nclass    Faces: 1\n"
    assert "1 images have no annotation and were left out: 101_ObjectCategories/ant/image_0001.jpg" in printed.err
    (caltech / "names.txt").write_text("Faces face\n")
    arguments = ["--boxes", "--classes", str(caltech / "names.txt")]
    assert run(["data", "index", "caltech101", str(caltech), "--out", str(out), *arguments]) == EXIT_DONE
    (sample,) = read_manifest(out).samples
    assert (sample.label, sample.boxes) == ("face", ((4.0, 2.0, 14.0, 12.0),))


@pytest.fixture
def imagenet(tmp_path: Path) -> Path:
    picture(tmp_path / f"val/{TENCH}/ILSVRC2012_val_00000001.JPEG", format="JPEG")
    voc(tmp_path / "boxes/ILSVRC2012_val_00000001.xml", (40, 30), (TENCH, (1, 1, 9, 9)))
    return tmp_path


@pytest.mark.parametrize(("options", "label"), [([], "tench"), (["--synsets"], TENCH)])
def test_imagenet_and_imagenet_c(imagenet, options, label):
    out = imagenet / "m.csv"
    arguments = ["--out", str(out), "--boxes", str(imagenet / "boxes"), *options]
    assert run(["data", "index", "imagenet", str(imagenet), *arguments]) == EXIT_DONE
    assert read_manifest(out).samples[0].label == label
    for corruption in ("fog", "snow"):
        picture(imagenet / f"c/{corruption}/3/{TENCH}/ILSVRC2012_val_00000001.JPEG", (224, 224), format="JPEG")
    arguments = ["--out", str(imagenet / "c.csv"), "--clean", str(out), "--corrupt", "fog"]
    assert run(["data", "index", "imagenet-c", str(imagenet / "c"), *arguments]) == EXIT_DONE
    (sample,) = read_manifest(imagenet / "c.csv", split="fog:3").samples
    assert sample.label == label


def test_two_ways_to_name_classes_are_refused(imagenet, capsys):
    arguments = ["--out", str(imagenet / "m.csv"), "--synsets", "--classes", "names.txt"]
    assert run(["data", "index", "imagenet", str(imagenet), *arguments]) == EXIT_USAGE
    assert "give one of them" in capsys.readouterr().err


@pytest.mark.parametrize("name", ["caltech101", "cub200", "stanford-dogs", "imagenet", "imagenet-s"])
def test_another_folder_is_a_usage_error(tmp_path, capsys, name):
    assert run(["data", "index", name, str(tmp_path), "--out", str(tmp_path / "m.csv")]) == EXIT_USAGE
    assert str(tmp_path) in capsys.readouterr().err
    assert not list(tmp_path.iterdir())
