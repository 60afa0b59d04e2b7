"""Versions of the machine and of the libraries that make a result."""

from __future__ import annotations

import platform
import sys
from collections.abc import Iterable
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from rate.version import __version__

COMPUTING = ("numpy", "pillow", "pyarrow", "onnxruntime", "onnxruntime-gpu", "openvino", "tensorrt", "torch")
"""The distributions that affect the numbers of a run."""


def installed(*names: str) -> str:
    """Return the version of the first of these distributions that is installed, or an empty text."""
    for name in names:
        try:
            return version(name)
        except PackageNotFoundError:
            continue
    return ""


def versions(names: Iterable[str] = COMPUTING) -> dict[str, str]:
    """Return the versions of `rate` and of the installed ones of ``names``."""
    return {"rate": __version__} | {name: version for name in names if (version := installed(name))}


def processor() -> str:
    """Return the name of the CPU."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor()
    return next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), platform.machine())


def describe() -> dict[str, str]:
    """Return the system, the processor and the interpreter."""
    return {"system": platform.platform(), "processor": processor(), "python": sys.version.split()[0]}
