"""What is installed here, what it can use, and what `auto` would therefore pick."""

from __future__ import annotations

import importlib
import os
import platform
import shutil
from collections.abc import Iterator
from pathlib import Path

from rate.artifacts.artifact import load_artifact
from rate.backends.openvino import cpu_has_bf16
from rate.backends.process import usable_cores
from rate.config import Execution
from rate.doctor.finding import Finding
from rate.doctor.gpu import ON_GPU, TENSORRT, Driver, diagnose_gpu, driver, why_no_gpu
from rate.engine.choose_backend import preferences, spec_for
from rate.errors import BackendError, ParityError, UsageError
from rate.machine import installed, processor
from rate.version import __version__

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
)


_DISTRIBUTIONS = {
    "onnxruntime": ("onnxruntime", "onnxruntime-gpu"),
    "onnxruntime-cuda": ("onnxruntime-gpu",),
    "tensorrt": TENSORRT,
    "torch-cuda": ("torch",),
}
"""Backend -> what brings its runtime, where that has another name."""


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
    gpu = driver()
    yield from diagnose_gpu(gpu)
    yield _ray()
    yield _auto(gpu)
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
    except (ImportError, AttributeError) as error:  # of a damaged package an empty folder is left, and imported
        return Finding("ONNX Runtime", f"cannot be imported ({error})", "pip install 'rate-engine[cpu]'")
    return Finding("ONNX Runtime", "providers compiled in: " + ", ".join(providers), "used: CPU, f32")


def _openvino() -> Finding:
    try:
        core = importlib.import_module("openvino").Core()
    except ImportError as error:
        return Finding("OpenVINO", f"cannot be imported ({error})", "pip install 'rate-engine[cpu]'")
    return Finding("OpenVINO", "CPU computes in " + ", ".join(core.get_property("CPU", "OPTIMIZATION_CAPABILITIES")))


def _ray() -> Finding:
    version = installed("ray")
    if not version:
        return Finding("Ray", "not installed", "an evaluation uses this machine alone")
    address = os.environ.get("RAY_ADDRESS")
    return Finding("Ray", f"{version}, {f'RAY_ADDRESS is {address}' if address else 'RAY_ADDRESS is not set'}")


def _auto(gpu: Driver) -> Finding:
    """The order of `auto` on this machine, without those whose runtime or device is missing."""
    order = [
        (name, precision)
        for name, precision in preferences(Execution())
        if installed(*_DISTRIBUTIONS.get(name, (name,))) and (gpu.seen or name not in ON_GPU)
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
        "the first that reproduces the artifact's stored logits, int8 before them where the artifact holds it; "
        "`rate doctor ARTIFACT` tries",
    )


def _chosen(path: Path) -> Finding:
    """What `auto` picks for an artifact, and why it passed over the others."""
    artifact, reasons = load_artifact(path), list[str]()
    try:
        spec = spec_for(artifact, Execution(), reasons.append)
    except (ParityError, BackendError, UsageError) as error:
        return Finding(f"auto for {path}", "nothing", "; ".join([*reasons, str(error)]))
    return Finding(f"auto for {path}", f"{spec.name} {spec.precision}", "; ".join(reasons))
