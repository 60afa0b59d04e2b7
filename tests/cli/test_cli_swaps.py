"""Verdicts by swaps and the pictures beside them, on a real artifact in ONNX Runtime, from the command line."""

from __future__ import annotations

import json
from pathlib import Path

import pyarrow.parquet as pq
import pytest

import rate
from rate.cli.main import run
from rate.engine.evaluate import Progress
from rate.errors import ConfigError
from rate.records import read
from rate.runs.run_document import read_run
from rate.studies.explanation import ExplanationDocument

FEW = ("--fills", "4", "--masks", "20", "--batch", "8", "--threads", "1", "--backend", "onnxruntime")


def test_maps_are_drawn_with_progress_and_not_twice(
    trained, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "run"
    command = ["eval", str(trained.artifact), str(trained.manifest), "--out", str(out), "--verdict", "swap", *FEW]
    assert run([*command, "--dry-run", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["forwards"] == (8 + 1) * (1 + 2 * 4) + 8 * (1 + 20)
    assert run(command) == 0
    said = capsys.readouterr().err
    assert "eval: 8/8 images" in said
    drawn = pq.read_table(out / "maps" / "maps.parquet", columns=["id"])
    assert f"maps: {len(drawn)}/{len(drawn)} images" in said
    execution = read_run(out).execution
    assert (execution["save_maps"], execution["maps"]["masks"]) == (4, 20)
    assert run(command) == 0
    assert "maps:" not in capsys.readouterr().err


def test_explain_with_other_pictures(trained, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    image, out = trained.manifest.parent / "1.png", tmp_path / "heat.png"
    command = ["explain", str(trained.artifact), str(image), "--out", str(out), "--masks", "20", "--threads", "1"]
    command += ["--boxes", "[[0, 0, 40, 40]]", "--fill", str(image.parent)]
    assert run([*command, "--fills", "5", "--json"]) == 0
    (tmp_path / "heat.json").write_text(capsys.readouterr().out)
    document = read(tmp_path / "heat.json", ExplanationDocument, ConfigError, "")
    assert document.swap is not None
    assert (document.verdict, document.swap.fills, document.picture) == ("swap", 5, str(out))
    assert document.forwards == 1 + 2 * 5 + 1 + 20
    assert run([*command, "--fills", "5"]) == 0
    captured = capsys.readouterr()
    assert f"share of the region {document.swap.share:.3f}" in captured.out
    assert "explain: 32/32 forwards" in captured.err
    assert run([*command, "--fills", "50"]) == 2
    assert "has 7 pictures beside 1.png that can be read, and swaps need 50" in capsys.readouterr().err


def test_a_grid_draws_the_maps_of_each_run(trained, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "grid"
    command = ["eval", str(trained.artifact), str(trained.manifest), "--out", str(out), "--verdict", "swap", *FEW]
    assert run([*command, "--corrupt", "clean,contrast:3", "--save-maps", "1"]) == 0
    drawn = [pq.read_table(out / name / "maps" / "maps.parquet").to_pylist() for name in ("clean", "contrast-3")]
    assert {one["id"]: one["map"] for one in drawn[0]} != {one["id"]: one["map"] for one in drawn[1]}
    for name, maps in zip(("clean", "contrast-3"), drawn, strict=True):
        assert len(maps) == len({one["quadrant"] for one in maps})
        assert read_run(out / name).status == "complete"


def test_python_hears_of_rows_and_then_of_maps(trained, tmp_path: Path) -> None:
    seen: list[Progress] = []
    settings = {"verdict": "swap", "fills": 4, "masks": 20, "backend": "onnxruntime", "threads": 1}
    summary = rate.evaluate(trained.artifact, trained.manifest, tmp_path / "run", progress=seen.append, **settings)
    stages = [now.drawing is not None for now in seen]
    assert stages == sorted(stages)
    assert [now.done for now in seen if now.drawing is None][-1] == 8
    last = seen[-1].drawing
    assert last is not None
    assert (last.done, last.failed) == (last.samples, 0)
    assert not any("have no map" in text for text in summary.notices)
