"""`auto` takes a TensorRT plan first where one fits, says why where none does; the verdicts are those of the CPU."""

from __future__ import annotations

import shutil
import sys
from pathlib import Path

import pytest
from opening import chosen
from standin_tensorrt import Standin

import rate
from rate.artifacts.artifact import Artifact, load_artifact
from rate.artifacts.plans import plan_spec
from rate.bench.plan import open_candidates
from rate.bench.settings import BenchSettings
from rate.engine import choose_backend
from rate.errors import MissingExtra, ParityError, UsageError
from rate.execution import Execution
from rate.export.tensorrt import build_plan


@pytest.fixture
def standin(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Standin:
    monkeypatch.setattr(choose_backend, "cuda_visible", lambda: True)
    monkeypatch.setattr(choose_backend, "find_spec", lambda _: None)  # PyTorch, which would be tried on that GPU, too
    return Standin().install(monkeypatch, tmp_path / "state")


@pytest.fixture
def artifact(trained, tmp_path: Path) -> Artifact:
    return load_artifact(Path(shutil.copytree(trained.artifact, tmp_path / "artifact")))


def test_auto_takes_the_plan_first(standin, artifact) -> None:
    assert chosen(artifact, Execution(threads=1)).name == "openvino"
    build_plan(artifact, "f32", (8,))
    said: list[str] = []
    spec = chosen(artifact, Execution(threads=1), said.append)
    assert (spec.name, spec.precision) == ("tensorrt", "f32")
    assert said[0].startswith(
        "a batch of 256 rows is queued as 32 of the plan's 8; `--format tensorrt --plan-batch 256`"
    )
    assert said[1].startswith("the GPU computes in f32, in which it is slower than in halves")
    said.clear()
    chosen(artifact, Execution(precision="f32", batch=8, threads=1), said.append)
    assert said == [], "what was asked for needs no notice"
    assert chosen(artifact, Execution("onnxruntime", threads=1)).name == "onnxruntime"


def test_auto_passes_over_a_plan_that_cannot_be_used_and_says_why(monkeypatch, standin, artifact) -> None:
    build_plan(artifact, "f32", (8,))
    standin.gpu.name = "another GPU"
    said: list[str] = []
    assert chosen(artifact, Execution(precision="f32", threads=1), said.append).name == "openvino"
    assert len(said) == 1
    assert "was built for gpu NVIDIA Stand-in 1, here it is another GPU" in said[0]

    monkeypatch.setitem(sys.modules, "tensorrt", None)
    said.clear()
    assert chosen(artifact, Execution(precision="f32", threads=1), said.append).name == "openvino"
    assert said[0].startswith("passed over: TensorRT is needed here and cannot be imported")


def test_auto_passes_over_a_plan_that_has_become_wrong(standin, artifact) -> None:
    build_plan(artifact, "f32", (8,))
    standin.faults.logits = 1.0
    said: list[str] = []
    assert chosen(artifact, Execution(precision="f32", threads=1), said.append).name == "openvino"
    assert said[0].startswith("passed over: tensorrt in f32 does not reproduce")
    with pytest.raises(ParityError, match="tensorrt in f32 does not reproduce"):
        chosen(artifact, Execution("tensorrt"))


def test_named_it_is_used_or_refused_with_the_cure(monkeypatch, standin, artifact) -> None:
    with pytest.raises(UsageError, match=r"\(none was built\); build one here: rate export .* --format tensorrt"):
        chosen(artifact, Execution("tensorrt"))
    with pytest.raises(UsageError, match="has no pixels graph in bf16"):
        chosen(artifact, Execution("tensorrt", "bf16"))
    with pytest.raises(UsageError, match="--backend tensorrt does not compute in --precision int8"):
        chosen(artifact, Execution("tensorrt", "int8"))
    build_plan(artifact, "f32", (8,))
    assert chosen(artifact, Execution("tensorrt")).name == "tensorrt"
    monkeypatch.setitem(sys.modules, "tensorrt", None)
    with pytest.raises(MissingExtra, match=r"pypi\.nvidia\.com tensorrt-cu13"):
        chosen(artifact, Execution("tensorrt"))


def test_a_plan_runs_on_the_gpu_that_is_named(standin, artifact) -> None:
    build_plan(artifact, "f32", (8,))
    for device in ("cuda:1", "cuda"):
        assert plan_spec(artifact, "f32", 8, device).device == device


def test_no_plan_is_built_of_token_graphs(standin, tiny_vit, tmp_path) -> None:
    artifact = load_artifact(Path(shutil.copytree(tiny_vit.artifact, tmp_path / "artifact")))
    build_plan(artifact, "f32", (8,))
    assert chosen(artifact, Execution(precision="f32", threads=1), form="tokens").name == "openvino"
    with pytest.raises(UsageError, match="no TensorRT plan is built of tokens graphs; use another --backend"):
        chosen(artifact, Execution("tensorrt"), form="tokens")


def test_a_bench_measures_the_plan_beside_the_others(standin, artifact) -> None:
    build_plan(artifact, "f32", (8,))
    with open_candidates(artifact, BenchSettings(precision=("f32",), threads=1)) as (passed, _):
        assert [backend.name for backend in passed] == ["tensorrt", "openvino", "onnxruntime"]


def test_a_whole_evaluation_gives_the_verdicts_of_the_cpu(standin, trained, artifact) -> None:
    """Two samples' masks in a batch, a batch in flight, the last one short: through the engine, not around it."""
    build_plan(artifact, "f32", (4, 32))
    settings = {"masks": 40, "batch": 32, "threads": 1, "precision": "f32"}
    found, expected = (
        rate.evaluate(artifact.path, trained.manifest, backend=backend, **settings).heads["lp"]
        for backend in ("tensorrt", "onnxruntime")
    )
    assert standin.gpu.replays > 5
    assert found.counts == expected.counts
    assert found.accuracy == expected.accuracy
