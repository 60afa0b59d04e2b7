"""`rate data corrupt` from the command line, and what is said where an extra is missing."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
from layout_files import picture

from rate.cli.main import run
from rate.data.manifest import read_manifest
from rate.errors import EXIT_DONE, EXIT_USAGE


@pytest.fixture
def manifest(tmp_path: Path) -> Path:
    picture(tmp_path / "a.png", (64, 48))
    (tmp_path / "text.png").write_text("no image")
    (tmp_path / "m.csv").write_text("image,label,x0,y0,x1,y1\na.png,cat,5,5,40,40\ntext.png,dog,0,0,1,1\n")
    return tmp_path / "m.csv"


def test_corrupt_and_again(manifest, capsys):
    out = manifest.parent / "out"
    arguments = ["data", "corrupt", str(manifest), "--out", str(out), "--workers", "1"]
    arguments += ["--corrupt", "contrast", "--corrupt", "contrast:3", "--corrupt", "brightness:1"]
    assert run(arguments) == EXIT_DONE
    printed = capsys.readouterr()
    names = [*(f"contrast-{severity}.csv" for severity in range(1, 6)), "brightness-1.csv"]
    assert printed.out.splitlines() == [*(f"{out / name}: 1 row" for name in names), "6 images made, 0 kept"]
    assert "1 images could not be corrupted and were left out: text.png: " in printed.err
    assert [sample.id for sample in read_manifest(out / "brightness-1.csv").samples] == ["a.png"]
    assert run(arguments) == EXIT_DONE
    assert "0 images made, 6 kept" in capsys.readouterr().out


def test_no_such_corruption(manifest, capsys):
    assert run(["data", "corrupt", str(manifest), "--out", "out", "--corrupt", "mist:3"]) == EXIT_USAGE
    assert "expected TYPE:SEVERITY, e.g. fog:3" in capsys.readouterr().err


def test_without_the_extra(manifest, capsys, monkeypatch):
    monkeypatch.setitem(sys.modules, "imagecorruptions", None)
    out = manifest.parent / "out"
    assert run(["data", "corrupt", str(manifest), "--out", str(out), "--corrupt", "fog:3"]) == EXIT_USAGE
    assert "pip install 'rate-engine[corrupt]'" in capsys.readouterr().err
    assert not out.exists()


def test_without_scipy(tmp_path, capsys, monkeypatch):
    (tmp_path / "101_ObjectCategories").mkdir()
    monkeypatch.setitem(sys.modules, "scipy.io", None)
    arguments = ["data", "index", "caltech101", str(tmp_path), "--out", str(tmp_path / "m.csv")]
    assert run(arguments) == EXIT_USAGE
    assert "pip install 'rate-engine[mat]'" in capsys.readouterr().err


def test_eval_under_a_corruption_says_so_and_of_another_size_than_224_too(tiny_vit, tmp_path, capsys):
    arguments = ["eval", str(tiny_vit.artifact), str(tiny_vit.manifest), "--out", str(tmp_path / "run")]
    arguments += ["--masks", "12", "--batch", "8", "--threads", "1", "--backend", "onnxruntime"]
    assert run([*arguments, "--corrupt", "contrast:3"]) == EXIT_DONE
    printed = capsys.readouterr()
    assert "under contrast:3; rise, 12 masks" in printed.out
    assert "this model sees 32 x 32" in printed.err


def test_eval_without_the_extra(tiny_vit, tmp_path, capsys, monkeypatch):
    monkeypatch.setitem(sys.modules, "imagecorruptions", None)
    arguments = ["eval", str(tiny_vit.artifact), str(tiny_vit.manifest), "--out", str(tmp_path / "run")]
    assert run([*arguments, "--corrupt", "fog:3"]) == EXIT_USAGE
    assert "pip install 'rate-engine[corrupt]'" in capsys.readouterr().err
    assert not (tmp_path / "run").exists()
