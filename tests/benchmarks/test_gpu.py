"""The benchmark for a GPU runs from end to end on the CPU, and says so where there is no GPU."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from benchmarks import gpu_checks, gpu_table


def run(*arguments: str, threads: str = "1") -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "benchmarks.gpu", *arguments]
    environment = os.environ | {"OMP_NUM_THREADS": threads}
    return subprocess.run(command, capture_output=True, text=True, check=False, env=environment)


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU here")
def test_without_a_gpu_it_measures_nothing_and_says_what_to_do() -> None:
    done = run()
    assert done.returncode == 2
    assert f"no CUDA device: torch {torch.__version__}" in done.stderr
    assert "docs/gpu.md" in done.stderr
    assert not done.stdout


@pytest.mark.slow
def test_every_section_runs_on_the_cpu(tmp_path: Path) -> None:
    done = run("--cpu-smoke", "--out", str(tmp_path))
    assert done.returncode == 0, done.stdout + done.stderr
    figures = json.loads((tmp_path / "gpu_cpu_smoke.json").read_text())["figures"]
    assert all(check["passed"] for check in figures["checks"])
    assert len(figures["checks"]) == 3
    assert {row["precision"] for row in figures["forwards"]} == {"fp16", "bf16"}
    for row in figures["forwards"]:
        assert row["masked_over_raw"] == pytest.approx(row["masked_forwards_per_s"] / row["raw_forwards_per_s"])
    backends = {row["backend"]: row for row in figures["backends"]}
    assert backends["onnxruntime"]["measured"]
    assert all(row["measured"] or row["why"] for row in figures["backends"])
    assert "checks: " in done.stdout
    assert "of ceiling" in done.stdout


@pytest.mark.parametrize("error", [2.0, float("nan")])
def test_a_failed_check_is_printed(error: float) -> None:
    checks = [gpu_checks.check("fold", error, 1.0), gpu_checks.check("mass", 0.5, 1.0)]
    first, failed = gpu_table._checks(checks)
    assert first == "checks: 1 of 2 passed"
    assert failed.startswith("  FAILED fold")


def test_columns_are_aligned() -> None:
    assert list(gpu_table.aligned([("a", "bb"), ("ccc", "d")])) == ["a    bb", "ccc   d"]
