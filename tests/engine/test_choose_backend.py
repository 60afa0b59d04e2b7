"""`auto` takes the first backend that computes what the artifact says; a named one is used or refused."""

from __future__ import annotations

import dataclasses
from itertools import product
from pathlib import Path

import onnxruntime
import pytest
from msgspec import structs
from opening import chosen

from rate.artifacts.artifact import load_artifact
from rate.backends import ort_cuda
from rate.backends.openvino import cpu_has_bf16
from rate.config import Measurement
from rate.engine import choose_backend
from rate.engine.choose_backend import preferences
from rate.engine.make_job import job_from_artifact
from rate.errors import ConfigError, MissingExtra, ParityError, UsageError
from rate.execution import Execution


@pytest.fixture(scope="module")
def artifact(trained):
    return load_artifact(trained.artifact)


def test_auto_picks_openvino_in_the_best_precision_that_passes(artifact) -> None:
    said: list[str] = []
    spec = chosen(artifact, Execution(threads=1), said.append)
    assert spec.name == "openvino"
    assert spec.precision == ("bf16" if cpu_has_bf16() and not said else "f32")


@pytest.mark.parametrize("name", ["openvino", "onnxruntime"])
def test_a_named_backend_is_used(artifact, name: str) -> None:
    spec = chosen(artifact, Execution(backend=name, precision="f32"))
    assert (spec.name, spec.precision) == (name, "f32")


def test_a_precision_that_a_backend_does_not_have_is_refused(artifact) -> None:
    with pytest.raises(UsageError, match="--backend onnxruntime does not compute in --precision bf16"):
        chosen(artifact, Execution(backend="onnxruntime", precision="bf16"))


def test_a_backend_that_computes_something_else_is_never_used(disproved: Path) -> None:
    said: list[str] = []
    with pytest.raises(ParityError, match="torch in f32 does not reproduce"):
        chosen(load_artifact(disproved), Execution(), said.append)
    assert said[-1].startswith("passed over: onnxruntime in f32")
    assert all(text.startswith("passed over: openvino") for text in said[:-1])
    assert len(said) >= 2


def test_execution_settings_are_no_part_of_a_measurement() -> None:
    """Otherwise a batch size would change a run's key."""
    execution, measurement = ({field.name for field in dataclasses.fields(kind)} for kind in (Execution, Measurement))
    assert not execution & measurement
    assert set(Measurement().to_json()) <= measurement


ALL = ("fp16", "bf16", "int8", "torch")
"""What an artifact can offer."""


@pytest.fixture
def gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    """A machine with a GPU and the runtime for it, as far as the choice of what to try goes."""
    monkeypatch.setattr(choose_backend, "cuda_visible", lambda: True)
    monkeypatch.setattr(choose_backend.ort_cuda, "ready", lambda: True)


def names(pairs: list[tuple[str, str]]) -> list[str]:
    return [f"{backend} {precision}" for backend, precision in pairs if (backend, precision) != ("openvino", "bf16")]


def test_a_gpu_comes_first_in_the_half_that_the_artifact_holds(gpu) -> None:
    on_cuda = ["onnxruntime-cuda f32"]
    on_cpu = ["openvino f32", "onnxruntime f32"]
    assert names(preferences(Execution())) == on_cuda + on_cpu
    halves = [f"{backend} {half}" for backend in ("onnxruntime-cuda", "torch-cuda") for half in ("fp16", "bf16")]
    whole = [*halves, *on_cuda, "torch-cuda f32"]
    assert names(preferences(Execution(), ALL)) == [*whole, "openvino int8", *on_cpu, "torch f32"]
    assert names(preferences(Execution(device="cuda:1"), ALL)) == whole
    plans = preferences(Execution(device="cuda"), (*ALL, "tensorrt-f32", "tensorrt-bf16"))
    assert names(plans) == ["tensorrt bf16", *halves, "tensorrt f32", *whole[4:]], "never an f32 plan before a half"
    assert names(preferences(Execution(device="cpu"), ALL)) == ["openvino int8", *on_cpu, "torch f32"]


@pytest.mark.parametrize(
    ("bf16", "faster", "expected"),
    [
        (True, (), ["int8", "bf16", "f32"]),
        (True, ("bf16",), ["bf16", "int8", "f32"]),
        (True, ("f32",), ["bf16", "f32", "int8"]),
        (False, ("bf16",), ["int8", "f32"]),
        (False, ("f32",), ["f32", "int8"]),
    ],
)
def test_what_was_faster_than_int8_at_the_export_comes_before_it(
    monkeypatch: pytest.MonkeyPatch, bf16: bool, faster: tuple[str, ...], expected: list[str]
) -> None:
    monkeypatch.setattr(choose_backend, "cpu_has_bf16", lambda: bf16)
    offered = ("int8", *(choose_backend.FASTER + precision for precision in faster))
    order = preferences(Execution(backend="openvino"), offered)
    assert [precision for _, precision in order] == expected


