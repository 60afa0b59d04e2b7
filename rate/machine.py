"""The machine and the libraries that a result is made with."""

from __future__ import annotations

import platform
import sys
from collections.abc import Iterable
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from rate.version import __version__

COMPUTING = ("numpy", "pillow", "pyarrow", "onnxruntime", "onnxruntime-gpu", "openvino", "tensorrt", "torch")
"""Distributions that touch a number of a run."""


def installed(*names: str) -> str:
    """Version of the first of these distributions that is installed, or nothing."""
    for name in names:
        try:
            return version(name)
        except PackageNotFoundError:
            continue
    return ""


def versions(names: Iterable[str] = COMPUTING) -> dict[str, str]:
    """Versions of `rate` and of those of ``names`` that are installed."""
    return {"rate": __version__} | {name: found for name in names if (found := installed(name))}


def processor() -> str:
    """Name of the CPU, for records."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor()
    return next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), platform.machine())


def describe() -> dict[str, str]:
    """System, processor and interpreter, for records."""
    return {"system": platform.platform(), "processor": processor(), "python": sys.version.split()[0]}
