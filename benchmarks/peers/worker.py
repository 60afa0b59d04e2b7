"""The worker's side of `benchmarks.peers`: load a tool once, then explain images on request, one JSON line each way.

A script of this folder hands its tool to `serve`. It runs in the interpreter of that tool, so this file needs numpy
alone. The lines are {"images": [k, ...], "masks": N} in and an answer out; stdout belongs to the protocol, and what a
library prints goes to stderr.
"""

from __future__ import annotations

import json
import os
import resource
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

if TYPE_CHECKING:
    import torch

GRID = 7
"""Cells a side, of every tool."""

KEEP = 0.5
"""Share of cells that a peer's masks keep."""

BATCH = 32
"""Masks a forward, where a tool lets one choose."""

WARM_UP = 40
"""Masks of the explanation that is part of loading."""

MEGABYTE = 2**20 if sys.platform == "darwin" else 2**10
"""Units of `ru_maxrss` in one."""

STATUS = Path("/proc/self/status")


@dataclass(frozen=True)
class Setup:
    """What a worker is told when it starts."""

    files: dict[str, str]  # onnx: probabilities of the bare model | torch: the same | pixels | pictures | ...
    targets: list[int]  # class that is explained, an image
    threads: int
    options: dict[str, Any] = field(default_factory=dict)  # of this tool

    def pixels(self) -> np.ndarray:
        """[k,3,h,w] normalised."""
        return np.load(self.files["pixels"])

    def pictures(self) -> np.ndarray:
        """u8 [k,h,w,3], resized and cropped."""
        return np.load(self.files["pictures"])


@dataclass(frozen=True)
class Explained:
    """What a tool found."""

    maps: list[np.ndarray]  # [h,w], one an image; none where the tool needs none for its verdict
    forwards: int  # rows that went through the model, for all images together
    more: dict[str, Any] = field(default_factory=dict)  # what the tool alone can say


class Tool(Protocol):
    """A loaded tool."""

    about: dict[str, Any]  # version, precision

    def predict(self, image: int) -> tuple[int, float]:
        """Class of the unmasked image, and its probability."""

    def explain(self, images: Sequence[int], masks: int | str) -> Explained:
        """A map of each image for its target."""


def serve(load: Callable[[Setup], Tool]) -> None:
    """Load the tool that argv[1] describes, say so, and answer until stdin ends; a failure is the last answer."""
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)

    def answer(content: dict[str, Any]) -> None:
        answers.write(json.dumps(content) + "\n")
        answers.flush()

    try:
        tool, loaded = _load(load, Setup(**json.loads(sys.argv[1])))
        answer(loaded)
        rested = cpu_seconds(), time.perf_counter()
        for line in sys.stdin:
            idle = [now - then for now, then in zip((cpu_seconds(), time.perf_counter()), rested, strict=True)]
            found = _explain(tool, **json.loads(line))
            answer(found | {"idle_cpu_s": idle[0], "idle_wall_s": idle[1]})
            rested = cpu_seconds(), time.perf_counter()
    except Exception as error:
        answer({"error": f"{type(error).__name__}: {error}"})
        raise


def _load(load: Callable[[Setup], Tool], setup: Setup) -> tuple[Tool, dict[str, Any]]:
    began = time.perf_counter()
    tool = load(setup)
    predicted, probability = tool.predict(0)
    tool.explain([0], setup.options.get("masks", WARM_UP))
    seconds = time.perf_counter() - began
    described = tool.about | {"prediction": predicted, "probability": probability}
    return tool, described | {"load_s": seconds, "loaded_mb": peak_megabytes()}


def _explain(tool: Tool, images: list[int], masks: int | str) -> dict[str, Any]:
    cpu, began = cpu_seconds(), time.perf_counter()
    found = tool.explain(images, masks)
    wall, cpu = time.perf_counter() - began, cpu_seconds() - cpu
    assert len(found.maps) in (0, len(images)), f"{len(found.maps)} maps of {len(images)} images"
    figures = {"wall_s": wall, "cpu_s": cpu, "peak_mb": peak_megabytes(), "forwards": found.forwards}
    return figures | {"unsound": sum(not sound(one) for one in found.maps)} | found.more


def sound(saliency: np.ndarray) -> bool:
    """Whether a map says something: finite, and not the same everywhere."""
    return bool(saliency.ndim == 2 and np.isfinite(saliency).all() and np.ptp(saliency.astype(np.float64)) > 0)


def cpu_seconds() -> float:
    """Of all threads of this process, user and system."""
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime


def peak_megabytes() -> float:
    """The most memory that this program ever held.

    Linux carries `ru_maxrss` over from the process that started this one; what it says of the address space is our own.
    """
    if STATUS.exists():
        line = next(line for line in STATUS.read_text().splitlines() if line.startswith("VmHWM:"))
        return int(line.split()[1]) / 2**10
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / MEGABYTE


def torch_model(setup: Setup) -> torch.nn.Module:
    """The bare model in eval mode. Its file is a pickle that the benchmark has just written."""
    import torch

    torch.set_num_threads(setup.threads)
    return torch.load(setup.files["torch"], weights_only=False)


class OnnxModel:
    """ONNX Runtime on the bare model, for tools that take a function; rows are counted."""

    def __init__(self, setup: Setup) -> None:
        import onnxruntime

        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads, options.inter_op_num_threads = setup.threads, 1
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        self._session = onnxruntime.InferenceSession(setup.files["onnx"], options, providers=["CPUExecutionProvider"])
        self._input = self._session.get_inputs()[0].name
        self.forwards = 0

    def __call__(self, pixels: np.ndarray) -> np.ndarray:
        """Probabilities [b,c] of pixels [b,3,h,w]."""
        self.forwards += len(pixels)
        return self._session.run(None, {self._input: np.ascontiguousarray(pixels, dtype=np.float32)})[0]
