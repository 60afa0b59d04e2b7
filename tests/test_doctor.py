"""The doctor names what `auto` would pick, tries it on an artifact, and is honest about what is missing."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from types import ModuleType, SimpleNamespace

import jsonschema
import pytest
from opening import chosen

from rate import doctor
from rate.artifacts.artifact import load_artifact
from rate.backends.openvino import cpu_has_bf16
from rate.cli.main import run
from rate.doctor import Driver, Finding, diagnose, driver_of, why_no_gpu
from rate.errors import ArtifactError
from rate.execution import Execution
from rate.report.schemas import all_schemas


def findings(folder: Path, artifact: Path | None = None) -> dict[str, Finding]:
    return {finding.topic: finding for finding in diagnose(folder, artifact).findings}


def test_auto_is_told_in_the_order_in_which_it_tries(tmp_path: Path) -> None:
    found = findings(tmp_path)["auto"].observed
    order = ["openvino bf16"] * cpu_has_bf16() + ["openvino f32", "onnxruntime f32"]
    assert found.startswith(", then ".join(order))


def test_auto_says_when_no_runtime_is_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doctor, "installed", lambda *names: "")
    found = findings(tmp_path)
    assert found["auto"].observed.startswith("nothing")
    assert "rate-engine[cpu]" in found["auto"].remark
    assert found["Ray"].observed == "not installed"


def test_with_an_artifact_the_self_test_is_carried_out(trained, tmp_path: Path) -> None:
    told = findings(tmp_path, trained.artifact)[f"auto for {trained.artifact}"]
    said: list[str] = []
    spec = chosen(load_artifact(trained.artifact), Execution(), said.append)
    assert told.observed == f"{spec.name} {spec.precision}"
    assert told.remark == "; ".join(said)


def test_no_artifact_is_a_clear_refusal(tmp_path: Path) -> None:
    with pytest.raises(ArtifactError, match=str(tmp_path)):
        findings(tmp_path, tmp_path)


def test_the_command_prints_every_finding(trained, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["doctor", str(trained.artifact), "--json"]) == 0
    printed = json.loads(capsys.readouterr().out)
    jsonschema.validate(printed, all_schemas()["doctor"])
    topics = [finding["topic"] for finding in printed["findings"]]
    assert {"rate", "processor", "OpenVINO", "GPU", "Ray", "auto", "disk"} <= set(topics)


def test_the_address_of_a_cluster_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doctor, "installed", lambda *names: "2.60.0")
    monkeypatch.setenv("RAY_ADDRESS", "ray://head:10001")
    assert "ray://head:10001" in findings(tmp_path)["Ray"].observed


H100 = "NVIDIA H100 80GB HBM3, 81559 MiB, 9.0, 580.65.06"


@pytest.fixture
def machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A machine without driver and device nodes, until a test adds them: `bin` is its PATH, `dev` its devices."""
    for name in ("bin", "dev"):
        (tmp_path / name).mkdir()
    monkeypatch.setenv("PATH", str(tmp_path / "bin"))
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    return tmp_path


def nvidia_smi(machine: Path, body: str) -> None:
    script = machine / "bin" / "nvidia-smi"
    script.write_text(f"#!/bin/sh\n{body}\n")
    script.chmod(0o755)


def distribution(folder: Path, name: str, version: str) -> None:
    info = folder / f"{name.replace('-', '_')}-{version}.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n")


def test_without_driver_and_nodes_there_is_no_gpu(machine: Path) -> None:
    assert driver_of(machine / "dev") == Driver()
    assert not Driver().seen


