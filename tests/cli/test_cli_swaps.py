"""Verdicts by swaps and the pictures beside them, on a real artifact in ONNX Runtime, from the command line."""

from __future__ import annotations

import json
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from rate.cli.main import run
from rate.runs.run_document import read_run

FEW = ("--fills", "4", "--masks", "20", "--batch", "8", "--threads", "1", "--backend", "onnxruntime")


def test_maps_are_drawn_with_progress_and_not_twice(
    trained, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "run"
    command = ["eval", str(trained.artifact), str(trained.manifest), "--out", str(out), "--verdict", "swap", *FEW]
    assert run([*command, "--dry-run", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["forwards"] == 8 * (1 + 2 * 4) + 8 * (1 + 20)
    assert run(command) == 0
    said = capsys.readouterr().err
    assert "eval: 8/8 images" in said
    drawn = pq.read_table(out / "maps" / "maps.parquet", columns=["id"])
    assert f"maps: {len(drawn)}/{len(drawn)} images" in said
    execution = read_run(out).execution
    assert (execution["save_maps"], execution["maps"]["masks"]) == (4, 20)
    assert run(command) == 0
    assert "maps:" not in capsys.readouterr().err
