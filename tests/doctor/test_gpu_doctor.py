"""What the doctor says of a GPU follows from what is there: a driver that answers, libraries, distributions."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest

from rate.doctor import gpu
from rate.doctor.finding import Finding
from rate.doctor.gpu import Driver, diagnose_gpu, driver, needed_by, sonames, why_no_gpu
from rate.doctor.host import diagnose

H100 = "NVIDIA H100 80GB HBM3, 81559 MiB, 9.0, 580.65.06"


@pytest.fixture
def machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A machine without driver and device nodes, until a test adds them: `bin` is its PATH, `dev` its devices."""
    for name in ("bin", "dev"):
        (tmp_path / name).mkdir()
    monkeypatch.setenv("PATH", str(tmp_path / "bin"))
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    monkeypatch.setattr(gpu, "_DEVICES", tmp_path / "dev")
    return tmp_path


def nvidia_smi(machine: Path, body: str) -> None:
    script = machine / "bin" / "nvidia-smi"
    script.write_text(f"#!/bin/sh\n{body}\n")
    script.chmod(0o755)


def distribution(folder: Path, name: str, version: str) -> None:
    info = folder / f"{name.replace('-', '_')}-{version}.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n")


def about(found: Driver) -> dict[str, Finding]:
    return {finding.topic: finding for finding in diagnose_gpu(found)}


def test_without_driver_and_nodes_there_is_no_gpu(machine: Path) -> None:
    found = driver()
    assert not found.seen
    assert about(found)["GPU"].found.startswith("none")


