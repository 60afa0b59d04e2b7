"""The report of `rate doctor`: installed packages, usable hardware, and the choice of `auto`.

Libraries of GPU runtimes are loaded only if a GPU is visible, since they take hundreds of megabytes.
"""

from __future__ import annotations

import contextlib
import ctypes
import importlib
import io
import os
import platform
import shutil
import subprocess
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from rate.artifacts.artifact import load_artifact
from rate.backends.openvino import cpu_has_bf16
from rate.backends.process import usable_cores
from rate.backends.tensorrt_library import load_tensorrt
from rate.engine.choose_backend import open_backend, preferences
from rate.errors import BackendError, MissingExtra, ParityError, UsageError
from rate.execution import ON_CUDA, Execution
from rate.machine import installed, processor
from rate.plugins import Plugin
from rate.records import Document, Record
from rate.version import __version__

GUIDE = "docs/gpu.md"

_PACKAGES = (
    "numpy",
    "pillow",
    "pyarrow",
    "onnxruntime",
    "onnxruntime-gpu",
    "openvino",
    "torch",
    "torchvision",
    "timm",
    "open_clip_torch",
    "onnx",
    "onnxscript",
    "nncf",
    "ray",
    "nvtx",
    "nvidia-ml-py",
)

_TENSORRT = ("tensorrt", "tensorrt-cu13", "tensorrt-cu12")

_DISTRIBUTIONS = {
    "onnxruntime": ("onnxruntime", "onnxruntime-gpu"),
    "onnxruntime-cuda": ("onnxruntime-gpu",),
    "tensorrt": _TENSORRT,
    "torch-cuda": ("torch",),
}
"""Maps each backend to the distributions of its runtime, if these have another name."""

_SMI = ("nvidia-smi", "--query-gpu=name,memory.total,compute_cap,driver_version", "--format=csv,noheader")

_CUDNN = "libcudnn.so.9"
"""The library that ONNX Runtime loads with the first operator that needs it, and which is therefore checked separately.
"""


class Finding(Record, frozen=True):
    """One line of the report."""

    topic: str
    observed: str
    remark: str = ""  # the consequence, or the cure


class Diagnosis(Document, frozen=True, tag="rate.doctor/1"):
    """The document of `rate doctor --json`."""

    findings: tuple[Finding, ...]


def diagnose(folder: Path, artifact: Path | None = None, plugins: Iterable[Plugin] = ()) -> Diagnosis:
    """Check versions, runtimes and the disk of ``folder``, without changes or downloads.

    With an ``artifact`` the self-test of `--backend auto` runs on it. The ``plugins`` are listed.

    Raises:
        ArtifactError: the artifact does not exist, or was changed.
    """
    listed = (Finding("plug-in", str(plugin), plugin.fault) for plugin in plugins)
    return Diagnosis((*_findings(folder, artifact), *listed))


def _findings(folder: Path, artifact: Path | None) -> Iterator[Finding]:
    yield Finding("rate", __version__, f"Python {platform.python_version()} on {platform.platform()}")
    yield Finding("processor", processor(), f"{usable_cores()} of {os.cpu_count()} cores usable by this process")
    yield from _packages()
    yield _onnxruntime()
    yield _openvino()
    driver = driver_of()
    yield _gpu(driver)
    yield _onnxruntime_gpu(driver.seen)
    yield _tensorrt(driver.seen)
    yield _torch(driver.seen)
    yield _ray()
    yield _auto(driver.seen)
    if artifact is not None:
        yield _chosen(artifact)
    free = shutil.disk_usage(folder).free
    yield Finding("disk", f"{free / 1e9:.1f} GB free in {folder.resolve()}", "" if free > 1e9 else "runs may not fit")


def _packages() -> Iterator[Finding]:
    for name in _PACKAGES:
        yield Finding(name, installed(name) or "not installed")
    if all(installed(name) for name in ("onnxruntime", "onnxruntime-gpu")):
        yield Finding("conflict", "onnxruntime and onnxruntime-gpu", "they share a folder: uninstall both, install one")


def _onnxruntime() -> Finding:
    try:
        providers = importlib.import_module("onnxruntime").get_available_providers()
    except (ImportError, AttributeError) as error:  # an empty folder of a removed package can be imported
        return Finding("ONNX Runtime", f"cannot be imported ({error})", "pip install 'rate-engine[cpu]'")
    return Finding("ONNX Runtime", "providers compiled in: " + ", ".join(providers), "used: CPU, f32")


def _openvino() -> Finding:
    try:
        core = importlib.import_module("openvino").Core()
    except ImportError as error:
        return Finding("OpenVINO", f"cannot be imported ({error})", "pip install 'rate-engine[cpu]'")
    return Finding("OpenVINO", "CPU computes in " + ", ".join(core.get_property("CPU", "OPTIMIZATION_CAPABILITIES")))


@dataclass(frozen=True, slots=True)
class Driver:
    """The GPUs that the machine shows."""

    cards: tuple[str, ...] = ()  # GPUs as nvidia-smi describes them
    trouble: str = ""  # nvidia-smi's error instead
    nodes: tuple[str, ...] = ()  # device nodes

    @property
    def seen(self) -> bool:
        """Whether a usable GPU seems to exist."""
        return bool(self.cards or (self.nodes and not self.trouble))