def test_the_cards_are_what_nvidia_smi_says(machine: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = "--query-gpu=name,memory.total,compute_cap,driver_version --format=csv,noheader"
    nvidia_smi(machine, f'[ "$*" = "{asked}" ] && echo "{H100}" && echo "{H100}"')
    found = driver_of(machine / "dev")
    assert (found.seen, found.cards) == (True, (H100, H100))
    said = findings(machine)
    assert said["GPU"].observed == f"{H100}; {H100}"
    assert "no runtime for it is installed" in said["auto"].observed
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    assert "CUDA_VISIBLE_DEVICES is ''" in findings(machine)["GPU"].remark


def test_a_driver_that_does_not_answer_is_no_gpu(machine: Path) -> None:
    (machine / "dev" / "nvidia0").touch()
    nvidia_smi(machine, "echo 'NVIDIA-SMI has failed: no communication with the driver.'; exit 9")
    found = driver_of(machine / "dev")
    assert not found.seen
    assert "no communication with the driver" in found.trouble
    assert findings(machine)["GPU"].observed == found.trouble
    nvidia_smi(machine, "exit 3")
    assert "exit code 3" in driver_of(machine / "dev").trouble
    (machine / "bin" / "nvidia-smi").write_text("no program")
    assert driver_of(machine / "dev").trouble.startswith("nvidia-smi:")


def test_device_nodes_tell_where_nvidia_smi_is_missing(machine: Path) -> None:
    for name in ("nvidia1", "nvidia0", "nvidiactl", "null"):
        (machine / "dev" / name).touch()
    found = driver_of(machine / "dev")
    assert found.seen
    assert [Path(node).name for node in found.nodes] == ["nvidia0", "nvidia1"]


@pytest.fixture
def onnxruntime_gpu(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The CUDA provider of an onnxruntime-gpu; the loader finds that it is no library."""
    provider = tmp_path / "onnxruntime" / "capi" / "libonnxruntime_providers_cuda.so"
    provider.parent.mkdir(parents=True)
    provider.write_bytes(b"no library")
    (tmp_path / "onnxruntime" / "__init__.py").write_text("def preload_dlls(): print('a library is missing')")
    distribution(tmp_path, "onnxruntime-gpu", "1.31.1")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "onnxruntime", raising=False)
    return provider


def test_the_loader_says_which_library_onnxruntime_lacks(
    onnxruntime_gpu: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    found = doctor._onnxruntime_gpu(gpu=True)
    assert str(onnxruntime_gpu) in found.observed
    assert "onnxruntime-gpu[cuda,cudnn]" in found.remark
    assert not capsys.readouterr().out
    asked: list[str] = []
    monkeypatch.setattr(doctor, "ctypes", SimpleNamespace(CDLL=asked.append))
    assert doctor._onnxruntime_gpu(gpu=True) == Finding("ONNX Runtime on CUDA", "1.31.1 finds its libraries")
    assert asked == [str(onnxruntime_gpu), "libcudnn.so.9"]
    assert "no GPU" in doctor._onnxruntime_gpu(gpu=False).observed
    assert len(asked) == 2


def test_onnxruntime_and_onnxruntime_gpu_together_are_a_conflict(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The environment's own onnxruntime, and what an onnxruntime-gpu leaves that it has overwritten."""
    distribution(tmp_path, "onnxruntime-gpu", "1.31.1")
    monkeypatch.syspath_prepend(tmp_path)
    found = findings(tmp_path)
    assert "uninstall both" in found["conflict"].remark
    assert found["ONNX Runtime on CUDA"].observed == "1.31.1, but its CUDA provider is not there"


def test_an_onnxruntime_of_which_a_folder_is_left_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What uninstalling one of two packages that share a folder leaves behind."""
    monkeypatch.setitem(sys.modules, "onnxruntime", ModuleType("onnxruntime"))
    found = findings(tmp_path)["ONNX Runtime"]
    assert "cannot be imported" in found.observed
    assert "get_available_providers" in found.observed


def test_tensorrt_is_loaded_where_there_is_a_gpu(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert doctor._tensorrt(gpu=True).observed == "not installed"
    distribution(tmp_path, "tensorrt-cu13", "11.4.0.106")
    monkeypatch.syspath_prepend(tmp_path)
    assert doctor._tensorrt(gpu=False) == Finding("TensorRT", "11.4.0.106")
    assert "cannot be imported" in doctor._tensorrt(gpu=True).remark


def test_auto_says_why_it_takes_no_gpu() -> None:
    assert "none is seen" in why_no_gpu(False, ["openvino"])
    assert "no runtime for it is installed" in why_no_gpu(True, ["openvino", "onnxruntime"])
    assert why_no_gpu(True, ["tensorrt", "openvino"]) == ""
