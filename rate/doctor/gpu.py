"""What a GPU needs, and what of it is here. Nothing heavy is imported before a GPU is seen: files and versions tell."""

from __future__ import annotations

import importlib
import mmap
import os
import re
import runpy
import shutil
import subprocess
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

from rate.doctor.finding import Finding
from rate.machine import installed

GUIDE = "docs/gpu.md"

ON_GPU = ("tensorrt", "onnxruntime-cuda", "torch-cuda")
"""Backends that run on a GPU or not at all."""

TENSORRT = ("tensorrt", "tensorrt-cu13", "tensorrt-cu12")

_SMI = ("nvidia-smi", "--query-gpu=name,memory.total,compute_cap,driver_version", "--format=csv,noheader")
_DEVICES = Path("/dev")

_LIBRARIES = ("cudart", "cublas", "cublasLt", "curand", "cufft", "cudnn", "nvinfer")


@dataclass(frozen=True, slots=True)
class Driver:
    """What the machine shows of its GPUs."""

    cards: tuple[str, ...]  # as nvidia-smi describes them
    trouble: str = ""  # what it said instead
    nodes: tuple[str, ...] = ()  # device nodes

    @property
    def seen(self) -> bool:
        """Whether there seems to be a GPU that can be used."""
        return bool(self.cards or (self.nodes and not self.trouble))


def driver() -> Driver:
    """Ask nvidia-smi, and look for device nodes where it is missing (containers) or fails."""
    nodes = tuple(str(node) for pattern in ("nvidia[0-9]*", "dxg") for node in sorted(_DEVICES.glob(pattern)))
    if shutil.which(_SMI[0]) is None:
        return Driver((), nodes=nodes)
    try:
        done = subprocess.run(_SMI, capture_output=True, text=True, check=False, timeout=30)
    except (OSError, subprocess.TimeoutExpired) as error:
        return Driver((), f"nvidia-smi: {error}", nodes)
    said = [line.strip() for line in (done.stdout or done.stderr).splitlines() if line.strip()]
    if done.returncode != 0 or not said:
        return Driver((), f"nvidia-smi: {said[0] if said else f'exit code {done.returncode}'}", nodes)
    return Driver(tuple(said))


def diagnose_gpu(found: Driver) -> Iterator[Finding]:
    """Driver, CUDA libraries, and what each runtime for a GPU would need of them."""
    libraries = sonames()
    yield _gpu(found)
    yield _cuda(libraries)
    yield _onnxruntime_gpu(libraries)
    yield _tensorrt()
    yield _torch(found.seen)
    yield _triton()


def _gpu(found: Driver) -> Finding:
    if found.cards:
        hidden = os.environ.get("CUDA_VISIBLE_DEVICES")
        limit = "" if hidden is None else f"; CUDA_VISIBLE_DEVICES is {hidden!r}"
        return Finding("GPU", "; ".join(found.cards), f"name, memory, compute capability, driver{limit}")
    if found.trouble:
        return Finding("GPU", found.trouble, "the driver does not answer: install or reload it")
    if found.nodes:
        return Finding("GPU", ", ".join(found.nodes), "no nvidia-smi on PATH to say which, or whether the driver works")
    return Finding("GPU", "none: no nvidia-smi on PATH, no device node", "evaluations run on the CPU")


def sonames() -> frozenset[str]:
    """CUDA libraries that the loader or a runtime can find here, such as ``libcudart.so.13``."""
    patterns = [f"lib{name}.so.*" for name in _LIBRARIES]
    found = {file.name for folder in _folders() for pattern in patterns for file in folder.glob(pattern)}
    majors = (re.match(r"lib\w+\.so\.\d+", name) for name in found)
    return frozenset(match.group() for match in majors if match)


def _folders() -> Iterator[Path]:
    """Of NVIDIA's wheels, of the environment's search path, of the system."""
    for entry in map(Path, sys.path):
        yield from (entry / "nvidia").glob("*/lib")
        yield entry / "tensorrt_libs"
    yield from (Path(entry) for entry in os.environ.get("LD_LIBRARY_PATH", "").split(":") if entry)
    yield from Path("/usr/local").glob("cuda*/lib64")
    yield from (Path(entry) for entry in ("/usr/lib64", "/usr/lib/wsl/lib"))
    yield from Path("/usr/lib").glob("*-linux-gnu")


