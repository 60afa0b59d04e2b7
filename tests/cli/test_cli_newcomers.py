"""Forty things that somebody does wrong on the first day: each ends with exit code 2 and says how to do it right."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from rate.cli.main import run
from tests.conftest import Trained, write_images

HEAD = "image,label,mask"
BOXED = "image,label,x0,y0,x1,y1"


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A set of twenty pictures with files in forms that are no manifest beside it."""
    write_images(tmp_path / "set", 20, 80)
    (tmp_path / "empty").mkdir()
    (tmp_path / "set" / "instances.json").write_text(json.dumps({"images": [], "categories": [], "annotations": []}))
    (tmp_path / "set" / "data.yaml").write_text("train: .\nnames: [cat]\n")
    (tmp_path / "set" / "labels.txt").write_text("0 0.5 0.5 1 1\n")
    (tmp_path / "set" / "voc.xml").write_text("<annotation/>")
    numbers = np.zeros((80, 80), np.uint8)
    numbers[:40, :40], numbers[50:, 50:] = 1, 2
    Image.fromarray(numbers).save(tmp_path / "set" / "classes.png")
    Image.fromarray(numbers[:40] * np.uint8(200)).save(tmp_path / "set" / "half.png")
    monkeypatch.chdir(tmp_path / "set")
    return tmp_path / "set"


def rows(header: str, *lines: str) -> str:
    return "\n".join([header, *lines]) + "\n"


MANIFESTS = {
    "columns": (rows("filename,class,xmin,ymin,xmax,ymax", "0.png,dark,1,2,30,40"), "rate data index table"),
    "semicolons": (rows("image;label;x0;y0;x1;y1", "0.png;dark;1;2;30;40"), "rate data index table"),
    "no region": (rows("image,label", "0.png,dark"), "add `mask`, `boxes`, or x0, y0, x1, y1"),
    "shares": (rows(BOXED, "0.png,dark,0.1,0.2,0.5,0.9"), "multiply x0 and x1 by the image's width"),
    "width and height": (rows(BOXED, "0.png,dark,30,40,10,10"), "boxes are corners, not x, y, width, height"),
    "absolute": (rows(HEAD, "/data/0.png,dark,classes.png"), "name its folder with --root /data"),
    "file url": (rows(HEAD, "file:///data/0.png,dark,classes.png"), "name its folder with --root /data"),
    "above": (rows(HEAD, "../0.png,dark,classes.png"), "or name theirs with --root"),
    "unknown scheme": (rows(HEAD, "s4://b/0.png,dark,classes.png"), "cannot be opened here"),
    "twice": (rows(BOXED, "0.png,dark,1,2,30,40", "0.png,dark,5,6,30,40"), "put all boxes of an image in one row"),
    "half a box": (rows("image,label,x0,y0,x1", "0.png,dark,1,2,30"), "the columns y1 are missing"),
    "no label": (rows(BOXED, "0.png,,1,2,30,40"), "label is missing"),
    "case": (rows(BOXED, "0.png,Dark,1,2,30,40"), "did you mean 'dark'?"),
    "words": (rows(BOXED, "0.png,light_,1,2,30,40"), "did you mean 'light'?"),
    "strangers": (rows(BOXED, "0.png,zebra,1,2,30,40"), "labels must be class names of the artifact"),
    "numbers": (rows("image,label,boxes", '0.png,dark,"[1, 2, 30, 40]"'), "must be a list of boxes [[x0, y0, x1, y1]"),
    "no json": (rows("image,label,boxes", "0.png,dark,1 2 30 40"), "write [[x0, y0, x1, y1], ...]"),
    "class map": (rows(HEAD, "0.png,dark,classes.png"), "--mask-values 1"),
    "commas": (rows(BOXED, "0.png,dark, spotted,1,2,30,40"), "quote cells that hold commas"),
    "both regions": (rows(f"{BOXED},mask", "0.png,dark,1,2,30,40,classes.png"), "give one of mask, boxes"),
    "no rows": (rows(BOXED), "has no rows"),
}


@pytest.mark.parametrize("name", MANIFESTS)
def test_a_manifest_that_is_wrong(trained: Trained, place: Path, capsys, name: str) -> None:
    text, cure = MANIFESTS[name]
    (place / "m.csv").write_text(text)
    assert run(["eval", str(trained.artifact), "m.csv", "--out", "run", "--verdict", "map"]) == 2
    assert cure in capsys.readouterr().err
    assert not (place / "run").exists()


EVAL = ["eval", "ARTIFACT", "manifest.csv", "--out", "r"]
INDEX = ["data", "index", "folder", "..", "--out", "../m.csv"]
COMMANDS = {
    "folder as data": (["eval", "ARTIFACT", "../set", "--out", "r"], "`rate data index folder` writes a manifest"),
    "coco as data": (["eval", "ARTIFACT", "instances.json", "--out", "r"], "`rate data index coco` makes one"),
    "yolo as data": (["eval", "ARTIFACT", "data.yaml", "--out", "r"], "`rate data index yolo` makes one"),
    "yolo labels as data": (["eval", "ARTIFACT", "labels.txt", "--out", "r"], "`rate data index yolo` makes one"),
    "voc as data": (["eval", "ARTIFACT", "voc.xml", "--out", "r"], "`rate data index voc` makes one"),
    "no such manifest": (["eval", "ARTIFACT", "nowhere.csv", "--out", "r"], "nowhere.csv does not exist"),
    "no artifact": (["eval", "nowhere", "manifest.csv", "--out", "r"], "nowhere"),
    "set as artifact": (["eval", ".", "manifest.csv", "--out", "r"], "rate export"),
    "no such split": ([*EVAL, "--split", "val"], "it has the splits test (20 rows)"),
    "no such root": ([*EVAL, "--root", "nowhere"], "name one in which images or masks"),
    "values in words": ([*EVAL, "--mask-values", "cat"], "such as 1 or 1,3-5"),
    "no such table": ([*EVAL, "--mask-classes", "nowhere"], "expected lines such as `8 cat`"),
    "another score": ([*EVAL, "--score", "logits"], "did you mean logit?"),
    "masks in words": ([*EVAL, "--masks", "many"], "auto or a whole number"),
    "an option of another tool": ([*EVAL, "--batch-size", "8"], "--batch"),
    "images without masks": (INDEX, "pass --masks DIR"),
    "an empty folder": (["data", "index", "folder", "../empty", "--out", "../m.csv"], "no image found"),
    "no such folder of masks": ([*INDEX, "--masks", "nowhere"], "nowhere is not a folder"),
    "a manifest without an end": (["data", "index", "folder", "..", "--out", "../m"], "a manifest ends in"),
}


@pytest.mark.parametrize("name", COMMANDS)
def test_a_command_that_is_wrong(trained: Trained, place: Path, capsys, name: str) -> None:
    command, cure = COMMANDS[name]
    before = sorted(place.parent.rglob("*"))
    assert run([str(trained.artifact) if word == "ARTIFACT" else word for word in command]) == 2
    assert cure in capsys.readouterr().err
    assert sorted(place.parent.rglob("*")) == before
