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
from rate.engine.job import processor
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


def diagnose(folder: Path) -> Iterator[Finding]:
    """Look at versions, runtimes and the disk of ``folder``; nothing is changed, nothing is downloaded."""
    yield Finding("rate", __version__, f"Python {platform.python_version()} on {platform.platform()}")
    yield Finding("processor", processor(), f"{usable_cores()} of {os.cpu_count()} cores usable by this process")
    yield from _packages()
    yield _onnxruntime()
    yield _openvino()
    yield _gpu()
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
