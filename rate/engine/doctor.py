"""What is installed here, what it can use, and what `auto` would therefore pick."""

from __future__ import annotations

import importlib
import os
import platform
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from rate.backends.cores import usable_cores
from rate.backends.openvino import cpu_has_bf16
from rate.backends.tensorrt_library import load_tensorrt
from rate.config import Execution
from rate.engine.job import processor
from rate.engine.select import preferences, spec_for
from rate.errors import BackendError, MissingExtra, ParityError
from rate.export.artifact import load_artifact
from rate.version import __version__

_PACKAGES = (
    "numpy",
    "pillow",
    "pyarrow",
    "onnxruntime",
    "onnxruntime-gpu",
    "openvino",
    "tensorrt",
    "torch",
    "torchvision",
    "timm",
    "open_clip_torch",
    "onnx",
    "onnxscript",
    "nncf",
    "ray",
)


@dataclass(frozen=True, slots=True)
class Finding:
    """One line of the report."""

    topic: str
    found: str
    remark: str = ""  # what follows from it, or the cure


def diagnose(folder: Path, artifact: Path | None = None) -> Iterator[Finding]:
    """Look at versions, runtimes and the disk of ``folder``; nothing is changed, nothing is downloaded.

    With an ``artifact`` the self-test of `--backend auto` is carried out on it.

    Raises:
        ArtifactError: there is no artifact at that path, or it was changed.
    """
    yield Finding("rate", __version__, f"Python {platform.python_version()} on {platform.platform()}")
    yield Finding("processor", processor(), f"{usable_cores()} of {os.cpu_count()} cores usable by this process")
    yield from _packages()
    yield _onnxruntime()
    yield _openvino()
    yield _gpu()
    yield _tensorrt()
    yield _ray()
    yield _auto()
    if artifact is not None:
        yield _chosen(artifact)
    free = shutil.disk_usage(folder).free
    yield Finding("disk", f"{free / 1e9:.1f} GB free in {folder.resolve()}", "" if free > 1e9 else "runs may not fit")


def _packages() -> Iterator[Finding]:
    both = all(_version(name) for name in ("onnxruntime", "onnxruntime-gpu"))
    for name in _PACKAGES:
        yield Finding(name, _version(name) or "not installed")
    if both:
        yield Finding("conflict", "onnxruntime and onnxruntime-gpu", "they share a folder: uninstall both, install one")


def _version(name: str) -> str:
    try:
        return version(name)
    except PackageNotFoundError:
        return ""


def _onnxruntime() -> Finding:
    try:
        runtime = importlib.import_module("onnxruntime")
    except ImportError as error:
        return Finding("ONNX Runtime", f"cannot be imported ({error})", "pip install 'rate-engine[cpu]'")
    return Finding(
        "ONNX Runtime", "providers compiled in: " + ", ".join(runtime.get_available_providers()), "used: CPU, f32"
    )


def _openvino() -> Finding:
    try:
        core = importlib.import_module("openvino").Core()
    except ImportError as error:
        return Finding("OpenVINO", f"cannot be imported ({error})", "pip install 'rate-engine[cpu]'")
    return Finding("OpenVINO", "CPU computes in " + ", ".join(core.get_property("CPU", "OPTIMIZATION_CAPABILITIES")))


def _gpu() -> Finding:
    try:
        torch = importlib.import_module("torch")
    except ImportError:
        return Finding("GPU", "not looked for: torch is not installed")
    if not torch.cuda.is_available():
        return Finding("GPU", "torch sees no CUDA device")
    names = [torch.cuda.get_device_name(k) for k in range(torch.cuda.device_count())]
    return Finding("GPU", ", ".join(names), f"CUDA {torch.version.cuda}")


def _tensorrt() -> Finding:
    try:
        library = load_tensorrt()
    except MissingExtra as error:
        return Finding("TensorRT", "cannot be used", str(error))
    return Finding("TensorRT", str(library.__version__), "rate export ARTIFACT --format tensorrt builds a plan")


def _ray() -> Finding:
    installed = _version("ray")
    if not installed:
        return Finding("Ray", "not installed", "an evaluation uses this machine alone")
    address = os.environ.get("RAY_ADDRESS")
    return Finding("Ray", f"{installed}, {f'RAY_ADDRESS is {address}' if address else 'RAY_ADDRESS is not set'}")


def _auto() -> Finding:
    """The order of `auto` on this machine, without those whose runtime is missing."""
    order = [
        f"{name} {precision}"
        for name, precision in preferences(Execution())
        if _version(name) or (name == "onnxruntime" and _version("onnxruntime-gpu"))
    ]
    if not order:
        return Finding("auto", "nothing: no runtime is installed", "pip install 'rate-engine[cpu]'")
    bf16 = "the CPU computes in bf16" if cpu_has_bf16() else "the CPU does not compute in bf16"
    return Finding(
        "auto",
        f"{', then '.join(order)} ({bf16})",
        "the first that reproduces the artifact's stored logits, int8 before them where the artifact holds it; "
        "`rate doctor ARTIFACT` tries",
    )


def _chosen(path: Path) -> Finding:
    """What `auto` picks for an artifact, and why it passed over the others."""
    reasons: list[str] = []
    try:
        spec = spec_for(load_artifact(path), Execution(), reasons.append)
    except (ParityError, BackendError) as error:
        return Finding(f"auto for {path}", "nothing", "; ".join([*reasons, str(error)]))
    return Finding(f"auto for {path}", f"{spec.name} {spec.precision}", "; ".join(reasons))
