"""The recipes of examples/paper on look-alikes of the public sets, with tiny random models: every command runs."""

from __future__ import annotations

import contextlib
import csv
import io
import json
import os
import shlex
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import albef_models
import hf_models
import numpy as np
import pytest
import torch
from layout_files import cells, mat, picture, voc
from PIL import Image

from rate.cli.main import run
from rate.runs.run_document import read_run

RECIPES = Path(__file__).parents[2] / "examples" / "paper"
SQUARE = np.array([[-0.5, 19.5, 19.5, -0.5], [-0.5, -0.5, 15.5, 15.5]])
SYNSETS = ("n01440764", "n02102040")

CLIENT = """import json, os, socket, sys
with socket.socket(socket.AF_UNIX) as line:
    line.connect(os.environ["RATE_TEST_LINE"])
    line.sendall(json.dumps(sys.argv[1:]).encode() + b"\\n")
    code, text = json.loads(line.makefile().readline())
sys.stdout.write(text)
sys.exit(code)
"""
"""A `rate` on the PATH lets this process do the work: importing torch for every command would take longer."""


@pytest.fixture
def recipe(tmp_path: Path):
    """Runs a script; returns the command lines of `rate` that it ran."""
    (tmp_path / "bin").mkdir()
    (tmp_path / "client.py").write_text(CLIENT)
    words = shlex.join([sys.executable, "-IS", str(tmp_path / "client.py")])  # a shebang has no room for spaces
    (tmp_path / "bin" / "rate").write_text(f'#!/bin/sh\nexec {words} "$@"\n')
    (tmp_path / "bin" / "rate").chmod(0o755)
    line = str(tmp_path / "line")
    quick = {"EPOCHS": "1", "MASKS": "--masks 12 --threads 1 --batch 8 --backend onnxruntime"}
    path = f"{tmp_path / 'bin'}:{os.environ['PATH']}"

    def started(name: str, *arguments: object, **environment: str) -> list[list[str]]:
        words = [str(RECIPES / name), *map(str, arguments)]
        with socket.socket(socket.AF_UNIX) as server:
            Path(line).unlink(missing_ok=True)
            server.bind(line)
            server.listen()
            server.settimeout(0.05)
            given = os.environ | quick | environment | {"PATH": path, "RATE_TEST_LINE": line}
            with subprocess.Popen(words, env=given, stdout=subprocess.DEVNULL) as script:
                did = list(served(server, script))
        assert script.returncode == 0, did[-1]
        return did

    return started


def served(server: socket.socket, script: subprocess.Popen[bytes]) -> Iterator[list[str]]:
    while script.poll() is None:
        try:
            line, _ = server.accept()
        except TimeoutError:
            continue
        with line, line.makefile("rw") as file, contextlib.redirect_stdout(io.StringIO()) as said:
            line.settimeout(None)
            words = json.loads(file.readline())
            code = run(words)
            file.write(json.dumps([code, said.getvalue()]) + "\n")
        yield [*words, f"exit {code}"]


@pytest.fixture
def clip(tiny_vit) -> str:
    return f"tiny={tiny_vit.source}"


@pytest.fixture
def albef(tmp_path: Path) -> str:
    hf_models.word_pieces(tmp_path)
    torch.save({"model": albef_models.state()}, tmp_path / "albef.pth")
    return f"tiny=albef:{tmp_path / 'albef.pth'}"


def verbs(commands: list[list[str]]) -> list[str]:
    return [" ".join(words[:2]) if words[0] in ("finetune", "data") else words[0] for words in commands]


WHOLE = [
    *("data index", "finetune lp", "finetune ft", "export", "export", "finetune flcp", "export"),
    *(["eval"] * 6 + ["compare"] * 2 + ["report"] * 2 + ["agree"]),
]


def caltech(root: Path) -> Path:
    for folder in ("ant", "bass"):
        for number in range(1, 6):
            name = f"{number:04d}"
            picture(root / "101_ObjectCategories" / folder / f"image_{name}.jpg", (40 + number, 36))
            box = np.array([[4, 19, 6, 25]], np.uint16)
            mat(root / "Annotations" / folder / f"annotation_{name}.mat", box_coord=box, obj_contour=SQUARE)
    return root


@pytest.mark.slow
def test_caltech_from_images_to_the_report_and_again(recipe, clip, tmp_path):
    root, out = caltech(tmp_path / "caltech"), tmp_path / "ct"
    assert verbs(recipe("ct.sh", root, out, clip, LIMIT="2")) == WHOLE
    made = out / "tiny"
    rule = read_run(made / "paper" / "flcp").rule
    assert (rule.saliency, rule.evidence, rule.valid) == ("attention", "minmax", "absolute")
    assert read_run(made / "ours" / "ft").rule.valid == "midpoint"
    for name in ("paper", "ours"):
        assert (made / f"{name}.html").stat().st_size > 10_000
        assert "@zs" in (made / f"{name}.txt").read_text()
    assert "kappa" in (made / "agreement.txt").read_text()
    with (root / "rate-used.csv").open() as file:
        splits = [(row["label"], row["split"]) for row in csv.DictReader(file)]
    assert sorted(splits) == sorted([(name, split) for name in ("ant", "bass") for split in ("test", "train", "train")])
    again = recipe("ct.sh", root, out, clip, LIMIT="2")
    assert verbs(again) == [
        "data index",
        *(verb for verb in WHOLE[1:] if verb in ("eval", "compare", "report", "agree")),
    ]


