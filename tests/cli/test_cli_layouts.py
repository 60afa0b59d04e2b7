"""`rate data index NAME` from the command line, and what becomes of the options."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from layout_files import mat, picture, voc
from PIL import Image

from rate.cli.main import run
from rate.data.images.geometry import Geometry
from rate.data.images.prepare import prepare
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


@pytest.fixture
def formats(tmp_path: Path) -> Path:
    """One picture of a cat with its region in every form."""
    numbers = np.zeros((30, 40), np.uint8)
    numbers[6:20, 8:30], numbers[20:22] = 8, 255
    (tmp_path / "labels").mkdir()
    (tmp_path / "labels" / "a.txt").write_text("0 0.475 0.4333 0.55 0.4667\n")
    (tmp_path / "data.yaml").write_text("train: images\nnames: [cat]\n")
    (tmp_path / "boxes.csv").write_text("filename;class;xmin;ymin;xmax;ymax\na.jpg;cat;8;6;30;20\n")
    (tmp_path / "classes.txt").write_text("8 cat\n")
    for folder in ("images", "images/cat"):
        picture(tmp_path / folder / "a.jpg")
    (tmp_path / "masks").mkdir()
    Image.fromarray(numbers).save(tmp_path / "masks" / "a.png")
    (tmp_path / "ids").mkdir()
    Image.fromarray(np.stack([numbers, 0 * numbers, 0 * numbers], axis=2)).save(tmp_path / "ids" / "a.png")
    panoptic = {
        "images": [{"id": 1, "file_name": "a.jpg"}],
        "categories": [{"id": 8, "name": "cat", "isthing": 1}],
        "annotations": [{"image_id": 1, "file_name": "a.png", "segments_info": [{"id": 8, "category_id": 8}]}],
    }
    (tmp_path / "panoptic.json").write_text(json.dumps(panoptic))
    return tmp_path


@pytest.mark.parametrize(
    "arguments",
    [
        ("yolo", "data.yaml"),
        ("table", "boxes.csv", "--images", "images"),
        ("table", "boxes.csv", "--images", "images", "--columns", "image=filename,label=class,x0=xmin"),
        ("folder", "images", "--boxes", "boxes.csv"),
        ("class-masks", "images", "--masks", "masks", "--classes", "classes.txt", "--mask-ignore", "255"),
        ("coco-panoptic", "panoptic.json", "--masks", "ids", "--images", "images"),
    ],
    ids=lambda arguments: arguments[0],
)
def test_every_form_of_a_set_gives_the_same_region(formats, monkeypatch, capsys, arguments) -> None:
    monkeypatch.chdir(formats)
    assert run(["data", "index", *arguments, "--out", "m.csv"]) == EXIT_DONE
    assert "cat: " in capsys.readouterr().out
    sample = read_manifest(formats / "m.csv").samples[0]
    region = prepare(sample, Geometry(20, 20, (0.0,) * 3, (1.0,) * 3, "squash")).region
    assert np.argwhere(region).min(axis=0).tolist() == [4, 4]
    assert np.argwhere(region).max(axis=0).tolist() == [12, 14]
    assert run(["data", "check", "m.csv"]) == EXIT_DONE


@pytest.mark.parametrize(
    "arguments",
    [
        ("voc", "."),
        ("oxford-pets", "."),
        ("imagenet-9", "."),
        ("hard-imagenet", ".", "--images", ".", "--synsets"),
        ("waterbirds", ".", "--segmentations", "masks"),
        ("spawrious", ".", "--masks", "nowhere"),
        ("open-images", ".", "--images", "images"),
        ("yolo", "nowhere.yaml"),
        ("table", "nowhere.csv", "--images", "images"),
        ("folder", "images", "--boxes", "boxes.csv", "--masks", "masks"),
        ("class-masks", "images", "--masks", "nowhere", "--classes", "classes.txt"),
        ("coco-panoptic", "data.yaml", "--masks", "ids", "--images", "images"),
    ],
    ids=lambda arguments: arguments[0],
)
def test_another_layout_is_refused_and_nothing_is_written(formats, monkeypatch, capsys, arguments) -> None:
    monkeypatch.chdir(formats)
    before = sorted(formats.rglob("*"))
    assert run(["data", "index", *arguments, "--out", "m.csv"]) == EXIT_USAGE
    assert len(capsys.readouterr().err) > 40
    assert sorted(formats.rglob("*")) == before


@pytest.mark.parametrize("name", ["caltech101", "cub200", "stanford-dogs", "imagenet", "imagenet-s"])
def test_another_folder_is_a_usage_error(tmp_path, capsys, name):
    assert run(["data", "index", name, str(tmp_path), "--out", str(tmp_path / "m.csv")]) == EXIT_USAGE
    assert str(tmp_path) in capsys.readouterr().err
    assert not list(tmp_path.iterdir())