def test_without_a_gpu_nothing_of_it_is_tried_or_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(choose_backend, "cuda_visible", lambda: False)
    monkeypatch.setattr(choose_backend.ort_cuda, "ready", lambda: pytest.fail("a runtime was asked"))
    assert not [name for name in names(preferences(Execution(), ALL)) if "cuda" in name]
    assert names(preferences(Execution(device="cuda"), ALL))[0] == "onnxruntime-cuda fp16", "asked for, so tried"


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        ({"precision": "fp16"}, ["onnxruntime-cuda fp16", "torch-cuda fp16"]),
        ({"precision": "bf16", "device": "cpu"}, []),
        ({"precision": "int8", "device": "cuda"}, []),
        ({"backend": "onnxruntime"}, ["onnxruntime f32"]),
        ({"backend": "onnxruntime", "device": "cuda"}, [f"onnxruntime-cuda {p}" for p in ("fp16", "bf16", "f32")]),
        ({"backend": "onnxruntime-cuda", "precision": "bf16"}, ["onnxruntime-cuda bf16"]),
        ({"backend": "torch", "device": "cuda:2", "precision": "fp16"}, ["torch-cuda fp16"]),
        ({"backend": "torch", "precision": "bf16"}, ["torch bf16"]),
        ({"backend": "torch"}, ["torch f32"]),
        ({"backend": "torch", "device": "cuda"}, [f"torch-cuda {p}" for p in ("fp16", "bf16", "f32")]),
        ({"backend": "onnxruntime", "precision": "fp16"}, []),
    ],
)
def test_what_is_asked_for_is_tried_and_nothing_else(gpu, settings: dict[str, str], expected: list[str]) -> None:
    assert names(preferences(Execution(**settings), ALL)) == expected


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"backend": "openvino", "device": "cuda"}, "backend openvino does not run on device cuda"),
        ({"backend": "onnxruntime-cuda", "device": "cpu"}, "backend onnxruntime-cuda does not run on device cpu"),
        ({"device": "gpu"}, "device must be auto, cpu, cuda, cuda:N or cuda:N,M, got 'gpu'"),
        ({"device": "cuda:"}, "device must be auto, cpu, cuda, cuda:N or cuda:N,M"),
    ],
)
def test_devices_that_make_no_sense_are_refused(settings: dict[str, str], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        Execution(**settings)


def test_cuda_is_refused_here_with_the_cure_and_never_replaced(artifact) -> None:
    if ort_cuda.PROVIDERS["cuda"] not in onnxruntime.get_available_providers():
        with pytest.raises(MissingExtra, match=r"needs CUDAExecutionProvider.*rate-engine\[gpu\]"):
            chosen(artifact, Execution(backend="onnxruntime", device="cuda"))
    with pytest.raises(UsageError, match=r"has no pixels graph in fp16.*--precision fp16"):
        chosen(artifact, Execution(backend="onnxruntime-cuda", precision="fp16"))
    with pytest.raises(UsageError, match="does not compute in --precision int8 on --device cuda; leave one out"):
        chosen(artifact, Execution(device="cuda", precision="int8"))
    with pytest.raises(UsageError, match="--precision fp16 on --device cpu; fp16 is for a GPU"):
        chosen(artifact, Execution(device="cpu", precision="fp16"))


def test_a_model_that_is_gone_is_passed_over(artifact, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """On a GPU PyTorch stands before the CPU's runtimes, and its source may be on another machine."""
    monkeypatch.setattr(choose_backend, "preferences", lambda *_: [("torch", "f32"), ("onnxruntime", "f32")])
    said: list[str] = []
    elsewhere = structs.replace(artifact, source=str(tmp_path / "gone"))
    assert chosen(elsewhere, Execution(), said.append).name == "onnxruntime"
    assert len(said) == 1
    assert "cannot be opened in PyTorch:" in said[0]


def test_without_torch_it_is_not_offered(artifact, monkeypatch: pytest.MonkeyPatch) -> None:
    assert choose_backend.TORCH in choose_backend.offers(artifact)
    assert choose_backend.TORCH not in choose_backend.offers(artifact, "tokens")
    monkeypatch.setattr(choose_backend, "find_spec", lambda name: None)
    assert choose_backend.offers(artifact) == frozenset()


def test_the_device_is_no_part_of_a_runs_key_but_the_runtime_and_precision_are(artifact, trained) -> None:
    measurement = Measurement(masks=20)
    jobs = [
        job_from_artifact(artifact, trained.manifest, "test", measurement, Execution(device=device))
        for device in ("auto", "cpu", "cuda:1")
    ]
    assert len({job.key("onnxruntime-cuda", "fp16") for job in jobs}) == 1
    pairs = product(("onnxruntime", "onnxruntime-cuda", "torch", "torch-cuda"), ("f32", "fp16"))
    assert len({jobs[0].key(*pair) for pair in pairs}) == 8
