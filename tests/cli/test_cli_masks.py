"""What masks mean, on the command line: refused before the run without a word, and measured with one."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import rate
from rate.cli.main import run
from rate.runs.parts import read_rows
from rate.runs.run_document import read_run
from tests.conftest import write_images

MEASURED = ("--verdict", "swap", "--batch", "8", "--threads", "1", "--backend", "onnxruntime", "--save-maps", "none")


@pytest.fixture(scope="module")
def voids(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Class maps as those of Pascal VOC: the class of the image is 3 or 7, another one is 5, and 255 is void."""
    root = tmp_path_factory.mktemp("voids") / "set"
    write_images(root, 20, 80)
    lines = ["id,image,label,mask"]
    for k in range(20):
        numbers = np.zeros((80, 80 + k), np.uint8)
        numbers[5:40, 5:40], numbers[50:, 50:], numbers[40:46, 5:40] = (3, 7)[k % 2], 5, 255
        Image.fromarray(numbers).save(root / f"{k}-mask.png")
        lines.append(f"s{k},{k}.png,{('dark', 'light')[k % 2]},{k}-mask.png")
    (root / "manifest.csv").write_text("\n".join(lines) + "\n")
    (root / "classes.txt").write_text("3 dark\n7 light\n")
    return root / "manifest.csv"


def rows_of(folder: Path) -> dict[str, dict]:
    return {row["id"]: row for row in read_rows(folder, read_run(folder)).to_pylist()}


def test_a_class_map_is_refused_before_the_run_and_measured_with_a_word(
    trained, voids: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    command = ["eval", str(trained.artifact), str(voids), *MEASURED, "--out"]
    assert run([*command, str(tmp_path / "none")]) == 2
    said = capsys.readouterr().err
    assert "0-mask.png: is a map of several classes" in said
    assert "--mask-classes FILE" in said
    assert not (tmp_path / "none").exists()
    words = ("--mask-ignore", "255", "--mask-classes", str(voids.with_name("classes.txt")))
    assert run([*command, str(tmp_path / "run"), *words]) == 0
    assert run([*command, str(tmp_path / "run"), *words]) == 0, "the same words go on with the run"
    areas = {row["area"] for row in rows_of(tmp_path / "run").values()}
    assert all(0.1 < area < 0.25 for area in areas)
    assert run([*command, str(tmp_path / "run"), *words[2:]]) == 2, "another meaning is another run"
    said = capsys.readouterr().err
    assert "another" in said
    assert run(["report", str(tmp_path / "run"), "--out", str(tmp_path / "report.html")]) == 0
    assert "left out" not in capsys.readouterr().err
    origin = json.loads((tmp_path / "run" / "run.json").read_text())["origin"]
    assert origin["reading"] == {
        "mask_ignore": "255",
        "mask_classes": {"dark": "3", "light": "7"},
        "instances": "union",
    }
    summary = rate.evaluate(
        trained.artifact, voids, verdict="swap", batch=8, threads=1, backend="onnxruntime", save_maps=0,
        mask_ignore=255, mask_classes={"dark": 3, "light": 7},
    )  # fmt: skip
    [head] = summary.heads.values()
    stored = json.loads((tmp_path / "run" / "summary.json").read_text())["heads"]
    assert head.pt.ratio.value == next(iter(stored.values()))["pt"]["value"]


def test_data_check_names_every_class_map_and_with_a_word_none(voids: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["data", "check", str(voids)]) == 2
    said = capsys.readouterr().out
    assert said.count("is a map of several classes") == 3
    assert "and 17 more like these" in said
    assert run(["data", "check", str(voids), "--mask-values", "3,7", "--mask-ignore", "255"]) == 0
    assert "0 errors, 0 warnings" in capsys.readouterr().out


def test_an_index_of_a_folder_keeps_the_words_in_the_side_file(tmp_path: Path, voids: Path) -> None:
    for part, name in (("images", "0.png"), ("masks", "0-mask.png")):
        (tmp_path / part / "dark").mkdir(parents=True)
        (tmp_path / part / "dark" / "0.png").write_bytes((voids.parent / name).read_bytes())
    command = ["data", "index", "folder", str(tmp_path / "images"), "--masks", str(tmp_path / "masks")]
    words = ["--mask-values", "3", "--mask-ignore", "255", "--instances", "largest"]
    assert run([*command, *words, "--out", str(tmp_path / "m.csv")]) == 0
    assert json.loads((tmp_path / "m.masks.json").read_text()) == {
        "schema": "rate.masks/1",
        "values": "3",
        "ignore": "255",
        "instances": "largest",
    }
    assert run(["data", "check", str(tmp_path / "m.csv")]) == 0


def test_one_image_is_explained_with_a_word(
    trained, voids: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    image, mask = str(voids.with_name("0.png")), str(voids.with_name("0-mask.png"))
    command = [
        "explain",
        str(trained.artifact),
        image,
        "--mask",
        mask,
        "--masks",
        "40",
        "--out",
        str(tmp_path / "h.png"),
    ]
    assert run(command) == 2
    assert "--mask-values" in capsys.readouterr().err
    assert run([*command, "--mask-values", "3", "--mask-ignore", "255", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["undefined_reason"] != "full-region"
    table = ["--mask-classes", str(voids.with_name("classes.txt"))]
    assert run([*command, *table]) == 2
    assert "--class NAME" in capsys.readouterr().err
    assert run([*command, *table, "--mask-ignore", "255", "--class", "dark"]) == 0