def _cuda(libraries: frozenset[str]) -> Finding:
    if not libraries:
        return Finding("CUDA libraries", "none found", f"a runtime's wheels can bring them: {GUIDE}")
    return Finding("CUDA libraries", ", ".join(sorted(libraries)))


def _onnxruntime_gpu(libraries: frozenset[str]) -> Finding:
    version = installed("onnxruntime-gpu")
    if not version:
        return Finding("ONNX Runtime on CUDA", "onnxruntime-gpu is not installed", GUIDE)
    wanted = needed_by("onnxruntime", "capi/libonnxruntime_providers_cuda.so")
    if not wanted:
        return Finding(
            "ONNX Runtime on CUDA",
            f"{version}, but its CUDA provider is not there",
            "onnxruntime shares its folder: uninstall both, then install onnxruntime-gpu alone",
        )
    if lacking := [name for name in wanted if name not in libraries]:
        return Finding(
            "ONNX Runtime on CUDA",
            f"{version} cannot find {', '.join(lacking)}",
            "pip install 'onnxruntime-gpu[cuda,cudnn]' brings them; a torch built for another CUDA does not",
        )
    return Finding("ONNX Runtime on CUDA", f"{version} finds {', '.join(wanted)}")


def needed_by(package: str, file: str) -> list[str]:
    """Names of CUDA libraries in a binary of an installed package; the package is not imported."""
    spec = find_spec(package)
    found: list[str] = []
    for folder in (spec.submodule_search_locations or ()) if spec else ():
        path = Path(folder) / file
        if path.is_file() and path.stat().st_size:
            with path.open("rb") as stream, mmap.mmap(stream.fileno(), 0, access=mmap.ACCESS_READ) as content:
                found += [name for stem in _LIBRARIES if (name := _first(content, f"lib{stem}.so."))]
    return found


def _first(content: mmap.mmap, prefix: str) -> str:
    """The first name with a version behind ``prefix``: hundreds of megabytes are searched, so no pattern."""
    at = content.find(prefix.encode())
    while at >= 0:
        if match := re.match(rb"\d+", content[at + len(prefix) : at + len(prefix) + 4]):
            return prefix + match.group().decode()
        at = content.find(prefix.encode(), at + 1)
    return ""


def _tensorrt() -> Finding:
    version = installed(*TENSORRT)
    if not version:
        return Finding("TensorRT", "not installed", f"optional, from NVIDIA's own index: {GUIDE}")
    for wanted in needed_by("onnxruntime", "capi/libonnxruntime_providers_tensorrt.so"):
        if wanted.startswith("libnvinfer.") and wanted != f"libnvinfer.so.{version.partition('.')[0]}":
            return Finding("TensorRT", version, f"the provider of ONNX Runtime wants {wanted}: it is of no use to that")
    return Finding("TensorRT", version)


def _torch(gpu: bool) -> Finding:
    spec = find_spec("torch")
    if spec is None or spec.origin is None:
        return Finding("torch on CUDA", "torch is not installed")
    built = runpy.run_path(str(Path(spec.origin).parent / "version.py")).get("cuda")
    if built is None:
        cure = f"install a CUDA build: {GUIDE}" if gpu else ""
        return Finding("torch on CUDA", "torch is built for the CPU alone", cure)
    if not gpu:
        return Finding("torch on CUDA", f"built for CUDA {built}; no GPU to use it on")
    torch = importlib.import_module("torch")
    if not torch.cuda.is_available():
        return Finding(
            "torch on CUDA", f"built for CUDA {built}, but sees no device", "the driver may be too old for it"
        )
    names = [torch.cuda.get_device_name(k) for k in range(torch.cuda.device_count())]
    return Finding("torch on CUDA", f"built for CUDA {built}, sees {', '.join(names)}")


def _triton() -> Finding:
    version = installed("triton")
    if not version:
        return Finding("Triton", "not installed", "optional, on Linux: pip install triton")
    compiler = any(shutil.which(name) for name in ("gcc", "clang"))
    return Finding("Triton", version, "" if compiler else "needs gcc or clang on PATH to build its launcher on a GPU")


def why_no_gpu(found: Driver, order: Sequence[str]) -> str:
    """Why none of the backends in ``order`` is one for a GPU; nothing where one is, and it can be used."""
    if found.seen and any(name in ON_GPU for name in order):
        return ""
    if not found.seen:
        return "no GPU is used: none is seen"
    return f"the GPU is not used: no runtime for it is installed that `rate` can take; {GUIDE}"
