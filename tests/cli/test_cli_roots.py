"""Files outside the manifest's folder: only in roots that are named, and shown by a report that was moved with them."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
from PIL import Image

from rate.cli.main import run
from tests.conftest import write_images

MEASURED = ("--verdict", "swap", "--batch", "8", "--threads", "1", "--backend", "onnxruntime", "--save-maps", "none")


@pytest.fixture
def apart(tmp_path: Path) -> Path:
    """A manifest beside the folder of its images, named from that folder, by absolute paths and by URLs."""
    images = write_images(tmp_path / "store", 20, 80).parent
    header, *lines = (images / "manifest.csv").read_text().splitlines()
    (images / "manifest.csv").unlink()
    place = {0: "{name}", 1: f"{images}/{{name}}", 2: f"file://{images}/{{name}}"}
    (tmp_path / "mine").mkdir()
    rows = [line.replace(f",{k}.png,", f",{place[k % 3].format(name=f'{k}.png')},") for k, line in enumerate(lines)]
    (tmp_path / "mine" / "m.csv").write_text("\n".join([header, *rows]) + "\n")
    return tmp_path / "mine" / "m.csv"


def test_a_root_says_where_images_lie_and_a_moved_report_has_its_pictures(
    trained, apart: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    command = ["eval", str(trained.artifact), str(apart), *MEASURED, "--out", str(tmp_path / "runs" / "one")]
    assert run(command) == 2
    assert "is an absolute path; name its folder with --root" in capsys.readouterr().err
    assert run([*command, "--root", str(tmp_path / "nowhere")]) == 2
    assert "is no folder" in capsys.readouterr().err
    (tmp_path / "alias").symlink_to(tmp_path / "store", target_is_directory=True)
    assert run([*command, "--root", str(apart.parent), "--root", str(tmp_path / "alias")]) == 0
    origin = json.loads((tmp_path / "runs" / "one" / "run.json").read_text())["origin"]
    assert origin["reading"] == {"root": [str(apart.parent), str(tmp_path / "alias")]}
    assert origin["roots_from_run"] == ["../../mine", "../../store"]
    assert run([*command, "--root", str(tmp_path / "store")]) == 0, "the same files are the same run"
    assert run(["data", "check", str(apart), "--root", str(tmp_path / "store")]) == 0
    capsys.readouterr()
    report = ["report", str(tmp_path / "runs" / "one"), "--force", "--out", str(tmp_path / "r.html")]
    assert run(report) == 0
    assert (tmp_path / "r.html").read_text().count("data:image/") > 10
    assert "left out" not in capsys.readouterr().err


def test_a_report_takes_moved_pictures_from_its_own_place_and_only_those_that_were_measured(
    trained, apart: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    text = apart.read_text().replace(f"file://{tmp_path}/store/", "").replace(f"{tmp_path}/store/", "")
    apart.write_text(text)
    out = tmp_path / "runs" / "one"
    command = ["eval", str(trained.artifact), str(apart), *MEASURED, "--out", str(out)]
    assert run([*command, "--root", str(tmp_path / "store")]) == 0
    (tmp_path / "moved").mkdir()
    for part in ("runs", "mine", "store"):
        shutil.move(tmp_path / part, tmp_path / "moved" / part)
    report = ["report", str(tmp_path / "moved" / "runs" / "one"), "--force", "--out", str(tmp_path / "r.html")]
    capsys.readouterr()
    assert run(report) == 0
    assert capsys.readouterr().err == ""
    pictures = (tmp_path / "r.html").read_text().count("data:image/")
    for path in (tmp_path / "moved" / "store").glob("*.png"):
        with Image.open(path) as image:
            red = Image.new("RGB", image.size, "red")
        red.save(path)
    assert run(report) == 0
    assert "is not the file of the run" in capsys.readouterr().err
    assert (tmp_path / "r.html").read_text().count("data:image/") < pictures


def test_training_packing_and_corrupting_take_the_same_roots(trained, apart: Path, tmp_path: Path) -> None:
    root = ["--root", str(tmp_path / "store")]
    train = ["finetune", "lp", "timm:test_efficientnet", str(apart), "--split", "test", "--epochs", "1"]
    assert run([*train, "--out", str(tmp_path / "lp")]) == 2
    assert run([*train, "--out", str(tmp_path / "lp"), *root]) == 0
    assert run(["data", "pack", str(apart), "--out", str(tmp_path / "packed"), *root]) == 0
    assert run(["data", "check", str(tmp_path / "packed" / "000000.tar")]) == 0
    corrupt = ["data", "corrupt", str(apart), "--corrupt", "contrast:1", "--workers", "1"]
    assert run([*corrupt, "--out", str(tmp_path / "corrupted"), *root]) == 0
    assert run(["data", "check", str(tmp_path / "corrupted" / "contrast-1.csv")]) == 0