def driver_of(devices: Path = Path("/dev")) -> Driver:
    """Query nvidia-smi, and check device nodes if it is missing (containers) or fails."""
    nodes = tuple(str(node) for pattern in ("nvidia[0-9]*", "dxg") for node in sorted(devices.glob(pattern)))
    if shutil.which(_SMI[0]) is None:
        return Driver(nodes=nodes)
    try:
        done = subprocess.run(_SMI, capture_output=True, text=True, check=False, timeout=30)
    except (OSError, subprocess.TimeoutExpired) as error:
        return Driver((), f"nvidia-smi: {error}", nodes)
    said = [line.strip() for line in (done.stdout or done.stderr).splitlines() if line.strip()]
    if done.returncode != 0 or not said:
        return Driver((), f"nvidia-smi: {said[0] if said else f'exit code {done.returncode}'}", nodes)
    return Driver(tuple(said))


def _gpu(driver: Driver) -> Finding:
    if driver.cards:
        hidden = os.environ.get("CUDA_VISIBLE_DEVICES")
        limit = "" if hidden is None else f"; CUDA_VISIBLE_DEVICES is {hidden!r}"
        return Finding("GPU", "; ".join(driver.cards), f"name, memory, compute capability, driver{limit}")
    if driver.trouble:
        return Finding("GPU", driver.trouble, "the driver does not answer: install or reload it")
    if driver.nodes:
        return Finding("GPU", ", ".join(driver.nodes), "no nvidia-smi on PATH to name it or test it")
    return Finding("GPU", "none: no nvidia-smi on PATH, no device node", "evaluations run on the CPU")


def _onnxruntime_gpu(gpu: bool) -> Finding:
    topic, version = "ONNX Runtime on CUDA", installed("onnxruntime-gpu")
    if not version:
        return Finding(topic, "onnxruntime-gpu is not installed", GUIDE)
    ort = importlib.import_module("onnxruntime")
    provider = Path(str(ort.__file__)).parent / "capi" / "libonnxruntime_providers_cuda.so"
    if not provider.is_file():
        cure = "onnxruntime shares its folder: uninstall both, then install onnxruntime-gpu alone"
        return Finding(topic, f"{version}, but its CUDA provider is not there", cure)
    if not gpu:
        return Finding(topic, f"{version}; no GPU to use it on")
    # it prints names of missing libraries, which the loader below reports too
    with contextlib.redirect_stdout(io.StringIO()):
        ort.preload_dlls()
    for library in (str(provider), _CUDNN):
        try:
            ctypes.CDLL(library)
        except OSError as error:
            cure = "pip install 'onnxruntime-gpu[cuda,cudnn]' brings them; a torch built for another CUDA does not"
            return Finding(topic, f"{version} does not find its libraries: {error}", cure)
    return Finding(topic, f"{version} finds its libraries")


def _tensorrt(gpu: bool) -> Finding:
    version = installed(*_TENSORRT)
    if not version:
        return Finding("TensorRT", "not installed", f"optional, from NVIDIA's own index: {GUIDE}")
    try:
        if gpu:
            load_tensorrt()
    except MissingExtra as error:
        return Finding("TensorRT", version, str(error))
    return Finding("TensorRT", version)


def _torch(gpu: bool) -> Finding:
    topic, version = "torch on CUDA", installed("torch")
    if not version or not gpu:
        return Finding(topic, f"torch {version}; no GPU to use it on" if version else "torch is not installed")
    torch = importlib.import_module("torch")
    if torch.version.cuda is None:
        return Finding(topic, f"torch {version} is built for the CPU alone", f"install a CUDA build: {GUIDE}")
    if not torch.cuda.is_available():
        actual = f"torch {version}, built for CUDA {torch.version.cuda}, sees no device"
        return Finding(topic, actual, "the driver may be too old for it")
    names = ", ".join(torch.cuda.get_device_name(k) for k in range(torch.cuda.device_count()))
    return Finding(topic, f"torch {version}, built for CUDA {torch.version.cuda}, sees {names}")


def _ray() -> Finding:
    version = installed("ray")
    if not version:
        return Finding("Ray", "not installed", "an evaluation uses this machine alone")
    address = os.environ.get("RAY_ADDRESS")
    return Finding("Ray", f"{version}, {f'RAY_ADDRESS is {address}' if address else 'RAY_ADDRESS is not set'}")


def _auto(gpu: bool) -> Finding:
    """Report the order of `auto` on this machine, without backends whose runtime or device is missing."""
    order = [
        (name, precision)
        for name, precision in preferences(Execution())
        if installed(*_DISTRIBUTIONS.get(name, (name,))) and (gpu or name not in ON_CUDA)
    ]
    if not order:
        return Finding("auto", "nothing: no runtime is installed", "pip install 'rate-engine[cpu]'")
    reasons = [
        "the CPU computes in bf16" if cpu_has_bf16() else "the CPU does not compute in bf16",
        why_no_gpu(gpu, [name for name, _ in order]),
    ]
    return Finding(
        "auto",
        f"{', then '.join(map(' '.join, order))} ({'; '.join(filter(None, reasons))})",
        "the first that reproduces the artifact's stored logits, int8 before them where the artifact holds it and its "
        "export found it faster; `rate doctor ARTIFACT` tries",
    )


def why_no_gpu(gpu: bool, order: Sequence[str]) -> str:
    """State why no backend in ``order`` uses a GPU; the text is empty if one does and a GPU is visible."""
    if not gpu:
        return "no GPU is used: none is seen"
    if any(name in ON_CUDA for name in order):
        return ""
    return f"the GPU is not used: no runtime for it is installed that `rate` can take; {GUIDE}"


def _chosen(path: Path) -> Finding:
    """Report the choice of `auto` for an artifact, and why it skipped the others."""
    artifact, reasons = load_artifact(path), list[str]()
    try:
        with open_backend(artifact, Execution(), say=reasons.append) as backend:
            return Finding(f"auto for {path}", f"{backend.name} {backend.precision}", "; ".join(reasons))
    except (ParityError, BackendError, UsageError) as error:
        return Finding(f"auto for {path}", "nothing", "; ".join([*reasons, str(error)]))
