"""TensorRT on a GPU: a plan built by `rate.export.tensorrt.build`, batches padded to its sizes.

What has been run where: everything here is tested against a stand-in for the library and for the GPU's memory
(tests/standin_tensorrt.py) that returns what NVIDIA's documents and Python bindings say and computes the plan's graph
with ONNX Runtime. It has not been run on a GPU. The calls are those that TensorRT 10.12 and 11 share.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from rate.backends.base import Backend, Graph, Logits, Pending
from rate.backends.tensorrt.device_memory import open_device
from rate.backends.tensorrt.library import load_tensorrt, open_log
from rate.backends.tensorrt.stream_buffers import ROW_INPUTS, Lane, Loaded
from rate.errors import BackendError, UsageError
from rate.kernels.separable import Perturbation
from rate.types import Float32, Rows

INPUTS = ("pixels", *ROW_INPUTS, "table", "a", "b")
"""What a plan reads; see `rate.export.graph.perturbed`."""

_LANES = 2  # one computes while the host folds the other's logits


@dataclass(frozen=True, slots=True)
class TensorRtSpec:
    """A plan of a graph that masks pixels. `rate.artifacts.plans` finds it and says whether it fits this machine."""

    graph: Graph  # that the plan was built from
    plan: Path
    sha256: str  # of the plan: it is executable code, so nothing else is loaded
    rungs: tuple[int, ...]  # rows of a batch that may be used, ascending; the plan has a profile for each
    capture: bool = True  # replay batches as CUDA graphs
    name: str = "tensorrt"

    def __post_init__(self) -> None:
        if self.graph.patches is not None:
            raise UsageError(
                f"{self.graph.path} drops patches, and no plan is built for that; use another --backend, or "
                "--saliency rise"
            )

    @property
    def precision(self) -> str:
        """Of the arithmetic: the graph's own, since the plan is strongly typed."""
        return self.graph.precision

    @contextmanager
    def open(self, perturbation: Perturbation, slots: int) -> Iterator[Backend]:
        """Deserialise the plan; see `BackendSpec`."""
        if perturbation.size != self.graph.size:
            raise BackendError(
                f"{self.plan} takes {self.graph.size} pixels, the masks are made for {perturbation.size}"
            )
        if slots < 1:
            raise BackendError(f"at least one resident image is needed, got {slots} slots")
        loaded = self._load()
        backend = TensorRtBackend(loaded, self, perturbation, slots)
        try:
            yield backend
        finally:
            backend.drain()

    def _load(self) -> Loaded:
        device = open_device()  # torch comes first; see `load_tensorrt`
        library = load_tensorrt()
        log = open_log(library)
        engine = library.Runtime(log).deserialize_cuda_engine(self._read())
        if engine is None:
            raise BackendError(
                f"TensorRT {library.__version__} cannot load {self.plan} ({log.take()}); {_REBUILD}",
            )
        names = [engine.get_tensor_name(index) for index in range(engine.num_io_tensors)]
        inputs = tuple(name for name in names if engine.get_tensor_mode(name) == library.TensorIOMode.INPUT)
        outputs = tuple(name for name in names if name not in inputs)
        if strange := [*(set(inputs) - set(INPUTS)), *({f"logits_{h}" for h in self.graph.heads} ^ set(outputs))]:
            raise BackendError(f"{self.plan} was not built from {self.graph.path}: {sorted(strange)}; {_REBUILD}")
        # Such an input is read by the host while it works out shapes, and would need an address there.
        if on_host := [name for name in inputs if engine.is_shape_inference_io(name)]:
            raise BackendError(
                f"{self.plan} makes shapes of the values of {', '.join(on_host)}, which are on the GPU; "
                "the model's forward must not depend on them: use another --backend"
            )
        return Loaded(library, engine, device, log, self.plan, inputs, outputs)

    def _read(self) -> bytes:
        try:
            content = self.plan.read_bytes()
        except OSError as error:
            raise BackendError(f"{self.plan} cannot be read ({error.strerror}); {_REBUILD}") from error
        if (found := hashlib.sha256(content).hexdigest()) != self.sha256:
            raise BackendError(
                f"{self.plan} has changed and is not loaded: its sha256 is {found[:12]}..., recorded is "
                f"{self.sha256[:12]}...; {_REBUILD}"
            )
        return content


_REBUILD = "build it again on this machine: rate export ARTIFACT --format tensorrt"


