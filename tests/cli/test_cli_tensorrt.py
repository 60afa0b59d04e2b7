"""`rate export --format tensorrt`: the artifact, then its plan; a plan into an artifact; what is missing is said."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import onnx_models
import pytest
from standin_tensorrt import Standin

from rate.cli.main import run


@pytest.fixture
def standin(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Standin:
    return Standin().install(monkeypatch, tmp_path / "state")


@pytest.fixture
def source(tmp_path: Path) -> list[str]:
    """SOURCE and its classes."""
    model = onnx_models.Model().save(tmp_path / "model.onnx")
    return [f"onnx:{model}", "--classes", str(onnx_models.write_classes(tmp_path / "classes.txt"))]


def test_an_export_ends_in_a_plan(standin, source, tmp_path, capsys) -> None:
    out = tmp_path / "artifact"
    assert run(["export", *source, "--out", str(out), "--format", "tensorrt", "--plan-batch", "8,32"]) == 0
    shown = capsys.readouterr()
    assert "head       native (linear)" in shown.out
    assert "building a TensorRT 10.13.2.6 plan in fp16 for NVIDIA Stand-in 1" in shown.err, "half, if nothing is said"
    assert "plan: 100/100 %" in shown.err
    assert f"next: rate eval {out} DATA --out RUN" in shown.err
    [document] = (out / "plans").glob("*.json")
    assert json.loads(document.read_text())["batch_sizes"] == [8, 32]


def test_a_plan_is_built_into_an_artifact(standin, source, tmp_path, capsys) -> None:
    out = tmp_path / "artifact"
    assert run(["export", *source, "--out", str(out)]) == 0
    before = (out / "artifact.json").read_bytes()
    assert run(["export", str(out), "--format", "tensorrt"]) == 2
    assert "export it again with --precision fp16 --format tensorrt" in capsys.readouterr().err
    assert run(["export", str(out), "--format", "tensorrt", "--precision", "f32", "--json"]) == 0
    assert len(list((out / "plans").glob("*.plan"))) == 1
    assert (out / "artifact.json").read_bytes() == before
    capsys.readouterr()
    assert run(["export", str(out), "--format", "tensorrt", "--precision", "f32"]) == 0
    assert "is there already" in capsys.readouterr().err
    assert run(["export", str(out), "--format", "tensorrt", "--out", str(tmp_path / "b")]) == 2
    assert "its plan is built into it; leave --out" in capsys.readouterr().err


def test_what_is_missing_is_said_before_any_work(monkeypatch, standin, source, tmp_path, capsys) -> None:
    monkeypatch.setitem(sys.modules, "tensorrt", None)
    assert run(["export", *source, "--out", str(tmp_path / "artifact"), "--format", "tensorrt"]) == 2
    shown = capsys.readouterr()
    assert "pip install --extra-index-url https://pypi.nvidia.com tensorrt-cu13" in shown.err
    assert "exporting" not in shown.err
    assert not (tmp_path / "artifact").exists()


def test_an_artifact_is_whole_where_its_plan_could_not_be_built(standin, source, tmp_path, capsys) -> None:
    standin.faults.calls.add("build_serialized_network")
    out = str(tmp_path / "artifact")
    assert run(["export", *source, "--out", out, "--format", "tensorrt"]) == 4
    assert "TensorRT cannot build a plan" in capsys.readouterr().err
    assert run(["inspect", out]) == 0


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "--out is missing"),
        (["--out", "a", "--plan-batch", "many"], "--plan-batch must be whole numbers separated by commas, as 8,32"),
        (["--out", "a", "--plan-batch", "8"], "--plan-batch is for --format tensorrt"),
        (["--out", "a", "--format", "tensorrt", "--plan-batch", "0"], "from 1 to 4096"),
    ],
)
def test_options_that_cannot_be_used_are_exit_code_2(source, capsys, monkeypatch, tmp_path, arguments, message) -> None:
    monkeypatch.chdir(tmp_path)
    assert run(["export", *source, *arguments]) == 2
    assert message in capsys.readouterr().err
    assert not (tmp_path / "a").exists()


def test_inspect_tells_of_plans(standin, source, tmp_path, capsys) -> None:
    out = str(tmp_path / "artifact")
    assert run(["export", *source, "--out", out, "--format", "tensorrt"]) == 0
    capsys.readouterr()
    assert run(["inspect", out]) == 0
    assert "plan       tensorrt 10.13.2.6, fp16, batches of 64, 256 rows, NVIDIA Stand-in 1" in capsys.readouterr().out
