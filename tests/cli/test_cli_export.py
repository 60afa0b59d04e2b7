"""The commands `rate export`, `rate inspect` and `rate finetune lp`: output, exit codes, what comes next."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import onnx_models
import pytest

from rate.cli.main import run


def stored(folder: Path, **values: object) -> tuple[str, str]:
    """SOURCE and class file of a small model."""
    source = onnx_models.Model(**values).save(folder / "model.onnx")
    return f"onnx:{source}", str(onnx_models.write_classes(folder / "classes.txt"))


def test_export_then_inspect(tmp_path, capsys) -> None:
    source, classes = stored(tmp_path)
    out = str(tmp_path / "artifact")
    options = ["--mean", "0.5,0.5,0.5", "--std", "0.25,0.25,0.25", "--crop-pct", "1", "--interpolation", "bicubic"]
    assert run(["export", source, "--out", out, "--classes", classes, *options]) == 0
    shown = capsys.readouterr()
    assert "head       native (linear): 5 classes (cat, dog, eel, fox, ...)" in shown.out
    assert f"next: rate eval {out} DATA --out RUN" in shown.err
    assert "assumed" not in shown.err

    assert run(["inspect", out]) == 0
    inspected = capsys.readouterr()
    assert inspected.out == shown.out
    assert inspected.err == ""
    assert "input      24x24, bicubic, resize 24, centre crop, mean 0.5,0.5,0.5, std 0.25,0.25,0.25" in inspected.out
    assert "graph      opset 17, f32" in inspected.out
    assert "allowed (onnxruntime" in inspected.out
    size = (tmp_path / "artifact/pixels.onnx").stat().st_size
    assert f"file       pixels.onnx {size:,} bytes" in inspected.out

    assert run(["inspect", out, "--json"]) == 0
    document = json.loads(capsys.readouterr().out)
    assert document.pop("digest") in shown.out
    assert document == json.loads((tmp_path / "artifact/artifact.json").read_text())


def test_export_prints_json_alone_on_stdout(tmp_path, capsys) -> None:
    source, classes = stored(tmp_path)
    assert run(["export", source, "--out", str(tmp_path / "a"), "--classes", classes, "--json"]) == 0
    shown = capsys.readouterr()
    assert json.loads(shown.out) == json.loads((tmp_path / "a/artifact.json").read_text())
    assert "assumed --mean 0.485,0.456,0.406 --std 0.229,0.224,0.225" in shown.err


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["timm:no_such_thing"], "timm has no model 'no_such_thing'"),
        (["hf:/nowhere/clip"], "is no folder, and no id such as openai/clip-vit-base-patch32"),
        (["onnx:gone.onnx"], "gone.onnx does not exist"),
        (["onnx:gone.onnx", "--precision", "fp8"], "precision must be one of f32, fp16, bf16, int8, auto; got 'fp8'"),
        (["onnx:gone.onnx", "--mean", "grey"], "--mean must be three numbers such as 0.485,0.456,0.406; got 'grey'"),
        (["onnx:gone.onnx", "--mean", "1,2"], "--mean needs three numbers"),
        (["timm:test_vit", "--head", "lp"], "expected NAME=linear:CHECKPOINT_DIR"),
    ],
)
def test_what_cannot_be_exported_is_exit_code_2_with_one_message(
    arguments, message, tmp_path, capsys, monkeypatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert run(["export", *arguments, "--out", "artifact"]) == 2
    shown = capsys.readouterr()
    assert shown.out == ""
    assert shown.err.startswith("error: ")
    assert message in shown.err
    assert list(tmp_path.iterdir()) == []


def test_a_graph_that_does_not_reproduce_its_source_is_exit_code_4(tmp_path, capsys) -> None:
    source, classes = stored(tmp_path, noise=1.0)
    assert run(["export", source, "--out", str(tmp_path / "a"), "--classes", classes]) == 4
    assert "does not reproduce the source model" in capsys.readouterr().err
    assert not (tmp_path / "a").exists()


def test_an_existing_artifact_needs_force(tmp_path, capsys) -> None:
    source, classes = stored(tmp_path)
    arguments = ["export", source, "--out", str(tmp_path / "a"), "--classes", classes]
    assert run(arguments) == 0
    assert run(arguments) == 2
    assert "add --force to replace it" in capsys.readouterr().err
    assert run([*arguments, "--force"]) == 0


def test_inspect_names_a_changed_file(tmp_path, capsys) -> None:
    source, classes = stored(tmp_path)
    run(["export", source, "--out", str(tmp_path / "a"), "--classes", classes])
    with (tmp_path / "a/pixels.onnx").open("ab") as stream:
        stream.write(b"x")
    capsys.readouterr()
    assert run(["inspect", str(tmp_path / "a")]) == 2
    assert "pixels.onnx has changed" in capsys.readouterr().err
    assert run(["inspect", str(tmp_path)]) == 2
    assert "is no artifact" in capsys.readouterr().err


def test_finetune_lp_ends_in_a_checkpoint_and_says_what_comes_next(
    image_set: Callable[..., Path], tmp_path, capsys
) -> None:
    manifest = image_set(count=6)
    (manifest.parent / "3.png").write_bytes(b"broken")
    out = str(tmp_path / "lp")
    arguments = ["finetune", "lp", "timm:test_vit", str(manifest), "--split", "test", "--lr", "0.01", "--threads", "1"]
    assert run([*arguments, "--out", out, "--epochs", "25", "--val-split", "test"]) == 0
    shown = capsys.readouterr()
    assert "samples         5 (2 left out)" in shown.out
    assert "train accuracy  1.0000" in shown.out
    assert "val accuracy    1.0000" in shown.out
    assert "features: 6/6 images" in shown.err
    assert "training: 25/25 epochs" in shown.err
    assert "left out s3: " in shown.err
    assert shown.err.rstrip().endswith(f"next: rate export {out} --out ARTIFACT")

    assert run([*arguments, "--out", out]) == 2
    assert "add --force" in capsys.readouterr().err
    assert run([*arguments, "--out", out, "--force", "--epochs", "1", "--json"]) == 0
    document = json.loads(capsys.readouterr().out)
    assert document["classes"] == ["dark", "light"]
    assert document["failed"][0]["id"] == "s3"
    assert document["val_accuracy"] is None


@pytest.mark.parametrize("verb", [["export"], ["inspect"], ["finetune", "lp"]])
def test_help_names_what_a_command_takes(verb, capsys) -> None:
    assert run([*verb, "--help"]) == 0
    assert "Usage: rate " + " ".join(verb) in " ".join(capsys.readouterr().out.split())