class TensorRtBackend:
    """An open `TensorRtSpec`: two lanes, taken in turn."""

    depth = _LANES

    def __init__(self, loaded: Loaded, spec: TensorRtSpec, perturbation: Perturbation, slots: int) -> None:
        self.name, self.precision, self.device = spec.name, spec.precision, loaded.device.name
        self.version = str(loaded.library.__version__)
        self._loaded, self._rungs, self._heads, self._capture = loaded, spec.rungs, spec.graph.heads, spec.capture
        self._slots, self._perturbation = slots, perturbation
        self._upload = loaded.device.stream()
        size = perturbation.size
        images = (slots, 3, size, size)
        self._resident = {"pixels": loaded.device.zeros(images, loaded.dtype("pixels"))}
        self._image = loaded.device.pinned(images[1:], loaded.dtype("pixels"))
        for name, value in (("table", perturbation.table), ("a", perturbation.a), ("b", perturbation.b)):
            array = np.array(value, np.float32)
            self._resident[name] = loaded.device.zeros(array.shape, loaded.dtype(name))
            pinned = loaded.device.pinned(array.shape, loaded.dtype(name))
            pinned.copy_(loaded.device.host(array))
            loaded.device.copy(self._resident[name], pinned, self._upload)
            self._upload.synchronize()
        self._lanes: dict[tuple[int, int], Lane] = {}
        self._flying: dict[int, TensorRtPending] = {}  # turn -> its batch
        self._turn = 0

    def put(self, slot: int, pixels: Float32) -> None:
        """Copy ``pixels`` [3,h,w] into the resident images; they are there when this returns."""
        self._image.copy_(self._loaded.device.host(pixels))
        self._loaded.device.copy(self._resident["pixels"][slot], self._image, self._upload)
        self._upload.synchronize()

    def submit(self, rows: Rows) -> Pending:
        """Start a batch; one larger than the largest rung goes in parts, all but the last waited for here."""
        self._check(rows)
        turn, self._turn = self._turn, (self._turn + 1) % _LANES
        *before, last = pieces(len(rows), self._rungs)
        done = [self._start(turn, rows, *piece).wait() for piece in before]
        pending = self._start(turn, rows, *last)
        return JoinedPending(done, pending) if done else pending

    def drain(self) -> None:
        """Wait until the device has nothing left to do."""
        for lane in self._lanes.values():
            lane.synchronize()

    def _start(self, turn: int, rows: Rows, part: slice, rung: int) -> TensorRtPending:
        if turn in self._flying:
            self._flying[turn].wait()
        if (turn, rung) not in self._lanes:
            self._lanes[turn, rung] = Lane(self._loaded, rung, self._resident, self._capture)
        lane = self._lanes[turn, rung]
        lane.start(rows, part)
        self._flying[turn] = TensorRtPending(lane, part.stop - part.start, self._heads)
        return self._flying[turn]

    def _check(self, rows: Rows) -> None:
        """The device would read whatever lies outside a table, and say nothing."""
        count, side = len(rows), self._perturbation.side
        for name, array, shape, below in (
            ("slot", rows.slot, (count,), self._slots),
            ("grid", rows.grid, (count, side, side), None),
            ("offset", rows.offset, (count, 2), self._perturbation.offsets),
        ):
            if array.shape != shape or count == 0:
                raise BackendError(f"{name} must be {shape}, got {array.shape}: the batch is malformed")
            if below is not None and not (array.min() >= 0 and array.max() < below):
                raise BackendError(f"{name} must lie from 0 to {below - 1}: the batch is malformed")


def pieces(count: int, rungs: tuple[int, ...]) -> list[tuple[slice, int]]:
    """How ``count`` rows go onto ascending ``rungs``: whole largest ones, then the smallest that holds the rest."""
    largest = rungs[-1]
    found = [(slice(at, at + largest), largest) for at in range(0, count - largest + 1, largest)]
    done = len(found) * largest
    if done < count:
        found.append((slice(done, count), next(rung for rung in rungs if rung >= count - done)))
    return found


@dataclass(slots=True, eq=False)
class TensorRtPending:
    """A batch in flight on a lane."""

    lane: Lane
    count: int
    heads: tuple[str, ...]
    logits: Logits | None = None

    def wait(self) -> Logits:
        """Wait for it; see `Pending`."""
        if self.logits is None:
            self.logits = self.lane.fetch(self.count, self.heads)
        return self.logits


@dataclass(frozen=True, slots=True, eq=False)
class JoinedPending:
    """A batch in parts, whose last one is in flight."""

    done: list[Logits]
    last: Pending

    def wait(self) -> Logits:
        """Wait for the last part; see `Pending`."""
        parts = [*self.done, self.last.wait()]
        return {head: np.concatenate([part[head] for part in parts]) for head in parts[0]}
