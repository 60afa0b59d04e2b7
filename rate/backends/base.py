"""The one boundary to a device: resident images and mask bits go in, logits come out.

A spec is inert and printable; `open` touches the device; the `with` block bounds its memory. Only the engine and the
self-tests call these methods.
"""

from __future__ import annotations

from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from rate.kernels.separable import Perturbation
from rate.types import Float32, Rows

Logits = dict[str, Float32]
"""Head name -> logits [b,c], row for row of the submitted batch, logit scale included."""


@dataclass(frozen=True, slots=True)
class Graph:
    """A perturbed ONNX graph, as a backend needs to know it."""

    path: Path
    heads: tuple[str, ...]  # output `logits_<head>` of each
    size: int  # side of the square input in pixels
    precision: str = "f32"
    patches: int | None = None  # a side, of a token graph: it drops patches; None = a graph that masks pixels


class Pending(Protocol):
    """A submitted batch."""

    def wait(self) -> Logits:
        """Block until the batch is done. The arrays belong to the caller.

        Raises:
            BackendError: the runtime failed.
        """


class Backend(Protocol):
    """An open device. Not thread-safe: one thread puts and submits."""

    name: str  # "onnxruntime", "openvino", "fake", ...
    precision: str  # of the arithmetic: "f32", "bf16", ...
    device: str  # as the runtime names it
    version: str  # of the runtime
    depth: int  # batches worth keeping in flight; 1 = submit computes

    def bind(self, perturbation: Perturbation, slots: int) -> None:
        """Take the table of ``perturbation`` and make room for ``slots`` images, in the place of those before.

        The graph stays loaded. Nothing may be in flight.

        Raises:
            BackendError: the graph cannot take such masks, or there is no room.
        """

    def put(self, slot: int, pixels: Float32) -> None:
        """Make ``pixels`` [3,h,w] the resident image ``slot``. Batches already submitted must not use that slot."""

    def submit(self, rows: Rows) -> Pending:
        """Start the forward of ``rows``: pixels[slot] * mask(grid, offset) through the tower and every head.

        All batches of a run have one size but the first, of one row, and in f32 the last; a backend of fixed shape
        pads. On a token graph a row keeps the patches whose bit in the grid is set, and loses the others.

        Raises:
            BackendError: the runtime refused the batch.
        """


class BackendSpec(Protocol):
    """A description of a backend: cheap, hashable, opened when needed."""

    @property
    def name(self) -> str:
        """The runtime: "onnxruntime", "openvino", "fake", ..."""

    @property
    def precision(self) -> str:
        """Of the arithmetic: "f32", "bf16", ..."""

    def open(self, perturbation: Perturbation, slots: int) -> AbstractContextManager[Backend]:
        """Load the graph and bind it; see `Backend.bind`.

        Raises:
            MissingExtra: the runtime is not installed.
            BackendError: the runtime cannot load the graph, or would run it elsewhere than asked.
        """
