"""What is done wrong with maps on the first day ends with exit code 2, and says how to do it right."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from rate.cli.main import run
from tests.conftest import write_images


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Eight pictures of 40 x 40 to 40 x 47 pixels with their maps, and predictions beside them."""
    manifest = write_images(tmp_path / "set", 8, 40)
    (tmp_path / "set" / "maps").mkdir()
    for k in range(8):
        np.save(tmp_path / "set" / "maps" / f"s{k}.npy", np.arange(40 * (40 + k)).reshape(40, 40 + k))
    lines = manifest.read_text().splitlines()
    predicted = ["id,prediction", *(f"{line.split(',')[0]},dark" for line in lines[1:])]
    (tmp_path / "set" / "predictions.csv").write_text("\n".join(predicted) + "\n")
    monkeypatch.chdir(tmp_path / "set")
    return tmp_path / "set"


def _coloured(place: Path) -> None:
    for file in (place / "maps").iterdir():
        Image.new("RGB", (40, 40)).save(file.with_suffix(".png"))
        file.unlink()


def _renamed(place: Path) -> None:
    for k in range(8):
        (place / "maps" / f"s{k}.npy").rename(place / "maps" / f"map-{k}.npy")


def _capitals(place: Path) -> None:
    (place / "predictions.csv").write_text("id,prediction\ns0,Dark\ns1,DARK\n")


def _nothing(place: Path) -> None:
    pass


@pytest.mark.parametrize(
    ("change", "arguments", "code", "said"),
    [
        (_nothing, [], 2, "manifest.csv has no column 'prediction'; it has id, image"),
        (_nothing, ["--predictions", "none.csv"], 2, "none.csv cannot be read"),
        (_capitals, ["--predictions", "predictions.csv"], 2, "'DARK' (did you mean 'dark'?)"),
        (_renamed, ["--predictions", "predictions.csv"], 2, "none of the 8 maps of maps, such as 'map-0', has the id"),
        (_nothing, ["--predictions", "predictions.csv", "--valid", "midpoint"], 2, "so it needs their --blur"),
        (_nothing, ["--predictions", "predictions.csv", "--blur", "7"], 2, "blur must be such as cells:7"),
        (_nothing, ["--predictions", "predictions.csv", "--crop", "center"], 2, "maps cannot be those of their images"),
        (_nothing, ["--predictions", "predictions.csv", "--artifact", "none"], 2, "none"),
        (_coloured, ["--predictions", "predictions.csv"], 4, "a map is grey: save its values, not their colours"),
    ],
)
def test_a_wrong_command_says_how_to_do_it_right(
    place: Path,
    capsys: pytest.CaptureFixture[str],
    change: Callable[[Path], None],
    arguments: list[str],
    code: int,
    said: str,
) -> None:
    change(place)
    assert run(["judge", "maps", "manifest.csv", "--out", "run", *arguments]) == code
    assert said in capsys.readouterr().err
    assert (place / "run").exists() == (code == 4)


def test_it_prints_what_a_run_prints(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    command = ["judge", "maps", "manifest.csv", "--predictions", "predictions.csv", "--out", "run", "--json"]
    assert run(command) == 0
    document = json.loads(capsys.readouterr().out)
    head = document["heads"]["maps"]
    assert (head["n"], head["accuracy"]["numerator"], head["rule"]["score"]) == (8, 4, None)
    assert run([*command, "--tau", "0.9"]) == 2, "another measurement"
    assert "tau: 0.5 there, 0.9 now" in capsys.readouterr().err
    assert run(["status", "run"]) == 0
    assert "8 of 8 samples" in capsys.readouterr().out
