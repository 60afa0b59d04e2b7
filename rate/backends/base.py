"""The interface to a device: it takes images in slots and the grids of masks, and returns logits.

A spec is an immutable description; `open` loads the graph onto the device, and leaving the `with` block releases it.
Only the engine and the self-tests call these methods.
"""

from __future__ import annotations

import math
import re
import threading
import time
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol, runtime_checkable

from rate.errors import BackendError, OutOfMemory
from rate.kernels.separable import Perturbation
from rate.types import Float32, Picture, Question, Rows, SoftRegion

_NO_ROOM = re.compile(r"out ?of ?memory|alloc_failed|bad.?alloc|(failed to|can't|cannot) allocate", re.IGNORECASE)
"""What runtimes say where memory is missing: CUDA, cuBLAS, C++, PyTorch and the arenas of ONNX Runtime."""


def runtime_failure(what: str, why: object, cure: str = "use another --backend, or see `rate doctor`") -> BackendError:
    """Make the error of a runtime that failed; it is `OutOfMemory` if the runtime's own words ``why`` say so.

    Args:
        what: what failed, as the beginning of a sentence.
        why: the exception or the message of the runtime.
        cure: the cure of any other failure than missing memory.
    """
    if _NO_ROOM.search(str(why)):
        return OutOfMemory(f"{what}: {why}; a smaller --batch needs less memory")
    return BackendError(f"{what}: {why}; {cure}")


Logits = dict[str, Float32]
"""Maps each head to logits [b,c] in the order of the submitted rows, logit scale included."""


@dataclass(frozen=True, slots=True)
class Graph:
    """The facts of a perturbed ONNX graph that a backend needs."""

    path: Path
    heads: tuple[str, ...]  # each has the output `logits_<head>`
    size: int  # side of the square input in pixels
    precision: str = "f32"
    # patches per side of a token graph, which drops patches; None = a graph that masks pixels
    patches: int | None = None


class Pending(Protocol):
    """A submitted batch."""

    @property
    def idle_s(self) -> float:
        """The seconds before the batch in which the device had nothing to compute, known after `wait`; 0 for the first
        batch.
        """

    def wait(self) -> Logits:
        """Block until the batch is done. The caller owns the returned arrays.

        Raises:
            BackendError: the runtime failed.
        """


@dataclass(frozen=True, slots=True)
class Done:
    """A `Pending` batch that is done already."""

    logits: Logits
    idle_s: float = 0.0

    def wait(self) -> Logits:
        """Return the logits; the caller owns them."""
        return self.logits


class IdleClock:
    """Measures for how long a device has no batch; threads may begin and end batches."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._running, self._ended = 0, math.inf

    @contextmanager
    def batch(self) -> Iterator[float]:
        """Compute a batch in the block; yields what `begin` returns."""
        idle_s = self.begin()
        try:
            yield idle_s
        finally:
            self.end()

    def begin(self) -> float:
        """Begin a batch; return the seconds since the last one ended if none was running."""
        with self._lock:
            self._running += 1
            return max(0.0, time.perf_counter() - self._ended) if self._running == 1 else 0.0

    def end(self) -> None:
        """End a batch."""
        with self._lock:
            self._running -= 1
            self._ended = time.perf_counter()


class Backend(Protocol):
    """An open device. It is not thread-safe: one thread calls `put` and `submit`."""

    name: str  # "onnxruntime", "openvino", "fake", ...
    precision: str  # precision of the arithmetic: "f32", "bf16", ...
    device: str  # the runtime's name of the device
    version: str  # version of the runtime
    depth: int  # number of batches to keep in flight; 1 = submit computes

    def bind(self, perturbation: Perturbation, slots: int) -> None:
        """Take the table of ``perturbation`` and make room for ``slots`` images, in the place of those before.

        Every slot then holds the mean colour, which a model sees as 0, and an empty region. The graph stays loaded.
        Nothing may be in flight.

        Raises:
            BackendError: the graph cannot take such masks, or there is no room.
        """

    def put(self, slot: int, picture: Picture, region: SoftRegion | None = None) -> None:
        """Copy ``picture`` and ``region`` into ``slot``; without a region the slot's is empty.

        No submitted batch may still use that slot, neither as an image nor as a fill.
        """

    def submit(self, rows: Rows) -> Pending:
        """Start the forward of ``rows``: mask * picture[slot] + (1 - mask) * picture[fill] through tower and heads.

        The mask of a row is that of its grid, the region of its slot, or one less that region, as its side says.

        All batches of a run have one size except the first, which has one row, and in f32 the last; a backend of fixed
        shape pads them. A token graph drops the patches whose bit in the grid is not set, and has no use for fills and
        sides.

        Raises:
            BackendError: the runtime refused the batch.
        """


@dataclass(frozen=True, slots=True)
class Prompt:
    """A question as a generative model reads it."""

    ids: tuple[int, ...]  # the tokens, those of the image included
    answers: tuple[int, ...]  # the first token of each option


@runtime_checkable
class Asked(Protocol):
    """A `Backend` of a generative model; its only head has the logits of the first tokens of a row's options.

    A row asks the question of its slot. Columns behind those of its own options hold the lowest number.
    """

    def prompt(self, question: Question) -> Prompt:
        """Return a question as the model reads it.

        Raises:
            SampleError: the model cannot read it, or two options begin with the same token.
        """

    def ask(self, slot: int, prompt: Prompt) -> None:
        """Let the rows of ``slot`` ask another question; no submitted batch may still use the slot."""


class BackendSpec(Protocol):
    """An immutable, hashable description of a backend."""

    @property
    def name(self) -> str:
        """The name of the runtime: "onnxruntime", "openvino", "fake", ..."""

    @property
    def precision(self) -> str:
        """The precision of the arithmetic: "f32", "bf16", ..."""

    def open(self, perturbation: Perturbation, slots: int) -> AbstractContextManager[Backend]:
        """Load the graph and bind it; see `Backend.bind`.

        Raises:
            MissingExtra: the runtime is not installed.
            BackendError: the runtime cannot load the graph, or would run it elsewhere than asked.
        """
