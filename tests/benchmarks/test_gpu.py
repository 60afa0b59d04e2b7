"""The benchmark for a GPU runs from end to end on the CPU, and says so where there is no GPU."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from standin_tensorrt import Standin

from benchmarks import gpu, gpu_ceilings
from rate.artifacts.artifact import Artifact, load_artifact
from rate.export.tensorrt import build_plan


def run(*arguments: str, threads: str = "1") -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "benchmarks.gpu", *arguments]
    environment = os.environ | {"OMP_NUM_THREADS": threads}
    return subprocess.run(command, capture_output=True, text=True, check=False, env=environment)


@pytest.fixture
def artifact(trained, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Artifact:
    """One for which the stand-in builds plans."""
    Standin().install(monkeypatch, tmp_path / "state")
    return load_artifact(Path(shutil.copytree(trained.artifact, tmp_path / "artifact")))


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
    assert [check["passed"] for check in figures["checks"]] == [True, True]
    assert figures["tower"]["flop"] > 1e6
    assert figures["plan"] == {"built": False, "why": "no plan is built for a CPU"}
    assert figures["trtexec"] == {"why": "no plan"}
    [row] = figures["bench"]["rows"]
    assert (row["backend"], row["batch"], row["masks"]) == ("onnxruntime", 4, 8)
    assert "checks: 2 of 2 passed" in done.stdout
    assert "onnxruntime f32 batch 4: raw " in done.stdout


@pytest.mark.slow
def test_what_would_begin_too_late_is_left_out_and_named(tmp_path: Path) -> None:
    done = run("--cpu-smoke", "--minutes", "0", "--out", str(tmp_path))
    assert done.returncode == 0, done.stdout + done.stderr
    assert "checks: 0 of 2 passed" in done.stdout
    assert "not tried: torch f32: no time was left" in done.stdout
    assert "runtimes: no time was left" in done.stdout


def test_a_runtime_that_is_wrong_fails_and_one_that_is_missing_does_not(disproved: Path) -> None:
    rows = list(gpu.checks(load_artifact(disproved), gpu.SMOKE, lambda: 1.0))
    assert [row["passed"] for row in rows] == [False, False]
    assert next(gpu._checks(rows)) == "checks: 0 of 2 passed"
    assert all("FAILED" in line for line in [*gpu._checks(rows)][1:])


@pytest.mark.slow
def test_a_build_that_takes_too_long_is_ended_and_the_rest_goes_on(artifact: Artifact) -> None:
    scale = gpu.Scale(**{field: getattr(gpu.CARD, field) for field in gpu.Scale.__dataclass_fields__})
    object.__setattr__(scale, "precision", "f32")
    figures, plan = gpu.built(artifact, scale, lambda: 0.0)
    assert plan is None
    assert "the build was ended after 0 s" in str(figures["why"])
    figures, plan = gpu.built(artifact, scale, lambda: 100.0)
    assert figures["built"] is True
    assert plan.batch_sizes == (64, 256)


def test_trtexec_gets_the_plan_with_zeros_and_is_read(
    artifact: Artifact, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plan = build_plan(artifact, "f32", (4, 16))
    assert gpu_ceilings.trtexec(None, 16, 60.0) == {"why": "no plan"}
    assert gpu_ceilings.trtexec(plan, 16, 5.0)["why"] != "no plan"
    folder = tmp_path / "bin"
    folder.mkdir()
    program, script = folder / "trtexec", tmp_path / "script.py"
    program.write_text(f"#!/bin/sh\nexec '{sys.executable}' '{script}' \"$@\"\n")  # a path may hold spaces
    script.write_text(
        """
import math, sys
from pathlib import Path
given = dict(argument[2:].partition("=")[::2] for argument in sys.argv[1:])
assert Path(given["loadEngine"]).is_file() and given["useProfile"] == "1"
shapes = dict(one.split(":") for one in given["shapes"].split(","))
files = dict(one.split(":") for one in given["loadInputs"].split(","))
assert shapes.keys() == files.keys() and shapes["slot"] == "16"
for name, shape in shapes.items():
    size = math.prod(map(int, shape.split("x")))
    content = Path(files[name]).read_bytes()
    assert not any(content) and len(content) in (4 * size, 8 * size), name
assert len(Path(files["slot"]).read_bytes()) == 16 * 8 and len(Path(files["grid"]).read_bytes()) % 16 == 0
print("[I] _gemm_mha_v2_0x1f, _gemm_mha_v2_0x2e")
print("[I] Throughput: 12.5 qps")
"""
    )
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{folder}{os.pathsep}{os.environ['PATH']}")
    found = gpu_ceilings.trtexec(plan, 16, 60.0)
    assert (found.get("forwards_per_s"), found.get("fused_attention_names")) == (200.0, 2), found
    script.write_text("import sys; sys.exit('no such engine')\n")
    assert gpu_ceilings.trtexec(plan, 16, 60.0)["why"] == "no such engine"