def test_the_cards_are_what_nvidia_smi_says(machine: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = "--query-gpu=name,memory.total,compute_cap,driver_version --format=csv,noheader"
    nvidia_smi(machine, f'[ "$*" = "{asked}" ] && echo "{H100}" && echo "{H100}"')
    found = driver()
    assert (found.seen, found.cards) == (True, (H100, H100))
    assert "CUDA_VISIBLE_DEVICES" not in about(found)["GPU"].remark
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    assert "CUDA_VISIBLE_DEVICES is ''" in about(found)["GPU"].remark


def test_a_driver_that_does_not_answer_is_no_gpu(machine: Path) -> None:
    (machine / "dev" / "nvidia0").touch()
    nvidia_smi(machine, "echo 'NVIDIA-SMI has failed: no communication with the driver.'; exit 9")
    found = driver()
    assert not found.seen
    assert "no communication with the driver" in about(found)["GPU"].found
    assert "reload" in about(found)["GPU"].remark
    nvidia_smi(machine, "exit 3")
    assert "exit code 3" in driver().trouble
    (machine / "bin" / "nvidia-smi").write_text("no program")
    assert driver().trouble.startswith("nvidia-smi:")


def test_device_nodes_tell_where_nvidia_smi_is_missing(machine: Path) -> None:
    for name in ("nvidia1", "nvidia0", "nvidiactl", "null"):
        (machine / "dev" / name).touch()
    found = driver()
    assert found.seen
    assert [Path(node).name for node in found.nodes] == ["nvidia0", "nvidia1"]
    assert "nvidia0" in about(found)["GPU"].found


def test_libraries_are_found_in_wheels_and_on_the_search_path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    wheel, own = tmp_path / "site" / "nvidia" / "cu13" / "lib", tmp_path / "own"
    for folder, name in ((wheel, "libcudart.so.13"), (own, "libcudnn.so.9.1.0"), (own, "libcublasLt.so.13")):
        folder.mkdir(parents=True, exist_ok=True)
        (folder / name).touch()
    before = sonames()
    monkeypatch.syspath_prepend(tmp_path / "site")
    monkeypatch.setenv("LD_LIBRARY_PATH", str(own))
    assert sonames() == before | {"libcudart.so.13", "libcudnn.so.9", "libcublasLt.so.13"}
    assert "libcudnn.so.9" in about(Driver(()))["CUDA libraries"].found


def test_what_a_binary_needs_is_read_out_of_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    binary = tmp_path / "somewhere" / "capi" / "lib.so"
    binary.parent.mkdir(parents=True)
    binary.write_bytes(
        b"\x7fELF libcublas.so.missing\0libcublas.so.13\0libcudart.so.13\0libcudart.so.12\0libnvinfer.so.10\0"
    )
    monkeypatch.syspath_prepend(tmp_path)
    assert needed_by("somewhere", "capi/lib.so") == ["libcudart.so.13", "libcublas.so.13", "libnvinfer.so.10"]
    assert needed_by("somewhere", "capi/other.so") == []
    assert needed_by("nowhere_at_all", "capi/lib.so") == []


@pytest.fixture
def with_providers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An onnxruntime-gpu whose providers want CUDA 13 and TensorRT 10, first on the path."""
    capi = tmp_path / "onnxruntime" / "capi"
    capi.mkdir(parents=True)
    (tmp_path / "onnxruntime" / "__init__.py").touch()
    (capi / "libonnxruntime_providers_cuda.so").write_bytes(b"libcudart.so.13\0libcudnn.so.9\0")
    (capi / "libonnxruntime_providers_tensorrt.so").write_bytes(b"libnvinfer.so.10\0libcudart.so.13\0")
    distribution(tmp_path, "onnxruntime-gpu", "1.31.1")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr(gpu, "find_spec", lambda name: __import__("importlib").machinery.PathFinder.find_spec(name))
    return tmp_path


def test_onnxruntime_gpu_names_the_libraries_it_lacks(with_providers: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gpu, "sonames", lambda: frozenset({"libcudart.so.12", "libcudnn.so.9"}))
    found = about(Driver(()))["ONNX Runtime on CUDA"]
    assert found.found == "1.31.1 cannot find libcudart.so.13"
    assert "onnxruntime-gpu[cuda,cudnn]" in found.remark
    monkeypatch.setattr(gpu, "sonames", lambda: frozenset({"libcudart.so.13", "libcudnn.so.9"}))
    assert about(Driver(()))["ONNX Runtime on CUDA"].found == "1.31.1 finds libcudart.so.13, libcudnn.so.9"


def test_onnxruntime_and_onnxruntime_gpu_together_are_a_conflict(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The environment's own onnxruntime, and what an onnxruntime-gpu leaves that it has overwritten."""
    distribution(tmp_path, "onnxruntime-gpu", "1.31.1")
    monkeypatch.syspath_prepend(tmp_path)
    found = {finding.topic: finding for finding in diagnose(tmp_path)}
    assert "uninstall both" in found["conflict"].remark
    assert found["ONNX Runtime on CUDA"].found == "1.31.1, but its CUDA provider is not there"


def test_an_onnxruntime_of_which_a_folder_is_left_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What uninstalling one of two packages that share a folder leaves behind."""
    monkeypatch.setitem(sys.modules, "onnxruntime", ModuleType("onnxruntime"))
    found = {finding.topic: finding for finding in diagnose(tmp_path)}["ONNX Runtime"]
    assert "cannot be imported" in found.found
    assert "get_available_providers" in found.found


@pytest.mark.parametrize(("version", "fits"), [("10.16.1.11", True), ("11.4.0.106", False)])
def test_tensorrt_of_another_major_is_of_no_use_to_onnxruntime(with_providers: Path, version: str, fits: bool) -> None:
    assert about(Driver(()))["TensorRT"].found == "not installed"
    distribution(with_providers, "tensorrt-cu13", version)
    found = about(Driver(()))["TensorRT"]
    assert found.found == version
    assert ("wants libnvinfer.so.10" in found.remark) != fits


def test_triton_needs_a_compiler(machine: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    distribution(machine / "site", "triton", "3.9.0")
    monkeypatch.syspath_prepend(machine / "site")
    assert "needs gcc or clang" in about(Driver(()))["Triton"].remark
    (machine / "bin" / "clang").touch(mode=0o755)
    assert about(Driver(()))["Triton"] == Finding("Triton", "3.9.0")


def test_torch_is_not_imported_to_know_what_it_is_built_for() -> None:
    code = (
        "import sys; from rate.doctor.gpu import Driver, diagnose_gpu; print(*diagnose_gpu(Driver(())));"
        "assert not {'torch', 'triton', 'onnxruntime', 'tensorrt'} & set(sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "built for" in done.stdout


def test_auto_says_why_it_takes_no_gpu(tmp_path: Path, machine: Path) -> None:
    nowhere, somewhere = Driver(()), Driver((H100,))
    assert "none is seen" in why_no_gpu(nowhere, ["openvino"])
    assert "no runtime for it is installed" in why_no_gpu(somewhere, ["openvino", "onnxruntime"])
    assert why_no_gpu(somewhere, ["tensorrt", "openvino"]) == ""
    auto = {finding.topic: finding for finding in diagnose(tmp_path)}["auto"].found
    assert "none is seen" in auto
    nvidia_smi(machine, f'echo "{H100}"')
    auto = {finding.topic: finding for finding in diagnose(tmp_path)}["auto"].found
    assert "no runtime for it is installed" in auto