@pytest.mark.slow
def test_cub_with_an_albef_whose_flcp_is_another_checkpoint(recipe, albef, tmp_path):
    base = tmp_path / "CUB_200_2011"
    names = [f"{number:03d}.Bird_{number}/b_{k}.jpg" for number in (1, 2) for k in range(3)]
    for name in names:
        picture(base / "images" / name)
        votes = np.zeros((30, 40), np.uint8)
        votes[5:20, 5:30] = 255
        path = (base / "segmentations" / name).with_suffix(".png")
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(votes).save(path)
    tables = {
        "images.txt": [name for name in names],
        "image_class_labels.txt": ["1"] * 3 + ["2"] * 3,
        "train_test_split.txt": ["1", "1", "0"] * 2,
        "bounding_boxes.txt": ["5.0 5.0 25.0 15.0"] * 6,
    }
    for name, values in tables.items():
        (base / name).write_text("".join(f"{number} {value}\n" for number, value in enumerate(values, 1)))
    (base / "classes.txt").write_text("1 001.Bird_1\n2 002.Bird_2\n")
    another = albef.partition("=")[2]
    did = verbs(recipe("cub.sh", base, tmp_path / "cub", f"{albef}={another}", LIMIT="1"))
    assert did == [verb for verb in WHOLE if verb != "finetune flcp"]


@pytest.mark.slow
def test_dogs_with_an_albef_alone(recipe, albef, tmp_path):
    root = tmp_path / "dogs"
    files = {
        split: [
            f"{folder}/{folder[:9]}_{split}{k}.jpg"
            for folder in ("n02085620-Chihuahua", "n02089078-coonhound")
            for k in range(2)
        ]
        for split in ("train", "test")
    }
    for split, names in files.items():
        for name in names:
            picture(root / "Images" / name)
            voc(root / "Annotation" / name.removesuffix(".jpg"), (40, 30), ("dog", (1, 2, 30, 29)))
        mat(root / f"{split}_list.mat", file_list=cells(names), labels=[[1.0]] * len(names))
    did = verbs(recipe("sd.sh", root, tmp_path / "sd", albef, LIMIT="1"))
    assert did.count("eval") == 4
    assert "finetune flcp" not in did


@pytest.mark.slow
def test_imagenet_and_then_imagenet_c(recipe, albef, tmp_path):
    root = tmp_path / "imagenet"
    for synset in SYNSETS:
        for k in range(2):
            name = f"{synset}_{k}"
            picture(root / f"ILSVRC/Data/CLS-LOC/train/{synset}/{name}.JPEG", (300, 260), format="JPEG")
            voc(
                root / f"ILSVRC/Annotations/CLS-LOC/train/{synset}/{name}.xml", (300, 260), (synset, (40, 40, 200, 200))
            )
    solution = ["ImageId,PredictionString"]
    for number, synset in enumerate(SYNSETS * 2, 1):
        name = f"ILSVRC2012_val_{number:08d}"
        picture(root / f"ILSVRC/Data/CLS-LOC/val/{name}.JPEG", (300, 260), format="JPEG")
        solution.append(f"{name},{synset} 40 40 200 200 ")
        if number <= 2:
            picture(tmp_path / f"c/fog/3/{synset}/{name}.JPEG", (224, 224), format="JPEG")
    (root / "LOC_val_solution.csv").write_text("\n".join(solution) + "\n")
    trained = verbs(recipe("in.sh", root, tmp_path / "in", albef, LIMIT="1"))
    assert (trained[:2], trained.count("eval")) == (["data index"] * 2, 4)
    arguments = (tmp_path / "c", root / "rate-val-used.csv", tmp_path / "in-c", tmp_path / "in" / "tiny")
    did = recipe("in-c.sh", *arguments, CORRUPTIONS="contrast,fog", SEVERITIES="3")
    assert verbs(did) == ["data index", *(["eval", "eval", "show"] * 2), "compare"]
    grid = json.loads((tmp_path / "in-c/tiny/ours/zs-lp/grid.json").read_text())
    assert [one["run"] for one in grid["runs"]] == ["clean", "fog-3", "contrast-3"]
    assert read_run(tmp_path / "in-c/tiny/paper/ft/fog-3").rule.saliency == "attention"
