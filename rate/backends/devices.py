"""The device that carries a run out, as `--device` names it."""

from __future__ import annotations

import os
from pathlib import Path


def cuda_visible() -> bool:
    """Whether the system shows an NVIDIA GPU to this process. Nothing is loaded to find out."""
    if os.environ.get("CUDA_VISIBLE_DEVICES") in ("", "-1"):
        return False
    return any(Path("/dev").glob("nvidia[0-9]*")) or Path("/dev/dxg").exists()  # dxg: Linux inside Windows


def split_device(device: str) -> tuple[str, int]:
    """Kind and number of a device: "cuda:1" is ("cuda", 1), "cpu" is ("cpu", 0)."""
    kind, _, number = device.partition(":")
    return kind, int(number or 0)
